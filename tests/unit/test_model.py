import inspect
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from mlc.backbones.base import Backbone
from mlc.calibration.base import Calibrator
from mlc.decisions.base import Decision
from mlc.heads.base import Head
from mlc.losses.base import Loss
from mlc.model import Classifier, Network
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels


class Double(Backbone):
    out_features = 2

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"pooled": self.factor * inputs["x"]}


class AddOne(Head):
    def __init__(self) -> None:
        super().__init__()
        self.term = nn.Parameter(torch.tensor(1.0))

    def forward(self, features_BD: Tensor) -> LabelOutput:
        return IndependentLabels(features_BD + self.term)


class NoLoss(Loss):
    accepts = (IndependentLabels,)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight_L", torch.ones(2))

    def forward(self, output: LabelOutput, y_BL: Tensor, weight_B: Tensor | None = None) -> Tensor:
        return y_BL.sum(1)

    def link(self, output: LabelOutput) -> LabelOutput:
        return output


class NoCalibration(Calibrator):
    def __init__(self) -> None:
        super().__init__(n_labels=2)
        self.register_buffer("slope", torch.ones(2))

    def check(self, output: LabelOutput) -> None: ...

    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None: ...

    def forward(self, output: LabelOutput) -> LabelOutput:
        return output


class AboveZero(Decision):
    def __init__(self) -> None:
        super().__init__(n_labels=2)
        self.register_buffer("threshold_L", torch.zeros(2))

    def check(self, output: LabelOutput) -> None: ...

    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None: ...

    def forward(self, output: LabelOutput) -> Tensor:
        return output.score_logits() > 0

    def thresholds(self) -> Tensor | None:
        return None


@pytest.fixture
def classifier() -> Classifier:
    network = Network(backbone=Double(), head=AddOne())
    return Classifier(network=network, loss=NoLoss(), calibrator=NoCalibration(), decision=AboveZero())


def test_network_is_head_after_backbone() -> None:
    output = Network(backbone=Double(), head=AddOne())({"x": torch.tensor([[3.0, -1.0]])})
    assert isinstance(output, IndependentLabels)
    assert output.logits_BL.tolist() == [[7.0, -1.0]]


def test_network_registers_both_parts() -> None:
    names = {name for name, _ in Network(backbone=Double(), head=AddOne()).named_parameters()}
    assert names == {"backbone.factor", "head.term"}


def test_network_takes_inputs_and_nothing_else() -> None:
    assert list(inspect.signature(Network.forward).parameters) == ["self", "inputs"]


def test_parts_hold_all_that_was_trained_or_fitted(classifier: Classifier) -> None:
    states = {f"{part}.{key}" for part, module in classifier.parts().items() for key in module.state_dict()}
    fitted = {"calibrator.slope", "decision.threshold_L"}
    assert states == {"network.backbone.factor", "network.head.term"} | fitted


def test_to_moves_every_part_and_the_loss(classifier: Classifier) -> None:
    assert classifier.to("meta") is classifier
    modules = [*classifier.parts().values(), classifier.loss]
    tensors = [t for module in modules for t in (*module.parameters(), *module.buffers())]
    assert len(tensors) == 5
    assert all(tensor.device.type == "meta" for tensor in tensors)

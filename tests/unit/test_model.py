import inspect
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from mlc.backbones.base import Backbone
from mlc.calibration.base import Calibrator
from mlc.decisions.base import Decision
from mlc.errors import UserError
from mlc.heads.base import Head
from mlc.losses.base import Loss
from mlc.model import Auxiliary, Classifier, Network, feature_size
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels


class Double(Backbone):
    """Gives the inputs times 2, and one layer earlier themselves times 3."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))
        self.feature_sizes = {"layer1": 2, "pooled": 2}
        self.calls = 0

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.calls += 1
        return {"layer1": 3 * inputs["x"], "pooled": self.factor * inputs["x"]}


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


class ReadsLayer1(AddOne):
    reads = "layer1"


def with_auxiliary(*, feature: str = "layer1", weight: float = 0.3) -> Network:
    beside = Auxiliary(feature=feature, head=AddOne(), loss=NoLoss(), weight=weight)
    return Network(backbone=Double(), head=AddOne(), auxiliary=beside)


X = {"x": torch.tensor([[3.0, -1.0]])}


def test_a_head_reads_the_feature_that_it_names() -> None:
    output = Network(backbone=Double(), head=ReadsLayer1())(X)
    assert isinstance(output, IndependentLabels)
    assert output.logits_BL.tolist() == [[10.0, -2.0]]


def test_training_gives_both_outputs_from_one_pass() -> None:
    network = with_auxiliary()
    outputs = network.training_outputs(X)
    assert isinstance(outputs.main, IndependentLabels)
    assert isinstance(outputs.auxiliary, IndependentLabels)
    assert outputs.main.logits_BL.tolist() == [[7.0, -1.0]]
    assert outputs.auxiliary.logits_BL.tolist() == [[10.0, -2.0]]
    assert network.backbone.calls == 1


def test_without_an_auxiliary_head_training_gives_the_same_as_evaluation() -> None:
    network = Network(backbone=Double(), head=AddOne())
    main, auxiliary = network.training_outputs(X)
    assert auxiliary is None
    assert torch.equal(main.score_logits(), network(X).score_logits())


def test_the_auxiliary_head_is_not_computed_at_evaluation() -> None:
    network, calls = with_auxiliary(), []
    assert network.auxiliary is not None
    network.auxiliary.head.register_forward_hook(lambda *_: calls.append(1))
    for training in (True, False):
        network.train(training)(X)
    assert not calls
    network.training_outputs(X)
    assert len(calls) == 1


def test_the_auxiliary_head_is_trained_and_stored_with_the_network() -> None:
    saved, loaded = with_auxiliary(), with_auxiliary()
    names = {name for name, _ in saved.named_parameters()}
    assert names == {"backbone.factor", "head.term", "auxiliary.head.term"}
    with torch.no_grad():
        for i, parameter in enumerate(saved.parameters()):
            parameter.fill_(i + 5.0)
    loaded.load_state_dict(saved.state_dict())
    for first, second in zip(saved.training_outputs(X), loaded.training_outputs(X), strict=True):
        assert first is not None
        assert second is not None
        assert torch.equal(first.score_logits(), second.score_logits())
    with pytest.raises(RuntimeError, match="auxiliary"):
        Network(backbone=Double(), head=AddOne()).load_state_dict(saved.state_dict())


def test_the_size_of_a_feature() -> None:
    assert feature_size(Double(), "layer1", reader="auxiliary") == 2
    with pytest.raises(
        UserError, match=r"^auxiliary reads the feature layer9, and Double gives layer1, pooled"
    ):
        feature_size(Double(), "layer9", reader="auxiliary")
    with pytest.raises(UserError, match=r"^head reads the feature tokens.*backbone with positions"):
        feature_size(Double(), "tokens", reader="head")

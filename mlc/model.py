"""The network, and the classifier that a run leaves: network, loss's link, calibrator and decision rule."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from mlc.backbones.base import Backbone
from mlc.batch import BatchInput
from mlc.calibration.base import Calibrator
from mlc.decisions.base import Decision
from mlc.errors import UserError
from mlc.heads.base import Head, PositionHead
from mlc.heads.linear_on_rows import let_read_rows, reads_rows
from mlc.losses.base import Loss
from mlc.outputs.base import LabelOutput
from mlc.rows import SparseRows


class Auxiliary(nn.Module):
    """A second head with its own loss, which helps a layer to learn and is not used once trained (S8).

    Args:
        feature: the backbone's feature that it reads.
        head: from that feature to an output.
        loss: of that output.
        weight: of its loss beside the main loss, which weighs 1.
        own_targets: whether it has targets of its own; else it shares the main ones.
    """

    def __init__(self, *, feature: str, head: Head, loss: Loss, weight: float, own_targets: bool = False):
        super().__init__()
        self.own_targets = own_targets
        self.feature = feature
        self.head = head
        self.loss = loss
        self.weight = weight


class TrainingOutputs(NamedTuple):
    """What a network gives while it trains."""

    main: LabelOutput
    auxiliary: LabelOutput | None

    def float(self) -> "TrainingOutputs":
        """The same in float32."""
        beside = self.auxiliary
        return TrainingOutputs(
            self.main.map_tensors(Tensor.float), None if beside is None else beside.map_tensors(Tensor.float)
        )


class Network(nn.Module):
    """Backbone and head, and perhaps an auxiliary head: what the optimiser trains.

    Where the backbone hands sparse rows through, the layers of a head that can read them are replaced by such
    that do; their start and their state are the same.

    Raises:
        UserError: the backbone lacks the feature that a head reads.
    """

    def __init__(self, *, backbone: Backbone, head: Head, auxiliary: Auxiliary | None = None):
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.auxiliary = auxiliary
        if head.reads in backbone.sparse_features:
            let_read_rows(head)
        if auxiliary is not None and auxiliary.feature in backbone.sparse_features:
            let_read_rows(auxiliary.head)

    def forward(self, inputs: Mapping[str, BatchInput]) -> LabelOutput:
        """The head's output for a batch of named inputs."""
        return _output(self.head, self.head.reads, self.backbone(inputs))

    def training_outputs(self, inputs: Mapping[str, BatchInput]) -> TrainingOutputs:
        """The output of both heads, from one pass through the backbone."""
        features = self.backbone(inputs)
        main = _output(self.head, self.head.reads, features)
        beside = self.auxiliary
        return TrainingOutputs(main, _output(beside.head, beside.feature, features) if beside else None)


def _output(head: Head, feature: str, features: Mapping[str, BatchInput]) -> LabelOutput:
    """What a head makes of a feature; one that reads positions is told which of them are padding."""
    x = features[feature]
    if isinstance(x, SparseRows) and not reads_rows(head):
        x = x.dense()
    output: LabelOutput = head(x, features.get("mask")) if isinstance(head, PositionHead) else head(x)
    return output


def feature_size(backbone: Backbone, feature: str, *, reader: str) -> int:
    """Last dimension of a backbone's feature.

    Raises:
        UserError: the backbone does not have it.
    """
    sizes = backbone.feature_sizes
    if feature not in sizes:
        advice = (
            "choose a backbone with positions, such as backbone=cnn for pictures or backbone=gru for texts"
        )
        raise UserError(
            f"{reader} reads the feature {feature}, and {type(backbone).__name__} gives {', '.join(sizes)}: "
            + (advice if feature == "tokens" else f"set {reader}.feature to one of these")
        )
    return sizes[feature]


@dataclass(frozen=True)
class Classifier:
    """Everything between inputs and decided labels.

    Args:
        network: trained by the optimiser.
        loss: trains the network, and says by its link what the output then means.
        calibrator: fitted on validation data.
        decision: fitted on validation data.
    """

    network: Network
    loss: Loss
    calibrator: Calibrator
    decision: Decision

    def parts(self) -> dict[str, nn.Module]:
        """The modules whose state is the trained classifier."""
        return {"network": self.network, "calibrator": self.calibrator, "decision": self.decision}

    def to(self, device: str) -> "Classifier":
        """Move every part to a device, in place."""
        for part in (*self.parts().values(), self.loss):
            part.to(device)
        return self

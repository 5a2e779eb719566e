"""The network, and the classifier that a run leaves: network, loss's link, calibrator and decision rule."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from mlc.backbones.base import Backbone
from mlc.calibration.base import Calibrator
from mlc.decisions.base import Decision
from mlc.heads.base import Head
from mlc.losses.base import Loss
from mlc.outputs.base import LabelOutput


class Network(nn.Module):
    """Backbone and head: what the optimiser trains."""

    def __init__(self, *, backbone: Backbone, head: Head):
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, inputs: Mapping[str, Tensor]) -> LabelOutput:
        """The head's output for a batch of named inputs."""
        output: LabelOutput = self.head(self.backbone(inputs))
        return output


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

"""What a step makes smaller."""

from torch import Tensor, nn

from mlc.batch import Batch, presence
from mlc.losses.base import Loss
from mlc.model import Network
from mlc.training.precision import autocast


def objective(network: Network, loss: Loss, batch: Batch, *, precision: str = "fp32") -> Tensor:
    """The mean loss of the batch, and the auxiliary head's where there is one.

    Args:
        network: whose layers run in `precision`; the loss is taken in float32.
        loss: of the main head.
        batch: of training rows.
        precision: fp32, bf16 or fp16.
    """
    with autocast(batch.inputs, precision):
        outputs = network.training_outputs(batch.inputs)
    if precision != "fp32":
        outputs = outputs.float()
    mean = loss.mean(outputs.main, batch.y_BL, batch.weight_B, all_known=batch.all_known)
    beside, output = network.auxiliary, outputs.auxiliary
    if beside is None or output is None:
        return mean
    y_BL = batch.y_BL
    if beside.own_targets:
        assert batch.auxiliary_BA is not None, "checked when the run was made"
        y_BL = batch.auxiliary_BA
    if not beside.loss.reads_levels(output):
        y_BL = presence(y_BL)
    return mean + beside.weight * beside.loss.mean(output, y_BL, batch.weight_B)


class Objective(nn.Module):
    """`objective` as a module, so that several processes can share its gradients.

    Args:
        network: trained by it.
        loss: of the main head.
        precision: fp32, bf16 or fp16.
    """

    def __init__(self, network: Network, loss: Loss, *, precision: str):
        super().__init__()
        self.network = network
        self._loss = (loss,)  # in a tuple, because its buffers are nobody's to share
        self._precision = precision

    def forward(self, batch: Batch) -> Tensor:
        """The mean loss of a batch: one number."""
        return objective(self.network, self._loss[0], batch, precision=self._precision)

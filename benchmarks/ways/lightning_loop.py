"""Lightning with its defaults, torchmetrics' F1 in validation, and its TensorBoard logger."""

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MultilabelF1Score

from benchmarks import data, networks
from benchmarks.meter import Meter, count_torch_steps
from benchmarks.ways import arguments
from benchmarks.workloads import Workload


class Module(LightningModule):
    """The workload's network."""

    def __init__(self, workload: Workload):
        super().__init__()
        self.network = networks.make(workload)
        self.f1 = MultilabelF1Score(workload.labels, average="micro")

    def training_step(self, batch: list[Tensor], number: int) -> Tensor:
        """The loss of a batch."""
        *inputs, y_BL = batch
        loss = networks.objective(self.network(*inputs), y_BL)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], number: int) -> None:
        """Loss and F1."""
        *inputs, y_BL = batch
        logits = self.network(*inputs)
        self.f1(networks.main_logits(logits), y_BL.long())
        self.log("valid_loss", networks.objective(logits, y_BL))
        self.log("valid_f1", self.f1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def main() -> None:
    """Train until the meter ends the process."""
    given = arguments.read()
    count_torch_steps(Meter(given.workload, given.device))
    splits = data.load(given.workload, given.data)
    train, valid = (TensorDataset(*splits[name].values()) for name in data.SPLITS)
    Trainer(
        accelerator="gpu" if given.device == "cuda" else "cpu",
        max_epochs=-1,
        num_sanity_val_steps=0,
        logger=TensorBoardLogger(given.scratch),
        default_root_dir=given.scratch,
    ).fit(
        Module(given.workload),
        DataLoader(train, batch_size=given.workload.batch, shuffle=True),
        DataLoader(valid, batch_size=1024),
    )


if __name__ == "__main__":
    main()

"""skorch with its defaults and F1 on the validation rows after each epoch."""

import numpy as np
import torch
from sklearn.metrics import f1_score
from skorch import NeuralNet
from skorch.callbacks import EpochScoring
from skorch.helper import predefined_split
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from benchmarks import data, networks
from benchmarks.meter import Meter, count_torch_steps
from benchmarks.ways import arguments


class Rows(Dataset[tuple[tuple[Tensor, ...], Tensor]]):
    """Inputs and targets as skorch wants them: a pair."""

    def __init__(self, tensors: dict[str, Tensor]):
        self._rows = TensorDataset(*tensors.values())

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> tuple[tuple[Tensor, ...], Tensor]:
        *inputs, y_L = self._rows[row]
        return tuple(inputs), y_L


class Inputs(nn.Module):
    """The workload's network, for inputs that come as one list."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, inputs: list[Tensor]) -> Tensor | tuple[Tensor, Tensor]:
        """Logits."""
        return self.network(*inputs)


class Net(NeuralNet):
    """The workload's loss is a function of all outputs."""

    def get_loss(self, y_pred: Tensor, y_true: Tensor, *_: object, **__: object) -> Tensor:
        """The loss of a batch."""
        return networks.objective(y_pred, y_true)


def _f1(net: Net, rows: Rows, y: np.ndarray) -> float:
    """Micro-F1, from the predictions that skorch keeps of its validation."""
    logits = torch.cat([networks.main_logits(one).cpu() for one in net.forward_iter(rows)])
    return float(f1_score(y, logits.numpy() > 0, average="micro", zero_division=0))


def main() -> None:
    """Train until the meter ends the process."""
    given = arguments.read()
    count_torch_steps(Meter(given.workload, given.device))
    splits = data.load(given.workload, given.data)
    train, valid = (Rows(dict(splits[name])) for name in data.SPLITS)
    Net(
        Inputs(networks.make(given.workload)),
        criterion=nn.BCEWithLogitsLoss,
        optimizer=torch.optim.Adam,
        lr=2e-3,
        max_epochs=1_000_000,
        batch_size=given.workload.batch,
        iterator_train__shuffle=True,
        iterator_valid__batch_size=1024,
        train_split=predefined_split(valid),
        callbacks=[("f1", EpochScoring(_f1, name="f1", lower_is_better=False))],
        device=given.device,
    ).fit(train, y=None)


if __name__ == "__main__":
    main()

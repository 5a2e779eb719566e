"""Keras 3 on its torch backend: `fit` with its defaults and F1 on the validation rows after each epoch."""

import keras
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import data, networks
from benchmarks.meter import Meter
from benchmarks.ways import arguments
from benchmarks.workloads import Workload


class Model(keras.Model):
    """The workload's network; Keras trains it with its own Adam."""

    def __init__(self, workload: Workload):
        super().__init__()
        self.network = keras.layers.TorchModuleWrapper(networks.make(workload))
        self.f1 = keras.metrics.F1Score(average="micro", threshold=0.5, name="f1")

    def call(self, inputs: list[Tensor], training: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Logits."""
        return self.network(*inputs, training=training)

    def compute_loss(
        self, x: object = None, y: object = None, y_pred: object = None, *_: object, **__: object
    ) -> Tensor:
        """The loss of a batch."""
        return networks.objective(y_pred, y)

    def compute_metrics(
        self, x: object, y: object, y_pred: object, *_: object, **__: object
    ) -> dict[str, object]:
        """Loss and F1, kept up with every batch, as Keras does."""
        self.f1.update_state(y, networks.main_logits(y_pred).sigmoid())
        return self.get_metrics_result()


class Steps(keras.callbacks.Callback):
    """Tells the meter of every step."""

    def __init__(self, meter: Meter):
        super().__init__()
        self._meter = meter

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """A step."""
        self._meter.step()


def main() -> None:
    """Train until the meter ends the process."""
    given = arguments.read()
    meter = Meter(given.workload, given.device)
    splits = data.load(given.workload, given.data)
    loaders = {}
    for name, batch in (("train", given.workload.batch), ("valid", 1024)):
        *inputs, y_NL = splits[name].values()
        loaders[name] = DataLoader(
            TensorDataset(*inputs, y_NL), batch_size=batch, shuffle=name == "train", collate_fn=_pair
        )
    model = Model(given.workload)
    model.compile(optimizer=keras.optimizers.Adam(2e-3))
    model.fit(
        loaders["train"],
        validation_data=loaders["valid"],
        epochs=1_000_000,
        verbose=2,
        callbacks=[
            Steps(meter),
            keras.callbacks.ModelCheckpoint(str(given.scratch / "best.weights.h5"), save_weights_only=True),
        ],
    )


def _pair(rows: list[tuple[Tensor, ...]]) -> tuple[tuple[Tensor, ...], Tensor]:
    *inputs, y_BL = torch.utils.data.default_collate(rows)
    return tuple(inputs), y_BL


if __name__ == "__main__":
    main()

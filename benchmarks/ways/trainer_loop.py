"""The Trainer of transformers with its defaults but the batch size, Adam's rate, and F1 after each epoch."""

from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import EvalPrediction, Trainer, TrainingArguments

from benchmarks import data, networks
from benchmarks.meter import Meter, count_torch_steps
from benchmarks.ways import arguments
from benchmarks.workloads import Tensors


class Rows(Dataset[dict[str, Tensor]]):
    """Rows by name."""

    def __init__(self, tensors: Tensors):
        self._tensors = {("labels" if name == "y" else name): values for name, values in tensors.items()}

    def __len__(self) -> int:
        return len(self._tensors["labels"])

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {name: values[row] for name, values in self._tensors.items()}


class WithLoss(nn.Module):
    """The workload's network, with its loss beside its logits."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, labels: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """Loss and logits."""
        # By place, because a Sequential knows no names; Trainer adds one of its own.
        logits = self.network(*(values for name, values in inputs.items() if name in ("x", "side", "values")))
        return {"loss": networks.objective(logits, labels), "logits": networks.main_logits(logits)}


def _f1(prediction: EvalPrediction) -> dict[str, float]:
    decided, y = prediction.predictions > 0, prediction.label_ids > 0
    return {"f1": 2 * float((decided & y).sum()) / max(1.0, float(decided.sum() + y.sum()))}


def main() -> None:
    """Train until the meter ends the process."""
    given = arguments.read()
    count_torch_steps(Meter(given.workload, given.device))
    splits = data.load(given.workload, given.data)
    options = TrainingArguments(
        output_dir=str(given.scratch),
        per_device_train_batch_size=given.workload.batch,
        per_device_eval_batch_size=1024,
        num_train_epochs=1_000_000,
        learning_rate=2e-3,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        use_cpu=given.device == "cpu",
        disable_tqdm=True,
        remove_unused_columns=False,
        report_to=["tensorboard"],
        max_grad_norm=0.0,
    )
    Trainer(
        WithLoss(networks.make(given.workload)),
        options,
        train_dataset=Rows(splits["train"]),
        eval_dataset=Rows(splits["valid"]),
        compute_metrics=_f1,
    ).train()


if __name__ == "__main__":
    main()

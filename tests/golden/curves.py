"""The first 20 training steps of each head on the embedded pictures.

After a change that is meant to alter training, write them anew and look at the difference before it is kept:

    python -m tests.golden.curves
"""

import contextlib
import io
import json
import tempfile
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mlc.train import train

HEADS = (
    *("sigmoid", "softmax", "conditional_bernoulli"),
    *("binary_softmax", "label_attention", "label_networks"),
    *("label_sets", "levels", "classifier_chain"),
    *("factorised", "factorised_poisson", "factorised_negative_binomial", "factorised_categorical"),
)
STEPS = 20
STORED = Path(__file__).with_name("curves.json")


def curve(head: str, folder: Path) -> list[float]:
    """Training loss of each step, of a run in this folder."""
    train(
        [
            *(f"head={head}", "seed=0", f"hydra.run.dir={folder}"),
            *("dataset.n_train=400", "dataset.n_test=50"),
            # 340 pictures are left for training: an epoch has 20 batches of 17.
            *("trainer.batch_size=17", "trainer.max_epochs=1", "trainer.log_every_steps=1"),
            # At the usual rate Adam blows rounding up to 1e-4 within these steps.
            *("trainer.device=cpu", "trainer.precision=fp32", "optimizer.lr=5e-4"),
            # As stored: the other layout rounds otherwise, which these steps grow to 1e-3.
            *(() if head == "label_networks" else ("backbone.channels_last=false",)),
        ]
    )
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return [point.value for point in events.Scalars("train/loss")]


def main() -> None:
    """Write the curves anew."""
    curves = {}
    for head in HEADS:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            curves[head] = curve(head, Path(folder, "run"))
    text = json.dumps({"torch": str(torch.__version__), "curves": curves}, indent=2)
    STORED.write_text(text + "\n", encoding="utf-8")
    print(f"{len(curves)} curves of {STEPS} steps: {STORED}")


if __name__ == "__main__":
    main()

"""What a run imports, and when: everything heavy waits until it is needed.

One child process imports `mlc.train`, then trains a tiny table; what is loaded at each point is compared with
the lists below. A new heavy module has to be put into one of them, with its reason, or be imported later.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Modules that cost a tenth of a second or more, or many megabytes, and what needs them.
HEAVY = {
    "torch._dynamo": "torch.compile only; torch's optimisers import it, see mlc/eager_optimizer.py",
    "torch._inductor": "torch.compile only",
    "sympy": "torch.compile only",
    "torchmetrics": "accumulators of several processes",
    "scipy": "the linear baseline",
    "sklearn": "the embedded digits, TF-IDF, the linear baseline",
    "pandas": "nothing",
    "pyarrow": "Parquet files",
    "transformers": "pretrained encoders",
    "tokenizers": "pretrained encoders",
    "kornia": "augmentation",
    "PIL": "picture files",
    "pooch": "downloads",
    "requests": "downloads",
    "matplotlib": "the figures at the end of a run",
    "rich": "the bar on a terminal",
    "tensorboard": "the dashboard, which is opened after the job is made",
    "torch.utils.tensorboard": "the dashboard",
    "google.protobuf": "the dashboard",
    "pydantic": "checking a config",
    "IPython": "nothing",
    "arff": "MULAN files",
}
# What may be there before the first step of a run on a table of numbers, although it is heavy.
BEFORE_FIRST_STEP = {
    "pydantic": "the config is checked before anything is read",
    "tensorboard": "what the run is gets written before it trains, so that it can be looked at",
    "torch.utils.tensorboard": "as tensorboard",
    "google.protobuf": "as tensorboard",
}
# What may be there when a run on a table has ended.
AT_THE_END = BEFORE_FIRST_STEP | {
    "matplotlib": "the figures",
    "PIL": "matplotlib writes PNG with it",
}

CHILD = """
import json, sys
heavy = json.loads(sys.argv[1])
loaded = lambda: [name for name in heavy if name in sys.modules]
stages = {}
import mlc.train
stages["import"] = loaded()
from mlc.training.step import Stepper
begin = Stepper.begin
def first(self):
    stages.setdefault("first step", loaded())
    begin(self)
Stepper.begin = first
mlc.train.train(sys.argv[2:])
stages["end"] = loaded()
print(json.dumps(stages))
"""


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    folder = tmp_path_factory.mktemp("startup")
    rows = [f"{i % 7},{i % 3},{'x;y' if i % 3 else 'y;z'}" for i in range(60)]
    (folder / "table.csv").write_text("\n".join(["a,b,tags", *rows]))
    words = [
        f"dataset.path={folder / 'table.csv'}",
        "dataset=table",
        "dataset.labels=tags",
        "trainer.max_epochs=1",
    ]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(list(HEAVY)), *words, f"hydra.run.dir={folder / 'run'}"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MLC_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_importing_the_door_imports_nothing_heavy(stages: dict[str, list[str]]):
    assert stages["import"] == []


# Equal, not only within: an allowance that nothing uses any more must go.
def test_before_the_first_step_only_what_is_needed_is_imported(stages: dict[str, list[str]]):
    assert set(stages["first step"]) == BEFORE_FIRST_STEP.keys()


def test_a_whole_run_imports_only_what_it_uses(stages: dict[str, list[str]]):
    assert set(stages["end"]) == AT_THE_END.keys()

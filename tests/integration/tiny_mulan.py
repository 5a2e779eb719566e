"""A data set in MULAN's format, small enough to be written for each test."""

from pathlib import Path

import numpy as np

LABELS = ("Größe", "two words", "c,d", "plain")
FEATURES = ("f0", "f1", "f2", "f3", "colour")
COLOURS = ("red", "green", "blue")
TRAIN_ROWS, TEST_ROWS = 80, 30
MULAN = (
    "dataset=yeast",
    "dataset.name=tiny",
    "dataset.folder=tiny",
    "dataset.train=train.arff",
    "dataset.test=test.arff",
    "dataset.labels=labels.xml",
    "trainer.max_epochs=2",
    "trainer.batch_size=16",
    "trainer.device=cpu",
    "trainer.checkpoint_pause_s=0",
    "backbone.widths=[16]",
)


def mulan(folder: str, *words: str) -> list[str]:
    """The words of a run on the written data set."""
    return [*MULAN, f"hydra.run.dir={folder}", *words]


def write_mulan(root: Path, *, single_label: bool = False, unknown: bool = False) -> Path:
    """Write `root`/tiny with train.arff, test.arff and labels.xml; returns it.

    With `unknown`, rows have a weight, and labels are unknown: one in every fourth row, all in every tenth.
    """
    folder = root / "tiny"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(5)
    for name, rows in (("train", TRAIN_ROWS), ("test", TEST_ROWS)):
        text = _arff(generator, rows, single_label=single_label)
        text = _with_unknown(text) if unknown else text
        (folder / f"{name}.arff").write_text(text, encoding="utf-8")
    lines = "\n".join(f'<label name="{label}"></label>' for label in LABELS)
    (folder / "labels.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n<labels xmlns="http://mulan.sourceforge.net/labels">\n'
        f"{lines}\n</labels>\n",
        encoding="utf-8",
    )
    return folder


def _arff(generator: np.random.Generator, rows: int, *, single_label: bool) -> str:
    x_ND = generator.normal(size=(rows, 4)).round(3)
    colours_N = generator.integers(3, size=rows)
    scores_NL = x_ND + 0.5 * generator.normal(size=(rows, 4))
    y_NL = scores_NL == scores_NL.max(1, keepdims=True) if single_label else scores_NL > 0.3
    lines = ["@relation tiny"]
    lines += [f"@attribute {name} numeric" for name in FEATURES[:4]]
    lines += [f"@attribute {FEATURES[4]} {{{','.join(COLOURS)}}}"]
    lines += [f"@attribute '{label}' {{0,1}}" for label in LABELS]
    lines += ["@data"]
    for x_D, colour, y_L in zip(x_ND, colours_N, y_NL, strict=True):
        lines.append(",".join([*map(str, x_D), COLOURS[colour], *(str(int(y)) for y in y_L)]))
    return "\n".join(lines) + "\n"


def _with_unknown(text: str) -> str:
    """The same rows with an attribute `mass` of 0, 1 or 2, and without some labels."""
    header, _, data = text.partition("@data\n")
    lines = []
    for i, line in enumerate(data.splitlines()):
        cells = line.split(",")
        unknown = range(-4, 0) if i % 10 == 0 else [-1 - i // 4 % 4] if i % 4 == 0 else []
        for place in unknown:
            cells[place] = "?"
        lines.append(",".join([*cells, str(i % 3)]))
    return f"{header}@attribute mass numeric\n@data\n" + "\n".join(lines) + "\n"

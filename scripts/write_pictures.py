"""Writes the composed MNIST pictures as PNG files with a table: `python scripts/write_pictures.py <folder>`.

The folder then has train/, valid/ and test/ with one PNG for each picture, and labels.csv with the columns
file, labels (digits joined by "|") and split. So dataset=images trains on what dataset=mnist_pictures has:

    python -m mlc.train experiment=s09_picture_files dataset.folder=<folder>
"""

import argparse
import csv
from pathlib import Path
from typing import cast

import torch
from PIL import Image

from mlc.data.dataset import Dataset, Split
from mlc.data.mnist import MnistPictures
from mlc.data.picture_rows import PictureRows
from mlc.errors import UserError


def write_pictures(data: Dataset, folder: Path) -> int:
    """Write all pictures of a data set that has them as bytes; returns how many.

    Raises:
        UserError: the folder is not empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; name a new folder")
    n_written = 0
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "labels", "split"])
        for part, split in (("train", data.train), ("valid", data.valid), ("test", data.test)):
            (folder / part).mkdir()
            for name, labels in _write_split(split, data.label_names, folder, part):
                table.writerow([name, labels, part])
                n_written += 1
    return n_written


def _write_split(
    split: Split, label_names: tuple[str, ...], folder: Path, part: str
) -> list[tuple[str, str]]:
    """The file and the labels of each picture of a split."""
    pictures = cast(PictureRows, split.inputs["x"])
    rows = []
    for row, (place, y_L) in enumerate(zip(pictures.rows_N.tolist(), _targets(split), strict=True)):
        name = f"{part}/{row:06d}.png"
        Image.fromarray(pictures.pixels_MCHW[place, 0].numpy()).save(folder / name)
        true = [label for label, y in zip(label_names, y_L, strict=True) if y > 0]
        rows.append((name, "|".join(true)))
    return rows


def _targets(split: Split) -> list[list[float]]:
    return split.y_NL[torch.arange(len(split))].tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the composition, as seed= in mlc.train")
    parser.add_argument("--n-train", type=int, default=50_000, help="training and validation pictures")
    parser.add_argument("--n-test", type=int, default=10_000)
    options = parser.parse_args()
    try:
        data = MnistPictures(n_train=options.n_train, n_test=options.n_test).load(seed=options.seed)
        print(f"{write_pictures(data, options.folder)} pictures written to {options.folder}")
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()

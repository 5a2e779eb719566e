"""Look at data before training: `python -m mlc.describe dataset=yeast [output=look.png]`."""

import re
import sys
from collections.abc import Sequence

from mlc.errors import UserError
from mlc.experiment.command_line import exit_code, helped, quote_verbatim, take, with_trust
from mlc.experiment.look import load_dataset
from mlc.paths import home_path
from mlc.training.description import describe as describe_dataset
from mlc.training.description_figure import description_figure
from mlc.training.figure_style import png
from mlc.training.files import atomic_write_bytes

USAGE = "python -m mlc.describe dataset=<name> [dataset.<key>=...] [output=<picture.png>]"


def main() -> None:
    """The command-line door."""
    sys.exit(exit_code(lambda: with_trust(describe, sys.argv[1:])))


def describe(words: Sequence[str]) -> None:
    """Print what is in the data set that the overrides choose, and draw it."""
    if helped(words, USAGE):
        return
    output, rest = take(words, "output")
    if output is not None:
        _check_output(output)
    dataset = load_dataset(quote_verbatim(rest))
    print(describe_dataset(dataset))
    path = home_path(f"describe_{_file_name(dataset.name)}.png" if output is None else output)
    atomic_write_bytes(path, png(description_figure(dataset), dots_per_inch=150))
    print(f"\nfigure: {path}")


def _file_name(name: str) -> str:
    """The name of a data set as part of a file name, which stays in its folder."""
    return re.sub(r"[^\w.-]", "_", name)


def _check_output(output: str) -> None:
    path = home_path(output)
    if path.suffix != ".png":
        raise UserError(f"output={output} must end in .png: it is a picture")
    if not path.parent.is_dir():
        raise UserError(f"output={output}: the folder {path.parent} does not exist; make it first")
    if path.is_dir():
        raise UserError(f"output={output} is a folder: name a file")


if __name__ == "__main__":
    main()

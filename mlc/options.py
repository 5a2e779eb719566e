"""What there is to choose from, and what fits what: `python -m mlc.options`."""

import sys
from collections.abc import Sequence

from mlc.experiment.command_line import exit_code, helped, read_words
from mlc.experiment.options import what_fits_what

USAGE = "python -m mlc.options [head=<name>] [loss=<name>]"


def main() -> None:
    """The command-line door."""
    sys.exit(exit_code(lambda: options(sys.argv[1:])))


def options(words: Sequence[str]) -> None:
    """Print every head with the losses, rules and calibrators that fit it, and all other choices."""
    if helped(words, USAGE):
        return
    values = read_words(words, usage=USAGE, known=["head", "loss"], required=[])
    print(what_fits_what(values.get("head"), values.get("loss")))


if __name__ == "__main__":
    main()

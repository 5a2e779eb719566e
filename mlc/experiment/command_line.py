"""What the doors share: reading `key=value` words, and turning mistakes into a sentence and an exit code."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mlc.errors import Fault, Stopped, UserError
from mlc.experiment.instantiate import did_you_mean
from mlc.experiment.trust import trusting
from mlc.paths import home_path
from mlc.training import processes
from mlc.training.text_table import printable

USER_MISTAKE, FAULT, INTERRUPTED = 2, 1, 130
RESUME_ME = 75  # EX_TEMPFAIL of sysexits.h: try again later

# Paths and texts may hold anything that the override grammar would read as its own signs.
# Options that may also be null; all others take null as a name.
_NULLABLE = frozenset({"init_from"}) | {
    f"dataset.{name}"
    for name in (
        "name",
        "text",
        "label_delimiter",
        "picture",
        "picture_folder",
        "split",
        "group",
        "time",
        "weight",
    )
}
VERBATIM = (
    frozenset({"run", "input", "output", "text", "resume", "text.model", "backbone.model"})
    | {f"dataset.{name}" for name in ("path", "folder", "train", "test", "table")}
    | _NULLABLE
)
# Columns by their names, one or a list in brackets.
COLUMNS = frozenset(
    f"dataset.{name}" for name in ("labels", "auxiliary_labels", "numbers", "categories", "side_inputs")
)


def quote_verbatim(words: Sequence[str]) -> list[str]:
    """The same words, with the values of path and text options quoted for Hydra's override grammar."""
    return [_quote(word) for word in words]


def _quote(word: str) -> str:
    key, equals, value = word.partition("=")
    option = key.lstrip("+")
    if not equals or option not in VERBATIM | COLUMNS or not value:
        return word
    if value == "null" and option in _NULLABLE | COLUMNS:
        return word
    if option in COLUMNS and value.startswith("[") and value.endswith("]"):
        items = re.findall(r"""\s*('[^']*'|"[^"]*"|[^,]+)""", value[1:-1])
        return f"{key}=[{','.join(_quote_item(item.strip()) for item in items)}]"
    return f"{key}={_quoted(value)}"


def _quote_item(item: str) -> str:
    return item if item[:1] in ("'", '"', "") else _quoted(item)


def _quoted(value: str) -> str:
    # OmegaConf reads ${ as an interpolation unless an odd number of backslashes stands before it.
    value = re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + "\\${", value)
    # Inside quotes a backslash counts only before a quote: double those, and those at the very end.
    value = re.sub(r"(\\*)'", lambda match: match[1] * 2 + "\\'", value)
    value = re.sub(r"(\\+)$", lambda match: match[1] * 2, value)
    return f"'{value}'"


def take(words: Sequence[str], key: str) -> tuple[str | None, list[str]]:
    """The value of `key=value` (None where it is not given), and the other words."""
    found = [word for word in words if word.startswith(f"{key}=")]
    if len(found) > 1:
        raise UserError(f"{key}= is given {len(found)} times: give it once")
    rest = [word for word in words if word not in found]
    return (found[0].partition("=")[2] if found else None), rest


def with_trust(door: Callable[[Sequence[str]], None], words: Sequence[str]) -> None:
    """Open a door with all words but `trust=`, trusting the packages that it names."""
    packages, rest = take(words, "trust")
    with trusting(packages):
        door(rest)


def read_words(
    words: Sequence[str], *, usage: str, known: Sequence[str], required: Sequence[str]
) -> dict[str, str]:
    """Read a door's `key=value` words, values verbatim.

    Raises:
        UserError: a word that is no key=value, an unknown key, or a required one that is missing.
    """
    values: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in known:
            hint = did_you_mean(key, list(known))
            ending = "" if hint.endswith("?") else "."
            raise UserError(f"{word} is not understood{hint}{ending} Usage: {usage}")
        if key in values:
            raise UserError(f"{key}= is given twice: give it once")
        values[key] = value
    for key in required:
        if not values.get(key):
            raise UserError(f"{key}= is missing. Usage: {usage}")
    return values


def helped(words: Sequence[str], usage: str) -> bool:
    """Print the usage where a word asks for help; whether one did."""
    if not {"-h", "--help"} & set(words):
        return False
    print(f"usage: {usage}")
    return True


def existing_folder(value: str, *, key: str) -> Path:
    """The folder that `key=` names.

    Raises:
        UserError: it is not there, or no folder.
    """
    path = home_path(value)
    if not value or not path.is_dir():
        raise UserError(
            f"{key}={value} is no folder: give the folder of a run, for example {key}=runs/<name>"
        )
    return path


def _lines(error: Exception) -> str:
    """The message as it may stand on a terminal: it may hold names from a stranger's file."""
    return "\n".join(printable(line) for line in str(error).split("\n"))


def refuse_several(name: str) -> None:
    """Refuse to open a door in several processes.

    Raises:
        UserError: torchrun has started this process as one of several.
    """
    if processes.launched():
        raise UserError(f"{name} works in one process: start it with python -m {name}, without torchrun")


def _say(line: str) -> None:
    """One line on the standard error; of several processes that would say the same, one does."""
    if processes.is_first_to_say(line):
        rank = processes.rank()
        print(f"process {rank}: {line}" if rank else line, file=sys.stderr)


def _say_stop(line: str) -> None:
    """What the first process says, because all of them stop."""
    if processes.rank() == 0:
        print(line, file=sys.stderr)


def _reader_has_gone() -> bool:
    """Whether nobody reads the standard output any more (head, less); the rest of it then goes nowhere."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def exit_code(door: Callable[[], None]) -> int:
    """Run a door; a mistake or a fault becomes one sentence on the standard error, and an exit code."""
    try:
        door()
        sys.stdout.flush()
    except UserError as error:
        _say(f"error: {_lines(error)}")
        return USER_MISTAKE
    except Fault as error:
        _say(f"fault: {_lines(error)}")
        return FAULT
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            return 0
        place = f"{error.filename}: " if error.filename else ""
        _say(f"fault: {place}{error.strerror or error}; what was saved before is whole")
        return FAULT
    except Stopped as stop:
        _say_stop(str(stop))
        return RESUME_ME
    except KeyboardInterrupt as stop:
        _say_stop(f"stopped; {stop}" if str(stop) else "stopped")
        return INTERRUPTED
    return 0

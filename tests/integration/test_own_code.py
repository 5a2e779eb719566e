"""The example of docs/own_code.md, as it stands there."""

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import mlc.evaluate
import mlc.train
from mlc.experiment.command_line import USER_MISTAKE, exit_code, with_trust
from tests.integration.doors import CHECKOUT
from tests.integration.tiny_mulan import MULAN

PAGE = (CHECKOUT / "docs" / "own_code.md").read_text(encoding="utf-8")
FILE = re.compile(r"^`(\S+)`[^\n]*:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = [shlex.split(line)[3:] for line in PAGE.splitlines() if line.startswith("    python -m mlc.train")]
# On the small written data set, and in a folder with a name that is known.
SMALL = [word for word in MULAN if not word.startswith(("dataset=", "backbone."))]


@pytest.fixture
def example(tiny: Path, no_figures: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The files of the page in the working directory; the directory is importable only by trust."""
    for name, text in FILE.findall(PAGE):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
    here = {"", ".", str(Path.cwd())}
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in here])
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def opened(door: Callable[[Sequence[str]], None], *words: str) -> int:
    return exit_code(lambda: with_trust(door, words))


@pytest.mark.parametrize("command", COMMANDS, ids=["configs", "overrides"])
def test_the_example_trains_and_needs_trust_each_time(
    command: list[str], example: None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*command, *SMALL, "hydra.run.dir=run"]
    distrustful = [word for word in words if not word.startswith("trust=")]
    assert opened(mlc.train.train, *distrustful) == USER_MISTAKE
    refused = r"_target_=my_package\.\w+\.\w+ is refused: .* needs trust=my_package, and no config or run"
    assert re.search(refused, capsys.readouterr().err)
    assert "my_package" not in sys.modules
    assert opened(mlc.train.train, *words) == 0
    assert opened(mlc.evaluate.evaluate, "run=run") == USER_MISTAKE
    assert re.search(refused, capsys.readouterr().err)
    assert opened(mlc.evaluate.evaluate, "run=run", "trust=my_package") == 0
    assert "All metrics equal" in capsys.readouterr().out
    assert "trust" not in Path("run", "config.yaml").read_text(encoding="utf-8")


def test_the_page_has_all_files_and_commands() -> None:
    assert len(FILE.findall(PAGE)) == 5
    assert len(COMMANDS) == 2

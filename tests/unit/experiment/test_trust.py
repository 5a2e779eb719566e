import sys
from pathlib import Path

import pytest

from mlc.errors import UserError
from mlc.experiment.command_line import with_trust
from mlc.experiment.instantiate import make
from mlc.experiment.trust import trusted, trusting
from mlc.heads.base import Head

CODE = """
from mlc.heads.sigmoid import SigmoidHead
from torch import nn
class Mine(SigmoidHead):
    pass
class NoHead:
    pass
"""


@pytest.fixture(autouse=True)
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", ".")])
    for name in ("trusted_a", "trusted_b"):
        Path(name).mkdir()
        Path(name, "__init__.py").write_text(CODE)
        monkeypatch.delitem(sys.modules, name, raising=False)


def built(target: str) -> type:
    return make({"_target_": target, "prior_bias": True}, group="head", kind=Head).target


def test_a_trusted_package_of_the_working_directory_is_taken_while_the_block_runs() -> None:
    path = list(sys.path)
    with trusting("trusted_a"):
        assert trusted() == ("trusted_a",)
        assert built("trusted_a.Mine").__name__ == "Mine"
    assert trusted() == ()
    assert sys.path == path
    with pytest.raises(
        UserError, match=r"head\._target_=trusted_a\.Mine is refused: .* needs trust=trusted_a,"
    ):
        built("trusted_a.Mine")


def test_several_packages_and_no_others() -> None:
    with trusting("trusted_a, trusted_b"):
        assert built("trusted_a.Mine") is not built("trusted_b.Mine")
    with trusting("trusted_b"), pytest.raises(UserError, match="needs trust=trusted_a"):
        built("trusted_a.Mine")
    with trusting("trusted_a"), pytest.raises(UserError, match="needs trust=trusted_a_too"):
        built("trusted_a_too.Mine")


@pytest.mark.parametrize("name", ["NoHead", "nn.Linear", "nn", "SigmoidHead.forward"])
def test_a_trusted_class_must_be_of_the_kind(name: str) -> None:
    with (
        trusting("trusted_a"),
        pytest.raises(UserError, match=f"trusted_a.{name} (is refused|does not exist)"),
    ):
        built(f"trusted_a.{name}")


@pytest.mark.parametrize(
    ("packages", "words"),
    [
        ("", "trust= is no name of a package"),
        ("trusted_a.nets", r"trust=trusted_a\.nets is no name"),
        ("../trusted_a", r"trust=\.\./trusted_a is no name"),
        ("os", "trust=os is refused"),
        ("trusted_a,subprocess", "trust=subprocess is refused"),
        ("trusted_c", "trust=trusted_c is not there"),
    ],
)
def test_what_cannot_be_trusted(packages: str, words: str) -> None:
    path = list(sys.path)
    with pytest.raises(UserError, match=f"^{words}"), trusting(packages):
        pass
    assert sys.path == path
    assert trusted() == ()


def test_the_word_is_taken_from_the_command_line() -> None:
    seen: list[object] = []
    with_trust(lambda words: seen.extend([list(words), trusted()]), ["a=1", "trust=trusted_a", "b=2"])
    with_trust(lambda words: seen.extend([list(words), trusted()]), ["a=1"])
    assert seen == [["a=1", "b=2"], ("trusted_a",), ["a=1"], ()]


def test_a_mistake_in_the_package_is_not_hidden() -> None:
    Path("trusted_a", "broken.py").write_text("import not_installed_at_all")
    with trusting("trusted_a"), pytest.raises(ModuleNotFoundError, match="not_installed_at_all"):
        built("trusted_a.broken.Mine")
    with trusting("trusted_a"), pytest.raises(UserError, match=r"trusted_a\.nothing\.Mine does not exist"):
        built("trusted_a.nothing.Mine")


def test_annotations_that_are_not_there_are_named() -> None:
    code = "from mlc.heads.sigmoid import SigmoidHead\nclass Mine(SigmoidHead):\n"
    code += "    def __init__(self, *, in_features, labels, prior_bias: 'Unknown'): pass\n"
    Path("trusted_a", "late.py").write_text(code)
    with (
        trusting("trusted_a"),
        pytest.raises(UserError, match=r"annotations of Mine cannot be read \(name 'Unknown'"),
    ):
        built("trusted_a.late.Mine")

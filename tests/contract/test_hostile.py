"""Files of strangers: whatever they hold, nothing runs, and a sentence names what was refused.

The canary: os.system and subprocess.Popen fail the test, and no payload may leave the file "owned".
"""

import gzip
import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra
from safetensors.torch import save_file

from mlc.batch import LabelStatistics
from mlc.data.archives import DAMAGED, Limits, copy_zip_member, read_gzip, read_tar_gz
from mlc.errors import UserError
from mlc.experiment.assemble import read_run_config, read_trained_run
from mlc.experiment.compose import compose_runs
from mlc.experiment.recipe import read_recipe
from mlc.training.checkpoint import load_checkpoint, save_checkpoint
from mlc.training.job import config_yaml
from mlc.training.run_files import Facts, RunFiles, save_classifier
from tests.contract.grid import numbers
from tests.contract.hostile import checkpoints, configs, presets
from tests.unit.experiment.shipped import config

NAMES = tuple("abcde")


@pytest.fixture(autouse=True)
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Each test in a folder of its own, where nothing may be owned and nothing started."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("stranger.py").write_text("open('owned', 'w')\nclass Head: pass\n")
    monkeypatch.syspath_prepend(tmp_path / "here")
    started: list[Any] = []
    for module, name in ((os, "system"), (os, "popen"), (subprocess, "Popen"), (os, "execv")):
        monkeypatch.setattr(module, name, lambda *words, **_: started.append(words))
    monkeypatch.setattr(pickle, "load", lambda *_: started.append("unpickled"))
    yield tmp_path / "here" / "owned"
    assert started == []
    assert list(tmp_path.rglob("owned")) == []
    assert "stranger" not in sys.modules


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A small classifier as a run leaves it, and its config."""
    path = tmp_path_factory.mktemp("run") / "classifier.safetensors"
    chosen = config(dataset="yeast", backbone="mlp")
    chosen["backbone"]["widths"] = [8]
    y_NL = torch.eye(5).repeat(2, 1)
    y_NL[0] = 1
    facts = Facts(numbers(3), NAMES, LabelStatistics.from_targets(y_NL), {"mean": torch.arange(3.0)})
    recipe = read_recipe(chosen).resolved(facts.labels)
    save_classifier(path, recipe.classifier(inputs=facts.inputs, labels=facts.labels), facts)
    return path, dict(recipe.config)


@pytest.fixture
def run(made: tuple[Path, dict[str, Any]]) -> Path:
    """A finished run in the working directory, as far as a door reads it."""
    folder = Path("run")
    folder.mkdir()
    RunFiles(folder).classifier.write_bytes(made[0].read_bytes())
    RunFiles(folder).config.write_text(config_yaml(made[1]), encoding="utf-8")
    return folder


def test_the_run_works_before_it_is_changed(run: Path) -> None:
    assert read_trained_run(run).facts.label_names == NAMES


@pytest.mark.parametrize("name", configs.FILES)
def test_a_hostile_config_file(name: str, run: Path) -> None:
    content, words = configs.FILES[name]
    RunFiles(run).config.write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_run_config(run)


@pytest.mark.parametrize("name", configs.CHANGES)
def test_a_hostile_config(
    name: str, run: Path, made: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    change, words = configs.CHANGES[name]
    changed = deepcopy(made[1])
    change(changed)
    monkeypatch.setattr("mlc.experiment.assemble.read_run_config", lambda folder: changed)
    with pytest.raises(UserError, match=words) as refused:
        read_trained_run(run)
    assert len(str(refused.value)) < 2000
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize("name", checkpoints.BYTES)
def test_what_is_no_checkpoint(name: str, run: Path, canary: Path) -> None:
    path = RunFiles(run).classifier
    path.write_bytes(checkpoints.BYTES[name](canary))
    with pytest.raises(UserError, match=rf"{path} is (damaged or cut|no whole checkpoint)"):
        read_trained_run(run)


@pytest.mark.parametrize("name", checkpoints.CONTENTS)
def test_a_hostile_checkpoint(name: str) -> None:
    text = checkpoints.CONTENTS[name]
    checksum = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    save_file({}, "a.safetensors", metadata={"mlc": text, "checksum": checksum})
    with pytest.raises(UserError, match=r"a\.safetensors (is refused|has checkpoint format)"):
        load_checkpoint(Path("a.safetensors"))


@pytest.mark.parametrize("name", checkpoints.FACTS)
def test_hostile_facts(name: str, run: Path) -> None:
    change, words = checkpoints.FACTS[name]
    path = RunFiles(run).classifier
    tree = load_checkpoint(path)
    change(tree)
    save_checkpoint(path, tree)
    with pytest.raises(UserError, match=words) as refused:
        read_trained_run(run)
    assert str(path) in str(refused.value)


LINKS: dict[str, Callable[[Path, Path], None]] = {
    "the log": lambda run, victim: (run / "train.log").symlink_to(victim),
    "a temporary file": lambda run, victim: (run / ".results.json.tmp").symlink_to(victim),
    "the folder of checkpoints": lambda run, victim: (run / "checkpoints").symlink_to(victim.parent),
    "the config": lambda run, victim: _replaced(run / "config.yaml").symlink_to(victim),
    "a link to nothing": lambda run, victim: (run / ".lock").symlink_to(victim.with_name("owned")),
    "a pipe": lambda run, victim: os.mkfifo(run / "train.log"),
}


def _replaced(path: Path) -> Path:
    path.unlink()
    return path


@pytest.mark.parametrize("name", LINKS)
def test_a_run_folder_with_links(name: str, run: Path) -> None:
    victim = Path("victim")
    victim.write_text("seed: 1")
    LINKS[name](run, victim.absolute())
    with pytest.raises(UserError, match=r"run/\S+ is refused: it is (a link to .*|no file)"):
        read_run_config(run)
    assert victim.read_text() == "seed: 1"


@pytest.fixture
def small_hydra(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hydra with a config of a few lines in the place of all groups: composing them is slow."""
    shipped = yaml.safe_load(
        (Path(__file__).parents[2] / "configs" / "train.yaml").read_text(encoding="utf-8")
    )
    shipped["defaults"] = [
        {"experiment": None},
        *({f"override hydra/{kind}_logging": "none"} for kind in ("job", "hydra")),
        "_self_",
    ]
    shipped["hydra"]["run"]["dir"] = "runs/one"
    Path("configs", "experiment").mkdir(parents=True)
    Path("configs", "train.yaml").write_text(yaml.safe_dump(shipped), encoding="utf-8")
    for place in ("compose", "hydra_guard", "shipped"):
        monkeypatch.setattr(f"mlc.experiment.{place}.config_folder", lambda: Path("configs").absolute())
    monkeypatch.setattr(sys, "argv", ["mlc.train"])
    # Hydra composes everything twice, first to see whether a preset says that it is a sweep.
    monkeypatch.setattr("hydra._internal.hydra.Hydra.get_mode", lambda *_, **__: None)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setenv("SECRET", "in the environment")
    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()


def start(*words: str) -> list[dict[str, Any]]:
    started: list[dict[str, Any]] = []
    compose_runs(words, lambda config, folder: started.append(config))
    return started


def write_presets(files: dict[str, str]) -> None:
    for place, text in files.items():
        path = Path("theirs", place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_hostile_preset(name: str, small_hydra: None) -> None:
    files, words = presets.PRESETS[name]
    write_presets(files)
    with pytest.raises(UserError, match=words):
        compose_runs(["--config-dir", "theirs", "experiment=stranger"], lambda config, folder: None)
    assert os.environ.get("LD_PRELOAD") != "owned.so"


@pytest.mark.parametrize("name", presets.OVERRULED)
def test_a_hostile_preset_that_changes_nothing(name: str, small_hydra: None) -> None:
    write_presets(presets.OVERRULED[name])
    found: list[tuple[int, str]] = []
    compose_runs(
        ["--config-dir=theirs", "experiment=stranger"],
        lambda config, folder: found.append((config["seed"], folder.parts[0])),
    )
    assert found == [(0, "runs")]


def test_a_harmless_preset_is_taken_and_the_command_line_may_change_hydra(small_hydra: None) -> None:
    Path("configs", "experiment", "mine.yaml").write_text("# @package _global_\nmine: a${seed}\n")
    (only,) = start("experiment=mine", "+hydra.job.env_set={MINE: here}")
    assert only["mine"] == "a0"


@pytest.mark.parametrize(
    "words",
    [
        ["--experimental-rerun", "theirs/config.pickle"],
        ["--exp=theirs/config.pickle"],
        ["--config-path", "theirs"],
        ["-cp=theirs"],
        ["--config-name=theirs"],
        ["-cn", "theirs"],
    ],
)
def test_options_that_bring_in_code(words: list[str], small_hydra: None, canary: Path) -> None:
    Path("theirs").mkdir()
    Path("theirs", "config.pickle").write_bytes(checkpoints.pickled(canary))
    with pytest.raises(UserError, match=f"^{words[0].partition('=')[0]} is refused"):
        start(*words)


SMALL = Limits(most_bytes=1 << 20, most_times=50, free_bytes=1 << 16)
LARGE = b"\0" * (1 << 21)


def _tar(*members: tarfile.TarInfo, content: bytes = b"") -> None:
    with tarfile.open("a.tar.gz", "w:gz") as archive:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content))


def _member(name: str, **facts: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for key, value in facts.items():
        setattr(member, key, value)
    return member


TARS: dict[str, tuple[Callable[[], None], str]] = {
    "a symbolic link": (
        lambda: _tar(_member("a/wanted", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
        "member a/wanted is no regular file",
    ),
    "a hard link": (
        lambda: _tar(_member("wanted", type=tarfile.LNKTYPE, linkname="../../owned")),
        "member wanted is no regular file",
    ),
    "a device": (lambda: _tar(_member("wanted", type=tarfile.CHRTYPE)), "member wanted is no regular file"),
    "a bomb": (lambda: _tar(_member("wanted"), content=LARGE), "unpack to more than"),
    "a bomb that nobody asked for": (lambda: _tar(_member("other"), content=LARGE), "unpack to more than"),
    "a bomb in a header": (
        lambda: _tar(_member("other", pax_headers={"comment": "a" * len(LARGE)})),
        "unpack to more than",
    ),
}


@pytest.mark.parametrize("name", TARS)
def test_a_hostile_tar_archive(name: str) -> None:
    make, words = TARS[name]
    make()
    with pytest.raises(UserError, match=words):
        read_tar_gz(Path("a.tar.gz"), ["wanted"], limits=SMALL)


def test_paths_in_an_archive_lead_nowhere() -> None:
    _tar(_member("../../owned"), _member("/tmp/../owned"), _member("../wanted"), content=b"text")
    assert read_tar_gz(Path("a.tar.gz"), ["wanted"]) == {"wanted": b"text"}


def test_a_bomb_of_gzip() -> None:
    Path("a.gz").write_bytes(gzip.compress(LARGE))
    with pytest.raises(UserError, match=r"a\.gz is refused: .* unpack to more than"):
        read_gzip(Path("a.gz"), limits=SMALL)


def _zip(name: str = "wanted", *, content: bytes = b"text", mode: int = 0o100644) -> None:
    info = zipfile.ZipInfo(name)
    info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.writestr(info, content)


def _flag(offset: int, value: int) -> None:
    """Change a byte in the headers of the only member, in front of it and in the index."""
    data = bytearray(Path("a.zip").read_bytes())
    data[6 + offset] = data[data.index(b"PK\1\2") + 8 + offset] = value
    Path("a.zip").write_bytes(data)


def _locked() -> None:
    _zip()
    _flag(0, 1)


ZIPS: dict[str, tuple[Callable[[], None], str]] = {
    "a symbolic link": (
        lambda: _zip(content=b"/etc/passwd", mode=0o120777),
        "member wanted is no regular file",
    ),
    "a bomb": (lambda: _zip(content=LARGE), "unpack to more than"),
    "a password": (_locked, "member wanted is locked with a password"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_hostile_zip_archive(name: str) -> None:
    make, words = ZIPS[name]
    make()
    sink = io.BytesIO()
    with pytest.raises(UserError, match=words):
        copy_zip_member(Path("a.zip"), "wanted", sink, limits=SMALL)
    assert len(sink.getvalue()) <= SMALL.most_bytes


@pytest.mark.parametrize("method", [1, 98])
def test_a_zip_archive_of_an_unknown_method_is_damaged(method: int) -> None:
    _zip()
    _flag(2, method)
    with pytest.raises(DAMAGED):
        copy_zip_member(Path("a.zip"), "wanted", io.BytesIO())

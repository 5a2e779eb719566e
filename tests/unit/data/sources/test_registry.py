import hashlib
import os
from pathlib import Path

import pytest
import yaml

from mlc.data.sources.registry import known_file, known_files

CONFIGS = Path(__file__).parents[4] / "configs" / "dataset"


def test_a_file_by_hand() -> None:
    labels = known_file("tmc2007", "tmc2007-500.xml")
    assert labels is not None
    assert labels.name == "tmc2007-500.xml"
    assert labels.url.endswith("/data/multi-label/tmc2007/tmc2007.xml")
    assert labels.licence == "not stated"
    assert labels.bytes == 783


def test_what_is_not_known() -> None:
    assert known_file("yeast", "other.arff") is None
    assert known_file("..", "yeast", "yeast.xml") is None


@pytest.mark.parametrize("path", known_files())
def test_every_entry_is_sound(path: str) -> None:
    file = known_files()[path]
    assert file.url.startswith(("https://", "http://www.daviddlewis.com/"))
    assert path.endswith("/" + file.name)
    if file.checksum is not None:
        algorithm, digest = file.checksum.split(":")
        assert len(bytes.fromhex(digest)) == hashlib.new(algorithm).digest_size
    if file.url.startswith("http://"):  # nobody may change the bytes on their way unseen
        assert file.checksum is not None


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_mulan_config_can_be_downloaded(config: Path) -> None:
    options = yaml.safe_load(config.read_text(encoding="utf-8"))
    if options["_target_"] != "mlc.data.mulan.Mulan" or config.stem == "mulan":  # the last is for own files
        return
    for role in ("train", "test", "labels"):
        assert known_file(options["folder"], options[role]) is not None


@pytest.mark.data
def test_real_files_have_the_checksums() -> None:
    root = os.environ.get("MLC_DATA")
    if not root:
        pytest.skip("MLC_DATA is not set, so there are no real data files to compare with.")
    # Ours are not the original archives of these two: packed again, with the same content.
    packed = ("mnist/", "reuters21578/")
    compared = 0
    for path, file in known_files().items():
        real = Path(root, path)
        if file.checksum is None or file.member or path.startswith(packed) or not real.is_file():
            continue
        assert f"sha256:{hashlib.sha256(real.read_bytes()).hexdigest()}" == file.checksum
        assert real.stat().st_size == file.bytes
        compared += 1
    if not compared:
        pytest.skip(f"MLC_DATA={root} has no file with a checksum.")

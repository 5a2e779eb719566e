import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mlc.data import picture_files
from mlc.data.picture_files import inside, load_pictures
from mlc.data.picture_rows import PictureRows
from mlc.errors import UserError

NAMES = [f"{n}.png" for n in range(5)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five grey pictures of 3×4 pixels, picture n of brightness n; and an empty data root."""
    (tmp_path / "root").mkdir()
    monkeypatch.setenv("MLC_DATA", str(tmp_path / "root"))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for n, name in enumerate(NAMES):
        Image.fromarray(np.full((3, 4), n, dtype=np.uint8)).save(pictures / name)
    return pictures


def load(folder: Path, names: list[str] = NAMES, **options: object) -> PictureRows:
    defaults = {"size": None, "colour": "grey", "workers": 0, "cache": True}
    return load_pictures(names, folder=folder, **(defaults | options))  # type: ignore[arg-type]


def brightness(rows: PictureRows) -> list[int]:
    return (rows[torch.arange(len(rows))][:, 0, 0, 0] * 255).round().int().tolist()


@pytest.mark.parametrize("cache", [True, False])
def test_one_row_for_each_path_and_one_decoding_for_each_file(cache: bool, folder: Path) -> None:
    rows = load(folder, ["3.png", "0.png", "3.png"], cache=cache)
    assert brightness(rows) == [3, 0, 3]
    assert rows.pixels_MCHW.shape == (2, 1, 3, 4)
    assert rows.notes[0] == "2 pictures were decoded to grey, 3×4 pixels."
    assert len(list((folder.parent / "root").rglob("*.npy"))) == cache


def test_workers_give_the_same_in_the_same_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_files, "_CHUNK_PICTURES", 2)
    assert brightness(load(folder, workers=2)) == [0, 1, 2, 3, 4]


def test_second_run_reads_the_cache_and_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(folder, size=[2, 2])
    monkeypatch.setattr(picture_files, "decode_files", None)  # nothing is decoded again
    second = load(folder, size=[2, 2])
    assert brightness(second) == brightness(first)
    (kept,) = (folder.parent / "root" / "pictures").glob("*.npy")
    assert "5 of other sizes were stretched" in first.notes[0]
    assert second.notes == (f"The decoded pictures are taken from {kept}, where {first.notes[0]}",)
    kept.with_suffix(".json").unlink()
    assert load(folder, size=[2, 2]).notes == (f"The decoded pictures are taken from {kept}.",)


@pytest.mark.parametrize("change", [{"size": [6, 8]}, {"colour": "rgb"}, {}])
def test_other_options_or_files_are_decoded_again(change: dict[str, object], folder: Path) -> None:
    load(folder)
    if not change:
        Image.fromarray(np.full((3, 4), 99, dtype=np.uint8)).save(folder / "1.png")
        os.utime(folder / "1.png", ns=(1, 1))
    rows = load(folder, **change)
    assert "were decoded" in rows.notes[0]
    assert brightness(rows)[1] == (1 if change else 99)


def test_a_cut_cache_is_written_again(folder: Path) -> None:
    load(folder)
    (kept,) = (folder.parent / "root" / "pictures").glob("*.npy")
    kept.write_bytes(kept.read_bytes()[:-1])
    assert "were decoded" in load(folder).notes[0]
    assert "are taken from" in load(folder).notes[0]


def test_a_failure_leaves_no_cache(folder: Path) -> None:
    (folder / "4.png").write_text("no picture")
    with pytest.raises(UserError):
        load(folder)
    assert not [path for path in (folder.parent / "root").rglob("*") if path.is_file()]


def test_nowhere_to_keep_them(folder: Path) -> None:
    (folder.parent / "root" / "pictures").write_text("a file in the way")
    with pytest.raises(UserError, match="cannot keep the decoded pictures"):
        load(folder)


def test_failures_are_counted_and_the_first_named(folder: Path) -> None:
    for name in NAMES[1:]:
        (folder / name).write_text("no picture")
    expected = (
        r"4 of 5 pictures in .* cannot be used: 1\.png is no picture, 2\.png is no picture, "
        r"3\.png is no picture and 1 more; mend"
    )
    with pytest.raises(UserError, match=expected):
        load(folder)


@pytest.mark.parametrize("names", [["7.png", "0.png"], ["a\0b.png"], ["0.png/x.png"]])
def test_missing(names: list[str], folder: Path) -> None:
    with pytest.raises(UserError, match=f"1 of {len(names)} pictures? in .* is missing"):
        load(folder, names)


def test_first_picture_sets_the_size_of_all(folder: Path) -> None:
    Image.new("L", (9, 9)).save(folder / "2.png")
    with pytest.raises(UserError, match=r"2\.png has 9×9 and not 3×4 pixels"):
        load(folder)
    (folder / "0.png").write_text("no picture")
    with pytest.raises(UserError, match=r"0\.png is no picture"):
        load(folder)


@pytest.mark.parametrize("path", ["../pictures2/a.png", "a/../../a.png", "/etc/passwd", "", ".", "a/.."])
def test_paths_out_of_the_folder(path: str, folder: Path) -> None:
    with pytest.raises(UserError, match="is not a file below"):
        load(folder, ["0.png", path])


def test_paths_in_the_folder(folder: Path) -> None:
    for path in ("0.png", "./0.png", "a/../0.png", str(folder / "0.png")):
        assert inside(folder, path) == folder / "0.png"


def test_no_pictures_and_no_folder(folder: Path) -> None:
    with pytest.raises(UserError, match="no row names a picture"):
        load(folder, [])
    with pytest.raises(UserError, match="is no folder"):
        load(folder / "missing")

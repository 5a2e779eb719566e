import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mlc.data.dataset import Dataset, Split
from mlc.data.images import Images
from mlc.errors import UserError
from mlc.inputs import InputSpec

N = 30


def level(n: int) -> int:
    return 8 * n


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Grey pictures, each of its own brightness; odd ones are labelled b, those divisible by three a."""
    (tmp_path / "root").mkdir()
    monkeypatch.setenv("MLC_DATA", str(tmp_path / "root"))
    pictures = tmp_path / "squares"
    (pictures / "sub").mkdir(parents=True)
    lines = ["file,labels,part"]
    for n in range(N):
        Image.fromarray(np.full((4, 6), level(n), dtype=np.uint8)).save(pictures / "sub" / f"{n:02d}.png")
        labels = "|".join(["a"] * (n % 3 == 0) + ["b"] * (n % 2))
        lines.append(f"sub/{n:02d}.png,{labels},{'train' if n < 20 else 'valid' if n < 25 else 'test'}")
    (pictures / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return pictures


def images(folder: Path, **options: object) -> Images:
    return Images(folder=str(folder), **({"workers": 0, "colour": "grey"} | options))  # type: ignore[arg-type]


def levels(data: Dataset, split: Split) -> torch.Tensor:
    """Brightness of each picture of a split, 0..255."""
    x = split.inputs["x"][torch.arange(len(split))]
    assert isinstance(x, torch.Tensor)
    light = x * data.preparation["picture.scale"] + data.preparation["picture.mean"]
    return (light[:, 0, 0, 0] * 255).round().long()


def test_pictures_keep_their_labels_and_splits(folder: Path) -> None:
    data = images(folder, split="part").load(seed=0)
    assert data.name == "squares"
    assert data.label_names == ("a", "b")
    assert data.inputs == {"x": InputSpec("pictures", (1, 4, 6))}
    assert [len(split) for split in (data.train, data.valid, data.test)] == [20, 5, 5]
    for split in (data.train, data.valid, data.test):
        n = levels(data, split) // 8
        expected = torch.stack([n % 3 == 0, n % 2 == 1], dim=1).float()
        assert torch.equal(split.y_NL[torch.arange(len(split))], expected)
    train = np.array([level(n) for n in range(20)]) / 255
    assert data.preparation["picture.mean"].item() == pytest.approx(train.mean())
    assert data.preparation["picture.scale"].item() == pytest.approx(train.std())


def test_every_split_gets_rows_where_the_table_names_none(folder: Path) -> None:
    data = images(folder, test_fraction=0.2, valid_fraction=0.2).load(seed=0)
    seen = torch.cat([levels(data, split) for split in (data.train, data.valid, data.test)])
    assert sorted(seen.tolist()) == [level(n) for n in range(N)]
    assert min(len(data.train), len(data.valid), len(data.test)) >= 3


def test_colour_and_size(folder: Path) -> None:
    data = images(folder, colour="rgb", size=[2, 3]).load(seed=0)
    assert data.inputs == {"x": InputSpec("pictures", (3, 2, 3))}
    assert any("30 of other sizes" in note for note in data.notes)


def predict(folder: Path, source: Path, **options: object) -> torch.Tensor:
    """What a model would see of new pictures, as brightness 0..255."""
    trained = images(folder, split="part", **options)
    preparation = trained.load(seed=0).preparation
    chunks = [chunk["x"] for chunk in trained.read_inputs(source, preparation=preparation, chunk_rows=4)]
    x = torch.cat([chunk for chunk in chunks if isinstance(chunk, torch.Tensor)])
    assert len(x) == 6
    assert len(chunks) == 2
    return ((x * preparation["picture.scale"] + preparation["picture.mean"])[:, 0, 0, 0] * 255).round().long()


def test_new_pictures_in_a_folder_a_table_and_an_array(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    pixels = np.stack([np.full((4, 6), 40 * n, dtype=np.uint8) for n in range(6)])
    for n in range(6):
        Image.fromarray(pixels[n]).save(new / f"{n}.PNG")
    (new / "new.csv").write_text("file\n" + "".join(f"{n}.PNG\n" for n in range(6)), encoding="utf-8")
    np.save(new / "new.npy", pixels)
    with caplog.at_level(logging.WARNING):
        for source in (new, new / "new.csv", new / "new.npy"):
            assert predict(folder, source).tolist() == [40 * n for n in range(6)]
    assert "6 pictures, those of subfolders among them, sorted by path" in caplog.text
    assert "2 other files are left out" in caplog.text
    assert len(list((tmp_path / "root").rglob("*.npy"))) == 1  # new pictures are not kept


def test_new_pictures_in_subfolders_come_in_the_order_of_their_numbers(folder: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    brightness = {
        "b 2.png": 20,
        "b 10.png": 30,
        "a/x.jpg.png": 10,
        "b 10/1.png": 40,
        "c.PNG": 50,
        "d.png": 60,
    }
    for path, light in brightness.items():
        (new / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 6), light, dtype=np.uint8)).save(new / path)
    (new / ".hidden").mkdir()
    (new / ".hidden" / "1.png").touch()
    (new / "._c.png").touch()
    names = images(folder).files_in(new)
    assert names == ["a/x.jpg.png", "b 2.png", "b 10.png", "b 10/1.png", "c.PNG", "d.png"]
    assert predict(folder, new).tolist() == [brightness[name] for name in names]


def test_new_pictures_of_another_size(folder: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    Image.new("L", (5, 5)).save(new / "0.png")
    with pytest.raises(UserError, match=r"\(1, 5, 5\)"):
        predict(folder, new)


def test_folder_without_pictures(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no pictures"):
        predict(folder, tmp_path / "root")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.folder is not set"):
        Images().load(seed=0)
    with pytest.raises(UserError, match="is no folder"):
        images(tmp_path / "missing").load(seed=0)

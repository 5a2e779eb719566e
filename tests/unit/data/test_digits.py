from pathlib import Path

import numpy as np
import pytest
import torch

from mlc.data.digits import Digits
from mlc.errors import UserError
from tests.contract.grid import numbers


def small() -> Digits:
    return Digits(n_train=400, n_test=100)


def test_shapes_and_split_sizes() -> None:
    data = small().load(seed=0)
    assert [len(split) for split in (data.train, data.valid, data.test)] == [340, 60, 100]
    assert data.inputs == numbers(1, 28, 28)
    assert data.train.inputs["x"].dtype == data.train.y_NL.dtype == torch.float32
    assert data.train.y_NL.sum(1).max() <= 5
    assert "1222 training, 216 validation and 359 test glyphs" in data.notes[0]


def test_the_seed_decides() -> None:
    first, again, other = (small().load(seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.train.inputs["x"], again.train.inputs["x"])
    assert not torch.equal(first.train.y_NL, other.train.y_NL)


def test_levels_are_the_copies_of_the_same_digits() -> None:
    presence = small().load(seed=0)
    levels = Digits(n_train=400, n_test=100, targets="levels").load(seed=0)
    assert levels.train.y_NL.max() > 1
    for one, other in ((presence.train, levels.train), (presence.valid, levels.valid)):
        assert torch.equal(one.inputs["x"], other.inputs["x"])
        assert torch.equal(one.y_NL, (other.y_NL > 0).float())
        assert other.y_NL.sum(1).max() <= 5


def test_layout_is_checked_before_loading() -> None:
    with pytest.raises(UserError, match="cells of 7 pixels"):
        Digits(canvas=21)


def test_new_pictures_are_prepared_like_the_test_pictures(tmp_path: Path) -> None:
    source = small()
    data = source.load(seed=0)
    x = data.test.inputs["x"] * data.preparation["scale"] + data.preparation["mean"]
    np.save(tmp_path / "new.npy", x[:, 0].clamp(0, 1).numpy())
    chunks = [
        chunk["x"]
        for chunk in source.read_inputs(tmp_path / "new.npy", preparation=data.preparation, chunk_rows=32)
    ]
    assert [len(chunk) for chunk in chunks] == [32, 32, 32, 4]
    torch.testing.assert_close(torch.cat(chunks), data.test.inputs["x"], rtol=0, atol=1e-5)

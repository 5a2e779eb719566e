import gzip
from pathlib import Path

import numpy as np
import pytest

from mlc.data.idx import read_idx
from mlc.errors import UserError

HEADER = b"\x00\x00\x08\x02" + b"\x00\x00\x00\x02" + b"\x00\x00\x00\x03"
WHOLE = gzip.compress(HEADER + bytes(range(6)))


def test_a_small_file_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(WHOLE)
    values = read_idx(path, ndim=2)
    assert values.dtype == np.uint8
    assert values.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not gzip", id="not gzip"),
        pytest.param(WHOLE[: len(WHOLE) // 2], id="cut"),
        pytest.param(WHOLE[:-8] + bytes(4) + WHOLE[-4:], id="wrong checksum"),
        pytest.param(gzip.compress(HEADER[:6]), id="half a header"),
        pytest.param(gzip.compress(HEADER + bytes(5)), id="a value too few"),
        pytest.param(gzip.compress(HEADER + bytes(7)), id="a value too many"),
        pytest.param(gzip.compress(b"\x00\x00\x0d\x02" + HEADER[4:] + bytes(6)), id="floats"),
        pytest.param(gzip.compress(b"\x00\x00\x08\x01" + b"\x00\x00\x00\x06" + bytes(6)), id="one dimension"),
    ],
)
def test_cut_or_malformed_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=str(path)):
        read_idx(path, ndim=2)

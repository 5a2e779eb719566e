import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from mlc.data.svmlight_arrays import FlatFiles
from mlc.data.svmlight_block import Limits
from mlc.data.svmlight_file import Header, SvmlightFile
from mlc.errors import UserError


def written(folder: Path, text: bytes) -> SvmlightFile:
    path = folder / "rows.svm"
    path.write_bytes(text)
    return SvmlightFile(path)


def lengths(file: SvmlightFile, limits: Limits | None = None) -> list[int]:
    """Features of each row."""
    return [n for block in file.blocks(limits or Limits()) for n in block.length_R.tolist()]


def test_a_plain_file_skips_lines_that_hold_nothing(tmp_path: Path) -> None:
    file = written(tmp_path, b"# made by hand\n\n1 1:1 2:1\r\n  \n2\n 3:1\n\n")
    assert file.header is None
    assert lengths(file) == [2, 0, 1]
    assert sum(block.skipped for block in file.blocks(Limits())) == 4


def test_with_a_header_each_line_is_a_row(tmp_path: Path) -> None:
    file = written(tmp_path, b"# from somewhere\n 4 10 3 # rows, features, labels\n1 1:1 2:1\n\n 3:1\n\n\n\n")
    assert file.header == Header(4, 10, 3)
    assert lengths(file) == [2, 0, 1, 0]


def test_a_byte_order_mark_and_a_missing_last_newline(tmp_path: Path) -> None:
    assert lengths(written(tmp_path, b"\xef\xbb\xbf1 1:1\n2 1:1 2:2")) == [1, 2]
    assert written(tmp_path, b"\xef\xbb\xbf1 5 2\r\n1 1:1").header == Header(1, 5, 2)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_blocks_end_anywhere(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlc.data.svmlight_file._BLOCK_BYTES", size)
    file = written(tmp_path, b"1 1:1 2:1\n\n2 1:11111111111111111\n 3:1 4:1 5:1 7:1 8:1 9:1 10:1\n3")
    assert lengths(file) == [2, 1, 7, 0]
    assert sum(len(block) for block in file.blocks(Limits())) == 4


@pytest.mark.parametrize("size", [4, 30, 2**18])
def test_the_line_of_a_mistake_is_exact(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, b"\n2 9 9\n1 1:1\n\n1 1:x\n1 1:1\n")
    monkeypatch.setattr("mlc.data.svmlight_file._BLOCK_BYTES", size)
    with pytest.raises(UserError, match=r"rows\.svm, line 5: the value in '1:x' is not a finite number"):
        lengths(file)
    plain = written(tmp_path, b"# comment\n\n1 1:1\n1 1:1\n1 b\n")
    with pytest.raises(UserError, match=r"rows\.svm, line 5: 'b' is no index:value pair"):
        lengths(plain)


@pytest.mark.parametrize(("rows", "found"), [(1, 2), (3, 2)])
def test_a_header_with_another_number_of_rows_is_refused(tmp_path: Path, rows: int, found: int) -> None:
    file = written(tmp_path, f"{rows} 9 9\n1 1:1\n2 1:1\n".encode())
    with pytest.raises(UserError, match=f"has {found} rows, but its header says {rows}; correct the header"):
        lengths(file)


def test_a_header_with_a_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 1: the header says 3 rows, 0 features and 2 labels"):
        written(tmp_path, b"3 0 2\n")


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"3 2147483648 2\n", "says 2147483648 features, and 2147483647 are the most"),
        (b"3 9999999999 2\n", "says 9999999999 features, and"),
        (b"3 2 300000000\n", "line 1: the header says 300000000 labels, and 5000000 are the most"),
    ],
)
def test_a_header_with_too_large_a_number_is_refused(tmp_path: Path, header: bytes, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        written(tmp_path, header)


def test_the_largest_numbers_are_read(tmp_path: Path) -> None:
    file = written(tmp_path, b"1 2147483647 1000000\n999999 2147483646:1\n")
    flat = FlatFiles.read([file], Limits(0, 2**31 - 2, 10**6), "binary")
    names, labels = flat.labels(10**6)
    assert (len(names), names[-1], labels.ids_M.tolist()) == (10**6, "999999", [999_999])
    assert flat.highest == 2**31 - 2


def test_an_index_beyond_32_bits_is_refused_whatever_the_limits_say(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the number '3000000000' is above 2147483647"):
        lengths(written(tmp_path, b"1 3000000000:1\n"), Limits(0, 10**10, None))


def test_more_labels_than_can_be_read_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlc.data.svmlight_arrays.MOST_LABELS", 2)
    flat = FlatFiles.read([written(tmp_path, b"1,7 1:1\n-3 1:1\n")], Limits(), "binary")
    with pytest.raises(UserError, match="3 different labels, and 2 are the most"):
        flat.labels(None)


@pytest.mark.parametrize("n_labels", [None, 60])
def test_the_labels_of_many_blocks_are_sorted_once_or_not_at_all(
    n_labels: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sorting all labels so far after each block made reading quadratic."""
    monkeypatch.setattr("mlc.data.svmlight_file._BLOCK_BYTES", 16)
    sorted_sizes: list[int] = []

    def counting(sort: Callable[..., Any]) -> Callable[..., Any]:
        def counted(values: Any, *rest: Any, **options: Any) -> Any:
            sorted_sizes.append(len(values))
            return sort(values, *rest, **options)

        return counted

    for name in ("unique", "union1d"):
        monkeypatch.setattr(np, name, counting(getattr(np, name)))
    file = written(tmp_path, b"".join(b"%d 1:1\n" % (59 - row % 60) for row in range(120)))
    names, labels = FlatFiles.read([file], Limits(0, None, n_labels), "binary").labels(n_labels)
    assert names == tuple(map(str, range(60)))
    assert labels.ids_M.tolist() == [59 - row % 60 for row in range(120)]
    assert sorted_sizes == ([120, 60] if n_labels is None else [])  # a piece, and what the pieces have


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(str(tmp_path))):
        SvmlightFile(tmp_path / "missing")


def test_sizes_are_enough(tmp_path: Path) -> None:
    file = written(tmp_path, b"1,2,3 1:1 2:1 # a:b\n\n 4:1\n5")
    sizes = file.sizes()
    assert sizes.rows >= 3
    assert sizes.pairs >= 3
    assert sizes.labels >= 4


def made(random: np.random.Generator, rows: int) -> tuple[bytes, np.ndarray, list[tuple[int, ...]]]:
    """What scikit-learn writes, and what it holds."""
    x_ND = random.normal(size=(rows, 12)) * (random.random((rows, 12)) < 0.3)
    x_ND[:, -1] = 1  # or scikit-learn's reader would not know the width
    y_NL = random.random((rows, 5)) < 0.3
    y_NL[:, 0] = True  # it cannot read rows without labels
    buffer = io.BytesIO()
    dump_svmlight_file(x_ND, y_NL.astype(int), buffer, multilabel=True, zero_based=False)
    return buffer.getvalue(), x_ND, [tuple(np.flatnonzero(row)) for row in y_NL]


def test_the_arrays_are_what_scikit_learn_wrote_and_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, x_ND, labels = made(np.random.default_rng(0), 60)
    read, read_labels = load_svmlight_file(io.BytesIO(text), multilabel=True, zero_based=False)
    monkeypatch.setattr("mlc.data.svmlight_file._BLOCK_BYTES", 700)
    flat = FlatFiles.read([written(tmp_path, text)], Limits(), "as_they_are")
    assert (flat.lowest, flat.highest) == (1, 12)
    x = flat.features(1, 12).dense().numpy()
    np.testing.assert_array_equal(x, read.toarray().astype(np.float32))
    np.testing.assert_allclose(x, x_ND, rtol=1e-6)
    names, y = flat.labels(None)
    assert [tuple(float(names[i]) for i in row.nonzero()) for row in y[:]] == read_labels == labels


def test_files_follow_one_another(tmp_path: Path) -> None:
    text, x_ND, _ = made(np.random.default_rng(1), 30)
    lines = text.splitlines(keepends=True)
    files = []
    for name, part in (("first", lines[:22]), ("second", lines[22:])):
        (tmp_path / name).write_bytes(b"".join(part))
        files.append(SvmlightFile(tmp_path / name))
    flat = FlatFiles.read(files, Limits(), "as_they_are")
    assert flat.rows_of_file == [22, 8]
    np.testing.assert_allclose(flat.features(1, 12).dense().numpy(), x_ND, rtol=1e-6)


def test_label_names_are_the_numbers_that_occur_or_those_of_the_header(tmp_path: Path) -> None:
    file = written(tmp_path, b"7,-2 1:1\n 1:1\n100,7 1:1\n")
    flat = FlatFiles.read([file], Limits(), "binary")
    names, labels = flat.labels(None)
    assert names == ("-2", "7", "100")
    assert labels[:].tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 1]]
    headed = written(tmp_path, b"2 3 4\n3,0 1:1\n2 1:1\n")
    names, labels = FlatFiles.read([headed], Limits(0, 2, 4), "binary").labels(4)
    assert names == ("0", "1", "2", "3")
    assert labels[:].tolist() == [[1, 0, 0, 1], [0, 0, 1, 0]]


def test_values_can_be_changed(tmp_path: Path) -> None:
    file = written(tmp_path, b"1 0:3 2:-4\n1\n1 1:0\n1 1:1e-30 2:1e30\n1 0:7\n")
    kept, binary, unit = (
        FlatFiles.read([file], Limits(), values).features(0, 3).dense()
        for values in ("as_they_are", "binary", "unit_length")
    )
    assert kept.tolist()[:3] == [[3, 0, -4], [0, 0, 0], [0, 0, 0]]
    assert binary.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 1, 1], [1, 0, 0]]
    np.testing.assert_allclose(unit, [[0.6, 0, -0.8], [0, 0, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0]], atol=1e-7)


@pytest.mark.parametrize(
    ("text", "problem"),
    [(b"\n# nothing\n", "has no rows"), (b"", "has no rows"), (b"1\n2\n", "no row has a feature")],
)
def test_files_without_anything_to_learn_from_are_refused(tmp_path: Path, text: bytes, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        FlatFiles.read([written(tmp_path, text)], Limits(), "as_they_are")


def test_labels_that_never_occur_are_refused(tmp_path: Path) -> None:
    flat = FlatFiles.read([written(tmp_path, b" 1:1\n")], Limits(), "as_they_are")
    with pytest.raises(UserError, match="no row of the svmlight file has a label"):
        flat.labels(None)

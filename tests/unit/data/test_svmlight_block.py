import re

import numpy as np
import pytest
from numpy.typing import NDArray

from mlc.data.svmlight_block import Block, Limits, LineError, parse, parse_block, parse_lines
from mlc.data.svmlight_block import _NotInOrderError as NotInOrderError


def as_lists(block: Block) -> list[tuple[list[int], list[tuple[int, float]]]]:
    """Labels and pairs of each line."""
    ends_M, ends_K = np.cumsum(block.length_R), np.cumsum(block.n_labels_R)
    pairs = list(zip(block.ids_M.tolist(), block.values_M.tolist(), strict=True))
    labels = block.labels_M.tolist()
    return [
        (labels[k - n_labels : k], pairs[m - n_pairs : m])
        for m, n_pairs, k, n_labels in zip(ends_M, block.length_R, ends_K, block.n_labels_R, strict=True)
    ]


def assert_same(first: Block, second: Block) -> None:
    for name, value in vars(first).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, getattr(second, name), err_msg=name)
            assert value.dtype == getattr(second, name).dtype, name
        else:
            assert value == getattr(second, name), name


BOTH = [parse_block, parse_lines]


@pytest.mark.parametrize("parser", BOTH)
def test_all_that_a_line_may_be(parser: type) -> None:
    text = (
        b"1,2 3:0.5 7:1 # a comment, with 8:9\r\n"
        b" 4:-2e-1\t5:+3.\n"  # no labels
        b"6:.25\n"  # no labels, and no space either
        b"-3\n"  # no features
        b"\n"
        b"# only a comment\n"
        b"9,+8,0 12:1 2:1   0:007\n"  # not ascending
    )
    block = parser(text, Limits())
    assert as_lists(block) == [
        ([1, 2], [(3, 0.5), (7, 1)]),
        ([], [(4, pytest.approx(-0.2)), (5, 3)]),
        ([], [(6, 0.25)]),
        ([-3], []),
        ([], []),
        ([], []),
        ([9, 8, 0], [(12, 1), (2, 1), (0, 7)]),
    ]
    assert block.blank_R.tolist() == [False, False, False, False, True, True, False]
    assert block.repeated == 0


def random_text(random: np.random.Generator, rows: int) -> bytes:
    """Rows whose values are spelled in all ways."""
    spell = [repr, "{:.4f}".format, "{:.3e}".format, "{:+.17g}".format, "{:.0f}".format, "{:g}".format]
    lines = []
    for _ in range(rows):
        ids: NDArray[np.int64] = random.permutation(200)[: random.integers(6)]
        values = random.normal(size=6) * 10.0 ** random.integers(-8, 8, size=6)
        pairs = [f"{i}:{spell[random.integers(6)](float(v))}" for i, v in zip(ids, values, strict=False)]
        labels = ",".join(map(str, random.integers(-2, 9, size=random.integers(4))))
        lines.append(" ".join([labels, *pairs]) + "\n")
    return "".join(lines).encode()


def test_both_parsers_agree_to_the_bit() -> None:
    text = random_text(np.random.default_rng(0), 400)
    fast, slow = parse_block(text, Limits()), parse_lines(text, Limits())
    assert_same(fast, slow)
    assert fast.repeated > 0, "two of the labels of a line are sometimes the same"
    assert len(fast.ids_M) > 800


@pytest.mark.parametrize("parser", BOTH)
def test_a_label_that_stands_twice_counts_once(parser: type) -> None:
    block = parser(b"3,-1,3 1:1\n2,1 1:1\n", Limits())
    assert as_lists(block) == [([3, -1], [(1, 1)]), ([2, 1], [(1, 1)])]
    assert block.repeated == 1


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"1 3:nan", "the value in '3:nan' is not a finite number"),
        (b"1 3:-inf", "not a finite number"),
        (b"1 3:1e39", "not a finite number that float32 can hold"),
        (b"1 3:1_0", "not a finite number"),
        (b"1 3:1.2.3", "not a finite number"),
        (b"1 3:", "the value is missing after '3:'"),
        (b"1 3: 4", "the value is missing after '3:'"),
        (b"1 3 :4", "'3' is no index:value pair"),
        (b"1 3", "'3' is no index:value pair; labels stand first"),
        (b"3:4 1", "'1' is no index:value pair; labels stand first"),
        (b"1 -3:4", "the index in '-3:4' is not an integer of 0 or more"),
        (b"1 3.0:4", "the index in '3.0:4' is not an integer"),
        (b"1 qid:4 3:4", "the index in 'qid:4' is not an integer"),
        (b"1 3:4:5", "the value in '3:4:5'"),
        (b"1 1:2,3:4", "the value in '1:2,3:4'"),
        (b"1 :4", "the index in ':4'"),
        (b"1 3:1 5:2 3:4", "the index 3 stands twice"),
        (b"1 99999999999:4", "above 2147483647"),
        (b"1 2147483648:4", "above 2147483647"),
        (b"99999999999999999999 3:4", "above 2147483647"),
        (b"1, 2 3:4", "the label '' is no integer"),
        (b"1,,2 3:4", "the label '' is no integer"),
        (b"1.5 3:4", "the label '1.5' is no integer"),
        (b"1e2 3:4", "the label '1e2' is no integer"),
        (b"sports 3:4", "the label 'sports' is no integer"),
        (b"+ 3:4", "the label '+' is no integer"),
        ("é 3:4".encode("latin-1"), "the label '\ufffd' is no integer"),
        (b"1 " + 50 * b"9" + b":x", "…'"),
    ],
)
def test_what_is_wrong_is_said_with_the_line(line: bytes, problem: str) -> None:
    text = b"1 2:3\n" + line + b"\n2 3:4\n"
    with pytest.raises(NotInOrderError):
        parse_block(text, Limits())
    with pytest.raises(LineError, match=re.escape(problem)) as error:
        parse(text, Limits())
    assert error.value.line == 1


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"1 0:1", "the index 0 is below 1"),
        (b"1 11:1", "the index 11 is above 10, the last of 10 features"),
        (b"5 3:1", "the label 5 does not fit the header, which says 5 labels, so 0 to 4"),
        (b"-1 3:1", "the label -1 does not fit the header"),
    ],
)
def test_declared_limits_hold(line: bytes, problem: str) -> None:
    limits = Limits(first=1, last=10, n_labels=5)
    assert as_lists(parse(b"0,4 1:1 10:2\n", limits)) == [([0, 4], [(1, 1), (10, 2)])]
    with pytest.raises(LineError, match=re.escape(problem)):
        parse(line + b"\n", limits)


def test_spellings_at_the_edge_of_exact_arithmetic() -> None:
    spelled = [
        "123456789012345",
        "1234567890123456",
        "0.1234567890123456",
        "-.000000000000001",
        "+1234567.12345678",
    ]
    spelled += ["3.4028234e38", "1e-50", "0000000000000000000000001", "16777217"]
    text = " ".join(f"{i}:{value}" for i, value in enumerate(spelled)).encode() + b"\n"
    expected = np.array([float(value) for value in spelled]).astype(np.float32)
    np.testing.assert_array_equal(parse_block(text, Limits()).values_M, expected)


def test_features_above_an_index_can_be_left_out() -> None:
    block = parse(b"1 2:1 9:1\n2\n3 9:1\n 8:1 1:1\n", Limits()).with_ids_up_to(8)
    assert as_lists(block) == [([1], [(2, 1)]), ([2], []), ([3], []), ([], [(8, 1), (1, 1)])]


@pytest.mark.parametrize("parser", BOTH)
def test_only_blank_lines(parser: type) -> None:
    block = parser(b"\n \t\n", Limits())
    assert len(block) == 2
    assert block.blank_R.all()
    assert len(block.ids_M) == len(block.labels_M) == 0

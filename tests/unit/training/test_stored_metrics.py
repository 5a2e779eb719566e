import json
import math
from pathlib import Path

import pytest

from mlc.errors import UserError
from mlc.training.stored_metrics import compare, read_metrics


def test_metrics_are_read_by_split_and_name(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) is None
    splits = {
        "valid": {"micro_f1": 0.5, "nll": None, "null_reasons": {"nll": "no distribution"}},
        "test": {"rows": 7, "null_reasons": {}},
    }
    (tmp_path / "results.json").write_text(json.dumps({"splits": splits}))
    assert read_metrics(tmp_path) == {"valid micro_f1": 0.5, "valid nll": None, "test rows": 7}


HUGE = f'{{"splits": {{"test": {{"rows": 1{"0" * 400}}}}}}}'  # more than a float can be
DEEP = "[" * 200_000


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"splits": []}', '{"splits": {"test": 1}}', HUGE, DEEP],
    ids=lambda text: str(text)[:30],
)
def test_what_are_no_results(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=r"results\.json cannot be read"):
        read_metrics(tmp_path)


def test_equal_metrics() -> None:
    metrics = {"test a": 0.25, "test b": None}
    assert compare(metrics, dict(metrics), place="old") == "All 2 metrics equal those in old."


def test_the_largest_difference_is_named() -> None:
    then = {"valid a": 0.5, "test a": 0.25, "test b": None}
    sentence = compare(then, {"valid a": 0.5000001, "test a": 0.125, "test b": None}, place="old")
    assert sentence == (
        "2 of 3 metrics differ from old, test a most: 0.25 then, 0.125 now, a difference of 0.12."
    )


@pytest.mark.parametrize(
    ("then", "now", "shown"),
    [
        ({"test a": None}, {"test a": 0.5}, "not defined then, 0.5 now."),
        ({"test a": 0.5}, {"test a": None}, "0.5 then, not defined now."),
        ({"test a": 0.5}, {}, "0.5 then, not defined now."),
        ({}, {"test a": 0.5}, "not defined then, 0.5 now."),
        ({"test a": math.nan}, {"test a": 0.5}, "nan then, 0.5 now"),
    ],
)
def test_what_only_one_run_has_differs_most(
    then: dict[str, float | None], now: dict[str, float | None], shown: str
) -> None:
    assert shown in compare({"test b": 0.0, **then}, {"test b": 0.0, **now}, place="old")

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mlc.data.dataset import Split
from mlc.data.stratify import stratified_split
from mlc.errors import UserError
from mlc.training import finish, run
from mlc.training.evaluation import Predictions, evaluate, fit_on_validation, predict_split
from mlc.training.run_files import RunFiles, load_facts
from mlc.training.validation_rows import rows_that_pick, rows_to_fit_on
from tests.unit.training import tiny, tiny_job

SEPARATE, TOGETHER = tiny.settings(separate_fit=True), tiny.settings(separate_fit=False)


def numbered(rows: int, y_NL: Tensor | None = None, weight_N: Tensor | None = None) -> Split:
    """A split whose inputs are the numbers of its rows."""
    y_NL = tiny.split(rows).y_NL if y_NL is None else y_NL
    return Split(inputs={"x": torch.arange(rows).float()[:, None]}, y_NL=y_NL, weight_N=weight_N)


def row_numbers(split: Split) -> list[int]:
    return split.inputs["x"][:, 0].long().tolist()


def halves(split: Split, seed: int = 0) -> tuple[Split, Split]:
    return rows_that_pick(split, SEPARATE, seed=seed), rows_to_fit_on(split, SEPARATE, seed=seed)


def test_without_separate_fit_all_rows_do_both() -> None:
    split = numbered(9)
    assert rows_that_pick(split, TOGETHER, seed=0) is split
    assert rows_to_fit_on(split, TOGETHER, seed=0) is split


@pytest.mark.parametrize("rows", [4, 5, 10, 41])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_halves_share_no_row_and_leave_none_out(rows: int, seed: int) -> None:
    pick, fit = halves(numbered(rows), seed)
    assert sorted(row_numbers(pick) + row_numbers(fit)) == list(range(rows))
    assert len(pick) > 0
    assert len(fit) > 0


def test_each_row_keeps_its_targets() -> None:
    split = numbered(30)
    for half in halves(split):
        assert torch.equal(half.y_NL, split.y_NL[row_numbers(half)])


def test_the_halves_have_the_same_share_of_every_label() -> None:
    y_NL = torch.zeros(200, tiny.LABELS)
    y_NL[:100, 0], y_NL[:20, 1], y_NL[190:, 2] = 1, 1, 1
    y_NL = y_NL[torch.randperm(200, generator=torch.Generator().manual_seed(3))]
    for half in halves(numbered(200, y_NL)):
        assert half.y_NL.sum(0).tolist() == pytest.approx([50, 10, 5], abs=1)


def test_levels_and_unknown_labels_are_stratified_by_what_is_there() -> None:
    y_NL = torch.zeros(80, 2)
    y_NL[::4, 0], y_NL[2::8, 1], y_NL[1::2, 1] = 3, 1, math.nan
    for half in halves(numbered(80, y_NL)):
        assert (half.y_NL > 0).sum(0).tolist() == pytest.approx([10, 5], abs=1)
    # Levels stay levels: only the dealing looks at presence.
    assert {3.0} == set(torch.cat([half.y_NL[:, 0] for half in halves(numbered(80, y_NL))]).tolist()) - {0.0}


def test_weights_stay_in_proportion_and_have_mean_1() -> None:
    weight_N = torch.arange(1.0, 21.0)
    for half in halves(numbered(20, weight_N=weight_N)):
        assert half.weight_N is not None
        assert float(half.weight_N.mean()) == pytest.approx(1)
        ratio_N = half.weight_N / weight_N[row_numbers(half)]
        torch.testing.assert_close(ratio_N, ratio_N[:1].expand(len(half)))


def test_the_halves_are_a_function_of_the_seed() -> None:
    split = numbered(40)
    first = [row_numbers(half) for half in halves(split, 5)]
    torch.rand(7)
    assert [row_numbers(half) for half in halves(split, 5)] == first
    assert len({tuple(row_numbers(halves(split, seed)[0])) for seed in range(5)}) > 1


# Of two rows, one with a label and one without, both may be dealt to the same side.
@pytest.mark.parametrize("y", [[[1.0]], [[0.0]], [[math.nan]], [[1.0], [0.0]]])
def test_rows_that_cannot_be_halved(y: list[list[float]]) -> None:
    split = numbered(len(y), torch.tensor(y))
    counting = 0 if math.isnan(y[0][0]) else len(y)
    refused = 0
    for seed in range(20):
        sizes = [len(part) for part in stratified_split(split.y_NL, fraction=0.5, seed=seed)]
        if min(sizes) > 0:
            continue
        refused += 1
        for rows in (rows_that_pick, rows_to_fit_on):
            with pytest.raises(
                UserError, match=rf"separate_fit=true.*{counting} are too few.*valid_fraction"
            ):
                rows(split, SEPARATE, seed=seed)
            assert len(rows(split, TOGETHER, seed=seed)) == len(y)
    assert refused > 0


def test_two_rows_of_one_label_can_be_halved() -> None:
    assert [len(half) for half in halves(numbered(2, torch.ones(2, 1)))] == [1, 1]


class Spy:
    """Notes on which rows epochs and the end of a run look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.epochs: list[Tensor] = []
        self.end: list[Tensor] = []
        monkeypatch.setattr(run, "predict_split", lambda *given: self._predict(self.epochs, *given))
        monkeypatch.setattr(finish, "predict_split", lambda *given: self._predict(self.end, *given))
        monkeypatch.setattr(finish, "draw_evaluation", lambda *_, **__: {})  # pictures take time

    def _predict(self, notes: list[Tensor], *given: object) -> Predictions:
        notes.append(given[1].inputs["x"])  # type: ignore[attr-defined]
        return predict_split(*given)  # type: ignore[arg-type]


@pytest.mark.parametrize("resumed", [False, True])
def test_a_run_picks_by_one_half_and_fits_on_the_other(
    resumed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy, valid = Spy(monkeypatch), tiny.dataset().valid
    found = None
    if resumed:
        run.run(tiny_job.job(tmp_path, seed=3, separate_fit=True, max_epochs=1), found=None)
        spy.epochs.clear()
        spy.end.clear()
        found = tiny_job.found(tmp_path)
    job = tiny_job.job(tmp_path, seed=3, separate_fit=True, max_epochs=3)
    run.run(job, found=found)

    pick, fit = (half.inputs["x"] for half in halves(valid, 3))
    assert len(spy.epochs) == (2 if resumed else 3)
    assert all(torch.equal(seen, pick) for seen in spy.epochs)
    expected = [fit, valid.inputs["x"], tiny.dataset().test.inputs["x"]]
    assert [len(seen) for seen in spy.end] == [len(x) for x in expected]
    assert all(torch.equal(seen, x) for seen, x in zip(spy.end, expected, strict=True))


def test_what_a_run_keeps_comes_from_the_two_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Spy(monkeypatch)
    run.run(tiny_job.job(tmp_path, seed=3, separate_fit=True, max_epochs=2), found=None)
    files, again = RunFiles(tmp_path), tiny_job.classifier(9)
    again.network.load_state_dict(tiny_job.best_network(tmp_path))
    picking, fitting = (
        predict_split(again.network, half, SEPARATE, "cpu") for half in halves(tiny.dataset().valid, 3)
    )
    fit_on_validation(again, fitting, memory_limit_mb=100.0)
    state = tiny_job.found(tmp_path).state
    assert state is not None
    best_value = state["position"]["ranked"][0][1]
    assert evaluate(again, picking).metrics["loss"] == pytest.approx(best_value, rel=1e-6)
    assert evaluate(again, fitting).metrics["loss"] != pytest.approx(best_value, rel=1e-3)
    _, parts = load_facts(files.classifier)
    for name in ("calibrator", "decision"):
        for key, value in again.parts()[name].state_dict().items():
            torch.testing.assert_close(parts[name][key], value)


@pytest.mark.parametrize(
    ("separate", "sentence"),
    [
        (
            True,
            "calibrator and decision fitted on {fit} of {fit} validation rows, which had no part in picking",
        ),
        (
            False,
            "calibrator and decision fitted on 23 of 23 validation rows, which also picked the checkpoint",
        ),
    ],
)
def test_the_results_say_which_rows_were_fitted_on(
    separate: bool, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Spy(monkeypatch)
    run.run(tiny_job.job(tmp_path, separate_fit=separate), found=None)
    fit = len(halves(tiny.dataset().valid, 0)[1])
    said = tiny_job.results(tmp_path)["run"]["fit"]
    assert said.startswith(sentence.format(fit=fit))
    assert ("optimistic" in said) is not separate
    assert said in RunFiles(tmp_path).log.read_text(encoding="utf-8")


def test_rows_that_do_not_count_are_in_neither_half() -> None:
    split = numbered(40)
    weight_N = (torch.arange(40) % 4 > 0).float()
    y_NL = split.y_NL.clone()
    y_NL[1] = torch.nan
    found = replace(split, y_NL=y_NL, weight_N=weight_N / weight_N.mean())
    for seed in range(10):
        kept = [row for half in halves(found, seed) for row in row_numbers(half)]
        assert sorted(kept) == [row for row in range(40) if row % 4 and row != 1]
        for half in halves(found, seed):
            assert half.weight_N is not None
            assert half.weight_N.mean().item() == pytest.approx(1)

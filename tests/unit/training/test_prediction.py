import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mlc.batch import LabelStatistics
from mlc.calibration.none import NoCalibration
from mlc.decisions.fixed import FixedThreshold
from mlc.decisions.top_k import TopK
from mlc.errors import UserError
from mlc.heads.factorised import FactorisedHead
from mlc.heads.levels import LevelsHead
from mlc.losses.factorised import FactorisedLoss
from mlc.losses.negative_log_likelihood import NegativeLogLikelihood
from mlc.model import Classifier, Network
from mlc.training import prediction
from mlc.training.csv_cells import text_of
from mlc.training.prediction import Kept, predict_file, predict_text
from tests.unit.training import tiny

ROWS = 13


@pytest.fixture
def classifier() -> Classifier:
    made = tiny.classifier()
    for part in made.parts().values():
        part.eval()
    _, p_NL = expected(made)
    made.decision.threshold_L.copy_(p_NL.median(0).values)  # type: ignore[operator, union-attr]
    return made


@pytest.fixture
def without_marginals() -> Classifier:
    labels = LabelStatistics.from_targets(tiny.split().y_NL)
    network = tiny.network()
    head = FactorisedHead(in_features=8, labels=labels, count="linear", count_floor=0.01, prior_bias=True)
    loss = FactorisedLoss(
        labels=labels, count_loss="squared_error", share_weight=1.0, count_weight=1.0, count_prior_weight=0.0
    )
    return Classifier(
        network=Network(backbone=network.backbone, head=head).eval(),
        loss=loss,
        calibrator=NoCalibration(n_labels=tiny.LABELS),
        decision=TopK(n_labels=tiny.LABELS, k=2),
    )


def chunks(size: int = 5) -> Iterator[dict[str, Tensor]]:
    for x_BD in tiny.split(ROWS, 3).inputs["x"].split(size):
        yield {"x": x_BD}


def expected(classifier: Classifier) -> tuple[Tensor, Tensor]:
    """Decisions and scores of all rows at once."""
    with torch.no_grad():
        output = classifier.calibrator(classifier.loss.link(classifier.network(tiny.split(ROWS, 3).inputs)))
    return classifier.decision(output), output.scores()


def read_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


def read_jsonl(path: Path) -> list[dict[str, object]]:
    def refuse(word: str) -> None:
        pytest.fail(f"{word} is no JSON")

    text = path.read_text(encoding="utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.split("\n")[:-1]]


def test_csv(classifier: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    assert predict_file(classifier, chunks(), path, label_names=tiny.NAMES) == ROWS
    header, *rows = read_csv(path)
    assert header == ["row", "decided", *tiny.NAMES]
    decided_NL, p_NL = expected(classifier)
    assert decided_NL.any()
    assert not decided_NL.all()
    for i, (number, chosen, *values) in enumerate(rows):
        assert number == str(i)
        wanted = [name for name, is_in in zip(tiny.NAMES, decided_NL[i], strict=True) if is_in]
        # A name's own "|" stands behind a backslash, so that the names can be told apart again.
        assert [re.sub(r"\\(.)", r"\1", name) for name in re.split(r"(?<!\\)\|", chosen) if name] == wanted
        assert [float(value) for value in values] == pytest.approx(p_NL[i].tolist(), rel=1e-5)
    assert len(rows) == ROWS


def test_labels_are_no_formulas_in_a_spreadsheet(classifier: Classifier, tmp_path: Path) -> None:
    names = ("=1+1", "-3", "\x1b[2J")
    predict_file(classifier, chunks(), tmp_path / "out.csv", label_names=names)
    header, *rows = read_csv(tmp_path / "out.csv")
    assert header == ["row", "decided", "'=1+1", "-3", "\x1b[2J"]
    assert tuple(map(text_of, header[2:])) == names
    decided_NL, _ = expected(classifier)
    for row, decided_L in zip(rows, decided_NL.tolist(), strict=True):
        assert text_of(row[1]) == "|".join(
            name for name, is_in in zip(names, decided_L, strict=True) if is_in
        )
        assert not row[1].startswith("=")
    text = predict_text(classifier, {"x": tiny.split(1, 3).inputs["x"]}, label_names=names)
    assert "\x1b" not in text
    assert "\\x1b[2J" in text


def test_jsonl(classifier: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    assert predict_file(classifier, chunks(), path, label_names=tiny.NAMES) == ROWS
    decided_NL, p_NL = expected(classifier)
    rows = read_jsonl(path)
    assert [row["row"] for row in rows] == list(range(ROWS))
    for i, row in enumerate(rows):
        assert list(row) == ["row", "decided", "probabilities"]
        assert row["decided"] == [
            name for name, is_in in zip(tiny.NAMES, decided_NL[i], strict=True) if is_in
        ]
        values = row["probabilities"]
        assert isinstance(values, dict)
        assert list(values) == list(tiny.NAMES)
        assert list(values.values()) == pytest.approx(p_NL[i].tolist(), rel=1e-6)


def test_scores_that_are_no_probabilities_are_called_scores(
    without_marginals: Classifier, tmp_path: Path
) -> None:
    path = tmp_path / "out.jsonl"
    predict_file(without_marginals, chunks(), path, label_names=tiny.NAMES)
    decided_NL, scores_NL = expected(without_marginals)
    for i, row in enumerate(read_jsonl(path)):
        assert list(row) == ["row", "decided", "scores"]
        assert isinstance(row["scores"], dict)
        assert list(row["scores"].values()) == pytest.approx(scores_NL[i].tolist(), rel=1e-6)
        assert isinstance(row["decided"], list)
        assert len(row["decided"]) == int(decided_NL[i].sum()) == 2


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@pytest.mark.parametrize("size", [1, 4, ROWS, 100])
def test_the_size_of_the_chunks_changes_nothing(
    classifier: Classifier, tmp_path: Path, ending: str, size: int
) -> None:
    paths = [tmp_path / f"{name}.{ending}" for name in ("one", "two")]
    predict_file(classifier, chunks(3), paths[0], label_names=tiny.NAMES)
    assert predict_file(classifier, chunks(size), paths[1], label_names=tiny.NAMES) == ROWS
    texts = [path.read_text(encoding="utf-8") for path in paths]
    assert len(texts[0].splitlines()) == len(texts[1].splitlines())
    if ending == "jsonl":
        first, second = (read_jsonl(path) for path in paths)
        assert [row["decided"] for row in first] == [row["decided"] for row in second]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_no_rows(classifier: Classifier, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out.{ending}"
    assert predict_file(classifier, iter([]), path, label_names=tiny.NAMES) == 0
    if ending == "csv":
        assert read_csv(path) == [["row", "decided", *tiny.NAMES]]
    else:
        assert read_jsonl(path) == []


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_failure_leaves_the_old_file_and_no_other(
    classifier: Classifier, tmp_path: Path, ending: str
) -> None:
    def breaks() -> Iterator[dict[str, Tensor]]:
        yield from chunks()
        raise OSError("the input is cut")

    path = tmp_path / f"out.{ending}"
    for old in (None, "what was there"):
        if old is not None:
            path.write_text(old)
        with pytest.raises(OSError, match="the input is cut"):
            predict_file(classifier, breaks(), path, label_names=tiny.NAMES)
        assert [found.read_text() for found in tmp_path.iterdir()] == ([old] if old else [])


def test_rows_are_written_as_they_come(classifier: Classifier, tmp_path: Path) -> None:
    """An input larger than memory must not be gathered: what was asked for so far is what is used up."""
    asked: list[int] = []

    def counted() -> Iterator[dict[str, Tensor]]:
        for i, chunk in enumerate(chunks(1)):
            asked.append(i)
            yield chunk

    calls: list[int] = []
    classifier.network.register_forward_pre_hook(lambda *_: calls.append(len(asked)))
    predict_file(classifier, counted(), tmp_path / "out.csv", label_names=tiny.NAMES)
    assert calls == list(range(1, ROWS + 1))


def test_prediction_needs_no_gradients(classifier: Classifier, tmp_path: Path) -> None:
    enabled: list[bool] = []
    classifier.network.register_forward_pre_hook(lambda *_: enabled.append(torch.is_grad_enabled()))
    predict_file(classifier, chunks(), tmp_path / "out.csv", label_names=tiny.NAMES)
    assert not any(enabled)
    assert torch.is_grad_enabled()


def test_csv_says_where_values_are_scores(without_marginals: Classifier, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    predict_file(without_marginals, chunks(), target, label_names=tiny.NAMES)
    with target.open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file))
    assert header == ["row", "decided", *(f"score of {name}" for name in tiny.NAMES)]


@pytest.fixture
def of_levels() -> Classifier:
    torch.manual_seed(3)
    labels = LabelStatistics.from_targets(torch.tensor([[0.0, 1, 2], [3, 0, 0]]))
    return Classifier(
        network=Network(
            backbone=tiny.network().backbone,
            head=LevelsHead(in_features=8, labels=labels, prior_bias=False),
        ).eval(),
        loss=NegativeLogLikelihood(labels=labels),
        calibrator=NoCalibration(n_labels=tiny.LABELS),
        decision=FixedThreshold(n_labels=tiny.LABELS, threshold=0.5),
    )


def test_levels_are_written_beside_the_probabilities(of_levels: Classifier, tmp_path: Path) -> None:
    with torch.no_grad():
        levels_NL = of_levels.network(tiny.split(ROWS, 3).inputs).logits_BLK.argmax(2)
    assert len(levels_NL.unique()) > 1
    for ending in ("csv", "jsonl"):
        predict_file(of_levels, chunks(), tmp_path / f"out.{ending}", label_names=tiny.NAMES)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["row", "decided", *tiny.NAMES, *(f"level of {name}" for name in tiny.NAMES)]
    assert [[int(cell) for cell in row[-tiny.LABELS :]] for row in rows] == levels_NL.tolist()
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [list(line["levels"].values()) for line in lines] == levels_NL.tolist()
    assert lines[0].keys() == {"row", "decided", "probabilities", "levels"}


def test_one_example_as_a_table(classifier: Classifier) -> None:
    names = ("a", "bb", "größe")
    x_ND = tiny.split(ROWS, 3).inputs["x"]
    assert isinstance(x_ND, Tensor)
    decided_NL, p_NL = expected(classifier)
    for row in range(ROWS):
        text = predict_text(classifier, {"x": x_ND[row : row + 1]}, label_names=names)
        *lines, last = text.splitlines()
        order = p_NL[row].argsort(descending=True).tolist()
        assert lines == [
            f"{'*' if decided_NL[row, label] else ' '} {names[label]:<5}  {p_NL[row, label]:.3f}"
            for label in order
        ]
        chosen = ", ".join(names[label] for label in order if decided_NL[row, label])
        assert last == f"probabilities; * decided: {chosen or 'no label'}"


def test_one_example_with_scores_says_so(without_marginals: Classifier) -> None:
    x_ND = tiny.split(1, 3).inputs["x"]
    assert isinstance(x_ND, Tensor)
    text = predict_text(without_marginals, {"x": x_ND}, label_names=("a", "b", "c"))
    assert text.splitlines()[-1].startswith("scores; * decided: ")


CELLS = [["=1+1", 3.5], *([f"id {i}", None] for i in range(1, ROWS - 1)), ["ü, |", ["a", "ö"]]]


def test_kept_columns_stand_beside_the_predictions(classifier: Classifier, tmp_path: Path) -> None:
    for ending in ("csv", "jsonl"):
        kept = Kept(("-id", "b"), iter(CELLS))
        predict_file(classifier, chunks(), tmp_path / f"out.{ending}", label_names=tiny.NAMES, kept=kept)
    header, *rows = read_csv(tmp_path / "out.csv")
    assert header == ["row", "'-id", "b", "decided", *tiny.NAMES], "a spreadsheet would take it for a formula"
    assert [row[0] for row in rows] == [str(i) for i in range(ROWS)]
    assert rows[0][1:3] == ["'=1+1", "3.5"]
    assert rows[1][1:3] == ["id 1", ""]
    assert rows[-1][1:3] == ["ü, |", '["a", "ö"]']
    lines = read_jsonl(tmp_path / "out.jsonl")
    assert [line["kept"] for line in lines] == [
        dict(zip(("-id", "b"), cells, strict=True)) for cells in CELLS
    ]
    assert list(lines[0]) == ["row", "kept", "decided", "probabilities"]
    predict_file(classifier, chunks(), tmp_path / "plain.csv", label_names=tiny.NAMES)
    assert [row[:1] + row[3:] for row in rows] == read_csv(tmp_path / "plain.csv")[1:]


@pytest.mark.parametrize("n", [ROWS - 1, ROWS + 1])
def test_another_number_of_kept_rows_is_refused(classifier: Classifier, tmp_path: Path, n: int) -> None:
    kept = Kept(("id",), [["x"]] * n)
    with pytest.raises(UserError, match="other rows to predict on than to keep id of"):
        predict_file(classifier, chunks(), tmp_path / "out.csv", label_names=tiny.NAMES, kept=kept)
    assert list(tmp_path.iterdir()) == []


def test_kept_columns_of_no_rows(classifier: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    predict_file(classifier, iter([]), path, label_names=tiny.NAMES, kept=Kept(("id",), []))
    assert read_csv(path) == [["row", "id", "decided", *tiny.NAMES]]


@pytest.mark.parametrize("rule", ["threshold", "top_k"])
def test_of_very_many_labels_the_best_are_written(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    made = replace(classifier, calibrator=NoCalibration(n_labels=tiny.LABELS))
    if rule == "top_k":
        made = replace(made, decision=TopK(n_labels=tiny.LABELS, k=1))
    decided_NL, p_NL = expected(made)
    monkeypatch.setattr(prediction, "MOST_LABELS", 2)
    settings = tiny.settings(label_chunk=2)
    for ending in ("csv", "jsonl"):
        predict_file(made, chunks(), tmp_path / f"out.{ending}", label_names=tiny.NAMES, by_labels=settings)
    predict_file(made, [], tmp_path / "empty.csv", label_names=tiny.NAMES, by_labels=settings)
    header, *rows = read_csv(tmp_path / "out.csv")
    assert [header] == read_csv(tmp_path / "empty.csv")
    assert header == ["row", "decided", "best 1", "probability 1", "best 2", "probability 2"]
    best_N2 = p_NL.topk(2)
    lines = read_jsonl(tmp_path / "out.jsonl")
    for i, (row, line) in enumerate(zip(rows, lines, strict=True)):
        names = [tiny.NAMES[label] for label in best_N2.indices[i].tolist()]
        assert [text_of(cell) for cell in row[2::2]] == names
        assert [float(cell) for cell in row[3::2]] == pytest.approx(best_N2.values[i].tolist(), rel=1e-5)
        chosen = [name for name, is_in in zip(tiny.NAMES, decided_NL[i], strict=True) if is_in]
        assert line["decided"] == chosen
        probabilities = line["probabilities"]
        assert isinstance(probabilities, dict)
        assert list(probabilities) == names
    x_ND = tiny.split(ROWS, 3).inputs["x"]
    assert isinstance(x_ND, Tensor)
    text = predict_text(made, {"x": x_ND[:1]}, label_names=("a", "b", "c"), by_labels=settings)
    assert len(text.splitlines()) == 3
    assert text.startswith("* " if decided_NL[0, best_N2.indices[0, 0]] else "  ")

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mlc.metrics.calibration import Reliability, ReliabilityBins
from mlc.training.figure_style import png
from mlc.training.figures import (
    draw_evaluation,
    label_f1_figure,
    reliability_figure,
    write_figures,
)


def bins(rows: list[float], probability: list[float], frequency: list[float]) -> Reliability:
    overall = ReliabilityBins(torch.tensor(rows), torch.tensor(probability), torch.tensor(frequency))
    return Reliability(overall=overall, per_label=overall)


NAN = float("nan")
DIAGRAMS = {
    "uncalibrated": bins([5, 0, 5], [0.1, NAN, 0.9], [0.3, NAN, 0.6]),
    "calibrated": bins([2, 4, 4], [0.2, 0.5, 0.8], [0.25, 0.5, 0.75]),
}


def lines(figure) -> dict[str, list[list[float]]]:
    return {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}


def test_both_curves_are_drawn_as_given_without_empty_bins() -> None:
    figure = reliability_figure(
        DIAGRAMS, {"uncalibrated": 0.25, "calibrated": 0.0333}, title="Title", before="before"
    )
    drawn = lines(figure)
    assert list(drawn) == [
        "as it should be",
        "before (class-wise ECE 0.250)",
        "after calibration (class-wise ECE 0.033)",
    ]
    before, after = list(drawn.values())[1:]
    assert np.allclose(before, [[0.1, 0.3], [0.9, 0.6]])
    assert np.allclose(after, [[0.2, 0.25], [0.5, 0.5], [0.8, 0.75]])
    shares = sorted(round(bar.get_height(), 3) for bar in figure.axes[1].patches)
    assert shares == [0, 0.2, 0.4, 0.4, 0.5, 0.5]


def test_scores_beyond_one_are_not_cut_off() -> None:
    diagram = {"uncalibrated": bins([1, 1], [0.2, 1.7], [0.2, 1.0])}
    figure = reliability_figure(diagram, {}, title="", before="score")
    assert figure.axes[0].get_xlim() == pytest.approx((0, 1.7))
    assert "score" in lines(figure)


@pytest.mark.parametrize("score_is_probability", [True, False])
def test_a_score_that_is_no_probability_is_called_so(make_evaluation, score_is_probability: bool) -> None:
    figures = draw_evaluation(
        "abcd", make_evaluation(), split="test", score_is_probability=score_is_probability
    )
    assert list(figures) == ["label_f1", "reliability"]
    named = any("score read as if it were a probability" in name for name in lines(figures["reliability"]))
    assert named is not score_is_probability


def test_bars_show_f1_by_frequency() -> None:
    figure = label_f1_figure(
        ["rare", "often"], torch.tensor([0.25, 0.75]), torch.tensor([3, 1000]), title="T"
    )
    axes, right = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["often", "rare"]
    assert [bar.get_width() for bar in axes.patches] == [0.75, 0.25]
    assert [text.get_text() for text in right.get_yticklabels()] == ["1,000", "3"]
    assert "0.500" in axes.get_xlabel()


def test_many_labels_are_chosen_and_it_is_said() -> None:
    names = [f"label {i}" for i in range(200)]
    figure = label_f1_figure(names, torch.rand(200), torch.arange(200), title="T")
    assert len(figure.axes[0].patches) == 40
    assert "20 most frequent of 200 labels" in figure.axes[0].get_title(loc="left").replace("\n", " ")


def test_any_label_name_can_be_drawn() -> None:
    names = ["$x_", "a\nb", "日本", "_hidden", "é" * 200, "", "\\frac{"]
    image = png(label_f1_figure(names, torch.rand(7), torch.arange(7), title="$"))
    assert Image.open(io.BytesIO(image)).size[0] == 700


def test_png_is_written_at_twice_the_resolution(make_evaluation, tmp_path: Path) -> None:
    figures = draw_evaluation("abcd", make_evaluation(), split="test", score_is_probability=True)
    write_figures(tmp_path / "figures", figures)
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        "label_f1.png",
        "reliability.png",
    ]
    with Image.open(tmp_path / "figures" / "reliability.png") as image:
        assert image.size[0] == 1400
        assert len(set(image.convert("RGB").resize((100, 100)).get_flattened_data())) > 10


def test_matplotlib_is_neither_imported_early_nor_through_pyplot() -> None:
    code = """
import sys, torch
from mlc.training.figure_style import png
from mlc.training.figures import label_f1_figure
assert "matplotlib" not in sys.modules
png(label_f1_figure(["a"], torch.ones(1), torch.ones(1), title="T"))
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)

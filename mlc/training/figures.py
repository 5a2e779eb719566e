"""Figures of an evaluation: the reliability diagram and the F1 of each label.

Figures are made without pyplot: nothing global is touched, no window is opened, nothing must be closed.
Matplotlib takes most of a second to import, so that the functions that start a figure do it.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from mlc.training.figure_style import BLUE, INK, MUTED, VERMILION, png, restrain, short
from mlc.training.files import atomic_write_bytes
from mlc.training.label_choice import MOST_SHOWN, frequent_and_worst

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mlc.metrics.calibration import Reliability
    from mlc.training.evaluation import Evaluation

_WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 1}
_FIFTHS = (0, 0.2, 0.4, 0.6, 0.8, 1)


@dataclass(frozen=True)
class _Curve:
    """One line of a reliability diagram: its name in the result, and how it is drawn."""

    key: str
    name: str
    colour: str
    marker: str
    shift: float


def draw_evaluation(
    label_names: Sequence[str], evaluation: "Evaluation", *, split: str, score_is_probability: bool
) -> "dict[str, Figure]":
    """The figures of one split by name: F1 of each label, and the reliability diagram where there is one.

    Args:
        label_names: the L labels.
        evaluation: of the split.
        split: its name, for the headings.
        score_is_probability: False where the head has no marginals, so that "before calibration" shows its
            score read as if it were a probability; the figure then says so.
    """
    per_label, metrics = evaluation.suite.per_label, evaluation.metrics
    figures = {
        "label_f1": label_f1_figure(
            label_names, per_label["f1"], per_label["support"], title=f"F1 of each label, {split}"
        )
    }
    if evaluation.suite.reliability:
        figures["reliability"] = reliability_figure(
            evaluation.suite.reliability,
            {"uncalibrated": metrics["classwise_ece_uncalibrated"], "calibrated": metrics["classwise_ece"]},
            title=f"Reliability, {split}",
            before="before calibration" if score_is_probability else "score read as if it were a probability",
        )
    return figures


def write_figures(folder: Path, figures: "Mapping[str, Figure]") -> None:
    """Write each figure to <name>.png, at a resolution for documents (1400 pixels wide)."""
    for name, figure in figures.items():
        atomic_write_bytes(folder / f"{name}.png", png(figure, dots_per_inch=200))


def reliability_figure(
    diagrams: "Mapping[str, Reliability]",
    ece: Mapping[str, float | None],
    *,
    title: str,
    before: str,
) -> "Figure":
    """Draw how often labels are true against the probability given to them, all labels pooled.

    Below it, the share of predictions in each bin: where it is tiny, the point above rests on few rows.

    Args:
        diagrams: of "uncalibrated" and "calibrated" as far as they are there (SuiteResult.reliability).
        ece: class-wise ECE under the same names; None where there is none.
        title: the heading.
        before: what the uncalibrated curve is; a score that is no probability should be called so here.

    Returns:
        The figure, 700 pixels wide at 100 dots per inch.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 6.6), dpi=100, facecolor="white", layout="constrained")
    curve_axes, share_axes = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    curve_axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="as it should be")
    for curve in (
        _Curve("uncalibrated", before, VERMILION, "s", -0.19),
        _Curve("calibrated", "after calibration", BLUE, "o", 0.19),
    ):
        if curve.key in diagrams:
            _draw_curve(curve_axes, share_axes, curve, diagrams[curve.key], ece.get(curve.key))
    _label_reliability(curve_axes, share_axes, title)
    return figure


def label_f1_figure(label_names: Sequence[str], f1_L: Tensor, support_L: Tensor, *, title: str) -> "Figure":
    """Draw the F1 of each label as bars, most frequent first, with the macro mean over all labels.

    Beyond 40 labels the 20 most frequent and the 20 worst of the rest are drawn, and the figure says so.
    """
    from matplotlib.figure import Figure

    choice = frequent_and_worst(support_L, f1_L)
    shown, rows = choice.indices, range(len(choice.indices))
    f1 = f1_L[shown].nan_to_num().tolist()
    figure = Figure(figsize=(7.0, 1.4 + 0.27 * len(shown)), dpi=100, facecolor="white", layout="constrained")
    axes = figure.subplots()
    axes.barh(rows, f1, height=0.68, color=BLUE)
    for row, value in zip(rows, f1, strict=True):
        # White behind it, because the line of the mean may pass there.
        axes.text(value + 0.012, row, f"{value:.2f}", va="center", fontsize=9, color=INK, bbox=_WHITE)
    macro_f1 = float(f1_L.nanmean())
    axes.axvline(macro_f1, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=0.5)
    axes.set_xlabel(f"F1 (dashed: macro-F1 {macro_f1:.3f})", color=INK)
    axes.set(xlim=(0, 1.08), xticks=_FIFTHS, ylim=(len(shown) - 0.4, -0.6))
    if choice.sentence:
        axes.axhline(MOST_SHOWN / 2 - 0.5, color=MUTED, linewidth=0.8)
    _set_title(axes, title, choice.sentence)
    restrain(axes, grid="x")
    # A label's name may hold a "$", which would otherwise start a formula.
    axes.set_yticks(rows, [short(label_names[i]) for i in shown], color=INK, parse_math=False)
    _write_support(axes, support_L[shown].tolist())
    return figure


def _draw_curve(
    curve_axes: "Axes", share_axes: "Axes", curve: _Curve, diagram: "Reliability", ece: float | None
) -> None:
    bins = diagram.overall
    filled = bins.rows > 0
    text = curve.name if ece is None else f"{curve.name} (class-wise ECE {ece:.3f})"
    curve_axes.plot(
        bins.probability[filled].tolist(),
        bins.frequency[filled].tolist(),
        color=curve.colour,
        marker=curve.marker,
        markersize=6,
        markeredgecolor="white",
        markeredgewidth=0.8,
        linewidth=1.8,
        label=text,
        clip_on=False,
    )
    count = len(bins.rows)
    # Beside each other, not over each other.
    centres = [(i + 0.5 + curve.shift) / count for i in range(count)]
    share = (bins.rows / bins.rows.sum()).tolist()
    share_axes.bar(centres, share, width=0.36 / count, color=curve.colour)


def _label_reliability(curve_axes: "Axes", share_axes: "Axes", title: str) -> None:
    # Scores read as probabilities may pass 1 (expected labels of a factorised head); they are not cut off.
    curve_axes.set(xlim=(0, max(1.0, curve_axes.dataLim.x1)), ylim=(0, 1))
    curve_axes.set_ylabel("how often the label is true", color=INK)
    share_axes.set_yscale("log")
    share_axes.set_ylim(top=1)
    share_axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    share_axes.minorticks_off()
    share_axes.set_ylabel("share of\npredictions", color=INK)
    share_axes.set_xlabel("probability given to the label", color=INK)
    # Above the axes, because a curve may run anywhere inside them.
    legend = curve_axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        frameon=False,
        fontsize=9.5,
        labelcolor=INK,
        borderpad=0.2,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    _set_title(curve_axes, title, "")
    restrain(curve_axes, grid="both")
    restrain(share_axes, grid="y")


def _write_support(axes: "Axes", support: Sequence[float]) -> None:
    """Write the rows of each label at the right edge."""
    right = axes.twinx()
    right.set(ylim=axes.get_ylim())
    right.set_yticks(range(len(support)), [f"{rows:,.0f}" for rows in support])
    right.set_title("rows", loc="right", fontsize=9, color=MUTED, pad=4)
    right.spines[:].set_visible(False)
    for side in (axes, right):
        side.tick_params(axis="y", length=0, labelsize=9)
    right.tick_params(axis="y", labelcolor=MUTED)


def _set_title(axes: "Axes", title: str, subtitle: str) -> None:
    axes.figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK, parse_math=False)
    axes.set_title(textwrap.fill(subtitle, 56), loc="left", fontsize=9, color=MUTED, pad=6)

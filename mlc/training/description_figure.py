"""A data set at a glance: how many labels rows have, how often labels occur, which occur together.

Made without pyplot, like the other figures: nothing global is touched.
"""

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from mlc.data.dataset import Dataset
from mlc.data.overview import LabelOverview, overview, together
from mlc.training.figure_style import BLUE, INK, MUTED, RULE, VERMILION, restrain, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMED = 20  # labels drawn with their names
_PICTURES = 8
_LONGEST_NAME = 20


def description_figure(dataset: Dataset) -> "Figure":
    """Draw the training rows: labels per row, frequency of labels, co-occurrence, and a few pictures.

    Returns:
        The figure, 1100 pixels wide at 100 dots per inch.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    train = overview(dataset.train.y_NL)
    pictures = next((name for name, spec in dataset.inputs.items() if spec.kind == "pictures"), None)
    height = 6.6 + (1.9 if pictures else 0)
    figure = Figure(figsize=(11, height), dpi=100, facecolor="white")
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
    figure.suptitle(
        f"{dataset.name}: {train.rows:,} training rows, {train.n_labels:,} labels, "
        f"{train.cardinality:.2f} labels per row",
        x=0.01,
        ha="left",
        fontsize=13,
        color=INK,
        parse_math=False,
    )
    rows = 2 if pictures else 1
    charts, *strip = figure.subfigures(rows, 1, squeeze=False, height_ratios=[6, 1.7][:rows]).flat
    axes = charts.subplot_mosaic(
        [["counts", "pairs"], ["labels", "pairs"]], width_ratios=[1, 1.25], height_ratios=[1, 1.35]
    )
    _draw_counts(axes["counts"], train)
    _draw_frequencies(axes["labels"], dataset, train)
    _draw_pairs(axes["pairs"], dataset, train)
    if pictures:
        _draw_pictures(strip[0].subplots(1, _PICTURES).tolist(), dataset, pictures)
    return figure


def _heading(axes: "Axes", text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10.5, color=INK, pad=8)


def _draw_counts(axes: "Axes", train: LabelOverview) -> None:
    """Bars: rows that have 0, 1, 2, ... labels."""
    from matplotlib.ticker import MaxNLocator

    histogram_K = np.bincount(train.labels_of_row_N)
    axes.bar(np.arange(len(histogram_K)), histogram_K, width=0.8, color=BLUE)
    axes.axvline(train.cardinality, color=VERMILION, linewidth=1.4, linestyle=(0, (4, 3)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(lambda rows, _: f"{rows:,.0f}")
    axes.set_xlabel("labels of a row", color=INK)
    axes.set_ylabel("rows", color=INK)
    _heading(axes, f"How many labels? (dashed: mean {train.cardinality:.2f})")
    restrain(axes, grid="y")


def _draw_frequencies(axes: "Axes", dataset: Dataset, train: LabelOverview) -> None:
    """Rows of each label on a logarithmic scale: bars with names, or a curve where there are too many."""
    order = train.by_frequency
    rows = train.positives_L[order]
    if len(order) <= _NAMED:
        places = np.arange(len(order))
        axes.hlines(places, 1, np.maximum(rows, 1), color=BLUE, linewidth=1.6)
        axes.plot(np.maximum(rows, 1), places, "o", color=BLUE, markersize=6)
        for place, number in zip(places, rows, strict=True):
            axes.annotate(
                f"{number:,}",
                (max(1, number), place),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                color=INK,
            )
        names = [short(dataset.label_names[label], _LONGEST_NAME) for label in order]
        axes.set_yticks(places, names, parse_math=False)
        axes.set_xscale("log")
        axes.set(xlim=(1, 4 * max(10, rows.max(initial=1))), ylim=(len(order) - 0.4, -0.6))
        axes.xaxis.set_major_formatter(lambda rows, _: f"{rows:,.0f}")
        axes.set_xlabel("rows (logarithmic)", color=INK)
        restrain(axes, grid="x")
        axes.tick_params(axis="y", length=0, labelsize=9)
    else:
        ranks = np.arange(1, len(order) + 1)
        there = rows > 0
        axes.fill_between(ranks[there], rows[there], 0.5, color=BLUE, alpha=0.15, linewidth=0)
        axes.plot(ranks[there], rows[there], color=BLUE, linewidth=1.8)
        axes.set_yscale("log")
        axes.set(xlim=(1, len(order)), ylim=(0.5, None))
        axes.yaxis.set_major_formatter(lambda rows, _: f"{rows:,.0f}")
        axes.set_xlabel(f"labels, most frequent first ({np.count_nonzero(~there)} without a row)", color=INK)
        axes.set_ylabel("rows (logarithmic)", color=INK)
        restrain(axes, grid="y")
    axes.minorticks_off()
    _heading(axes, "How often is each label true?")


def _draw_pairs(axes: "Axes", dataset: Dataset, train: LabelOverview) -> None:
    """A map of the most frequent labels: of the rows with one, the share that have the other too."""
    chosen = train.by_frequency[:_NAMED]
    counts_KK = together(dataset.train.y_NL, chosen)
    share_KK = counts_KK / np.maximum(np.diag(counts_KK), 1)[:, None]
    np.fill_diagonal(share_KK, np.nan)
    image = axes.imshow(
        share_KK, cmap="Blues", aspect="auto", vmin=0, vmax=max(0.05, np.nanmax(share_KK, initial=0))
    )
    axes.set_facecolor(RULE)
    names = [short(dataset.label_names[label], _LONGEST_NAME) for label in chosen]
    places = np.arange(len(chosen))
    upright = max(map(len, names), default=0) <= 2
    axes.set_xticks(places, names, rotation=0 if upright else 90, parse_math=False)
    axes.set_yticks(places, names, parse_math=False)
    axes.tick_params(colors=MUTED, labelsize=8.5, length=0)
    axes.spines[:].set_visible(False)
    bar = axes.figure.colorbar(image, ax=axes, aspect=40, pad=0.02)
    bar.ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    bar.ax.tick_params(colors=MUTED, labelsize=8.5, length=0)
    bar.outline.set_visible(False)
    bar.set_label("of the rows with the left label, share with the lower one", color=MUTED, fontsize=9)
    among = f" (the {_NAMED} most frequent)" if train.n_labels > _NAMED else ""
    _heading(axes, f"Which labels come together?{among}")


def _draw_pictures(axes: "list[Axes]", dataset: Dataset, name: str) -> None:
    """The first training pictures with their labels."""
    rows = torch.arange(min(len(axes), len(dataset.train)))
    batch = dataset.train.select(rows)
    x_BCHW = cast(Tensor, batch.inputs[name])
    for place, panel in enumerate(axes):
        panel.set_axis_off()
        if place >= len(rows):
            continue
        picture_CHW = x_BCHW[place]
        low, high = picture_CHW.min(), picture_CHW.max()
        shown_HWC = ((picture_CHW - low) / (high - low).clamp(min=1e-6)).permute(1, 2, 0)
        panel.imshow(shown_HWC.squeeze(-1).numpy(), cmap="gray")
        true = [dataset.label_names[label] for label in (batch.y_BL[place] > 0).nonzero().squeeze(1).tolist()]
        panel.set_title(short(", ".join(true) or "no label", 16), fontsize=9, color=INK, parse_math=False)

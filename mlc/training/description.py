"""A data set in words and numbers, before anything is trained on it."""

import math
from collections.abc import Mapping

import numpy as np

from mlc.data.dataset import Dataset
from mlc.data.overview import LabelOverview, overview, together
from mlc.inputs import InputSpec
from mlc.rows import TokenRows
from mlc.training.text_table import align, shorten

_FREQUENT, _RARE = 10, 5  # labels listed
_PAIRS, _PAIRED = 8, 100  # pairs listed, among so many labels


def describe(dataset: Dataset) -> str:
    """What `python -m mlc.describe` prints: splits, inputs, labels, pairs of labels, samples, notes."""
    views = {
        "train": overview(dataset.train.y_NL),
        "valid": overview(dataset.valid.y_NL),
        "test": overview(dataset.test.y_NL),
    }
    parts = [
        f"{dataset.name}: {len(dataset.label_names)} labels",
        _splits_table(views),
        "Inputs\n" + "\n".join(f"  {name}: {_input(dataset, name)}" for name in dataset.inputs),
        _labels_table(dataset, views),
    ]
    if views["train"].n_labels > 1:
        parts.append(_pairs_table(dataset, views["train"]))
    if dataset.samples:
        parts.append("Samples\n" + "\n".join(f"  {sample}" for sample in dataset.samples))
    if dataset.notes:
        parts.append("Notes\n" + "\n".join(f"  {note}" for note in dataset.notes))
    return "\n\n".join(parts)


def _splits_table(views: Mapping[str, LabelOverview]) -> str:
    def row(title: str, *values: object) -> list[str]:
        return [title, *(f"{value:.3f}" if isinstance(value, float) else f"{value:,}" for value in values)]

    every = list(views.values())
    rows = [
        ["", *views],
        row("rows", *(view.rows for view in every)),
        row("labels per row (cardinality)", *(view.cardinality for view in every)),
        row("  fewest", *(int(view.labels_of_row_N.min(initial=view.n_labels)) for view in every)),
        row("  median", *(int(np.median(view.labels_of_row_N)) for view in every)),
        row("  most", *(int(view.labels_of_row_N.max(initial=0)) for view in every)),
        row("share of labels per row (density)", *(view.density for view in every)),
        row("different label sets", *(view.label_sets for view in every)),
        row("rows without labels", *(view.empty_rows for view in every)),
        row("rows without a known label", *(view.unknown_rows for view in every)),
        row("unknown label entries", *(view.unknown for view in every)),
        row("labels without a row", *(int((view.positives_L == 0).sum()) for view in every)),
        row("imbalance of labels (IRLbl), mean", *(_mean(view) for view in every)),
        row(
            "imbalance of labels (IRLbl), largest",
            *(float(np.nanmax(view.imbalance_L, initial=1)) for view in every),
        ),
    ]
    return align(rows)


def _mean(view: LabelOverview) -> float:
    there = view.imbalance_L[~np.isnan(view.imbalance_L)]
    return float(there.mean()) if len(there) else math.nan


def _input(dataset: Dataset, name: str) -> str:
    """One input in words."""
    spec: InputSpec = dataset.inputs[name]
    size = " × ".join(map(str, spec.shape))
    if spec.kind == "tokens":
        values = dataset.train.inputs[name]
        usual = (
            f", {int(values.length_N.float().median())} in the median"
            if isinstance(values, TokenRows)
            else ""
        )
        return f"texts of up to {size} tokens{usual}; vocabulary of {spec.vocabulary:,}"
    if spec.kind == "pictures":
        return f"pictures of {size} (channels, height, width)"
    return f"{int(spec.shape[0]):,} {'sparse ' if spec.kind == 'sparse' else ''}numbers"


def _labels_table(dataset: Dataset, views: Mapping[str, LabelOverview]) -> str:
    """The most frequent labels and the rarest, with their rows in each split."""
    train = views["train"]
    order = train.by_frequency.tolist()
    all_fit = len(order) <= _FREQUENT + _RARE
    shown = [*order] if all_fit else [*order[:_FREQUENT], *order[-_RARE:]]
    rows = [["label", *views, "share of train", "IRLbl"]]
    for label in shown:
        share = train.positives_L[label] / max(1, int(train.known_L[label]))
        ratio = train.imbalance_L[label]
        rows.append(
            [
                shorten(dataset.label_names[label]),
                *(f"{view.positives_L[label]:,}" for view in views.values()),
                f"{share:.4f}",
                "-" if math.isnan(ratio) else f"{ratio:,.1f}",
            ]
        )
    which = "" if all_fit else f": the {_FREQUENT} most frequent and the {_RARE} rarest"
    title = f"Labels{which} (IRLbl: times as rare as the most frequent)"
    lines = align(rows).splitlines()
    if not all_fit:
        lines.insert(1 + _FREQUENT, "...")
    return "\n".join([title, *(f"  {line}" for line in lines)])


def _pairs_table(dataset: Dataset, train: LabelOverview) -> str:
    """The pairs of labels that are most often true together, and how much more often than by chance."""
    chosen = train.by_frequency[:_PAIRED]
    counts_KK = together(dataset.train.y_NL, chosen)
    first, second = np.triu_indices(len(chosen), k=1)
    order = np.argsort(-counts_KK[first, second], kind="stable")[:_PAIRS]
    rows = [["pair", "rows", "lift"]]
    for one, other in zip(first[order], second[order], strict=True):
        both = int(counts_KK[one, other])
        if both:
            names = " + ".join(shorten(dataset.label_names[chosen[place]]) for place in (one, other))
            lift = both * train.rows / (counts_KK[one, one] * counts_KK[other, other])
            rows.append([names, f"{both:,}", f"{lift:.2f}"])
    if len(rows) == 1:
        return "Pairs of labels\n  no two labels are true together in train"
    among = f" among the {_PAIRED} most frequent labels" if train.n_labels > _PAIRED else ""
    title = f"Pairs of labels most often together{among} (lift: times as often as by chance)"
    return "\n".join([title, *(f"  {line}" for line in align(rows).splitlines())])

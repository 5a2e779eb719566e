"""docs/definitions.md names only what exists, and all that exists; docs/metrics.md defines the metrics.

What it says in a fixed form (what a loss trains, a rule fits, auto chooses) is held against the code.
"""

import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

import mlc.calibration.auto
import mlc.decisions.auto
import mlc.outputs
from mlc.batch import LabelStatistics, presence
from mlc.calibration.base import Calibrator
from mlc.decisions.base import Decision
from mlc.errors import UserError
from mlc.experiment.instantiate import make
from mlc.experiment.shipped import config_folder, load_shipped, shipped
from mlc.heads.base import Head
from mlc.losses.base import Loss, PairingError
from mlc.metrics.suite import EvaluationSuite, Mode
from mlc.outputs.base import LabelOutput, NotDefinedError
from mlc.outputs.calibrated import CalibratedLabels
from mlc.outputs.chain import LabelChain
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli
from mlc.outputs.counts import CategoricalCount, CountModel, NegativeBinomialCount, PointCount, PoissonCount
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.label_sets import LabelSets
from mlc.outputs.levels import LabelLevels
from mlc.outputs.scores_only import ScoresOnly
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice

DOCS = Path(__file__).parents[3] / "docs"
GROUPS = {"head": "Heads", "loss": "Losses", "decision": "Decision rules", "calibration": "Calibrators"}
LONGEST_LINE = 120
KINDS = {"head": Head, "loss": Loss, "decision": Decision, "calibration": Calibrator}
ROWS, LABELS = 6, 4
# Several labels per row, and one: a head may read the two differently.
TARGETS = [torch.ones(LABELS, LABELS).triu(), torch.eye(LABELS)]


@dataclass(frozen=True)
class Entry:
    """One `###` heading and what is below it.

    Args:
        group: "head" of a title that ends in (head=sigmoid); "" where nothing is configured.
        name: "sigmoid", or the whole title.
        fields: text by the word before the colon, of lines such as "- link: exact".
    """

    group: str
    name: str
    fields: dict[str, str]


@cache
def text(name: str = "definitions.md") -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@cache
def sections() -> dict[str, str]:
    """The text below each `##` heading."""
    _, *parts = re.split(r"^## ", text(), flags=re.MULTILINE)
    return {title: body for title, _, body in (part.partition("\n") for part in parts)}


@cache
def entries() -> list[Entry]:
    _, *parts = re.split(r"^###? ", text(), flags=re.MULTILINE)
    found = []
    for title, _, body in (part.partition("\n") for part in parts):
        configured = re.search(r"\((\w+)=(\w+)\)$", title)
        fields = dict(re.findall(r"^- ([\w ]+): (.*(?:\n  .*)*)", body, flags=re.MULTILINE))
        if configured:
            found.append(Entry(configured[1], configured[2], fields))
        elif title not in sections():
            found.append(Entry("", title, fields))
    return found


def of_group(group: str) -> dict[str, Entry]:
    return {entry.name: entry for entry in entries() if entry.group == group}


def table_column(section: str, column: int) -> list[str]:
    """The cells of one column of the section's tables, without their headings."""
    rows = [line.strip("|").split(" | ") for line in sections()[section].split("\n") if line.startswith("| ")]
    header = rows[0][column].strip()
    return [row[column].strip() for row in rows if row[column].strip() != header]


@cache
def output_classes() -> dict[str, type]:
    """Every output and count model of the package that is not abstract."""
    modules = [
        importlib.import_module(f"mlc.outputs.{m.name}") for m in pkgutil.iter_modules(mlc.outputs.__path__)
    ]
    found = {
        name: value
        for module in modules
        for name, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, LabelOutput | CountModel) and not inspect.isabstract(value)
    }
    assert len(found) >= 14
    return found


def build(group: str, name: str, **runtime: Any) -> Any:
    """The shipped object, from its config and those run-time arguments that it knows."""
    return make(load_shipped(group, name), group=group, kind=KINDS[group])(**runtime)


def raw() -> Tensor:
    return torch.randn(ROWS, LABELS, generator=torch.Generator().manual_seed(0))


def outputs() -> list[LabelOutput]:
    """One output of every kind that a head or a link can give."""
    z_BL, links_LL = raw(), torch.ones(LABELS, LABELS)
    sets_ML = torch.eye(LABELS).bool()
    return [
        IndependentLabels(z_BL),
        SingleChoice(z_BL),
        LabelShares(z_BL),
        FactorisedCount(z_BL, PoissonCount(z_BL[:, 0])),
        ConditionalBernoulli(z_BL, CategoricalCount(z_BL)),
        LabelLevels(z_BL[:, :, None].repeat(1, 1, 3)),
        LabelSets(z_BL, sets_ML),
        LabelChain(z_BL, links_LL),
        ScoresOnly(z_BL, z_BL),
    ]


def for_losses() -> list[LabelOutput]:
    """The same, with every count model."""
    z_B, z_BL = raw()[:, 0], raw()
    counts = [PointCount(z_B.exp()), NegativeBinomialCount(z_B, z_B), CategoricalCount(z_BL)]
    return [*outputs(), *(FactorisedCount(z_BL, count) for count in counts)]


def kind(value: object) -> str:
    return type(value).__name__


def class_names(sentence: str) -> set[str]:
    """The output and count models that a sentence names."""
    return set(re.findall(r"[A-Z]\w+", sentence)) & output_classes().keys()


# --- Every name, in both directions.


def test_every_output_and_count_model_has_an_entry_and_every_such_entry_exists() -> None:
    assert {entry.name for entry in entries() if not entry.group} == output_classes().keys()


@pytest.mark.parametrize("section", ["Output models", "Count models"])
def test_tables_of_models_list_the_entries_of_their_section(section: str) -> None:
    listed = [re.sub(r"\[(\w+)\]\(#\w+\)", r"\1", cell) for cell in table_column(section, 0)]

    assert listed == re.findall(r"^### (\w+)$", sections()[section], flags=re.MULTILINE)


@pytest.mark.parametrize("group", GROUPS)
def test_every_shipped_config_has_an_entry_and_a_row_in_the_table(group: str) -> None:
    options = set(shipped(group)) - {"auto"}

    assert of_group(group).keys() == options
    assert {cell.strip("`") for cell in table_column(GROUPS[group], 0)} == options


def test_there_are_no_entries_of_other_groups() -> None:
    assert {entry.group for entry in entries()} == {"", *GROUPS}


def test_every_choice_that_is_named_anywhere_is_shipped() -> None:
    groups = [*GROUPS, "auxiliary", "backbone", "optimizer", "schedule", "trainer", "dataset"]
    named = re.findall(rf"\b({'|'.join(groups)})=(\w+)", text())

    assert len(named) > 60
    assert [pair for pair in named if pair[1] not in shipped(pair[0])] == []


def test_links_lead_somewhere() -> None:
    titles = re.findall(r"^#+ (.*)$", text(), flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

    for target in re.findall(r"\]\((.*?)\)", text()):
        assert target[1:] in anchors if target.startswith("#") else (DOCS / target).is_file(), target


def test_lines_fit_a_terminal() -> None:
    assert [line for line in text().split("\n") if len(line) > LONGEST_LINE] == []


# --- Metrics.


@cache
def metric_names() -> tuple[set[str], set[str]]:
    """All names of results.json, with k for 1, 3 and 5, and all columns of per_label.csv."""
    y_BL = torch.tensor([[0.0, 1, 2, 0], [1, 0, 0, 2], [2, 2, torch.nan, 0]])
    p_BL = torch.rand(3, LABELS, generator=torch.Generator().manual_seed(0))
    in_results = {"loss", "nll"}  # which mlc.training adds to those of the suite
    per_label: set[str] = set()
    for mode in typing.get_args(Mode):
        suite = EvaluationSuite(n_labels=LABELS, mode=mode, levels=3)
        suite.update(
            decisions_BL=p_BL > 0.5,
            scores_BL=p_BL,
            probabilities_BL=p_BL,
            uncalibrated_BL=p_BL,
            y_BL=presence(y_BL),
            levels_BL=y_BL.nan_to_num().long(),
            y_levels_BL=y_BL,
        )
        result = suite.compute()
        in_results |= {re.sub(r"_at_\d+$", "_at_k", name) for name in result.values}
        per_label |= result.per_label.keys()
    return in_results, per_label


def test_every_metric_of_a_results_file_is_listed_and_defined() -> None:
    in_results, _ = metric_names()
    listed = set(re.findall(r"`(\w+)`", "".join(table_column("Metrics", 1))))
    defined = set(re.findall(r"`(\w+)`", text("metrics.md")))

    assert {"nll", "loss", "unknown_fraction", "level_mae", "map_error_bound", "ndcg_at_k"} <= in_results
    assert listed == in_results
    assert in_results - defined == set()


def test_metrics_that_are_named_below_the_list_exist() -> None:
    in_results, per_label = metric_names()
    named = set(re.findall(r"`(\w+)`", sections()["Metrics"]))

    assert named - in_results - per_label == set()


# --- What is said in a fixed form.


@pytest.mark.parametrize("name", shipped("head"))
def test_heads_give_what_is_said_and_bring_the_loss(name: str) -> None:
    fields = of_group("head")[name].fields
    given: set[str] = set()
    for y_NL in TARGETS:
        labels = LabelStatistics.from_targets(y_NL, with_sets=True)
        head = build("head", name, in_features=6, labels=labels)
        output = head(torch.zeros((2, 6) if head.reads == "pooled" else (2, 3, 6)))
        given |= {kind(output)} | ({kind(output.count)} if isinstance(output, FactorisedCount) else set())
    file = yaml.safe_load((config_folder() / "head" / f"{name}.yaml").read_text())

    assert class_names(fields["gives"]) == given
    assert {"/loss@_global_.loss": fields["loss"].split("`")[1]} in file["defaults"]


@pytest.mark.parametrize("name", shipped("loss"))
def test_losses_train_what_is_said_and_have_the_link_that_is_said(name: str) -> None:
    fields = of_group("loss")[name].fields
    loss: Loss = build("loss", name, labels=LabelStatistics.from_targets(torch.eye(LABELS)))
    trained, links = set(), set()
    for output in for_losses():
        try:
            loss.check(output)
        except PairingError:
            continue
        trained.add(kind(output))
        if isinstance(output, FactorisedCount) and "Count with" in fields["trains"]:
            trained.add(kind(output.count))
        linked = loss.link(output)
        links.add(
            "itself" if linked is output else "scores only" if kind(linked) == "ScoresOnly" else "exact"
        )

    assert class_names(fields["trains"]) == trained
    assert set(re.findall(r"\b(itself|exact|scores only)\b", fields["link"].lower())) == links


@pytest.mark.parametrize(
    ("group", "name"),
    [(group, name) for group in ("decision", "calibration") for name in shipped(group) if name != "auto"],
)
def test_rules_and_calibrators_fit_what_is_said(group: str, name: str) -> None:
    sentence = of_group(group)[name].fields["fits"]
    part = build(group, name, n_labels=LABELS)

    assert {kind(output) for output in outputs() if _passes(part.check, output)} == _said_to_fit(sentence)


def _said_to_fit(sentence: str) -> set[str]:
    match sentence:
        case "every output":
            return {kind(output) for output in outputs()}
        case "outputs with marginals":
            return {kind(output) for output in outputs() if _passes(type(output).marginals, output)}
        case _:
            return class_names(sentence)


def _passes(function: Callable[[LabelOutput], object], output: LabelOutput) -> bool:
    try:
        function(output)
    except (UserError, NotDefinedError):
        return False
    return True


def test_auto_chooses_what_is_said() -> None:
    columns = (table_column("Output models", column) for column in (0, 3, 4))
    said = {re.findall(r"\w+", model)[0]: (rule, fit) for model, rule, fit in zip(*columns, strict=True)}
    chosen = {
        kind(output): (
            f"`{mlc.decisions.auto.default_for(output)}`",
            f"`{mlc.calibration.auto.default_for(output)}`",
        )
        for output in outputs()
    }

    assert said == chosen | {"CalibratedLabels": ("of the model below", "")}
    calibrated = CalibratedLabels(raw(), base=LabelChain(raw(), torch.ones(LABELS, LABELS)))
    assert mlc.decisions.auto.default_for(calibrated) == "greedy"

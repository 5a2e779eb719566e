import datetime
import math
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
from annotated_types import Gt, Interval, Len

from mlc.backbones.base import Backbone
from mlc.backbones.mlp import MLP
from mlc.data.dataset import DatasetSource
from mlc.decisions.base import Decision
from mlc.errors import UserError
from mlc.experiment.instantiate import check_options, check_value, did_you_mean, make
from mlc.experiment.shown import shown
from mlc.heads.base import Head
from mlc.heads.sigmoid import SigmoidHead
from mlc.losses.base import Loss
from mlc.training.settings import TrainerSettings
from tests.contract.grid import numbers
from tests.unit.experiment.shipped import labels, node

KINDS: dict[str, type] = {
    "backbone": Backbone,
    "dataset": DatasetSource,
    "decision": Decision,
    "head": Head,
    "loss": Loss,
    "optimizer": torch.optim.Optimizer,
    "trainer": TrainerSettings,
}


def build(group: str, content: Any) -> Any:
    return make(content, group=group, kind=KINDS[group])


STRANGERS = [
    ("head", "os.system"),
    ("head", "builtins.eval"),
    ("head", "subprocess.Popen"),
    ("head", "pathlib.Path"),
    ("head", "torch.nn.Linear"),
    ("head", "torch.load"),
    ("head", "hydra.utils.instantiate"),
    ("head", "mlc.experiment.recipe.Recipe"),
    ("head", "mlc.heads_of_mine.Head"),
    ("optimizer", "torch.optimiser.Adam"),
    ("head", "SigmoidHead"),
    ("head", ".mlc.heads.sigmoid.SigmoidHead"),
    ("head", ""),
]
ALIASES = [
    ("trainer", "mlc.training.checkpoint.Path"),
    ("trainer", "mlc.training.files.os"),
    ("trainer", "mlc.training.settings.Literal"),
    ("head", "mlc.heads.sigmoid.torch"),
    ("head", "mlc.heads.sigmoid.nn"),
    ("head", "mlc.heads.sigmoid.LabelStatistics"),
    ("head", "mlc.heads.sigmoid.__builtins__"),
    ("trainer", "mlc.training.run_files.Classifier"),
    ("optimizer", "torch.optim.adam.Tensor"),
]
NO_OBJECTS_OF_THE_KIND = [
    ("trainer", "mlc.training.checkpoint.load_checkpoint"),
    ("trainer", "mlc.training.loop.Session"),
    ("head", "mlc.heads.priors.log_share_of_labels"),
    ("head", "mlc.losses.binary_cross_entropy.BinaryCrossEntropy"),
    ("loss", "mlc.heads.sigmoid.SigmoidHead"),
    ("dataset", "mlc.data.dataset.Dataset"),
    ("optimizer", "torch.optim.lr_scheduler.StepLR"),
    ("decision", "mlc.calibration.platt.Platt"),
    # Classes that cannot be built: one says what others are.
    ("head", "mlc.heads.base.Head"),
    ("decision", "mlc.decisions.threshold_rule.ThresholdRule"),
    ("dataset", "mlc.data.dataset.DatasetSource"),
]
NOT_THERE = [
    ("head", "mlc.heads.sigmoid.Sigmoid"),
    ("head", "mlc.heads.sigmod.SigmoidHead"),
    ("head", "mlc.heads.sigmoid."),
    ("head", "mlc.heads..sigmoid.SigmoidHead"),
    ("head", "mlc.heads.sigmoid.SigmoidHead.forward"),
    ("head", "mlc.heads.sigmoid.SigmoidHead.forward.__globals__"),
    ("head", "mlc.heads.sigmoid.torch.nn.Linear"),
    ("trainer", "mlc.training.checkpoint.Path.home"),
    ("head", "mlc.heads.\0.Head"),
]


@pytest.mark.parametrize(("group", "target"), STRANGERS + ALIASES + NO_OBJECTS_OF_THE_KIND)
def test_what_is_no_class_of_the_kind_is_refused(group: str, target: str) -> None:
    with pytest.raises(UserError) as refused:
        build(group, {"_target_": target})
    assert f"{group}._target_={target} is refused" in str(refused.value)


@pytest.mark.parametrize(("group", "target"), NOT_THERE)
def test_what_is_not_there_is_said_to_be_so(group: str, target: str) -> None:
    with pytest.raises(UserError) as refused:
        build(group, {"_target_": target})
    assert f"{group}._target_={shown(target)} does not exist" in str(refused.value)


def test_a_strangers_module_is_not_even_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stranger.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\nclass Head: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="refused"):
        build("head", {"_target_": "stranger.Head"})
    assert "stranger" not in sys.modules
    assert not (tmp_path / "owned").exists()


def test_the_module_of_the_class_counts_and_not_where_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = type("Stranger", (SigmoidHead,), {"__module__": "stranger"})
    monkeypatch.setattr("mlc.heads.sigmoid.Stranger", stranger, raising=False)
    with pytest.raises(UserError, match="refused"):
        build("head", node("head", "sigmoid") | {"_target_": "mlc.heads.sigmoid.Stranger"})


@pytest.mark.parametrize("content", [{}, {"_target_": None}, {"_target_": 3}, {"_target_": ["os.system"]}])
@pytest.mark.parametrize(
    "wrap", [lambda content: content, lambda content: "sigmoid", lambda content: [content]]
)
def test_a_node_without_a_target_says_how_to_choose(content: Any, wrap: Any) -> None:
    with pytest.raises(UserError, match=r"head has no _target_: .*head=<name>"):
        build("head", wrap(content))


def test_run_time_arguments_complete_the_object() -> None:
    head = build("head", node("head", "sigmoid"))(in_features=7, labels=labels())
    assert isinstance(head, SigmoidHead)
    assert head.logits.weight.shape == (5, 7)


def test_run_time_arguments_that_a_class_does_not_want_are_left_out() -> None:
    backbone = build("backbone", node("backbone", "linear"))(inputs=numbers(3, 4), labels=labels())
    assert backbone.feature_sizes == {"pooled": 12}


def test_one_maker_builds_many_objects() -> None:
    maker = build("backbone", node("backbone", "mlp"))
    first, second = maker(inputs=numbers(3)), maker(inputs=numbers(4))
    assert [p.data_ptr() for p in first.parameters()] != [p.data_ptr() for p in second.parameters()]


@pytest.mark.parametrize(
    ("group", "name", "changes", "wanted"),
    [
        ("optimizer", "adam", {"lr": -1.0}, "learning rate"),
        ("optimizer", "sgd", {"momentum": 0.0}, "Nesterov"),
    ],
)
def test_what_the_constructor_itself_refuses_is_the_users_mistake(
    group: str, name: str, changes: dict[str, Any], wanted: str
) -> None:
    maker = build(group, node(group, name) | changes)
    with pytest.raises(UserError, match=f"^{group}: .*{wanted}"):
        maker(params=[torch.nn.Parameter(torch.zeros(1))])


WRONG_VALUES = [
    ("backbone", "mlp", "dropout", 1.0, "less than 1"),
    ("backbone", "mlp", "dropout", -0.1, "greater than or equal to 0"),
    ("backbone", "mlp", "dropout", "a lot", "valid number"),
    ("backbone", "mlp", "dropout", True, "valid number"),
    ("backbone", "mlp", "dropout", None, "valid number"),
    ("backbone", "mlp", "dropout", math.nan, "finite numbers"),
    ("backbone", "mlp", "widths", [], "at least 1 item"),
    ("backbone", "mlp", "widths", [8, 0], "greater than 0"),
    ("backbone", "mlp", "widths", [8, 8.5], "valid integer"),
    ("backbone", "mlp", "widths", 8, "valid array"),
    ("backbone", "mlp", "widths", "88", "valid array"),
    ("backbone", "mlp", "norm", "group", "'none', 'batch' or 'layer'"),
    ("head", "sigmoid", "prior_bias", "yes", "valid boolean"),
    ("head", "sigmoid", "prior_bias", 1, "valid boolean"),
    ("head", "softmax", "reading", "shares", "'auto', 'single_choice' or 'label_shares'"),
    ("loss", "binary_cross_entropy", "positive_weight", "balancd", "'balanced'"),
    ("loss", "binary_cross_entropy", "positive_weight", "balancd", "valid number"),
    ("loss", "binary_cross_entropy", "positive_weight", 0.0, "greater than 0"),
    ("decision", "top_k", "k", 0, "greater than or equal to 1"),
    ("decision", "top_k", "k", 2.5, "valid integer"),
    ("decision", "fixed", "threshold", 1, "less than 1"),
    ("optimizer", "adam", "lr", "1e-3", "valid number"),
    ("optimizer", "adam", "betas", [0.9], "too few values"),
    ("optimizer", "adam", "betas", [0.9, 0.99, 0.999], "at most 2 items"),
    ("optimizer", "adam", "betas", 0.9, "valid"),
    ("trainer", "table", "max_epochs", -1, "greater than or equal to 0"),
    ("trainer", "table", "max_epochs", 2.5, "valid integer"),
    ("trainer", "table", "batch_size", 0, "greater than 0"),
    ("trainer", "table", "batch_size", True, "valid integer"),
    ("trainer", "table", "precision", "fp8", "'fp32', 'bf16', 'fp16' or 'auto'"),
    ("trainer", "table", "patience", 0, "greater than 0"),
    ("trainer", "table", "clip_norm", "none", "valid number"),
    ("dataset", "yeast", "valid_fraction", 0.0, "greater than 0"),
    ("dataset", "yeast", "name", 7, "valid string"),
    ("optimizer", "adam", "lr", math.inf, "finite numbers"),
    ("dataset", "yeast", "name", datetime.date(2020, 1, 2), "text"),  # what YAML makes of 2020-01-02
    ("dataset", "yeast", "name", b"yeast", "text"),  # and of !!binary
    ("dataset", "yeast", "name", {"yeast"}, "text"),  # and of !!set
]


@pytest.mark.parametrize(("group", "name", "key", "value", "allowed"), WRONG_VALUES)
def test_a_wrong_value_is_refused_by_name(group: str, name: str, key: str, value: Any, allowed: str) -> None:
    with pytest.raises(UserError) as refused:
        build(group, node(group, name) | {key: value})
    message = str(refused.value)
    shown = "null" if value is None else str(value)
    assert message.startswith(f"{group}.{key}={shown} is not allowed: ")
    assert allowed in message
    assert "\n" not in message
    assert "Tensor" not in message  # no YAML value can be one


@pytest.mark.parametrize(
    ("group", "name", "changes"),
    [
        ("backbone", "mlp", {"dropout": 0}),
        ("optimizer", "adam", {"lr": 1, "betas": [0, 0.5], "fused": None}),
        ("trainer", "table", {"clip_norm": 1, "patience": None, "memory_limit_mb": 10}),
        ("loss", "binary_cross_entropy", {"positive_weight": "balanced"}),
    ],
)
def test_a_fitting_value_is_taken(group: str, name: str, changes: dict[str, Any]) -> None:
    build(group, node(group, name) | changes)


def test_an_unknown_key_gets_the_nearest_one() -> None:
    with pytest.raises(UserError, match=r"backbone.droput is no option of MLP; did you mean dropout\?"):
        build("backbone", node("backbone", "mlp") | {"droput": 0.1})


@pytest.mark.parametrize("key", ["in_features", "labels", "self", "_args_", "_recursive_", "_convert_"])
def test_what_comes_at_run_time_is_no_option(key: str) -> None:
    with pytest.raises(UserError, match=f"head.{key} is no option of SigmoidHead"):
        build("head", node("head", "sigmoid") | {key: 1})


def test_a_class_without_options_says_so() -> None:
    with pytest.raises(
        UserError, match=r"decision\.threshold is no option of GlobalThreshold; it has no options"
    ):
        build("decision", node("decision", "global_threshold") | {"threshold": 0.5})


@pytest.mark.parametrize("key", ["widths", "input_dropout", "dropout", "norm"])
def test_a_missing_key_is_named(key: str) -> None:
    content = node("backbone", "mlp")
    del content[key]
    with pytest.raises(UserError, match=f"backbone.{key} is missing: MLP needs it"):
        build("backbone", content)


def test_what_has_a_default_may_be_missing() -> None:
    class WithDefault:
        def __init__(self, *, first: int, second: int = 2) -> None: ...

    check_options(WithDefault, {"first": 1}, group="head")
    with pytest.raises(UserError, match=r"head\.first is missing"):
        check_options(WithDefault, {"second": 1}, group="head")


def test_options_of_the_caller_are_not_changed() -> None:
    content = node("backbone", "mlp")
    before = dict(content)
    assert isinstance(build("backbone", content)(inputs=numbers(2)), MLP)
    assert content == before


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (float, 1),
        (tuple[float, float], [0.9, 1]),
        (Annotated[float, Gt(0)] | None, None),
        (Literal["a", "b"], "b"),
        (Annotated[list[Annotated[int, Gt(0)]], Len(1)], [3]),
        (str, "größe"),
        (torch.Tensor | float, 2.5),
    ],
)
def test_check_value_takes_what_yaml_can_write(hint: Any, value: Any) -> None:
    check_value(hint, value, name="x.y")


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, 1.0),
        (int, "1"),
        (int, False),
        (float, "1.0"),
        (str, 1),
        (bool, 0),
        (tuple[float, float], "ab"),
        (Annotated[float, Interval(gt=0, lt=1)], math.inf),
        (torch.Tensor, 1.0),
    ],
)
def test_check_value_converts_nothing(hint: Any, value: Any) -> None:
    with pytest.raises(UserError, match=rf"^x\.y={value} is not allowed: \w"):
        check_value(hint, value, name="x.y")


def test_did_you_mean() -> None:
    assert did_you_mean("hed", ["loss", "head"]) == "; did you mean head?"
    assert did_you_mean("zzz", ["loss", "head"]) == "; it has loss, head"
    assert did_you_mean("zzz", []) == "; it has no options"

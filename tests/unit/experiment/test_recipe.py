import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mlc.backbones.join import Join
from mlc.batch import LabelStatistics
from mlc.data.augment import PictureAugmentation
from mlc.errors import UserError
from mlc.experiment.linear_recipe import with_linear_choices
from mlc.experiment.pairing import head_output, linked_output, losses_for
from mlc.experiment.recipe import Recipe, group_names, read_recipe
from mlc.experiment.shipped import config_folder, load_shipped, shipped
from mlc.inputs import InputSpec
from mlc.losses.base import PairingError
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice
from tests.contract.grid import CONFIGS, fits, names, numbers
from tests.unit.experiment.shipped import (
    EVERY_GROUP,
    GROUPS,
    OPTIONAL,
    config,
    fitting_backbone,
    labels,
    node,
)
from tests.unit.label_statistics import labels_with

EVERY_CHOICE = [(group, name) for group in EVERY_GROUP for name in names(group)]
WORLDS = pytest.mark.parametrize("single_label", [True, False])


def recipe(**chosen: str) -> Recipe:
    return read_recipe(config(**chosen))


def linked(found: Recipe, statistics: LabelStatistics) -> LabelOutput:
    return linked_output(found.makers["head"], found.makers["loss"], statistics)


def with_option(group: str, key: str, value: Any, **chosen: str) -> dict[str, Any]:
    content = config(**chosen)
    content[group][key] = value
    return content


def test_groups_are_the_folders_of_configs() -> None:
    folders = {path.name for path in CONFIGS.iterdir() if path.is_dir()} - {"experiment", "debug"}
    assert set(group_names()) == folders == set(EVERY_GROUP)
    assert config_folder().samefile(CONFIGS)


def test_shipped_names_are_the_files() -> None:
    assert shipped("head") == names("head")
    assert shipped("no_such_group") == []


def test_load_shipped_leaves_the_defaults_list_out() -> None:
    assert load_shipped("head", "sigmoid") == node("head", "sigmoid")
    assert "defaults" not in load_shipped("dataset", "yeast")


@pytest.mark.parametrize(("group", "name"), EVERY_CHOICE)
def test_every_shipped_config_can_be_read(group: str, name: str) -> None:
    chosen = {group: name}
    if group == "loss":
        chosen["head"] = next(head for head in names("head") if fits(head, name, "several"))
    if (group, name) == ("decision", "greedy"):
        chosen["head"] = "classifier_chain"
    content = config(**chosen)
    found = read_recipe(content)
    if name == "linear_baseline":  # which makes more choices
        content = with_linear_choices(content)
    assert found.config == content
    assert found.seed == 0


@pytest.mark.parametrize("key", ["heads", "trainer.max_epochs", "hydra", "resume"])
def test_an_unknown_group_is_refused(key: str) -> None:
    with pytest.raises(UserError, match=f"^{key} is no part of a config; "):
        read_recipe(config() | {key: 1})


def test_a_misspelt_group_gets_the_nearest_one() -> None:
    with pytest.raises(UserError, match=r"did you mean head\?"):
        read_recipe(config() | {"hed": node("head", "sigmoid")})


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("content", [None, {}, {"auto": False}, "sigmoid", ["sigmoid"]])
def test_a_group_without_a_choice_is_named(group: str, content: Any) -> None:
    with pytest.raises(UserError, match=f"^{group} has no _target_"):
        read_recipe(config() | {group: content})


@pytest.mark.parametrize("group", GROUPS)
def test_a_missing_group_is_named(group: str) -> None:
    content = config()
    del content[group]
    with pytest.raises(UserError, match=f"^{group} has no _target_"):
        read_recipe(content)


@pytest.mark.parametrize("group", [g for g in GROUPS if g not in ("decision", "calibration")])
def test_only_decision_and_calibration_may_be_left_open(group: str) -> None:
    with pytest.raises(UserError, match=f"^{group} has no _target_"):
        read_recipe(config() | {group: {"auto": True}})


@pytest.mark.parametrize("group", GROUPS)
def test_a_strangers_target_is_refused_in_every_group(group: str) -> None:
    with pytest.raises(UserError, match=rf"{group}\._target_=os\.system is refused"):
        read_recipe(config() | {group: {"_target_": "os.system", "command": "true"}})


@pytest.mark.parametrize("seed", [None, 1.0, "1", True, [1], -1, 2**32, 2**70])
def test_a_wrong_seed_is_refused(seed: Any) -> None:
    shown = "null" if seed is None else str(seed)
    with pytest.raises(UserError) as refused:
        read_recipe(config() | {"seed": seed})
    assert str(refused.value).startswith(f"seed={shown} is not allowed: ")


def test_the_largest_seed_works() -> None:
    content = config(head="sigmoid", backbone="linear") | {"seed": 2**32 - 1}
    read_recipe(content).resolved(labels()).classifier(inputs=numbers(3), labels=labels())


@pytest.mark.parametrize(
    ("group", "key", "value", "chosen", "message"),
    [
        ("trainer", "device", "gpu", {}, r"trainer\.device=gpu is no device"),
        ("trainer", "monitor", "accuracy", {}, r"trainer\.monitor=accuracy .*micro_f1"),
        ("optimizer", "lr", -0.1, {}, r"^optimizer\.lr=-0\.1 is not allowed"),
        ("optimizer", "momentum", 0.0, {"optimizer": "sgd"}, "^optimizer: Nesterov"),
        ("schedule", "gamma", 1.0, {"schedule": "step"}, r"^schedule\.gamma=1\.0 .*less than 1"),
        ("dataset", "max_digits", 10, {"dataset": "digits"}, "digits"),
        ("decision", "k", 20_000, {"decision": "top_k"}, r"^decision\.k=20000 "),
    ],
)
def test_values_are_checked_before_any_data_is_read(
    group: str, key: str, value: Any, chosen: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_recipe(with_option(group, key, value, **chosen))


@cache
def fitting(head: str, world: str = "several") -> list[str]:
    return [loss for loss in names("loss") if fits(head, loss, world)]


@pytest.mark.parametrize("head", names("head"))
@pytest.mark.parametrize("loss", names("loss"))
def test_a_wrong_pair_names_the_losses_that_fit(head: str, loss: str) -> None:
    if loss in fitting(head) + fitting(head, "single"):
        assert recipe(head=head, loss=loss).config["choices"]["loss"] == loss
        return
    with pytest.raises(PairingError) as refused:
        recipe(head=head, loss=loss)
    named = str(refused.value).partition("what fits is ")[2]
    assert named == ", ".join(f"loss={name}" for name in fitting(head))


@pytest.mark.parametrize("head", names("head"))
@WORLDS
def test_losses_for_are_those_that_accept_the_head(head: str, single_label: bool) -> None:
    statistics = labels(single_label)
    output = head_output(recipe(head=head).makers["head"], statistics)
    assert losses_for(output, statistics) == fitting(head, "single" if single_label else "several")


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"head": "factorised", "calibration": "temperature"}, "calibration=platt"),
        ({"head": "factorised", "decision": "most_probable"}, "global_threshold"),
        ({"head": "factorised", "decision": "fixed", "calibration": "none"}, "calibration=platt"),
        ({"head": "factorised", "loss": "factorised_product", "decision": "by_count"}, "has none"),
    ],
)
@pytest.mark.parametrize("calibration", [{}, {"calibration": "platt"}])
def test_choices_that_do_not_fit_the_head_are_refused(
    chosen: dict[str, str], message: str, calibration: dict[str, str]
) -> None:
    with pytest.raises(UserError, match=message):
        recipe(**(calibration | chosen))


def test_a_choice_that_fits_some_data_is_accepted_until_the_data_are_known() -> None:
    found = recipe(head="softmax", calibration="temperature")  # fits one label per row only
    found.check_fit(labels(single_label=True))
    with pytest.raises(UserError, match="calibration=platt"):
        found.check_fit(labels(single_label=False))


def test_top_k_is_checked_again_with_the_real_number_of_labels() -> None:
    found = read_recipe(with_option("decision", "k", 6, decision="top_k", calibration="none"))
    with pytest.raises(UserError, match=r"decision\.k=6 .*at most 5"):
        found.check_fit(labels())


# head and loss, whether every row has one label: the rule and the calibrator that fit.
AUTO = {
    ("label_sets", "negative_log_likelihood", False): ("most_probable", "temperature"),
    ("levels", "negative_log_likelihood", False): ("fixed", "temperature"),
    ("classifier_chain", "negative_log_likelihood", False): ("greedy", "platt"),
    ("sigmoid", "binary_cross_entropy", False): ("fixed", "temperature"),
    ("sigmoid", "binary_cross_entropy", True): ("fixed", "temperature"),
    ("softmax", "categorical_cross_entropy", False): ("global_threshold", "platt"),
    ("softmax", "categorical_cross_entropy", True): ("most_probable", "temperature"),
    ("factorised", "factorised_kl_mse", False): ("by_count", "platt"),
    ("factorised", "factorised_product", False): ("global_threshold", "platt"),
    ("factorised_poisson", "factorised_kl_poisson", False): ("by_count", "platt"),
}


@pytest.mark.parametrize(("head", "loss", "single_label"), AUTO)
def test_auto_becomes_a_name(head: str, loss: str, single_label: bool) -> None:
    open_recipe = recipe(head=head, loss=loss)
    found = open_recipe.resolved(labels(single_label))
    decision, calibration = AUTO[head, loss, single_label]
    assert found.config["choices"]["decision"] == decision
    assert found.config["choices"]["calibration"] == calibration
    assert found.config["decision"] == node("decision", decision)
    assert found.config["calibration"] == node("calibration", calibration)
    assert open_recipe.config == config(head=head, loss=loss), "the recipe given was changed"
    assert read_recipe(found.config).config == found.config


@pytest.mark.parametrize(("head", "loss"), [(h, loss) for h in names("head") for loss in fitting(h)])
@WORLDS
def test_every_fitting_pair_makes_a_whole_classifier(head: str, loss: str, single_label: bool) -> None:
    statistics = labels(single_label)
    backbone, shape = fitting_backbone(head, otherwise="linear")
    found = recipe(head=head, loss=loss, backbone=backbone).resolved(statistics)
    found.check_fit(statistics)
    classifier = found.classifier(inputs=numbers(*shape), labels=statistics)
    raw = classifier.network({"x": torch.randn(4, *shape)})
    decided = classifier.decision(classifier.calibrator(classifier.loss.link(raw)))
    assert decided.shape == (4, 5)
    assert decided.dtype == torch.bool


def test_a_given_choice_is_kept() -> None:
    found = recipe(decision="top_k", calibration="none").resolved(labels())
    assert found.config["choices"]["decision"] == "top_k"
    assert found.config["choices"]["calibration"] == "none"


@pytest.mark.parametrize(
    ("head", "single_label", "kind"),
    [
        ("sigmoid", False, IndependentLabels),
        ("softmax", True, SingleChoice),
        ("softmax", False, LabelShares),
    ],
)
def test_linked_output_is_what_the_head_and_loss_give(head: str, single_label: bool, kind: type) -> None:
    output = linked(recipe(head=head), labels(single_label))
    assert type(output) is kind
    assert output.scores().shape == (1, 5)


def test_linked_output_has_passed_the_link() -> None:
    found = recipe(head="factorised", loss="factorised_product")
    assert isinstance(linked(found, labels()), ScoresOnly)


def random_states() -> list[Any]:
    numpy_state = np.random.get_state()
    return [
        torch.get_rng_state().tolist(),
        random.getstate(),
        [np.asarray(part).tolist() for part in numpy_state],
    ]


@pytest.mark.parametrize("head", names("head"))
def test_reading_disturbs_no_random_state(head: str) -> None:
    wrong = next(loss for loss in names("loss") if loss not in fitting(head) + fitting(head, "single"))
    before = random_states()
    found = recipe(head=head)
    linked(found, labels())
    found.resolved(labels())
    with pytest.raises(UserError):
        recipe(head=head, loss=wrong)
    assert random_states() == before


def weights(seed: int, **chosen: str) -> dict[str, Tensor]:
    found = read_recipe(config(seed=seed, **chosen)).resolved(labels())
    return found.classifier(inputs=numbers(1, 8, 8), labels=labels()).network.state_dict()


def starts_at_random(key: str, tensor: Tensor) -> bool:
    """Biases start from the data, and the links of a chain at zero."""
    return tensor.is_floating_point() and "bias" not in key and bool((tensor != tensor.flatten()[0]).any())


@pytest.mark.parametrize(
    ("head", "backbone"),
    [(head, fitting_backbone(head, otherwise)[0]) for head in names("head") for otherwise in ("mlp", "cnn")],
)
def test_the_seed_decides_the_weights(head: str, backbone: str) -> None:
    torch.manual_seed(123)
    first = weights(7, backbone=backbone, head=head)
    torch.manual_seed(321)
    again, other = weights(7, backbone=backbone, head=head), weights(8, backbone=backbone, head=head)
    assert all(torch.equal(first[key], again[key]) for key in first)
    random_keys = [key for key, tensor in first.items() if starts_at_random(key, tensor)]
    assert any(key.startswith("head.") for key in random_keys)
    assert not any(torch.equal(first[key], other[key]) for key in random_keys)


@pytest.mark.parametrize("name", names("optimizer"))
def test_the_optimizer_has_the_options_of_its_config(name: str) -> None:
    content = config(optimizer=name)
    content["optimizer"]["lr"] = 0.125
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = read_recipe(content).optimizer([parameter])
    (group,) = optimizer.param_groups
    assert group["params"] == [parameter]
    assert type(optimizer).__name__.lower() == name.replace("_", "")
    for key, value in content["optimizer"].items():
        if not key.startswith("_"):
            assert group[key] == (tuple(value) if isinstance(value, list) else value), key


def test_settings_and_schedule_are_those_of_the_config() -> None:
    content = with_option("trainer", "max_epochs", 3, schedule="step")
    found = read_recipe(content)
    assert found.settings.max_epochs == 3
    assert type(found.schedule).__name__ == "Step"
    assert found.source is not read_recipe(content).source


@pytest.mark.parametrize("group", OPTIONAL)
@pytest.mark.parametrize("content", [None, {}])
def test_an_optional_group_may_be_left_away(group: str, content: Any) -> None:
    found = read_recipe(config() | {group: content})
    assert group not in found.makers
    assert found.auxiliary is None


@pytest.mark.parametrize("group", OPTIONAL)
def test_what_an_optional_group_names_is_checked_all_the_same(group: str) -> None:
    with pytest.raises(UserError, match=f"^{group}=dense is not allowed: "):
        read_recipe(config() | {group: "dense"})
    if group != "auxiliary":
        with pytest.raises(UserError, match=rf"^{group}\._target_=os\.system is refused"):
            read_recipe(config() | {group: {"_target_": "os.system"}})


def test_the_backbone_of_a_side_picture_is_checked() -> None:
    with pytest.raises(UserError, match=r"^join\.picture has no _target_"):
        read_recipe(with_option("join", "picture", None))
    wrong = config()
    wrong["join"]["picture"]["channels"] = [0]
    with pytest.raises(UserError, match=r"^join\.picture\.channels=\[0\] is not allowed"):
        read_recipe(wrong)


TEXT = InputSpec("tokens", (9,), vocabulary=20)
SIDES = {"numbers": numbers(3)["x"], "picture": numbers(1, 8, 8)["x"]}


@pytest.mark.parametrize(
    ("join", "sides", "joined"),
    [("dense", ["numbers", "picture"], True), ("dense", [], False), ("none", ["numbers", "picture"], False)],
)
def test_side_inputs_join_where_there_are_any(join: str, sides: list[str], joined: bool) -> None:
    found = recipe(backbone="embedding_bag", join=join).resolved(labels())
    inputs = {"x": TEXT, **{name: SIDES[name] for name in sides}}
    network = found.classifier(inputs=inputs, labels=labels()).network.eval()
    assert isinstance(network.backbone, Join) is joined
    x = {
        "x": torch.tensor([[3, 4], [5, 6]]),
        "numbers": torch.randn(2, 3),
        "picture": torch.randn(2, 1, 8, 8),
    }
    before = network({name: x[name] for name in inputs}).score_logits()
    for name in sides:
        changed = network({**x, name: x[name] + 1}).score_logits()
        assert torch.equal(changed, before) is not joined, name


def test_data_without_text_leave_the_encoder_out() -> None:
    found = recipe(backbone="mlp")
    assert (found.config["choices"]["text"], "text" in found.makers) == ("tfidf", True)
    without = found.without_text()
    assert (without.config["choices"]["text"], without.config["text"]) == ("none", {})
    assert "text" not in without.makers
    assert found.config == config(backbone="mlp"), "the recipe given was changed"
    assert without.without_text() is without


def test_an_augmentation_is_made_for_pictures() -> None:
    pytest.importorskip("kornia")
    assert recipe().augmentation(numbers(1, 8, 8), {}) is None
    found = recipe(augmentation="flip")
    preparation = {"mean": torch.tensor([0.1]), "scale": torch.tensor([0.3])}
    assert isinstance(found.augmentation(numbers(1, 8, 8), preparation), PictureAugmentation)
    with pytest.raises(UserError, match="augmentation=none"):
        found.augmentation(numbers(3), preparation)


@pytest.mark.parametrize("value", [3, True, ["runs/a"]])
def test_a_wrong_init_from_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match=r"^init_from="):
        read_recipe(config() | {"init_from": value})


def test_init_from_is_a_folder() -> None:
    assert read_recipe(config() | {"init_from": "runs/a"}).init_from == Path("runs/a")
    assert read_recipe(config() | {"init_from": "~/a"}).init_from == Path.home() / "a"


def test_an_auxiliary_head_may_have_targets_of_its_own() -> None:
    content = config(auxiliary="sigmoid", backbone="mlp")
    own = labels_with([1, 2], rows=4)
    for targets, size in (("shared", 5), ("own", 2)):
        content["auxiliary"]["targets"] = targets
        found = read_recipe(content).resolved(labels())
        made = found.classifier(inputs=numbers(3), labels=labels(), auxiliary_labels=own)
        assert made.network.auxiliary is not None
        assert made.network.auxiliary.own_targets is (targets == "own")
        beside = made.network.training_outputs({"x": torch.zeros(2, 3)}).auxiliary
        assert beside is not None
        assert beside.n_labels == size
    with pytest.raises(UserError, match=r"^auxiliary\.targets=own needs .*dataset\.auxiliary_labels"):
        found.classifier(inputs=numbers(3), labels=labels())
    content["auxiliary"]["targets"] = "others"
    with pytest.raises(UserError, match=r"^auxiliary\.targets=others is not allowed"):
        read_recipe(content)

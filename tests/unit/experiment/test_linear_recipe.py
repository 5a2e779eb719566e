from typing import Any

import pytest

from mlc.errors import UserError
from mlc.experiment.linear_recipe import linear_notes, with_linear_choices
from mlc.experiment.recipe import read_recipe
from tests.contract.grid import names
from tests.unit.experiment.shipped import config, node

CHOSEN = {"trainer": "linear_baseline", "dataset": "yeast"}


def linear(**chosen: str) -> dict[str, Any]:
    return with_linear_choices(config(**(CHOSEN | chosen)))


@pytest.mark.parametrize("trainer", sorted({*names("trainer")} - {"linear_baseline"}))
def test_any_other_trainer_changes_nothing(trainer: str) -> None:
    given = config(trainer=trainer)
    assert with_linear_choices(given) is given


def test_it_chooses_what_it_is_made_of() -> None:
    given = config(**CHOSEN, auxiliary="sigmoid", augmentation="flip")
    found = with_linear_choices(given)
    wanted = {
        **{"backbone": "linear", "head": "sigmoid", "loss": "squared_hinge", "text": "tfidf"},
        **{"decision": "per_label_threshold", "auxiliary": "none", "augmentation": "none"},
    }
    assert found["choices"] == given["choices"] | wanted
    for group, name in wanted.items():
        assert found[group] == node(group, name), group
    assert given == config(**CHOSEN, auxiliary="sigmoid", augmentation="flip"), "the given config was changed"


def test_a_look_into_steps_is_refused_by_the_name_that_was_given() -> None:
    given = config(**CHOSEN)
    given["trainer"]["overfit_batches"] = 1  # what debug=overfit_batch puts there
    given["choices"]["debug"] = "overfit_batch"
    with pytest.raises(UserError, match=r"^debug=overfit_batch .* trainer=linear_baseline has no steps"):
        read_recipe(given)


def test_side_inputs_join_without_a_layer_between() -> None:
    join = linear()["join"]
    assert (join["feature"], join["widths"]) == ("pooled", [])
    assert join["picture"] == node("backbone", "flatten")
    assert linear(join="none")["join"] == {}


def test_logistic_regression_has_its_own_loss() -> None:
    given = config(**CHOSEN)
    given["trainer"]["model"] = "logistic"
    found = with_linear_choices(given)
    assert found["choices"]["loss"] == "binary_cross_entropy"
    assert found["loss"] == node("loss", "binary_cross_entropy")


def test_a_rule_that_is_named_stays() -> None:
    assert linear(decision="top_k")["decision"] == node("decision", "top_k")
    assert linear(decision="top_k")["choices"]["decision"] == "top_k"


@pytest.mark.parametrize(("text", "kept"), [("none", "none"), ("tfidf", "tfidf"), ("words", "tfidf")])
def test_texts_become_sparse_numbers(text: str, kept: str) -> None:
    found = linear(text=text)
    assert found["choices"]["text"] == kept
    assert found["text"] == node("text", kept)


def test_options_of_what_is_chosen_already_stay() -> None:
    given = config(**CHOSEN, text="tfidf", loss="squared_hinge", backbone="linear")
    given["text"]["min_count"] = 7
    found = with_linear_choices(given)
    assert found["text"]["min_count"] == 7
    assert with_linear_choices(found) == found, "a run's own config is read again as it is"


def test_a_wrong_model_is_refused_by_name() -> None:
    given = config(**CHOSEN)
    given["trainer"]["model"] = "forest"
    with pytest.raises(UserError, match=r"^trainer\.model=forest is not allowed"):
        read_recipe(given)


@pytest.mark.parametrize("head", sorted({*names("head")} - {"sigmoid"}))
def test_another_head_is_refused(head: str) -> None:
    with pytest.raises(
        UserError, match=rf"trains head=sigmoid, and head={head} is asked for: leave head= away"
    ):
        linear(head=head)


def test_another_loss_is_refused() -> None:
    with pytest.raises(UserError, match=r"trains loss=squared_hinge, and loss=focal is asked for"):
        linear(loss="focal")
    given = config(**CHOSEN, loss="squared_hinge")
    given["trainer"]["model"] = "logistic"
    with pytest.raises(UserError, match=r"trains loss=binary_cross_entropy, and loss=squared_hinge is"):
        with_linear_choices(given)


def test_pictures_are_refused_before_they_are_read() -> None:
    for dataset in ("images", "mnist_pictures"):
        with pytest.raises(UserError, match=rf"dataset={dataset} has pictures: leave trainer= away"):
            linear(dataset=dataset)
    given = config(trainer="linear_baseline", dataset="table")
    given["dataset"] |= {"path": "ads.csv", "labels": "tags", "text": "title", "picture": "photo"}
    with pytest.raises(UserError, match="dataset=table has pictures"):
        read_recipe(given)
    given["dataset"]["picture"] = None
    assert read_recipe(given).config["choices"]["head"] == "sigmoid"


def test_what_takes_the_place_of_something_else_is_said() -> None:
    given = config(**CHOSEN, auxiliary="sigmoid", backbone="wide_mlp", text="tfidf")
    recipe = read_recipe(given)
    assert recipe.notes == (
        "trainer=linear_baseline takes backbone=linear in place of wide_mlp, "
        "auxiliary=none in place of sigmoid.",
    )
    assert read_recipe(recipe.config).notes == ()
    assert read_recipe(config(dataset="yeast")).notes == ()
    assert linear_notes({}, {"backbone": "linear"}) == ()

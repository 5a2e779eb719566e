"""What `trainer=linear_baseline` chooses beside the trainer."""

from collections.abc import Mapping

from mlc.errors import UserError
from mlc.experiment.shipped import Config, load_shipped

TARGET = "mlc.training.linear_baseline.LinearBaseline"
_TABLE = "mlc.data.table.Table"
_TFIDF = "mlc.data.text.tfidf.Tfidf"
_LOSSES = {"svm": "squared_hinge", "logistic": "binary_cross_entropy"}
_HEAD, _ITS_LOSS = "sigmoid", "binary_cross_entropy"  # what is chosen where nobody chooses
_PICTURES = ("mlc.data.images.Images", "mlc.data.mnist.MnistPictures")


def with_linear_choices(config: Config) -> Config:
    """The config with the backbone, head, loss and text encoder that the linear baseline is made of.

    Any other config stays as it is, and so does one that has these choices already.

    Raises:
        UserError: another head or loss was asked for, or a look into the steps, or the data are pictures.
    """
    trainer = config.get("trainer")
    if not isinstance(trainer, dict) or trainer.get("_target_") != TARGET:
        return config
    choices = dict(config.get("choices", {}))
    changed = {**config, "choices": choices}
    loss = _LOSSES.get(str(trainer.get("model", "")), "squared_hinge")
    if debug := choices.get("debug"):
        raise UserError(
            f"debug={debug} looks into training step by step, and trainer=linear_baseline has no steps: "
            f"leave one of the two away"
        )
    _check_data(config.get("dataset"), choices)
    _check_choice("head", choices, fitting=(_HEAD,))
    _check_choice("loss", choices, fitting=(loss, _ITS_LOSS))
    wanted = {"backbone": "linear", "head": _HEAD, "loss": loss}
    if config.get("decision") == {"auto": True}:
        wanted["decision"] = "per_label_threshold"
    text = config.get("text")
    if text and text.get("_target_") != _TFIDF:
        wanted["text"] = "tfidf"
    for group, name in wanted.items():
        if choices.get(group) != name:
            choices[group], changed[group] = name, load_shipped(group, name)
    if changed.get("join"):
        changed["join"] = {
            **changed["join"],
            "feature": "pooled",
            "widths": [],
            "dropout": 0.0,
            "picture": load_shipped("backbone", "flatten"),
        }
    changed["auxiliary"], choices["auxiliary"] = {}, "none"
    changed["augmentation"], choices["augmentation"] = {}, "none"
    return changed


def linear_notes(given: Mapping[str, str], taken: Mapping[str, str]) -> tuple[str, ...]:
    """What the linear baseline has put in the place of other choices; none where it changed nothing.

    Args:
        given: the choices of the config.
        taken: those of `with_linear_choices`.
    """
    changes = [
        f"{group}={taken[group]} in place of {given[group]}"
        for group in ("backbone", "text", "auxiliary", "augmentation")
        if group in given and given[group] != taken[group]
    ]
    return (f"trainer=linear_baseline takes {', '.join(changes)}.",) if changes else ()


def _check_data(dataset: object, choices: Mapping[str, str]) -> None:
    """Refuse pictures before any is decoded."""
    if not isinstance(dataset, dict):
        return
    if dataset.get("_target_") in _PICTURES or (dataset.get("_target_") == _TABLE and dataset.get("picture")):
        raise UserError(
            f"trainer=linear_baseline reads numbers, sparse rows and texts, and dataset="
            f"{choices.get('dataset', '')} has pictures: leave trainer= away"
        )


def _check_choice(group: str, choices: Mapping[str, str], *, fitting: tuple[str, ...]) -> None:
    """Refuse a choice that somebody has made and that the baseline would drop."""
    name = choices.get(group, fitting[0])
    if name not in fitting:
        raise UserError(
            f"trainer=linear_baseline trains {group}={fitting[0]}, and {group}={name} is asked for: leave "
            f"{group}= away, or choose another trainer"
        )

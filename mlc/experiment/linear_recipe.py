"""What `trainer=linear_baseline` chooses beside the trainer."""

from mlc.experiment.shipped import Config, load_shipped

TARGET = "mlc.training.linear_baseline.LinearBaseline"
_TFIDF = "mlc.data.text.tfidf.Tfidf"
_LOSSES = {"svm": "squared_hinge", "logistic": "binary_cross_entropy"}


def with_linear_choices(config: Config) -> Config:
    """The config with the backbone, head, loss and text encoder that the linear baseline is made of.

    Any other config stays as it is, and so does one that has these choices already.
    """
    trainer = config.get("trainer")
    if not isinstance(trainer, dict) or trainer.get("_target_") != TARGET:
        return config
    choices = dict(config.get("choices", {}))
    changed = {**config, "choices": choices}
    wanted = {
        "backbone": "linear",
        "head": "sigmoid",
        "loss": _LOSSES.get(trainer.get("model", ""), "squared_hinge"),
    }
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

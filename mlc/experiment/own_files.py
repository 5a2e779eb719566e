"""Where the files that a config names are, in words that mean the same from every folder.

A run is measured, resumed and predicted with later, perhaps from another folder than it was started in.
"""

from typing import Any

from mlc.experiment.shipped import Config
from mlc.paths import home_path

# The options of each class that are looked for from the working directory. Those below the data root stay.
_FROM_HERE = {
    "mlc.data.table.Table": ("path", "picture_folder"),
    "mlc.data.images.Images": ("folder",),
    "mlc.data.svmlight.Svmlight": ("path", "test"),
    "mlc.data.text.pretrained.Pretrained": ("model",),
    "mlc.backbones.pretrained_text.PretrainedText": ("model",),
    "mlc.backbones.pretrained_image.PretrainedImage": ("model",),
}


def from_anywhere(config: Config) -> Config:
    """The config with absolute paths for the files and folders that are there, seen from here.

    What is not there stays as it is: it may lie below the data root or on a hub, and if it is missing the
    message has the user's own words.
    """
    changed = {group: _absolute(node) for group, node in config.items()}
    if isinstance(config.get("init_from"), str):
        changed["init_from"] = _place(config["init_from"])
    return changed


def _absolute(node: Any) -> Any:
    target = node.get("_target_") if isinstance(node, dict) else None
    options = _FROM_HERE.get(target, ()) if isinstance(target, str) else ()
    places = {key: _place(node[key]) for key in options if isinstance(node.get(key), str)}
    return {**node, **places} if places else node


def _place(value: str) -> str:
    try:
        path = home_path(value)
        return str(path.absolute()) if value and path.exists() else value
    except (OSError, ValueError):  # a name that no file can have
        return value

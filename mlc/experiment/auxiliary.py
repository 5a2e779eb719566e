"""The auxiliary head of a config: checked before any data is read, built on a backbone later."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Gt

from mlc.backbones.base import Backbone
from mlc.batch import LabelStatistics
from mlc.errors import UserError
from mlc.experiment.instantiate import Maker, check_value, did_you_mean, make
from mlc.heads.base import Head
from mlc.losses.base import Loss
from mlc.model import Auxiliary, feature_size

_KEYS = ("feature", "weight", "targets", "head", "loss")


@dataclass(frozen=True)
class AuxiliaryMaker:
    """The config of an auxiliary head, checked.

    Args:
        feature: the backbone's feature that it reads.
        weight: of its loss.
        own_targets: whether it has targets of its own.
        head, loss: what it is made of.
    """

    feature: str
    weight: float
    own_targets: bool
    head: Maker
    loss: Maker

    def build(self, backbone: Backbone, labels: LabelStatistics) -> Auxiliary:
        """The auxiliary head on this backbone, for its targets with these statistics.

        Raises:
            UserError: the backbone lacks the feature.
        """
        size = feature_size(backbone, self.feature, reader="auxiliary")
        return Auxiliary(
            feature=self.feature,
            head=self.head(in_features=size, labels=labels),
            loss=self.loss(labels=labels),
            weight=self.weight,
            own_targets=self.own_targets,
        )


def read_auxiliary(node: Any) -> AuxiliaryMaker | None:
    """The auxiliary head of a config; None where there is none."""
    if not node:
        return None
    check_value(dict[str, Any], node, name="auxiliary")
    for key in (*node, *_KEYS):
        if key not in _KEYS:
            raise UserError(f"auxiliary.{key} is no option{did_you_mean(str(key), list(_KEYS))}")
        if key not in node:
            raise UserError(f"auxiliary.{key} is missing; it has {', '.join(_KEYS)}")
    check_value(str, node["feature"], name="auxiliary.feature")
    check_value(Annotated[float, Gt(0)], node["weight"], name="auxiliary.weight")
    check_value(Literal["shared", "own"], node["targets"], name="auxiliary.targets")
    return AuxiliaryMaker(
        feature=node["feature"],
        weight=node["weight"],
        own_targets=node["targets"] == "own",
        head=make(node["head"], group="auxiliary.head", kind=Head),
        loss=make(node["loss"], group="auxiliary.loss", kind=Loss),
    )

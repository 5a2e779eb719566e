"""What there is to choose from, and what fits what; found by building everything once, never by a list."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import yaml

from mlc.batch import LabelStatistics
from mlc.calibration.auto import default_for as default_calibration
from mlc.calibration.base import Calibrator
from mlc.decisions.auto import default_for as default_decision
from mlc.decisions.base import Decision
from mlc.errors import UserError
from mlc.experiment.instantiate import Maker, did_you_mean, make
from mlc.experiment.pairing import head_output, linked_output, losses_for, made_up_labels
from mlc.experiment.shipped import config_folder, load_shipped, shipped
from mlc.heads.base import Head
from mlc.losses.base import Loss
from mlc.outputs.base import LabelOutput

_PLAIN_GROUPS = (
    *("dataset", "text", "augmentation", "backbone", "join", "auxiliary"),
    *("optimizer", "schedule", "trainer", "experiment"),
)
_MADE_UP = {"loss": {}, "decision": {"k": 5}}  # five labels: every shipped rule can be built for them


def what_fits_what(head: str | None, loss: str | None) -> str:
    """A text of all heads and groups; or of one head, or of one head with one loss.

    Args:
        head: name of a head config, or None for everything.
        loss: name of a loss config, or None for the head's own.

    Raises:
        UserError: no such head or loss, or they do not fit.
    """
    for group, name in (("head", head), ("loss", loss)):
        if name is not None and name not in shipped(group):
            raise UserError(f"{group}={name} does not exist{did_you_mean(name, shipped(group))}")
    if head is not None:
        return "\n".join(_about_head(head, loss))
    if loss is not None:
        return "\n".join(_about_loss(loss))
    lines = ["What fits each head; the first of each line is what you get if you say nothing.", ""]
    for name in shipped("head"):
        lines += [*_about_head(name, None), ""]
    for group in _PLAIN_GROUPS:
        lines += [f"{group}=", *(_entry(group, name) for name in shipped(group)), ""]
    lines.append("python -m mlc.options head=<name> loss=<name> says what fits a pair.")
    return "\n".join(lines)


@dataclass(frozen=True)
class _World:
    """A kind of data that a head may read in its own way."""

    title: str
    labels: LabelStatistics


def _worlds() -> list[_World]:
    several, single = (made_up_labels(_MADE_UP, single_label=single) for single in (False, True))
    return [_World("", several), _World(", where every training row has exactly one label", single)]


def _about_head(head: str, loss: str | None) -> list[str]:
    lines, seen = [f"head={head}: {_header('head', head)}"], None
    for world in _worlds():
        output = head_output(_maker("head", head, Head), world.labels)
        if type(output) is seen:
            continue  # reads both kinds of data alike
        seen = type(output)
        lines += _about_output(head, loss or _default_loss(head), output, world)
    return lines


def _about_output(head: str, loss: str, output: LabelOutput, world: _World) -> list[str]:
    losses = losses_for(output, world.labels)
    if loss not in losses and losses:
        if world.title:
            return []
        raise UserError(f"loss={loss} does not fit head={head}; what fits is {', '.join(losses)}")
    linked = linked_output(_maker("head", head, Head), _maker("loss", loss, Loss), world.labels)
    calibrators = _fitting("calibration", Calibrator, linked, first=default_calibration(linked))
    calibrated = _maker("calibration", calibrators[0], Calibrator)(n_labels=linked.n_labels)(linked)
    rules = _fitting("decision", Decision, calibrated, first=default_decision(linked))
    return [
        f"  model         {type(output).__name__}{world.title}",
        f"  loss=         {', '.join(_first(loss, losses))}",
        f"  calibration=  {', '.join(calibrators)}",
        f"  decision=     {', '.join(rules)}",
    ]


def _about_loss(loss: str) -> list[str]:
    labels = made_up_labels(_MADE_UP, single_label=False)
    heads = [
        head
        for head in shipped("head")
        if loss in losses_for(head_output(_maker("head", head, Head), labels), labels)
    ]
    return [f"loss={loss}: {_header('loss', loss)}", f"  head=  {', '.join(heads)}"]


def _fitting(group: str, kind: type, output: LabelOutput, *, first: str) -> list[str]:
    names = [name for name in shipped(group) if name != "auto"]
    return _first(first, [name for name in names if _fits(_maker(group, name, kind), output)])


def _fits(maker: Callable[..., Calibrator | Decision], output: LabelOutput) -> bool:
    try:
        maker(n_labels=output.n_labels).check(output)
    except UserError:
        return False
    return True


def _first(name: str, names: Iterable[str]) -> list[str]:
    return [name, *(other for other in names if other != name)]


def _maker(group: str, name: str, kind: type) -> Maker:
    return make(load_shipped(group, name), group=group, kind=kind)


def _default_loss(head: str) -> str:
    """The loss that the head's config brings."""
    text = (config_folder() / "head" / f"{head}.yaml").read_text(encoding="utf-8")
    brought = {
        key: value
        for entry in yaml.safe_load(text)["defaults"]
        if isinstance(entry, dict)
        for key, value in entry.items()
    }
    return str(brought["/loss@_global_.loss"])


def _header(group: str, name: str) -> str:
    """What the config's first comment says."""
    lines = (config_folder() / group / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comments = (line[1:].strip() for line in lines if line.startswith("#") and "@package" not in line)
    return next(comments, "")


def _entry(group: str, name: str) -> str:
    return f"  {name:<28}{_header(group, name)}"

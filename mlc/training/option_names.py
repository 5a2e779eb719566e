"""Parts of a run by the options that choose them, for messages."""

_GROUPS = {
    "mlc.calibration": "calibration",
    "mlc.decisions": "decision",
    "mlc.heads": "head",
    "mlc.losses": "loss",
    "torch.optim": "optimizer",
}
_SHARED = {"absolute_kl", "factorised", "thresholds"}  # modules of a class, or classes, of several options


def option_name(part: object) -> str:
    """What a user writes to choose this kind of part, as decision=expected_f1.

    The module of a class is named as its option is. A class from elsewhere, or from a module of several
    options, goes by its own name.

    Args:
        part: a head, loss, calibrator, decision rule or optimiser.
    """
    folder, _, module = type(part).__module__.rpartition(".")
    if folder not in _GROUPS or module in _SHARED:
        return type(part).__name__
    return f"{_GROUPS[folder]}={module}"

"""The two exceptions that end a run with a sentence instead of a stack trace."""


class UserError(Exception):
    """A mistake in what the user gave: config, data or a run folder.

    The message is one sentence that says what is wrong, where, and what to do. Doors print it without a
    stack trace and exit with 2.
    """


class Fault(Exception):  # noqa: N818 - a fault is the field's word, as in fault tolerance
    """Something failed that the config alone does not explain: a loss that is no longer finite, a full disk.

    The message is one sentence; doors print it and exit with 1, as for anything else that escapes.
    """


class Stopped(KeyboardInterrupt):
    """A signal has stopped a run at a place from which it can go on; doors exit with 75 (EX_TEMPFAIL)."""

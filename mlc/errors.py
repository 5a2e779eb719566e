"""The one exception a user's mistake raises."""


class UserError(Exception):
    """A mistake in what the user gave: config, data or a run folder.

    The message is one sentence that says what is wrong, where, and what to do. Doors print it without a
    stack trace and exit with 2; anything else that escapes is a fault and exits with 1.
    """

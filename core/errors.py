"""The one kind of error that is meant for the person at the screen."""


class UserError(Exception):
    """A sentence that says what was found, what was expected and what to do about it.

    Raised for everything that input, files or settings can cause. Anything else that escapes is a bug of ours.
    """

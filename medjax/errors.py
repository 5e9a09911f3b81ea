"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Input that medjax cannot use, in one line: which file or field, what is wrong, what to do.

    The command line prints the message and exits with code 2; it never shows a traceback for it.
    """

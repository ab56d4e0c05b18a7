"""Errors that a user can mend; each message says what is wrong and what would be right."""


class TrimError(Exception):
    """Base of all errors that the command line shows as one line, with exit code 2."""


class InvalidInput(TrimError):
    """A value from outside is not acceptable."""


class ModelUnavailable(TrimError):
    """A model cannot be loaded or does not answer."""


class ContextExceeded(TrimError):
    """A prefix does not fit a model's context."""

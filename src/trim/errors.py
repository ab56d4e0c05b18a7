"""Errors that a user can mend; each message says what is wrong and what would be right."""


class TrimError(Exception):
    """Base of all errors that the command line shows as one line, with exit code 2."""


class InvalidInput(TrimError):
    """A value from outside is not acceptable."""


class ModelUnavailable(TrimError):
    """A model cannot be loaded or does not answer."""


class Refused(ModelUnavailable):
    """A server does not take a request as it is; asking again would not help."""


class MoneySpent(TrimError):
    """A run has ended before its end, for it has cost what it may."""


class ContextExceeded(TrimError):
    """A prefix does not fit a model's context.

    Attributes:
        room: tokens that would be left for an answer, where a server told; a request that asks
            for no more than that fits after all.
    """

    def __init__(self, message: str, room: int | None = None) -> None:
        super().__init__(message)
        self.room = room

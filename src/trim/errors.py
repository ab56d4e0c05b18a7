"""Errors that a user can fix; each message says what is wrong and what would be right."""

from __future__ import annotations

import importlib
from typing import Any


class TrimError(Exception):
    """Base of all errors that the command line shows as one line, with exit code 2."""


class InvalidInput(TrimError):
    """A value from outside is not acceptable."""


class MissingExtra(TrimError):
    """An optional dependency is not installed.

    Args:
        need: what is needed and why, as in "this needs llama.cpp".
        extra: the extra of the distribution that installs it.
    """

    def __init__(self, need: str, extra: str) -> None:
        super().__init__(f"{need}: pip install 'trim-router[{extra}]'")
        self.extra = extra


def require_extra(module: str, extra: str, name: str = "") -> Any:
    """Import an optional dependency.

    Args:
        module: dotted name of the module.
        extra: the extra that installs it.
        name: what the message calls it; the module's name by default.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(f"this needs {name or module}", extra) from error


class ModelUnavailable(TrimError):
    """A model cannot be loaded or does not answer."""


class Refused(ModelUnavailable):
    """A server rejects a request; sending it again would not help."""


class MoneySpent(TrimError):
    """A run reached its cost limit."""


class ContextExceeded(TrimError):
    """A prefix does not fit a model's context.

    Attributes:
        room: tokens that are left for the completion, where the server reports them: a request
            for at most that many fits.
    """

    def __init__(self, message: str, room: int | None = None) -> None:
        super().__init__(message)
        self.room = room

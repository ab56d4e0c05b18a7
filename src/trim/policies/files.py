"""Files in which fitted policies are kept: one JSON object that names its family."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trim.errors import InvalidInput
from trim.files import read_object


def read_record(path: Path, family: str) -> dict[str, Any]:
    """The object in a policy file.

    Raises:
        InvalidInput: unreadable, no JSON object, or of another family.
    """
    try:
        record = read_object(path)
    except OSError as error:
        raise unreadable(path, family, error) from error
    except ValueError as error:
        raise wrong_content(path, family) from error
    if record.get("policy") != family:
        raise wrong_content(path, family)
    return record


def read_models(path: Path, family: str, record: Mapping[str, Any]) -> dict[str, str]:
    """sha256 by role of the models that a file was fitted to; empty where it does not say.

    Raises:
        InvalidInput: it says so in another way.
    """
    models = record.get("models", {})
    if not isinstance(models, dict) or not all(isinstance(name, str) for name in models.values()):
        raise wrong_content(path, family)
    return models


def unreadable(path: Path, family: str, error: OSError) -> InvalidInput:
    return InvalidInput(f"{family}: cannot read the file {str(path)!r} ({error.strerror})")


def wrong_content(path: Path, family: str) -> InvalidInput:
    return InvalidInput(f"{path}: not a file that was fitted for the policy {family!r}")


def numbers(values: Iterable[object]) -> tuple[float, ...]:
    """Finite numbers from JSON; TypeError or ValueError for anything else."""
    found = []
    for value in values:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise ValueError(f"{value!r} is not a finite number")
        found.append(float(value))
    return tuple(found)

"""Files that are either whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trim.errors import InvalidInput


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace `path` by `content` in one move; OSError leaves the old file as it was.

    A process that is killed meanwhile leaves a file `.NAME.PID.partial` (`remove_leftovers`).
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove what `write_atomically` left in a folder where its process was killed.

    To be called by who holds the folder (`FolderLock`), for a process of another container looks
    like a dead one. A leftover stays as long as another process has its number, and where it cannot
    be removed.
    """
    for path in folder.glob(".*.partial"):
        number = path.name.split(".")[-2]
        if number.isdecimal() and not is_another(int(number)):
            with suppress(OSError):
                path.unlink()


def is_another(number: int) -> bool:
    """Whether a process other than this one has this number."""
    if number == os.getpid():
        return False
    try:
        os.kill(number, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises InvalidInput where an OSError ends what is done inside: `path` is not written."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written ({error.strerror or error})") from error


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        OSError: unreadable.
        ValueError: no JSON, or no object.
    """
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict):
        raise ValueError(f"{path}: no JSON object")
    return record

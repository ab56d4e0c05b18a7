"""A folder that one process works in."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from trim.errors import InvalidInput
from trim.files import remove_leftovers

NAME = ".lock"


class FolderLock:
    """Held until it is released or the process ends, however it ends.

    What killed processes have left half-written in the folder is removed (`remove_leftovers`).

    Args:
        folder: created if it is missing.

    Raises:
        InvalidInput: another process holds it, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise not_writable(folder, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise InvalidInput(
                f"{folder}: another process works in this folder; wait for it, or name another"
                " --out"
            ) from error
        remove_leftovers(folder)

    def release(self) -> None:
        os.close(self._file)


def not_writable(folder: Path, error: OSError) -> InvalidInput:
    reason = error.strerror or error
    return InvalidInput(f"{folder}: cannot write there ({reason}); name another --out")

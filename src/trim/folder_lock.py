"""A folder that one process works in."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from trim.errors import InvalidInput

NAME = ".lock"


class FolderLock:
    """Held until it is released or the process ends, however it ends.

    Raises:
        InvalidInput: another process holds it.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise InvalidInput(
                f"{folder}: another process works in this folder; wait for it, or name another"
                " --out"
            ) from error

    def release(self) -> None:
        os.close(self._file)

"""Files: atomic writes, locked folders, JSON records of fitted policies, digests."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any

from trim.documents import parse_json
from trim.errors import InvalidInput
from trim.legacy import current_roles

LARGEST = 64 << 20
"""Bytes of a file that holds one document, such as a fitted router."""


def open_file(path: Path) -> BufferedReader:
    """Open a regular file for reading, without waiting for a writer as a pipe does.

    Raises:
        OSError: there is none, or it is a folder, a pipe, a device or a socket.
    """
    with valid_path(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        require_regular(os.fstat(descriptor), path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, largest: int | None = LARGEST) -> bytes:
    """The content of a regular file.

    Args:
        largest: bytes; None for any number.

    Raises:
        OSError: as `open_file`, or the file is larger.
    """
    with open_file(path) as file:
        content = file.read() if largest is None else file.read(largest + 1)
    if largest is not None and len(content) > largest:
        raise OSError(errno.EFBIG, f"larger than {largest:,} bytes", str(path))
    return content


def read_text(path: Path, largest: int | None = LARGEST) -> str:
    """The text of a regular file in UTF-8.

    Raises:
        OSError: as `read_bytes`.
        UnicodeDecodeError: it is not UTF-8.
    """
    return read_bytes(path, largest).decode("utf-8")


def open_to_append(path: Path) -> FileIO:
    """Open a regular file for appending, unbuffered; it is created if missing, a link is refused.

    Raises:
        OSError: it is a link, a folder, a pipe or a device, or cannot be written.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    with valid_path(path):
        descriptor = os.open(path, flags, 0o666)
    try:
        require_regular(os.fstat(descriptor), path)
        return os.fdopen(descriptor, "ab", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def require_regular(found: os.stat_result, path: Path) -> None:
    """Raises OSError unless a file is a regular one."""
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


@contextmanager
def valid_path(path: Path) -> Iterator[None]:
    """Turn the ValueError of a path that no system accepts, as with a NUL, into OSError."""
    try:
        yield
    except ValueError as error:
        raise OSError(errno.EINVAL, "no valid name of a file", str(path)) from error


def require_name(path: Path) -> Path:
    """The same path. Raises InvalidInput where no file can have this name."""
    try:
        path.lstat()
    except ValueError as error:
        raise InvalidInput(f"{path}: no valid name of a file") from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise InvalidInput(f"{path}: no valid name of a file ({error.strerror})") from error
    return path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace the content of `path` atomically; an OSError leaves the old file as it was.

    A link is replaced, not followed, and a device or pipe is refused. A process that is killed
    meanwhile leaves a file `.NAME.PID.partial` (`remove_leftovers`).
    """
    encoded = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with valid_path(path), suppress(FileNotFoundError):
        require_regular(path.stat(), path)
    partial.unlink(missing_ok=True)
    try:
        # Exclusive: a link of this name, placed by somebody else, is not followed.
        with partial.open("xb") as file:
            file.write(encoded)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove partial files of killed processes (`write_atomically`) from a folder.

    The caller must hold the folder (`FolderLock`): a process in another container looks dead. A
    file stays while another process has its number, or if it cannot be removed.
    """
    for path in folder.glob(".*.partial"):
        number = path.name.split(".")[-2]
        if number.isdecimal() and not is_another(int(number)):
            with suppress(OSError):
                path.unlink()


def is_another(number: int) -> bool:
    """Whether another process has this number."""
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
    """Turn an OSError of the enclosed code into InvalidInput: `path` cannot be written."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written ({error.strerror or error})") from error


def require_writable(folder: Path) -> None:
    """Check, before long work, that files can be written to a folder, which may not exist yet.

    Raises:
        InvalidInput: they cannot.
    """
    with writing(folder):
        whole = folder.absolute()
        existing = next(each for each in (whole, *whole.parents) if each.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise InvalidInput(f"{folder}: cannot be written ({existing} is no writable folder)")


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        OSError: unreadable.
        ValueError: not JSON, or not an object.
    """
    record = parse_json(read_bytes(path))
    if not isinstance(record, dict):
        raise ValueError(f"{path}: not a JSON object")
    return record


NAME = ".lock"


class FolderLock:
    """An exclusive lock on a folder, held until it is released or the process ends.

    Partial files of killed processes are removed (`remove_leftovers`).

    Args:
        folder: created if missing.

    Raises:
        InvalidInput: another process holds it, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            with valid_path(folder):
                folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
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


def read_record(path: Path, family: str) -> dict[str, Any]:
    """The object in a policy file.

    Raises:
        InvalidInput: unreadable, not a JSON object, or of another family.
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
    """sha256 by role of the models that a file was fitted to; empty where it names none.

    Raises:
        InvalidInput: `models` is malformed.
    """
    models = record.get("models", {})
    if not isinstance(models, dict) or not all(isinstance(name, str) for name in models.values()):
        raise wrong_content(path, family)
    return current_roles(models)


def unreadable(path: Path, family: str, error: OSError) -> InvalidInput:
    return InvalidInput(f"{family}: cannot read the file {str(path)!r} ({error.strerror})")


def wrong_content(path: Path, family: str) -> InvalidInput:
    return InvalidInput(f"{path}: not a file that was fitted for the policy {family!r}")


def numbers(values: Iterable[object]) -> tuple[float, ...]:
    """Finite numbers from JSON; ValueError for anything else."""
    found = []
    for value in values:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not -sys.float_info.max <= value <= sys.float_info.max
        ):
            raise ValueError("a value is not a finite number")
        found.append(float(value))
    return tuple(found)


def sha256_of(path: Path) -> str:
    """sha256 of a file, in hexadecimal. Raises InvalidInput where it cannot be read."""
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot read the file ({error.strerror})") from error

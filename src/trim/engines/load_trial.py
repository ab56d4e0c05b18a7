"""Loads a GGUF file in a child process first: some damaged files make llama.cpp abort its process.

The sha256 of a file that loaded is kept in the user's cache, hence a file is tried once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from trim.engines.gguf import digest_of
from trim.errors import ModelUnavailable
from trim.files import read_object, write_atomically

KNOWN = frozenset(
    {
        "51aac598f37dfce2fb500a3e3350edfec8ec503afb0a57862ad450deccd7b05a",
        "37f39501d24b44b17d939032fcedd97f014c4e2f27eb5c4ecc688c89ea583b94",
        "cf10e6d200819ab1247aad9792bd85444fe8a8f344db8f19add0e426b8f71115",
    }
)
"""sha256 of the models that ship with trim."""
PROGRAM = """
import os, resource, sys, xllamacpp
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.n_ctx, parameters.n_parallel, parameters.n_gpu_layers = 512, 1, 0
parameters.warmup, parameters.verbosity = False, -1
xllamacpp.Server(parameters).handle_completions({"prompt": "1", "n_predict": 1})
os._exit(0)
"""
ABORTED = ("SIGABRT", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL")
"""Signals that end a process because of its own error."""
SECONDS = 600
"""Time limit of a trial."""
REMEMBERED = 100
"""Files in the cache; the earliest is dropped first."""


def require_loadable(path: Path) -> None:
    """Load a file in a child process, unless this very file has loaded before.

    Raises:
        InvalidInput: the file cannot be read.
        ModelUnavailable: llama.cpp aborts, or does not end.
    """
    cache = cache_file()
    sound = dict(read_sound(cache))
    place = place_of(path)
    if place in sound.values():
        return
    digest = digest_of(path)
    if digest in KNOWN:
        return
    if digest not in sound and not loads(path):
        return
    sound.pop(digest, None)
    sound[digest] = place
    kept = dict(list(sound.items())[-REMEMBERED:])
    record = {"library": library(), "sound": kept}
    with suppress(OSError):  # without a cache the file is tried again
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cache, json.dumps(record, indent=2) + "\n")


def loads(path: Path) -> bool:
    """Whether llama.cpp loads a file, tried in a child process; errors that it reports itself are
    left to the caller.

    Raises:
        ModelUnavailable: see `require_loadable`.
    """
    if not sys.executable:
        return False
    search = os.pathsep.join(filter(None, sys.path))
    try:
        trial = subprocess.run(
            [sys.executable, "-P", "-c", PROGRAM, str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": search, "GGML_NO_BACKTRACE": "1"},
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelUnavailable(f"{path}: damaged; it did not load in {SECONDS} s") from error
    except OSError:
        return False
    name = next((each for each in ABORTED if trial.returncode == -signal.Signals[each]), None)
    if name:
        raise ModelUnavailable(
            f"{path}: damaged; llama.cpp aborts when it loads this file ({name}); copy it again"
        )
    return trial.returncode == 0


def read_sound(cache: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The sha256 of files that loaded with this version of llama.cpp, and where each was."""
    try:
        record = read_object(cache)
    except (OSError, ValueError):
        return
    sound = record.get("sound")
    if record.get("library") == library() and isinstance(sound, dict):
        yield from sound.items()


def place_of(path: Path) -> dict[str, Any]:
    """Path, size and time of the last change, in nanoseconds; empty for an unreadable file."""
    try:
        status = path.stat()
    except OSError:
        return {}
    return {"path": str(path.resolve()), "size": status.st_size, "changed": status.st_mtime_ns}


def library() -> str:
    """The version of llama.cpp's package; empty where it is unknown."""
    try:
        return version("xllamacpp")
    except PackageNotFoundError:
        return ""


def cache_file() -> Path:
    """`trim/gguf.json` in the user's cache folder (XDG Base Directory Specification)."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = Path(os.environ.get("HOME", "/"))
    return (given if given.is_absolute() else home / ".cache") / "trim" / "gguf.json"

"""`trim export`: the shipped models as Hugging Face checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from trim.errors import InvalidInput
from trim.shipped.checkpoint import checkpoint_of
from trim.shipped.gguf_model import read_gguf

ROLES = ("weak", "strong", "scorer")


def export_models(models: Path, folder: Path) -> tuple[Path, ...]:
    """Write a checkpoint of `models/ROLE.gguf` to `folder/ROLE` for each role.

    The folder is written atomically; one with an earlier export is replaced.

    Returns:
        The folders of the checkpoints.

    Raises:
        InvalidInput: a model is missing, damaged or of another kind, or the folder holds
            something else or cannot be written.
        MissingExtra: the reader of GGUF is not installed.
    """
    if not models.is_dir():
        raise InvalidInput(
            f"{models}: no such folder of models; it needs weak, strong and scorer .gguf"
        )
    checkpoints = {role: checkpoint_of(read_gguf(models / f"{role}.gguf")) for role in ROLES}
    try:
        require_replaceable(folder, checkpoints)
        replace(folder.resolve(), checkpoints)
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot be written ({error.strerror})") from error
    return tuple(folder / role for role in ROLES)


def require_replaceable(folder: Path, checkpoints: Mapping[str, Mapping[str, bytes]]) -> None:
    """Raises InvalidInput if the folder holds anything but an earlier export."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InvalidInput(f"{folder}: a file; name a new folder")
    known = {Path(role, name) for role, files in checkpoints.items() for name in files}
    known |= {Path(role) for role in checkpoints}
    for path in sorted(folder.rglob("*")):
        if path.relative_to(folder) not in known or path.is_symlink():
            raise InvalidInput(
                f"{folder}: holds {path.relative_to(folder)}, which is not part of an export;"
                " name a new folder or empty it"
            )


def replace(folder: Path, checkpoints: Mapping[str, Mapping[str, bytes]]) -> None:
    """Replace the folder by the checkpoints atomically; an OSError leaves it unchanged."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as staging:
        new, old = Path(staging, "new"), Path(staging, "old")
        for role, files in checkpoints.items():
            (new / role).mkdir(parents=True)
            for name, content in files.items():
                (new / role / name).write_bytes(content)
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise

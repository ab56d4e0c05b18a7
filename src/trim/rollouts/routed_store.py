"""Routed solutions in a bank: one Parquet file for each problem, safe to interrupt."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trim.files import not_writable, remove_leftovers, write_atomically
from trim.rollouts.routed import RoutedSolution
from trim.rollouts.store import listed, read_rows, required
from trim.types import Action, Usage

FOLDER = "routed"
"""Folder in a bank with the files."""
Key = tuple[str, str, str | None, int | None]
"""Problem, policy, fitted file and limit of a routed solution."""

USAGE = pa.struct(
    [
        required("role", pa.string()),
        required("prompt_tokens", pa.int32()),
        required("cached_tokens", pa.int32()),
        required("tokens", pa.int32()),
        required("requests", pa.int32()),
    ]
)
SCHEMA = pa.schema(
    [
        required("problem_id", pa.string()),
        required("policy", pa.string()),
        pa.field("file", pa.string()),
        pa.field("max_strong_tokens", pa.int32()),
        required("scores", listed(pa.float64())),
        required("actions", listed(pa.string())),
        required("denied", listed(pa.bool_())),
        required("correct", pa.bool_()),
        required("usage", listed(USAGE)),
    ]
)


class RoutedStore:
    """Adds routed solutions to a bank; a file is written atomically and never changed.

    Args:
        folder: that of the bank, which exists and is locked (`trim.files.FolderLock`).

    Raises:
        InvalidInput: the folder cannot be written, or a file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER
        self._keys = set(map(key_of, read_routed(folder)))

    def has(
        self, problem_id: str, policy: str, file: str | None, max_strong_tokens: int | None
    ) -> bool:
        return (problem_id, policy, file, max_strong_tokens) in self._keys

    def add(self, solutions: Iterable[RoutedSolution]) -> None:
        """Write the solutions that the bank does not hold, all at once."""
        new = {key_of(each): each for each in solutions if key_of(each) not in self._keys}
        if not new:
            return
        name = hashlib.sha256(repr([*new]).encode()).hexdigest()[:16]
        try:
            self.folder.mkdir(exist_ok=True)
            remove_leftovers(self.folder)
            write_atomically(self.folder / f"{name}.parquet", encode([*new.values()]))
        except OSError as error:
            raise not_writable(self.folder, error) from error
        self._keys.update(new)


def key_of(solution: RoutedSolution) -> Key:
    return (
        solution.problem_id,
        solution.policy,
        solution.file,
        solution.max_strong_tokens,
    )


def encode(solutions: Sequence[RoutedSolution]) -> bytes:
    """Serialize routed solutions as a Parquet file."""
    table = pa.Table.from_pylist([*map(row_of, solutions)], schema=SCHEMA)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def decode(file: Path | io.BytesIO) -> list[RoutedSolution]:
    """The inverse of `encode`, from a path or the content.

    Raises:
        InvalidInput: the file is unreadable, damaged, or has other columns.
    """
    damaged = (
        f"{file}: damaged, or not the routed solutions of a bank; delete it and repeat the"
        " `trim collect --policy` that made it"
    )
    return read_rows(file, (SCHEMA,), solution_of, damaged)


def row_of(solution: RoutedSolution) -> dict[str, Any]:
    usage = [{"role": role, **asdict(used)} for role, used in solution.usage.items()]
    return {**vars(solution), "usage": usage}


def solution_of(row: dict[str, Any]) -> RoutedSolution:
    """The inverse of `row_of`. Raises ValueError if the row is not a valid solution."""
    usage = {record.pop("role"): Usage(**record) for record in row["usage"]}
    if not usage.keys() >= {"weak", "strong", "scorer"}:
        raise ValueError("a role without usage")
    if not len(row["scores"]) == len(row["actions"]) == len(row["denied"]):
        raise ValueError("scores, actions and denials of different lengths")
    lists = {name: tuple(row[name]) for name in ("scores", "denied")}
    actions = tuple(map(Action, row["actions"]))
    return RoutedSolution(**{**row, **lists, "actions": actions, "usage": usage})


def read_routed(folder: Path) -> Iterator[RoutedSolution]:
    """Read the routed solutions of the bank in a folder, each once.

    Raises:
        InvalidInput: a file is damaged.
    """
    found: dict[Key, RoutedSolution] = {}
    for path in sorted((folder / FOLDER).glob("*.parquet")):
        for solution in decode(path):
            found.setdefault(key_of(solution), solution)
    return iter(found.values())

"""A bank on disk: one Parquet part per batch of complete problems, safe to interrupt."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, KeysView, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from trim.errors import InvalidInput
from trim.files import FolderLock, read_bytes, remove_leftovers, write_atomically
from trim.rollouts.identity import NAME, Identity, read_identity
from trim.rollouts.record import (
    NO_SOLUTION,
    Node,
    RecordedProblem,
    Rollout,
    RolloutOrigin,
    SoloSolution,
    SoloStep,
    check_tree,
)


def required(name: str, kind: Any) -> Any:
    return pa.field(name, kind, nullable=False)


def listed(kind: Any, nullable: bool = False) -> Any:
    return pa.list_(pa.field("element", kind, nullable=nullable))


SOLVED = pa.struct(
    [
        required(
            "steps",
            listed(
                pa.struct(
                    [
                        required("text", pa.string()),
                        required("tokens", pa.int32()),
                        pa.field("score", pa.float64()),
                        pa.field("right", pa.bool_()),
                        pa.field("log_probability", pa.float64()),
                    ]
                )
            ),
        ),
        pa.field("answer", pa.string()),
        required("correct", pa.bool_()),
        required("tokens", pa.int32()),
    ]
)
NODE = pa.struct(
    [
        required("step", pa.int32()),
        required("draft", pa.string()),
        required("draft_score", pa.float64()),
        required("draft_tokens", pa.int32()),
        pa.field("draft_right", pa.bool_()),
        pa.field("draft_log_probability", pa.float64()),
        required("draft_ends", pa.bool_()),
        required("draft_answers", pa.bool_()),
        pa.field("strong", pa.string()),
        pa.field("strong_score", pa.float64()),
        required("strong_tokens", pa.int32()),
        pa.field("strong_right", pa.bool_()),
        required("strong_ends", pa.bool_()),
        pa.field("strong_log_probability", pa.float64()),
        required("continue_to", pa.int32()),
        required("regenerate_to", pa.int32()),
    ]
)
ROLLOUT = pa.struct(
    [
        required("origin", pa.string()),
        required("share", pa.float64()),
        required("nodes", listed(pa.int32())),
        required("regenerate", listed(pa.bool_())),
        required("probability", listed(pa.float64(), nullable=True)),
        required("correct", pa.bool_()),
        required("strong_tokens", pa.int32()),
    ]
)
SCHEMA = pa.schema(
    [
        required("problem_id", pa.string()),
        required("question", pa.string()),
        required("answer", pa.string()),
        required("weak", SOLVED),
        required("strong", SOLVED),
        required("nodes", listed(NODE)),
        required("rollouts", listed(ROLLOUT)),
    ]
)


def nullable(fields: Any, *names: str) -> list[Any]:
    """The fields of a struct or schema, with null allowed in those of these names."""
    return [each.with_nullable(True) if each.name in names else each for each in fields]


PARTIAL_SCHEMA = pa.schema(
    [
        *nullable(SCHEMA.remove(SCHEMA.get_field_index("nodes")), "strong"),
        required("nodes", listed(pa.struct(nullable(NODE, "draft_score")))),
        pa.field("group", pa.string()),
    ]
)
"""Of a partial bank (`trim.rollouts.identity.Identity`)."""


def encode(problems: Sequence[RecordedProblem], partial: bool = False) -> bytes:
    """Serialize problems as a Parquet file.

    Args:
        partial: use the layout of a partial bank.
    """
    schema = PARTIAL_SCHEMA if partial else SCHEMA
    table = pa.Table.from_pylist([*map(row_of, problems)], schema=schema)
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        compression="zstd",
        write_statistics=False,
        write_page_checksum=True,
        store_schema=False,
    )
    return buffer.getvalue()


def decode(path: Path | BytesIO) -> list[RecordedProblem]:
    """Read the problems of a Parquet file, given by path or content.

    Raises:
        InvalidInput: the file is unreadable, damaged, or has other columns.
    """
    damaged = (
        f"{path}: damaged, or not a part of a bank; delete it and repeat the command that"
        " made the bank, which collects its problems again"
    )
    return read_rows(path, (SCHEMA, PARTIAL_SCHEMA), problem_from_row, damaged)


Parsed = TypeVar("Parsed")


def read_rows(
    file: Path | BytesIO,
    schemas: Sequence[pa.Schema],
    parse: Callable[[dict[str, Any]], Parsed],
    damaged: str,
) -> list[Parsed]:
    """Read the rows of a Parquet file, each by `parse`.

    Raises:
        InvalidInput: with the message `damaged`, if the file is unreadable or has none of the
            schemas, or a row is malformed.
    """
    try:
        content = BytesIO(read_bytes(file, None)) if isinstance(file, Path) else file
        table = pq.ParquetFile(content, page_checksum_verification=True).read()
        if not any(map(table.schema.equals, schemas)):
            raise ValueError("other columns")
        return [parse(row) for row in table.to_pylist()]
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise InvalidInput(damaged) from error


NUMBERS = (float, int, bool, type(None))


def storable(value: Any) -> Any:
    """A dataclass as a row; question marks are in place of halves of surrogate pairs, which some
    models write."""
    if type(value) in NUMBERS:  # most values, in a bank of a million
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list | tuple):
        return [*map(storable, value)]
    if is_dataclass(value):
        return {name: storable(inner) for name, inner in vars(value).items()}
    return value


def row_of(problem: RecordedProblem) -> dict[str, Any]:
    """The problem as a row, with null for what is not known."""
    row: dict[str, Any] = storable(problem)
    if not problem.has_strong:
        row["strong"] = None
    for node in row["nodes"]:
        if math.isnan(node["draft_score"]):
            node["draft_score"] = None
    return row


def problem_from_row(row: dict[str, Any]) -> RecordedProblem:
    """The inverse of `row_of`. Raises ValueError if the row is not a valid problem."""
    nodes = tuple(node_from_row(node) for node in row["nodes"])
    check_tree(nodes)
    missing = [step["score"] is None for step in row["weak"]["steps"]]
    missing += [math.isnan(node.draft_score) for node in nodes]
    if not row["weak"]["steps"] or len({*missing}) > 1:
        raise ValueError("a step of the weak model without a score")
    return RecordedProblem(
        **{
            **row,
            "weak": solution_from_row(row["weak"]),
            "strong": solution_from_row(row["strong"]) if row["strong"] else NO_SOLUTION,
            "nodes": nodes,
            "rollouts": tuple(rollout_from_row(record) for record in row["rollouts"]),
        }
    )


def node_from_row(record: dict[str, Any]) -> Node:
    score = record["draft_score"]
    return Node(**{**record, "draft_score": math.nan if score is None else score})


def solution_from_row(record: dict[str, Any]) -> SoloSolution:
    return SoloSolution(**{**record, "steps": tuple(SoloStep(**step) for step in record["steps"])})


def rollout_from_row(record: dict[str, Any]) -> Rollout:
    lists = {name: tuple(record[name]) for name in ("nodes", "regenerate", "probability")}
    return Rollout(**{**record, **lists, "origin": RolloutOrigin(record["origin"])})


@contextmanager
def locked_bank(folder: Path) -> Iterator[None]:
    """Hold the folder of a bank; partial files of killed processes are removed from it.

    Raises:
        InvalidInput: another process holds it, or the folder cannot be written.
    """
    lock = FolderLock(folder)
    try:
        remove_leftovers(folder / "parts")
        yield
    finally:
        lock.release()


class BankStore:
    """Appends problems to a bank: a folder with `bank.json` (`Identity`) and `parts/*.parquet`.

    Each part is written atomically and never changed, so a killed process loses nothing on
    disk. A part's name is a hash of its problems' ids, so two processes cannot overwrite each
    other's parts.

    Args:
        folder: created if missing.
        identity: a folder with a bank of another identity is refused.
        part_size: problems per part. The default of 1 suits problems that take long to record.

    Attributes:
        answers: reference answers of the problems on disk, by id.
        right: number of those that each model solves alone, by `weak` and `strong`.

    Raises:
        InvalidInput: the folder cannot be written, is damaged, or holds another bank.
    """

    def __init__(self, folder: Path, identity: Identity, part_size: int = 1) -> None:
        self.folder = folder
        self.partial = identity.partial
        self.part_size = part_size
        self._pending: list[RecordedProblem] = []
        try:
            (folder / "parts").mkdir(parents=True, exist_ok=True)
            self._claim(identity)
        except OSError as error:
            raise self._not_writable(error) from error
        on_disk = read_parts(folder)
        self.answers: dict[str, str] = {}
        self.right = Counter({"weak": 0, "strong": 0})
        self._count(on_disk)

    @property
    def finished(self) -> KeysView[str]:
        """Ids of the problems on disk."""
        return self.answers.keys()

    def _claim(self, identity: Identity) -> None:
        path = self.folder / NAME
        has_parts = any((self.folder / "parts").glob("*.parquet"))
        if not path.exists() and has_parts:
            raise InvalidInput(
                f"{self.folder}: there is no {NAME} beside its folder parts, so it is no bank"
                " of trim; name another --out"
            )
        known = read_identity(self.folder) if path.exists() else None
        # An empty bank, which a command that failed at its first problem leaves, may be any.
        if known is None or (not has_parts and known != identity):
            write_atomically(path, json.dumps(identity.to_json(), indent=2) + "\n")
        elif differences := identity.differences(known):
            raise InvalidInput(
                f"{self.folder}: holds a bank with other {', '.join(differences)} (see {NAME});"
                " choose another --out, or repeat that bank's command to continue it"
            )

    def add(self, problem: RecordedProblem) -> None:
        """Add a problem unless the bank has it; written once a part is full."""
        pending = (other.problem_id for other in self._pending)
        if problem.problem_id in self.finished or problem.problem_id in pending:
            return
        self._pending.append(problem)
        if len(self._pending) >= self.part_size:
            self.flush()

    def flush(self) -> None:
        """Write pending problems. Raises InvalidInput if the folder cannot be written."""
        if not self._pending:
            return
        ids = [problem.problem_id for problem in self._pending]
        name = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
        path = self.folder / "parts" / f"{name}.parquet"
        try:
            content = encode(self._pending, self.partial)
            if path.exists():
                raise InvalidInput(f"{path}: exists, with other problems; name another --out")
            write_atomically(path, content)
        except OSError as error:
            raise self._not_writable(error) from error
        self._count(self._pending)
        self._pending = []

    def _count(self, problems: Iterable[RecordedProblem]) -> None:
        for problem in problems:
            self.answers[problem.problem_id] = problem.answer
            self.right.update(weak=problem.weak.correct, strong=problem.strong.correct)

    def _not_writable(self, error: OSError) -> InvalidInput:
        return InvalidInput(
            f"{self.folder}: cannot be written ({error.strerror}); free space and repeat the"
            " command to continue, or choose another --out"
        )


def read_parts(folder: Path) -> Sequence[RecordedProblem]:
    """Read every problem of a bank once, ordered by id.

    Raises:
        InvalidInput: a part is damaged.
    """
    found: dict[str, RecordedProblem] = {}
    for path in sorted((folder / "parts").glob("*.parquet")):
        for problem in decode(path):
            found.setdefault(problem.problem_id, problem)
    return [found[name] for name in sorted(found)]

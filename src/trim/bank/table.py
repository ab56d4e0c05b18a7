"""Recorded problems as a Parquet table: one row a problem (docs/bank.md)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trim.bank.record import Origin, RecordedProblem, Rollout, Solved, SolvedStep
from trim.bank.tree import Node, check_tree
from trim.errors import InvalidInput


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


def encode(problems: Sequence[RecordedProblem]) -> bytes:
    """A Parquet file of these problems."""
    table = pa.Table.from_pylist([asdict(problem) for problem in problems], schema=SCHEMA)
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
    """The problems in a Parquet file, or in its content.

    Raises:
        InvalidInput: unreadable, damaged, or with other columns.
    """
    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
        if not table.schema.equals(SCHEMA):
            raise ValueError("other columns")
        return [recorded(row) for row in table.to_pylist()]
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise InvalidInput(
            f"{path}: damaged, or no part of a bank; delete it, and the command that made the"
            " bank collects its problems again"
        ) from error


def recorded(row: dict[str, Any]) -> RecordedProblem:
    """The inverse of `asdict`; ValueError where the row is none of a bank."""
    nodes = tuple(Node(**node) for node in row["nodes"])
    check_tree(nodes)
    if not row["weak"]["steps"] or any(step["score"] is None for step in row["weak"]["steps"]):
        raise ValueError("a step of the weak model without a score")
    return RecordedProblem(
        **{
            **row,
            "weak": solved(row["weak"]),
            "strong": solved(row["strong"]),
            "nodes": nodes,
            "rollouts": tuple(rollout(record) for record in row["rollouts"]),
        }
    )


def solved(record: dict[str, Any]) -> Solved:
    return Solved(**{**record, "steps": tuple(SolvedStep(**step) for step in record["steps"])})


def rollout(record: dict[str, Any]) -> Rollout:
    lists = {name: tuple(record[name]) for name in ("nodes", "regenerate", "probability")}
    return Rollout(**{**record, **lists, "origin": Origin(record["origin"])})

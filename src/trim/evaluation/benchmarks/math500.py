"""MATH-500: 500 problems of MATH's test split (arXiv 2305.20050)."""

from __future__ import annotations

from trim.evaluation.benchmarks.benchmark import Benchmark, HubFile
from trim.evaluation.benchmarks.problem import Problem
from trim.evaluation.benchmarks.record import Record


def read(record: Record) -> Problem:
    return Problem(
        record.text("unique_id"), record.text("problem"), record.text("answer"), grader="math"
    )


MATH500 = Benchmark(
    "math500",
    {"test": "math500"},
    read,
    hub={"test": HubFile("HuggingFaceH4/MATH-500", "test.jsonl")},
)

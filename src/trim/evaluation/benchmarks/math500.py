"""MATH-500: 500 problems of MATH's test split (arXiv 2305.20050), and MATH's training problems.

That paper moved the other 4,500 problems of the test split to the training problems, so ids of
both splits may begin with `test/`.
"""

from __future__ import annotations

from trim.evaluation.benchmarks.benchmark import Benchmark, BenchmarkProblem, HubFile, Record


def read(record: Record) -> BenchmarkProblem:
    return BenchmarkProblem(
        record.text("unique_id"), record.text("problem"), record.text("answer"), grader="math"
    )


def read_train(record: Record) -> BenchmarkProblem:
    """A training problem, as MATH-500 has it or as MATH does: without id, answer in its box."""
    name = record.text("unique_id") if "unique_id" in record.values else record.number
    return BenchmarkProblem(
        f"math500-train-{name}", record.text("problem"), answer_of(record), "math"
    )


def answer_of(record: Record) -> str:
    return record.text("answer") if "answer" in record.values else record.boxed("solution")


MATH500 = Benchmark(
    "math500",
    {"test": "math500", "train": "math_train"},
    read,
    hub={"test": HubFile("HuggingFaceH4/MATH-500", "test.jsonl")},
    samples={"train": "math_train_1k"},
    readers={"train": read_train},
)

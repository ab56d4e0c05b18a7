"""AIME 1983-2024, whole numbers from 0 to 999, in the authors' split.

Until 1999 every other year is for tests; from 2000 on, part II of each year.
"""

from __future__ import annotations

from trim.evaluation.benchmarks.benchmark import Benchmark, BenchmarkProblem, Record


def read(record: Record) -> BenchmarkProblem:
    return BenchmarkProblem(
        record.text("ID"), record.text("problem"), record.text("solution"), grader="integer"
    )


AIME = Benchmark("aime", {"test": "aime_test", "train": "aime_train"}, read)

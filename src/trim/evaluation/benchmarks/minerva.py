r"""Minerva: science courses of MIT (arXiv 2206.14858).

The answer is what stands in the `\boxed{}` of the solution; its unit stands behind the box.
"""

from __future__ import annotations

from trim.evaluation.benchmarks.benchmark import Benchmark
from trim.evaluation.benchmarks.problem import Problem
from trim.evaluation.benchmarks.record import Record


def read(record: Record) -> Problem:
    answer = record.boxed("solution")
    return Problem(f"minerva-{record.number}", record.text("problem"), answer, grader="quantity")


MINERVA = Benchmark("minerva", {"test": "minerva_math"}, read)

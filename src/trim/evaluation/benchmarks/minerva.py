r"""Minerva: science courses of MIT (arXiv 2206.14858).

The answer is what stands in the `\boxed{}` of the solution; its unit stands behind the box.
"""

from __future__ import annotations

from trim.evaluation.benchmarks.benchmark import Benchmark, BenchmarkProblem, Record


def read(record: Record) -> BenchmarkProblem:
    answer = record.boxed("solution")
    return BenchmarkProblem(
        f"minerva-{record.number}", record.text("problem"), answer, grader="quantity"
    )


MINERVA = Benchmark("minerva", {"test": "minerva_math"}, read)

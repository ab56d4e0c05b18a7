"""OlympiadBench, its open-ended problems of mathematics in English (arXiv 2402.14008).

An answer may be a list, a tuple, an interval or a formula, and may have a tolerance of its own.
"""

from __future__ import annotations

from trim.evaluation.benchmarks.benchmark import Benchmark, BenchmarkProblem, HubFile, Record
from trim.grading.grader import WITHIN


def read(record: Record) -> BenchmarkProblem:
    question = record.text("question")
    if record.values.get("context"):
        question = f"{record.text('context')}\n\n{question}"
    grader = f"{WITHIN}:{record.text('error')}" if record.values.get("error") else "math"
    identifier = f"olympiadbench-{record.text('id')}"
    return BenchmarkProblem(identifier, question, record.text("final_answer"), grader)


OLYMPIADBENCH = Benchmark(
    "olympiadbench",
    {"test": "olympiadbench"},
    read,
    hub={
        "test": HubFile("Hothan/OlympiadBench", "OE_TO_maths_en_COMP/OE_TO_maths_en_COMP.parquet")
    },
)

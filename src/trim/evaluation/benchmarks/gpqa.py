"""GPQA-Diamond: questions of experts with four choices (arXiv 2311.12022)."""

from __future__ import annotations

from random import Random

from trim.evaluation.benchmarks.benchmark import Benchmark, BenchmarkProblem, HubFile, Record

LETTERS = "ABCD"
SEED = 0
"""Of the order of the choices, which is thus the same in every run."""


def read(record: Record) -> BenchmarkProblem:
    question = record.text("Question")
    right = record.text("Correct Answer")
    choices = [right, *(record.text(f"Incorrect Answer {number}") for number in (1, 2, 3))]
    Random(f"gpqa/{SEED}/{question}").shuffle(choices)
    listed = "\n".join(
        f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=True)
    )
    identifier = (
        record.text("Record ID") if record.values.get("Record ID") else f"gpqa-{record.number}"
    )
    letter = LETTERS[choices.index(right)]
    return BenchmarkProblem(identifier, f"{question}\n\n{listed}", letter, grader="letter")


GPQA = Benchmark(
    "gpqa",
    {"diamond": "gpqa_diamond"},
    read,
    instruction=(
        "Please reason step by step, and put the letter of your final choice within \\boxed{}."
    ),
    hub={"diamond": HubFile("Idavidrein/gpqa", "gpqa_diamond.csv")},
)

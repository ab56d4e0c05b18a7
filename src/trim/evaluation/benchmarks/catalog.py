"""The published benchmarks that come with trim, and those of other packages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random
from types import MappingProxyType

from trim.errors import InvalidInput
from trim.evaluation.benchmarks.benchmark import Benchmark, BenchmarkProblem, HubFile, Record
from trim.grading.grader import WITHIN
from trim.plugins import installed

ENTRY_POINTS = "trim.benchmarks"
"""Entry-point group in which other packages offer benchmarks: each entry is a `Benchmark`, named
as on the command line."""


def read_math500(record: Record) -> BenchmarkProblem:
    return BenchmarkProblem(
        record.text("unique_id"), record.text("problem"), record.text("answer"), grader="math"
    )


def read_math_train(record: Record) -> BenchmarkProblem:
    """A training problem in the format of MATH-500, or of MATH: no id, answer in its box."""
    name = record.text("unique_id") if "unique_id" in record.values else record.number
    answer = record.text("answer") if "answer" in record.values else record.boxed("solution")
    return BenchmarkProblem(f"math500-train-{name}", record.text("problem"), answer, "math")


MATH500 = Benchmark(
    "math500",
    {"test": "math500", "train": "math_train"},
    read_math500,
    hub={"test": HubFile("HuggingFaceH4/MATH-500", "test.jsonl")},
    samples={"train": "math_train_1k"},
    readers={"train": read_math_train},
)
"""500 problems of MATH's test split (arXiv 2305.20050), and MATH's training problems.

That paper moved the other 4,500 test problems to the training problems, so ids of both splits may
begin with `test/`.
"""


def read_aime(record: Record) -> BenchmarkProblem:
    return BenchmarkProblem(
        record.text("ID"), record.text("problem"), record.text("solution"), grader="integer"
    )


AIME = Benchmark("aime", {"test": "aime_test", "train": "aime_train"}, read_aime)
"""AIME 1983-2024, whole numbers from 0 to 999, in the split of the TRIM authors.

Test problems are those of every other year until 1999, and of part II of each year from 2000 on.
"""


def read_olympiadbench(record: Record) -> BenchmarkProblem:
    question = record.text("question")
    if record.values.get("context"):
        question = f"{record.text('context')}\n\n{question}"
    grader = f"{WITHIN}:{record.text('error')}" if record.values.get("error") else "math"
    identifier = f"olympiadbench-{record.text('id')}"
    return BenchmarkProblem(identifier, question, record.text("final_answer"), grader)


OLYMPIADBENCH = Benchmark(
    "olympiadbench",
    {"test": "olympiadbench"},
    read_olympiadbench,
    hub={
        "test": HubFile("Hothan/OlympiadBench", "OE_TO_maths_en_COMP/OE_TO_maths_en_COMP.parquet")
    },
)
"""The open-ended problems in mathematics and English of OlympiadBench (arXiv 2402.14008).

An answer is a list, a tuple, an interval or a formula, possibly with its own tolerance.
"""


def read_minerva(record: Record) -> BenchmarkProblem:
    return BenchmarkProblem(
        f"minerva-{record.number}",
        record.text("problem"),
        record.boxed("solution"),
        grader="quantity",
    )


MINERVA = Benchmark("minerva", {"test": "minerva_math"}, read_minerva)
r"""Science courses of MIT (arXiv 2206.14858).

The answer is the content of the solution's `\boxed{}`; its unit follows the box.
"""


def read_gsm8k(record: Record) -> BenchmarkProblem:
    _, marked, answer = record.text("answer").rpartition("####")
    if not marked or not answer.strip():
        raise InvalidInput(f"{record.place}: field 'answer' does not end in `#### NUMBER`")
    return BenchmarkProblem(
        f"gsm8k-{record.number}", record.text("question"), answer.strip(), "amount"
    )


def read_gsm8k_train(record: Record) -> BenchmarkProblem:
    return replace(read_gsm8k(record), id=f"gsm8k-train-{record.number}")


GSM8K = Benchmark(
    "gsm8k",
    {"test": "gsm8k", "train": "gsm8k_train"},
    read_gsm8k,
    hub={
        split: HubFile("openai/gsm8k", f"main/{split}-00000-of-00001.parquet")
        for split in ("test", "train")
    },
    samples={"train": "gsm8k_train_2k"},
    readers={"train": read_gsm8k_train},
)
"""Word problems of primary school (arXiv 2110.14168)."""

LETTERS = "ABCD"
CHOICE_SEED = 0
"""Seed of the order of GPQA's choices, which is the same in every run."""


def read_gpqa(record: Record) -> BenchmarkProblem:
    question = record.text("Question")
    right = record.text("Correct Answer")
    choices = [right, *(record.text(f"Incorrect Answer {number}") for number in (1, 2, 3))]
    Random(f"gpqa/{CHOICE_SEED}/{question}").shuffle(choices)
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
    read_gpqa,
    instruction=(
        "Please reason step by step, and put the letter of your final choice within \\boxed{}."
    ),
    hub={"diamond": HubFile("Idavidrein/gpqa", "gpqa_diamond.csv")},
)
"""GPQA-Diamond: questions of experts with four choices (arXiv 2311.12022)."""

BUILT_IN: Mapping[str, Benchmark] = MappingProxyType(
    {
        benchmark.name: benchmark
        for benchmark in (MATH500, AIME, OLYMPIADBENCH, MINERVA, GSM8K, GPQA)
    }
)


def benchmark_names() -> list[str]:
    """Names of all benchmarks, built-in ones first."""
    return list(dict.fromkeys((*BUILT_IN, *installed(ENTRY_POINTS))))


def find_benchmark(name: str) -> Benchmark | None:
    """The benchmark with this name; None if there is none.

    Raises:
        InvalidInput: another package offers it, and it cannot be loaded.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    offered = installed(ENTRY_POINTS).get(name)
    if offered is None:
        return None
    try:
        benchmark = offered.load()
    except Exception as error:
        raise InvalidInput(
            f"benchmark {name!r}: {offered.value} cannot be loaded"
            f" ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(benchmark, Benchmark):
        raise InvalidInput(
            f"benchmark {name!r}: {offered.value} is a {type(benchmark).__name__}, not a"
            " trim.evaluation.benchmarks.Benchmark"
        )
    return benchmark

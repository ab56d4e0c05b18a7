"""GSM8K: word problems of primary school (arXiv 2110.14168)."""

from __future__ import annotations

from trim.errors import InvalidInput
from trim.evaluation.benchmarks.benchmark import Benchmark, HubFile
from trim.evaluation.benchmarks.problem import Problem
from trim.evaluation.benchmarks.record import Record


def read(record: Record) -> Problem:
    _, marked, answer = record.text("answer").rpartition("####")
    if not marked or not answer.strip():
        raise InvalidInput(f"{record.place}: field 'answer' does not end in `#### NUMBER`")
    return Problem(f"gsm8k-{record.number}", record.text("question"), answer.strip(), "amount")


GSM8K = Benchmark(
    "gsm8k",
    {"test": "gsm8k"},
    read,
    hub={"test": HubFile("openai/gsm8k", "main/test-00000-of-00001.parquet")},
)

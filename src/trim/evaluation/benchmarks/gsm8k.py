"""GSM8K: word problems of primary school (arXiv 2110.14168)."""

from __future__ import annotations

from dataclasses import replace

from trim.errors import InvalidInput
from trim.evaluation.benchmarks.benchmark import Benchmark, BenchmarkProblem, HubFile, Record


def read(record: Record) -> BenchmarkProblem:
    _, marked, answer = record.text("answer").rpartition("####")
    if not marked or not answer.strip():
        raise InvalidInput(f"{record.place}: field 'answer' does not end in `#### NUMBER`")
    return BenchmarkProblem(
        f"gsm8k-{record.number}", record.text("question"), answer.strip(), "amount"
    )


def read_train(record: Record) -> BenchmarkProblem:
    return replace(read(record), id=f"gsm8k-train-{record.number}")


GSM8K = Benchmark(
    "gsm8k",
    {"test": "gsm8k", "train": "gsm8k_train"},
    read,
    hub={
        split: HubFile("openai/gsm8k", f"main/{split}-00000-of-00001.parquet")
        for split in ("test", "train")
    },
    samples={"train": "gsm8k_train_2k"},
    readers={"train": read_train},
)

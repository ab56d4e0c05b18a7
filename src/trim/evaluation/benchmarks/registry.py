"""Benchmarks by name."""

from __future__ import annotations

from trim.evaluation.benchmarks.aime import AIME
from trim.evaluation.benchmarks.benchmark import Benchmark
from trim.evaluation.benchmarks.gpqa import GPQA
from trim.evaluation.benchmarks.gsm8k import GSM8K
from trim.evaluation.benchmarks.math500 import MATH500
from trim.evaluation.benchmarks.minerva import MINERVA
from trim.evaluation.benchmarks.olympiadbench import OLYMPIADBENCH

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark for benchmark in (MATH500, AIME, OLYMPIADBENCH, MINERVA, GSM8K, GPQA)
}

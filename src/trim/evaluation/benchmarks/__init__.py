"""Published data sets, and files of problems with answers."""

from trim.evaluation.benchmarks.benchmark import Benchmark, BenchmarkProblem, HubFile, Record

__all__ = ["Benchmark", "BenchmarkProblem", "HubFile", "Record"]

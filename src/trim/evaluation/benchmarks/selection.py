"""Selecting problems of a benchmark or a file by command-line options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trim.errors import InvalidInput
from trim.evaluation.benchmarks.benchmark import BOXED, Benchmark, BenchmarkProblem, Record
from trim.evaluation.benchmarks.catalog import benchmark_names, find_benchmark
from trim.evaluation.benchmarks.data_file import READERS, DataFile, locate
from trim.evaluation.problem_set import ProblemSet
from trim.grading.grader import find_grader
from trim.models.prompt import QUESTION, Prompt
from trim.numerics import uniform


@dataclass(frozen=True)
class Selection:
    """Options for problems of a benchmark or a file.

    Attributes:
        data: folder with the files of benchmarks; None for the Hugging Face hub.
        skip: number of problems to leave out at the start.
        split: split of a benchmark; None for the default one.
        question, answer: fields of a file; required unless it is a benchmark.
        id: field with the id of a problem; None to number them.
        grader: name of a file's grader; None for `math`.
        instruction: text after each question; None for the default, "" for nothing.
    """

    data: Path | None = None
    skip: int = 0
    split: str | None = None
    question: str | None = None
    answer: str | None = None
    id: str | None = None
    grader: str | None = None
    instruction: str | None = None

    def open(self, name: str, count: int | None, seed: int | None = None) -> ProblemSet:
        """`count` problems of a benchmark or a file after the first `skip`; None for all.

        Args:
            name: of a benchmark, or a path.
            seed: of the shuffle; None to keep the order of the file.

        Raises:
            InvalidInput: an unknown name, a missing, damaged or too short file, or an option that
                does not apply.
        """
        if benchmark := find_benchmark(name):
            return self._open_benchmark(benchmark, count, seed)
        if not is_file_name(name):
            raise InvalidInput(
                f"unknown benchmark {name!r}; known: {', '.join(benchmark_names())}, or a file"
                f" that ends in {', '.join(READERS)}"
            )
        return self._open_file(Path(name), count, seed)

    def _open_benchmark(
        self, benchmark: Benchmark, count: int | None, seed: int | None
    ) -> ProblemSet:
        for option in ("question", "answer", "id", "grader"):
            if getattr(self, option) is not None:
                raise InvalidInput(
                    f"--{option}: {benchmark.name} defines its own; the option is for other files"
                )
        split = self.split or next(iter(benchmark.files))
        if split not in benchmark.files:
            raise InvalidInput(
                f"--split {split}: {benchmark.name} has {', '.join(benchmark.files)}"
            )
        file = DataFile.read(locate(benchmark, split, self.data))
        read = benchmark.reader(split)
        problems = [read(record) for record in file.records]
        metadata = {"benchmark": benchmark.name, "split": split}
        return self._describe(benchmark.name, file, problems, count, seed, metadata, benchmark)

    def _open_file(self, path: Path, count: int | None, seed: int | None) -> ProblemSet:
        if self.split is not None:
            raise InvalidInput("--split: only a benchmark has splits; name another file instead")
        if not self.question or not self.answer:
            raise InvalidInput(f"{path}: name its fields, as in --question problem --answer answer")
        grader = self.grader or "math"
        find_grader(grader)

        def read(record: Record) -> BenchmarkProblem:
            assert self.question and self.answer
            identifier = record.text(self.id) if self.id else f"{path.stem}-{record.number}"
            return BenchmarkProblem(
                identifier, record.text(self.question), record.text(self.answer), grader
            )

        file = DataFile.read(path)
        fields = {"question": self.question, "answer": self.answer, "id": self.id}
        metadata = {"fields": fields, "grader": grader}
        problems = [read(record) for record in file.records]
        return self._describe(path.stem, file, problems, count, seed, metadata)

    def _describe(
        self,
        name: str,
        file: DataFile,
        problems: list[BenchmarkProblem],
        count: int | None,
        seed: int | None,
        metadata: dict[str, Any],
        benchmark: Benchmark | None = None,
    ) -> ProblemSet:
        require_unique_ids(file, problems)
        default = benchmark.instruction if benchmark else BOXED
        instruction = default if self.instruction is None else self.instruction.strip()
        chosen = self._choose(file, problems, count, seed)
        metadata |= {
            "skip": self.skip,
            "shuffled": seed is not None,
            "file": file.path.name,
            "sha256": file.sha256,
            "instruction": instruction,
        }
        user = f"{QUESTION}\n\n{instruction}" if instruction else QUESTION
        return ProblemSet(name, tuple(chosen), metadata=metadata, prompt=Prompt(user=user))

    def _choose(
        self, file: DataFile, problems: list[BenchmarkProblem], count: int | None, seed: int | None
    ) -> list[BenchmarkProblem]:
        left = len(problems) - self.skip
        if left < 1:
            raise InvalidInput(
                f"--skip {self.skip}: {file.path} has {len(problems)} problems; skip at most"
                f" {len(problems) - 1}"
            )
        if count is not None and not 1 <= count <= left:
            after = f" after --skip {self.skip}" if self.skip else ""
            raise InvalidInput(
                f"-n {count}: choose from 1 to {left} problems of {file.path}{after}"
            )
        ordered = problems if seed is None else shuffled(problems, seed)
        return ordered[self.skip :][:count]


def shuffled(problems: list[BenchmarkProblem], seed: int) -> list[BenchmarkProblem]:
    """The problems in an order that depends only on the seed and their ids."""
    return sorted(problems, key=lambda problem: (uniform("order", seed, problem.id), problem.id))


def require_unique_ids(file: DataFile, problems: list[BenchmarkProblem]) -> None:
    """Raises InvalidInput if two problems have the same id."""
    places: dict[str, str] = {}
    for record, problem in zip(file.records, problems, strict=True):
        if problem.id in places:
            raise InvalidInput(f"{record.place}: id {problem.id!r} occurs twice; ids must differ")
        places[problem.id] = record.place


def is_file_name(name: str) -> bool:
    """Whether a name is that of a data file, by its suffix."""
    return Path(name).suffix in READERS

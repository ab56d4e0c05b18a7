"""Which problems of which file, and what is done with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trim.errors import InvalidInput
from trim.evaluation.benchmarks.benchmark import BOXED, Benchmark, BenchmarkProblem, Record
from trim.evaluation.benchmarks.data_file import READERS, DataFile, locate
from trim.evaluation.benchmarks.registry import BENCHMARKS
from trim.evaluation.problem_set import ProblemSet
from trim.grading.grader import find_grader
from trim.models.prompt import QUESTION, Prompt
from trim.numerics import uniform


@dataclass(frozen=True)
class Selection:
    """What the command line says of a benchmark or a file.

    Attributes:
        data: folder with the files of benchmarks; the hub without one.
        skip: problems that are left out before the first one that is taken.
        split: of a benchmark; its usual one if None.
        question, answer: fields of a file; needed for one that is no benchmark.
        id: field that names a problem; its line without one.
        grader: name of the grader of a file; `math` if None.
        instruction: what models are asked for after each question, instead of the usual; "" for
            nothing.
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
        """`count` problems of a benchmark or a file behind the first `skip`, or all of those.

        Args:
            seed: of the order; None for that of the file.

        Raises:
            InvalidInput: there is none of that name, its file is missing, damaged or too short,
                or an option does not go with it.
        """
        if name in BENCHMARKS:
            return self._open_benchmark(BENCHMARKS[name], count, seed)
        return self._open_file(Path(name), count, seed)

    def _open_benchmark(
        self, benchmark: Benchmark, count: int | None, seed: int | None
    ) -> ProblemSet:
        for option in ("question", "answer", "id", "grader"):
            if getattr(self, option) is not None:
                raise InvalidInput(
                    f"--{option}: {benchmark.name} has its own; the option is for other files"
                )
        split = self.split or next(iter(benchmark.files))
        if split not in benchmark.files:
            raise InvalidInput(
                f"--split {split}: {benchmark.name} has {', '.join(benchmark.files)}"
            )
        file = DataFile.read(locate(benchmark, split, self.data))
        read = benchmark.reader(split)
        problems = [read(record) for record in file.records]
        described = {"benchmark": benchmark.name, "split": split}
        return self._describe(benchmark.name, file, problems, count, seed, described, benchmark)

    def _open_file(self, path: Path, count: int | None, seed: int | None) -> ProblemSet:
        if self.split is not None:
            raise InvalidInput("--split: only a benchmark has splits; name another file instead")
        if self.question is None or self.answer is None:
            raise InvalidInput(
                f"{path}: say which fields it has, as in --question problem --answer answer"
            )
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
        described = {"fields": fields, "grader": grader}
        problems = [read(record) for record in file.records]
        return self._describe(path.stem, file, problems, count, seed, described)

    def _describe(
        self,
        name: str,
        file: DataFile,
        problems: list[BenchmarkProblem],
        count: int | None,
        seed: int | None,
        described: dict[str, Any],
        benchmark: Benchmark | None = None,
    ) -> ProblemSet:
        require_different(file, problems)
        usual = benchmark.instruction if benchmark else BOXED
        instruction = usual if self.instruction is None else self.instruction.strip()
        chosen = self._choose(file, problems, count, seed)
        described |= {
            "skip": self.skip,
            "shuffled": seed is not None,
            "file": file.path.name,
            "sha256": file.sha256,
            "instruction": instruction,
        }
        user = f"{QUESTION}\n\n{instruction}" if instruction else QUESTION
        return ProblemSet(name, tuple(chosen), described=described, prompt=Prompt(user=user))

    def _choose(
        self, file: DataFile, problems: list[BenchmarkProblem], count: int | None, seed: int | None
    ) -> list[BenchmarkProblem]:
        left = len(problems) - self.skip
        if left < 1:
            raise InvalidInput(
                f"--skip {self.skip}: {file.path} has {len(problems)} problems; skip"
                f" {len(problems) - 1} at most"
            )
        if count is not None and not 1 <= count <= left:
            behind = f" behind --skip {self.skip}" if self.skip else ""
            raise InvalidInput(f"-n {count}: {file.path} has from 1 to {left} problems{behind}")
        ordered = problems if seed is None else shuffled(problems, seed)
        return ordered[self.skip :][:count]


def shuffled(problems: list[BenchmarkProblem], seed: int) -> list[BenchmarkProblem]:
    """The problems in an order that depends on the seed and on their ids, and on nothing else."""
    return sorted(problems, key=lambda problem: (uniform("order", seed, problem.id), problem.id))


def require_different(file: DataFile, problems: list[BenchmarkProblem]) -> None:
    """Raises InvalidInput where two problems have one id."""
    places: dict[str, str] = {}
    for record, problem in zip(file.records, problems, strict=True):
        if problem.id in places:
            raise InvalidInput(
                f"{record.place}: id {problem.id!r} is that of another problem; ids must differ"
            )
        places[problem.id] = record.place


def is_file_name(name: str) -> bool:
    """Whether a word on the command line means a data file."""
    return Path(name).suffix in READERS

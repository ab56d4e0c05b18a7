r"""How well answers are graded: published solutions, rewritten answers, wrong ones, real ones.

`python benchmarks/grading.py FOLDER [TRACES]` reads the benchmarks' files in FOLDER and prints
the table of docs/results/graders.md, and each answer that is not graded as it should be:

- *solutions*: each published reference solution against its own answer, where the file has
  solutions and they mark their answer (MATH-500, Minerva: `\boxed{}`; GSM8K: `####`). AIME's
  file has no solutions, and those of OlympiadBench do not mark the answer: there the reference
  answer itself is graded.
- *rewritten*: each reference answer as models write it (`REWRITINGS`), one after the other.
- *wrong*: each answer of the next problems in the file (shuffled by `SHIFTS`) against the
  reference, without those that are the same answer by chance; and numbers that are slightly off.
- TRACES, the file of real traces with `weak` and `strong`: each answer against its recorded
  grade.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import sympy

from trim.evaluation.benchmarks.benchmark import BenchmarkProblem, Record
from trim.evaluation.benchmarks.catalog import BUILT_IN
from trim.evaluation.benchmarks.data_file import DataFile, locate
from trim.grading.latex import clean, compact, split_list, split_name
from trim.grading.mathematics import parse
from trim.grading.number import read_number
from trim.grading.workers import GraderPool, Ungraded
from trim.steps import boxed_answer

DATA_SETS = ("math500", "aime", "olympiadbench", "minerva", "gsm8k")
SHIFTS = (1, 7, 31, 101)
PROCESSES = 2


@dataclass(frozen=True)
class Case:
    """An answer, and what its grade should be."""

    kind: str
    problem: BenchmarkProblem
    answer: str
    right: bool


@dataclass
class Counts:
    """How many cases there were of a kind, and which were graded otherwise."""

    cases: int = 0
    failures: list[Case] = field(default_factory=list)

    @property
    def share(self) -> float:
        return 1 - len(self.failures) / self.cases if self.cases else float("nan")


def solution_answer(name: str, record: Record, problem: BenchmarkProblem) -> str:
    """The answer that a published solution ends with; the reference answer without one."""
    if name in ("math500", "minerva"):
        return boxed_answer(record.text("solution")) or ""
    if name == "gsm8k":
        return record.text("answer").rpartition("####")[2]
    # Where AIME has accepted two answers, the first.
    return problem.answer.partition(" or ")[0]


def spaced(answer: str) -> str:
    """With spaces around signs, but for commas of thousands: `5 , 100` is a list."""
    return re.sub(r"([-+=]|,(?!\d{3}(?!\d)))", r" \1 ", answer)


def display_fractions(answer: str) -> str:
    return re.sub(r"\\frac", r"\\dfrac", answer)


def sized_brackets(answer: str) -> str:
    if any(command in answer for command in (r"\left", r"\{", r"\}")) or "$" in answer:
        return answer
    sized = re.sub(r"([(\[])", r"\\left\1", answer)
    return re.sub(r"([)\]])", r"\\right\1", sized)


def dollars(answer: str) -> str:
    return answer if "$" in answer else f"${answer}$"


def reversed_list(answer: str) -> str:
    parts = list_of(answer)
    return ", ".join(reversed(parts)) if len(parts) > 1 else answer


def with_and(answer: str) -> str:
    parts = list_of(answer)
    return ", ".join(parts[:-1]) + r" \text{ and } " + parts[-1] if len(parts) > 1 else answer


def list_of(answer: str) -> list[str]:
    """The parts of an answer that is a list, not a number with commas."""
    return [] if read_number(clean(answer)) or "where" in answer else split_list(clean(answer))


def printed(answer: str) -> str:
    """The formula as sympy prints it, where it prints what it has read."""
    cleaned = clean(answer)
    if read_number(cleaned) or len(split_list(cleaned)) > 1:
        return answer
    if re.search(r"text|prime|dot|log|frac\{d", cleaned):
        return answer
    found = parse(cleaned)
    return sympy.latex(found[0], ln_notation=True) if found else answer


def as_decimal(answer: str) -> str:
    """Seven digits, where the answer is a fraction."""
    number = read_number(clean(answer))
    if number is None or number.value.denominator == 1 or number.rounded or number.percent:
        return answer
    return f"{float(number.value):.9g}"


def as_power(answer: str) -> str:
    number = read_number(clean(answer))
    if number is None or not number.rounded or not number.value or number.percent:
        return answer
    mantissa, _, exponent = f"{float(number.value):e}".partition("e")
    return rf"{mantissa.rstrip('0')} \times 10^{{{int(exponent)}}}".replace(". ", ".0 ")


def with_thousands(answer: str) -> str:
    number = read_number(clean(answer))
    if number is None or number.value.denominator != 1 or abs(number.value) < 1000:
        return answer
    return answer if number.rounded else f"{int(number.value):,}"


def with_unit(answer: str) -> str:
    number = read_number(clean(answer))
    return answer if number is None or number.percent else rf"{answer} \text{{ units}}"


def with_name(answer: str) -> str:
    return f"x = {answer}" if read_number(clean(answer)) else answer


REWRITINGS: dict[str, Callable[[str], str]] = {
    "spaces": spaced,
    "dfrac": display_fractions,
    "left-right": sized_brackets,
    "dollars": dollars,
    "other order": reversed_list,
    "and": with_and,
    "decimal": as_decimal,
    "power of ten": as_power,
    "thousands": with_thousands,
    "unit": with_unit,
    "name": with_name,
    "printed by sympy": printed,
}


def slightly_off(answer: str) -> Iterator[str]:
    number = read_number(clean(answer))
    if number is None:
        if not re.search(r"[=,()\[]|text|matrix|[0-9A-Z]_|\\leq?|\\geq?", answer):
            yield f"{answer.strip('$ ')} + 1"
            yield f"2 ({answer.strip('$ ')})"
        return
    if number.value.denominator == 1 and not number.rounded:
        yield str(int(number.value) + 1)
        yield str(-int(number.value)) if number.value else "2"
    elif number.value:
        yield f"{float(number.value * Fraction(11, 10)):.6g}"
        yield f"{float(-number.value):.6g}"


def bare(answer: str) -> str:
    """Without a name: `x=5` and `5` are the same answer by chance."""
    return compact(split_name(clean(answer))[1])


def cases_of(name: str, folder: Path) -> Iterator[Case]:
    benchmark = BUILT_IN[name]
    for split in benchmark.files:
        file = DataFile.read(locate(benchmark, split, folder))
        problems = [benchmark.read(record) for record in file.records]
        for record, problem in zip(file.records, problems, strict=True):
            yield Case("solutions", problem, solution_answer(name, record, problem), True)
            answer = solution_answer(name, record, problem)
            for label, rewrite in REWRITINGS.items():
                if rewrite(answer) != answer:
                    yield Case(f"rewritten: {label}", problem, rewrite(answer), True)
            for wrong in slightly_off(problem.answer):
                yield Case("wrong: off", problem, wrong, False)
        for shift in SHIFTS:
            for problem, other in zip(problems, problems[shift:] + problems[:shift], strict=True):
                if bare(problem.answer) != bare(other.answer):
                    yield Case("wrong: shuffled", problem, other.answer, False)


def count(workers: GraderPool, cases: Sequence[Case]) -> dict[str, Counts]:
    """Grade all cases; counts by kind."""

    def grade(case: Case) -> bool:
        return workers.grade(case.problem.grader, case.answer, case.problem.answer)

    counts: dict[str, Counts] = {}
    with ThreadPoolExecutor(PROCESSES) as threads:
        for case, graded in zip(cases, threads.map(grade, cases), strict=True):
            of_kind = counts.setdefault(case.kind, Counts())
            of_kind.cases += 1
            if graded != case.right:
                of_kind.failures.append(case)
    return counts


def merged(counts: dict[str, Counts], start: str) -> Counts:
    chosen = [of_kind for kind, of_kind in counts.items() if kind.startswith(start)]
    failures = [case for of_kind in chosen for case in of_kind.failures]
    return Counts(sum(of_kind.cases for of_kind in chosen), failures)


def show_real(workers: GraderPool, path: Path) -> None:
    """Real answers whose grade differs from the recorded one."""
    same = total = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        problem = json.loads(line)
        for role in ("weak", "strong"):
            solved = problem[role]
            graded = workers.grade("math", solved["answer"], problem["answer"])
            total += 1
            same += graded == solved["correct"]
            if graded != solved["correct"]:
                print(
                    f"  real: {problem['id']} {role}: {solved['answer']!r} against"
                    f" {problem['answer']!r} is graded {graded}, recorded {solved['correct']}"
                )
    print(f"real answers: {same} of {total} as recorded")


def main(folder: Path, traces: Path | None) -> None:
    lost: list[Ungraded] = []
    rows = []
    with GraderPool(PROCESSES, report=lost.append) as workers:
        for name in DATA_SETS:
            counts = count(workers, list(cases_of(name, folder)))
            for kind, of_kind in counts.items():
                for case in of_kind.failures:
                    print(
                        f"  {name}, {kind}: {case.problem.id}: {case.answer!r} against"
                        f" {case.problem.answer!r} is graded {not case.right}"
                    )
            rows.append((name, [merged(counts, k) for k in ("solutions", "rewritten", "wrong")]))
        if traces:
            show_real(workers, traces)
    for ungraded in lost:
        print(f"  no grade ({ungraded.reason}): {ungraded.answer!r} against {ungraded.reference!r}")
    print("| | solutions right | rewritten right | wrong ones wrong |")
    print("|---|---|---|---|")
    for name, kinds in rows:
        cells = [f"{100 * c.share:.2f} % of {c.cases:,}" for c in kinds]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)

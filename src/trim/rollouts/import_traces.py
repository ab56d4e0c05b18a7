"""Import traces of other programs as a bank: complete solutions, with scores or labels."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trim.documents import parse_json
from trim.errors import InvalidInput
from trim.files import read_bytes, sha256_of
from trim.policies.ppo.trees import LEAF_RIGHT, LEAF_WRONG
from trim.rollouts.bank import FIRST_ERRORS, Bank, read_bank
from trim.rollouts.identity import UNSCORED, Identity
from trim.rollouts.imported_solution import (
    PRM_SCORES,
    TokenSource,
    list_in,
    solution_of,
    text_of,
    token_source,
)
from trim.rollouts.record import (
    NO_SOLUTION,
    Node,
    RecordedProblem,
    Rollout,
    RolloutOrigin,
    SoloSolution,
)
from trim.rollouts.store import BankStore, locked_bank

PART_SIZE = 1000
"""Problems per part of the bank."""
UNPACKED = 2 << 30
"""Bytes of a compressed file after unpacking: one of a megabyte may hold a thousand."""
PAIR, SEVERAL, LABELLED = "weak", "solutions", "label"
"""The field that marks each kind of line."""


def import_traces(
    file: Path,
    out: Path,
    progress: Callable[[int], None] = lambda finished: None,
    scores: str | None = None,
    dataset: str | None = None,
) -> Bank:
    """Write the traces of a JSON-lines file, also compressed by gzip, to the bank `out`.

    All lines are of one of three kinds, which docs/reference/bank.md describes: the solutions of
    both models (`weak`, `strong`), several solutions by one model (`solutions`), or a solution
    with the index of its first wrong step (`label`). Each tree holds only the model's own path.

    Args:
        scores: field with the scores; `none` for a bank without any; None for `prm_scores`, which
            labelled lines may lack.
        dataset: name of the data set; None for the field `dataset`, else the file's name.

    Raises:
        InvalidInput: the file is unreadable or malformed, the traces are of several data sets,
            or the folder cannot be written or holds another bank.
    """
    traces = TraceFile(file, tuple(read_lines(file)), scores, dataset)
    problems, identity = traces.problems, traces.identity
    with locked_bank(out):
        store = BankStore(out, identity, PART_SIZE)
        for problem in problems:
            store.add(problem)
            progress(len(store.finished))
        store.flush()
        progress(len(store.finished))
    return read_bank(out, scored=False)


@dataclass(frozen=True)
class Line:
    """A JSON object and its place, as in `traces.jsonl, line 3`."""

    place: str
    record: dict[str, Any]

    def error(self, reason: str) -> InvalidInput:
        return InvalidInput(
            f"{self.place}: not a trace ({reason}); docs/reference/bank.md describes the fields"
        )


def read_lines(file: Path) -> Iterator[Line]:
    """The JSON objects of a file. Raises InvalidInput as `import_traces` does."""
    try:
        content = read_bytes(file, largest=None)
        if file.suffix == ".gz":
            content = decompressed(file, content)
        lines = content.decode("utf-8").split("\n")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidInput(f"{file}: not a gzip file, or a damaged one") from error
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InvalidInput(f"{file}: not UTF-8 text; expected one JSON object per line") from error
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        line = Line(f"{file}, line {number}", {})
        try:
            record = parse_json(text, finite=False)
        except ValueError as error:
            raise line.error(str(error)) from error
        if not isinstance(record, dict):
            raise line.error("not a JSON object")
        yield Line(line.place, record)


def decompressed(file: Path, content: bytes) -> bytes:
    """The content of a gzip file. Raises InvalidInput if it unpacks to more than `UNPACKED`."""
    with gzip.open(io.BytesIO(content)) as stream:
        unpacked = stream.read(UNPACKED + 1)
    if len(unpacked) > UNPACKED:
        raise InvalidInput(f"{file}: unpacks to more than {UNPACKED:,} bytes; split the file")
    return unpacked


@dataclass(frozen=True)
class TraceFile:
    """The lines of a file of traces; arguments as of `import_traces`.

    Every property raises InvalidInput if the lines are malformed.
    """

    file: Path
    lines: tuple[Line, ...]
    chosen_scores: str | None = None
    chosen_dataset: str | None = None

    @cached_property
    def kind(self) -> str:
        """The field that marks the kind of the lines, which have to be of the same kind."""
        if not self.lines:
            raise InvalidInput(f"{self.file}: no traces; expected one JSON object per line")
        first = ""
        for line in self.lines:
            found = [name for name in (PAIR, SEVERAL, LABELLED) if name in line.record]
            if len(found) != 1:
                raise line.error("it has to have one of weak, solutions and label")
            first = first or found[0]
            if found[0] != first:
                raise line.error(f"the field {found[0]}, and the lines before it have {first}")
        return first

    @cached_property
    def scores(self) -> str | None:
        """The field with the scores; None for a bank without scores."""
        if self.chosen_scores == UNSCORED:
            return None
        if self.chosen_scores or self.kind != LABELLED:
            return self.chosen_scores or PRM_SCORES
        return PRM_SCORES if PRM_SCORES in self._fields else None

    @cached_property
    def dataset(self) -> str:
        if self.chosen_dataset:
            return self.chosen_dataset
        name = self.file.name.removesuffix(".gz").removesuffix(".jsonl")
        found = {}
        for line in self.lines:
            try:
                found[text_of(line.record.get("dataset", name))] = line
            except ValueError as error:
                raise line.error(str(error)) from error
        if len(found) > 1:
            raise InvalidInput(
                f"{self.file}: traces of {', '.join(sorted(found))}; a bank is of one data set"
            )
        return next(iter(found))

    @cached_property
    def problems(self) -> tuple[RecordedProblem, ...]:
        """A record of each solution, or pair of solutions."""
        read = {PAIR: self._pair, SEVERAL: self._several, LABELLED: self._labelled}[self.kind]
        problems: list[RecordedProblem] = []
        known: set[str] = set()
        for line in self.lines:
            try:
                name = text_of(line.record["id"])
                if name in known:
                    raise InvalidInput(
                        f"{line.place}: the id {name!r} occurs twice; each line needs its own"
                    )
                known.add(name)
                problems += read(name, line.record)
            except (KeyError, TypeError, ValueError) as error:
                raise line.error(self._reason(line.record, error)) from error
        strong = [problem.strong.tokens for problem in problems if problem.has_strong]
        if strong and not any(strong):
            raise InvalidInput(
                f"{self.file}: all solutions of the strong model have 0 tokens, which are the costs"
                " of routing; leave tokens and step_tokens out for an estimate by characters"
            )
        return tuple(problems)

    @property
    def identity(self) -> Identity:
        """Metadata of the bank."""
        models = {"source": sha256_of(self.file)}
        if self.scores not in (None, PRM_SCORES):
            models["scorer"] = str(self.scores)
        has_strong = all(problem.has_strong for problem in self.problems)
        grouped = any(problem.group for problem in self.problems)
        return Identity(
            suite=self.dataset,
            seed=None,
            models=models,
            scorer="prm" if self.scores else UNSCORED,
            sampling=None,
            rollouts=1 + has_strong,
            described=self._described,
            partial=not has_strong or grouped or self.scores is None,
        )

    @property
    def _described(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        tokens = {token_source(each) for line in self.lines for each in self._solutions(line)}
        if estimated := sorted(tokens - {TokenSource.RECORDED}):
            found["tokens"] = ", ".join(estimated)
        if self.kind == LABELLED:
            found["labels"] = FIRST_ERRORS
        if generators := {str(line.record.get("generator") or "") for line in self.lines} - {""}:
            found["generators"] = sorted(generators)
        return found

    def _solutions(self, line: Line) -> Iterator[dict[str, Any]]:
        """The objects of a line that are solutions."""
        if self.kind == PAIR:
            yield from (line.record[name] for name in ("weak", "strong") if line.record.get(name))
        elif self.kind == SEVERAL:
            yield from line.record["solutions"]
        else:
            yield line.record

    @cached_property
    def _fields(self) -> frozenset[str]:
        """The fields that any line has."""
        given = (line.record.items() for line in self.lines)
        return frozenset(name for items in given for name, value in items if value is not None)

    def _pair(self, name: str, record: dict[str, Any]) -> Iterator[RecordedProblem]:
        weak, strong = solution_of(record["weak"], self.scores), NO_SOLUTION
        if record.get("strong") is not None:
            given = isinstance(record["strong"], dict) and record["strong"].get(self.scores)
            strong = solution_of(record["strong"], None if given is None else self.scores)
        elif "strong" in self._fields:
            raise ValueError("no strong, which other lines have; give it in all lines or in none")
        question, answer = text_of(record["query"]), text_of(record["answer"])
        yield recorded(name, question, answer, weak, strong)

    def _several(self, name: str, record: dict[str, Any]) -> Iterator[RecordedProblem]:
        question, answer = text_of(record.get("query", "")), text_of(record.get("answer", ""))
        solutions = record["solutions"]
        if not isinstance(solutions, list) or not solutions:
            raise ValueError("solutions is not a list of at least one")
        digits = len(str(len(solutions) - 1))
        for number, each in enumerate(solutions):
            try:
                weak = solution_of(each, self.scores)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"solution {number + 1}: {self._reason(each, error)}") from error
            yield recorded(f"{name}/{number:0{digits}}", question, answer, weak, group=name)

    def _labelled(self, name: str, record: dict[str, Any]) -> Iterator[RecordedProblem]:
        question, label = text_of(record["problem"]), record["label"]
        steps = list_in(record, "steps", required=True) or []
        if isinstance(label, bool) or not isinstance(label, int) or not -1 <= label < len(steps):
            raise ValueError(
                f"the label {label!r} is neither the index of one of {len(steps)} steps,"
                f" 0 to {len(steps) - 1}, nor -1"
            )
        # After the first error a solution is lost, whether or not a step is right by itself.
        right = [label == -1 or place < label for place in range(len(steps))]
        judged = "final_answer_correct"
        correct = record[judged] if judged in self._fields else label == -1
        weak = solution_of({**record, "correct": correct}, self.scores, right)
        first = self._first_ids.setdefault(question, name)
        yield recorded(name, question, text_of(record.get("answer", "")), weak, group=first)

    @cached_property
    def _first_ids(self) -> dict[str, str]:
        """The first id of each question so far."""
        return {}

    def _reason(self, record: object, error: Exception) -> str:
        """Why an object is malformed."""
        if not isinstance(error, KeyError):
            return str(error)
        if error.args[0] != self.scores:
            return f"no {error}"
        solutions = [record, *record.values()] if isinstance(record, dict) else []
        known = sorted({name for each in solutions for name in lists_of_scores(each)})
        choice = f"one of {', '.join(known)}, or " if known else ""
        return f"no {error}; choose {choice}{UNSCORED} with --scores"


def lists_of_scores(record: object) -> Iterator[str]:
    """Names of the fields of a solution that may hold scores."""
    for name, value in record.items() if isinstance(record, dict) else ():
        if isinstance(value, list) and value and all(isinstance(each, float) for each in value):
            yield name


def recorded(
    name: str,
    question: str,
    answer: str,
    weak: SoloSolution,
    strong: SoloSolution = NO_SOLUTION,
    group: str | None = None,
) -> RecordedProblem:
    """The record of a solution in which every draft was kept."""
    nodes = tuple(path_of(weak))
    rollout = Rollout(
        origin=RolloutOrigin.KEEP,
        share=0.0,
        nodes=tuple(range(len(nodes))),
        regenerate=(False,) * len(nodes),
        probability=(1.0,) * len(nodes),
        correct=weak.correct,
        strong_tokens=0,
    )
    return RecordedProblem(name, question, answer, weak, strong, nodes, (rollout,), group)


def path_of(weak: SoloSolution) -> Iterator[Node]:
    """The nodes of a tree in which every draft is kept."""
    last = len(weak.steps)
    for number, step in enumerate(weak.steps, start=1):
        leaf = LEAF_RIGHT if weak.correct else LEAF_WRONG
        yield Node(
            step=number,
            draft=step.text,
            draft_score=float("nan") if step.score is None else step.score,
            draft_tokens=step.tokens,
            draft_right=step.right,
            draft_ends=number == last,
            draft_answers=number == last and weak.answer is not None,
            continue_to=leaf if number == last else number,
        )

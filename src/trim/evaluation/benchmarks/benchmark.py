"""What a published data set is: where its files are, and how a record is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trim.errors import InvalidInput
from trim.steps import boxed_answer


@dataclass(frozen=True)
class BenchmarkProblem:
    """One question with its answer.

    Attributes:
        id: unique within its data set.
        question: the bare question.
        answer: the right answer, as the data set writes it.
        grader: name of the grader (`trim.grading.grader`).
    """

    id: str
    question: str
    answer: str
    grader: str


@dataclass(frozen=True)
class Record:
    """Fields and values.

    Attributes:
        place: file and line (or row, from 1), for errors.
        number: of the record, from 0.
    """

    values: Mapping[str, Any]
    place: str
    number: int

    def boxed(self, name: str) -> str:
        r"""What stands in the last `\boxed{}` of a field.

        Raises:
            InvalidInput: as `text`, or there is no box, or nothing in it.
        """
        answer = boxed_answer(self.text(name))
        if not answer:
            raise InvalidInput(rf"{self.place}: field {name!r} has no \boxed{{}} with the answer")
        return answer

    def text(self, *names: str) -> str:
        """The field of the first of `names` that the record has, as text without outer spaces.

        A list of one entry counts as that entry.

        Raises:
            InvalidInput: it has none of them, or that one holds no text.
        """
        name = next((name for name in names if name in self.values), None)
        if name is None:
            wanted = " or ".join(repr(name) for name in names)
            raise InvalidInput(
                f"{self.place}: has no field {wanted}; it has {', '.join(self.values) or 'none'}"
            )
        value = self.values[name]
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InvalidInput(
                f"{self.place}: field {name!r} holds no text or number, but"
                f" {type(value).__name__}; name another field"
            )
        if not str(value).strip():
            raise InvalidInput(f"{self.place}: field {name!r} is empty; every problem needs one")
        return str(value).strip()


BOXED = r"Please reason step by step, and put your final answer within \boxed{}."
"""The instruction of Qwen2.5-Math, the family of the authors' models."""


@dataclass(frozen=True)
class HubFile:
    """A file of a data set on the Hugging Face hub."""

    repository: str
    path: str


@dataclass(frozen=True)
class Benchmark:
    """A published data set.

    Attributes:
        name: on the command line.
        files: by split, the usual one first: the file's name in a folder, without its ending.
        read: makes the problem of a record, without instruction.
        samples: by split, the name of a file with a part of it, which does where the whole one
            is not there.
        readers: by split, instead of `read` where its records or ids are different.
        instruction: what models are asked for after each question.
        hub: by split, where the hub has the file.
    """

    name: str
    files: Mapping[str, str]
    read: Callable[[Record], BenchmarkProblem]
    instruction: str = BOXED
    hub: Mapping[str, HubFile] = field(default_factory=dict)
    samples: Mapping[str, str] = field(default_factory=dict)
    readers: Mapping[str, Callable[[Record], BenchmarkProblem]] = field(default_factory=dict)

    def reader(self, split: str) -> Callable[[Record], BenchmarkProblem]:
        """What makes the problem of a record of `split`."""
        return self.readers.get(split, self.read)

    def names(self, split: str) -> list[str]:
        """The names that the file of `split` may have in a folder, the usual one first."""
        sample = self.samples.get(split)
        return [self.files[split], *([sample] if sample else [])]

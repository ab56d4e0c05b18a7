"""The description of a published data set: its files, and how to read a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trim.errors import InvalidInput
from trim.steps import boxed_answer


@dataclass(frozen=True)
class BenchmarkProblem:
    """A question with its answer.

    Attributes:
        id: unique within the data set.
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
    """A record of a data file.

    Attributes:
        values: by field.
        place: file and line (or row, from 1), for error messages.
        number: position in the file, from 0.
    """

    values: Mapping[str, Any]
    place: str
    number: int

    def boxed(self, name: str) -> str:
        r"""Content of the last `\boxed{}` in a field.

        Raises:
            InvalidInput: as `text`, or there is no box, or it is empty.
        """
        answer = boxed_answer(self.text(name))
        if not answer:
            raise InvalidInput(rf"{self.place}: field {name!r} has no \boxed{{}} with the answer")
        return answer

    def text(self, *names: str) -> str:
        """The first field among `names` that the record has, as stripped text.

        A list with one entry is read as that entry.

        Raises:
            InvalidInput: the record has none of the fields, or its value is no text.
        """
        name = next((name for name in names if name in self.values), None)
        if name is None:
            wanted = " or ".join(repr(name) for name in names)
            raise InvalidInput(
                f"{self.place}: no field {wanted}; its fields are"
                f" {', '.join(self.values) or 'none'}"
            )
        value = self.values[name]
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InvalidInput(
                f"{self.place}: field {name!r} holds a {type(value).__name__}, not text or a"
                " number; name another field"
            )
        text = str(value).strip()
        if not text:
            raise InvalidInput(f"{self.place}: field {name!r} is empty; each problem needs one")
        if not text.isascii() and text != text.encode("utf-8", "replace").decode():
            raise InvalidInput(f"{self.place}: field {name!r} holds half a surrogate pair")
        return text


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
        files: file name without suffix in a data folder, by split; the default split first.
        read: converts a record to a problem, without instruction.
        instruction: text after each question.
        hub: file on the Hugging Face hub, by split.
        samples: name of a file with part of the problems, by split; used if the whole file is
            missing.
        readers: replaces `read` for splits with another format.
    """

    name: str
    files: Mapping[str, str]
    read: Callable[[Record], BenchmarkProblem]
    instruction: str = BOXED
    hub: Mapping[str, HubFile] = field(default_factory=dict)
    samples: Mapping[str, str] = field(default_factory=dict)
    readers: Mapping[str, Callable[[Record], BenchmarkProblem]] = field(default_factory=dict)

    def reader(self, split: str) -> Callable[[Record], BenchmarkProblem]:
        """The function that converts a record of `split` to a problem."""
        return self.readers.get(split, self.read)

    def names(self, split: str) -> list[str]:
        """Possible file names of `split` in a data folder, without suffix, in order."""
        sample = self.samples.get(split)
        return [self.files[split], *([sample] if sample else [])]

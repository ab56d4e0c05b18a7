"""What a published data set is: where its files are, and how a record is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from trim.evaluation.benchmarks.problem import Problem
from trim.evaluation.benchmarks.record import Record

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
    read: Callable[[Record], Problem]
    instruction: str = BOXED
    hub: Mapping[str, HubFile] = field(default_factory=dict)
    samples: Mapping[str, str] = field(default_factory=dict)
    readers: Mapping[str, Callable[[Record], Problem]] = field(default_factory=dict)

    def reader(self, split: str) -> Callable[[Record], Problem]:
        """What makes the problem of a record of `split`."""
        return self.readers.get(split, self.read)

    def names(self, split: str) -> list[str]:
        """The names that the file of `split` may have in a folder, the usual one first."""
        sample = self.samples.get(split)
        return [self.files[split], *([sample] if sample else [])]

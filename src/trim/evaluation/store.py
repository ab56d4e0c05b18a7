"""The traces of an evaluation on disk: complete problems only, safe to interrupt."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from trim.documents import parse_json
from trim.errors import InvalidInput
from trim.files import (
    FolderLock,
    not_writable,
    open_file,
    open_to_append,
    read_bytes,
    read_object,
    write_atomically,
)
from trim.legacy import current_record
from trim.types import Trace


class TraceStore:
    """`traces.jsonl` (one trace per line) and `run.json`, which identifies the run.

    All traces of a problem are written together. A process that is killed meanwhile leaves an
    incomplete problem at the end of the file, which is removed when the run continues; nothing
    else is ever removed.

    Args:
        folder: created if missing.
        run: identifies the run.
        problems: ids of the run's problems; None if any may occur.

    Raises:
        InvalidInput: the folder cannot be written, holds another run, foreign or damaged traces,
            or is in use by another process.
    """

    def __init__(
        self, folder: Path, run: dict[str, Any], problems: Collection[str] | None = None
    ) -> None:
        self.path = folder / "traces.jsonl"
        self.problems = None if problems is None else frozenset(problems)
        self.policies: list[str] = run["policies"]
        self._lock = FolderLock(folder)
        try:
            self._claim(folder / "run.json", run)
            self.finished = self._recover()
            self._file = open_to_append(self.path)
        except OSError as error:
            self._lock.release()
            raise not_writable(folder, error) from error
        except InvalidInput:
            self._lock.release()
            raise

    def _claim(self, path: Path, run: dict[str, Any]) -> None:
        if self.path.is_symlink():
            raise InvalidInput(
                f"{self.path}: is a link, and may lead to a foreign file; name another --out"
            )
        if not path.exists():
            if self.path.exists():
                raise InvalidInput(
                    f"{self.path}: there is no {path.name} beside it, so it is of no run of trim;"
                    " name another --out"
                )
            write_atomically(path, json.dumps(run, indent=2) + "\n")
            return
        try:
            earlier = current_record(read_object(path))
        except (ValueError, TypeError, AttributeError):
            earlier = None
        if earlier != run:
            raise InvalidInput(
                f"{path.parent}: holds another run (see {path.name}); name another --out,"
                " or repeat that run's command to continue it"
            )

    def _recover(self) -> set[str]:
        """Remove an incomplete problem at the end; returns the ids of the complete ones.

        Raises:
            InvalidInput: a line that has its end is damaged, or is no trace of this run; or the
                line without an end cannot be the beginning of one.
        """
        if not self.path.exists():
            return set()
        *lines, torn = read_bytes(self.path, largest=None).split(b"\n")
        finished: set[str] = set()
        for first in range(0, len(lines) - len(self.policies) + 1, len(self.policies)):
            problem_id = self._problem_of(lines, first)
            if problem_id in finished:
                raise self._damaged(first, "a problem for the second time")
            finished.add(problem_id)
        complete = len(finished) * len(self.policies)
        for number in range(complete, len(lines)):
            self._trace(lines[number], number)
        if torn and not torn.startswith(b"{"):
            raise self._damaged(len(lines), "not the beginning of a trace")
        if torn or complete < len(lines):
            os.truncate(self.path, sum(len(line) + 1 for line in lines[:complete]))
        return finished

    def _problem_of(self, lines: Sequence[bytes], first: int) -> str:
        """The problem whose traces begin with a line."""
        numbers = range(first, first + len(self.policies))
        traces = [self._trace(lines[number], number) for number in numbers]
        problem_id = traces[0].problem_id
        for number, trace in zip(numbers, traces, strict=True):
            if trace.problem_id != problem_id or trace.policy not in self.policies:
                raise self._damaged(number, "not a trace of the problem before it")
        if self.problems is not None and problem_id not in self.problems:
            raise self._damaged(first, "a trace of another problem")
        return problem_id or ""

    def _trace(self, line: bytes, number: int) -> Trace:
        try:
            return Trace.from_json(parse_json(line))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._damaged(number, "damaged, or not a trace") from error

    def _damaged(self, number: int, fault: str) -> InvalidInput:
        first = number - number % len(self.policies)
        return InvalidInput(
            f"{self.path}, line {number + 1}: {fault}; restore the file, name another --out, or"
            f" delete lines {first + 1} to {first + len(self.policies)} and repeat the command,"
            " which solves their problem again"
        )

    def add(self, problem_id: str, traces: list[Trace]) -> None:
        """Append all traces of one problem.

        Raises:
            InvalidInput: the file cannot be written. Problems finished before are kept.
        """
        lines = memoryview("".join(json.dumps(trace.to_json()) + "\n" for trace in traces).encode())
        try:
            while lines:
                lines = lines[self._file.write(lines) :]
        except OSError as error:
            raise InvalidInput(
                f"{self.path}: cannot be written ({error.strerror}); free disk space, then repeat"
                " the command to continue"
            ) from error
        self.finished.add(problem_id)

    def read(self) -> list[Trace]:
        """All traces so far, in the order in which problems were finished."""
        with open_file(self.path) as file:
            return [Trace.from_json(parse_json(line)) for line in file]

    def close(self) -> None:
        self._file.close()
        self._lock.release()

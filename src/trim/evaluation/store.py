"""The traces of an evaluation on disk: complete problems only, safe to interrupt."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from trim.errors import InvalidInput
from trim.files import FolderLock, not_writable, write_atomically
from trim.legacy import current_record
from trim.types import Trace


class TraceStore:
    """`traces.jsonl` (one trace per line) and `run.json`, which identifies the run.

    All traces of a problem are written together; an incomplete problem at the end of the file is
    removed when the run continues.

    Args:
        folder: created if missing.
        run: identifies the run.

    Raises:
        InvalidInput: the folder cannot be written, holds another run, or is in use by another
            process.
    """

    def __init__(self, folder: Path, run: dict[str, Any]) -> None:
        self.path = folder / "traces.jsonl"
        self.policies: list[str] = run["policies"]
        self._lock = FolderLock(folder)
        try:
            self._claim(folder / "run.json", run)
            self.finished = self._recover()
            self._file = self.path.open("ab", buffering=0)
        except OSError as error:
            self._lock.release()
            raise not_writable(folder, error) from error
        except InvalidInput:
            self._lock.release()
            raise

    def _claim(self, path: Path, run: dict[str, Any]) -> None:
        if not path.exists():
            write_atomically(path, json.dumps(run, indent=2) + "\n")
            return
        try:
            earlier = current_record(json.loads(path.read_text()))
        except (ValueError, TypeError):
            earlier = None
        if earlier != run:
            raise InvalidInput(
                f"{path.parent}: holds another run (see {path.name}); name another --out,"
                " or repeat that run's command to continue it"
            )

    def _recover(self) -> set[str]:
        """Remove an incomplete problem at the end; returns the ids of the complete ones."""
        if not self.path.exists():
            return set()
        finished: set[str] = set()
        group: list[str] = []
        complete_bytes = position = 0
        for line in self.path.read_bytes().splitlines(keepends=True):
            position += len(line)
            try:
                record = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                record = None
            if record is None:
                break
            if not isinstance(record, dict) or "problem_id" not in record:
                raise InvalidInput(
                    f"{self.path}: contains a line that is not a trace; name another --out"
                )
            group.append(record["problem_id"])
            if len(group) == len(self.policies):
                finished.add(group[0])
                complete_bytes, group = position, []
        os.truncate(self.path, complete_bytes)
        return finished

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
        with self.path.open() as file:
            return [Trace.from_json(json.loads(line)) for line in file]

    def close(self) -> None:
        self._file.close()
        self._lock.release()

"""A bank on disk while it is being filled: complete problems only, safe to interrupt."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from trim.bank.identity import NAME, Identity, read_identity
from trim.bank.record import RecordedProblem
from trim.bank.table import decode, encode
from trim.errors import InvalidInput
from trim.files import write_atomically


class BankStore:
    """A folder with `bank.json`, which says what bank it is, and `parts/*.parquet`.

    A part appears in one move and is never written again, so a process that is killed
    loses nothing that was written. Its name is derived from its problems, so that two
    processes do not overwrite each other's.

    Args:
        folder: created if it is missing.
        identity: of the traces; a folder that holds other ones is refused.
        part: problems that are written together: one, where each takes long to make.

    Attributes:
        finished: ids of the problems that are on disk.
        right: how many of those each model solves alone, weak and strong.

    Raises:
        InvalidInput: the folder cannot be written, is damaged or holds another bank.
    """

    def __init__(self, folder: Path, identity: Identity, part: int = 1) -> None:
        self.folder = folder
        self.part = part
        self._waiting: list[RecordedProblem] = []
        try:
            (folder / "parts").mkdir(parents=True, exist_ok=True)
            self._claim(identity)
        except OSError as error:
            raise self._not_writable(error) from error
        on_disk = read_parts(folder)
        self.finished = {problem.problem_id for problem in on_disk}
        self.right = Counter({"weak": 0, "strong": 0})
        self._count(on_disk)

    def _claim(self, identity: Identity) -> None:
        path = self.folder / NAME
        if not path.exists():
            write_atomically(path, json.dumps(identity.to_json(), indent=2) + "\n")
        elif differences := identity.differences(read_identity(self.folder)):
            raise InvalidInput(
                f"{self.folder}: holds a bank with other {', '.join(differences)} (see {NAME});"
                " name another --out, or repeat that bank's command to continue it"
            )

    def add(self, problem: RecordedProblem) -> None:
        """Add a problem, unless it is there already; written when a part is full."""
        waiting = {other.problem_id for other in self._waiting}
        if problem.problem_id in self.finished | waiting:
            return
        self._waiting.append(problem)
        if len(self._waiting) >= self.part:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting. Raises InvalidInput where that is not possible."""
        if not self._waiting:
            return
        ids = [problem.problem_id for problem in self._waiting]
        name = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
        try:
            write_atomically(self.folder / "parts" / f"{name}.parquet", encode(self._waiting))
        except OSError as error:
            raise self._not_writable(error) from error
        self.finished.update(ids)
        self._count(self._waiting)
        self._waiting = []

    def _count(self, problems: Iterable[RecordedProblem]) -> None:
        for problem in problems:
            self.right.update(weak=problem.weak.correct, strong=problem.strong.correct)

    def _not_writable(self, error: OSError) -> InvalidInput:
        return InvalidInput(
            f"{self.folder}: cannot write there ({error.strerror}); make room or name another"
            " --out, and the same command continues"
        )


def read_parts(folder: Path) -> Sequence[RecordedProblem]:
    """Every problem of a bank once, ordered by id.

    Raises:
        InvalidInput: a part is damaged.
    """
    found: dict[str, RecordedProblem] = {}
    for path in sorted((folder / "parts").glob("*.parquet")):
        for problem in decode(path):
            found.setdefault(problem.problem_id, problem)
    return [found[name] for name in sorted(found)]

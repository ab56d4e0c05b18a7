"""Grading in worker processes with limits of time and memory.

A hang or a crash loses only the answer that caused it. Short answers that are no formulas, such as
numbers, can cause neither and are graded without a worker. Worker and parent exchange JSON lines
over pipes: the worker reads `[grader, answer, reference]` and writes `true`, `false`, or the name
of the error that the grader raised, after a first line `"ready"`.

Process pools of other libraries were measured and do less: in `pebble` a worker that is killed
while idle breaks the whole pool, and both it and `concurrent.futures` exchange pickles, start
workers by importing the caller's `__main__`, and cannot set `PYTHONHASHSEED` for workers alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import LifoQueue

from trim.errors import TrimError
from trim.grading.grader import find_grader
from trim.grading.mathematics import Mathematics

SECONDS = 10.0
"""Wall-clock limit for one answer."""

START_SECONDS = 120.0
"""Limit for a worker to import its libraries, generous for busy machines."""

MEMORY = 4 << 30
"""Limit on a worker's address space, in bytes: a power tower would take all memory."""

SHORT = 300
"""Characters of an answer that may be graded without a worker, at most."""

COMMAND = (sys.executable, "-m", "trim.grading.workers")


class GraderUnavailable(TrimError):
    """No grading worker can be started."""


@dataclass(frozen=True)
class Ungraded:
    """An answer that could not be graded, and counts as wrong.

    Attributes:
        reason: `time` if the time limit was reached, `crash` if the worker died, else the name
            of the error.
    """

    grader: str
    answer: str
    reference: str
    reason: str


class GraderProcess:
    """One worker, started at the first answer and restarted after it died."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._process: subprocess.Popen[str] | None = None

    def ask(self, grader: str, answer: str, reference: str) -> bool | str:
        """Whether the answer is right, or why that is unknown (`Ungraded.reason`)."""
        process = self._running_process()
        try:
            assert process.stdin
            print(json.dumps([grader, answer, reference]), file=process.stdin, flush=True)
        except OSError:
            self.close()
            return "crash"
        line, late = read_line(process, self.seconds)
        if not line:
            self.close()
            return "time" if late else "crash"
        result: bool | str = json.loads(line)
        return result

    def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                # Closing flushes, which fails on a pipe whose reader is gone.
                with suppress(OSError):
                    pipe.close()

    def _running_process(self) -> subprocess.Popen[str]:
        if self._process is None:
            # With another order of sets, SymPy may simplify, and so grade, differently.
            environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
            self._process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
                env=environment,
            )
            line, late = read_line(self._process, START_SECONDS)
            if not line:
                self.close()
                reason = f"not ready after {START_SECONDS:g} s" if late else "it exited at once"
                raise GraderUnavailable(
                    f"grading: the worker process does not start ({reason}); run"
                    f" `{' '.join(COMMAND)}` to see why"
                )
        return self._process


def read_line(process: subprocess.Popen[str], seconds: float) -> tuple[str, bool]:
    """The next line of a process, empty if it exits first, and whether it was killed as late."""
    late = threading.Event()

    def kill() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, kill)
    timer.daemon = True
    timer.start()
    try:
        assert process.stdout
        line = process.stdout.readline()
    finally:
        timer.cancel()
    return line if line.endswith("\n") else "", late.is_set()


class GraderPool:
    """Grades answers in `count` worker processes, which start on demand.

    An answer that takes longer than `seconds`, or on which the worker dies, counts as wrong and is
    reported; the next answer gets a new worker. Results are cached by grader, answer and
    reference.

    Args:
        seconds: limit for each answer.
        report: called once with each answer that could not be graded.
    """

    def __init__(
        self,
        count: int = 2,
        seconds: float = SECONDS,
        report: Callable[[Ungraded], None] = lambda ungraded: None,
    ) -> None:
        # The last one that was used comes first, as starting another takes a second.
        self._idle: LifoQueue[GraderProcess] = LifoQueue()
        self._workers = [GraderProcess(seconds) for _ in range(count)]
        for worker in self._workers:
            self._idle.put(worker)
        self._report = report
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="trim-grading")
        self._grades: dict[tuple[str, str, str], bool] = {}

    def grade(self, grader: str, answer: str | None, reference: str) -> bool:
        """Whether an answer is right; safe to call from several threads.

        Raises:
            InvalidInput: an unknown grader.
            GraderUnavailable: no worker can be started.
        """
        if answer is None or grader == "exact":
            return find_grader(grader).grade(answer, reference)
        question = (grader, answer, reference)
        if question not in self._grades:
            grade = grade_here(*question)
            self._grades[question] = self._ask(question) if grade is None else grade
        return self._grades[question]

    async def agrade(self, grader: str, answer: str | None, reference: str) -> bool:
        """As `grade`, without blocking the event loop."""
        if answer is None or grader == "exact":
            return self.grade(grader, answer, reference)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self.grade, grader, answer, reference)

    def _ask(self, question: tuple[str, str, str]) -> bool:
        worker = self._idle.get()
        try:
            result = worker.ask(*question)
        finally:
            self._idle.put(worker)
        if isinstance(result, str):
            self._report(Ungraded(*question, result))
            return False
        return result

    def close(self) -> None:
        """Stop the threads and the workers."""
        for worker in self._workers:
            worker.close()
        self._threads.shutdown()

    def __enter__(self) -> GraderPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Formula(Exception):
    """Two formulas are to be compared."""


def leave_formula(answer: str, reference: str) -> bool:
    raise _Formula


def grade_here(grader: str, answer: str, reference: str) -> bool | None:
    """Grade a short answer in this process; None if it takes a worker.

    Raises:
        InvalidInput: an unknown grader.
    """
    found = find_grader(grader)
    if isinstance(found, Mathematics):
        found = replace(found, formulas=leave_formula)
    try:
        return found.grade(answer, reference) if len(answer) <= SHORT else None
    except Exception:  # other errors occur again in the worker, which reports them
        return None


def main() -> None:
    """Grade in this process until the standard input ends."""
    limit_memory()
    # Libraries that print must not write between the results.
    out, sys.stdout = sys.stdout, sys.stderr
    find_grader("math").grade("x + 1", "1 + x")
    print(json.dumps("ready"), file=out, flush=True)
    for line in sys.stdin:
        name, answer, reference = json.loads(line)
        result: bool | str
        try:
            result = find_grader(name).grade(answer, reference)
        except (Exception, MemoryError, RecursionError) as error:
            result = type(error).__name__
        print(json.dumps(result), file=out, flush=True)


def limit_memory() -> None:
    """Limit the address space of this process where the system can."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


if __name__ == "__main__":
    main()

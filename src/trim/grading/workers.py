"""Grading in processes of its own, so that an answer can cost no more than itself."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

from trim.errors import TrimError
from trim.grading.grader import find_grader

SECONDS = 10.0
"""For one answer, on the wall clock."""

START_SECONDS = 120.0
"""For a process to import what it needs, also on a busy machine."""

COMMAND = (sys.executable, "-m", "trim.grading.worker")


class GraderUnavailable(TrimError):
    """No process that grades can be started."""


@dataclass(frozen=True)
class Ungraded:
    """An answer that could not be graded, and counts as wrong.

    Attributes:
        reason: `time` where the limit was reached, `crash` where the process died, else the
            name of the error.
    """

    grader: str
    answer: str
    reference: str
    reason: str


class GraderProcess:
    """One process (`trim.grading.worker`), started anew when it has died."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._process: subprocess.Popen[str] | None = None

    def ask(self, grader: str, answer: str, reference: str) -> bool | str:
        """The grader's word, or the reason why there is none (`Ungraded.reason`)."""
        process = self._started()
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
                # What was not written in time is lost with the process.
                try:
                    pipe.close()
                except OSError:
                    continue

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            # The order of sets must not change what is right from run to run.
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
                reason = f"not ready in {START_SECONDS:g} s" if late else "it ended at once"
                raise GraderUnavailable(
                    f"grading: its process does not start ({reason}); see whether"
                    f" `{' '.join(COMMAND)}` does"
                )
        return self._process


def read_line(process: subprocess.Popen[str], seconds: float) -> tuple[str, bool]:
    """A line that a process writes, empty if it ends first; and whether it was late and killed."""
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        assert process.stdout
        line = process.stdout.readline()
    finally:
        timer.cancel()
    return line if line.endswith("\n") else "", late.is_set()


class GraderPool:
    """Grades by name in `count` processes that start when they are needed.

    An answer that takes longer than `seconds`, or on which the process dies, counts as wrong
    and is reported; the next answer finds a fresh process. A question that was asked before is
    not asked again.

    Args:
        seconds: for each answer.
        report: called with each answer that could not be graded, once.
    """

    def __init__(
        self,
        count: int = 2,
        seconds: float = SECONDS,
        report: Callable[[Ungraded], None] = lambda ungraded: None,
    ) -> None:
        self._idle: SimpleQueue[GraderProcess] = SimpleQueue()
        self._workers = [GraderProcess(seconds) for _ in range(count)]
        for worker in self._workers:
            self._idle.put(worker)
        self._report = report
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="trim-grading")
        self._known: dict[tuple[str, str, str], bool] = {}

    def grade(self, grader: str, answer: str | None, reference: str) -> bool:
        """Whether an answer is right; safe to call from several threads.

        Raises:
            InvalidInput: there is no grader of that name.
            GraderUnavailable: no process can be started.
        """
        if answer is None or grader == "exact":
            return find_grader(grader).grade(answer, reference)
        question = (grader, answer, reference)
        if question not in self._known:
            find_grader(grader)
            self._known[question] = self._ask(question)
        return self._known[question]

    async def agrade(self, grader: str, answer: str | None, reference: str) -> bool:
        """As `grade`, without holding up the event loop."""
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
        """End the threads and processes."""
        for worker in self._workers:
            worker.close()
        self._threads.shutdown()

    def __enter__(self) -> GraderPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

"""The process that grades: `python -m trim.grading.worker`.

Each line that it reads is a JSON list of grader, answer and reference; each line that it writes
is `true` or `false`, or a string with the error that the grader raised. The first line says that
it is ready.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress

from trim.grading.grader import find_grader

MEMORY = 4 << 30
"""Bytes of address space, so that a power tower does not take the whole machine."""


def limit_memory() -> None:
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def main() -> None:
    limit_memory()
    # What libraries print must not get between the answers.
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


if __name__ == "__main__":
    main()

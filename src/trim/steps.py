"""Steps of a solution: their ends, empty ones, and the boxed answer."""

from __future__ import annotations

import re
from collections.abc import Iterable

SEPARATOR = "\n\n"
"""A blank line ends a step and belongs to it."""
MAX_STEPS = 30
"""Maximum steps of a solution (arXiv 2601.10245)."""
EMPTY = frozenset("-–—=_*#`~|/\\<>:;,.!?(){}[]")
"""Characters without content besides white space, as in the method authors' code. Signs with a
meaning, as `→`, `$` and `+`, are not among them."""

STEP = re.compile(r"\n*[^\n]+(?:\n[^\n]+)*\n*|\n+")
BOX = r"\boxed{"
BRACES = re.compile(r"\\boxed\{|[{}]")
FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})([^\n]*)", re.MULTILINE)
"""A line that may open or close a block of code (CommonMark 0.31, 4.5)."""


def split_steps(solution: str) -> list[str]:
    """The steps of a text, each with the line ends after it; joined they are the text.

    All line ends of a separator belong to the step before it; those at the beginning of the text
    belong to the first step.
    """
    return STEP.findall(solution)


def closed(step: str) -> str:
    """The step with the blank line that ends it, added if missing."""
    return step if step.endswith(SEPARATOR) else step + SEPARATOR


def with_rest(beginning: str, end: str) -> str:
    """The whole step where an engine cuts the text at the blank line that stopped it.

    Args:
        end: the text of the last two decoded tokens; whatever follows the blank line in it belongs
            to the step.
    """
    return beginning + end.partition(SEPARATOR)[2]


def bare(step: str) -> str:
    """The step without its final line ends, for formats with other marks between steps."""
    return step.rstrip("\n")


def join_steps(question: str, steps: Iterable[str]) -> str:
    """Question and steps as plain text, each ended by a blank line."""
    return "".join(map(closed, (question, *steps)))


def is_degenerate(step: str) -> bool:
    """Whether a step has no content, as a ruler `---` or a lone code fence."""
    return all(character.isspace() or character in EMPTY for character in step)


def in_fence(text: str) -> bool:
    """Whether a text ends inside a fenced block of code, which a line of ``` or ~~~ opened."""
    opened = ""
    for mark in FENCE.finditer(text):
        fence, rest = mark[1], mark[2]
        if not opened:
            opened = "" if fence[0] in rest and fence[0] == "`" else fence
        elif fence.startswith(opened) and not rest.strip():
            opened = ""
    return bool(opened)


def boxed_answer(text: str) -> str | None:
    r"""The content of the last complete `\boxed{}` with balanced braces; None without one."""
    opened: list[int | None] = []
    last: tuple[int, int] | None = None
    for mark in BRACES.finditer(text):
        if mark[0] != "}":
            opened.append(mark.end() if mark[0] == BOX else None)
        elif opened and (content := opened.pop()) and (last is None or content > last[0]):
            last = content, mark.start()
    return text[slice(*last)].strip() if last else None

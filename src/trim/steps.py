"""What a step is: where it ends, when it is empty of content, where the answer stands."""

from __future__ import annotations

from collections.abc import Iterable

SEPARATOR = "\n\n"
"""A blank line ends a step. It belongs to the step it ends."""
MAX_STEPS = 30
"""Steps that the solution of a problem may have (arXiv 2601.10245)."""
EMPTY = frozenset("-–—=_*#`~|/\\<>:;,.!?(){}[]")
"""Characters that are no content, beside white space: those of the method's authors. Signs that
mean something, as `→`, `$` and `+`, are not among them."""


def split_steps(solution: str) -> list[str]:
    """The steps of a text, each with the line ends that close it; joined they are the text.

    Line ends beyond the two of a separator belong to the step before them. A text that begins with
    a blank line has it in its first step.
    """
    steps: list[str] = []
    rest = solution
    while rest:
        lead = len(rest) - len(rest.lstrip("\n"))
        end = rest.find(SEPARATOR, lead)
        if end < 0:
            steps.append(rest)
            break
        while end < len(rest) and rest[end] == "\n":
            end += 1
        steps.append(rest[:end])
        rest = rest[end:]
    return steps


def closed(step: str) -> str:
    """The step with the blank line that ends it, as another step follows."""
    return step if step.endswith(SEPARATOR) else step + SEPARATOR


def with_rest(beginning: str, end: str) -> str:
    """A step of which an engine tells only the beginning, up to the blank line that stopped it.

    Args:
        end: the text of the last two written tokens, in which the blank line ends; what they hold
            behind it belongs to the step.
    """
    return beginning + end.partition(SEPARATOR)[2]


def bare(step: str) -> str:
    """The step without the line ends that close it, for readers that mark steps in another way."""
    return step.rstrip("\n")


def join_steps(question: str, steps: Iterable[str]) -> str:
    """What a reader of plain text reads: question and steps, each ended by a blank line."""
    return "".join(map(closed, (question, *steps)))


def is_degenerate(step: str) -> bool:
    """Whether a step has no content, such as a ruler `---` or a lone fence."""
    return all(character.isspace() or character in EMPTY for character in step)


def boxed_answer(text: str) -> str | None:
    r"""The content of the last complete `\boxed{}`, braces matched; None without one."""
    start = text.rfind(r"\boxed{")
    while start >= 0:
        content = start + len(r"\boxed{")
        depth = 1
        for position in range(content, len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                return text[content:position].strip()
        start = text.rfind(r"\boxed{", 0, start)
    return None

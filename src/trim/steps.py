"""What a step is: where it ends, when it is empty of content, when it holds the answer."""

from __future__ import annotations

from collections.abc import Iterable

SEPARATOR = "\n\n"
"""A blank line ends a step. It belongs to the step it ends."""
MAX_STEPS = 30
"""Steps that a solution may have (arXiv 2601.10245)."""


def split_steps(solution: str) -> list[str]:
    """The steps of a solution's text; runs of blank lines count as one separator."""
    return [step for step in (part.strip() for part in solution.split(SEPARATOR)) if step]


def join_steps(question: str, steps: Iterable[str]) -> str:
    """The prefix that a model continues: question and steps, each ended by the separator."""
    return "".join(part + SEPARATOR for part in (question, *steps))


def is_degenerate(step: str) -> bool:
    """Whether a step has no letter and no digit, such as a ruler `---`."""
    return not any(character.isalnum() for character in step)


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

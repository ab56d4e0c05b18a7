"""Who says whether an answer is right."""

from __future__ import annotations

from typing import Protocol


class Grader(Protocol):
    """Compares the text of an answer with that of the reference; knows nothing else."""

    def grade(self, answer: str | None, reference: str) -> bool:
        """Whether the answer is right.

        Args:
            answer: what stands in the solution's last `\\boxed{}`; None without one is wrong.
            reference: the right answer, as the data set writes it.
        """
        ...

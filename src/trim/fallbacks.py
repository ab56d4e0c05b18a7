"""What is done when a model or the scorer does not answer."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

from trim.errors import InvalidInput, ModelUnavailable


class Fallback(StrEnum):
    """What becomes of a step that a part did not answer for."""

    KEEP = "keep"
    """What has been written of the step is kept; the weak model drafts where nothing was."""
    ESCALATE = "escalate"
    """The next stronger model writes it."""
    FAIL = "fail"
    """The problem ends, with the reason in its trace."""


KEEP, ESCALATE, FAIL = Fallback
POSSIBLE = {
    "weak": (FAIL, ESCALATE),
    "middle": (FAIL, ESCALATE, KEEP),
    "strong": (FAIL, KEEP),
    "scorer": (FAIL, KEEP, ESCALATE),
}


@dataclass(frozen=True)
class Fallbacks:
    """The fallback for each part, taken after its retries.

    Attributes:
        weak: fail or escalate.
        middle: fail, keep or escalate; of the models between weak and strong.
        strong: fail or keep.
        scorer: fail, keep or escalate: the policy is not asked about a draft without a score,
            which gets one together with the next draft.

    Raises:
        InvalidInput: a part has no such fallback.
    """

    weak: Fallback = FAIL
    middle: Fallback = FAIL
    strong: Fallback = FAIL
    scorer: Fallback = FAIL

    def __post_init__(self) -> None:
        for field in fields(self):
            chosen, possible = getattr(self, field.name), POSSIBLE[field.name]
            if chosen not in possible:
                raise InvalidInput(
                    f"fallback of {field.name}: {chosen!s} is none of {', '.join(possible)}"
                )

    def after(self, part: str, failure: ModelUnavailable) -> Fallback:
        """KEEP or ESCALATE; raises `failure` where the problem is to end."""
        chosen: Fallback = getattr(self, part)
        if chosen is FAIL:
            raise failure
        return chosen

"""How a router works, apart from its models, scorer and policy."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum

from trim.costs import Prices
from trim.errors import InvalidInput, ModelUnavailable
from trim.models.model import Sampling
from trim.steps import MAX_STEPS

DEFAULT_POLICY = "thr:0.5"
"""The policy where none is named."""


class End(StrEnum):
    """What ends a solution, besides its limits."""

    BOX = "box"
    r"""A kept step with the answer in a `\boxed{}`, or the end token of its author."""
    MODEL = "model"
    """The end token alone; a box is text like any other."""


@dataclass(frozen=True)
class Rules:
    r"""How a solution continues and ends; docs/concepts/protocols.md compares the protocols.

    Whoever wrote the step that was *kept* decides, and a step that was cut at its token limit is
    always the last one.

    Attributes:
        ends: what ends a solution.
        open_box: with `End.BOX`, whether the words `boxed{` end it, closed or not.
        asks_on: whether an author that ended its text without a box is asked for another step.
        rejoins: whether steps are texts that are cut at the first blank line and joined again by
            one. Further line ends are then lost, and so is a step without content once the model
            has been asked again; else all bytes are kept.
        context: tokens that prompt and step may have together; None for the engine's own limit.
    """

    ends: End = End.BOX
    open_box: bool = False
    asks_on: bool = False
    rejoins: bool = False
    context: int | None = None


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
        for part in fields(self):
            chosen, possible = getattr(self, part.name), POSSIBLE[part.name]
            if chosen not in possible:
                raise InvalidInput(
                    f"fallback of {part.name}: {chosen!s} is none of {', '.join(possible)}"
                )

    def after(self, part: str, failure: ModelUnavailable) -> Fallback:
        """KEEP or ESCALATE; raises `failure` where the problem is to end."""
        chosen: Fallback = getattr(self, part)
        if chosen is FAIL:
            raise failure
        return chosen


class PrefillMode(StrEnum):
    """After which kept steps the strong model's cache is filled in the background."""

    NEVER = "never"
    ALWAYS = "always"
    LIKELY = "likely"
    """After those that the policy has its doubts about (`Policy.expects_intervention`)."""


@dataclass(frozen=True)
class RouterConfig:
    """Settings of a router: sampling, limits, fallbacks, background work and prices.

    A limit of None means no limit.

    Attributes:
        sampling: of all models.
        max_steps: steps of a solution.
        max_tokens: tokens of all kept steps of a solution together.
        max_seconds: seconds of a problem; after that, requests over HTTP fail as if the
            server were down.
        max_strong_tokens: once the strong model has decoded this many tokens for a problem, it
            is not called again. It can exceed the limit by less than one step.
            A policy may set a lower limit (`Policy.max_strong_tokens`).
        max_money: once a problem has cost this much, the strong model is not called again.
        prices: for `max_money`.
        fallbacks: what to do when a model or the scorer is unavailable.
        overlap: draft the next step while the current one is scored. Texts and decisions do not
            change; drafts that turn out useless cost tokens (`Trace.dropped_tokens`).
        prefill: when the strong model reads kept steps before it has to write.
        rules: how a solution continues and ends.
        stops: texts that end the solution when a kept step contains one.

    Raises:
        InvalidInput: a limit is out of range.
    """

    sampling: Sampling = field(default_factory=Sampling)
    max_steps: int | None = MAX_STEPS
    max_tokens: int | None = None
    max_seconds: float | None = None
    max_strong_tokens: int | None = None
    max_money: float | None = None
    prices: Prices = field(default_factory=Prices)
    fallbacks: Fallbacks = field(default_factory=Fallbacks)
    overlap: bool = False
    prefill: PrefillMode = PrefillMode.NEVER
    rules: Rules = field(default_factory=Rules)
    stops: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_steps is not None and self.max_steps < 1:
            raise InvalidInput(f"max_steps {self.max_steps}: a solution needs at least one step")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InvalidInput(f"max_tokens {self.max_tokens}: a solution needs at least one token")
        if self.max_strong_tokens is not None and self.max_strong_tokens < 0:
            raise InvalidInput(
                f"max_strong_tokens {self.max_strong_tokens}: must be a number of tokens from 0 up"
            )
        if self.max_money is not None and not self.max_money >= 0:
            raise InvalidInput(f"max_money {self.max_money:g}: must be an amount from 0 up")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise InvalidInput(f"max_seconds {self.max_seconds:g}: must be above 0, as in 600")

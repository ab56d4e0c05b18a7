"""The settings of a router, apart from its models, scorer and policy."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum

from trim.costs import Prices
from trim.errors import InvalidInput, ModelUnavailable
from trim.models.model import Sampling
from trim.steps import MAX_STEPS

DEFAULT_POLICY = "thr:0.5"
"""The default policy."""


class End(StrEnum):
    """Events that end a solution, besides its limits."""

    BOX = "box"
    r"""A kept step with the answer in a `\boxed{}`, or the end token of its author."""
    MODEL = "model"
    """The end token only; a box is ordinary text."""


@dataclass(frozen=True)
class Rules:
    r"""How a solution continues and ends; docs/concepts/protocols.md compares the protocols.

    The author of the *kept* step decides, and a step that was cut at its token limit is always the
    last one.

    Attributes:
        ends: what ends a solution.
        open_box: with `End.BOX`, whether an unclosed `boxed{` ends it as well.
        asks_on: whether an author that ended its text without a box writes another step.
        rejoins: whether steps are cut at the first blank line and joined by one. Further line ends
            are then lost, and so is a step without content once the model has tried again; else
            all bytes are kept.
        context: maximum tokens of prompt and step together; None for the engine's own limit.
        keeps_fences: whether a blank line inside a fenced block of code ends no step.
    """

    ends: End = End.BOX
    open_box: bool = False
    asks_on: bool = False
    rejoins: bool = False
    context: int | None = None
    keeps_fences: bool = False


class Fallback(StrEnum):
    """What to do about a step when a model or the scorer is unavailable."""

    KEEP = "keep"
    """Keep the newest version of the step; without one, the weak model drafts it."""
    ESCALATE = "escalate"
    """The next stronger model writes the step."""
    FAIL = "fail"
    """End the problem, with the reason in its trace."""


KEEP, ESCALATE, FAIL = Fallback
POSSIBLE = {
    "weak": (FAIL, ESCALATE),
    "intermediate": (FAIL, ESCALATE, KEEP),
    "strong": (FAIL, KEEP),
    "scorer": (FAIL, KEEP, ESCALATE),
}


@dataclass(frozen=True)
class Fallbacks:
    """The fallback for each part, taken after its retries.

    Attributes:
        weak: fail or escalate.
        intermediate: fail, keep or escalate.
        strong: fail or keep.
        scorer: fail, keep or escalate. The policy does not decide about a draft without a score;
            it is scored together with the next draft.

    Raises:
        InvalidInput: a part does not support the fallback.
    """

    weak: Fallback = FAIL
    intermediate: Fallback = FAIL
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
        """KEEP or ESCALATE; raises `failure` for FAIL."""
        chosen: Fallback = getattr(self, part)
        if chosen is FAIL:
            raise failure
        return chosen


class PrefillMode(StrEnum):
    """After which kept steps the strong model's cache is filled in the background."""

    NEVER = "never"
    ALWAYS = "always"
    LIKELY = "likely"
    """After steps from which the policy expects an intervention (`Policy.expects_intervention`)."""


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
            change; drafts that turn out useless cost tokens (`Trace.dropped_tokens`), and so use
            up `max_money` earlier.
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

"""The parts of a configuration that say how problems are solved, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from trim.config import End, Fallback, PrefillMode
from trim.configuration.section import Positive, Seconds, Section, said
from trim.models.model import Sampling

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
USUAL = Sampling()


class FallbacksSection(Section):
    """What is done where a part does not answer (`trim.config.Fallbacks`)."""

    weak: Literal[Fallback.FAIL, Fallback.ESCALATE] = Fallback.FAIL
    between: Fallback = Fallback.FAIL
    strong: Literal[Fallback.FAIL, Fallback.KEEP] = Fallback.FAIL
    scorer: Fallback = Fallback.FAIL


class RoutingSection(Section):
    """How steps are routed.

    Attributes:
        policy: as on the command line; `router` names the file of `trim calibrate` instead.
        max_steps: steps that a solution may have; None for the task's: 30 of a problem, and any
            number in a chat.
        ends: what ends a solution (`trim.config`); None for the task's: a box ends that of a
            problem, and the model's own end an answer in a chat.
        max_seconds: after so many for a problem, servers are asked no more.
        max_strong_tokens: of a problem, after which the weak model drafts on.
        overlap: draft the next step while this one is scored.
        warming: when the strong model reads accepted steps ahead of time.
        concurrency: problems under way together.
    """

    policy: str | None = None
    router: Path | None = None
    max_steps: Positive | None = None
    ends: End | None = None
    max_seconds: Seconds | None = None
    max_strong_tokens: Annotated[int, Field(ge=0)] | None = None
    overlap: bool = False
    warming: PrefillMode = PrefillMode.NEVER
    fallbacks: FallbacksSection = FallbacksSection()
    concurrency: Positive = 16

    @model_validator(mode="after")
    def require_one_policy(self) -> RoutingSection:
        if self.policy and self.router:
            raise said("name policy or router, not both")
        return self

    @property
    def spec(self) -> str | None:
        """The policy as on the command line."""
        return f"router:{self.router}" if self.router else self.policy


class SamplingSection(Section):
    """How a step is sampled (`trim.models.model.Sampling`)."""

    temperature: Amount = USUAL.temperature
    top_p: Annotated[float, Field(gt=0, le=1)] = USUAL.top_p
    top_k: Annotated[int, Field(ge=0)] = USUAL.top_k
    max_tokens: Positive = USUAL.max_tokens


class PriceSection(Section):
    """Money for a million tokens of each kind."""

    prompt: Amount = 0.0
    cached: Amount = 0.0
    output: Amount = 0.0


class PricesSection(Section):
    """A price list (`trim.costs.Prices`); a part without prices is free."""

    weak: PriceSection | None = None
    between: tuple[PriceSection, ...] = ()
    strong: PriceSection | None = None
    scorer: PriceSection | None = None


class RouterSection(Section):
    """A router that a request may choose by name, as `trim:NAME`.

    Attributes:
        policy: as on the command line; `router` names the file of `trim calibrate` instead.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$")]
    policy: str | None = None
    router: Path | None = None

    @model_validator(mode="after")
    def require_one_policy(self) -> RouterSection:
        if (self.policy is None) == (self.router is None):
            raise said("name policy or router, one of the two")
        return self

    @property
    def spec(self) -> str:
        return self.policy or f"router:{self.router}"


class ServerSection(Section):
    """What a server offers besides the usual router.

    Attributes:
        curve: `summary.json` of `trim eval`, from which routers are chosen by what they cost.
        target_share: of strong tokens, which the usual router is held at.
        passthrough: the model that is handed what routing cannot serve; None where that is
            refused.
        belief: file of `trim fit`, from which the page shows what scores let one believe.
    """

    routers: tuple[RouterSection, ...] = ()
    curve: Path | None = None
    target_share: Annotated[float, Field(ge=0, le=1)] | None = None
    passthrough: Literal["weak", "strong"] | None = None
    belief: Path | None = None

    @model_validator(mode="after")
    def require_names(self) -> ServerSection:
        names = [router.name for router in self.routers]
        if len(set(names)) < len(names):
            raise said("two routers have one name")
        return self

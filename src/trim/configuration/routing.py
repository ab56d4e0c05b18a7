"""The sections `routing`, `sampling`, `prices` and `server`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from trim.config import End, Fallback, PrefillMode
from trim.configuration.section import AtOnce, Positive, Seconds, Section, invalid
from trim.costs import CODE, LARGEST_PRICE
from trim.models.model import Sampling

Amount = Annotated[float, Field(ge=0, le=LARGEST_PRICE, allow_inf_nan=False)]
USUAL = Sampling()


class FallbacksSection(Section):
    """What to do when a model or the scorer is unavailable (`trim.config.Fallbacks`)."""

    weak: Literal[Fallback.FAIL, Fallback.ESCALATE] = Fallback.FAIL
    intermediate: Fallback = Fallback.FAIL
    strong: Literal[Fallback.FAIL, Fallback.KEEP] = Fallback.FAIL
    scorer: Fallback = Fallback.FAIL


def compiled(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise invalid(f"not a regular expression of Python: {error}") from None
    return pattern


Pattern = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(compiled)]


class ScopeSection(Section):
    """Which requests are routed step by step (`trim.policies.scope.Scope`); all that is given must
    hold.

    Attributes:
        question: a regular expression that the user's last message must contain.
        system: a regular expression that the system messages must contain.
        classifier: file of `trim fit-scope`.
        threshold: the least probability by the classifier that a question needs reasoning.
        rest: the model that answers all other requests whole, as `weak`, `intermediate.0`,
            `strong`.
    """

    question: Pattern | None = None
    system: Pattern | None = None
    classifier: Path | None = None
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    rest: str

    @model_validator(mode="after")
    def require_condition(self) -> ScopeSection:
        if self.question is None and self.system is None and self.classifier is None:
            raise invalid(
                "name what is routed: a pattern as question or system, or a file of"
                " `trim fit-scope` as classifier; without scope everything is"
            )
        return self


class RoutingSection(Section):
    """How steps are routed.

    Attributes:
        policy: as on the command line.
        router: file of `trim calibrate`, in place of `policy`.
        max_steps: maximum steps of a solution; None for 30 in an evaluation and no limit in a
            chat.
        ends: what ends a solution (`trim.config.End`); None for a boxed answer in an evaluation
            and the model's own end in a chat.
        max_seconds: time limit of a problem.
        max_strong_tokens: maximum strong tokens of a problem; the weak model then drafts on.
        overlap: draft the next step while the current one is scored.
        prefill: when the strong model reads kept steps in advance (`trim.config.PrefillMode`).
        concurrency: problems that an evaluation solves at a time.
        scope: the requests to a server, and the problems of `trim solve`, that are routed; None
            for all.
        fences: whether a step ends at blank lines inside a fenced block of code; None for
            `split` in an evaluation and `keep` in a chat.
    """

    policy: str | None = None
    router: Path | None = None
    max_steps: Positive | None = None
    ends: End | None = None
    max_seconds: Seconds | None = None
    max_strong_tokens: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    overlap: bool = False
    prefill: PrefillMode = PrefillMode.NEVER
    fallbacks: FallbacksSection = FallbacksSection()
    concurrency: AtOnce = 16
    scope: ScopeSection | None = None
    fences: Literal["keep", "split"] | None = None

    @model_validator(mode="after")
    def require_one_policy(self) -> RoutingSection:
        if self.policy and self.router:
            raise invalid("name policy or router, not both")
        return self

    @property
    def spec(self) -> str | None:
        """The policy as on the command line."""
        return f"router:{self.router}" if self.router else self.policy


class SamplingSection(Section):
    """How a step is sampled (`trim.models.model.Sampling`)."""

    temperature: Amount = USUAL.temperature
    top_p: Annotated[float, Field(gt=0, le=1)] = USUAL.top_p
    top_k: Annotated[int, Field(ge=0, le=2**31 - 1)] = USUAL.top_k
    max_tokens: Positive = USUAL.max_tokens


class PriceSection(Section):
    """Money per million tokens: prompt, cached prompt (by default as prompt), output."""

    prompt: Amount = 0.0
    cached: Amount | None = None
    output: Amount = 0.0


class PricesSection(Section):
    """A price list (`trim.costs.Prices`); parts without prices are free."""

    currency: Annotated[str, Field(pattern=f"^{CODE}$")] | None = None

    weak: PriceSection | None = None
    intermediate: tuple[PriceSection, ...] = ()
    strong: PriceSection | None = None
    scorer: PriceSection | None = None


class RouterSection(Section):
    """A router that a request selects as the model `trim:NAME`.

    Attributes:
        policy: as on the command line.
        router: file of `trim calibrate`, in place of `policy`.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$")]
    policy: str | None = None
    router: Path | None = None

    @model_validator(mode="after")
    def require_one_policy(self) -> RouterSection:
        if (self.policy is None) == (self.router is None):
            raise invalid("name either policy or router")
        return self

    @property
    def spec(self) -> str:
        return self.policy or f"router:{self.router}"


def host(given: str) -> str:
    if not re.fullmatch(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+", given):
        raise invalid(f"{given!r} is no host; name it without scheme and port, as `trim.example`")
    return given


def origin(given: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9._:\[\]-]+", given):
        raise invalid(f"{given!r} is no origin; write scheme and host, as `https://app.example`")
    return given


Host = Annotated[str, AfterValidator(host)]
Origin = Annotated[str, AfterValidator(origin)]


class ServerSection(Section):
    """Settings of `trim serve`.

    Attributes:
        routers: routers besides the default one.
        curve: `summary.json` of `trim eval`, for routers that are selected by cost.
        target_share: share of strong tokens that the default router is controlled to.
        passthrough: the model that serves requests which routing cannot; None refuses them.
        belief: file of `trim fit`, for the beliefs on the server's page.
        hosts: names by which clients reach the server, besides those of loopback. With keys none
            means any.
        origins: sites whose pages may send requests, as `https://app.example`.
    """

    routers: tuple[RouterSection, ...] = ()
    curve: Path | None = None
    target_share: Annotated[float, Field(ge=0, le=1)] | None = None
    passthrough: Literal["weak", "strong"] | None = None
    belief: Path | None = None
    hosts: tuple[Host, ...] = ()
    origins: tuple[Origin, ...] = ()

    @model_validator(mode="after")
    def require_names(self) -> ServerSection:
        names = [router.name for router in self.routers]
        if len(set(names)) < len(names):
            raise invalid("two routers have the same name; rename one")
        return self

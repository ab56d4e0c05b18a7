"""The data of a solution: actions, observations, steps, token usage and traces."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, TypeVar

from trim.legacy import current_role
from trim.steps import closed

GRADE = "grade"
"""Name of the scorer that asks the strong model for grades; it spends strong tokens."""


class Author(StrEnum):
    """Which model wrote a step."""

    WEAK = "weak"
    INTERMEDIATE = "intermediate"
    """A model between weak and strong."""
    STRONG = "strong"

    @classmethod
    def _missing_(cls, value: object) -> Author | None:
        return cls.INTERMEDIATE if value == "middle" else None  # as in traces of 0.1


class Finish(StrEnum):
    """Why a solution ended."""

    ANSWER = "answer"
    """A kept step contains the boxed answer."""
    STOP = "stop"
    """The model ended the solution without an answer, or wrote a stop string."""
    LENGTH = "length"
    """The last step was cut at its token limit or the end of the context: unfinished."""
    STEPS = "steps"
    """The limit on the number of steps was reached: unfinished."""
    TOKENS = "tokens"
    """The limit on the tokens of a solution was reached: unfinished."""
    CONTEXT = "context"
    """The next step would exceed a model's context: unfinished."""
    FAILED = "failed"
    """A model or the scorer was unavailable and there was no fallback: unfinished."""


@dataclass(frozen=True)
class Usage:
    """Tokens that one model or scorer read and wrote; `prompt_tokens` include `cached_tokens`.

    `requests` counts its answers; 0 in traces from before they were counted.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    tokens: int = 0
    requests: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.tokens + other.tokens,
            self.requests + other.requests,
        )


@dataclass(frozen=True)
class Rejected:
    """A discarded version of a step by a model between weak and strong.

    Attributes:
        level: position of the model among those between, from 1.
        score: in [0, 1]; None if it was not scored.
    """

    text: str
    tokens: int
    level: int
    score: float | None = None


@dataclass(frozen=True)
class Span:
    """A part of a kept step by one author.

    Attributes:
        tokens: those of its text, as its author decoded them.
    """

    text: str
    author: Author
    tokens: int


@dataclass(frozen=True)
class Step:
    """One kept step.

    Attributes:
        text: the step, including the blank line that ends it.
        author: the model that wrote it; the strongest one of those that wrote parts of it.
        action: what was done about the draft: the policy's decision, unless it was denied.
        score: in [0, 1], of the version that was decided last (with two models, the draft);
            None if the policy needs no scores or the scorer was unavailable.
        draft: the weak model's draft if it was discarded, else None.
        draft_tokens: tokens that the weak model decoded for this step.
        strong_tokens: tokens that the strong model decoded for this step.
        truncated: whether the kept text was cut by a token limit.
        denied: whether a limit overruled the policy's decision and the draft was kept.
        unread: number of earliest steps that did not fit the scorer's context.
        level: position of an intermediate author, from 1; 0 for weak and strong.
        intermediate_tokens: tokens that intermediate models decoded for this step.
        rejected: their discarded versions, in order.
        fallback: the unavailable part (`weak`, `intermediate`, `strong`, `scorer`) whose fallback
            (`trim.config.Fallbacks`) decided in place of the policy; None if all answered.
        spans: the parts of the step in their order where several models wrote it; joined they are
            `text`, apart from the blank line. Empty for a step by one author.
        draft_score: of the weak model's draft, where `score` is that of an intermediate model's
            version; else None.
    """

    text: str
    author: Author
    action: Action
    score: float | None = None
    draft: str | None = None
    draft_tokens: int = 0
    strong_tokens: int = 0
    truncated: bool = False
    denied: bool = False
    unread: int = 0
    level: int = 0
    intermediate_tokens: int = 0
    rejected: tuple[Rejected, ...] = ()
    fallback: str | None = None
    spans: tuple[Span, ...] = ()
    draft_score: float | None = None

    @property
    def first_score(self) -> float | None:
        """Score of the weak model's draft, which an intermediate model may have rewritten; None
        without one."""
        return self.draft_score if self.level or self.rejected else self.score

    def tokens_by(self, author: Author) -> int:
        """Tokens of the kept text that one author decoded."""
        if not self.spans:
            return self.tokens if author is self.author else 0
        return sum(span.tokens for span in self.spans if span.author is author)

    @property
    def rewrites(self) -> int:
        """Number of drafts or parts of drafts that a stronger model rewrote."""
        if self.spans:
            return sum(span.author is not Author.WEAK for span in self.spans)
        return int(self.action is not Action.CONTINUE and self.draft is not None)

    @property
    def tokens(self) -> int:
        """Tokens of the kept text, as its author decoded them."""
        if self.spans:
            return sum(span.tokens for span in self.spans)
        match self.author:
            case Author.WEAK:
                return self.draft_tokens
            case Author.INTERMEDIATE:
                return self.intermediate_tokens - sum(rejected.tokens for rejected in self.rejected)
            case Author.STRONG:
                return self.strong_tokens


@dataclass(frozen=True)
class Whole:
    """Why one model wrote an answer whole, in one request, instead of the router in steps.

    Attributes:
        role: the model that was asked for it, as in `Trace.usage`. Where its fallback wrote the
            answer, the step has another author.
        reason: a clause without a full stop.
    """

    role: str
    reason: str


@dataclass(frozen=True)
class Trace:
    """A solved problem: its steps, its answer and the tokens of each model and the scorer.

    Attributes:
        steps: kept steps in order.
        answer: content of the last boxed answer; an evaluation without one uses the
            benchmark's own extraction (`trim.grading.extraction`). None if there is no answer.
        usage: tokens by role: `weak`, `strong` and `scorer`, discarded drafts included;
            `intermediate-1`, … for intermediate models; `warming` for the strong model's prefills.
        seconds: time spent waiting for models and scorer; background work is not counted.
        scorer: name of the scorer that was asked; None if none was.
        abandoned: the steps discarded by a restart, the last draft included. `steps` are then the
            strong model's from the start, as far as its limits allow.
        dropped_tokens: tokens of speculative drafts that were not used; part of the discarded
            ones.
        failure: why the solution failed.
        whole: of an answer that is a single step, written in one request; None for a routed one.
        problem_id, correct: filled in by an evaluation.
    """

    question: str
    policy: str
    seed: int
    steps: tuple[Step, ...] = ()
    answer: str | None = None
    finish: Finish = Finish.STOP
    usage: dict[str, Usage] = field(
        default_factory=lambda: {"weak": Usage(), "strong": Usage(), "scorer": Usage()}
    )
    seconds: float = 0.0
    problem_id: str | None = None
    correct: bool | None = None
    scorer: str | None = None
    abandoned: tuple[Step, ...] = ()
    dropped_tokens: int = 0
    failure: str | None = None
    whole: Whole | None = None

    @property
    def solution(self) -> str:
        """The steps joined, byte for byte.

        Steps of traces from before 0.2 lack the blank lines between them, which are added.
        """
        *earlier, last = (step.text for step in self.steps) if self.steps else ("",)
        return "".join(map(closed, earlier)) + last

    @property
    def strong_tokens(self) -> int:
        """C(q; pi): tokens that the strong model decoded."""
        return self.usage["strong"].tokens

    @property
    def intermediate_tokens(self) -> int:
        """Tokens that intermediate models decoded."""
        return sum(
            used.tokens for role, used in self.usage.items() if role.startswith(Author.INTERMEDIATE)
        )

    @property
    def weak_tokens(self) -> int:
        """Tokens of the drafts that were kept, whole or in part."""
        return sum(step.tokens_by(Author.WEAK) for step in self.steps)

    @property
    def discarded_tokens(self) -> int:
        """Tokens of drafts that were not kept."""
        return self.usage["weak"].tokens - self.weak_tokens

    @property
    def scorer_tokens(self) -> int:
        """Tokens that the scorer read (cached ones included) or decoded."""
        return self.usage["scorer"].prompt_tokens + self.usage["scorer"].tokens

    @property
    def interventions(self) -> int:
        """Number of rewritten drafts and parts of drafts, plus one for a restart.

        A solution that the strong model writes alone from the start has none.
        """
        return bool(self.abandoned) + sum(step.rewrites for step in (*self.abandoned, *self.steps))

    @property
    def truncated_steps(self) -> int:
        return sum(step.truncated for step in self.steps)

    @property
    def fallbacks(self) -> int:
        """Steps at which a model or the scorer was unavailable."""
        return sum(step.fallback is not None for step in (*self.abandoned, *self.steps))

    @property
    def unfinished(self) -> bool:
        return self.finish not in (Finish.ANSWER, Finish.STOP)

    def to_json(self) -> dict[str, Any]:
        """All fields; `middle_tokens` are a step's intermediate tokens, as in 0.1.

        `whole` is left out of a routed solution, as before it existed.
        """
        record = asdict(self)
        if self.whole is None:
            del record["whole"]
        return record | {
            name: tuple(map(step_to_json, record[name])) for name in ("steps", "abandoned")
        }

    @staticmethod
    def from_json(record: dict[str, Any]) -> Trace:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError if malformed."""
        steps, abandoned = (
            tuple(step_from_json(step) for step in listed)
            for listed in (record["steps"], record.get("abandoned", ()))
        )
        usage = {role: usage_from_json(record["usage"][role]) for role in ROLES}
        usage |= {
            current_role(role): usage_from_json(spent) for role, spent in record["usage"].items()
        }
        whole = checked(Whole(**record["whole"])) if record.get("whole") else None
        parsed = {"steps": steps, "abandoned": abandoned, "usage": usage, "whole": whole}
        return replace(
            checked(Trace(**{**record, **parsed})),
            finish=Finish(record["finish"]),
        )


ROLES = ("weak", "strong", "scorer")
"""Those with usage in every trace."""
LARGEST_COUNT = 2**53
"""Of tokens, requests and steps: a floating-point number holds each whole number up to it."""


def is_count(value: object) -> bool:
    """Whether a value from outside is a number of tokens, requests or steps."""
    return type(value) is int and 0 <= value <= LARGEST_COUNT


def is_finite(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


KINDS: Mapping[str, Callable[[object], bool]] = {
    "str": lambda value: isinstance(value, str),
    "str | None": lambda value: value is None or isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "bool | None": lambda value: value is None or isinstance(value, bool),
    "int": is_count,
    "float": is_finite,
    "float | None": lambda value: value is None or is_finite(value),
}
"""Checks of fields from JSON, by their annotation."""

Checked = TypeVar("Checked", bound="Usage | Rejected | Span | Step | Whole | Trace")


def checked(made: Checked) -> Checked:
    """Returns what was made of JSON. Raises ValueError if a field has another type or range."""
    for each in fields(made):
        value = getattr(made, each.name)
        if each.name == "seed":
            sound = type(value) is int
        else:
            sound = each.type not in KINDS or KINDS[str(each.type)](value)
        if not sound:
            raise ValueError(f"{each.name} is not {each.type}")
    return made


def usage_from_json(record: Mapping[str, Any]) -> Usage:
    """Raises TypeError or ValueError if a field is not a token count."""
    return checked(Usage(**record))


TOKENS_IN_JSON = "middle_tokens"
LATER: Mapping[str, Any] = {"spans": (), "draft_score": None}
"""Fields of a step that are left out at these values, as before they existed."""


def step_to_json(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a step in their order, with the name of 0.1 for its intermediate tokens."""
    renamed = {"intermediate_tokens": TOKENS_IN_JSON}
    return {
        renamed.get(name, name): value
        for name, value in fields.items()
        if name not in LATER or value != LATER[name]
    }


def step_from_json(record: dict[str, Any]) -> Step:
    author, action = Author(record["author"]), Action(record["action"])
    rejected = tuple(checked(Rejected(**version)) for version in record.get("rejected", ()))
    spans = tuple(
        checked(Span(**{**span, "author": Author(span["author"])}))
        for span in record.get("spans", ())
    )
    parsed = {"author": author, "action": action, "rejected": rejected, "spans": spans}
    given = {**record, **parsed}
    if TOKENS_IN_JSON in given:
        given["intermediate_tokens"] = given.pop(TOKENS_IN_JSON)
    if given.get("fallback"):
        given["fallback"] = current_role(given["fallback"])
    return checked(Step(**given))


class Action(StrEnum):
    """What to do with a draft."""

    CONTINUE = "continue"
    """Keep it."""
    REGENERATE = "regenerate"
    """Discard it; the strong model writes this step, the weak one drafts the next."""
    TAKE_OVER = "take_over"
    """Discard it; the strong model writes this step and the rest of the solution."""
    RESTART = "restart"
    """Discard it and all earlier steps; the strong model writes the solution from the start."""


@dataclass(frozen=True)
class Observation:
    """The state on which a policy decides about step t, the newest one, a draft.

    Attributes:
        question: the problem.
        steps: texts of the steps 1..t, the draft last.
        scores: r_1..r_t in [0, 1]; empty if the policy needs none.
        tokens: c_1..c_t, tokens decoded for each of those steps by its author.
        actions: the decisions at steps 1..t-1.
        seed: the run's seed, for policies that draw random numbers.
        last: whether the solution ends with this draft if it is kept: it contains the answer or
            a stop string, the model stopped or was cut, or a limit on steps or tokens is reached.
        answered: whether the solution then has an answer: a box, or the author ended it.
    """

    question: str
    steps: tuple[str, ...]
    scores: tuple[float, ...]
    tokens: tuple[int, ...]
    actions: tuple[Action, ...]
    seed: int
    last: bool = False
    answered: bool = False

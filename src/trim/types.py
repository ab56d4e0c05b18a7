"""The data of a solution: actions, observations, steps, token usage and traces."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from trim.legacy import current_role
from trim.steps import closed

GRADE = "grade"
"""Name of the scorer that asks the strong model for grades, which cost its tokens."""


class Author(StrEnum):
    """Which model wrote a step."""

    WEAK = "weak"
    INTERMEDIATE = "intermediate"
    """One of the models between weak and strong."""
    STRONG = "strong"

    @classmethod
    def _missing_(cls, value: object) -> Author | None:
        return cls.INTERMEDIATE if value == "middle" else None  # as in traces of 0.1


class Finish(StrEnum):
    """Why a solution ended."""

    ANSWER = "answer"
    """A kept step holds the boxed answer."""
    STOP = "stop"
    """The model ended the solution by itself, without an answer, or wrote a text to stop at."""
    LENGTH = "length"
    """The last step was cut at its token limit, or at the end of the context: unfinished."""
    STEPS = "steps"
    """The limit on the number of steps was reached: unfinished."""
    TOKENS = "tokens"
    """The limit on the tokens of a solution was reached: unfinished."""
    CONTEXT = "context"
    """The next step no longer fits a model's context: unfinished."""
    FAILED = "failed"
    """A model or the scorer did not answer, and the fallback was to fail: unfinished."""


@dataclass(frozen=True)
class Usage:
    """Tokens that one model or scorer read and wrote; `cached_tokens` are part of the prompt's."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.tokens + other.tokens,
        )


@dataclass(frozen=True)
class Rejected:
    """What a model between weak and strong wrote for a step, and was discarded as well.

    Attributes:
        level: the model's place among those between, from 1.
        score: in [0, 1]; None where it has none.
    """

    text: str
    tokens: int
    level: int
    score: float | None = None


@dataclass(frozen=True)
class Step:
    """One kept step.

    Attributes:
        text: as it was written, the blank line that ends it included.
        author: which model wrote it.
        action: what was done about the draft: the policy's decision, unless that was denied.
        score: in [0, 1], of the version that was decided about last: the draft's, with two
            models; None where the policy needs no scores or the scorer did not answer.
        draft: the weak model's draft where it was discarded, else None.
        draft_tokens: tokens that the weak model decoded for this step.
        strong_tokens: tokens that the strong model decoded for this step.
        truncated: whether the kept text was cut by a token limit.
        denied: whether the policy wished for the strong model and had spent the problem's
            strong tokens, so that the draft was kept.
        unread: earliest steps that the scorer did not read, for the trace was too long for it.
        level: place of an intermediate author, from 1; 0 for weak and strong.
        intermediate_tokens: tokens that intermediate models decoded for this step.
        rejected: what they wrote that was discarded, in order.
        fallback: the unavailable part (`weak`, `intermediate`, `strong`, `scorer`) whose fallback
            decided in place of the policy; None if all answered.
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

    @property
    def tokens(self) -> int:
        """Tokens of the kept text, as its author decoded them."""
        match self.author:
            case Author.WEAK:
                return self.draft_tokens
            case Author.INTERMEDIATE:
                return self.intermediate_tokens - sum(rejected.tokens for rejected in self.rejected)
            case Author.STRONG:
                return self.strong_tokens


@dataclass(frozen=True)
class Trace:
    """A solved problem: its steps, its answer and the tokens of every part.

    Attributes:
        steps: kept steps in order.
        answer: content of the last boxed answer; in an evaluation, where there is none, what the
            benchmark takes for it (`trim.grading.extraction`). None without one.
        usage: tokens of `weak`, `strong` and `scorer`, discarded drafts included; of
            `intermediate-1` and on, if there are intermediate models; and of `warming`, the strong
            model's prefills.
        seconds: time spent waiting for models and scorer; what was done meanwhile takes none.
        scorer: name of the scorer that was asked, None without one.
        abandoned: where the policy chose to restart, the solution that was thrown away,
            its last draft included, and `steps` are the strong model's from the start, as far
            as its tokens may go.
        dropped_tokens: tokens of drafts that were begun ahead of a decision, which then was
            against them; part of the discarded ones.
        failure: why a failed solution failed.
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

    @property
    def solution(self) -> str:
        """The steps joined, byte for byte.

        Traces of before 0.2 hold steps without the blank lines between them.
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
        """Tokens of the drafts that were kept."""
        return sum(step.draft_tokens for step in self.steps if step.author is Author.WEAK)

    @property
    def discarded_tokens(self) -> int:
        """Tokens that the weak model decoded for nothing."""
        return self.usage["weak"].tokens - self.weak_tokens

    @property
    def scorer_tokens(self) -> int:
        """Tokens that the scorer read, cached ones included, or decoded."""
        return self.usage["scorer"].prompt_tokens + self.usage["scorer"].tokens

    @property
    def interventions(self) -> int:
        """Decisions against a draft: steps that the strong model rewrote, and a restart.

        A solution that it writes alone from the beginning has none.
        """
        return bool(self.abandoned) + sum(
            step.action is not Action.CONTINUE and step.draft is not None
            for step in (*self.abandoned, *self.steps)
        )

    @property
    def truncated_steps(self) -> int:
        return sum(step.truncated for step in self.steps)

    @property
    def fallbacks(self) -> int:
        """Steps at which a part did not answer."""
        return sum(step.fallback is not None for step in (*self.abandoned, *self.steps))

    @property
    def unfinished(self) -> bool:
        return self.finish not in (Finish.ANSWER, Finish.STOP)

    def to_json(self) -> dict[str, Any]:
        """All fields; `middle_tokens` are a step's intermediate tokens, as in 0.1."""
        record = asdict(self)
        return record | {
            name: tuple(map(step_to_json, record[name])) for name in ("steps", "abandoned")
        }

    @staticmethod
    def from_json(record: dict[str, Any]) -> Trace:
        """The inverse of `to_json`; KeyError, TypeError or ValueError on another shape."""
        steps, abandoned = (
            tuple(step_from_json(step) for step in listed)
            for listed in (record["steps"], record.get("abandoned", ()))
        )
        usage = {role: Usage(**record["usage"][role]) for role in ("weak", "strong", "scorer")}
        usage |= {current_role(role): Usage(**spent) for role, spent in record["usage"].items()}
        return replace(
            Trace(**{**record, "steps": steps, "abandoned": abandoned, "usage": usage}),
            finish=Finish(record["finish"]),
        )


TOKENS_IN_JSON = "middle_tokens"


def step_to_json(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a step in their order, with the name of 0.1 for its intermediate tokens."""
    renamed = {"intermediate_tokens": TOKENS_IN_JSON}
    return {renamed.get(name, name): value for name, value in fields.items()}


def step_from_json(record: dict[str, Any]) -> Step:
    author, action = Author(record["author"]), Action(record["action"])
    rejected = tuple(Rejected(**version) for version in record.get("rejected", ()))
    fields = {**record, "author": author, "action": action, "rejected": rejected}
    if TOKENS_IN_JSON in fields:
        fields["intermediate_tokens"] = fields.pop(TOKENS_IN_JSON)
    if fields.get("fallback"):
        fields["fallback"] = current_role(fields["fallback"])
    return Step(**fields)


class Action(StrEnum):
    """What to do with a draft."""

    CONTINUE = "continue"
    """Keep it."""
    REGENERATE = "regenerate"
    """Discard it; the strong model writes this step, the weak one drafts the next."""
    TAKE_OVER = "take_over"
    """Discard it; the strong model writes this step and the rest of the solution."""
    RESTART = "restart"
    """Discard it with all steps before; the strong model writes the whole solution anew."""


@dataclass(frozen=True)
class Observation:
    """What a policy sees when step t (the newest, a draft) is to be decided.

    Attributes:
        question: the problem.
        steps: texts of the steps 1..t, the draft last.
        scores: r_1..r_t in [0, 1]; empty where the policy needs none.
        tokens: c_1..c_t, tokens decoded for each of those steps by its author.
        actions: the decisions at steps 1..t-1.
        seed: the run's seed, for policies that draw random numbers.
        last: whether the solution ends with this draft if it is kept: it holds the
            answer, the model has stopped or was cut, or there may be no more steps.
        answered: whether there is an answer in it then: a box, or its author has ended it.
    """

    question: str
    steps: tuple[str, ...]
    scores: tuple[float, ...]
    tokens: tuple[int, ...]
    actions: tuple[Action, ...]
    seed: int
    last: bool = False
    answered: bool = False

"""The router's decision: keep a draft, or pay for the strong model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

from trim.errors import InvalidInput
from trim.scorers.scorer import Scorer
from trim.types import Action, Observation


class States(NamedTuple):
    """Probabilities of the hidden states of a solution whose newest step is a draft.

    Attributes:
        right: every step is right.
        repairable: only the draft is wrong, so that rewriting it mends the solution.
        lost: an earlier step is wrong.
    """

    right: float
    repairable: float
    lost: float


@dataclass(frozen=True)
class Explanation:
    """What a policy says of a decision.

    Attributes:
        reason: a clause without a full stop, as `score 0.31 is below 0.5`.
        states: what the policy believes; None where it has no belief.
    """

    reason: str
    states: States | None = None


def compared(what: str, value: float, limit: float) -> str:
    """`score 0.31 is below 0.5`, with as many digits as show on which side it lies."""
    below = value < limit
    roundings = (f"{value:.{digits}f}" for digits in range(2, 17))
    shown = next((text for text in roundings if (float(text) < limit) == below), repr(value))
    return f"{what} {shown} {'is below' if below else 'is not below'} {limit:.12g}"


DOUBTFUL = 0.9
"""A newest score below this is taken for a doubt about what comes next."""


def named(family: str, setting: float) -> str:
    """`thr:0.5`: family and setting in as few digits as say exactly which it is."""
    short = f"{setting:g}"
    return f"{family}:{short if float(short) == setting else repr(setting)}"


class Policy(ABC):
    """A router. A new one needs `decide`, and a name that says its setting.

    Attributes:
        needs_scores: whether drafts must be scored before `decide` is asked.
        scorer: the kind of score it is made for, one of `trim.scorers.scorer.KINDS`; None
            where it works with whichever a run has.
        max_strong_tokens: the limit of strong tokens a problem that it is made for
            (`trim.router.Router`); None where it has none.
        models: sha256 of each model file it was fitted to, by role (`weak`, `strong`,
            `scorer`); empty where it was not fitted, or its file does not say.
        restarts: whether it may throw away steps that were kept (RESTART), so that nothing
            is certain before the end.
    """

    needs_scores = True
    restarts: bool = False
    scorer: str | None = None
    max_strong_tokens: int | None = None
    models: Mapping[str, str] = MappingProxyType({})

    @property
    @abstractmethod
    def name(self) -> str:
        """Family and setting, as on the command line: `thr:0.5`."""

    def begin(self, question: str) -> Action:
        """Decide before anything is drafted: CONTINUE with a draft, or TAKE_OVER at once."""
        return Action.CONTINUE

    def is_doubtful(self, observation: Observation) -> bool:
        """Whether an intervention at the step after the newest is likely, should that be kept.

        Nothing is decided by it, only whether the strong model reads in advance
        (`trim.config`). Here: where the newest score is below `DOUBTFUL`.
        """
        return bool(observation.scores) and observation.scores[-1] < DOUBTFUL

    @abstractmethod
    def decide(self, observation: Observation) -> Action:
        """Decide about the newest draft."""

    def explain(self, observation: Observation) -> Explanation:
        """Why `decide` decides so, for people; nothing is decided by it.

        One without steps is about `begin`, of policies that may decide there.
        """
        return Explanation(f"{self.name} does not say why")


@dataclass(frozen=True, kw_only=True)
class FittedPolicy(Policy):
    """What all of them know of their file.

    Attributes:
        label: tells the files of one family apart; empty where there is only one.
        models: as in `Policy`.
    """

    label: str = ""
    models: Mapping[str, str] = field(default_factory=dict)

    def named(self, family: str, setting: float) -> str:
        """`agg:0.004`, or with a label `agg(chain):0.004`."""
        return named(f"{family}({self.label})" if self.label else family, setting)


P = TypeVar("P", bound=Policy)


@dataclass(frozen=True)
class Priced(Generic[P]):
    """What a fitted file holds, read once.

    Attributes:
        lowest, highest: the range, in right answers a strong token.
        prices: the usual sweep, falling, each within the range.
        at: the policy at a price; InvalidInput where learned ones were not trained for it.
    """

    lowest: float
    highest: float
    prices: tuple[float, ...]
    at: Callable[[float], P]

    def policies(self, prices: Sequence[float] = ()) -> list[P]:
        """A policy for each price, by default for the usual sweep."""
        return [self.at(price) for price in prices or self.prices]


def choose_scorer(
    policy: Policy, scorer: Scorer | None, kinds: Mapping[str, Scorer]
) -> Scorer | None:
    """`scorer`, unless the policy is made for one kind of score (`Policy.scorer`).

    Raises:
        InvalidInput: `kinds` lacks that kind.
    """
    if policy.scorer is None or not policy.needs_scores:
        return scorer
    if policy.scorer not in kinds:
        raise InvalidInput(
            f"policy {policy.name!r} needs a scorer of the kind {policy.scorer!r};"
            f" there is {', '.join(kinds) or 'none'}"
        )
    return kinds[policy.scorer]


def needs_entropy(policies: Iterable[Policy], default: str | None) -> bool:
    """Whether any of the policies, run with the kind `default`, is scored by first entropies."""
    return any(
        policy.needs_scores and (policy.scorer or default) == "entropy" for policy in policies
    )

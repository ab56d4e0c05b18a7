"""The routing policy: keep a draft, or pay for the strong model."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

from trim.errors import InvalidInput
from trim.models.model import Token
from trim.policies.span import Extent
from trim.scorers.scorer import Scorer
from trim.types import Action, Observation


class Belief(NamedTuple):
    """Probabilities of the hidden states of a solution whose newest step is a draft; sum 1.

    Attributes:
        right: P(S0), every step is right.
        repairable: P(S2), only the draft is wrong; rewriting it repairs the solution.
        lost: P(S1), an earlier step is wrong.
    """

    right: float
    repairable: float
    lost: float


@dataclass(frozen=True)
class Explanation:
    """Why a policy decided as it did.

    Attributes:
        reason: a clause without a full stop, such as `score 0.31 is below 0.5`.
        belief: over the hidden states; None for policies without one.
    """

    reason: str
    belief: Belief | None = None


@dataclass(frozen=True)
class TokenObservation:
    """The state on which a policy decides about the newest token of a draft.

    Attributes:
        question: the problem.
        steps: texts of the kept steps.
        begun: the step before the draft, where the weak model has gone on after another one.
        position: number of its tokens.
        draft: the draft's tokens so far; the text of the newest one is empty where the model ends
            the solution.
        seed: the run's seed.
    """

    question: str
    steps: tuple[str, ...]
    begun: str
    position: int
    draft: tuple[Token, ...]
    seed: int

    @property
    def token(self) -> Token:
        """The newest token."""
        return self.draft[-1]

    @property
    def before(self) -> str:
        """The step before the newest token."""
        return self.begun + "".join(token.text for token in self.draft[:-1])


def describe_comparison(quantity: str, value: float, limit: float) -> str:
    """`score 0.31 is below 0.5`, with enough digits to put `value` on its side of `limit`."""
    below = value < limit
    roundings = (f"{value:.{digits}f}" for digits in range(2, 17))
    shown = next((text for text in roundings if (float(text) < limit) == below), repr(value))
    return f"{quantity} {shown} {'is below' if below else 'is not below'} {limit:.12g}"


LOW_SCORE = 0.9
"""After a score below this, `Policy.expects_intervention` expects an intervention."""


COMMON = re.compile(r"(::\d+|\+tail:.*)$")


def policy_name(family: str, setting: float) -> str:
    """`thr:0.5`: family and setting, with as few digits as identify the setting exactly.

    Args:
        family: may end with what its settings have in common, as `token::8` of `token:0.5:8` or
            `thr+tail:0.9` of `thr:0.5+tail:0.9` (`trim.policies.token.family_and_setting`).
    """
    common = COMMON.search(family)
    end = common.start() if common else len(family)
    return f"{family[:end]}:{shortest(setting)}{family[end:].replace('::', ':')}"


def shortest(setting: float) -> str:
    """A setting with as few digits as identify it exactly."""
    short = f"{setting:g}"
    return short if float(short) == setting else repr(setting)


class Policy(ABC):
    """Base class of routing policies. A subclass needs `decide` and a `name`.

    Attributes:
        needs_scores: whether drafts are scored before `decide` is called.
        scorer: required kind of score, one of `trim.scorers.scorer.KINDS`; None accepts any.
        max_strong_tokens: limit of strong tokens per problem that the policy was calibrated
            with (`trim.router.Router`); None for no limit.
        models: sha256 of each model file that the policy was fitted to, by role (`weak`,
            `strong`, `scorer`); empty if not fitted or unknown.
        restarts: whether it may discard steps already kept (RESTART); no step is final before
            the end then.
        inside_steps: whether it decides at each token of a draft (`at_token`), before it decides
            about the whole one. Without scores and restarts, `decide` must keep every draft: its
            spans are then sent to clients as they are written (`spans_are_final`).
        places: whether it chooses the place in a draft from which it is rewritten (`place`).
        keeps_drafts: whether `decide` keeps every draft; the strong model then reads nothing ahead.
    """

    needs_scores = True
    restarts: bool = False
    inside_steps: bool = False
    places: bool = False
    keeps_drafts: bool = False
    scorer: str | None = None
    max_strong_tokens: int | None = None
    models: Mapping[str, str] = MappingProxyType({})

    @property
    @abstractmethod
    def name(self) -> str:
        """Family and setting, as on the command line: `thr:0.5`."""

    @property
    def needs_spans(self) -> bool:
        """Whether the models must write inside steps (`trim.models.spans`)."""
        return self.inside_steps or self.places

    @property
    def spans_are_final(self) -> bool:
        """Whether no decision takes back what was written inside a step."""
        return self.inside_steps and not self.needs_scores and not self.restarts

    def begin(self, question: str) -> Action:
        """Decide before the first draft: CONTINUE drafts a step, TAKE_OVER drafts nothing."""
        return Action.CONTINUE

    def expects_intervention(self, observation: Observation) -> bool:
        """Whether an intervention at the next step is likely if the newest draft is kept.

        Only controls prefill of the strong model ahead of time (`trim.config`), never a
        decision. The default compares the newest score with `LOW_SCORE`.
        """
        return bool(observation.scores) and observation.scores[-1] < LOW_SCORE

    @abstractmethod
    def decide(self, observation: Observation) -> Action:
        """The action for the newest draft."""

    def at_token(self, observation: TokenObservation) -> Extent | None:
        """How far the strong model writes in place of the draft's newest token; None keeps it.

        Only called if `inside_steps`, maybe in another thread. It must depend on the observation
        alone.
        """
        return None

    def place(self, tokens: Sequence[Token]) -> int:
        """Index of the first token of a draft that REGENERATE rewrites; 0 rewrites all of it.

        Only called if `places`.
        """
        return 0

    def explain(self, observation: Observation) -> Explanation:
        """The reason for `decide(observation)`, for display only.

        An observation without steps asks about `begin`.
        """
        return Explanation(f"{self.name} does not say why")


TRAITS = (
    *("needs_scores", "restarts", "inside_steps", "places", "keeps_drafts"),
    *("scorer", "max_strong_tokens", "models"),
)
"""The attributes of a policy (`Policy`)."""


class DelegatingPolicy(Policy):
    """Base class of policies that decide as another one does."""

    policy: Policy

    def take_traits(self, **others: Any) -> None:
        """Have the attributes of `policy`, but for `others`."""
        for name in TRAITS:
            # Some of these policies are frozen.
            object.__setattr__(self, name, others.get(name, getattr(self.policy, name)))

    def begin(self, question: str) -> Action:
        return self.policy.begin(question)

    def expects_intervention(self, observation: Observation) -> bool:
        return self.policy.expects_intervention(observation)

    def decide(self, observation: Observation) -> Action:
        return self.policy.decide(observation)

    def at_token(self, observation: TokenObservation) -> Extent | None:
        return self.policy.at_token(observation)

    def place(self, tokens: Sequence[Token]) -> int:
        return self.policy.place(tokens)

    def explain(self, observation: Observation) -> Explanation:
        return self.policy.explain(observation)


@dataclass(frozen=True, kw_only=True)
class FittedPolicy(Policy):
    """Base class of policies read from a fitted file.

    Attributes:
        label: distinguishes several files of one family; empty if there is only one.
        models: as in `Policy`.
    """

    label: str = ""
    models: Mapping[str, str] = field(default_factory=dict)

    def labelled_name(self, family: str, setting: float) -> str:
        """`agg:0.004`, or with a label `agg(chain):0.004`."""
        return policy_name(f"{family}({self.label})" if self.label else family, setting)


P = TypeVar("P", bound=Policy)


@dataclass(frozen=True)
class PricedPolicies(Generic[P]):
    """The policies of one fitted file, one for each price of a strong token.

    Attributes:
        lowest, highest: range of lambda, in right answers per strong token.
        prices: the default sweep, falling, each within the range.
        at: the policy at a price; raises InvalidInput for one that it was not trained for.
        separate: whether `prices` are the only ones that it was trained for.
    """

    lowest: float
    highest: float
    prices: tuple[float, ...]
    at: Callable[[float], P]
    separate: bool = False

    def policies(self, prices: Sequence[float] = ()) -> list[P]:
        """One policy per price; the default sweep if none is given."""
        return [self.at(price) for price in prices or self.prices]


def choose_scorer(
    policy: Policy, scorer: Scorer | None, kinds: Mapping[str, Scorer]
) -> Scorer | None:
    """`scorer`, or the one of the kind that the policy requires (`Policy.scorer`).

    Raises:
        InvalidInput: `kinds` has no scorer of the required kind.
    """
    if policy.scorer is None or not policy.needs_scores:
        return scorer
    if policy.scorer not in kinds:
        raise InvalidInput(
            f"policy {policy.name!r} needs a scorer of the kind {policy.scorer!r};"
            f" available: {', '.join(kinds) or 'none'}"
        )
    return kinds[policy.scorer]


def needs_entropy(policies: Iterable[Policy], default: str | None) -> bool:
    """Whether any policy reads first-token entropies, given the `default` kind of score."""
    return any(
        policy.needs_scores and (policy.scorer or default) == "entropy" for policy in policies
    )

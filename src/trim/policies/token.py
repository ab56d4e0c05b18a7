"""Policies below the step: the strong model writes from the first doubtful token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trim.errors import InvalidInput
from trim.models.model import Token
from trim.policies.policy import (
    DelegatingPolicy,
    Explanation,
    Policy,
    TokenObservation,
    policy_name,
    shortest,
)
from trim.policies.span import ONE_TOKEN, Extent, Unit
from trim.types import Action, Observation

UNITS = {"token": Unit.TOKENS, "clause": Unit.CLAUSE, "tail": Unit.STEP}
"""The unit that the strong model writes, by the name of the family."""
TAIL = "+tail:"
"""Between a step policy and its threshold on tokens: `thr:0.9+tail:0.9`."""


@dataclass(frozen=True)
class DoubtfulToken(Policy):
    """The strong model writes where the draft's probability falls below a threshold.

    The draft stops at its first token with p < `threshold`. The strong model writes from there as
    far as `extent` says, and the weak model goes on, up to its next doubtful token.

    Attributes:
        threshold: in [0, 1]; 0 keeps every draft.
    """

    threshold: float
    extent: Extent = ONE_TOKEN

    needs_scores = False
    inside_steps = True

    @property
    def name(self) -> str:
        family = next(name for name, unit in UNITS.items() if unit is self.extent.unit)
        length = f":{self.extent.tokens}" if self.extent.tokens > 1 else ""
        return policy_name(family, self.threshold) + length

    def at_token(self, observation: TokenObservation) -> Extent | None:
        return self.extent if observation.token.probability < self.threshold else None

    def decide(self, observation: Observation) -> Action:
        return Action.CONTINUE

    def expects_intervention(self, observation: Observation) -> bool:
        return self.threshold > 0

    def explain(self, observation: Observation) -> Explanation:
        return Explanation(f"only tokens with a probability below {self.threshold:g} are rewritten")


@dataclass(frozen=True)
class Tail(DelegatingPolicy):
    """A step policy whose rewrites start at the draft's first doubtful token.

    `policy` decides whether a draft is rewritten. The strong model then writes the rest of the step
    from the first token with p < `threshold`, or the whole step if there is none.

    Attributes:
        threshold: in [0, 1].
    """

    policy: Policy
    threshold: float

    def __post_init__(self) -> None:
        if self.policy.inside_steps or self.policy.places:
            raise InvalidInput(
                f"policy {self.name!r}: {TAIL}P goes with a policy that decides about whole steps,"
                f" as in thr:0.5{TAIL}{shortest(self.threshold)}"
            )
        self.take_traits(places=True)

    @property
    def name(self) -> str:
        return f"{self.policy.name}{TAIL}{shortest(self.threshold)}"

    def place(self, tokens: Sequence[Token]) -> int:
        doubtful = (n for n, token in enumerate(tokens) if token.probability < self.threshold)
        return next(doubtful, 0)


def family_and_setting(name: str) -> tuple[str, float] | None:
    """Family and setting of a policy's name; None for a name without a setting.

    The family keeps what its settings have in common: `token::8` of `token:0.5:8`, and
    `thr+tail:0.9` of `thr:0.5+tail:0.9`.
    """
    steps, tail, probability = name.partition(TAIL)
    family, _, rest = steps.partition(":")
    setting, colon, tokens = rest.partition(":")
    try:
        value = float(setting)
    except ValueError:
        return None
    if not math.isfinite(value) or (colon and not tokens.isdecimal()):
        return None
    return f"{family}{colon * 2}{tokens}{tail}{probability}", value


def parse_tokens(family: str, text: str) -> DoubtfulToken:
    """The policy of `P` or, for tokens, `P:M`.

    Raises:
        InvalidInput: P is not a number in [0, 1], or M not a number of tokens from 1 up.
    """
    probability, colon, tokens = text.partition(":")
    try:
        threshold = float(probability)
    except ValueError:
        threshold = math.nan
    if not 0 <= threshold <= 1:
        raise InvalidInput(
            f"{family}: {probability!r} is not a probability from 0 to 1, as in {family}:0.9"
        )
    unit = UNITS[family]
    if not colon:
        return DoubtfulToken(threshold, Extent(unit))
    if unit is not Unit.TOKENS:
        raise InvalidInput(f"{family}:{text}: takes no number of tokens, as in {family}:0.9")
    if not (tokens.isascii() and tokens.isdigit() and len(tokens) < 10 and int(tokens) >= 1):
        raise InvalidInput(
            f"{family}: {tokens!r} is not a number of tokens from 1 up, as in {family}:0.5:8"
        )
    return DoubtfulToken(threshold, Extent(unit, int(tokens)))

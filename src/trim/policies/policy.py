"""The router's decision: keep a draft, or pay for the strong model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from trim.policies.explanation import Explanation


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
        scorer: the kind of score it is made for, one of `trim.scorers.choice.KINDS`; None
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
        (`trim.warming`). Here: where the newest score is below `DOUBTFUL`.
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

"""The events of a solution as records that the page shows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from trim.events import Decided, Drafted, Event, Kept, Regenerated, Scored
from trim.policies.explanation import Explanation
from trim.policies.policy import Action, Observation
from trim.router import Router
from trim.server.page.belief import FittedBelief
from trim.solution import Solution
from trim.trace import Author, Step

Record = dict[str, Any]


@dataclass(frozen=True)
class Teller:
    """Tells what a router does, and asks its policy why.

    Args:
        belief: shown where the policy has none.
    """

    router: Router
    belief: FittedBelief | None

    def beginning(self, solution: Solution) -> Record:
        """What is told before the first event: why nothing is drafted, where nothing is."""
        policy, reason = self.router.policy, None
        if policy.begin(solution.question) is not Action.CONTINUE:
            unseen = Observation(solution.question, (), (), (), (), solution.seed)
            reason = policy.explain(unseen).reason
        return {
            "event": "begun", "policy": policy.name, "seed": solution.seed, "reason": reason,
        }  # fmt: skip

    def tell(self, event: Event, solution: Solution) -> Record:
        """The record of an event at which the router waits."""
        match event:
            case Drafted(index, text, tokens):
                return written(index, Author.WEAK, text, tokens)
            case Regenerated(index, text, tokens, author):
                return written(index, author, text, tokens)
            case Scored(index, score):
                return {"event": "scored", "index": index, "score": score}
            case Decided(index, action):
                return {"event": "decided", "index": index, **self.decision(action, solution)}
            case Kept(index, step):
                return {"event": "kept", "index": index, **kept(step)}
        return {"event": "ended"}

    def decision(self, action: Action, solution: Solution) -> Record:
        observation = solution.observe()
        if solution.fallback:
            explained = Explanation(silent(solution.fallback))
        else:
            explained = self.router.policy.explain(observation)
        states, of = explained.states, "policy"
        if states is None and self.belief:
            states, of = self.belief.states(self.router.policy, observation), "model"
        return {
            "action": str(action),
            "reason": explained.reason,
            "belief": states._asdict() if states else None,
            "belief_of": of if states else None,
            "left": self.left(solution),
        }

    def left(self, solution: Solution) -> Record:
        """What the solution may still spend, of what is limited."""
        limits = (self.router.max_strong_tokens, self.router.policy.max_strong_tokens)
        tokens = min((limit for limit in limits if limit is not None), default=None)
        left: Record = {}
        if tokens is not None:
            left["strong_tokens"] = max(0, tokens - solution.strong_tokens)
        if self.router.max_money is not None:
            spent = self.router.prices.of_usage(solution.usage, solution.scorer)
            left["money"] = max(0.0, self.router.max_money - spent)
        return left


def written(index: int, author: Author, text: str, tokens: int) -> Record:
    return {
        "event": "written", "index": index, "author": str(author), "text": text, "tokens": tokens,
    }  # fmt: skip


def kept(step: Step) -> Record:
    note = None
    if step.denied:
        note = "kept all the same: the strong model may cost no more here"
    elif step.fallback:
        note = silent(step.fallback)
    return {
        "author": str(step.author),
        "text": step.text,
        "score": step.score,
        "tokens": step.tokens,
        "rejected": [asdict(version) for version in step.rejected],
        "note": note,
    }


def silent(part: str) -> str:
    parts = {"scorer": "the scorer"}
    return f"{parts.get(part, f'the {part} model')} does not answer"

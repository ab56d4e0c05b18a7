"""A solution as server-sent events: how each step is drafted, scored, decided and kept."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any

from trim.configuration.source import ModelSource
from trim.errors import InvalidInput
from trim.events import Decided, Drafted, Event, Finished, Kept, Regenerated, Scored, SpanWritten
from trim.loop.solution import Solution
from trim.policies.policy import Belief, Explanation, Policy
from trim.policies.pomdp.belief import BeliefFilter
from trim.policies.pomdp.model import read_model
from trim.policies.pomdp.policy import belief_of
from trim.router import Router
from trim.server.accounts import RequestRecord
from trim.server.errors import APIError
from trim.server.response import Choice, spans_record, sse, usage_body
from trim.server.service import Job, Service
from trim.types import Action, Author, Observation, Step, Trace


@dataclass(frozen=True)
class FittedBelief:
    """A belief model that was fitted to the server's models.

    Attributes:
        kind: the kind of score that it was fitted to.
        usual: the kind of score of policies that name none.
    """

    filter: BeliefFilter
    kind: str | None
    usual: str | None

    def states(self, policy: Policy, observation: Observation) -> Belief | None:
        """None without scores, or with scores of another kind."""
        if not observation.scores or (policy.scorer or self.usual) != self.kind:
            return None
        return belief_of(self.filter, observation)


def read_belief(source: ModelSource) -> FittedBelief | None:
    """The belief model of a source, if it has one.

    Raises:
        InvalidInput: its file cannot be read, or was fitted to other models.
    """
    if source.belief is None:
        return None
    model = read_model(source.belief)
    kind = model.fitted_to.get("kind")
    present = source.identify(kind)
    fitted = {role: name for role, name in model.fitted_to.items() if role != "kind"}
    if fitted != present:
        raise InvalidInput(f"{source.belief}: fitted to other models; fit it again with `trim fit`")
    return FittedBelief(model.filter(), kind, source.default_kind)


Record = dict[str, Any]


@dataclass(frozen=True)
class EventSerializer:
    """Converts events of a router to records, with the policy's explanations.

    Args:
        belief: for policies without a belief of their own.
    """

    router: Router
    belief: FittedBelief | None

    def begin(self, solution: Solution) -> Record:
        """The record before the first event; `reason` explains why nothing is drafted or routed."""
        policy, reason = self.router.policy, None
        if solution.whole or policy.begin(solution.question) is not Action.CONTINUE:
            unseen = Observation(solution.question, (), (), (), (), solution.seed)
            reason = policy.explain(unseen).reason
        return {
            "event": "begun", "policy": policy.name, "seed": solution.seed, "reason": reason,
            "whole": solution.whole.role if solution.whole else None,
        }  # fmt: skip

    def serialize(self, event: Event, solution: Solution) -> Record:
        """The record of an event, while the router waits at it."""
        match event:
            case Drafted(index, text, tokens):
                return written_record(index, Author.WEAK, text, tokens)
            case Regenerated(index, text, tokens, author):
                return written_record(index, author, text, tokens)
            case SpanWritten():
                return {"event": "span", **asdict(event)}
            case Scored(index, score):
                return {"event": "scored", "index": index, "score": score}
            case Decided(index, action):
                return {"event": "decided", "index": index, **self.decision(action, solution)}
            case Kept(index, step):
                return {"event": "kept", "index": index, **kept_record(step)}
        return {"event": "ended"}

    def decision(self, action: Action, solution: Solution) -> Record:
        observation = solution.observe()
        if solution.fallback:
            explained = Explanation(not_answering(solution.fallback))
        else:
            explained = self.router.policy.explain(observation)
        states, of = explained.belief, "policy"
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
        """The rest of each limit on the solution."""
        config = self.router.config
        limits = (config.max_strong_tokens, self.router.policy.max_strong_tokens)
        tokens = min((limit for limit in limits if limit is not None), default=None)
        left: Record = {}
        if tokens is not None:
            left["strong_tokens"] = max(0, tokens - solution.strong_tokens)
        if config.max_money is not None:
            spent = config.prices.of_usage(solution.usage, solution.scorer)
            left["money"] = max(0.0, config.max_money - spent)
        return left


def written_record(index: int, author: Author, text: str, tokens: int) -> Record:
    return {
        "event": "written", "index": index, "author": str(author), "text": text, "tokens": tokens,
    }  # fmt: skip


def kept_record(step: Step) -> Record:
    note = None
    if step.denied:
        note = "kept anyway: the strong model may cost no more here"
    elif step.fallback:
        note = not_answering(step.fallback)
    return {
        "author": str(step.author),
        "text": step.text,
        "score": step.score,
        "tokens": step.tokens,
        "rejected": [asdict(version) for version in step.rejected],
        "note": note,
        **spans_record(step),
    }


def not_answering(part: str) -> str:
    parts = {"scorer": "the scorer"}
    return f"{parts.get(part, f'the {part} model')} does not answer"


async def solution_events(
    service: Service, job: Job, choice: Choice, record: RequestRecord, belief: FittedBelief | None
) -> AsyncGenerator[bytes, None]:
    """The events of a solution; the last one, `finished`, follows when the request is on disk.

    Raises APIError before the first event; a later error is the last event.
    """
    serializer: EventSerializer | None = None
    try:
        async with (
            service.recording(record, job, [choice]),
            aclosing(service.events(job, choice)) as events,
        ):
            async for event in events:
                assert choice.router is not None and choice.solution is not None
                if serializer is None:
                    serializer = EventSerializer(choice.router, belief)
                    yield sse(serializer.begin(choice.solution))
                if not isinstance(event, Finished):
                    yield sse(serializer.serialize(event, choice.solution))
        choice.finish()
        assert choice.trace is not None
        yield sse(finished_record(service, choice, choice.trace))
    except APIError as failure:
        if serializer is None:
            raise
        yield sse({"event": "failed", **failure.body})


def finished_record(service: Service, choice: Choice, trace: Trace) -> Record:
    usage = usage_body([trace], service.prices, with_steps=False)
    return {
        "event": "finished",
        "text": choice.text,
        "answer": trace.answer,
        "finish": str(trace.finish),
        "unfinished": trace.unfinished,
        **usage["trim"],
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
    }

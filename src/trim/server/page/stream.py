"""A solution as server-sent events: each step as it is drafted, scored, decided and kept."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from trim.events import Finished
from trim.server.accounts import Asked
from trim.server.answer import Choice, usage_of
from trim.server.failure import Failure
from trim.server.page.belief import FittedBelief
from trim.server.page.telling import Record, Teller
from trim.server.recording import solving
from trim.server.service import Job, Service
from trim.server.streaming import sent
from trim.trace import Trace


async def told(
    service: Service, job: Job, choice: Choice, asked: Asked, belief: FittedBelief | None
) -> AsyncGenerator[bytes, None]:
    """The events of a solution. Raises Failure before the first of them, and tells it after.

    The last one, `finished`, comes when all is on disk.
    """
    teller: Teller | None = None
    try:
        async with (
            solving(service, asked, job, [choice]),
            aclosing(service.events(job, choice)) as events,
        ):
            async for event in events:
                assert choice.router is not None and choice.solution is not None
                if teller is None:
                    teller = Teller(choice.router, belief)
                    yield sent(teller.beginning(choice.solution))
                if not isinstance(event, Finished):
                    yield sent(teller.tell(event, choice.solution))
        choice.rest()
        assert choice.trace is not None
        yield sent(finished(service, choice, choice.trace))
    except Failure as failure:
        if teller is None:
            raise
        yield sent({"event": "failed", **failure.body})


def finished(service: Service, choice: Choice, trace: Trace) -> Record:
    usage = usage_of([trace], service.prices, with_steps=False)
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

"""Every request is kept, whatever becomes of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from trim.policies.policy import Policy
from trim.server.accounts import RequestRecord
from trim.server.errors import APIError
from trim.server.response import Choice
from trim.server.service import Job, Service
from trim.types import Trace


@asynccontextmanager
async def recorded(
    service: Service,
    asked: RequestRecord,
    traces: Callable[[], Sequence[Trace]],
    policy: Policy | None = None,
    choices: Sequence[Choice] = (),
) -> AsyncIterator[None]:
    """Keep what is done inside, as `traces` tells it; at its end it is on disk.

    Args:
        policy: that decides in it, if one does.
        choices: what it works on, whose events a trace has.
    """
    finish, failure = "abandoned", None
    span = service.tracing.begin(asked, choices, service.prices) if service.tracing else None
    try:
        yield
        finish = next((str(trace.finish) for trace in traces()), finish)
    except APIError as error:
        finish, failure = "failed", error.message
        asked.told["error"] = error.code
        raise
    finally:
        done = traces()
        writing = service.accounts.record(asked, done, finish, failure)
        service.answered(policy, done, finish, time.time() - asked.created)
        if span:
            span.end(done, finish, failure)
        # Who leaves stops the work and not the record of it.
        try:
            await writing
        except APIError as error:
            asked.told["error"] = error.code
            raise


def solving(
    service: Service, asked: RequestRecord, job: Job, choices: Sequence[Choice]
) -> AbstractAsyncContextManager[None]:
    """`recorded` for a request that a router solves."""
    policy = job.router.policy

    def traces() -> list[Trace]:
        return [c.trace or c.solution.trace(policy.name) for c in choices if c.solution]

    return recorded(service, asked, traces, policy, choices)

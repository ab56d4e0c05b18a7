"""Turns requests into solutions, within the server's limits."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trim.config import Fallback, Fallbacks
from trim.configuration.source import Models, ModelSource
from trim.engines.http import HttpServer
from trim.errors import ContextExceeded, InvalidInput
from trim.events import Event, Finished
from trim.loop.solution import Allowance
from trim.models.model import Role, Turn
from trim.models.openai import OpenAIModel
from trim.models.usage import tokens_in
from trim.models.whole import WholeModel
from trim.policies.fixed import StrongAlone, WeakAlone
from trim.policies.policy import Policy, choose_scorer
from trim.policies.scope import Scope
from trim.policies.whole import WholeAnswer
from trim.router import Router
from trim.scorers.scorer import Scorer
from trim.server.accounts import Accounts, RequestRecord
from trim.server.admission import AdmissionQueue, Limits
from trim.server.catalog import RouterCatalog
from trim.server.controller import Controller
from trim.server.errors import APIError, invalid, unavailable
from trim.server.metrics import Metrics
from trim.server.proxy import Passthrough
from trim.server.request import ChatRequest, CompletionRequest
from trim.server.response import Choice
from trim.server.storage.keys import UserKey
from trim.server.storage.ledger import Amount, Reservation
from trim.steps import SEPARATOR
from trim.types import Author, Finish, Trace, Usage

if TYPE_CHECKING:
    from trim.server.tracing import Tracing

ANSWER_TOKENS = 256
"""Strong tokens that a solution reserves first if it may be that long."""
MARGIN = 256
"""Tokens that a whole answer may have before more is reserved for them."""
LONGEST_STEP = 32_768
"""Largest number of tokens of a single step; engines need a bound."""
FALLBACKS: Mapping[str, Fallbacks] = {
    "fail": Fallbacks(),
    "keep": Fallbacks(Fallback.ESCALATE, Fallback.KEEP, Fallback.KEEP, Fallback.KEEP),
    "escalate": Fallbacks(Fallback.ESCALATE, Fallback.ESCALATE, Fallback.KEEP, Fallback.ESCALATE),
}
"""By the `fallback` of a request; where it does not apply to a part, the next best one."""


@dataclass(frozen=True)
class Job:
    """A validated request.

    Attributes:
        router: limited to what remained of the key's budget when the request arrived.
        reservation: of the key's budget; None without a key.
        seeds: one for each solution.
        deadline: of the answer, by `time.monotonic`.
    """

    question: str
    history: tuple[Turn, ...]
    router: Router
    seeds: tuple[int, ...]
    deadline: float
    reservation: Reservation | None = None


class Service:
    """Solves requests with the models of one process.

    Args:
        source: the configuration of the models.
        models: the loaded models and scorers of `source`.
        catalog: the routers that requests may name.
        controller: chooses the setting of the usual router; None leaves it.
        tracing: exports traces of requests; None for none.

    Attributes:
        fingerprint: changes with the models.
    """

    def __init__(
        self,
        source: ModelSource,
        models: Models,
        catalog: RouterCatalog,
        limits: Limits,
        accounts: Accounts,
        controller: Controller | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.source = source
        self.models = models
        self.catalog = catalog
        self.limits = limits
        self.accounts = accounts
        self.controller = controller
        self.tracing = tracing
        self.prices = source.prices
        self.fingerprint = fingerprint_of(source)
        self.servers = servers_of(models)
        self.metrics = Metrics(self.prices, self.servers)
        self.queue = AdmissionQueue(limits, self.metrics.set_load)
        if controller:
            self.metrics.watch(controller)
        self.passthrough = passthrough_of(source, models)
        self.scope = scope_of(source, models)
        self._usual_scorer = models.scorer_of(source.default_kind) if source.default_kind else None

    @property
    def scorer(self) -> Scorer | None:
        """The scorer of the usual router; None without one."""
        return self.models.scorers.get(self.catalog.usual.scorer or self.source.default_kind or "")

    def unreachable(self) -> list[str]:
        """Names of model and scorer servers that do not answer at present, or asked clients for a
        long pause."""
        return [server.name for server in self.servers if not server.available]

    async def admit(self, request: ChatRequest | CompletionRequest, key: UserKey | None) -> Job:
        """The job of a request.

        Raises:
            APIError: it is invalid, the queue is full, the key's budget is used up or reserved, or
                the key has too many requests.
        """
        job = self.prepare(request)
        job = replace(job, router=await self.scoped(job))
        estimate = self.estimate(request, job)
        reservation = await self.reserve(key, estimate, job.deadline, request.n)
        router = limited(job.router, reservation, request.n)
        return replace(job, router=router, reservation=reservation)

    async def reserve(
        self, key: UserKey | None, estimate: Amount, deadline: float, solutions: int = 1
    ) -> Reservation | None:
        """Reserve what a request probably costs, and check that the queue has room for it.

        Raises:
            APIError: see `admit`.
        """
        seconds, most = deadline - time.monotonic(), self.limits.requests_per_key
        reservation = await self.accounts.reserve(key, estimate, seconds, most)
        try:
            self.queue.admit(solutions)
        except APIError:
            if reservation:
                await self.accounts.ledger.release(reservation)
            raise
        return reservation

    def estimate(self, request: ChatRequest | CompletionRequest, job: Job) -> Amount:
        """What a request probably costs: each solution as if both models wrote all of it once, up
        to its own limits. One that becomes longer reserves more (`Accounts.top_up`)."""
        config = job.router.config
        limits = (request.limit, config.max_strong_tokens, ANSWER_TOKENS)
        tokens = min(limit for limit in limits if limit is not None)
        read = tokens_in([job.question, *(turn.text for turn in job.history)])
        usage = Usage(read, 0, tokens)
        writers = {"weak": usage, "strong": usage}
        money = self.prices.of_usage({**writers, "scorer": Usage(read + tokens)})
        money = min(money, math.inf if config.max_money is None else config.max_money)
        return Amount(request.n * money, request.n * tokens)

    def prepare(self, request: ChatRequest | CompletionRequest) -> Job:
        """Raises APIError for an invalid request."""
        history, question = conversation(request)
        characters = len(question) + sum(len(turn.text) for turn in history)
        if characters > self.limits.prompt:
            raise invalid(
                f"the messages have {characters} characters; the limit is {self.limits.prompt}",
                code="context_length_exceeded",
            )
        if not question.strip():
            raise invalid("the last message is empty; it must hold the question", "messages")
        first = request.seed if request.seed is not None else secrets.randbits(31)
        return Job(
            question,
            history,
            self.router(request),
            tuple(range(first, first + request.n)),
            self.deadline(request.trim.deadline),
        )

    def deadline(self, seconds: float | None) -> float:
        """The time by `time.monotonic` at which an answer that may take `seconds` is due."""
        return time.monotonic() + min(seconds or self.limits.seconds, self.limits.seconds)

    def router(self, request: ChatRequest | CompletionRequest) -> Router:
        """The router of a request, with the server's settings and the request's options."""
        options = request.trim
        policy = self.catalog.choose(request.model, options)
        if self.controller and policy is self.catalog.usual:
            policy = self.controller.policy()
        try:
            scorer = choose_scorer(policy, self._usual_scorer, self.models.scorers)
            router = Router.of(
                self.models, policy=policy, scorer=scorer, config=self.source.chat_config
            )
        except InvalidInput as error:
            raise invalid(str(error), "model") from error
        config = router.config
        sampling = config.sampling
        if request.temperature is not None:
            sampling = replace(sampling, temperature=request.temperature)
        if request.top_p is not None:
            sampling = replace(sampling, top_p=request.top_p)
        if request.limit is not None:
            # An answer without a blank line is a single step, and may use the whole limit.
            longest = max(sampling.max_tokens, min(request.limit, LONGEST_STEP))
            sampling = replace(sampling, max_tokens=longest)
        limits = (config.max_strong_tokens, options.strong_tokens)
        return router.with_config(
            sampling=sampling,
            max_tokens=request.limit,
            max_strong_tokens=min((limit for limit in limits if limit is not None), default=None),
            max_money=options.money,
            prices=self.prices,
            stops=request.stops,
            fallbacks=FALLBACKS[options.fallback] if options.fallback else config.fallbacks,
        )

    async def scoped(self, job: Job) -> Router:
        """The router of a job, or one model that answers it whole: the one that it names alone
        (`trim:weak`, `trim:strong`), or that of the requests outside the scope."""
        outside = None
        if self.scope:
            system = SEPARATOR.join(t.text for t in job.history if t.role is Role.SYSTEM)
            # The sentence encoder takes some milliseconds of the processor.
            outside = await asyncio.to_thread(self.scope.why_outside, job.question, system)
        router, prompted = job.router, outside is None
        controlled = self.controller and self.controller.controls(router.policy)
        role = None if controlled else ALONE.get(type(router.policy))
        if role and isinstance(getattr(router, role), WholeModel):
            return router.whole(role, f"the {role} model solves alone", prompted, role)
        if self.scope and outside and role is None:
            return router.whole(self.scope.rest, outside, prompted)
        return router

    async def events(self, job: Job, choice: Choice) -> AsyncGenerator[Event, None]:
        """Solve a choice of a job once a slot is free; the choice has followed each event.

        Closing the generator cancels the work.

        Raises:
            APIError: the question exceeds the context, or a part does not answer and its fallback
                is to fail; possibly after some events.
        """
        async with self.queue.slot(job.deadline) as seconds:
            router = job.router.with_config(max_seconds=seconds)
            solution = router.begin(job.question, job.seeds[choice.index], job.history)
            if job.reservation:
                share = job.reservation.amount / len(job.seeds)
                solution.allowance = Allowance(share.money, share.strong_tokens, MARGIN)
            whole = isinstance(router.policy, WholeAnswer)
            choice.router, choice.solution, choice.began = router, solution, time.time_ns()
            try:
                async with (
                    self.accounts.topping_up(job.reservation, solution, whole) as top_up,
                    aclosing(router.run(solution)) as events,
                ):
                    async for event in events:
                        choice.follow(event)
                        if isinstance(event, Finished) and (failure := failure_in(event)):
                            raise failure
                        await top_up()
                        yield event
            except ContextExceeded as error:
                raise invalid(str(error), "messages", "context_length_exceeded") from error
            except InvalidInput as error:  # a model or a scorer that cannot be used
                raise invalid(str(error), "model") from error

    def recording(
        self, record: RequestRecord, job: Job, choices: Sequence[Choice]
    ) -> AbstractAsyncContextManager[None]:
        """`recording_traces` for a routed request."""
        policy = job.router.policy

        def traces() -> list[Trace]:
            return [c.trace or c.solution.trace(policy.name) for c in choices if c.solution]

        return self.recording_traces(record, traces, policy, choices, job.reservation)

    @asynccontextmanager
    async def recording_traces(
        self,
        record: RequestRecord,
        traces: Callable[[], Sequence[Trace]],
        policy: Policy | None = None,
        choices: Sequence[Choice] = (),
        reservation: Reservation | None = None,
    ) -> AsyncIterator[None]:
        """Record the work of a request on disk when the context ends, in any way.

        Args:
            traces: returns the work so far.
            policy: the policy that decides, if one does.
            choices: the solutions whose events are traced.
            reservation: settled with the record.
        """
        finish, failure = "abandoned", None
        span = self.tracing.start(record, choices, self.prices) if self.tracing else None
        try:
            yield
            finish = next((str(trace.finish) for trace in traces()), finish)
        except APIError as error:
            finish, failure = "failed", error.message
            record.log_fields["error"] = error.code
            raise
        finally:
            done = traces()
            controlled = bool(self.controller and policy and self.controller.controls(policy))
            written = self.accounts.write(record, done, finish, failure, reservation, controlled)
            self.metrics.record(done, finish, time.time() - record.created)
            if self.controller and controlled:
                self.controller.update(done, self.queue.running)
                self.metrics.update_controller()
            if span:
                span.end(done, finish, failure)
            # The record is written even if a disconnect cancels this wait.
            try:
                await written
            except APIError as error:
                record.log_fields["error"] = error.code
                raise


def limited(router: Router, reservation: Reservation | None, count: int) -> Router:
    """The router, limited to what a key's budgets leave, divided by `count` solutions."""
    if reservation is None:
        return router
    share, config = reservation.left / count, router.config
    if share.money < math.inf:
        own = math.inf if config.max_money is None else config.max_money
        router = router.with_config(max_money=min(own, share.money))
    if share.strong_tokens < math.inf:
        most = math.inf if config.max_strong_tokens is None else config.max_strong_tokens
        router = router.with_config(max_strong_tokens=int(min(most, share.strong_tokens)))
    return router


def fingerprint_of(source: ModelSource) -> str:
    models = json.dumps(source.identify(source.default_kind), sort_keys=True)
    return f"fp_{hashlib.sha256(models.encode()).hexdigest()[:10]}"


def servers_of(models: Models) -> list[HttpServer]:
    """The distinct HTTP servers of models and scorers."""
    parts = (models.weak, *models.intermediate, models.strong, *models.scorers.values())
    owners = (part for each in parts for part in (each, getattr(each, "model", None)))
    servers = (getattr(owner, "server", None) for owner in owners)
    return list({id(each): each for each in servers if isinstance(each, HttpServer)}.values())


ALONE: Mapping[type[Policy], str] = {WeakAlone: "weak", StrongAlone: "strong"}
"""The roles of models that a request names alone, by policy."""


def scope_of(source: ModelSource, models: Models) -> Scope | None:
    """Raises InvalidInput if the classifier cannot be used, or a model writes no whole answer."""
    scope = source.scope()
    if scope is None:
        return None
    Router.of(models, policy=WeakAlone()).whole(scope.rest, "a trial")
    # Loads the encoder, which takes some seconds, before there are requests.
    scope.why_outside("Is the classifier installed?")
    return scope


def passthrough_of(source: ModelSource, models: Models) -> Passthrough | None:
    """Raises InvalidInput if the model is not reached by OpenAI's protocol."""
    if source.passthrough is None:
        return None
    author = Author(source.passthrough)
    model = models.weak if author is Author.WEAK else models.strong
    if not isinstance(model, OpenAIModel):
        raise InvalidInput(
            f"server.passthrough: the {author} model must be reached by `api: openai`"
        )
    return Passthrough(model, author)


def failure_in(event: Finished) -> APIError | None:
    """The error of a solution that failed."""
    if event.trace.finish is not Finish.FAILED:
        return None
    return unavailable(event.trace.failure or "a model does not answer")


def conversation(request: ChatRequest | CompletionRequest) -> tuple[tuple[Turn, ...], str]:
    """The earlier messages, and the question: the last message, which must be the user's.

    Raises:
        APIError: the last message has another role.
    """
    if isinstance(request, CompletionRequest):
        return (), request.text
    *earlier, last = request.messages
    if last.role != "user":
        raise invalid("the last message must be the user's", "messages")
    roles = {"developer": Role.SYSTEM}
    turns = (Turn(roles.get(each.role) or Role(each.role), each.text) for each in earlier)
    return tuple(turns), last.text

"""A request as solutions under way: what the server does between two forms of JSON."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trim.config import Fallback, Fallbacks
from trim.configuration.source import Models, ModelSource
from trim.engines.http import HttpServer
from trim.errors import ContextExceeded, InvalidInput
from trim.events import Event, Finished
from trim.models.model import Role, Turn
from trim.models.openai import OpenAIModel
from trim.policies.policy import Policy, choose_scorer
from trim.router import Router
from trim.server.accounts import Accounts
from trim.server.admission import AdmissionQueue, Limits
from trim.server.catalog import RouterCatalog
from trim.server.controller import Controller
from trim.server.errors import APIError, invalid, unavailable
from trim.server.metrics import Metrics
from trim.server.proxy import Passthrough
from trim.server.request import ChatRequest, CompletionRequest
from trim.server.response import Choice
from trim.server.storage.keys import UserKey
from trim.types import Author, Finish, Trace

if TYPE_CHECKING:
    from trim.server.tracing import Tracing

LONGEST_STEP = 32_768
"""Tokens that a request may ask of a single step; engines take no number without bound."""
FALLBACKS: Mapping[str, Fallbacks] = {
    "fail": Fallbacks(),
    "keep": Fallbacks(Fallback.ESCALATE, Fallback.KEEP, Fallback.KEEP, Fallback.KEEP),
    "escalate": Fallbacks(Fallback.ESCALATE, Fallback.ESCALATE, Fallback.KEEP, Fallback.ESCALATE),
}
"""By the fallback that a request wishes for; a part that has no such fallback has its next best."""


@dataclass(frozen=True)
class Job:
    """A request that has been understood.

    Attributes:
        router: which spends no more than was left to the key when the request came.
        seeds: one for each solution that is asked for.
        moment: of `time.monotonic` at which the answer is due.
    """

    question: str
    history: tuple[Turn, ...]
    router: Router
    seeds: tuple[int, ...]
    moment: float
    key: UserKey | None = None


class Service:
    """Solves what is asked for.

    Args:
        lineup: who solves, and how.
        team: the same, loaded or reached.
        accounts: who may ask, and where it is kept.
        controller: chooses the setting of the usual router; without one it stays.
        tracing: sends traces of requests; None for none.
    """

    def __init__(
        self,
        lineup: ModelSource,
        team: Models,
        menu: RouterCatalog,
        limits: Limits,
        accounts: Accounts,
        controller: Controller | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.lineup = lineup
        self.accounts = accounts
        self.team = team
        self.menu = menu
        self.limits = limits
        self.controller = controller
        self.tracing = tracing
        self.prices = lineup.prices
        self.servers = servers_of(team)
        self.metrics = Metrics(self.prices, self.servers)
        self.desk = AdmissionQueue(limits, self.metrics.show)
        if controller:
            self.metrics.watch(controller)
        self.passthrough = passthrough_of(lineup, team)
        self._usual = team.scorer_of(lineup.default_kind) if lineup.default_kind else None

    def silent(self) -> list[str]:
        """Servers of models and scorers that do not answer now."""
        return [server.name for server in self.servers if server.breaker.is_open]

    async def admitted(self, request: ChatRequest | CompletionRequest, key: UserKey | None) -> Job:
        """A request of a key as it may be done now.

        Raises:
            Failure: it may not, or cannot.
        """
        job = self.understand(request)
        router = await self.accounts.limited(job.router, key, request.n)
        self.desk.admit(request.n)
        return replace(job, router=router, key=key)

    def understand(self, request: ChatRequest | CompletionRequest) -> Job:
        """Raises Failure for what cannot be done."""
        history, question = asked(request)
        characters = len(question) + sum(len(turn.text) for turn in history)
        if characters > self.limits.prompt:
            raise invalid(
                f"the messages have {characters} characters; at most {self.limits.prompt} may be",
                code="context_length_exceeded",
            )
        if not question.strip():
            raise invalid("the last message is empty; it should hold the question", "messages")
        first = request.seed if request.seed is not None else secrets.randbits(31)
        return Job(
            question,
            history,
            self.router(request),
            tuple(range(first, first + request.n)),
            self.moment(request.trim.deadline),
        )

    def moment(self, deadline: float | None) -> float:
        """The moment of `time.monotonic` at which an answer is due that may take so long."""
        return time.monotonic() + min(deadline or self.limits.seconds, self.limits.seconds)

    def router(self, request: ChatRequest | CompletionRequest) -> Router:
        """The router of a request: the server's settings, and what the request wishes."""
        wishes = request.trim
        policy = self.menu.choose(request.model, wishes)
        if self.controller and policy is self.menu.usual:
            policy = self.controller.policy()
        try:
            scorer = choose_scorer(policy, self._usual, self.team.scorers)
            router = Router.of(
                self.team, policy=policy, scorer=scorer, config=self.lineup.chat_config
            )
        except InvalidInput as error:
            raise invalid(str(error), "model") from error
        config = router.config
        sampling = config.sampling
        if request.temperature is not None:
            sampling = replace(sampling, temperature=request.temperature)
        if request.top_p is not None:
            sampling = replace(sampling, top_p=request.top_p)
        limit = limit_of(request)
        if limit is not None:
            # An answer without a blank line is a single step, which may be as long as was asked.
            longest = max(sampling.max_tokens, min(limit, LONGEST_STEP))
            sampling = replace(sampling, max_tokens=longest)
        limits = (config.max_strong_tokens, wishes.strong_tokens)
        return router.with_config(
            sampling=sampling,
            max_tokens=limit,
            max_strong_tokens=min((limit for limit in limits if limit is not None), default=None),
            max_money=wishes.money,
            prices=self.prices,
            stops=request.stops,
            fallbacks=FALLBACKS[wishes.fallback] if wishes.fallback else config.fallbacks,
        )

    def answered(
        self, policy: Policy | None, traces: Sequence[Trace], finish: str, seconds: float
    ) -> None:
        """Learn from a request that has ended, whatever became of it.

        Args:
            policy: that has decided in it, if one did.
        """
        self.metrics.answered(traces, finish, seconds)
        if self.controller and policy and self.controller.steers(policy):
            self.controller.see(traces, self.desk.running)
            self.metrics.steered()

    async def events(self, job: Job, choice: Choice) -> AsyncGenerator[Event, None]:
        """Solve a choice of a job once it is its turn; the choice has followed each event.

        Closing the iterator stops all work for it.

        Raises:
            Failure: nothing is left to the key any more, the question does not fit, or a part does
                not answer and the fallback is to fail; where something had been kept, after that.
        """
        async with self.desk.turn() as waited:
            router = job.router.with_config(max_seconds=seconds_to(job.moment))
            if waited:  # Others may have spent meanwhile what was left.
                router = await self.accounts.limited(router, job.key, len(job.seeds))
            solution = router.begin(job.question, job.seeds[choice.index], job.history)
            choice.router, choice.solution, choice.began = router, solution, time.time_ns()
            try:
                async with aclosing(router.run(solution)) as events:
                    async for event in events:
                        choice.follow(event)
                        if isinstance(event, Finished) and (failure := failed(event)):
                            raise failure
                        yield event
            except ContextExceeded as error:
                raise invalid(str(error), "messages", "context_length_exceeded") from error


def seconds_to(moment: float) -> float:
    """Raises Failure where none is left."""
    left = moment - time.monotonic()
    if left <= 0:
        raise APIError(504, "the answer was due before it began", "server_error", "deadline")
    return left


def servers_of(team: Models) -> list[HttpServer]:
    """The servers behind models and scorers, each once."""
    parts = (team.weak, *team.intermediate, team.strong, *team.scorers.values())
    owners = (part for each in parts for part in (each, getattr(each, "model", None)))
    servers = (getattr(owner, "server", None) for owner in owners)
    return list({id(each): each for each in servers if isinstance(each, HttpServer)}.values())


def passthrough_of(lineup: ModelSource, team: Models) -> Passthrough | None:
    """Raises InvalidInput where the model is not reached by OpenAI's protocol."""
    if lineup.passthrough is None:
        return None
    author = Author(lineup.passthrough)
    model = team.weak if author is Author.WEAK else team.strong
    if not isinstance(model, OpenAIModel):
        raise InvalidInput(f"the {author} model is not on a server that requests can be handed to")
    return Passthrough(model, author)


def failed(event: Finished) -> APIError | None:
    """The failure that a solution ended with, if it did."""
    if event.trace.finish is not Finish.FAILED:
        return None
    return unavailable(event.trace.failure or "a model does not answer")


def asked(request: ChatRequest | CompletionRequest) -> tuple[tuple[Turn, ...], str]:
    """What was said before, and the question: the last message, which is the user's.

    Raises:
        Failure: the last message is somebody else's.
    """
    if isinstance(request, CompletionRequest):
        return (), request.text
    *earlier, last = request.messages
    if last.role != "user":
        raise invalid("the last message must be the user's", "messages")
    roles = {"developer": Role.SYSTEM}
    turns = (Turn(roles.get(said.role) or Role(said.role), said.text) for said in earlier)
    return tuple(turns), last.text


def limit_of(request: ChatRequest | CompletionRequest) -> int | None:
    return request.limit if isinstance(request, ChatRequest) else request.max_tokens

"""Answers in OpenAI's form, and what they cost."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from trim.costs import Prices
from trim.events import Decided, Event, Finished, Kept
from trim.loop.solution import Solution
from trim.router import Router
from trim.server.request import Stopping
from trim.types import Action, Finish, Step, Trace

CUT = (Finish.LENGTH, Finish.STEPS, Finish.TOKENS, Finish.CONTEXT)
"""Ends of a solution that was cut."""


@dataclass
class Choice:
    """The text of one solution as its steps are kept.

    Attributes:
        text: what has been let through so far.
        router, solution: None until its turn has come.
        trace: None until it has ended.
        began: nanoseconds since 1970; 0 until its turn has come.
        hear: is told what the router reports; None where nobody listens.
    """

    index: int
    stopping: Stopping
    text: str = ""
    kept: list[Step] = field(default_factory=list)
    router: Router | None = None
    solution: Solution | None = None
    trace: Trace | None = None
    began: int = 0
    hear: Callable[[Event], None] | None = None

    def follow(self, event: Event) -> None:
        """Take in what the router reports."""
        if self.hear:
            self.hear(event)
        match event:
            case Decided(_, Action.RESTART):
                self.restart()
            case Kept(_, step):
                self.keep(step)
            case Finished(trace):
                self.trace = trace

    def keep(self, step: Step) -> None:
        """Add the text that may be shown for a step."""
        self.kept.append(step)
        self.text += self.stopping.let(step.text)

    def restart(self) -> None:
        """Forget what was kept; only before any of it was shown."""
        self.kept, self.text = [], ""
        self.stopping = Stopping(self.stopping.stops)

    def rest(self) -> None:
        """Add what was held back, at the end."""
        self.text += self.stopping.rest()

    @property
    def finish_reason(self) -> str:
        cut = self.trace is not None and self.trace.finish in CUT
        return "length" if cut and not self.stopping.stopped else "stop"


@dataclass(frozen=True)
class ChatResponse:
    """What all parts of one answer have in common."""

    chat: bool
    model: str
    fingerprint: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: Sequence[Choice], usage: dict[str, Any]) -> dict[str, Any]:
        """The answer without a stream."""
        return self._record(
            "chat.completion" if self.chat else "text_completion",
            [
                {
                    "index": choice.index,
                    **(
                        {"message": {"role": "assistant", "content": choice.text, "refusal": None}}
                        if self.chat
                        else {"text": choice.text}
                    ),
                    "logprobs": None,
                    "finish_reason": choice.finish_reason,
                }
                for choice in choices
            ],
            usage=usage,
        )

    def piece(
        self, index: int, text: str | None = None, finish: str | None = None, first: bool = False
    ) -> dict[str, Any]:
        """A chunk of a stream: text of a choice, or its end."""
        delta: dict[str, Any] = {"role": "assistant"} if first else {}
        if text is not None:
            delta["content"] = text
        content = {"delta": delta} if self.chat else {"text": text or ""}
        choice = {"index": index, **content, "logprobs": None, "finish_reason": finish}
        return self._record(self._chunk, [choice])

    def spent(self, usage: dict[str, Any]) -> dict[str, Any]:
        """The last chunk of a stream, which holds no text."""
        return self._record(self._chunk, [], usage=usage)

    @property
    def _chunk(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _record(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {
            "id": f"{'chatcmpl' if self.chat else 'cmpl'}-{self.id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
            **more,
        }


def usage_of(traces: Sequence[Trace], prices: Prices, with_steps: bool) -> dict[str, Any]:
    """OpenAI's usage, and under `trim` what each part did.

    `prompt_tokens` are all that models read, over all calls, cached ones included;
    `completion_tokens` are those of the steps that were kept. `seconds` is the time spent waiting
    for models and scorer, of the slowest choice.
    """
    read = [
        used
        for trace in traces
        for role, used in trace.usage.items()
        if role not in ("scorer", "warming")
    ]
    prompt = sum(used.prompt_tokens for used in read)
    completion = sum(step.tokens for trace in traces for step in trace.steps)
    spent: dict[str, Any] = {
        "strong_tokens": sum(trace.strong_tokens for trace in traces),
        "middle_tokens": sum(trace.intermediate_tokens for trace in traces),
        "weak_tokens": sum(trace.weak_tokens for trace in traces),
        "discarded_tokens": sum(trace.discarded_tokens for trace in traces),
        "scorer_tokens": sum(trace.scorer_tokens for trace in traces),
        "interventions": sum(trace.interventions for trace in traces),
        "fallbacks": sum(trace.fallbacks for trace in traces),
        "money": sum(map(prices.of, traces)),
        "seconds": max((trace.seconds for trace in traces), default=0.0),
        "policy": traces[0].policy if traces else None,
        "seeds": [trace.seed for trace in traces],
    }
    if with_steps:
        spent["steps"] = [[step_record(step) for step in trace.steps] for trace in traces]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(used.cached_tokens for used in read)},
        "trim": spent,
    }


def headers_of(usage: dict[str, Any]) -> dict[str, str]:
    """The main figures of an answer as headers."""
    names = ("strong_tokens", "weak_tokens", "discarded_tokens", "scorer_tokens", "money")
    return {f"X-Trim-{name.replace('_', '-').title()}": str(usage["trim"][name]) for name in names}


def step_record(step: Step) -> dict[str, Any]:
    return {
        "text": step.text,
        "author": str(step.author),
        "action": str(step.action),
        "score": step.score,
        "tokens": step.tokens,
        "discarded": step.draft,
        "denied": step.denied,
        "fallback": step.fallback,
    }

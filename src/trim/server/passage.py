"""A request that is handed on, and what it costs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from trim.models.answer import usage_of
from trim.policies.policy import Action
from trim.trace import Author, Finish, Step, Trace, Usage

NAME = "passthrough"
"""The policy under which such requests are kept."""
CHARACTERS_A_TOKEN = 4
"""By which a prompt is counted where the server could not tell its usage."""


@dataclass
class Passage:
    """One request that is handed on, and what it has cost so far.

    Attributes:
        usage: as the server tells it; None until it does. What breaks off before is counted by
            the pieces that came and the characters that were sent.
        reason: why the answer ended; None until it has.
    """

    body: dict[str, Any]
    author: Author
    started: float = field(default_factory=time.monotonic)
    sent: bool = False
    usage: Usage | None = None
    reason: str | None = None
    pieces: int = 0
    texts: list[str] = field(default_factory=list)

    @property
    def question(self) -> str:
        """The text of the last message, or the prompt."""
        messages = self.body.get("messages")
        return "".join(texts_in(messages[-1] if messages else self.body.get("prompt")))

    def read(self, record: Any) -> None:
        """Take in a whole answer, or a piece of one. Raises ValueError for anything else."""
        try:
            if record.get("usage"):
                self.usage = usage_of(record["usage"])
            for choice in record["choices"]:
                said = choice.get("message") or choice.get("delta") or choice
                self.pieces += 1
                self.reason = choice.get("finish_reason") or self.reason
                text = said.get("content", said.get("text"))
                if text and not choice.get("index"):
                    self.texts.append(str(text))
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError("no answer in OpenAI's form") from error

    def traces(self) -> list[Trace]:
        """The answer as a solution of one step; none before the server was asked."""
        if not self.sent:
            return []
        read = sum(map(len, texts_in(self.body.get("messages") or self.body.get("prompt"))))
        used = self.usage or Usage(read // CHARACTERS_A_TOKEN, 0, self.pieces)
        weak = self.author is Author.WEAK
        step = Step(
            "".join(self.texts),
            self.author,
            Action.CONTINUE,
            draft_tokens=used.tokens if weak else 0,
            strong_tokens=0 if weak else used.tokens,
            truncated=self.reason == "length",
        )
        nobody = {role: Usage() for role in ("weak", "strong", "scorer")}
        return [
            Trace(
                self.question,
                NAME,
                seed=0,
                steps=(step,),
                finish=Finish.TOKENS if step.truncated else Finish.STOP,
                usage={**nobody, str(self.author): used},
                seconds=time.monotonic() - self.started,
            )
        ]


def texts_in(given: Any) -> list[str]:
    """The texts in messages, in one of them, or in a prompt."""
    match given:
        case str():
            return [given]
        case list():
            return [text for each in given for text in texts_in(each)]
        case {"text": str(text)}:
            return [text]
        case {"content": content}:
            return texts_in(content)
    return []

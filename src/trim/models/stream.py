"""Streams of a server with OpenAI's protocol, chunk by chunk: a span, or a whole answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trim.errors import Refused
from trim.models.model import Ending, Token
from trim.models.response import Response, ending_of, spelled, tokens_of, usage_of
from trim.models.spans import TokenDecoder, TokenReader
from trim.models.whole import OnText, WholeRequest
from trim.steps import SEPARATOR
from trim.types import Usage

NO_TOKENS = "the server returns no log-probabilities of its tokens"


@dataclass
class SpanStream:
    """Reads the chunks of a stream up to the end of a span.

    Args:
        reader: reads the tokens.
        limit: maximum tokens, as requested.
        stops: whether the server itself ends the text at a blank line.

    Attributes:
        usage: the tokens up to the newest chunk.
        prompt_ids: token ids of the prompt; empty where the server returns none.
    """

    reader: TokenReader
    limit: int
    stops: bool
    usage: Usage = field(default_factory=Usage)
    prompt_ids: tuple[int, ...] = ()
    _own: Ending | None = field(default=None, init=False)
    _decoder: TokenDecoder = field(default_factory=TokenDecoder, init=False)

    def read(self, chunk: Mapping[str, Any]) -> bool:
        """Read another chunk; returns whether the server is to stop decoding.

        Raises:
            Refused: the chunk has text without tokens, or something else stopped the model.
            LookupError, TypeError, ValueError: the chunk is malformed, or there are more tokens
                than were requested.
        """
        usage = counted(chunk)
        if not chunk["choices"]:
            self.usage = usage or self.usage
            return False
        choice = chunk["choices"][0]
        tokens = self._tokens(choice)
        if len(self.reader.tokens) + len(tokens) > self.limit:
            raise ValueError(f"more tokens than the {self.limit} that were requested")
        if choice.get("finish_reason"):
            self._own = ending_of(choice, {}) or Ending.SOLUTION
        self.usage = usage or self.usage
        self.prompt_ids = tuple(choice.get("prompt_token_ids") or self.prompt_ids)
        for token in tokens:
            self.reader.add(token)
        return self.reader.kept is not None and not self._ends_itself

    def read_whole(self, answer: Response, text: str, ending: Ending) -> None:
        """Read an answer that is not streamed.

        Args:
            text: the answer, without a repetition of the prefix.
            ending: why the server ended it.

        Raises:
            Refused: it has text without tokens.
        """
        if text and not answer.tokens:
            raise Refused(NO_TOKENS)
        self.usage, self._own = answer.usage, ending
        for token in spelled(answer.tokens, text):
            self.reader.add(token)

    @property
    def ending(self) -> Ending:
        """Why the span ended; RULE for a stream that was cut at the problem's deadline."""
        if self.reader.kept is not None:
            return Ending.STEP if self.reader.ends_step else Ending.RULE
        return self._own or Ending.RULE

    @property
    def decoded(self) -> tuple[Token, ...]:
        """The tokens of the text, without an end token."""
        tokens = self.reader.decoded
        ends = self.ending is Ending.SOLUTION and tokens and not tokens[-1].text
        return tokens[:-1] if ends else tokens

    @property
    def _ends_itself(self) -> bool:
        """Whether the server has ended the text, or is about to: its last chunk counts the cached
        tokens."""
        if self._own is not None:
            return True
        return self.stops and SEPARATOR in "".join(token.text for token in self.reader.decoded)

    def _tokens(self, choice: Mapping[str, Any]) -> Sequence[Token]:
        record = choice.get("logprobs") or {}
        entries = record.get("content") or ()
        if entries and "id" in entries[0]:
            return [self._decoder.token(entry) for entry in entries]
        delta = choice.get("delta")
        text = choice["text"] if delta is None else delta.get("content") or ""
        tokens = spelled(tokens_of(record), text)
        if text and not tokens:
            raise Refused(NO_TOKENS)
        ids = choice.get("token_ids") or ()
        if len(ids) != len(tokens):
            return tokens
        return [replace(token, id=known) for token, known in zip(tokens, ids, strict=True)]


@dataclass
class TextStream:
    """Reads the chunks of a whole answer, or the answer of a server that does not stream.

    Attributes:
        ending: None until the answer has ended.
        chunks: number of chunks with text.
    """

    request: WholeRequest
    on_text: OnText
    ending: Ending | None = None
    chunks: int = 0
    _text: list[str] = field(default_factory=list, init=False)
    _usage: Usage | None = field(default=None, init=False)

    def read(self, chunk: Mapping[str, Any]) -> bool:
        """Read another chunk; returns whether the server is to stop decoding.

        Raises:
            Refused: something else stopped the model, such as a content filter.
            LookupError, TypeError, ValueError: the chunk is malformed.
        """
        usage = counted(chunk)
        self._usage = usage or self._usage
        if not chunk["choices"]:
            return False
        if self.ending and usage is None:
            return True  # Only the usage may follow the end.
        choice = chunk["choices"][0]
        part = choice.get("message") or choice.get("delta") or choice
        text = part.get("content", part.get("text")) or ""
        if choice.get("finish_reason"):
            is_cut = ending_of(choice, {}) is Ending.LENGTH
            self.ending = Ending.LENGTH if is_cut else Ending.SOLUTION
        if not isinstance(text, str):
            raise ValueError("the text is not a string")
        return bool(text) and self.take(text)

    def take(self, text: str) -> bool:
        """Pass a piece on; returns whether that ends the answer.

        It does where a server writes more tokens than were requested.
        """
        limit = self.request.limit
        if (limit is not None and self.chunks >= limit) or self.on_text(text):
            self.ending = Ending.LENGTH
            return True
        self.chunks += 1
        self._text.append(text)
        return False

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def usage(self) -> Usage:
        """As the server counts it; estimated where it does not."""
        return self._usage or Usage(self.request.estimated_tokens, 0, self.chunks)


def counted(chunk: Mapping[str, Any]) -> Usage | None:
    """The tokens of a request so far; None in a chunk that does not count them."""
    timings = chunk.get("timings")
    if timings:  # llama.cpp
        cached = timings["cache_n"]
        return Usage(cached + timings["prompt_n"], cached, timings["predicted_n"])
    return usage_of(chunk["usage"]) if chunk.get("usage") else None

"""Streams of a server with OpenAI's protocol, chunk by chunk: a span, or a whole answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trim.errors import Refused
from trim.models.model import Ending, Token
from trim.models.response import (
    Response,
    ending_of,
    require_ids,
    require_text,
    spelled,
    tokens_of,
)
from trim.models.spans import TokenDecoder, TokenReader
from trim.models.usage import Call, tokens_in, usage_of, usage_of_timings
from trim.models.whole import Pieces, WholeStream
from trim.steps import SEPARATOR
from trim.types import Usage

NO_TOKENS = "the server returns no log-probabilities of its tokens"
TRAILING = 8
"""Chunks that may follow the end of a text; then the stream is closed."""


@dataclass
class SpanStream:
    """Reads the chunks of a stream up to the end of a span.

    Args:
        reader: reads the tokens.
        limit: maximum tokens, as requested.
        stops: whether the server itself ends the text at a blank line.
        call: the request.

    Attributes:
        prompt_ids: token ids of the prompt; empty where the server returns none.
    """

    reader: TokenReader
    limit: int
    stops: bool
    call: Call
    prompt_ids: tuple[int, ...] = ()
    _reported: Usage | None = field(default=None, init=False)
    _own: Ending | None = field(default=None, init=False)
    _trailing: int = field(default=0, init=False)
    _decoder: TokenDecoder = field(default_factory=TokenDecoder, init=False)

    def read(self, chunk: Mapping[str, Any]) -> bool:
        """Read another chunk; returns whether the server is to stop decoding.

        Raises:
            Refused: the chunk has text without tokens, or something else stopped the model.
            LookupError, TypeError, ValueError: the chunk is malformed, or there are more tokens
                than were requested.
        """
        self._trailing += self._own is not None
        if not chunk["choices"]:
            self._count(chunk, 0)
            return self._trailing > TRAILING
        choice = chunk["choices"][0]
        tokens = self._tokens(choice)
        if len(self.reader.tokens) + len(tokens) > self.limit:
            raise ValueError(f"more tokens than the {self.limit} that were requested")
        if choice.get("finish_reason"):
            self._own = ending_of(choice, {}) or Ending.SOLUTION
        self._count(chunk, len(tokens))
        self.prompt_ids = require_ids(choice.get("prompt_token_ids") or self.prompt_ids)
        for token in tokens:
            self.reader.add(token)
        cut = self.reader.kept is not None and not self._ends_itself
        return cut or self._trailing > TRAILING

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
        self._reported, self._own = answer.usage, ending
        for token in spelled(answer.tokens, text):
            self.reader.add(token)

    @property
    def usage(self) -> Usage:
        """The tokens up to the newest chunk, at least those that were read.

        A server that never reports the prompt has it estimated.
        """
        reported = self._reported or Usage(tokens_in(self.call.prompt))
        return replace(reported, tokens=max(reported.tokens, len(self.reader.tokens)))

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

    def _count(self, chunk: Mapping[str, Any], new: int) -> None:
        """Read the tokens of the request so far, in a chunk that counts them.

        Args:
            new: tokens in the chunk.
        """
        written = len(self.reader.tokens) + new
        if timings := chunk.get("timings"):
            self._reported = usage_of_timings(timings, self.call, written)
        elif usage := chunk.get("usage"):
            self._reported = usage_of(usage, self.call, written)

    def _tokens(self, choice: Mapping[str, Any]) -> Sequence[Token]:
        record = choice.get("logprobs") or {}
        entries = record.get("content") or ()
        if entries and "id" in entries[0]:
            return [self._decoder.token(entry) for entry in entries]
        delta = choice.get("delta")
        text = require_text(choice["text"] if delta is None else delta.get("content") or "")
        tokens = spelled(tokens_of(record), text)
        if text and not tokens:
            raise Refused(NO_TOKENS)
        ids = require_ids(choice.get("token_ids") or ())
        if len(ids) != len(tokens):
            return tokens
        return [replace(token, id=known) for token, known in zip(tokens, ids, strict=True)]


@dataclass
class TextStream(WholeStream):
    """Reads the chunks of a whole answer, or the answer of a server that does not stream.

    Args:
        call: the request.

    Attributes:
        ending: None until the answer has ended.
    """

    pieces: Pieces
    call: Call
    ending: Ending | None = None
    _trailing: int = field(default=0, init=False)
    _reported: Usage | None = field(default=None, init=False)

    def read(self, chunk: Mapping[str, Any]) -> bool:
        """Read another chunk; returns whether the server is to stop decoding.

        Raises:
            Refused: something else stopped the model, such as a content filter.
            LookupError, TypeError, ValueError: the chunk is malformed.
        """
        self._trailing += self.ending is not None
        ends = self._trailing > TRAILING
        if chunk["choices"]:
            choice = chunk["choices"][0]
            part = choice.get("message") or choice.get("delta") or choice
            text = require_text(part.get("content", part.get("text")) or "")
            if choice.get("finish_reason"):
                is_cut = ending_of(choice, {}) is Ending.LENGTH
                self.ending = Ending.LENGTH if is_cut else Ending.SOLUTION
            if text and self.pieces.take(text):
                self.ending, ends = Ending.LENGTH, True
        if timings := chunk.get("timings"):
            self._reported = usage_of_timings(timings, self.call, self.pieces.count)
        elif usage := chunk.get("usage"):
            self._reported = usage_of(usage, self.call, self.pieces.count)
        return ends

    @property
    def usage(self) -> Usage:
        """As the server counts it, at least the pieces; estimated where it does not."""
        reported = self._reported or Usage(tokens_in(self.call.prompt))
        return replace(reported, tokens=max(reported.tokens, self.pieces.count))

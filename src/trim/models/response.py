"""What a server with OpenAI's protocol says to one request."""

from __future__ import annotations

import math
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trim.errors import Refused
from trim.models.model import Ending, Prefix, Turn
from trim.steps import SEPARATOR
from trim.types import Usage

LIKELIEST = 20
"""Tokens whose probabilities are asked for, where a model tells its first entropy."""


@dataclass(frozen=True)
class Confidence:
    """How sure a model was of a step: the two figures of a `Completion`, in nats.

    Both are of the model's own distribution, at temperature 1 and before top-p and top-k.
    """

    log_probability: float
    first_entropy: float


def confidence_in(tokens: Sequence[Mapping[str, Any]], ending: Ending) -> Confidence:
    """The figures from the engine's record of each token.

    Counted are the tokens of the step's text: not the separator, which llama.cpp does not
    list, and not the end token, so that a step's figure is that of its text however it
    ended. A step without any text is certain: 0 and, without a first token, 0.

    Args:
        tokens: entries with `logprob` and `top_logprobs`; the end token's is the last.
    """
    first_entropy = entropy(tokens[0]["top_logprobs"]) if tokens else 0.0
    own = tokens[:-1] if ending is Ending.SOLUTION else tokens
    mean = math.fsum(token["logprob"] for token in own) / len(own) if own else 0.0
    return Confidence(mean, first_entropy)


def entropy(likeliest: Sequence[Mapping[str, Any]]) -> float:
    """Entropy in nats, at least 0, where all tokens beyond `likeliest` count as one outcome.

    That is at most the entropy of the whole distribution, and as good as equal to it where
    a model is not at a loss.
    """
    chances = [math.exp(entry["logprob"]) for entry in likeliest]
    chances.append(max(1.0 - math.fsum(chances), 0.0))
    return max(math.fsum(-chance * math.log(chance) for chance in chances if chance > 0), 0.0)


Text = tuple[str, tuple[Turn, ...], str]


class TokenMemory:
    """Tokens by the prefix that they spell, the separator of its last step included.

    A text that is sent back may be cut into other tokens than those that were written; with
    the tokens themselves the model goes on from exactly what it has written.

    Args:
        size: prefixes that are remembered; the longest unused one is forgotten first.
    """

    def __init__(self, size: int = 4096) -> None:
        self.size = size
        self._tokens: OrderedDict[Text, array[int]] = OrderedDict()

    def remember(self, prefix: Prefix, tokens: Iterable[int]) -> None:
        self._tokens[spelled(prefix)] = array("i", tokens)
        self._tokens.move_to_end(spelled(prefix))
        while len(self._tokens) > self.size:
            self._tokens.popitem(last=False)

    def recall(self, prefix: Prefix) -> list[int] | None:
        """The tokens of a prefix; None where they are not known."""
        tokens = self._tokens.get(spelled(prefix))
        if tokens is None:
            return None
        self._tokens.move_to_end(spelled(prefix))
        return tokens.tolist()


def spelled(prefix: Prefix) -> Text:
    """What a prefix says, wherever its steps end."""
    return prefix.question, prefix.history, prefix.said


STOPPED = ("stop", "eos", "eos_token", "stop_sequence", "end_turn")
"""Reasons that say that a model or a stop string ended the text."""
LLAMA_CPP_ENDINGS = {"word": Ending.STEP, "eos": Ending.SOLUTION, "limit": Ending.LENGTH}
"""By the `stop_type` of llama.cpp's verbose record."""


@dataclass(frozen=True)
class Token:
    """A written token.

    Attributes:
        log_probability: in nats, at most 0.
        likeliest: the likeliest tokens in its place, with their log-probabilities.
    """

    text: str
    log_probability: float
    likeliest: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Response:
    """One answer.

    Attributes:
        text: as the server gives it.
        ending: why it ended; None where it does not tell a stop string from the end.
        tokens: written tokens with their probabilities; empty where none are told.
        prompt_ids, written_ids: tokens read and written; empty where they are not told.
        reasoning: whether the model has thought aloud before it answered.
    """

    text: str
    ending: Ending | None
    usage: Usage
    tokens: tuple[Token, ...] = ()
    prompt_ids: tuple[int, ...] = ()
    written_ids: tuple[int, ...] = ()
    reasoning: bool = False


def read_answer(raw: Mapping[str, Any]) -> Response:
    """The answer in the record of `/completions` or `/chat/completions`.

    Raises:
        Refused: the model has not ended its text by itself but was stopped, as by a filter.
        LookupError, TypeError, ValueError: the record lacks something or is damaged.
    """
    choice = raw["choices"][0]
    message = choice.get("message")
    text = choice["text"] if message is None else message.get("content") or ""
    if not isinstance(text, str):
        raise ValueError("the text is none")
    verbose = raw.get("__verbose") or {}
    told = message or {}
    return Response(
        text=text,
        ending=ending_of(choice, verbose),
        usage=usage_of(raw["usage"]),
        tokens=tokens_of(choice.get("logprobs") or {}),
        prompt_ids=tuple(choice.get("prompt_token_ids") or raw.get("prompt_token_ids") or ()),
        written_ids=tuple(choice.get("token_ids") or verbose.get("tokens") or ()),
        reasoning=bool(told.get("reasoning_content") or told.get("reasoning") or "<think>" in text),
    )


def ending_of(choice: Mapping[str, Any], verbose: Mapping[str, Any]) -> Ending | None:
    """Why a text ended, by what each server tells; None where it does not.

    vLLM tells the stop string in `stop_reason`, SGLang in `matched_stop`, llama.cpp in its
    verbose record. The text itself is not looked at: it may begin with the steps that it
    continues.
    """
    reason = choice["finish_reason"]
    if reason == "length":
        return Ending.LENGTH
    if reason not in STOPPED:
        if reason == "insufficient_system_resource":
            raise ValueError(reason)
        raise Refused(f"the model was stopped ({reason}); this problem cannot be asked there")
    if "stop_type" in verbose:
        return LLAMA_CPP_ENDINGS[verbose["stop_type"]]
    for name in ("stop_reason", "matched_stop"):
        if name in choice:
            return Ending.STEP if choice[name] == SEPARATOR else Ending.SOLUTION
    return None


def usage_of(usage: Mapping[str, Any]) -> Usage:
    """The tokens of one request; cached ones where the server tells them, else none."""
    details = usage.get("prompt_tokens_details") or {}
    cached = details.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or 0
    counts = (usage["prompt_tokens"], cached, usage.get("completion_tokens") or 0)
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise ValueError("usage holds no numbers of tokens")
    return Usage(*counts)


def tokens_of(record: Mapping[str, Any]) -> tuple[Token, ...]:
    """The written tokens, from either form: lists side by side, or one entry a token."""
    if "content" in record:
        return tuple(
            Token(
                entry["token"],
                finite(entry["logprob"]),
                tuple((top["token"], top["logprob"]) for top in entry.get("top_logprobs") or ()),
            )
            for entry in record["content"] or ()
        )
    texts, values = record.get("tokens") or (), record.get("token_logprobs") or ()
    tops: Sequence[Mapping[str, float] | None] = record.get("top_logprobs") or [{}] * len(texts)
    return tuple(
        Token(text, finite(value), tuple((top or {}).items()))
        for text, value, top in zip(texts, values, tops, strict=True)
    )


def finite(value: float) -> float:
    """Raises ValueError for what is no log-probability."""
    if not -math.inf <= value < math.inf:
        raise ValueError(f"log-probability {value}")
    return min(value, 0.0)


def spelling(tokens: Sequence[Token], text: str) -> Sequence[Token]:
    """The tokens that spell `text`, without what comes before it, the separator and an end."""
    start = max("".join(token.text for token in tokens).find(text), 0)
    own, position = [], 0
    for token in tokens:
        if position + len(token.text) > start and position < start + len(text):
            own.append(token)
        position += len(token.text)
    return own


def mean_log_probability(tokens: Sequence[Token], text: str) -> float | None:
    """Mean in nats over the tokens that spell `text`; None where none are told.

    A text of no tokens is certain: 0, as in `trim.models.response`.
    """
    if not tokens:
        return None
    own = [token.log_probability for token in spelling(tokens, text)]
    return max(math.fsum(own) / len(own), -1e6) if own else 0.0


def first_entropy(tokens: Sequence[Token], text: str) -> float | None:
    """Entropy in nats of the distribution of `text`'s first token; None where it is not told.

    Of a text of no tokens it is that of the end.
    """
    first = next(iter((*spelling(tokens, text), *tokens)), None)
    if first is None or not first.likeliest:
        return None
    return entropy([{"logprob": value} for _, value in first.likeliest])

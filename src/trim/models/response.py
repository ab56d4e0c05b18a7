"""Responses of servers with OpenAI's protocol: text, ending, usage and log-probabilities."""

from __future__ import annotations

import math
import re
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trim.errors import Refused
from trim.models.model import Ending, Prefix, Token, Turn
from trim.models.usage import Call, tokens_in, usage_of
from trim.steps import SEPARATOR
from trim.types import Usage

REPLACEMENT = "\ufffd"
HALF_PAIR = re.compile("[\ud800-\udfff]")
"""Halves of characters outside the basic plane, which no encoding writes alone."""
LIKELIEST = 20
"""Tokens whose log-probabilities are requested for the first entropy."""
TEXT_LIMIT = 1 << 20
"""Characters of an answer."""
LONGEST_TOKEN = 4096
"""Characters of a token."""
TOKEN_LIMIT = 1 << 17
"""Tokens of an answer or a prompt that a server lists."""
SHOWN_REASON = 80
"""Characters of a finish reason that an error quotes."""
ID_LIMIT = 1 << 31
"""Token ids are below this."""


@dataclass(frozen=True)
class Confidence:
    """A model's confidence in a step: the two figures of a `Completion`, in nats.

    Both refer to the model's own distribution, at temperature 1 and before top-p and top-k.
    """

    log_probability: float
    first_entropy: float


def confidence_in(tokens: Sequence[Mapping[str, Any]], ending: Ending) -> Confidence:
    """The confidence from the engine's record of each token.

    The mean is over the tokens of the step's text: neither the separator, which llama.cpp does
    not list, nor the end token counts. Both figures are 0 for a step without tokens.

    Args:
        tokens: entries with `logprob` and `top_logprobs`; the end token's is the last.
    """
    first_entropy = entropy(tokens[0]["top_logprobs"]) if tokens else 0.0
    own = tokens[:-1] if ending is Ending.SOLUTION else tokens
    mean = math.fsum(token["logprob"] for token in own) / len(own) if own else 0.0
    return Confidence(mean, first_entropy)


def entropy(likeliest: Sequence[Mapping[str, Any]]) -> float:
    """Entropy in nats, at least 0, with all tokens beyond `likeliest` as one outcome.

    This is a lower bound of the entropy of the whole distribution, and close to it unless the
    distribution is flat.
    """
    chances = [math.exp(entry["logprob"]) for entry in likeliest]
    chances.append(max(1.0 - math.fsum(chances), 0.0))
    return max(math.fsum(-chance * math.log(chance) for chance in chances if chance > 0), 0.0)


PrefixKey = tuple[str, tuple[Turn, ...], str]


class TokenMemory:
    """Token ids by the prefix that they spell, the separator of its last step included.

    A text that is sent back may be tokenized differently from the way it was decoded; with the
    token ids the model continues exactly what it has decoded.

    Args:
        size: prefixes that are kept; the least recently used one is dropped first.
    """

    def __init__(self, size: int = 4096) -> None:
        self.size = size
        self._tokens: OrderedDict[PrefixKey, array[int]] = OrderedDict()

    def remember(self, prefix: Prefix, tokens: Iterable[int]) -> None:
        self._tokens[key_of(prefix)] = array("i", tokens)
        self._tokens.move_to_end(key_of(prefix))
        while len(self._tokens) > self.size:
            self._tokens.popitem(last=False)

    def recall(self, prefix: Prefix) -> list[int] | None:
        """The token ids of a prefix; None where they are not known."""
        tokens = self._tokens.get(key_of(prefix))
        if tokens is None:
            return None
        self._tokens.move_to_end(key_of(prefix))
        return tokens.tolist()


def key_of(prefix: Prefix) -> PrefixKey:
    """The text of a prefix, wherever its steps end."""
    return prefix.question, prefix.history, prefix.text


STOPPED = ("stop", "eos", "eos_token", "stop_sequence", "end_turn")
"""Finish reasons of a text that the model or a stop string ended."""
LLAMA_CPP_ENDINGS = {"word": Ending.STEP, "eos": Ending.SOLUTION, "limit": Ending.LENGTH}
"""Endings by the `stop_type` of llama.cpp's verbose record."""


@dataclass(frozen=True)
class Response:
    """One answer.

    Attributes:
        text: as the server returns it.
        ending: why it ended; None where the server does not distinguish a stop string from the
            end of the solution.
        tokens: decoded tokens with log-probabilities; empty where none are returned.
        prompt_ids, written_ids: ids of prompt and decoded tokens; empty where none are returned.
        reasoning: whether the model has thought before the answer.
    """

    text: str
    ending: Ending | None
    usage: Usage
    tokens: tuple[Token, ...] = ()
    prompt_ids: tuple[int, ...] = ()
    written_ids: tuple[int, ...] = ()
    reasoning: bool = False


def read_answer(raw: Mapping[str, Any], call: Call) -> Response:
    """Parse the response of `/completions` or `/chat/completions` to a call.

    Raises:
        Refused: something else stopped the model, such as a content filter.
        LookupError, TypeError, ValueError: the response is incomplete or malformed.
    """
    choice = raw["choices"][0]
    message = choice.get("message")
    text = require_text(choice["text"] if message is None else message.get("content") or "")
    verbose = raw.get("__verbose") or {}
    parts = message or {}
    return Response(
        text=text,
        ending=ending_of(choice, verbose),
        usage=usage_of(raw["usage"], call, tokens_in(text)),
        tokens=tokens_of(choice.get("logprobs") or {}),
        prompt_ids=require_ids(choice.get("prompt_token_ids") or raw.get("prompt_token_ids") or ()),
        written_ids=require_ids(choice.get("token_ids") or verbose.get("tokens") or ()),
        reasoning=bool(
            parts.get("reasoning_content") or parts.get("reasoning") or "<think>" in text
        ),
    )


def require_text(value: Any, limit: int = TEXT_LIMIT) -> str:
    """A text from a server, with the replacement character for lone surrogates.

    Raises:
        ValueError: it is no string, or has more than `limit` characters.
    """
    if not isinstance(value, str):
        raise ValueError("a text is not a string")
    if len(value) > limit:
        raise ValueError(f"a text of more than {limit:,} characters")
    return encodable(value)


def require_ids(values: Any) -> tuple[int, ...]:
    """Token ids from a server; ValueError unless they are at most `TOKEN_LIMIT` integers from 0 to
    2^31 - 1."""
    if not isinstance(values, list | tuple) or len(values) > TOKEN_LIMIT:
        raise ValueError(f"token ids are not a list of at most {TOKEN_LIMIT:,}")
    if not all(type(each) is int and 0 <= each < ID_LIMIT for each in values):
        raise ValueError("a token id is not an integer from 0 to 2^31 - 1")
    return tuple(values)


def ending_of(choice: Mapping[str, Any], verbose: Mapping[str, Any]) -> Ending | None:
    """Why a text ended; None where the server does not report it.

    vLLM names the stop string in `stop_reason`, SGLang in `matched_stop`, llama.cpp in its
    verbose record. The text itself is no evidence: it may begin with the steps that it
    continues.
    """
    reason = choice["finish_reason"]
    if reason == "length":
        return Ending.LENGTH
    if reason not in STOPPED:
        if reason == "insufficient_system_resource":
            raise ValueError(reason)
        raise stopped(reason)
    if "stop_type" in verbose:
        return LLAMA_CPP_ENDINGS[verbose["stop_type"]]
    for name in ("stop_reason", "matched_stop"):
        if name in choice:
            return Ending.STEP if choice[name] == SEPARATOR else Ending.SOLUTION
    return None


def stopped(reason: Any) -> Refused:
    """The error for an answer that ended for another reason than its text."""
    shown = " ".join(str(reason).split())[:SHOWN_REASON]
    return Refused(f"the model was stopped ({shown}); this problem cannot be asked there")


def encodable(text: str) -> str:
    """`text` with a replacement character for each half of a surrogate pair: JSON can hold such
    halves, UTF-8 cannot."""
    return text if text.isascii() else HALF_PAIR.sub(REPLACEMENT, text)


def tokens_of(record: Mapping[str, Any]) -> tuple[Token, ...]:
    """The decoded tokens, from parallel lists or from one entry for each token.

    Raises:
        LookupError, TypeError, ValueError: they are malformed, or more than `TOKEN_LIMIT`.
    """
    if "content" in record:
        entries = require_list(record["content"] or ())
        return tuple(
            Token(
                require_text(entry["token"], LONGEST_TOKEN),
                finite(entry["logprob"]),
                likeliest_of(
                    (top["token"], top["logprob"])
                    for top in require_list(entry.get("top_logprobs") or ())
                ),
            )
            for entry in entries
        )
    texts, values = (require_list(record.get(name) or ()) for name in ("tokens", "token_logprobs"))
    tops = require_list(record.get("top_logprobs") or [{}] * len(texts))
    return tuple(
        Token(require_text(text, LONGEST_TOKEN), finite(value), likeliest_of((top or {}).items()))
        for text, value, top in zip(texts, values, tops, strict=True)
    )


def likeliest_of(pairs: Iterable[tuple[Any, Any]]) -> tuple[tuple[str, float], ...]:
    """The likeliest tokens at one place; ValueError for anything else than texts and
    log-probabilities."""
    return tuple((require_text(text, LONGEST_TOKEN), finite(value)) for text, value in pairs)


def require_list(values: Any) -> Sequence[Any]:
    """A list of tokens; ValueError for anything else, or more than `TOKEN_LIMIT`."""
    if not isinstance(values, list | tuple) or len(values) > TOKEN_LIMIT:
        raise ValueError(f"tokens are not a list of at most {TOKEN_LIMIT:,}")
    return values


REACH = 4096
"""Characters within which a token follows the one before it; between them are those of
incomplete characters."""


def spelled(tokens: Sequence[Token], text: str) -> tuple[Token, ...]:
    """The tokens with texts that together are `text`.

    Servers decode each token alone. That loses the blank before some words, gives end tokens a
    name, and gives parts of characters the replacement character; here the last part has the whole
    character. A text may end at its stop string: line ends that the tokens have behind it are kept.
    """
    texts = [""] * len(tokens)
    position = 0
    for index, token in enumerate(tokens):
        alone = token.text
        if not alone or REPLACEMENT in alone:
            continue
        found = text.find(alone, position, position + REACH + len(alone))
        if found >= 0:
            gap = text[position:found]
            if index and not texts[index - 1]:
                texts[index - 1], gap = gap, ""
            texts[index], position = gap + alone, found + len(alone)
        elif len(text) - position <= len(alone):
            rest = text[position:]
            if alone.startswith(rest) and "\n" in (rest[-1:], alone[len(rest) :][:1]):
                texts[index], position = alone, len(text)
    if texts:
        texts[-1] += text[position:]
    return tuple(replace(token, text=new) for token, new in zip(tokens, texts, strict=True))


def finite(value: Any) -> float:
    """A log-probability, at most 0, where positive ones, from rounding, count as 0; ValueError for
    anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value < math.inf:
        raise ValueError("a log-probability is not a number below infinity")
    return min(float(value), 0.0)


def spelling(tokens: Sequence[Token], text: str) -> Sequence[Token]:
    """The tokens that spell `text`, without any before it, the separator and an end token."""
    start = max("".join(token.text for token in tokens).find(text), 0)
    own, position = [], 0
    for token in tokens:
        if position + len(token.text) > start and position < start + len(text):
            own.append(token)
        position += len(token.text)
    return own


def mean_log_probability(tokens: Sequence[Token], text: str) -> float | None:
    """Mean in nats over the tokens that spell `text`; None without log-probabilities.

    It is 0 for a text without tokens.
    """
    if not tokens:
        return None
    own = [token.log_probability for token in spelling(tokens, text)]
    return max(math.fsum(own) / len(own), -1e6) if own else 0.0


def entropy_at(token: Token) -> float:
    """Entropy in nats of the distribution at the place of a token."""
    return entropy([{"logprob": value} for _, value in token.likeliest])


def first_entropy(tokens: Sequence[Token], text: str) -> float | None:
    """Entropy in nats of the distribution of `text`'s first token; None without one.

    For a text without tokens it is the entropy at the end token.
    """
    first = next(iter((*spelling(tokens, text), *tokens)), None)
    if first is None or not first.likeliest:
        return None
    return entropy_at(first)

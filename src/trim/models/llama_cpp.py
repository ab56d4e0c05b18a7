"""A GGUF file as a model, run in this process."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trim.engines.llama_cpp import LlamaCppEngine
from trim.models.model import Completion, Ending, Prefix, Sampling
from trim.steps import SEPARATOR, join_steps

ENDINGS = {"word": Ending.STEP, "eos": Ending.SOLUTION, "limit": Ending.LENGTH}
LIKELIEST = 20
"""Tokens whose probabilities are asked for, where a model tells its first entropy."""


class LlamaCppModel:
    """Continues the plain text of question and steps (no chat template).

    Args:
        entropy: fill in `first_entropy` of each step as well as its `log_probability` (see
            `Confidence`). The text is the same; with the shipped models a step takes about
            twice as long, for the engine then sorts its vocabulary at every token.
    """

    def __init__(self, engine: LlamaCppEngine, name: str, entropy: bool = False) -> None:
        self.engine = engine
        self.name = name
        self.entropy = entropy

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        answer = await self.engine.complete(
            join_steps(prefix.question, prefix.steps),
            n_predict=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=0.0,
            seed=seed,
            stop=[SEPARATOR],
            verbose=True,  # only the verbose record tells a stop string from an end token
            logprobs=LIKELIEST if self.entropy else 1,
        )
        ending = ENDINGS[answer.raw["__verbose"]["stop_type"]]
        confidence = confidence_in(written_tokens(answer.raw), ending)
        return Completion(
            text=answer.text,
            ending=ending,
            tokens=answer.tokens,
            prompt_tokens=answer.prompt_tokens,
            cached_tokens=answer.cached_tokens,
            seconds=answer.seconds,
            log_probability=confidence.log_probability,
            first_entropy=confidence.first_entropy if self.entropy else None,
        )


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


def written_tokens(raw: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The written tokens with their probabilities; empty where a step has none."""
    record = raw["choices"][0].get("logprobs") or {}
    return record.get("content") or []

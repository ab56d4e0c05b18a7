"""A GGUF file as a model, run in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trim.engines.llama_cpp import LlamaCppEngine
from trim.models.answer import LLAMA_CPP_ENDINGS
from trim.models.confidence import LIKELIEST, confidence_in
from trim.models.model import Completion, Prefix, Sampling
from trim.steps import SEPARATOR, join_steps


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
        ending = LLAMA_CPP_ENDINGS[answer.raw["__verbose"]["stop_type"]]
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


def written_tokens(raw: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The written tokens with their probabilities; empty where a step has none."""
    record = raw["choices"][0].get("logprobs") or {}
    return record.get("content") or []

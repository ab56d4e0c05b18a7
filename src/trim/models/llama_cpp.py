"""A GGUF file as a model, run in this process."""

from __future__ import annotations

from trim.engines.llama_cpp import LlamaCppEngine
from trim.models.model import Completion, Ending, Prefix, Sampling
from trim.steps import SEPARATOR, join_steps

ENDINGS = {"word": Ending.STEP, "eos": Ending.SOLUTION, "limit": Ending.LENGTH}


class LlamaCppModel:
    """Continues the plain text of question and steps (no chat template)."""

    def __init__(self, engine: LlamaCppEngine, name: str) -> None:
        self.engine = engine
        self.name = name

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
        )
        return Completion(
            text=answer.text,
            ending=ENDINGS[answer.raw["__verbose"]["stop_type"]],
            tokens=answer.tokens,
            prompt_tokens=answer.prompt_tokens,
            cached_tokens=answer.cached_tokens,
            seconds=answer.seconds,
        )

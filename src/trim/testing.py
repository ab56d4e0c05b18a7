"""A model that says what it was told to say: for tests and examples, and staged faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from trim.models.model import Completion, Ending, Prefix, Sampling

Script = Callable[[Prefix], str | Completion | Exception]


class ScriptedModel:
    """Answers with `script(prefix)`.

    A string becomes a complete step of one token a word; an exception is raised; a
    `Completion` is returned as it is, which stages every ending and count.
    """

    def __init__(self, script: Script, name: str = "scripted") -> None:
        self.script = script
        self.name = name
        self.calls: list[Prefix] = []

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        self.calls.append(prefix)
        await asyncio.sleep(0)  # Others have their turn, as with a real model.
        said = self.script(prefix)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, Completion):
            return said
        prompt_tokens = sum(len(part.split()) for part in (prefix.question, *prefix.steps))
        return Completion(said, Ending.STEP, len(said.split()), prompt_tokens)

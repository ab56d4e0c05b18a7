"""llama.cpp inside this process: one GGUF file, several slots, one thread."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from trim.engines.gguf import Vocabulary, read_vocabulary
from trim.engines.scheduler import Turns
from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable
from trim.steps import with_rest

# llama.cpp's worker threads would spin and starve each other on a small machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import xllamacpp

GGUF_MAGIC = b"GGUF"
IDLE_CACHE_MIB = 64
"""For the caches of prompts that no slot works on: llama.cpp would fill 8 GiB a model, and is
no faster for it."""


@dataclass(frozen=True)
class Generation:
    """What the engine says to one request; `raw` is llama.cpp's own record."""

    text: str
    tokens: int
    prompt_tokens: int
    cached_tokens: int
    seconds: float
    raw: dict[str, Any]


class LlamaCppEngine:
    """Runs one GGUF file.

    Text is a function of (file, prompt, settings, seed) but for the last digits: how many
    slots are busy and what is in the cache decides how llama.cpp groups its sums, and where
    two tokens are about equally likely the other one may be drawn. Of 150 solutions of
    `chain-hard` by the shipped weak model 1 to 3 differed, of the strong one none. An
    `exact` engine repeats every character.

    Args:
        path: the GGUF file.
        slots: requests that are decoded together, each with its own prefix cache; of those that
            wait, the ones of earlier problems come first (`trim.engines.scheduler`).
        context: tokens that one request may have, prompt and answer together.
        threads: threads for the calculation; more than one only pays on large models.
        exact: one request after the other in one slot, each prompt read from its beginning.
    """

    def __init__(
        self,
        path: Path,
        slots: int = 16,
        context: int = 1024,
        threads: int = 1,
        exact: bool = False,
    ) -> None:
        check_file(path)
        slots = 1 if exact else slots
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(path)
        parameters.n_parallel = slots
        parameters.n_ctx = context * slots
        parameters.cpuparams.n_threads = threads
        parameters.cpuparams_batch.n_threads = threads
        parameters.n_gpu_layers = 0
        parameters.cache_ram_mib = 0 if exact else IDLE_CACHE_MIB
        parameters.warmup = False
        parameters.verbosity = -1
        self.path = path
        self.slots = slots
        self.exact = exact
        try:
            self._server = xllamacpp.Server(parameters)
            # A server that is freed before its first answer would wait for itself forever.
            self._server.handle_completions({"prompt": "1", "n_predict": 1})
        except Exception as error:
            raise ModelUnavailable(
                f"{path}: damaged, or a model that llama.cpp cannot load ({error})"
            ) from error
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix=path.stem)
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()

    @property
    def address(self) -> str:
        """Where llama.cpp's own HTTP server answers for this engine, on loopback."""
        return str(self._server.listening_address)

    async def complete(self, prompt: str | list[str | int], **settings: Any) -> Generation:
        """Continue `prompt`; `settings` are those of llama.cpp's `/v1/completions`.

        Args:
            prompt: a text, or a text and the ids of the tokens behind it.
        """
        started = time.perf_counter()
        request = {"prompt": prompt, "cache_prompt": not self.exact, **settings}
        loop = asyncio.get_running_loop()
        complete = self._server.handle_completions
        turns = self._turns.get(loop)
        if turns is None:
            turns = self._turns[loop] = Turns(self.slots)
        async with turns:
            raw = await loop.run_in_executor(self._threads, complete, request)
        if "error" in raw:
            self._raise(raw["error"])
        usage = raw["usage"]
        return Generation(
            text=raw["choices"][0]["text"],
            tokens=usage["completion_tokens"],
            prompt_tokens=usage["prompt_tokens"],
            cached_tokens=usage["prompt_tokens_details"]["cached_tokens"],
            seconds=time.perf_counter() - started,
            raw=raw,
        )

    def spelled(self, tokens: Sequence[int], beginning: str) -> str:
        """The step that written tokens spell, of which llama.cpp tells only the beginning."""
        return with_rest(beginning, self._vocabulary.text(tokens[-2:]))

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return read_vocabulary(self.path)

    def _raise(self, error: dict[str, Any]) -> None:
        if error.get("type") == "exceed_context_size_error":
            raise ContextExceeded(
                f"{self.path.name}: {error['n_prompt_tokens']} tokens do not fit"
                f" a context of {error['n_ctx']}; shorten the problem"
            )
        raise ModelUnavailable(f"{self.path.name}: {error.get('message', error)}")


def check_file(path: Path) -> None:
    """Say what is wrong with a file where llama.cpp would only say that it did not load.

    Raises:
        InvalidInput: the file is missing, is no GGUF file, or is cut short.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise InvalidInput(f"{path}: no readable model file ({error.strerror})") from error
    if magic != GGUF_MAGIC or size < 1024:
        raise InvalidInput(f"{path}: damaged or not a GGUF file; reinstall or name another file")

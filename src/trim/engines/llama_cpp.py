"""llama.cpp inside this process: one GGUF file, several slots."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from trim.engines.gguf import Vocabulary, head_size, read_vocabulary
from trim.engines.load_trial import require_loadable
from trim.engines.scheduler import RequestQueue
from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable, require_extra
from trim.files import open_file
from trim.steps import with_rest

GGUF_MAGIC = b"GGUF"
MIB = 2**20
LEAST_CACHE_MIB = 64
SMALL_HEADS = 64
"""Numbers in an attention head below which flash attention is switched off. It takes a third of the
shipped models' time (16 numbers); a 0.5B model (64) is as fast with it as without."""
WAIT_POLICY = "OMP_WAIT_POLICY"


@cache
def load_library() -> Any:
    """The package `xllamacpp`, loaded at first use.

    Raises:
        MissingExtra: it is not installed.
    """
    given = os.environ.get(WAIT_POLICY)
    # OpenMP reads it once, when it is loaded: llama.cpp's idle threads would otherwise spin and
    # starve each other on a small machine.
    os.environ.setdefault(WAIT_POLICY, "passive")
    try:
        with require_extra():
            import xllamacpp
        return xllamacpp
    finally:
        if given is None:
            del os.environ[WAIT_POLICY]


@dataclass(frozen=True)
class Generation:
    """The result of one request; `raw` is llama.cpp's own record."""

    text: str
    tokens: int
    prompt_tokens: int
    cached_tokens: int
    seconds: float
    raw: dict[str, Any]


class LlamaCppEngine:
    """Runs one GGUF file.

    Text is a function of file, prompt, settings and seed up to rounding: the number of busy slots
    and the content of the cache change the order of llama.cpp's sums, and between two tokens that
    are about equally likely the other one may be drawn. Of 150 solutions of `chain-hard`, 1 to 3
    by the shipped weak model differed and none by the strong one. An `exact` engine repeats every
    character.

    Args:
        path: the GGUF file.
        slots: requests that are decoded together, each with its own prefix cache; further ones
            wait, those of earlier problems first (`trim.engines.scheduler`).
        context: maximum tokens of one request, prompt and answer together.
        threads: computing threads; more than one pays only for large models.
        exact: one request after the other in one slot, without the prefix cache.
        cache_mib: MiB of memory for prefixes that lost their slot, at most; None takes the size of
            the file, at least 64. A request takes the idle slot whose prefix is most like its own,
            even where another solution needs it again (`benchmarks/prefix_cache.py`).

    Raises:
        InvalidInput: the file is missing, cut short or not a GGUF file.
        MissingExtra: llama.cpp is not installed.
        ModelUnavailable: llama.cpp cannot load the file, which a child process tries first
            (`trim.engines.load_trial`).
    """

    def __init__(
        self,
        path: Path | str,
        slots: int = 16,
        context: int = 1024,
        threads: int = 1,
        exact: bool = False,
        cache_mib: int | None = None,
    ) -> None:
        path = Path(path)
        size = check_file(path)
        if cache_mib is None:
            cache_mib = max(size // MIB, LEAST_CACHE_MIB)
        xllamacpp = load_library()
        require_loadable(path)
        slots = 1 if exact else slots
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(path)
        parameters.n_parallel = slots
        parameters.n_ctx = context * slots
        parameters.cpuparams.n_threads = threads
        parameters.cpuparams_batch.n_threads = threads
        parameters.n_gpu_layers = 0
        parameters.cache_ram_mib = 0 if exact else cache_mib
        parameters.warmup = False
        parameters.verbosity = -1
        # An exact engine repeats every character of earlier versions, which had it on.
        if not exact and (head_size(path) or SMALL_HEADS) < SMALL_HEADS:
            flash_attention = xllamacpp.llama_flash_attn_type
            parameters.flash_attn_type = flash_attention.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.path = path
        self.slots = slots
        self.exact = exact
        try:
            self._server = xllamacpp.Server(parameters)
            # Freeing a server before its first answer would deadlock.
            self._server.handle_completions({"prompt": "1", "n_predict": 1})
        except Exception as error:
            raise ModelUnavailable(
                f"{path}: damaged, or a model that llama.cpp cannot load ({error})"
            ) from error
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix=path.stem)
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, RequestQueue] = (
            WeakKeyDictionary()
        )

    @property
    def address(self) -> str:
        """Loopback URL of llama.cpp's own HTTP server for this engine."""
        return str(self._server.listening_address)

    async def complete(self, prompt: str | list[str | int], **settings: Any) -> Generation:
        """Continue `prompt`; `settings` are those of llama.cpp's `/v1/completions`.

        Args:
            prompt: a text, or a text and the ids of the tokens after it.
        """
        started = time.perf_counter()
        request = {"prompt": prompt, "cache_prompt": not self.exact, **settings}
        raw = await self._run(self._server.handle_completions, request)
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

    async def stream(
        self,
        prompt: str | list[str | int],
        read: Callable[[dict[str, Any]], bool],
        **settings: Any,
    ) -> Generation:
        """As `complete`, and call `read` with the record of each token until it returns True.

        `read` runs in another thread. The text of the result is empty, and `raw` is the last record
        that was read.
        """
        started = time.perf_counter()
        # Only timings count the cached tokens of a text that is stopped.
        streamed = {"stream": True, "timings_per_token": True, "cache_prompt": not self.exact}
        request = {"prompt": prompt, **streamed, **settings}
        last: dict[str, Any] = {}
        cancelled = False

        def receive(record: dict[str, Any]) -> bool:
            nonlocal last
            last = record
            return cancelled or "error" in record or read(record)

        try:
            await self._run(self._server.handle_completions, request, receive)
        except asyncio.CancelledError:
            cancelled = True
            raise
        if "error" in last:
            self._raise(last["error"])
        timings = last["timings"]
        return Generation(
            text="",
            tokens=timings["predicted_n"],
            prompt_tokens=timings["cache_n"] + timings["prompt_n"],
            cached_tokens=timings["cache_n"],
            seconds=time.perf_counter() - started,
            raw=last,
        )

    async def _run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run in a thread of the engine, as soon as there is a slot."""
        loop = asyncio.get_running_loop()
        queue = self._queues.get(loop)
        if queue is None:
            queue = self._queues[loop] = RequestQueue(self.slots)
        async with queue:
            return await loop.run_in_executor(self._threads, work, *arguments)

    @cached_property
    def vocabulary(self) -> str:
        """sha256 of the tokens, equal for equal vocabularies."""
        return self._vocabulary.sha256()

    def spelled(self, tokens: Sequence[int], beginning: str) -> str:
        """The whole step that `tokens` spell; llama.cpp cuts the text at the stop string."""
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


def check_file(path: Path) -> int:
    """Size of a file in bytes, checked before llama.cpp loads it so that an error names the reason.

    Raises:
        InvalidInput: the file is missing, cut short or not a GGUF file.
    """
    try:
        size = path.stat().st_size
        with open_file(path) as file:
            magic = file.read(4)
    except OSError as error:
        raise InvalidInput(f"{path}: no readable model file ({error.strerror})") from error
    if magic != GGUF_MAGIC or size < 1024:
        raise InvalidInput(f"{path}: damaged or not a GGUF file; reinstall or name another file")
    return size

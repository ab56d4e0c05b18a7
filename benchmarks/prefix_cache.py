"""What the memory for prefixes that lost their slot saves: tokens that llama.cpp reads again.

python benchmarks/prefix_cache.py FILE [MIB ...]

As many solutions as there are slots grow by turns, as in an evaluation: all begin with the same
instruction, two policies share each question, and a few are at work at a time. For each size of the
memory (0 turns it off; `auto` is the default, the size of the file) prints the tokens that the
model read for a solution, those of its prompt, and the seconds of all.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path

from below_the_step import print_table

from trim.engines.llama_cpp import LlamaCppEngine

SOLUTIONS, TURNS, TOKENS, CONTEXT = 32, 6, 16, 512
AT_WORK = 4
"""Solutions that this model continues at a time; the others are with the other model."""
INSTRUCTION = "Please reason step by step, and put your final answer within a box.\n\n"
SETTINGS = {"temperature": 1.0, "top_k": 20, "logprobs": 1, "ignore_eos": True}


class Solution:
    """A text that grows.

    Attributes:
        prompt: its tokens at the first turn.
        read: tokens that the engine read for it so far.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        shop = number // 2
        self.text = f"{INSTRUCTION}Shop {shop} sold {shop + 3} clips in April and {shop + 2} times"
        self.text += " as many in May, and half of that in June. How many did it sell in all?\n\n"
        self.prompt = self.read = 0

    async def grow(self, engine: LlamaCppEngine, turn: int, at_work: asyncio.Semaphore) -> None:
        async with at_work:
            seed = SOLUTIONS * turn + self.number
            written = await engine.complete(self.text, seed=seed, max_tokens=TOKENS, **SETTINGS)
        self.prompt = self.prompt or written.prompt_tokens
        self.read += written.prompt_tokens - written.cached_tokens
        self.text += written.raw["choices"][0]["text"]


async def measure(file: Path, size: int | None) -> tuple[str, ...]:
    """The row of one size of the memory."""
    engine = LlamaCppEngine(file, slots=SOLUTIONS, context=CONTEXT, cache_mib=size)
    solutions, order = [Solution(number) for number in range(SOLUTIONS)], random.Random(1)
    at_work = asyncio.Semaphore(AT_WORK)
    started = time.perf_counter()
    for turn in range(TURNS):
        order.shuffle(solutions)
        await asyncio.gather(*(each.grow(engine, turn, at_work) for each in solutions))
    seconds = time.perf_counter() - started
    read, prompt = (
        sum(getattr(each, name) for each in solutions) / SOLUTIONS for name in ("read", "prompt")
    )
    return ("auto" if size is None else str(size)), f"{read:.0f}", f"{prompt:.0f}", f"{seconds:.1f}"


def main() -> None:
    file, sizes = Path(sys.argv[1]), sys.argv[2:] or ["0", "64", "auto"]
    rows = [asyncio.run(measure(file, None if each == "auto" else int(each))) for each in sizes]
    print_table(("MiB", "tokens read", "of the prompt", "seconds"), rows)


if __name__ == "__main__":
    main()

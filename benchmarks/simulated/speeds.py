"""How fast each simulated engine is, and where that comes from.

Published are, for two H100 and vLLM, seconds a query of a 32B model alone (17.1) and of a 7B model
alone (10.3; arXiv 2601.10245). Decoding one sequence reads all weights for each token, so a token
takes

    weights / (GPUs * BANDWIDTH) + FORWARD

with the same FORWARD (kernel launches, sampling, Python) for both. A 32B model on two GPUs and a 7B
model on one solve the same problems with about the same number of tokens; the two published times
then give FORWARD = 3.27 ms and 1,318 tokens a query. It is an inference, not a measurement; the
published times of the router itself are not used for it, so that they can be compared with.
"""

from __future__ import annotations

from dataclasses import dataclass

BANDWIDTH = 3.35e12
"""Bytes a second of an H100 SXM (data sheet)."""
COMPUTE = 989e12 * 0.5
"""Operations a second in bfloat16 (data sheet), half of which is usually reached in prefill."""
FORWARD = 3.27e-3
"""Seconds of each forward pass besides weights and arithmetic; see above."""
MEMORY = 80e9 * 0.9
"""Bytes a GPU that an engine uses: vLLM's default share."""
BYTES = 2
"""Of a number in bfloat16."""
CONTEXT = 600
"""Tokens of a sequence whose keys and values are read for each token that is decoded."""


@dataclass(frozen=True)
class Speeds:
    """One engine.

    Attributes:
        weights_seconds: least seconds of a forward pass: all weights are read.
        prefill_seconds: seconds of arithmetic for a token that is read.
        sequence_seconds: seconds that a further sequence adds to each forward pass.
        request_seconds: from the arrival of a request to its first forward pass, for HTTP and
            tokenizing; requests do not wait for each other's.
        sequences: sequences that are under way at a time; the others queue.
        batched_tokens: prompt tokens that one forward pass takes at most.
        block: tokens of a block of the prefix cache.
        cached_blocks: blocks that the prefix cache holds; 0 for none.
    """

    weights_seconds: float
    prefill_seconds: float
    sequence_seconds: float
    request_seconds: float
    sequences: int = 256
    batched_tokens: int = 8192
    block: int = 16
    cached_blocks: int = 0

    def forward(self, sequences: int, read: int = 0) -> float:
        """Seconds of a forward pass that reads `read` tokens and writes one for each sequence.

        The law: reading the weights and the prompts' arithmetic happen at the same time, and
        each further sequence costs its share.
        """
        busy = max(self.weights_seconds, read * self.prefill_seconds)
        return FORWARD + busy + max(sequences - 1, 0) * self.sequence_seconds


def on_h100(
    parameters: float,
    layers: int,
    key_value_heads: int,
    gpus: int = 1,
    request_seconds: float = 0.006,
    prefix_cache: bool = True,
) -> Speeds:
    """The roofline of a model with heads of 128 numbers, in bfloat16.

    A sequence adds its arithmetic for one token, and the reading of its keys and values.
    """
    weights = parameters * BYTES
    token = 2 * layers * key_value_heads * 128 * BYTES
    arithmetic = 2 * parameters / (gpus * COMPUTE)
    cache = (gpus * MEMORY - weights) / token
    return Speeds(
        weights_seconds=weights / (gpus * BANDWIDTH),
        prefill_seconds=arithmetic,
        sequence_seconds=arithmetic + CONTEXT * token / (gpus * BANDWIDTH),
        request_seconds=request_seconds,
        cached_blocks=int(cache) // Speeds.block if prefix_cache else 0,
    )


# Parameters, layers and heads are those of the models' cards. A request of one token takes 6 ms,
# one of the pooling runner 10 ms, on vLLM with a model that takes no time (measured on a CPU).
WEAK = on_h100(1.54e9, layers=28, key_value_heads=2)
"""Qwen2.5-1.5B-Instruct on one H100."""
STRONG = on_h100(32.5e9, layers=64, key_value_heads=8, gpus=2)
"""Qwen2.5-32B-Instruct on two."""
SCORER = on_h100(7.61e9, layers=28, key_value_heads=4, request_seconds=0.010, prefix_cache=False)
"""Qwen2.5-Math-PRM-7B on one; vLLM's pooling reads the whole trace at every call."""

ENGINES = {"weak": WEAK, "strong": STRONG, "scorer": SCORER}

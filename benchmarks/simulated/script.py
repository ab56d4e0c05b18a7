"""Texts and scores of the simulated engines, functions of the request alone."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from trim.numerics import derive_seed, uniform
from trim.steps import SEPARATOR

TOKENS = 61.7
"""Mean tokens of a step: 494.84 in 8.018 steps (7B alone on MATH-500, the authors' sweep)."""
SPREAD = 1.0
"""Standard deviation of the logarithm of a step's tokens, for then the mean is 1.65 times the
median; it is 29.4 to 18 in real traces of 1.7B on MATH-500, 28.3 to 16 of 14B."""
LONGEST = 1024
"""Tokens of a step."""
ENDS = (
    *(0.0, 0.020, 0.036, 0.077, 0.137, 0.187, 0.213, 0.230, 0.227, 0.233, 0.233, 0.253, 0.232),
    *(0.223, 0.234, 0.224, 0.218, 0.203, 0.209),
)
"""Chance that step 1, 2 … is the last one: the published hazards on MATH-train, the mean of both
models, which are level from the 19th step on."""
SCORES = (
    *((0.0, 0.0), (0.05, 0.123), (0.1, 0.167), (0.2, 0.218), (0.3, 0.235), (0.4, 0.274)),
    *((0.5, 0.274), (0.6, 0.298), (0.7, 0.315), (0.8, 0.351), (0.9, 0.365), (0.95, 0.415)),
    (1.0, 1.0),
)
"""Share of drafts that score below a threshold: calls of the strong model a question in the
authors' sweep of thresholds, over 8.018 steps."""
DOUBTS = (
    *((0.0, 0.0), (0.05, 0.0), (0.1, 0.002), (0.2, 0.011), (0.3, 0.026), (0.4, 0.047)),
    *((0.5, 0.071), (0.6, 0.099), (0.7, 0.129), (0.8, 0.167), (0.9, 0.236), (0.95, 0.287)),
    *((0.97, 0.326), (0.99, 0.392), (0.999, 0.546), (1.0, 1.0)),
)
"""Share of a draft's tokens whose probability is below a threshold: 2,777 tokens of
Qwen2.5-Coder-0.5B-Instruct (Q4_K_M) on ten problems of GSM8K, at temperature 0.7."""
ANSWER = r"\boxed{%d}"
WORDS = [f"w{derive_seed('word', index) % 9973}" for index in range(8192)]


@dataclass(frozen=True)
class Written:
    """A text of words; a token is a word, and the separator or the end is one more.

    Attributes:
        words: without the separators.
        stopped: whether a separator ended it, else it is the end of the solution.
        tokens: decoded, separators and end included.
        cut: whether it was cut at its token limit.
    """

    text: str
    words: tuple[str, ...]
    stopped: bool
    tokens: int
    cut: bool = False

    def within(self, limit: int) -> Written:
        if self.tokens <= limit:
            return self
        words = self.words[:limit]
        return replace(self, text=" ".join(words), words=words, tokens=limit, cut=True)


def steps_of(prompt: str) -> int:
    """Number of steps in a prompt, which holds no other blank lines."""
    return prompt.count(SEPARATOR)


def write_step(model: str, prompt: str, seed: int, spread: float = SPREAD) -> Written:
    """The next step: a function of its arguments. The last one has a boxed answer."""
    count = steps_of(prompt)
    chance = uniform(model, prompt, seed, "tokens")
    length = math.log(TOKENS) - spread**2 / 2 + spread * NormalDist().inv_cdf(max(chance, 1e-12))
    tokens = min(max(round(math.exp(length)), 3), LONGEST)
    drawn = derive_seed(model, prompt, seed, "words")
    words = [f"s{drawn:x}", *(WORDS[(drawn + index) % len(WORDS)] for index in range(tokens - 2))]
    last = uniform(model, prompt, seed, "end") < ENDS[min(count, len(ENDS) - 1)]
    if last:
        words[-1] = ANSWER % (drawn % 1000)
    return Written(" ".join(words), tuple(words), not last, tokens)


def write_all(model: str, prompt: str, seed: int, limit: int, spread: float = SPREAD) -> Written:
    """A complete solution, or at least `limit` tokens of it."""
    text, tokens = "", 0
    words: list[str] = []
    while tokens < limit:
        step = write_step(model, prompt + text, seed, spread)
        text += step.text + SEPARATOR
        words += step.words
        tokens += step.tokens
        if not step.stopped:
            break
    return Written(text.removesuffix(SEPARATOR), tuple(words), False, tokens)


def score(step: str) -> float:
    """The score of a step in [0, 1], from its text alone, distributed as SCORES."""
    return quantile(SCORES, uniform(step, "score"))


def probability(text: str, position: int) -> float:
    """The probability in (0, 1] of the token at a position of the step after a text, distributed as
    DOUBTS; independent of those beside it."""
    return quantile(DOUBTS, uniform(text, position, "doubt"))


def quantile(shares: Sequence[tuple[float, float]], share: float) -> float:
    """The value below which a share of them lies, between given (value, share below it)."""
    index = bisect([below for _, below in shares], share)
    (left, before), (right, after) = shares[index - 1], shares[index]
    return left + (right - left) * (share - before) / (after - before)

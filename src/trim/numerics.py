"""Reproducible random numbers, and scores as log-odds. Imports numpy only for arrays."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def derive_seed(*parts: object) -> int:
    """A seed in [0, 2**31), a function of the parts."""
    return hashed(parts, 4) >> 1


def uniform(*parts: object) -> float:
    """A number in [0, 1), a function of the parts, uniformly distributed over them."""
    return (hashed(parts, 8) >> 11) / 2**53


def hashed(parts: Iterable[object], size: int) -> int:
    """A number of `size` bytes, a function of the parts."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=size).digest(), "big")


LEAST = 1e-4
"""Distance from 0 and 1 to which scores are clipped as inputs of a network."""
FINEST = 1e-6
"""The same where another score is computed from them."""


def logit(score: float, least: float = LEAST) -> float:
    """log(r / (1 - r)) of a score r in [0, 1], clipped to [least, 1 - least]."""
    bounded = min(max(score, least), 1 - least)
    return math.log(bounded / (1 - bounded))


def logit_array(scores: NDArray[Any], least: float = LEAST) -> NDArray[Any]:
    """`logit` of each score."""
    import numpy as np

    bounded = np.minimum(np.maximum(scores, least), 1 - least)
    return np.asarray(np.log(bounded / (1 - bounded)))


def random_generator(seed: int) -> np.random.Generator:
    """NumPy's generator, for negative seeds too, which `default_rng` refuses."""
    import numpy as np

    return np.random.default_rng(seed if seed >= 0 else (1, -seed))


def bounded_seed(seed: int) -> int:
    """A seed in [0, 2**63), for libraries that refuse others; one in that range is kept."""
    return seed if 0 <= seed < 2**63 else derive_seed(seed)


def sigmoid(odds: float) -> float:
    """The probability in (0, 1] with these log-odds; nan of nan."""
    return 1 / (1 + math.exp(min(-odds, 700.0)))

"""Seeds for tests that go on with others for minutes: `make fuzz`."""

import os
import random
import time
from collections.abc import Iterator

SECONDS = float(os.environ.get("TRIM_FUZZ_SECONDS", "600"))
"""Of all such tests together."""


def other_seeds(share: float) -> Iterator[int]:
    """Seeds that were never used before, for a share of `SECONDS`; each is printed if it fails."""
    first = random.SystemRandom().randrange(2**32)
    ends, seed = time.monotonic() + share * SECONDS, first
    while time.monotonic() < ends:
        try:
            yield seed
        except GeneratorExit:
            print(f"\nfailed with seed {seed}")
            raise
        seed += 1
    print(f"\n{seed - first} seeds, from {first}")

"""What this process has had of the processors."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

SCHEDULED = Path("/proc/self/schedstat")


@dataclass(frozen=True)
class Processor:
    """Seconds.

    Attributes:
        used: of processor time, of all threads.
        waited: for which the main thread could have run and others did; NaN where the system
            does not tell (anywhere but on Linux).
    """

    used: float
    waited: float

    @staticmethod
    def now() -> Processor:
        """Since the process began."""
        waited = int(SCHEDULED.read_text().split()[1]) / 1e9 if SCHEDULED.exists() else math.nan
        return Processor(time.process_time(), waited)

    def __sub__(self, other: Processor) -> Processor:
        return Processor(self.used - other.used, self.waited - other.waited)

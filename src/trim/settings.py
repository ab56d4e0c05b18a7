"""How problems are solved, whoever solves them."""

from __future__ import annotations

from dataclasses import dataclass, field

from trim.fallbacks import Fallbacks
from trim.models.model import Sampling
from trim.rules import Rules
from trim.steps import MAX_STEPS
from trim.warming import Warming


@dataclass(frozen=True)
class Settings:
    """What a router is told besides models, scorer and policy (`trim.router.Router`).

    Attributes:
        concurrency: problems under way together.
    """

    sampling: Sampling = field(default_factory=Sampling)
    max_steps: int | None = MAX_STEPS
    max_seconds: float | None = None
    max_strong_tokens: int | None = None
    fallbacks: Fallbacks = field(default_factory=Fallbacks)
    overlap: bool = False
    warming: Warming = Warming.NEVER
    concurrency: int = 16
    rules: Rules = field(default_factory=Rules)

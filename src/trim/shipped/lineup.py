"""The models of a folder: those that ship with trim, or others made like them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trim.config import End, Rules, Settings
from trim.configuration.protocol import DEFAULT, EvaluationProtocol
from trim.costs import Prices
from trim.models.prompt import Prompt
from trim.rollouts.identity import identify_models
from trim.scorers.joint import NAME as NAME_OF_WEIGHTS
from trim.shipped.loading import FOLDER, SAMPLING, EmbeddedModels, load_embedded, usual_kind

SLOTS = 16
CURVE = FOLDER.parent / "curve.json"
BELIEF = FOLDER.parent / "belief.json"
"""Measured with, and fitted to, the models that ship with trim (`make figures`)."""


@dataclass(frozen=True)
class ShippedModelSource:
    """The models of a folder with weak, strong and scorer .gguf."""

    folder: Path = FOLDER
    policy: str | None = None
    protocol: EvaluationProtocol = DEFAULT

    @property
    def usual_kind(self) -> str:
        return usual_kind(self.folder)

    @property
    def routers(self) -> dict[str, str]:
        return {}

    @property
    def curve(self) -> Path | None:
        return CURVE if self.folder == FOLDER else None

    @property
    def belief(self) -> Path | None:
        return BELIEF if self.folder == FOLDER else None

    @property
    def joint(self) -> Path | None:
        path = self.folder / NAME_OF_WEIGHTS
        return path if path.exists() else None

    @property
    def target_share(self) -> float | None:
        return None

    @property
    def passthrough(self) -> str | None:
        return None

    @property
    def settings(self) -> Settings:
        return Settings(SAMPLING, rules=self.protocol.rules)

    @property
    def chat_settings(self) -> Settings:
        return replace(self.settings, max_steps=None, rules=Rules(ends=End.MODEL))

    def for_problems(self, prompt: Prompt) -> ShippedModelSource:
        # They were made to read bare questions, whatever a benchmark puts around them.
        return self

    @property
    def price_list(self) -> None:
        return None

    @property
    def prices(self) -> Prices:
        return Prices()

    @property
    def unpriced(self) -> tuple[str, ...]:
        return ()

    def identify(self, kind: str | None) -> dict[str, str]:
        return identify_models(self.folder, kind or self.usual_kind)

    def called(self, role: str) -> str:
        return "joint.json" if role == "joint" else f"{role}.gguf"

    def record(self) -> dict[str, Any]:
        return {}

    def files(self, folder: Path) -> dict[str, str]:
        return {}

    def load(
        self, slots: int | None = None, exact: bool = False, entropy: bool = False
    ) -> EmbeddedModels:
        return load_embedded(self.folder, slots or SLOTS, exact, entropy)

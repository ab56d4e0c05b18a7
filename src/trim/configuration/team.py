"""The models and scorers of a configuration, loaded or reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trim.configuration.writing import WritingModel
from trim.errors import InvalidInput
from trim.scorers.scorer import Scorer


@dataclass(frozen=True)
class ConfiguredTeam:
    """The team (`trim.lineup.Team`) of a configuration.

    Attributes:
        scorers: by kind; those that the configuration names, and those that need nothing else.
    """

    weak: WritingModel
    between: tuple[WritingModel, ...]
    strong: WritingModel
    scorers: Mapping[str, Scorer]

    @property
    def writers(self) -> dict[str, WritingModel]:
        """Every model by its place in the configuration, the weakest first."""
        middle = {f"between.{index}": model for index, model in enumerate(self.between)}
        return {"weak": self.weak, **middle, "strong": self.strong}

    def scorer_of(self, kind: str) -> Scorer:
        """Raises InvalidInput where there is none of that kind."""
        if kind not in self.scorers:
            raise InvalidInput(
                f"scorer {kind!r}: the configuration has none; it has {', '.join(self.scorers)}"
            )
        return self.scorers[kind]

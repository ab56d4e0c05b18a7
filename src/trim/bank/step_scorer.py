"""Scores each step by itself, and once."""

from __future__ import annotations

from collections.abc import Sequence

from trim.models.model import Completion, Prefix
from trim.models.shared import SharedScorer
from trim.scorers.each import score_each
from trim.scorers.scorer import Scorer, Scores


class StepScorer:
    """Asks `scorer` about one step at a time, and never twice about the same.

    Whether a step was scored when it was written or together with the next draft, and by
    which of two models the same text was written, its score is then the same to the last
    digit, so paths that lead to the same text can be told to be one. Meant to live as long
    as one problem.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.name = scorer.name
        self.reads_confidence: bool = getattr(scorer, "reads_confidence", True)
        self._shared = SharedScorer(scorer)

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        return await score_each(trace, written, lambda upto, step: self._shared.score(upto, [step]))

"""Fits AutoMix's table: what an escalation has been worth, by the verifier's figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trim.errors import InvalidInput
from trim.policies.automix import VerifierTable
from trim.policies.verdict import Verdict


def fit_automix(
    verdict: Verdict,
    values: Sequence[float],
    weak_correct: Sequence[bool],
    strong_correct: Sequence[bool],
    strong_tokens: Sequence[int],
    bins: int = 10,
) -> VerifierTable:
    """Bins of equally many problems, each with its mean gain and cost.

    Args:
        verdict: how `values` were computed (`trim.policies.verdict.verdict`).
        values: the verifier's figure for the weak model's solution of each problem.
        weak_correct, strong_correct: whether each model alone solves it.
        strong_tokens: tokens that the strong model alone decodes for it.
        bins: as many, or fewer where figures are equal.

    Raises:
        InvalidInput: lists of different lengths, or empty ones.
    """
    if not 0 < len(values) == len(weak_correct) == len(strong_correct) == len(strong_tokens):
        raise InvalidInput("automix: figures and outcomes are missing, or differ in number")
    figures = np.asarray(values, dtype=float)
    quantiles = np.quantile(figures, np.arange(1, bins) / bins, method="higher")
    # An edge at the lowest figure would leave the first bin empty.
    edges = [float(edge) for edge in np.unique(quantiles) if edge > figures.min()]
    members = np.searchsorted(edges, figures, side="right")
    gains = np.asarray(strong_correct, dtype=float) - np.asarray(weak_correct, dtype=float)
    costs = np.asarray(strong_tokens, dtype=float)
    of_bins = [members == bin for bin in range(len(edges) + 1)]
    return VerifierTable(
        verdict,
        tuple(edges),
        tuple(float(gains[chosen].mean()) for chosen in of_bins),
        tuple(float(costs[chosen].mean()) for chosen in of_bins),
    )

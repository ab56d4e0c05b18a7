"""Which scorer a policy is given: its own kind, or the one that a run was started with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trim.errors import InvalidInput
from trim.policies.policy import Policy
from trim.scorers.scorer import Scorer

KINDS = ("joint", "prm", "logprob", "entropy", "grade")
"""Kinds of score: reward model and confidence together, process reward model, confidence in
the step, certainty of its first token, grade by the strong model. The first two need a model
of their own, the others none."""


def choose_scorer(
    policy: Policy, scorer: Scorer | None, kinds: Mapping[str, Scorer]
) -> Scorer | None:
    """`scorer`, unless the policy is made for one kind of score (`Policy.scorer`).

    Raises:
        InvalidInput: `kinds` lacks that kind.
    """
    if policy.scorer is None or not policy.needs_scores:
        return scorer
    if policy.scorer not in kinds:
        raise InvalidInput(
            f"policy {policy.name!r} needs a scorer of the kind {policy.scorer!r};"
            f" there is {', '.join(kinds) or 'none'}"
        )
    return kinds[policy.scorer]


def needs_entropy(policies: Iterable[Policy], default: str | None) -> bool:
    """Whether any of the policies, run with the kind `default`, is scored by first entropies."""
    return any(
        policy.needs_scores and (policy.scorer or default) == "entropy" for policy in policies
    )

"""Whether fitted policies are used with the models that they were fitted to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trim.bank.identity import identify_models
from trim.errors import InvalidInput
from trim.policies.policy import Policy


def require_same_models(policies: Iterable[Policy], folder: Path) -> None:
    """Refuse policies that were fitted to other models than those in `folder`.

    Only what a policy depends on counts: both models, the scorer's where it decides from
    the scores of a model of its own (the kinds `prm` and `joint`), and the weights of
    joint scores.

    Raises:
        InvalidInput: one of them was, or a model cannot be read.
    """
    fitted = [policy for policy in policies if policy.models]
    if not fitted:
        return
    for policy in fitted:
        present = identify_models(folder, policy.scorer or "prm")
        differing = [
            "joint.json" if role == "joint" else f"{role}.gguf"
            for role in roles_of(policy)
            if policy.models.get(role) != present[role]
        ]
        if differing:
            verb = "differs" if len(differing) == 1 else "differ"
            raise InvalidInput(
                f"policy {policy.name!r} was fitted to other models ({', '.join(differing)}"
                f" {verb}); fit it anew, or --other-models to use it all the same"
            )


def roles_of(policy: Policy) -> tuple[str, ...]:
    """The models that a fitted policy depends on."""
    of_scorer = {None: ("scorer",), "prm": ("scorer",), "joint": ("scorer", "joint")}
    return ("weak", "strong", *(of_scorer.get(policy.scorer, ()) if policy.needs_scores else ()))

"""Whether fitted policies are used with the models that they were fitted to."""

from __future__ import annotations

from collections.abc import Iterable

from trim.errors import InvalidInput
from trim.lineup import Lineup
from trim.policies.policy import Policy

BETWEEN = "between"
"""With a number behind it, the role of a model between the weak and the strong one."""


def require_same_models(policies: Iterable[Policy], lineup: Lineup) -> None:
    """Refuse policies that were fitted to other models than those of `lineup`.

    Only what a policy depends on counts: the models, the scorer's where it decides from
    the scores of a model of its own (the kinds `prm` and `joint`), and the weights of
    joint scores.

    Raises:
        InvalidInput: one of them was, or a model cannot be read.
    """
    fitted = [policy for policy in policies if policy.models]
    if not fitted:
        return
    for policy in fitted:
        present = lineup.identify(policy.scorer or "prm")
        others = sorted(role for role in {*policy.models, *present} if role.startswith(BETWEEN))
        differing = [
            lineup.called(role)
            for role in (*roles_of(policy), *others)
            if policy.models.get(role) != present.get(role)
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

"""What scores let one believe, shown beside policies that have no belief of their own."""

from __future__ import annotations

from dataclasses import dataclass

from trim.errors import InvalidInput
from trim.lineup import Lineup
from trim.policies.explanation import States
from trim.policies.policy import Observation, Policy
from trim.policies.pomdp import states_of
from trim.pomdp.belief import Filter
from trim.pomdp.model import read_model


@dataclass(frozen=True)
class FittedBelief:
    """A model of traces, fitted to the server's models.

    Attributes:
        kind: of the scores that it was fitted to.
        usual: the kind of score of policies that name none.
    """

    filter: Filter
    kind: str | None
    usual: str | None

    def states(self, policy: Policy, observation: Observation) -> States | None:
        """None where there are no scores, or others than it was fitted to."""
        if not observation.scores or (policy.scorer or self.usual) != self.kind:
            return None
        return states_of(self.filter, observation)


def read_belief(lineup: Lineup) -> FittedBelief | None:
    """The one that a lineup comes with, if it has one.

    Raises:
        InvalidInput: its file is unreadable, or was fitted to other models.
    """
    if lineup.belief is None:
        return None
    model = read_model(lineup.belief)
    kind = model.of.get("kind")
    present = lineup.identify(kind)
    fitted = {role: name for role, name in model.of.items() if role != "kind"}
    if fitted != present:
        raise InvalidInput(f"{lineup.belief}: fitted to other models; fit it anew with `trim fit`")
    return FittedBelief(model.filter(), kind, lineup.usual_kind)

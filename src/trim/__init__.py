"""trim: step-level hybrid inference for reasoning models."""

from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable, TrimError
from trim.events import Decided, Drafted, Event, Finished, Kept, Regenerated, Scored
from trim.models.model import Completion, Ending, Model, Prefix, Sampling
from trim.policies.policy import Policy
from trim.policies.registry import parse_policies
from trim.policies.threshold import Takeover, Threshold
from trim.router import Router
from trim.scorers.scorer import Scorer, Scores
from trim.shipped.loading import EmbeddedModels, load_embedded
from trim.types import Action, Author, Finish, Observation, Step, Trace, Usage

__all__ = [
    "Action",
    "Author",
    "Completion",
    "ContextExceeded",
    "Decided",
    "Drafted",
    "EmbeddedModels",
    "Ending",
    "Event",
    "Finish",
    "Finished",
    "InvalidInput",
    "Kept",
    "Model",
    "ModelUnavailable",
    "Observation",
    "Policy",
    "Prefix",
    "Regenerated",
    "Router",
    "Sampling",
    "Scored",
    "Scorer",
    "Scores",
    "Step",
    "Takeover",
    "Threshold",
    "Trace",
    "TrimError",
    "Usage",
    "load_embedded",
    "parse_policies",
]

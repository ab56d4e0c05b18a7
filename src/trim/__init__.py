"""trim: step-level hybrid inference for reasoning models.

Names are imported on first use: `import trim` itself takes milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trim.errors import require_extra

if TYPE_CHECKING:
    from trim.errors import (
        ContextExceeded,
        InvalidInput,
        MissingExtra,
        ModelUnavailable,
        TrimError,
    )
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
    "MissingExtra",
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

_EXPORTS = {
    "errors": "ContextExceeded InvalidInput MissingExtra ModelUnavailable TrimError",
    "events": "Decided Drafted Event Finished Kept Regenerated Scored",
    "models.model": "Completion Ending Model Prefix Sampling",
    "policies.policy": "Policy",
    "policies.registry": "parse_policies",
    "policies.threshold": "Takeover Threshold",
    "router": "Router",
    "scorers.scorer": "Scorer Scores",
    "shipped.loading": "EmbeddedModels load_embedded",
    "types": "Action Author Finish Observation Step Trace Usage",
}
"""Modules of `trim` and the names above that each defines."""
_MODULES = {name: module for module, names in _EXPORTS.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'trim' has no attribute {name!r}")
    with require_extra(f"trim.{name}"):
        value = getattr(import_module(f"trim.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

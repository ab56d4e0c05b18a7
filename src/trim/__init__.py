"""trim: step-level hybrid inference for reasoning models.

Names are imported on first use: `import trim` itself takes milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trim.errors import require_extra

if TYPE_CHECKING:
    from trim.config import Fallback, Fallbacks, PrefillMode, RouterConfig
    from trim.configuration.source import Models, open_models, shipped_models
    from trim.costs import Price, Prices
    from trim.errors import (
        ContextExceeded,
        InvalidInput,
        MissingExtra,
        ModelUnavailable,
        TrimError,
    )
    from trim.events import (
        Decided,
        Drafted,
        Event,
        Finished,
        Kept,
        Regenerated,
        Scored,
        SpanWritten,
    )
    from trim.models.anthropic import AnthropicModel
    from trim.models.llama_cpp import LlamaCppModel
    from trim.models.model import Completion, Ending, Model, Prefix, Sampling, Turn
    from trim.models.openai import OpenAIModel
    from trim.policies.policy import Explanation, Policy
    from trim.policies.registry import parse_policies, parse_policy
    from trim.policies.threshold import Takeover, Threshold
    from trim.router import Router
    from trim.scorers.scorer import Scorer, Scores
    from trim.types import Action, Author, Finish, Observation, Span, Step, Trace, Usage

__all__ = [
    "Action",
    "AnthropicModel",
    "Author",
    "Completion",
    "ContextExceeded",
    "Decided",
    "Drafted",
    "Ending",
    "Event",
    "Explanation",
    "Fallback",
    "Fallbacks",
    "Finish",
    "Finished",
    "InvalidInput",
    "Kept",
    "LlamaCppModel",
    "MissingExtra",
    "Model",
    "ModelUnavailable",
    "Models",
    "Observation",
    "OpenAIModel",
    "Policy",
    "PrefillMode",
    "Prefix",
    "Price",
    "Prices",
    "Regenerated",
    "Router",
    "RouterConfig",
    "Sampling",
    "Scored",
    "Scorer",
    "Scores",
    "Span",
    "SpanWritten",
    "Step",
    "Takeover",
    "Threshold",
    "Trace",
    "TrimError",
    "Turn",
    "Usage",
    "open_models",
    "parse_policies",
    "parse_policy",
    "shipped_models",
]

_EXPORTS = {
    "config": "Fallback Fallbacks PrefillMode RouterConfig",
    "configuration.source": "Models open_models shipped_models",
    "costs": "Price Prices",
    "errors": "ContextExceeded InvalidInput MissingExtra ModelUnavailable TrimError",
    "events": "Decided Drafted Event Finished Kept Regenerated Scored SpanWritten",
    "models.anthropic": "AnthropicModel",
    "models.llama_cpp": "LlamaCppModel",
    "models.model": "Completion Ending Model Prefix Sampling Turn",
    "models.openai": "OpenAIModel",
    "policies.policy": "Explanation Policy",
    "policies.registry": "parse_policies parse_policy",
    "policies.threshold": "Takeover Threshold",
    "router": "Router",
    "scorers.scorer": "Scorer Scores",
    "types": "Action Author Finish Observation Span Step Trace Usage",
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

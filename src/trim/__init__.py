"""trim: step-level hybrid inference for reasoning models."""

from trim.config import Fallback, Fallbacks, PrefillMode, RouterConfig
from trim.configuration.source import Models, open_models, shipped_models
from trim.costs import Price, Prices
from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable, TrimError
from trim.events import Decided, Drafted, Event, Finished, Kept, Regenerated, Scored
from trim.models.anthropic import AnthropicModel
from trim.models.llama_cpp import LlamaCppModel
from trim.models.model import Completion, Ending, Model, Prefix, Sampling, Turn
from trim.models.openai import OpenAIModel
from trim.policies.policy import Explanation, Policy
from trim.policies.registry import parse_policies, parse_policy
from trim.policies.threshold import Takeover, Threshold
from trim.router import Router
from trim.scorers.scorer import Scorer, Scores
from trim.types import Action, Author, Finish, Observation, Step, Trace, Usage

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

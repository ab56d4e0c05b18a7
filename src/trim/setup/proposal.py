"""A new configuration for two models, with a check of its parts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trim.checks.check import Checkup, check, checkup_of, try_models, try_scorers
from trim.checks.separation import Separation
from trim.configuration.configuration import Configuration
from trim.configuration.document import refuse_keys, resolved
from trim.configuration.source import ModelSource
from trim.models.model import Sampling
from trim.setup.notation import parse_source
from trim.setup.scorers import choose_kind, describe_scorer, threshold_for
from trim.setup.sections import CONTEXT, Connections, Document, describe, validate

HEAD = """\
# Written by `trim init`. Every setting: docs/reference/configuration.md.
#
#   trim check {name}
#   trim solve "What is 17 * 23?" {name}
"""


def configuration_text(document: dict[str, Any], separation: Separation | None, name: str) -> str:
    """The document in YAML.

    Args:
        separation: of the scorer; None if it was not measured.
        name: of the file.
    """
    comments = {
        "weak": "Drafts each step.",
        "strong": "Rewrites the steps that the policy rejects.",
        "scorer": scorer_comment(separation),
        "routing": "Steps with a score below this threshold are rewritten.\n"
        "`trim eval` compares several thresholds, `trim calibrate` finds one for a budget.",
        "sampling": "Steps are limited, since the models' context is short.",
    }
    parts = [HEAD.format(name=Path(name).name)]
    for part, content in document.items():
        lines = "".join(f"# {line}\n" for line in comments[part].splitlines())
        parts.append(lines + dumped({part: content}))
    return "\n".join(parts)


def scorer_comment(separation: Separation | None) -> str:
    if separation is None or separation.auc is None:
        return "Scores each step."
    right, wrong = separation.means
    return (
        f"Scores each step. On small problems the mean score was {right:.2f} for right steps and"
        f" {wrong:.2f}\nfor wrong ones, and the AUC was {separation.auc:.2f}."
    )


def dumped(part: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(part, sort_keys=False, allow_unicode=True, width=1000)
    return text


STEPS = 8
"""Steps that must fit a short context."""


@dataclass(frozen=True)
class Proposal:
    """A configuration to be written.

    Attributes:
        text: in YAML.
        checkup: the result of `trim check`.
    """

    text: str
    checkup: Checkup


def propose(
    models: Mapping[str, str], variables: Mapping[str, str | None], scorer: str | None, path: Path
) -> Proposal:
    """Find a continuation for two models, a scorer and a threshold.

    Args:
        models: `weak` and `strong` in the notation of `trim.setup.notation`.
        variables: the environment variables of their keys.
        scorer: kind or model of the scorer; None for the best built-in kind.
        path: file that the text will be written to.

    Raises:
        InvalidInput: a text is not a model, a file or a key is missing, or a model does not work.
        ModelUnavailable: a server does not answer.
    """
    # Two runs of the event loop, since each closes its connections: some servers have few.
    document = asyncio.run(describe_all(models, variables, scorer, path.parent))
    refuse_keys(document, "the configuration")
    checkup = asyncio.run(check_document(document, path.parent))
    kind = document["scorer"]["kind"]
    separation = checkup.tried.get(kind)
    document["routing"] = {"policy": f"thr:{threshold_for(separation)}"}
    if "sampling" in document:
        document["sampling"] = document.pop("sampling")
    return Proposal(configuration_text(document, separation, path.name), checkup)


async def describe_all(
    models: Mapping[str, str],
    variables: Mapping[str, str | None],
    scorer: str | None,
    folder: Path,
) -> Document:
    sources = {role: parse_source(text, role) for role, text in models.items()}
    connections: Connections = []
    document: Document = {
        role: await describe(source, role, variables[role], folder, connections)
        for role, source in sources.items()
    }
    if scorer:
        document["scorer"] = await describe_scorer(scorer, folder, connections)
    shortest = min(document[role].get("context", CONTEXT) for role in sources)
    if shortest < CONTEXT:
        document["sampling"] = {"max_tokens": shortest // STEPS}
    return document


async def check_document(document: Document, folder: Path) -> Checkup:
    """Check a document's parts; a document without a scorer gets the best built-in one."""
    configuration = configuration_of(document, folder)
    sampling = sampling_of(configuration, folder)
    if "scorer" in document:
        return await check(configuration, sampling)
    trial = await try_models(configuration, sampling)
    scorers = await try_scorers(configuration, trial)
    found = checkup_of(configuration, trial, scorers)
    document["scorer"] = {"kind": choose_kind(found.tried)}
    return checkup_of(configuration_of(document, folder), trial, scorers)


def configuration_of(document: Document, folder: Path) -> Configuration:
    return validate(Configuration, resolved(document, folder), "the configuration")


def sampling_of(configuration: Configuration, folder: Path) -> Sampling:
    return ModelSource(configuration, folder).config.sampling

"""From two models to the text of a configuration, and what its parts do."""

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
from trim.setup.sections import CONTEXT, Document, Kept, describe, validated

HEAD = """\
# Written by `trim init`. Every setting: docs/reference/configuration.md.
#
#   trim check {name}
#   trim solve "What is 17 * 23?" {name}
"""


def configuration_text(document: dict[str, Any], separation: Separation | None, name: str) -> str:
    """The document in YAML.

    Args:
        separation: how well the scorer told right steps from wrong ones; None where it was not
            found out.
        name: of the file.
    """
    comments = {
        "weak": "Drafts each step.",
        "strong": "Rewrites the steps that are doubted.",
        "scorer": scorer_comment(separation),
        "routing": "Steps with a score below this are rewritten: more of them at a higher one.\n"
        "`trim eval` compares several, `trim calibrate` finds one for a budget.",
        "sampling": "A step is no longer than this, since the models' context is short.",
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
        f"Scores each step. On small problems right steps had {right:.2f} on average, wrong ones"
        f" {wrong:.2f},\nand in {separation.auc:.2f} of the pairs the right one had more."
    )


def dumped(part: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(part, sort_keys=False, allow_unicode=True, width=1000)
    return text


STEPS = 8
"""Steps that a short context has room for."""


@dataclass(frozen=True)
class SetUp:
    """A configuration that may be written.

    Attributes:
        text: in YAML.
        checkup: what `trim check` says of it.
    """

    text: str
    checkup: Checkup


def set_up(
    models: Mapping[str, str], variables: Mapping[str, str | None], scorer: str | None, path: Path
) -> SetUp:
    """Find out how two models are used, and what scores their steps best.

    Args:
        models: `weak` and `strong` in the notation of `trim.setup.notation`.
        variables: by the same names, the environment variable of the key.
        scorer: kind or model of the scorer; None for the best kind that needs no model.
        path: where the text will be written.

    Raises:
        InvalidInput: a word names no model, a file or a key is missing, or a model does not work.
        ModelUnavailable: a server does not answer.
    """
    # Each run of the event loop closes its connections: some servers have few to offer.
    document = asyncio.run(describe_all(models, variables, scorer, path.parent))
    refuse_keys(document, "the configuration")
    checkup = asyncio.run(tried(document, path.parent))
    kind = document["scorer"]["kind"]
    separation = checkup.tried.get(kind)
    document["routing"] = {"policy": f"thr:{threshold_for(separation)}"}
    if "sampling" in document:
        document["sampling"] = document.pop("sampling")
    return SetUp(configuration_text(document, separation, path.name), checkup)


async def describe_all(
    models: Mapping[str, str],
    variables: Mapping[str, str | None],
    scorer: str | None,
    folder: Path,
) -> Document:
    sources = {role: parse_source(text, role) for role, text in models.items()}
    kept: Kept = []
    document: Document = {
        role: await describe(source, role, variables[role], folder, kept)
        for role, source in sources.items()
    }
    if scorer:
        document["scorer"] = await describe_scorer(scorer, folder, kept)
    shortest = min(document[role].get("context", CONTEXT) for role in sources)
    if shortest < CONTEXT:
        document["sampling"] = {"max_tokens": shortest // STEPS}
    return document


async def tried(document: Document, folder: Path) -> Checkup:
    """What the document's parts do; without a scorer, it is given the best one."""
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
    return validated(Configuration, resolved(document, folder), "the configuration")


def sampling_of(configuration: Configuration, folder: Path) -> Sampling:
    return ModelSource(configuration, folder).config.sampling

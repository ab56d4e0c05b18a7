"""The scorer of a new configuration, and the threshold of its policy."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path

from trim.checks.check import BUILT_IN
from trim.checks.exercises import KINDS
from trim.checks.findings import best_scorer
from trim.checks.scorers import last_score, make_scorer
from trim.checks.separation import ScorerFitness, Separation
from trim.configuration.configuration import Configuration
from trim.configuration.scorers import ScorerSection
from trim.errors import InvalidInput, TrimError
from trim.setup.notation import FileSource, ServerSource, parse_source
from trim.setup.sections import (
    Connections,
    Document,
    file_section,
    identify_server,
    validate,
)

BUILT_IN_KINDS = tuple(section.kind for section in BUILT_IN)
OPTION = "--scorer"
DEFAULT_THRESHOLD = 0.5


async def describe_scorer(text: str, folder: Path, connections: Connections) -> Document:
    """The section of a scorer: a built-in kind, a GGUF file or `URL#MODEL`.

    Raises:
        InvalidInput: it is none of them, the file is missing, or the model does not score.
        ModelUnavailable: the server does not answer.
    """
    if text in BUILT_IN_KINDS:
        return {"kind": text}
    source = parse_source(text, OPTION)
    if isinstance(source, FileSource):
        return {"kind": "label", **file_section(source.file, folder)}
    if not isinstance(source, ServerSource):
        raise InvalidInput(
            f"{OPTION} {text}: name {', '.join(BUILT_IN_KINDS)}, or a reward model: a GGUF file or"
            " URL#MODEL"
        )
    found = await identify_server(source, OPTION, {}, connections)
    kind = found.pop("server")
    served = {"url": source.url, **found}
    choices = (
        {"kind": "pooling", **served, "template": found["model"]},
        {"kind": "label", **served, "server": kind},
    )
    return await first_scoring(choices, connections)


async def first_scoring(choices: tuple[Document, ...], connections: Connections) -> Document:
    """The first section that returns a score. Raises InvalidInput if none does."""
    reasons = []
    for choice in choices:
        try:
            scorer = make_scorer(section_of(choice), {})
            connections.append(scorer)
            await last_score(scorer, KINDS[0].pairs(1)[0].right)
        except TrimError as error:
            reasons.append(f"as {choice['kind']}: {error}")
        else:
            return choice
    raise InvalidInput(f"{OPTION}: the model does not score; {'; '.join(reasons)}")


def section_of(document: Document) -> ScorerSection:
    least = {"gguf": "-"}
    whole = {"weak": least, "strong": least, "scorer": document}
    return validate(Configuration, whole, OPTION).scorer[0]


def choose_kind(tried: Mapping[str, Separation]) -> str:
    """The best fit kind; else the best unclear one; else the best unfit one."""
    rank = {ScorerFitness.FIT: 2, ScorerFitness.UNCLEAR: 1, ScorerFitness.UNFIT: 0}
    nearest = max(
        tried, key=lambda kind: (rank[tried[kind].fitness], tried[kind].auc or 0.0), default="grade"
    )
    return best_scorer(tried) or nearest


def threshold_for(separation: Separation | None) -> float:
    """The score in [0.01, 0.99] below which steps are rewritten.

    That is halfway between the means of right and wrong steps, or the first decile of right steps
    if there are too few wrong ones.
    """
    if separation is None:
        return DEFAULT_THRESHOLD
    right, wrong = separation.means
    if separation.enough and right is not None and wrong is not None:
        found = (right + wrong) / 2
    elif len(separation.right) > 1:
        found = statistics.quantiles(separation.right, n=10, method="inclusive")[0]
    else:
        found = DEFAULT_THRESHOLD
    return min(max(round(found, 2), 0.01), 0.99)

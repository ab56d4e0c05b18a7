"""What scores steps in a configuration that is being written, and below which score one is
rewritten."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path

from trim.checks.check import OWN
from trim.checks.exercises import KINDS
from trim.checks.findings import best_scorer
from trim.checks.scorers import last_score, make_scorer
from trim.checks.separation import ScorerFitness, Separation
from trim.configuration.build import ScorerSection
from trim.configuration.configuration import Configuration
from trim.engines.llama_cpp import check_file
from trim.errors import InvalidInput, TrimError
from trim.setup.notation import FileSource, ServerSource, parse_source
from trim.setup.sections import Document, Kept, identified, placed, validated

KINDS_OF_OWN = tuple(section.kind for section in OWN)
"""Kinds that need no model of their own."""
ROLE = "--scorer"
USUAL_THRESHOLD = 0.5


async def describe_scorer(text: str, folder: Path, kept: Kept) -> Document:
    """The section of a kind, or of a reward model: a GGUF file or `URL#MODEL`.

    Raises:
        InvalidInput: it is neither, the file is missing, or it does not score.
        ModelUnavailable: the server does not answer.
    """
    if text in KINDS_OF_OWN:
        return {"kind": text}
    source = parse_source(text, ROLE)
    if isinstance(source, FileSource):
        check_file(source.path)
        return {"kind": "label", **placed(source.path, folder)}
    if not isinstance(source, ServerSource):
        raise InvalidInput(
            f"{ROLE} {text}: name {', '.join(KINDS_OF_OWN)}, or a reward model: a GGUF file or"
            " URL#MODEL"
        )
    found = await identified(source, ROLE, {}, kept)
    kind = found.pop("server")
    served = {"url": source.url, **found}
    choices = (
        {"kind": "pooling", **served, "template": found["model"]},
        {"kind": "label", **served, "server": kind},
    )
    return await first_scoring(choices, kept)


async def first_scoring(choices: tuple[Document, ...], kept: Kept) -> Document:
    """Raises InvalidInput where none of the sections gives a score."""
    reasons = []
    for choice in choices:
        try:
            scorer = make_scorer(section_of(choice), {})
            kept.append(scorer)
            await last_score(scorer, KINDS[0].pairs(1)[0].right)
        except TrimError as error:
            reasons.append(f"as {choice['kind']}: {error}")
        else:
            return choice
    raise InvalidInput(f"{ROLE}: the model does not score; {'; '.join(reasons)}")


def section_of(document: Document) -> ScorerSection:
    least = {"gguf": "-"}
    whole = {"weak": least, "strong": least, "scorer": document}
    return validated(Configuration, whole, ROLE).scorer[0]


def choose_kind(tried: Mapping[str, Separation]) -> str:
    """The kind to use: the best fit one, else one that may be fit, else the one nearest to it."""
    rank = {ScorerFitness.FIT: 2, ScorerFitness.UNCLEAR: 1, ScorerFitness.UNFIT: 0}
    nearest = max(
        tried, key=lambda kind: (rank[tried[kind].fitness], tried[kind].auc or 0.0), default="grade"
    )
    return best_scorer(tried) or nearest


def threshold_for(separation: Separation | None) -> float:
    """The score, in [0.01, 0.99], below which steps are rewritten.

    It is halfway between the means of right and wrong steps; without enough wrong ones, what one
    of ten right steps is below.
    """
    if separation is None:
        return USUAL_THRESHOLD
    right, wrong = separation.means
    if separation.enough and right is not None and wrong is not None:
        found = (right + wrong) / 2
    elif len(separation.right) > 1:
        found = statistics.quantiles(separation.right, n=10, method="inclusive")[0]
    else:
        found = USUAL_THRESHOLD
    return min(max(round(found, 2), 0.01), 0.99)

"""The parts of a configuration that say what scores steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from trim.configuration.models import GgufFile, Served, ServerKind
from trim.configuration.section import Positive, Section
from trim.scorers.label import RIGHT, WRONG
from trim.scorers.pooling import SYSTEM, TAG


class PoolingSection(Served):
    """A reward model with a tag after each step (`trim.scorers.pooling.PoolingScorer`)."""

    kind: Literal["pooling"]
    template: str
    tag: str = TAG
    system: str | None = SYSTEM
    limit: Positive | None = 4096
    logits: bool = False


class LabelSection(Served):
    """A label model on a server (`trim.scorers.label.HttpLabelScorer`)."""

    kind: Literal["label"]
    server: ServerKind = "other"
    template: str | None = None
    right: str = RIGHT
    wrong: str = WRONG


class LabelFile(GgufFile):
    """A label model in a GGUF file.

    Attributes:
        template: as of a model (`GgufModel`): with one, steps are turns.
    """

    kind: Literal["label"]
    template: bool | str = True
    right: str = RIGHT
    wrong: str = WRONG


class GradeSection(Section):
    """The strong model's own grade: a GGUF file without a chat template goes on with a digit
    (`trim.scorers.grade`), others are asked (`trim.scorers.grade`).

    Attributes:
        likeliest: tokens to ask probabilities of; 0 for a server that tells none.
    """

    kind: Literal["grade"]
    likeliest: Annotated[int, Field(ge=0)] = 20


class ConfidenceSection(Section):
    """How sure a model was of what it wrote (`trim.scorers.confidence`)."""

    kind: Literal["logprob", "entropy"]


def reading_kind(given: Any) -> str | None:
    if isinstance(given, LabelFile):
        return "<label file>"
    kind = given.get("kind") if isinstance(given, Mapping) else getattr(given, "kind", None)
    if kind == "label" and isinstance(given, Mapping) and "gguf" in given:
        return "<label file>"
    return f"<{kind}>" if kind in ("pooling", "label") else None


ReadingSection = Annotated[
    Annotated[PoolingSection, Tag("<pooling>")]
    | Annotated[LabelSection, Tag("<label>")]
    | Annotated[LabelFile, Tag("<label file>")],
    Discriminator(
        reading_kind,
        custom_error_type="said",
        custom_error_message="{message}",
        custom_error_context={"message": "a reward model has the kind pooling or label"},
    ),
]


class JointSection(Section):
    """A reward model and the author's confidence together (`trim.scorers.joint`).

    Attributes:
        weights: file of `trim fit-scorer`.
        of: the reward model.
    """

    kind: Literal["joint"]
    weights: Path
    of: ReadingSection


def scorer_kind(given: Any) -> str | None:
    kind = given.get("kind") if isinstance(given, Mapping) else getattr(given, "kind", None)
    known = {"grade": "<grade>", "logprob": "<logprob>", "entropy": "<logprob>"}
    return reading_kind(given) or {**known, "joint": "<joint>"}.get(str(kind))


ScorerSection = Annotated[
    Annotated[PoolingSection, Tag("<pooling>")]
    | Annotated[LabelSection, Tag("<label>")]
    | Annotated[LabelFile, Tag("<label file>")]
    | Annotated[GradeSection, Tag("<grade>")]
    | Annotated[ConfidenceSection, Tag("<logprob>")]
    | Annotated[JointSection, Tag("<joint>")],
    Discriminator(
        scorer_kind,
        custom_error_type="said",
        custom_error_message="{message}",
        custom_error_context={
            "message": "a scorer has a kind: pooling, label, grade, logprob, entropy or joint"
        },
    ),
]

"""The section `scorer`: what scores steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from trim.configuration.models import GgufFile, Plugin, Served, ServerKind
from trim.configuration.section import INVALID, Positive, Section, invalid
from trim.scorers.label import RIGHT, WRONG
from trim.scorers.pooling import SYSTEM, TAG


class PoolingSection(Served):
    """A reward model that reads a tag after each step (`trim.scorers.pooling.PoolingScorer`)."""

    kind: Literal["pooling"]
    template: str
    tag: str = TAG
    system: str | None = SYSTEM
    limit: Positive | None = 4096
    logits: bool = False


class Labels(Section):
    """The tokens that a label model writes for a right and for a wrong step."""

    right: str = RIGHT
    wrong: str = WRONG

    @model_validator(mode="after")
    def require_two(self) -> Self:
        if self.right == self.wrong:
            raise invalid(f"right and wrong are both {self.right!r}: name two labels")
        return self


class LabelSection(Served, Labels):
    """A label model on a server (`trim.scorers.label.HttpLabelScorer`)."""

    kind: Literal["label"]
    server: ServerKind = "other"
    template: str | None = None


class LabelFile(GgufFile, Labels):
    """A label model in a GGUF file.

    Attributes:
        template: as in `GgufSection`; with one, each step is a turn.
    """

    kind: Literal["label"]
    template: bool | str = True


class GradeSection(Section):
    """A grade from 0 to 9 by the strong model (`trim.scorers.grade`).

    Attributes:
        likeliest: number of top tokens to request log-probabilities of; 0 for a server that
            reports none.
    """

    kind: Literal["grade"]
    likeliest: Annotated[int, Field(ge=0, le=1000)] = 20


class ConfidenceSection(Section):
    """The confidence of the model in the step that it wrote (`trim.scorers.confidence`)."""

    kind: Literal["logprob", "entropy"]


class PluginScorer(Plugin):
    """A scorer of the entry-point group `trim.scorers`, in place of a reward model.

    The package declares, in its `pyproject.toml`,

        [project.entry-points."trim.scorers"]
        length = "my_package:LengthScorer"

    and a configuration names it:

        scorer: {kind: plugin, plugin: length, longest: 200}

    `my_package.LengthScorer(longest=200)` then returns a `trim.scorers.scorer.Scorer`.
    """

    kind: Literal["plugin"]


RewardModel = PoolingSection | LabelSection | LabelFile | PluginScorer


def reward_model_tag(given: Any) -> str | None:
    if isinstance(given, LabelFile):
        return "<label file>"
    kind = given.get("kind") if isinstance(given, Mapping) else getattr(given, "kind", None)
    if kind == "label" and isinstance(given, Mapping) and "gguf" in given:
        return "<label file>"
    return f"<{kind}>" if kind in ("pooling", "label", "plugin") else None


RewardModelSection = Annotated[
    Annotated[PoolingSection, Tag("<pooling>")]
    | Annotated[LabelSection, Tag("<label>")]
    | Annotated[LabelFile, Tag("<label file>")]
    | Annotated[PluginScorer, Tag("<plugin>")],
    Discriminator(
        reward_model_tag,
        custom_error_type=INVALID,
        custom_error_message="{message}",
        custom_error_context={"message": "a reward model has the kind pooling, label or plugin"},
    ),
]


class JointSection(Section):
    """A reward model combined with the author's confidence (`trim.scorers.joint`).

    Attributes:
        weights: file of `trim fit-scorer`.
        of: the reward model.
    """

    kind: Literal["joint"]
    weights: Path
    of: RewardModelSection


def scorer_tag(given: Any) -> str | None:
    kind = given.get("kind") if isinstance(given, Mapping) else getattr(given, "kind", None)
    known = {"grade": "<grade>", "logprob": "<logprob>", "entropy": "<logprob>"}
    return reward_model_tag(given) or {**known, "joint": "<joint>"}.get(str(kind))


ScorerSection = Annotated[
    Annotated[PoolingSection, Tag("<pooling>")]
    | Annotated[LabelSection, Tag("<label>")]
    | Annotated[LabelFile, Tag("<label file>")]
    | Annotated[PluginScorer, Tag("<plugin>")]
    | Annotated[GradeSection, Tag("<grade>")]
    | Annotated[ConfidenceSection, Tag("<logprob>")]
    | Annotated[JointSection, Tag("<joint>")],
    Discriminator(
        scorer_tag,
        custom_error_type=INVALID,
        custom_error_message="{message}",
        custom_error_context={
            "message": "a scorer has a kind: pooling, label, grade, logprob, entropy, joint or"
            " plugin"
        },
    ),
]


def kind_of(section: ScorerSection) -> str:
    """The kind of score (`trim.scorers.scorer.KINDS`) of a section."""
    return "prm" if isinstance(section, RewardModel) else section.kind


def find_reward_model(sections: Iterable[ScorerSection]) -> RewardModelSection | None:
    """The reward model of a configuration, alone or of a joint score; None without one."""
    return next(iter(reward_models(sections)), None)


def reward_models(sections: Iterable[ScorerSection]) -> list[RewardModelSection]:
    """The reward models of all sections, those of joint scores included."""
    bare = (each.of if isinstance(each, JointSection) else each for each in sections)
    return [each for each in bare if isinstance(each, RewardModel)]


def require_one_of_each_kind(sections: tuple[ScorerSection, ...]) -> tuple[ScorerSection, ...]:
    """The sections. Raises if two have one kind: policies choose by kind, and runs and banks
    record one reward model."""
    kinds = list(map(kind_of, sections))
    for kind in kinds:
        if kinds.count(kind) > 1:
            two = "two reward models" if kind == "prm" else f"two of the kind {kind!r}"
            raise invalid(f"{two}; leave one out")
    found = reward_models(sections)
    if any(each != found[0] for each in found):
        raise invalid(
            "the joint score is of another reward model than the one beside it; give both the same"
            " settings, or leave the latter out"
        )
    return sections

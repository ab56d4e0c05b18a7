"""A scorer as a configuration names it, made ready to score."""

from __future__ import annotations

from collections.abc import Iterable

from trim.configuration.scorer import (
    ConfidenceSection,
    GradeSection,
    JointSection,
    LabelFile,
    LabelSection,
    PoolingSection,
)
from trim.configuration.writing import WritingModel, make_engine, make_server, template_of
from trim.engines.gguf import read_chat
from trim.errors import InvalidInput
from trim.models.chat_template import read_chat_template
from trim.models.continuation import Continuation
from trim.models.dialect import find_dialect
from trim.models.llama_cpp import LlamaCppModel
from trim.models.openai import OpenAIModel
from trim.scorers.confidence import FirstEntropyScorer, LogProbabilityScorer
from trim.scorers.grade import GradeScorer
from trim.scorers.grades import HttpGradeScorer
from trim.scorers.joint import JointScorer, read_weights
from trim.scorers.label import RIGHT, WRONG, LabelScorer
from trim.scorers.labels import HttpLabelScorer
from trim.scorers.pooling import PoolingScorer
from trim.scorers.scorer import Scorer

ReadingSection = PoolingSection | LabelSection | LabelFile
ScorerSection = ReadingSection | GradeSection | ConfidenceSection | JointSection


def kind_of(section: ScorerSection) -> str:
    """The kind of score (`trim.scorers.choice.KINDS`) that a section gives."""
    return "prm" if isinstance(section, ReadingSection) else section.kind


def reading_of(sections: Iterable[ScorerSection]) -> ReadingSection | None:
    """The reward model of a configuration; that of joint scores where there is no other."""
    whole = list(sections)
    plain = [section for section in whole if isinstance(section, ReadingSection)]
    joint = [section.of for section in whole if isinstance(section, JointSection)]
    return next(iter((*plain, *joint)), None)


def make_scorers(
    sections: Iterable[ScorerSection],
    strong: WritingModel,
    confident: bool,
    slots: int | None = None,
    exact: bool = False,
    system: str | None = None,
) -> dict[str, Scorer]:
    """The scorers by kind: those of the sections, and those that need no model of their own.

    Args:
        confident: whether all models tell how sure they are of a step.
        system: system message of a reward model; None for its own.

    Raises:
        InvalidInput: two of one kind, or a file or a key is missing or damaged.
    """
    made: dict[str, Scorer] = {}
    for section in sections:
        kind = kind_of(section)
        if kind in made and kind != "prm":
            raise InvalidInput(f"scorer: two of the kind {kind!r}; leave one out")
        if isinstance(section, JointSection):
            prm = made.get("prm") or make_reader(section.of, slots, exact, system)
            made |= {"joint": JointScorer(prm, read_weights(section.weights)), "prm": prm}
        elif isinstance(section, GradeSection):
            made["grade"] = make_grade(section, strong)
        elif isinstance(section, ConfidenceSection):
            if not confident:
                raise InvalidInput(
                    f"scorer {section.kind!r}: a model does not tell how sure it is of a step;"
                    " name another scorer, or a server that tells log-probabilities"
                )
        else:
            made["prm"] = make_reader(section, slots, exact, system)
    if confident:
        made |= {"logprob": LogProbabilityScorer(), "entropy": FirstEntropyScorer()}
    return {**made, "grade": made.get("grade") or make_grade(GradeSection(kind="grade"), strong)}


def make_reader(
    section: ReadingSection,
    slots: int | None = None,
    exact: bool = False,
    system: str | None = None,
) -> PoolingScorer | HttpLabelScorer | LabelScorer:
    """A reward model. Raises InvalidInput where a file or a key is missing or damaged."""
    if isinstance(section, LabelFile):
        engine, name = make_engine(section, slots, exact), section.name or "scorer"
        template = template_of(section)
        if template is None and (section.right, section.wrong) == (RIGHT, WRONG):
            return LabelScorer(engine, name)
        begins = read_chat(section.gguf).adds_begin
        reader = LlamaCppModel(engine, name, adds_begin=begins)
        return HttpLabelScorer(reader, template, section.right, section.wrong)
    server = make_server(section, "scorer")
    if isinstance(section, PoolingSection):
        return PoolingScorer(
            server,
            section.model,
            read_chat_template(section.template),
            section.name,
            section.tag,
            system or section.system,
            section.limit,
            section.logits,
            section.extra_body,
        )
    model = OpenAIModel(
        server,
        section.model,
        Continuation.COMPLETIONS,
        find_dialect(section.server),
        section.name,
        extra_body=section.extra_body,
    )
    template = read_chat_template(section.template) if section.template else None
    return HttpLabelScorer(model, template, section.right, section.wrong)


def make_grade(section: GradeSection, strong: WritingModel) -> GradeScorer | HttpGradeScorer:
    if isinstance(strong, LlamaCppModel) and strong.template is None:
        return GradeScorer(strong.engine)
    return HttpGradeScorer(strong, section.likeliest)

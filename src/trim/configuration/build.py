"""A scorer as a configuration names it, made ready to score."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from trim.configuration.models import AnthropicServed, GgufFile, GgufSection, OpenAIServed, Served
from trim.configuration.scorers import (
    ConfidenceSection,
    GradeSection,
    JointSection,
    LabelFile,
    LabelSection,
    PoolingSection,
)
from trim.configuration.section import Section
from trim.engines.chat_template import ChatTemplate, read_chat_template
from trim.engines.gguf import read_chat
from trim.engines.http import HttpServer
from trim.engines.key import Key, read_key
from trim.engines.llama_cpp import LlamaCppEngine, check_file
from trim.engines.retry import RetryPolicy
from trim.errors import InvalidInput
from trim.models.anthropic import AnthropicModel, anthropic_server
from trim.models.continuation import Continuation
from trim.models.llama_cpp import LlamaCppModel
from trim.models.openai import OpenAIModel
from trim.models.prompt import Prompt
from trim.scorers.confidence import FirstEntropyScorer, LogProbabilityScorer
from trim.scorers.grade import GradeScorer, HttpGradeScorer
from trim.scorers.joint import JointScorer, read_weights
from trim.scorers.label import RIGHT, WRONG, HttpLabelScorer, LabelScorer
from trim.scorers.pooling import PoolingScorer
from trim.scorers.scorer import Scorer

WritingModel = LlamaCppModel | OpenAIModel | AnthropicModel
WritingSection = GgufSection | OpenAIServed | AnthropicServed
Part = TypeVar("Part", bound=Section)

FAIL_FAST_ATTEMPTS = 2
"""Attempts of a trial, which does not wait for a server to come back."""


def make_model(
    section: WritingSection,
    role: str,
    slots: int | None = None,
    exact: bool = False,
    entropy: bool = False,
    prompt: Prompt | None = None,
) -> WritingModel:
    """The model of a section.

    Args:
        role: what a file without a name of its own is called.
        slots: in place of the section's, for a file.
        exact: repeat every character from run to run; only a file can.
        entropy: have it tell the entropy of each step's first token, if it can.
        prompt: what is read around a question; None for the section's own.

    Raises:
        InvalidInput: a file, a key or a chat template is missing or damaged.
        ModelUnavailable: llama.cpp cannot load the file.
    """
    prompt = prompt or section.prompt(Prompt())
    if isinstance(section, GgufSection):
        template = template_of(section)
        if prompt.system and template is None:
            raise InvalidInput(
                f"{section.gguf.name}: a system message needs a chat template, and the file has"
                " none; leave the system message out, or name a template"
            )
        begins = template is not None and read_chat(section.gguf).adds_begin
        return LlamaCppModel(
            make_engine(section, slots, exact),
            section.name or role,
            entropy=entropy,
            template=template,
            prompt=prompt,
            thinking_off=section.thinking_off,
            adds_begin=begins,
        )
    if exact:
        raise InvalidInput(f"--exact: {role} is on a server, which may not repeat itself exactly")
    if isinstance(section, AnthropicServed):
        return AnthropicModel(
            section.model,
            anthropic_server(
                key_of(section, role),
                section.url,
                concurrency=section.concurrency,
                retry=patience_of(section),
            ),
            continuation=section.continuation,
            name=section.name,
            prompt=prompt,
            extra_body=section.extra_body,
        )
    return OpenAIModel(
        make_server(section, role),
        section.model,
        continuation=section.continuation,
        dialect=section.server,
        name=section.name,
        template=template_of(section),
        prompt=prompt,
        thinking_off=section.thinking_off,
        log_probabilities=section.log_probabilities,
        entropy=entropy,
        token_ids=section.token_ids,
        extra_body=section.extra_body,
    )


def template_of(section: WritingSection | LabelFile) -> ChatTemplate | None:
    """The chat template that a model reads its question by; None for plain text."""
    if isinstance(section, AnthropicServed):
        return None
    if isinstance(section, GgufFile):
        check_file(section.gguf)
        if section.template is True:
            return read_chat(section.gguf).template
    return read_chat_template(section.template) if isinstance(section.template, str) else None


def make_engine(section: GgufFile, slots: int | None = None, exact: bool = False) -> LlamaCppEngine:
    return LlamaCppEngine(
        section.gguf, slots or section.slots, section.context, section.threads, exact
    )


def make_server(section: Served, role: str) -> HttpServer:
    return HttpServer(section.url, key_of(section, role), section.concurrency, patience_of(section))


def patience_of(section: Served) -> RetryPolicy:
    return RetryPolicy(seconds=section.timeout, attempts=section.attempts)


def key_of(section: Served, role: str) -> Key | None:
    """Raises InvalidInput where the key that is named is missing."""
    file: Path | None = section.key_file
    if file and not file.is_file():
        # Its name is not repeated: somebody may have put the key itself here.
        raise InvalidInput(f"{role}.key_file: no such file; it holds the key and nothing else")
    return read_key(section.key_variable, file)


def fail_fast(section: Part) -> Part:
    """The section with few attempts, for trials."""
    if not isinstance(section, Served):
        return section
    return section.model_copy(update={"attempts": min(section.attempts, FAIL_FAST_ATTEMPTS)})


ReadingSection = PoolingSection | LabelSection | LabelFile
ScorerSection = ReadingSection | GradeSection | ConfidenceSection | JointSection


def kind_of(section: ScorerSection) -> str:
    """The kind of score (`trim.scorers.scorer.KINDS`) that a section gives."""
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
        reader = LlamaCppModel(engine, name, template=None, adds_begin=begins)
        return HttpLabelScorer(reader, template, section.right, section.wrong)
    server = make_server(section, "scorer")
    if isinstance(section, PoolingSection):
        return PoolingScorer(
            server,
            section.model,
            template=section.template,
            name=section.name,
            tag=section.tag,
            system=system or section.system,
            limit=section.limit,
            logits=section.logits,
            extra_body=section.extra_body,
        )
    model = OpenAIModel(
        server,
        section.model,
        continuation=Continuation.COMPLETIONS,
        dialect=section.server,
        name=section.name,
        extra_body=section.extra_body,
    )
    return HttpLabelScorer(model, section.template, section.right, section.wrong)


def make_grade(section: GradeSection, strong: WritingModel) -> GradeScorer | HttpGradeScorer:
    if isinstance(strong, LlamaCppModel) and strong.template is None:
        return GradeScorer(strong.engine)
    return HttpGradeScorer(strong, section.likeliest)

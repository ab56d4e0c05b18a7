"""Models and scorers, made from their sections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from trim.configuration.models import (
    AnthropicServed,
    GgufFile,
    GgufSection,
    ModelSection,
    PluginModel,
    Served,
    WritingSection,
)
from trim.configuration.scorers import (
    ConfidenceSection,
    GradeSection,
    JointSection,
    LabelFile,
    PluginScorer,
    PoolingSection,
    RewardModelSection,
    ScorerSection,
    find_reward_model,
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
from trim.models.model import Model, load_model
from trim.models.openai import OpenAIModel
from trim.models.prompt import Prompt
from trim.scorers.confidence import FirstEntropyScorer, LogProbabilityScorer
from trim.scorers.grade import GradeScorer, HttpGradeScorer
from trim.scorers.joint import JointScorer, read_weights
from trim.scorers.label import RIGHT, WRONG, HttpLabelScorer, LabelScorer
from trim.scorers.pooling import PoolingScorer
from trim.scorers.scorer import Scorer, load_scorer

WritingModel = LlamaCppModel | OpenAIModel | AnthropicModel
"""A model that trim itself implements."""
AnySection = TypeVar("AnySection", bound=Section)

TRIAL_ATTEMPTS = 2


def make_writer(
    section: ModelSection,
    role: str,
    slots: int | None = None,
    exact: bool = False,
    entropy: bool = False,
    prompt: Prompt | None = None,
) -> Model:
    """`make_model`, or the model of a plug-in.

    Raises:
        InvalidInput: as `make_model`; or the plug-in is not installed, does not take the settings
            or returns no model.
    """
    if not isinstance(section, PluginModel):
        return make_model(section, role, slots, exact, entropy, prompt)
    if exact:
        raise InvalidInput(f"--exact: {role} is a plug-in; only GGUF files repeat every character")
    return load_model(section.plugin, section.keywords)


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
        role: path of the section in the configuration, for errors.
        slots: overrides that of a file.
        exact: repeat every character from run to run; files only.
        entropy: report the entropy of each step's first token, if possible.
        prompt: overrides that of the section.

    Raises:
        InvalidInput: a file, a key or a chat template is missing or damaged.
        ModelUnavailable: llama.cpp cannot load the file.
    """
    prompt = prompt or section.prompt(Prompt())
    if isinstance(section, GgufSection):
        path, template = section.local_path(), template_of(section)
        if prompt.system and template is None:
            raise InvalidInput(
                f"{path.name}: a system message needs a chat template, and the file has"
                " none; leave the system message out, or name a template"
            )
        return LlamaCppModel(
            make_engine(section, slots, exact),
            section.name or role_at(role),
            entropy=entropy,
            template=template,
            prompt=prompt,
            thinking_off=section.thinking_off,
            adds_begin=template is not None and read_chat(path).adds_begin,
        )
    if exact:
        raise InvalidInput(
            f"--exact: {role} is on a server; only GGUF files repeat every character"
        )
    if isinstance(section, AnthropicServed):
        return AnthropicModel(
            section.model,
            anthropic_server(
                key_of(section, role),
                section.url,
                concurrency=section.concurrency,
                retry=retry_policy(section),
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


def role_at(path: str) -> str:
    """The role of the model at a path: `intermediate-1` at `intermediate.0`."""
    name, dot, place = path.partition(".")
    return f"{name}-{int(place) + 1}" if dot else name


def template_of(section: ModelSection | LabelFile) -> ChatTemplate | None:
    """The chat template that renders a model's prompts; None for plain text."""
    if isinstance(section, AnthropicServed | PluginModel):
        return None
    if isinstance(section, GgufFile):
        path = section.local_path()
        check_file(path)
        if section.template is True:
            return read_chat(path).template
    return read_chat_template(section.template) if isinstance(section.template, str) else None


def make_engine(section: GgufFile, slots: int | None = None, exact: bool = False) -> LlamaCppEngine:
    return LlamaCppEngine(
        section.local_path(), slots or section.slots, section.context, section.threads, exact
    )


def make_server(section: Served, role: str) -> HttpServer:
    return HttpServer(
        section.url, key_of(section, role), section.concurrency, retry_policy(section)
    )


def retry_policy(section: Served) -> RetryPolicy:
    return RetryPolicy(seconds=section.timeout, attempts=section.attempts)


def key_of(section: Served, role: str) -> Key | None:
    """The API key of a server. Raises InvalidInput if the key that is named is missing."""
    file: Path | None = section.key_file
    if file and not file.is_file():
        # The message leaves the file's name out: it may be the key itself, put here by mistake.
        raise InvalidInput(f"{role}.key_file: no such file; it must hold the key and nothing else")
    return read_key(section.key_variable, file)


def for_trial(section: AnySection) -> AnySection:
    """The section with few attempts, since a check does not wait until a server is up."""
    if not isinstance(section, Served):
        return section
    return section.model_copy(update={"attempts": min(section.attempts, TRIAL_ATTEMPTS)})


def make_scorers(
    sections: Sequence[ScorerSection],
    strong: Model,
    log_probabilities: bool,
    slots: int | None = None,
    exact: bool = False,
    system: str | None = None,
) -> dict[str, Scorer]:
    """The scorers of the sections and those that need no model of their own, by kind.

    Args:
        sections: at most one of each kind, and of one reward model (`Configuration`).
        log_probabilities: whether all models report them.
        system: overrides the system message of a reward model.

    Raises:
        InvalidInput: a file or a key is missing or damaged.
    """
    scorers: dict[str, Scorer] = {}
    if reward_model := find_reward_model(sections):
        scorers["prm"] = make_reward_model(reward_model, slots, exact, system)
    for section in sections:
        if isinstance(section, JointSection):
            scorers["joint"] = JointScorer(scorers["prm"], read_weights(section.weights))
        elif isinstance(section, GradeSection):
            scorers["grade"] = make_grade(section, strong)
        elif isinstance(section, ConfidenceSection) and not log_probabilities:
            raise InvalidInput(
                f"scorer {section.kind!r}: a model reports no log-probabilities; name another"
                " scorer, or a server that reports them"
            )
    if log_probabilities:
        scorers |= {"logprob": LogProbabilityScorer(), "entropy": FirstEntropyScorer()}
    if "grade" not in scorers and isinstance(strong, WritingModel):
        scorers["grade"] = make_grade(GradeSection(kind="grade"), strong)
    return scorers


def make_reward_model(
    section: RewardModelSection,
    slots: int | None = None,
    exact: bool = False,
    system: str | None = None,
) -> Scorer:
    """A reward model, or the scorer of a plug-in.

    Raises:
        InvalidInput: a file or a key is missing or damaged; or the plug-in is not installed, does
            not take the settings or returns no scorer.
    """
    if isinstance(section, PluginScorer):
        return load_scorer(section.plugin, section.keywords)
    if isinstance(section, LabelFile):
        engine, name = make_engine(section, slots, exact), section.name or "scorer"
        template = template_of(section)
        if template is None and (section.right, section.wrong) == (RIGHT, WRONG):
            return LabelScorer(engine, name)
        begins = read_chat(section.local_path()).adds_begin
        # The scorer itself renders the template.
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


def make_grade(section: GradeSection, strong: Model) -> GradeScorer | HttpGradeScorer:
    """The grade scorer. Raises InvalidInput if the strong model is a plug-in."""
    if isinstance(strong, LlamaCppModel) and strong.template is None:
        return GradeScorer(strong.engine)
    if not isinstance(strong, WritingModel):
        raise InvalidInput(f"scorer 'grade': {strong.name} is a plug-in; name another scorer")
    return HttpGradeScorer(strong, section.likeliest)

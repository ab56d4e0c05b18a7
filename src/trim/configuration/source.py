"""The models of a configuration, before and after they are loaded."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from trim.config import End, Fallbacks, RouterConfig, Rules
from trim.configuration.build import make_scorers, make_writer, role_at, template_of
from trim.configuration.configuration import Configuration, read_configuration
from trim.configuration.document import read_document, relative, resolved
from trim.configuration.identity import LOCAL_SETTINGS, identify, identify_models
from trim.configuration.models import ModelSection, OpenAIServed, PluginModel
from trim.configuration.pricing import price_list, unpriced
from trim.configuration.protocol import DEFAULT, EvaluationProtocol, find_protocol
from trim.configuration.scorers import JointSection, kind_of
from trim.costs import Prices
from trim.errors import InvalidInput
from trim.models.anthropic import AnthropicModel
from trim.models.model import Model, Sampling
from trim.models.openai import OpenAIModel
from trim.models.probe import probe
from trim.models.prompt import Prompt
from trim.policies.scope import Scope, read_classifier
from trim.scorers.scorer import KINDS, Scorer
from trim.shipped import FOLDER
from trim.steps import MAX_STEPS


@dataclass(frozen=True)
class Models:
    """Loaded models and scorers.

    Attributes:
        intermediate: models between weak and strong, weakest first.
        scorers: by kind (`trim.scorers.scorer.KINDS`).
        default_kind: the default kind of score; None without a scorer.
        advice: how to get a missing kind of score, for the error message.
    """

    weak: Model
    strong: Model
    scorers: Mapping[str, Scorer]
    intermediate: tuple[Model, ...] = ()
    default_kind: str | None = None
    advice: str = ""

    @property
    def writers(self) -> dict[str, Model]:
        """Every model by its place in the configuration, weakest first."""
        intermediate = {f"intermediate.{n}": model for n, model in enumerate(self.intermediate)}
        return {"weak": self.weak, **intermediate, "strong": self.strong}

    @property
    def scorer(self) -> Scorer | None:
        """The scorer of `default_kind`."""
        return None if self.default_kind is None else self.scorers[self.default_kind]

    def scorer_of(self, kind: str) -> Scorer:
        """The scorer of a kind. Raises InvalidInput without one."""
        if kind not in KINDS:
            raise InvalidInput(f"unknown scorer {kind!r}; known: {', '.join(KINDS)}")
        if kind not in self.scorers:
            known = ", ".join(self.scorers)
            raise InvalidInput(
                f"scorer {kind!r}: {self.advice or f'the configuration has none; it has {known}'}"
            )
        return self.scorers[kind]


FILE_NAME = "configuration.yaml"
"""File in a run's folder with the configuration of the run."""


@dataclass(frozen=True)
class ModelSource:
    """The models of a configuration or of a folder, not yet loaded.

    Attributes:
        folder: that of the configuration file.
        task: the benchmark's prompt, for models without a prompt of their own; None in a chat.
        is_folder: whether these are the files of a folder, set up as the shipped models; they were
            trained on questions without a prompt, so benchmarks and protocols add none.
    """

    configuration: Configuration
    folder: Path
    task: Prompt | None = None
    is_folder: bool = False

    @property
    def default_kind(self) -> str | None:
        return next(map(kind_of, self.configuration.scorer), None)

    @property
    def policy(self) -> str | None:
        return self.configuration.routing.spec

    @property
    def routers(self) -> dict[str, str]:
        return {router.name: router.spec for router in self.configuration.server.routers}

    @property
    def curve(self) -> Path | None:
        return self.configuration.server.curve

    @property
    def target_share(self) -> float | None:
        return self.configuration.server.target_share

    @property
    def passthrough(self) -> str | None:
        return self.configuration.server.passthrough

    @property
    def hosts(self) -> tuple[str, ...]:
        return self.configuration.server.hosts

    @property
    def origins(self) -> tuple[str, ...]:
        return self.configuration.server.origins

    @property
    def belief(self) -> Path | None:
        return self.configuration.server.belief

    @property
    def joint(self) -> Path | None:
        sections = self.configuration.scorer
        return next((each.weights for each in sections if isinstance(each, JointSection)), None)

    @property
    def config(self) -> RouterConfig:
        """Settings of an evaluation."""
        routing, sampling = self.configuration.routing, self.configuration.sampling
        given = routing.fallbacks
        return RouterConfig(
            sampling=Sampling(
                sampling.temperature, sampling.top_p, sampling.top_k, sampling.max_tokens
            ),
            max_steps=routing.max_steps or MAX_STEPS,
            max_seconds=routing.max_seconds,
            max_strong_tokens=routing.max_strong_tokens,
            fallbacks=Fallbacks(given.weak, given.intermediate, given.strong, given.scorer),
            overlap=routing.overlap,
            prefill=routing.prefill,
            rules=replace(
                self.protocol.rules,
                ends=routing.ends or End.BOX,
                keeps_fences=routing.fences == "keep",
            ),
        )

    @property
    def chat_config(self) -> RouterConfig:
        """Settings of a server, where no benchmark sets a task."""
        # Without the protocol: the authors' continues a solution until it has a box, so that an
        # answer without one would never end.
        routing = self.configuration.routing
        rules = Rules(ends=routing.ends or End.MODEL, keeps_fences=routing.fences != "split")
        return replace(self.config, max_steps=routing.max_steps, rules=rules)

    def scope(self) -> Scope | None:
        """Which requests are routed; None for all.

        Raises:
            InvalidInput: the classifier's file cannot be read.
        """
        section = self.configuration.routing.scope
        if section is None:
            return None
        return Scope(
            role_at(section.rest),
            re.compile(section.question) if section.question else None,
            re.compile(section.system) if section.system else None,
            read_classifier(section.classifier) if section.classifier else None,
            section.threshold,
        )

    @property
    def concurrency(self) -> int:
        """Problems that an evaluation solves at a time."""
        return self.configuration.routing.concurrency

    @property
    def protocol(self) -> EvaluationProtocol:
        return find_protocol(self.configuration.protocol)

    def with_task(self, prompt: Prompt) -> ModelSource:
        """The same models with a benchmark's prompt."""
        return self if self.is_folder else replace(self, task=prompt)

    def prompt_of(self, section: ModelSection) -> Prompt:
        """The prompt of a model: the protocol's, its own, or the benchmark's."""
        if isinstance(section, PluginModel):
            return Prompt()
        if self.task is None:
            return section.prompt(Prompt())
        return self.protocol.prompt or section.prompt(self.task)

    @property
    def price_list(self) -> Prices | None:
        return price_list(self.configuration)

    @property
    def prices(self) -> Prices:
        return self.price_list or Prices()

    @property
    def unpriced(self) -> tuple[str, ...]:
        return unpriced(self.configuration)

    def identify(self, kind: str | None) -> dict[str, str]:
        """By role, the sha256 of a file or the model's name on its server.

        Args:
            kind: of the score; None for the default.
        """
        kind = kind or self.default_kind
        if self.is_folder:
            return identify_models(self.folder, kind or "prm")
        names = identify(self.configuration, kind)
        if self.protocol.prompt is None:
            return names
        scoring = ("joint", "scorer")
        protocol = f", protocol {self.protocol.name}"
        return {role: name if role in scoring else name + protocol for role, name in names.items()}

    def display_name(self, role: str) -> str:
        """The name of a role's model in error messages."""
        if self.is_folder:
            return "joint.json" if role == "joint" else f"{role}.gguf"
        return "the weights of joint scores" if role == "joint" else role

    def record(self) -> dict[str, Any]:
        """For `run.json`: the configuration without `LOCAL_SETTINGS`, and all prompts.

        Empty for a folder of models, which `identify` describes completely.
        """
        if self.is_folder:
            return {}
        configuration = self.configuration
        sections: dict[str, ModelSection]
        sections = {"weak": configuration.weak, "strong": configuration.strong}
        intermediate = enumerate(configuration.intermediate, 1)
        sections |= {f"intermediate-{n}": each for n, each in intermediate}
        prompts = {}
        for role, section in sections.items():
            template = template_of(section)
            prompts[role] = {
                **asdict(self.prompt_of(section)),
                "template": template.source if template else None,
            }
        # The rules of a run record the fences; an evaluation has no scope.
        whole = configuration.model_dump(mode="json", exclude={"routing": {"scope", "fences"}})
        return {"configuration": without(whole, LOCAL_SETTINGS), "prompts": prompts}

    def files(self, folder: Path) -> dict[str, str]:
        """For a run's folder: the configuration, with paths relative to that folder."""
        if self.is_folder:
            return {}
        whole = self.configuration.model_dump(mode="json", exclude_unset=True)
        return {
            FILE_NAME: yaml.safe_dump(relative(whole, folder), sort_keys=False, allow_unicode=True)
        }

    def load(self, slots: int | None = None, exact: bool = False, entropy: bool = False) -> Models:
        """Load the files, and try whether the model of each server continues a text.

        Args:
            slots: overrides those of the files: requests that are decoded together.
            exact: repeat every character from run to run; files only.
            entropy: report the entropy of each step's first token, if possible.

        Raises:
            InvalidInput: a file, a key or a chat template is missing or damaged, or a server does
                not take the continuation.
            ModelUnavailable: a server does not answer.
        """
        if self.is_folder and not self.folder.is_dir():
            raise InvalidInput(
                f"{self.folder}: no such folder of models; it needs weak, strong and scorer .gguf"
            )
        models = self.build(slots, exact, entropy)
        remote = OpenAIModel | AnthropicModel
        served = [each for each in models.writers.values() if isinstance(each, remote)]

        async def probe_each() -> None:
            for model in served:
                await probe(model)

        if served:
            asyncio.run(probe_each())
        return models

    def fetch(self) -> None:
        """Download model files from the hub, and check each sha256 that the configuration states.

        Raises:
            InvalidInput: the hub does not deliver a file, or a sha256 differs.
            MissingExtra: the client of the hub, or llama.cpp, is not installed.
        """
        for section in self.configuration.gguf_sections:
            section.local_path()

    def build(self, slots: int | None = None, exact: bool = False, entropy: bool = False) -> Models:
        """`load` without a request to any server."""
        self.fetch()
        configuration = self.configuration

        def make(place: str) -> Model:
            section = configuration.writers[place]
            return make_writer(section, place, slots, exact, entropy, self.prompt_of(section))

        weak, *intermediate, strong = map(make, configuration.writers)
        # A request for the entropy includes log-probabilities.
        reported = all(
            section.reports_log_probabilities or (entropy and isinstance(section, OpenAIServed))
            for section in configuration.writers.values()
        )
        system = self.protocol.scorer_system if self.task else None
        scorers = make_scorers(configuration.scorer, strong, reported, slots, exact, system)
        return Models(weak, strong, scorers, tuple(intermediate), self.default_kind, self.advice)

    @property
    def advice(self) -> str:
        """How to get a missing kind of score; empty for a configuration."""
        if not self.is_folder:
            return ""
        return (
            "the folder of models has no joint.json; fit one with"
            " `trim fit-scorer BANK --out FOLDER/joint.json`, or choose --scorer prm"
        )


def open_models(path: Path | str | None = None, assignments: Sequence[str] = ()) -> ModelSource:
    """The models of a configuration file; by default, those that ship with trim.

    Args:
        assignments: overrides, as in `strong.url=http://host:8000`.

    Raises:
        InvalidInput: the file is missing or invalid.
    """
    if path is None:
        if assignments:
            raise InvalidInput("assignments need the configuration file that they change")
        return models_in(FOLDER)
    return ModelSource(read_configuration(Path(path), assignments), Path(path).parent)


def models_in(folder: Path = FOLDER, protocol: str = DEFAULT.name) -> ModelSource:
    """The models of a folder with `weak.gguf`, `strong.gguf`, `scorer.gguf` and, for joint
    scores, `joint.json`, set up as the shipped ones.

    Raises:
        InvalidInput: the protocol is unknown.
    """
    document = {**read_document(FOLDER / "trim.yaml"), "protocol": find_protocol(protocol).name}
    if folder != FOLDER:
        del document["server"]
    if not (folder / "joint.json").exists():
        document["scorer"] = document["scorer"]["of"]
    configuration = Configuration.model_validate(resolved(document, folder))
    return ModelSource(configuration, folder, is_folder=True)


def shipped_models(slots: int = 16, exact: bool = False, entropy: bool = False) -> Models:
    """Load the models that ship with trim; takes about 0.2 seconds.

    Args:
        slots: requests that each model decodes together.
        exact: repeat every character from run to run; slower.
        entropy: report the entropy of each step's first token, for the scorer `entropy`.
    """
    return models_in().load(slots, exact, entropy)


def without(value: Any, names: set[str]) -> Any:
    """A copy without these names, at any depth."""
    if isinstance(value, dict):
        return {name: without(each, names) for name, each in value.items() if name not in names}
    return [without(each, names) for each in value] if isinstance(value, list) else value

"""The lineup of a configuration file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from trim.config import End, Fallbacks, Rules, Settings
from trim.configuration.build import (
    WritingModel,
    WritingSection,
    kind_of,
    make_model,
    make_scorers,
    template_of,
)
from trim.configuration.configuration import Configuration, read_configuration
from trim.configuration.document import relative
from trim.configuration.identity import identify
from trim.configuration.pricing import price_list, unpriced
from trim.configuration.protocol import EvaluationProtocol, find_protocol
from trim.configuration.scorers import JointSection
from trim.costs import Prices
from trim.errors import InvalidInput
from trim.models.anthropic import AnthropicModel
from trim.models.llama_cpp import LlamaCppModel
from trim.models.model import Sampling
from trim.models.openai import OpenAIModel
from trim.models.probe import probe
from trim.models.prompt import Prompt
from trim.scorers.scorer import Scorer
from trim.steps import MAX_STEPS


@dataclass(frozen=True)
class ConfiguredTeam:
    """The team (`trim.configuration.lineup.Models`) of a configuration.

    Attributes:
        scorers: by kind; those that the configuration names, and those that need nothing else.
    """

    weak: WritingModel
    between: tuple[WritingModel, ...]
    strong: WritingModel
    scorers: Mapping[str, Scorer]

    @property
    def writers(self) -> dict[str, WritingModel]:
        """Every model by its place in the configuration, the weakest first."""
        middle = {f"between.{index}": model for index, model in enumerate(self.between)}
        return {"weak": self.weak, **middle, "strong": self.strong}

    def scorer_of(self, kind: str) -> Scorer:
        """Raises InvalidInput where there is none of that kind."""
        if kind not in self.scorers:
            raise InvalidInput(
                f"scorer {kind!r}: the configuration has none; it has {', '.join(self.scorers)}"
            )
        return self.scorers[kind]


NAME = "configuration.yaml"
"""In a run's folder: the configuration as it was used."""
OF_THE_PLACE = {
    *("url", "key_variable", "key_file", "concurrency", "timeout", "attempts"),
    *("gguf", "weights", "template", "slots", "threads", "policy", "router", "prices", "server"),
}
"""What may change while a run goes on, and what its record holds elsewhere: the sha256 of files
and the policies."""


@dataclass(frozen=True)
class ConfiguredModelSource:
    """The lineup (`trim.configuration.lineup.ModelSource`) of a configuration.

    Attributes:
        folder: of its file.
        task: what a benchmark asks of models that have no prompt of their own; None in a chat,
            where nobody has set a task.
    """

    configuration: Configuration
    folder: Path
    task: Prompt | None = None

    @property
    def usual_kind(self) -> str | None:
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
    def belief(self) -> Path | None:
        return self.configuration.server.belief

    @property
    def joint(self) -> Path | None:
        sections = self.configuration.scorer
        return next((each.weights for each in sections if isinstance(each, JointSection)), None)

    @property
    def settings(self) -> Settings:
        routing, sampling = self.configuration.routing, self.configuration.sampling
        given = routing.fallbacks
        return Settings(
            Sampling(sampling.temperature, sampling.top_p, sampling.top_k, sampling.max_tokens),
            routing.max_steps or MAX_STEPS,
            routing.max_seconds,
            routing.max_strong_tokens,
            Fallbacks(given.weak, given.between, given.strong, given.scorer),
            routing.overlap,
            routing.warming,
            routing.concurrency,
            replace(self.protocol.rules, ends=routing.ends or End.BOX),
        )

    @property
    def chat_settings(self) -> Settings:
        # A protocol is of evaluations: by the authors' a model that has ended is asked on for ever
        # where no box ends its answer.
        routing = self.configuration.routing
        rules = Rules(ends=routing.ends or End.MODEL)
        return replace(self.settings, max_steps=routing.max_steps, rules=rules)

    @property
    def protocol(self) -> EvaluationProtocol:
        return find_protocol(self.configuration.protocol)

    def for_problems(self, prompt: Prompt) -> ConfiguredModelSource:
        return replace(self, task=prompt)

    def prompt_of(self, section: WritingSection) -> Prompt:
        """What a model reads around a question: the protocol's, its own, or the benchmark's."""
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
        named = identify(self.configuration, kind)
        if self.protocol.prompt is None:
            return named
        readers = ("joint", "scorer")
        protocol = f", protocol {self.protocol.name}"
        return {role: name if role in readers else name + protocol for role, name in named.items()}

    def called(self, role: str) -> str:
        return "the weights of joint scores" if role == "joint" else role

    def record(self) -> dict[str, Any]:
        """The configuration without what belongs to the place, and the prompts in full."""
        configuration = self.configuration
        sections = {"weak": configuration.weak, "strong": configuration.strong}
        sections |= {f"between-{n}": each for n, each in enumerate(configuration.between, 1)}
        prompts = {}
        for role, section in sections.items():
            template = template_of(section)
            prompts[role] = {
                **asdict(self.prompt_of(section)),
                "template": template.source if template else None,
            }
        whole = configuration.model_dump(mode="json")
        return {"configuration": without(whole, OF_THE_PLACE), "prompts": prompts}

    def files(self, folder: Path) -> dict[str, str]:
        """The whole configuration, with paths as seen from the run's folder; no key is in it."""
        whole = self.configuration.model_dump(mode="json", exclude_unset=True)
        return {NAME: yaml.safe_dump(relative(whole, folder), sort_keys=False, allow_unicode=True)}

    def load(
        self, slots: int | None = None, exact: bool = False, entropy: bool = False
    ) -> ConfiguredTeam:
        """Load the files, reach the servers, and try how each of them goes on from a text."""
        team = self.assemble(slots, exact, entropy)
        served = [each for each in team.writers.values() if not isinstance(each, LlamaCppModel)]

        async def try_each() -> None:
            for model in served:
                await probe(model)

        if served:
            asyncio.run(try_each())
        return team

    def assemble(
        self, slots: int | None = None, exact: bool = False, entropy: bool = False
    ) -> ConfiguredTeam:
        """As `load`, without asking any server."""
        configuration = self.configuration

        def made(section: WritingSection, role: str) -> WritingModel:
            return make_model(section, role, slots, exact, entropy, self.prompt_of(section))

        weak = made(configuration.weak, "weak")
        between = tuple(
            made(section, f"between.{place}") for place, section in enumerate(configuration.between)
        )
        strong = made(configuration.strong, "strong")
        confident = all(map(tells_confidence, (weak, *between, strong)))
        system = self.protocol.scorer_system if self.task else None
        scorers = make_scorers(configuration.scorer, strong, confident, slots, exact, system)
        return ConfiguredTeam(weak, between, strong, scorers)


def open_lineup(path: Path, assignments: Sequence[str] = ()) -> ConfiguredModelSource:
    """The lineup of a file, with what the command line assigns (`read_configuration`)."""
    return ConfiguredModelSource(read_configuration(path, assignments), path.parent)


def tells_confidence(model: WritingModel) -> bool:
    """Whether each step comes with its log-probability."""
    match model:
        case AnthropicModel():
            return False
        case OpenAIModel():
            return model.log_probabilities
    return True


def without(value: Any, names: set[str]) -> Any:
    """A copy without those names, wherever they stand."""
    if isinstance(value, dict):
        return {name: without(each, names) for name, each in value.items() if name not in names}
    return [without(each, names) for each in value] if isinstance(value, list) else value

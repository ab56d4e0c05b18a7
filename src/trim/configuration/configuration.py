"""A whole configuration: its sections, validated together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationError, model_validator

from trim.configuration.document import (
    override_in,
    overrides_in,
    parse_override,
    read_document,
    refuse_keys,
    resolved,
)
from trim.configuration.models import AnthropicServed, GgufFile, ModelSection, OpenAIServed
from trim.configuration.protocol import DEFAULT, PROTOCOLS
from trim.configuration.routing import PricesSection, RoutingSection, SamplingSection, ServerSection
from trim.configuration.scorers import (
    ConfidenceSection,
    JointSection,
    ScorerSection,
    require_one_of_each_kind,
)
from trim.configuration.section import Section, first_error, invalid, one_of
from trim.errors import InvalidInput
from trim.legacy import CONFIGURATION_KEYS, current_configuration, current_path, old_keys

ProtocolName = Annotated[str, AfterValidator(one_of(PROTOCOLS))]


def in_list(given: Any) -> Any:
    """A single scorer needs no list around it."""
    return [given] if isinstance(given, Mapping) else given


class Configuration(Section):
    """All settings of a run.

    Attributes:
        intermediate: models between weak and strong, weakest first.
        scorer: the default scorer, then those for policies that need another kind of score; at
            most one of each kind, and of one reward model.
        protocol: conditions of an evaluation (`trim.configuration.protocol`).
    """

    weak: ModelSection
    intermediate: tuple[ModelSection, ...] = ()
    strong: ModelSection
    scorer: Annotated[
        tuple[ScorerSection, ...],
        BeforeValidator(in_list),
        AfterValidator(require_one_of_each_kind),
    ] = ()
    routing: RoutingSection = RoutingSection()
    sampling: SamplingSection = SamplingSection()
    prices: PricesSection = PricesSection()
    server: ServerSection = ServerSection()
    protocol: ProtocolName = DEFAULT.name

    @model_validator(mode="after")
    def require_passthrough_server(self) -> Configuration:
        role = self.server.passthrough
        if role and not isinstance(getattr(self, role), OpenAIServed):
            raise invalid(
                f"server.passthrough: {role} must be a server with OpenAI's protocol (api: openai)"
            )
        return self

    @model_validator(mode="after")
    def require_rest(self) -> Configuration:
        scope = self.routing.scope
        if scope and scope.rest not in self.writers:
            known = ", ".join(self.writers)
            raise invalid(f"routing.scope.rest: {scope.rest!r} is none of the models {known}")
        return self

    @property
    def writers(self) -> dict[str, ModelSection]:
        """The models by their places in the file, weakest first."""
        intermediate = {f"intermediate.{n}": each for n, each in enumerate(self.intermediate)}
        return {"weak": self.weak, **intermediate, "strong": self.strong}

    @property
    def gguf_sections(self) -> list[GgufFile]:
        """The models and reward models that run in this process."""
        scorers = (each.of if isinstance(each, JointSection) else each for each in self.scorer)
        return [each for each in (*self.writers.values(), *scorers) if isinstance(each, GgufFile)]

    @property
    def reports_log_probabilities(self) -> bool:
        """Whether each step of each model comes with its log-probability."""
        return all(section.reports_log_probabilities for section in self.writers.values())

    @model_validator(mode="after")
    def require_log_probabilities(self) -> Configuration:
        """Raises if a scorer needs log-probabilities that a model does not report."""
        lacking = {
            role: each for role, each in self.writers.items() if not each.reports_log_probabilities
        }
        for scorer in self.scorer:
            if lacking and isinstance(scorer, ConfidenceSection | JointSection):
                role, section = next(iter(lacking.items()))
                remedy = (
                    ""
                    if isinstance(section, AnthropicServed)
                    else f"set {role}.log_probabilities: true if it can, or "
                )
                raise invalid(
                    f"scorer {scorer.kind!r}: {role} reports no log-probabilities; {remedy}name"
                    " another scorer, such as `{kind: grade}`"
                )
        return self


def read_configuration(
    path: Path,
    assignments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Configuration:
    """Read a file; the environment overrides it, and `assignments` override both.

    Paths in the file are relative to its folder, others to the working directory.

    Args:
        assignments: as in `strong.url=http://host:8000`, the value in YAML.
        environment: by default that of the process.

    Raises:
        InvalidInput: the file is unreadable or invalid, or it holds a key.
    """
    document = read_document(path)
    refuse_keys(document, str(path))
    renamed = old_keys(document)
    document = with_current_names(resolved(document, path.parent), str(path))
    environment = os.environ if environment is None else environment
    known = {*Configuration.model_fields, *(names[0] for names in CONFIGURATION_KEYS)}
    overrides = overrides_in(environment, known)
    for override in (*overrides, *map(parse_override, assignments)):
        refuse_keys(override.document, override.source)
        renamed |= old_keys(override.document)
        value = with_current_names(override.value, override.source, override.names)
        current = replace(override, names=current_path(override.names), value=value)
        document = override_in(document, current)
    try:
        return Configuration.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(f"{path}: {first_error(error, document, renamed)}") from None


def with_current_names(document: Any, source: str, path: tuple[str, ...] = ()) -> Any:
    """`current_configuration`. Raises InvalidInput that names the source."""
    try:
        return current_configuration(document, path)
    except ValueError as error:
        raise InvalidInput(f"{source}: {error}") from error

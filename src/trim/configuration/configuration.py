"""A whole configuration, checked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationError, model_validator

from trim.configuration.document import (
    overridden,
    overrides_in,
    parse_override,
    read_document,
    refuse_keys,
    resolved,
)
from trim.configuration.models import (
    AnthropicServed,
    ModelSection,
    OpenAIServed,
    tells_log_probabilities,
)
from trim.configuration.protocol import DEFAULT, PROTOCOLS
from trim.configuration.routing import PricesSection, RoutingSection, SamplingSection, ServerSection
from trim.configuration.scorers import ConfidenceSection, JointSection, ScorerSection
from trim.configuration.section import Section, first_error, one_of, said
from trim.errors import InvalidInput

ProtocolName = Annotated[str, AfterValidator(one_of(PROTOCOLS))]


def listed(given: Any) -> Any:
    """One scorer may stand without a list around it."""
    return [given] if isinstance(given, Mapping) else given


class Configuration(Section):
    """Everything that a run is told.

    Attributes:
        between: models between the weak and the strong one, the weakest first.
        scorer: what scores steps; the first one is the usual one, further ones are for
            policies that are made for another kind of score.
        protocol: the conditions of an evaluation (`trim.configuration.protocol`).
    """

    weak: ModelSection
    between: tuple[ModelSection, ...] = ()
    strong: ModelSection
    scorer: Annotated[tuple[ScorerSection, ...], BeforeValidator(listed)] = ()
    routing: RoutingSection = RoutingSection()
    sampling: SamplingSection = SamplingSection()
    prices: PricesSection = PricesSection()
    server: ServerSection = ServerSection()
    protocol: ProtocolName = DEFAULT.name

    @model_validator(mode="after")
    def require_server_to_pass_on_to(self) -> Configuration:
        role = self.server.passthrough
        if role and not isinstance(getattr(self, role), OpenAIServed):
            raise said(
                f"server.passthrough: {role} is no server with OpenAI's protocol (api: openai), and"
                " only such a one can be handed a request"
            )
        return self

    @property
    def writers(self) -> dict[str, ModelSection]:
        """The models by their places in the file, the weakest first."""
        between = {f"between.{place}": each for place, each in enumerate(self.between)}
        return {"weak": self.weak, **between, "strong": self.strong}

    @model_validator(mode="after")
    def require_confidence(self) -> Configuration:
        """Raises for a scorer that needs log-probabilities where a model does not tell them."""
        silent = {
            role: each for role, each in self.writers.items() if not tells_log_probabilities(each)
        }
        for scorer in self.scorer:
            if silent and isinstance(scorer, ConfidenceSection | JointSection):
                role, section = next(iter(silent.items()))
                remedy = (
                    ""
                    if isinstance(section, AnthropicServed)
                    else f"set {role}.log_probabilities: true if its server has them, or "
                )
                raise said(
                    f"scorer {scorer.kind!r}: {role} tells no log-probabilities; {remedy}name"
                    " another scorer, such as `{kind: grade}`"
                )
        return self


def read_configuration(
    path: Path,
    assignments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Configuration:
    """Read a file; the environment and then the command line have the last word.

    Paths in the file are relative to its folder, others to the working directory.

    Args:
        assignments: as `strong.url=http://host:8000`, the value in YAML.
        environment: the process's own where None.

    Raises:
        InvalidInput: the file is unreadable or wrong, or there is a key in it.
    """
    document = read_document(path)
    refuse_keys(document, str(path))
    document = resolved(document, path.parent)
    environment = os.environ if environment is None else environment
    overrides = overrides_in(environment, Configuration.model_fields)
    for override in (*overrides, *map(parse_override, assignments)):
        placeholder: Any = override.value
        for name in reversed(override.names):
            placeholder = {name: placeholder}
        refuse_keys(placeholder, override.source)
        document = overridden(document, override)
    try:
        return Configuration.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(f"{path}: {first_error(error, document)}") from None

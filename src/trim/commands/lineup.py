"""Which models a command uses: those of a folder, or those of a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from trim.configuration.lineup import open_lineup
from trim.embedded.lineup import EmbeddedLineup
from trim.errors import InvalidInput
from trim.lineup import Lineup
from trim.protocol import DEFAULT, find_protocol


def choose_lineup(
    configuration: Path | None,
    assignments: Sequence[str],
    models: Path,
    protocol: str | None = None,
) -> Lineup:
    """The lineup of a command line.

    Args:
        protocol: in place of the configuration's; None for that.

    Raises:
        InvalidInput: a wrong configuration, or options that do not go together.
    """
    if configuration is None:
        if assignments:
            raise InvalidInput("--set: there is no configuration whose values it could change")
        return EmbeddedLineup(models, protocol=find_protocol(protocol) if protocol else DEFAULT)
    if click.get_current_context().get_parameter_source("models") is ParameterSource.COMMANDLINE:
        raise InvalidInput("--models: the configuration names the models; leave one of the two out")
    chosen = (f"protocol={protocol}",) if protocol else ()
    return open_lineup(configuration, (*assignments, *chosen))

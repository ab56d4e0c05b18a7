"""Which prices a command bills by: its own, or those of the configuration."""

from __future__ import annotations

from pathlib import Path

import click

from trim.lineup import Lineup
from trim.prices import EXAMPLE, Prices, read_prices


def named_prices(given: Path | None) -> Prices | None:
    """The price list that `--prices` names: a file, or the example by its name.

    Raises:
        InvalidInput: the file is unreadable or no price list.
    """
    if given is None:
        return None
    return Prices() if str(given) == EXAMPLE else read_prices(given)


def choose_prices(given: Path | None, lineup: Lineup) -> Prices | None:
    """The price list of a run: that of `--prices`, or else the configuration's.

    Warns of hosted models that are not billed.

    Returns:
        None where nothing is billed.
    """
    named = named_prices(given)
    if named is None and lineup.unpriced:
        click.echo(
            f"trim: warning: no prices are given for {', '.join(lineup.unpriced)} on a hosted API,"
            " so its tokens are not billed; give `prices` in the configuration, or --prices FILE",
            err=True,
        )
    return named or lineup.price_list

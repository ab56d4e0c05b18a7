"""The price list of a configuration, and its hosted parts that lack a price."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from trim.configuration.configuration import Configuration
from trim.configuration.models import Served
from trim.configuration.scorers import JointSection, ScorerSection
from trim.configuration.section import Section
from trim.costs import CURRENCY, FREE, Prices, price_of, priced

PRIVATE_NAMES = (".local", ".internal", ".lan", ".home.arpa", ".localhost")


def price_list(configuration: Configuration) -> Prices | None:
    """The prices of a configuration; None without any. Parts without a price are free."""
    given = configuration.prices.model_dump(exclude_none=True)
    intermediate = [price_of(kinds) for kinds in given.pop("intermediate")]
    currency = given.pop("currency", CURRENCY)
    if not given and not intermediate:
        return None
    intermediate += [FREE] * (len(configuration.intermediate) - len(intermediate))
    lists = {role: price_of(kinds) for role, kinds in given.items()}
    return priced(lists, intermediate, currency)


def unpriced(configuration: Configuration) -> tuple[str, ...]:
    """Parts on a hosted API that the configuration has no price for."""
    prices = configuration.prices
    named = {role for role in ("weak", "strong", "scorer") if getattr(prices, role) is not None}
    named |= {f"intermediate.{n}" for n in range(len(prices.intermediate))}
    return tuple(
        dict.fromkeys(
            role
            for role, section in parts(configuration)
            if role not in named and isinstance(section, Served) and is_hosted(section.url)
        )
    )


def parts(configuration: Configuration) -> Iterator[tuple[str, Section]]:
    """Every part by its name in a price list."""
    yield from configuration.writers.items()
    yield from (("scorer", remote_part(section)) for section in configuration.scorer)


def remote_part(section: ScorerSection) -> Section:
    """The part of a scorer that a server may run."""
    return section.of if isinstance(section, JointSection) else section


def is_hosted(url: str) -> bool:
    """Whether a URL is that of a billed API: https, outside private networks."""
    address = urlsplit(url)
    return address.scheme == "https" and not is_private(address.hostname or "")


def is_private(host: str) -> bool:
    """Whether a host is this machine or in a private network, by its name or address alone."""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith(PRIVATE_NAMES)

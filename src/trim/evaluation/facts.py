"""What a report states about its run: models, date, prices and version."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trim.configuration.source import ModelSource
from trim.costs import Price, Prices
from trim.errors import DISTRIBUTION


def facts_of(
    source: ModelSource, kind: str | None, prices: Prices | None, folder: Path
) -> list[tuple[str, str]]:
    """Names and values, in the order of the page.

    Args:
        kind: of the score; None without scores.
        folder: of the run; its traces give the date (UTC), today without any.
    """
    configuration = source.configuration
    intermediate = ", ".join(map(name_of, configuration.intermediate))
    traces = folder / "traces.jsonl"
    written = traces.stat().st_mtime if traces.exists() else datetime.now(UTC).timestamp()
    return [
        ("weak model", name_of(configuration.weak)),
        *([("intermediate", intermediate)] if intermediate else []),
        ("strong model", name_of(configuration.strong)),
        ("scores", kind or "none"),
        ("date", datetime.fromtimestamp(written, UTC).date().isoformat()),
        ("trim", version(DISTRIBUTION)),
        ("prices", describe_prices(prices)),
    ]


def name_of(section: Any) -> str:
    """The name of a configured model, its name on its server, or its file."""
    for field in ("name", "model", "plugin"):
        if value := getattr(section, field, None):
            return str(value)
    file = getattr(section, "gguf", None)
    return str(file).rpartition("/")[2] if file else str(getattr(section, "url", "–"))


def describe_prices(prices: Prices | None) -> str:
    """`USD for a million tokens read, cached, written: weak 0.05, 0.005, 0.2; …`."""
    if prices is None:
        return "none"
    parts = "; ".join(f"{role} {of_price(price)}" for role, price in by_role(prices))
    return f"{prices.currency} for a million tokens read, cached, written: {parts}"


def by_role(prices: Prices) -> Iterator[tuple[str, Price]]:
    yield "weak", prices.weak
    yield from ((f"intermediate {n}", price) for n, price in enumerate(prices.intermediate, 1))
    yield "strong", prices.strong
    yield "scorer", prices.scorer


def of_price(price: Price) -> str:
    if price == Price():
        return "free"
    return ", ".join(f"{each:g}" for each in (price.prompt, price.cached, price.output))

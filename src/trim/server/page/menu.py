"""What the page offers: routers with their measured curve, and the models behind them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from trim.configuration.source import ModelSource
from trim.server.service import Service
from trim.shipped import FOLDER


def menu(service: Service) -> dict[str, Any]:
    """The content of `/page/menu`."""
    catalog = service.catalog
    return {
        "names": catalog.names,
        "usual": catalog.usual.name,
        "curve": [asdict(entry) for entry in catalog.curve],
        "measured": catalog.measured,
        "keys": service.accounts.need_key,
        "currency": service.prices.currency,
        "models": {
            "weak": service.models.weak.name,
            "strong": service.models.strong.name,
            "shipped": is_shipped(service.source),
        },
    }


def is_shipped(source: ModelSource) -> bool:
    """Whether weak and strong model are those in the package."""
    configuration = source.configuration
    files = [getattr(model, "gguf", None) for model in (configuration.weak, configuration.strong)]
    # A file on the hub is no path.
    return all(
        isinstance(path, Path) and path.resolve().parent == FOLDER.resolve() for path in files
    )

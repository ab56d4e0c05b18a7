"""Folders of trained routers: FAMILY.json and FAMILY.safetensors."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from trim.errors import InvalidInput
from trim.files import numbers, read_bytes, read_record, unreadable, write_atomically, writing
from trim.fingerprints import Seen, seen_field
from trim.scorers.scorer import KINDS

VERSION, SEPARATE = 1, 2
"""Versions of the format of the two files: one network for all prices, or one for each."""

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class PriceRange:
    """The prices lambda, in right answers per strong token, that a router was trained for.

    Attributes:
        lowest, highest: both positive; equal for a router with a single price.
    """

    lowest: float
    highest: float

    def __post_init__(self) -> None:
        if not 0 < self.lowest <= self.highest < math.inf:
            raise InvalidInput(
                f"lambda from {self.lowest:g} to {self.highest:g}: not a range of positive prices"
            )

    def positions(self, prices: NDArray[Any]) -> NDArray[Any]:
        """Prices on a logarithmic scale from -1 (lowest) to 1; 0 for a single price."""
        if self.lowest == self.highest:
            return np.zeros_like(prices, dtype=np.float64)
        width = math.log(self.highest / self.lowest)
        return np.asarray(2 * np.log(np.asarray(prices) / self.lowest) / width - 1)

    def prices_at(self, positions: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `positions`."""
        share = (np.asarray(positions) + 1) / 2
        return np.asarray(self.lowest * (self.highest / self.lowest) ** share)

    def position(self, price: float) -> float:
        """The position of one price. Raises InvalidInput outside the range."""
        # The rounded ends of a sweep are still within it.
        if not self.lowest * (1 - 1e-9) <= price <= self.highest * (1 + 1e-9):
            raise InvalidInput(
                f"lambda {price:g} is outside the range that the router was trained for:"
                f" {self.lowest:g} to {self.highest:g}"
            )
        return float(self.positions(np.array(price)))


@dataclass(frozen=True)
class LearnedRouter:
    """A trained router, as stored in its folder.

    Attributes:
        family: `agg` or `seq`.
        features: names of the inputs of the network, in order, without the price.
        log_odds: whether scores, their minimum and their product are given as log-odds.
        range: prices that it was trained for.
        prices: the default sweep, falling, each within the range.
        tensors: weights by name, with the shapes of its family.
        scorer: the kind of score that it was trained on (`trim.scorers.scorer.KINDS`).
        models: sha256 of each model file by role, from the bank.
        separate: whether each of `prices` has a network of its own; the names of its tensors then
            begin with its place among them, as in `0.output.bias`, and other prices have none.
    """

    family: str
    features: tuple[str, ...]
    log_odds: bool
    range: PriceRange
    prices: tuple[float, ...]
    tensors: Mapping[str, Weights]
    scorer: str
    models: Mapping[str, str]
    separate: bool = False

    def network_at(self, price: float) -> tuple[Mapping[str, Weights], float]:
        """The tensors for a price, and its position in [-1, 1] as an input of the network.

        Raises:
            InvalidInput: the router was not trained for the price.
        """
        if not self.separate:
            return self.tensors, self.range.position(price)
        for place, trained in enumerate(self.prices):
            if math.isclose(price, trained, rel_tol=1e-9):
                prefix = f"{place}."
                return {
                    name.removeprefix(prefix): tensor
                    for name, tensor in self.tensors.items()
                    if name.startswith(prefix)
                }, 0.0
        known = ", ".join(f"{trained:g}" for trained in self.prices)
        raise InvalidInput(
            f"lambda {price:g}: the router was trained for single prices alone: {known}"
        )


def write_router(folder: Path, router: LearnedRouter, seen: Seen = frozenset()) -> None:
    """Write a router and the fingerprints of the problems that it was trained on.

    Raises:
        InvalidInput: the folder cannot be written.
    """
    content = save({name: np.ascontiguousarray(w) for name, w in router.tensors.items()})
    record = {
        "policy": router.family,
        "version": SEPARATE if router.separate else VERSION,
        "features": router.features,
        "log_odds": router.log_odds,
        "range": asdict(router.range),
        "lambdas": router.prices,
        "scorer": router.scorer,
        "models": dict(router.models),
        "sha256": hashlib.sha256(content).hexdigest(),
        **seen_field(seen),
    }
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{router.family}.safetensors", content)
        write_atomically(folder / f"{router.family}.json", json.dumps(record, indent=2) + "\n")


def read_router(
    folder: Path,
    family: str,
    known_features: Sequence[tuple[str, ...]],
    shapes: Mapping[str, Sequence[str | int]],
) -> LearnedRouter:
    """Read the router of a family from a folder.

    Args:
        known_features: the lists of features that the family supports.
        shapes: the shape of each tensor. A size given as a word is free, but equal wherever the
            word occurs; `inputs` is the number of features plus one.

    Raises:
        InvalidInput: the files are unreadable, damaged, of another family or version, or for
            unknown features or scores.
    """
    path = folder / f"{family}.json"
    record = read_record(path, family)
    if record.get("version") not in (VERSION, SEPARATE):
        raise InvalidInput(
            f"{path}: version {record.get('version')!r}, this program reads {VERSION} and"
            f" {SEPARATE}: run `trim train {family}` again"
        )
    try:
        features = tuple(map(str, record["features"]))
        prices = PriceRange(*numbers([record["range"]["lowest"], record["range"]["highest"]]))
        sweep = numbers(record["lambdas"])
        models = {str(role): str(digest) for role, digest in record["models"].items()}
        scorer, digest = str(record["scorer"]), str(record["sha256"])
        log_odds = {True: True, False: False}[record["log_odds"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, family) from error
    if features not in known_features:
        known = " or ".join(", ".join(names) for names in known_features)
        raise InvalidInput(
            f"{path}: a router for the features {', '.join(features)}; {family} reads {known}"
        )
    if scorer not in KINDS:
        raise InvalidInput(f"{path}: trained on scores {scorer!r}; known: {', '.join(KINDS)}")
    for price in sweep:
        prices.position(price)
    tensors = read_tensors(folder / f"{family}.safetensors", family, digest)
    separate = record["version"] == SEPARATE
    router = LearnedRouter(
        family, features, log_odds, prices, sweep, tensors, scorer, models, separate
    )
    networks = [router.network_at(price)[0] for price in sweep] if separate else [tensors]
    sizes: list[dict[str | int, int]] = [{"inputs": len(features) + 1} for _ in networks]
    if len(tensors) != len(networks) * len(shapes) or not all(
        match_shapes(network, shapes, known) for network, known in zip(networks, sizes, strict=True)
    ):
        raise damaged(folder / f"{family}.safetensors", family)
    return router


def read_tensors(path: Path, family: str, digest: str) -> dict[str, Weights]:
    """Read tensors; raises InvalidInput if the file is unreadable or has another sha256."""
    try:
        content = read_bytes(path)
    except OSError as error:
        raise unreadable(path, family, error) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise damaged(path, family)
    try:
        return dict(load(content))
    except (SafetensorError, ValueError, KeyError) as error:
        raise damaged(path, family) from error


def match_shapes(
    tensors: Mapping[str, Weights],
    shapes: Mapping[str, Sequence[str | int]],
    sizes: dict[str | int, int],
) -> bool:
    """Whether all tensors are finite float32 of these `shapes`; adds named sizes to `sizes`."""
    if tensors.keys() != shapes.keys():
        return False
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tensor.dtype != np.float32 or tensor.ndim != len(shape):
            return False
        for expected, size in zip(shape, tensor.shape, strict=True):
            if size != (
                expected if isinstance(expected, int) else sizes.setdefault(expected, size)
            ):
                return False
        if not np.all(np.isfinite(tensor)):
            return False
    return True


def damaged(path: Path, family: str) -> InvalidInput:
    return InvalidInput(f"{path}: damaged, or of another router; run `trim train {family}` again")

"""Folders in which trained routers are kept: FAMILY.json and FAMILY.safetensors."""

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
from trim.files import numbers, read_record, unreadable, write_atomically, writing
from trim.fingerprints import Seen, seen_field
from trim.scorers.scorer import KINDS

VERSION = 1
"""Of the layout of the two files."""

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class PriceRange:
    """The prices lambda, in right answers a strong token, that a router was trained for.

    Attributes:
        lowest, highest: both positive; equal for a router of a single price.
    """

    lowest: float
    highest: float

    def __post_init__(self) -> None:
        if not 0 < self.lowest <= self.highest < math.inf:
            raise InvalidInput(
                f"lambda from {self.lowest:g} to {self.highest:g}: not a range of positive prices"
            )

    def position(self, prices: NDArray[Any]) -> NDArray[Any]:
        """Where prices lie on the logarithmic scale from -1 (lowest) to 1; 0 if there is one."""
        if self.lowest == self.highest:
            return np.zeros_like(prices, dtype=np.float64)
        width = math.log(self.highest / self.lowest)
        return np.asarray(2 * np.log(np.asarray(prices) / self.lowest) / width - 1)

    def at(self, position: NDArray[Any]) -> NDArray[Any]:
        """The prices at positions: the inverse of `position`."""
        share = (np.asarray(position) + 1) / 2
        return np.asarray(self.lowest * (self.highest / self.lowest) ** share)

    def place(self, price: float) -> float:
        """`position` of one price. Raises InvalidInput outside the range."""
        # Rounded ends of a sweep still belong to it.
        if not self.lowest * (1 - 1e-9) <= price <= self.highest * (1 + 1e-9):
            raise InvalidInput(
                f"lambda {price:g} is outside what the router was trained for:"
                f" {self.lowest:g} to {self.highest:g}"
            )
        return float(self.position(np.array(price)))


@dataclass(frozen=True)
class LearnedRouter:
    """What a router's folder holds.

    Attributes:
        family: `agg` or `seq`.
        features: names of what the network reads, in order, without the price.
        odds: whether it reads scores, their minimum and their product as log-odds.
        range: prices that it was trained for.
        prices: the usual sweep, falling, each within the range.
        tensors: the network, as its family reads it.
        scorer: the kind of score that it was trained on (`trim.scorers.scorer.KINDS`).
        models: sha256 of each model file by role, as the bank has them.
    """

    family: str
    features: tuple[str, ...]
    odds: bool
    range: PriceRange
    prices: tuple[float, ...]
    tensors: Mapping[str, Weights]
    scorer: str
    models: Mapping[str, str]


def write_router(folder: Path, router: LearnedRouter, seen: Seen = frozenset()) -> None:
    """Write a router, and the problems that it was trained on (`trim.fingerprints`).

    Raises:
        InvalidInput: the folder cannot be written.
    """
    content = save({name: np.ascontiguousarray(w) for name, w in router.tensors.items()})
    record = {
        "policy": router.family,
        "version": VERSION,
        "features": router.features,
        "log_odds": router.odds,
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
    """The router of a family in a folder.

    Args:
        known_features: the lists of features that the family can read.
        shapes: of each tensor that the family reads; a size that is a word is free, but the
            same wherever the word occurs, and `inputs` is one more than there are features.

    Raises:
        InvalidInput: unreadable, damaged, of another family or version, or for features
            or scores that are not known here.
    """
    path = folder / f"{family}.json"
    record = read_record(path, family)
    if record.get("version") != VERSION:
        raise InvalidInput(
            f"{path}: version {record.get('version')!r}, this program reads {VERSION}:"
            f" train it anew with `trim train {family}`"
        )
    try:
        features = tuple(map(str, record["features"]))
        prices = PriceRange(*numbers([record["range"]["lowest"], record["range"]["highest"]]))
        sweep = numbers(record["lambdas"])
        models = {str(role): str(digest) for role, digest in record["models"].items()}
        scorer, digest = str(record["scorer"]), str(record["sha256"])
        odds = {True: True, False: False}[record["log_odds"]]
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
        prices.place(price)
    tensors = read_tensors(folder / f"{family}.safetensors", family, digest)
    if not fit(tensors, shapes, {"inputs": len(features) + 1}):
        raise damaged(folder / f"{family}.safetensors", family)
    return LearnedRouter(family, features, odds, prices, sweep, tensors, scorer, models)


def read_tensors(path: Path, family: str, digest: str) -> dict[str, Weights]:
    """Raises InvalidInput where the file is unreadable or not the one with this sha256."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, family, error) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise damaged(path, family)
    try:
        return dict(load(content))
    except (SafetensorError, ValueError, KeyError) as error:
        raise damaged(path, family) from error


def fit(
    tensors: Mapping[str, Weights],
    shapes: Mapping[str, Sequence[str | int]],
    sizes: dict[str | int, int],
) -> bool:
    """Whether there are finite numbers of these `shapes`; adds to `sizes` what it finds."""
    if tensors.keys() != shapes.keys():
        return False
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tensor.dtype != np.float32 or tensor.ndim != len(shape):
            return False
        for wanted, size in zip(shape, tensor.shape, strict=True):
            if size != (wanted if isinstance(wanted, int) else sizes.setdefault(wanted, size)):
                return False
        if not np.all(np.isfinite(tensor)):
            return False
    return True


def damaged(path: Path, family: str) -> InvalidInput:
    return InvalidInput(f"{path}: damaged, or not the router's; train it anew: trim train {family}")

"""The routers that a server offers, with what each was measured to cost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trim.errors import InvalidInput
from trim.files import numbers, read_object
from trim.policies.calibrated import CalibratedPolicy
from trim.policies.policy import Policy, policy_name
from trim.policies.registry import (
    PLAIN_FAMILIES,
    SETTING_FAMILIES,
    TOKEN_FAMILIES,
    parse_policies,
)
from trim.policies.token import TAIL
from trim.server.errors import APIError, invalid
from trim.server.request import RoutingOptions

PREFIX = "trim"
"""Model name of the usual router; others are `trim:NAME`."""
HYPHEN = re.compile(r"(?<!\de)-")
"""Stands for a colon in names of routers, as in `thr-0.5`; not that of an exponent, as in 1e-05."""


@dataclass(frozen=True)
class CatalogEntry:
    """A measured router.

    Attributes:
        name: as after `trim:`.
        accuracy: share of correct answers.
        strong_share: strong tokens relative to the strong model alone.
        money: mean cost of a problem.
    """

    name: str
    accuracy: float
    strong_share: float
    money: float


class RouterCatalog:
    """The routers that requests may name.

    Families without files are named by family and setting, as `thr-0.5`, `token-0.5-8` or
    `thr-0.9+tail-0.9`; a router file only by its name in the configuration, because requests must
    not name files.

    Args:
        usual: the policy of the model `trim`, as on the command line.
        routers: further policies by name.
        curve: measured routers, which requests may select by accuracy or strong share.
        measured: a description of the measurement, as `500 problems of chain, seed 0`.
    """

    def __init__(
        self,
        usual: str,
        routers: Mapping[str, str] | None = None,
        curve: Iterable[CatalogEntry] = (),
        measured: str = "",
    ) -> None:
        self.routers = {name: parse_single(spec, name) for name, spec in (routers or {}).items()}
        self.usual = parse_single(usual)
        self.curve = tuple(curve)
        self.measured = measured

    @property
    def names(self) -> tuple[str, ...]:
        """Model names as `/v1/models` lists them."""
        measured = (entry.name for entry in self.curve)
        listed = dict.fromkeys((*self.routers, "weak", "strong", *measured))
        return (PREFIX, *(f"{PREFIX}:{name}" for name in listed))

    def choose(self, model: str, options: RoutingOptions) -> Policy:
        """The policy of a request.

        Raises:
            APIError: unknown router, or no measured router satisfies the options.
        """
        family, colon, name = model.partition(":")
        if family != PREFIX or (colon and not name):
            raise APIError(
                404,
                f"the model {model!r} does not exist; use {PREFIX}, or a model of /v1/models",
                code="model_not_found",
                param="model",
            )
        given = [name or None, options.policy, options.strong_share, options.accuracy]
        if sum(each is not None for each in given) > 1:
            raise invalid(
                "name the router once: by the model's name, or by trim.policy,"
                " trim.strong_share or trim.accuracy",
                "trim",
            )
        if options.strong_share is not None or options.accuracy is not None:
            return self.policy(self.select(options).name)
        chosen = name or options.policy
        return self.policy(chosen) if chosen else self.usual

    def select(self, options: RoutingOptions) -> CatalogEntry:
        """The best measured router within `strong_share`, or the cheapest with `accuracy`.

        Raises:
            APIError: there are no measured routers, or none satisfies the option.
        """
        if not self.curve:
            raise invalid("this server has no measured curve; name a router instead", "trim")
        if options.strong_share is not None:
            allowed = [each for each in self.curve if each.strong_share <= options.strong_share]
            if allowed:
                return max(allowed, key=lambda entry: (entry.accuracy, -entry.strong_share))
            least = min(entry.strong_share for entry in self.curve)
            raise invalid(f"the smallest measured share is {least:.3g}", "trim.strong_share")
        allowed = [each for each in self.curve if each.accuracy >= (options.accuracy or 0.0)]
        if allowed:
            return min(allowed, key=lambda entry: (entry.money, entry.strong_share))
        best = max(entry.accuracy for entry in self.curve)
        raise invalid(f"the highest measured accuracy is {best:.3g}", "trim.accuracy")

    def policy(self, name: str) -> Policy:
        """Raises APIError (404) for an unknown name."""
        if name in self.routers:
            return self.routers[name]
        spec = HYPHEN.sub(":", name)
        if needs_no_file(spec):
            try:
                return parse_policies(spec)[0]
            except InvalidInput as error:
                raise invalid(str(error), "model") from error
        known = ", ".join((*self.routers, "weak", "strong", "thr-0.5"))
        raise APIError(
            404, f"unknown router {name!r}; known: {known}", code="model_not_found",
            param="model",
        )  # fmt: skip


def parse_single(spec: str, name: str | None = None) -> Policy:
    """The policy of a specification; the path of a router file is replaced by a name.

    Raises:
        InvalidInput: unknown, or several settings.
    """
    policies = parse_policies(spec)
    if len(policies) != 1:
        raise InvalidInput(f"{spec}: a server's router has exactly one setting, as in thr:0.5")
    (policy,) = policies
    if isinstance(policy, CalibratedPolicy):
        policy.label = name or policy.path.stem
    return policy


def read_curve(path: Path) -> tuple[CatalogEntry, ...]:
    """The points of families without files in the `summary.json` of `trim eval`.

    Raises:
        InvalidInput: unreadable, or not such a summary.
    """
    try:
        points = read_object(path)["points"]
        return tuple(entry_of(point) for point in points if is_measured(point))
    except OSError as error:
        raise InvalidInput(f"{path}: the curve cannot be read ({error.strerror})") from error
    except (LookupError, TypeError, ValueError) as error:
        raise InvalidInput(f"{path}: not a summary.json of `trim eval`") from error


def describe_curve(path: Path) -> str:
    """A description of the measurement behind `read_curve`; empty if the file has none."""
    record = read_object(path)
    known = [record.get(name) for name in ("n", "suite", "seed")]
    return "" if None in known else "{} problems of {}, seed {}".format(*known)


def needs_no_file(spec: str) -> bool:
    """Whether a specification names a single policy of a family without files."""
    step, tail, _ = spec.partition(TAIL)
    family, _, setting = step.partition(":")
    if family in PLAIN_FAMILIES:
        return not setting and not tail
    return (family in SETTING_FAMILIES or family in TOKEN_FAMILIES) and bool(
        setting and "," not in spec
    )


def is_measured(point: Mapping[str, Any]) -> bool:
    return needs_no_file(spec_of(point)) and point["strong_share"] is not None


def spec_of(point: Mapping[str, Any]) -> str:
    """The policy of a point of a summary, as on the command line; ValueError for a setting that is
    no number."""
    family, setting = point["policy"], point["setting"]
    return str(family) if setting is None else policy_name(str(family), *numbers([setting]))


def entry_of(point: Mapping[str, Any]) -> CatalogEntry:
    figures = (point["accuracy"], point["strong_share"], point["money_mean"] or 0.0)
    return CatalogEntry(spec_of(point).replace(":", "-"), *numbers(figures))

"""The routers that a server offers, with what each was measured to cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trim.errors import InvalidInput
from trim.files import read_object
from trim.policies.calibrated import CalibratedPolicy
from trim.policies.policy import Policy, policy_name
from trim.policies.registry import PLAIN_FAMILIES, SETTING_FAMILIES, parse_policies
from trim.server.errors import APIError, invalid
from trim.server.request import RoutingOptions

PREFIX = "trim"
"""Name of the usual router; others are `trim:NAME`."""


@dataclass(frozen=True)
class CatalogEntry:
    """A point of a measured curve.

    Attributes:
        name: of the router, as after `trim:`.
        accuracy: share of right answers.
        strong_share: strong tokens as a share of the strong model's alone.
        money: a problem.
    """

    name: str
    accuracy: float
    strong_share: float
    money: float


class RouterCatalog:
    """Routers by name.

    Plain families are known by family and setting, as `thr-0.5`; what stands in a file only by
    the name that the configuration gives it, for no request may name a file.

    Args:
        usual: the policy of the model `trim`, as on the command line.
        routers: further policies by name.
        curve: what was measured of those that may be chosen by what they cost.
        measured: on what, for people, as `500 problems of chain, seed 0`.
    """

    def __init__(
        self,
        usual: str,
        routers: Mapping[str, str] | None = None,
        curve: Iterable[CatalogEntry] = (),
        measured: str = "",
    ) -> None:
        self.routers = {name: single(spec, name) for name, spec in (routers or {}).items()}
        self.usual = single(usual)
        self.curve = tuple(curve)
        self.measured = measured

    @property
    def names(self) -> tuple[str, ...]:
        """Models as `/v1/models` lists them."""
        offered = (offer.name for offer in self.curve)
        listed = dict.fromkeys((*self.routers, "weak", "strong", *offered))
        return (PREFIX, *(f"{PREFIX}:{name}" for name in listed))

    def choose(self, model: str, wishes: RoutingOptions) -> Policy:
        """The policy of a request.

        Raises:
            Failure: there is no such router, or nothing that was measured meets the wishes.
        """
        family, colon, name = model.partition(":")
        if family != PREFIX or (colon and not name):
            raise APIError(
                404,
                f"the model {model!r} does not exist; use {PREFIX}, or one that /v1/models lists",
                code="model_not_found",
                param="model",
            )
        given = [name or None, wishes.policy, wishes.strong_share, wishes.accuracy]
        if sum(wish is not None for wish in given) > 1:
            raise invalid(
                "name the router once: by the model's name, or by trim.policy,"
                " trim.strong_share or trim.accuracy",
                "trim",
            )
        if wishes.strong_share is not None or wishes.accuracy is not None:
            return self.named(self.offer(wishes).name)
        chosen = name or wishes.policy
        return self.named(chosen) if chosen else self.usual

    def offer(self, wishes: RoutingOptions) -> CatalogEntry:
        """The measured router that meets a wish.

        Raises:
            Failure: nothing was measured, or nothing meets it.
        """
        if not self.curve:
            raise invalid("no curve was measured here; name a router instead", "trim")
        if wishes.strong_share is not None:
            allowed = [o for o in self.curve if o.strong_share <= wishes.strong_share]
            if allowed:
                return max(allowed, key=lambda offer: (offer.accuracy, -offer.strong_share))
            least = min(offer.strong_share for offer in self.curve)
            raise invalid(f"the least share that was measured is {least:.3g}", "trim.strong_share")
        allowed = [o for o in self.curve if o.accuracy >= (wishes.accuracy or 0.0)]
        if allowed:
            return min(allowed, key=lambda offer: (offer.money, offer.strong_share))
        best = max(offer.accuracy for offer in self.curve)
        raise invalid(f"the best accuracy that was measured is {best:.3g}", "trim.accuracy")

    def named(self, name: str) -> Policy:
        """Raises Failure for an unknown name."""
        if name in self.routers:
            return self.routers[name]
        family, _, setting = name.partition("-")
        if family in PLAIN_FAMILIES and not setting:
            return parse_policies(family)[0]
        if family in SETTING_FAMILIES and setting and "," not in setting:
            try:
                return parse_policies(f"{family}:{setting}")[0]
            except InvalidInput as error:
                raise invalid(str(error), "model") from error
        known = ", ".join((*self.routers, "weak", "strong", "thr-0.5"))
        raise APIError(
            404, f"there is no router {name!r}; known: {known}", code="model_not_found",
            param="model",
        )  # fmt: skip


def single(spec: str, name: str | None = None) -> Policy:
    """The policy of a word; the path of a router file is not shown to those who ask.

    Raises:
        InvalidInput: it is unknown, or there are several.
    """
    policies = parse_policies(spec)
    if len(policies) != 1:
        raise InvalidInput(f"{spec}: a server's router has one setting, as in thr:0.5")
    (policy,) = policies
    if isinstance(policy, CalibratedPolicy):
        policy.label = name or policy.path.stem
    return policy


def read_curve(path: Path) -> tuple[CatalogEntry, ...]:
    """The points of plain families in the `summary.json` of `trim eval`.

    Raises:
        InvalidInput: unreadable, or no such summary.
    """
    try:
        points = read_object(path)["points"]
        return tuple(offer_of(point) for point in points if is_plain(point))
    except OSError as error:
        raise InvalidInput(f"{path}: no readable curve ({error.strerror})") from error
    except (LookupError, TypeError, ValueError) as error:
        raise InvalidInput(f"{path}: no summary.json of `trim eval`") from error


def read_origin(path: Path) -> str:
    """What the curve of `read_curve` was measured on, as far as its file says; for people."""
    record = read_object(path)
    known = [record.get(name) for name in ("n", "suite", "seed")]
    return "" if None in known else "{} problems of {}, seed {}".format(*known)


def is_plain(point: Mapping[str, Any]) -> bool:
    family = point["policy"]
    known = family in PLAIN_FAMILIES or family in SETTING_FAMILIES
    return known and point["strong_share"] is not None


def offer_of(point: Mapping[str, Any]) -> CatalogEntry:
    family, setting = point["policy"], point["setting"]
    name = family if setting is None else policy_name(family, setting).replace(":", "-")
    return CatalogEntry(
        name,
        float(point["accuracy"]),
        float(point["strong_share"]),
        float(point["money_mean"] or 0.0),
    )

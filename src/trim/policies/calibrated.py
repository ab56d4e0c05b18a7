"""Calibrated routers: one policy at a calibrated setting, and the guarantee of that setting."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trim.errors import InvalidInput
from trim.files import numbers, read_bytes, read_record, unreadable, wrong_content
from trim.policies.policy import DelegatingPolicy, Policy
from trim.policies.token import TAIL
from trim.scorers.scorer import KINDS

ROUTER = "router"
"""Family name of calibrated routers: `router:FILE`."""
VERSION = 1
"""Version of the file format, described in docs/reference/router-file.md."""
PLAIN_FAMILIES = ("thr", "random", "cascade")
TOKEN_FAMILIES = ("token", "clause", "tail")
FITTED_FAMILIES = ("pomdp", "agg", "seq")
"""Families that can be calibrated: without a fitted file, on tokens, and with a fitted file."""
WITH_TAIL = "+tail"
"""End of a family's name in a router file whose rewrites start at a doubtful token."""
FOLDER_FAMILIES = ("agg", "seq")
"""Fitted families stored as a folder; the others are a single file."""


@dataclass(frozen=True)
class CalibratedRouter:
    """The content of a router file, written by `trim calibrate`.

    Attributes:
        family: one of `PLAIN_FAMILIES`, `TOKEN_FAMILIES` or `FITTED_FAMILIES`.
        setting: the calibrated setting of that family, in [0, 1].
        fitted: path of the fitted file or folder; None for a plain family.
        scorer: the kind of score used in the calibration.
        models: sha256 of each model file by role, from the bank.
        max_strong_tokens: limit of strong tokens per problem in the calibration.
        guarantee: `target`, `confidence`, `horizon` and `bound`, for display.
        figures: results on the bank, for display.
        profile: scores and actions during calibration, as `trim.monitoring.profile.Profile`
            writes them; None if not recorded.
        tokens: of `token`, the number of tokens that the strong model writes, at least 1.
        tail: of a step policy, the probability in [0, 1] below which a token begins the rewrite
            (`trim.policies.token.Tail`); None rewrites whole steps.
        families: those between which the calibration chose; empty for a single one.
    """

    family: str
    setting: float
    fitted: Path | None
    scorer: str
    models: Mapping[str, str]
    max_strong_tokens: int | None = None
    guarantee: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    profile: Any = None
    tokens: int = 1
    tail: float | None = None
    families: tuple[str, ...] = ()

    @property
    def spec(self) -> str:
        """The policy as on the command line."""
        tokens = f":{self.tokens}" if self.tokens > 1 else ""
        tail = "" if self.tail is None else f"{TAIL}{self.tail!r}"
        if self.fitted is None:
            return f"{self.family}:{self.setting!r}{tokens}{tail}"
        return f"{self.family}:{self.fitted}@{self.setting!r}{tail}"

    def to_json(self, path: Path) -> dict[str, Any]:
        """The content of the router file at `path`; the fitted file is named relative to it.

        Raises:
            InvalidInput: the fitted file cannot be read.
        """
        record: dict[str, Any] = {
            "policy": ROUTER,
            "version": VERSION,
            "family": self.family + WITH_TAIL * (self.tail is not None),
            "setting": self.setting,
        }
        if self.tokens > 1:
            record["tokens"] = self.tokens
        if self.tail is not None:
            record["tail"] = self.tail
        if self.fitted is not None:
            record["file"] = os.path.relpath(self.fitted, path.parent)
            record["sha256"] = fitted_sha256(self.family, self.fitted)
        record |= {**self.guarantee, "figures": dict(self.figures)}
        if self.families:
            record["families"] = list(self.families)
        record |= {"scorer": self.scorer, "models": dict(self.models)}
        if self.max_strong_tokens is not None:
            record["max_strong_tokens"] = self.max_strong_tokens
        if self.profile is not None:
            record["profile"] = self.profile
        return record


def read_calibrated_router(path: Path) -> CalibratedRouter:
    """The inverse of `CalibratedRouter.to_json`.

    Raises:
        InvalidInput: the file is unreadable, damaged, of another version, of an unknown family
            or kind of score, or its fitted file is missing or has changed.
    """
    record = read_record(path, ROUTER)
    if record.get("version") != VERSION:
        raise InvalidInput(
            f"{path}: version {record.get('version')!r}, this program reads {VERSION}:"
            " run `trim calibrate` again"
        )
    named, scorer = record.get("family"), record.get("scorer")
    known = (
        *(each + tail for tail in ("", WITH_TAIL) for each in (*PLAIN_FAMILIES, *FITTED_FAMILIES)),
        *TOKEN_FAMILIES,
    )
    if named not in known:
        raise InvalidInput(f"{path}: unknown family {named!r}; known: {', '.join(known)}")
    family = named.removesuffix(WITH_TAIL)
    if scorer not in KINDS:
        raise InvalidInput(f"{path}: calibrated on scores {scorer!r}; known: {', '.join(KINDS)}")
    try:
        (setting,) = numbers([record["setting"]])
        (tail,) = numbers([record["tail"]]) if named.endswith(WITH_TAIL) else (None,)
        tokens = record.get("tokens", 1)
        families = tuple(map(str, record.get("families", ())))
        fitted = path.parent / str(record["file"]) if family in FITTED_FAMILIES else None
        digest = str(record["sha256"]) if fitted else None
        models = {str(role): str(name) for role, name in record["models"].items()}
        limit = record.get("max_strong_tokens")
        guarantee = {name: record[name] for name in ("target", "confidence", "horizon", "bound")}
        figures = dict(record["figures"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise wrong_content(path, ROUTER) from error
    if not 0 <= setting <= 1 or not (limit is None or (type(limit) is int and limit >= 0)):
        raise wrong_content(path, ROUTER)
    if not (tail is None or 0 <= tail <= 1) or type(tokens) is not int or tokens < 1:
        raise wrong_content(path, ROUTER)
    if tokens > 1 and family != "token":
        raise wrong_content(path, ROUTER)
    if fitted and fitted_sha256(family, fitted) != digest:
        raise InvalidInput(
            f"{fitted}: changed since {path} was calibrated; run `trim calibrate` again"
        )
    return CalibratedRouter(
        family,
        setting,
        fitted,
        scorer,
        models,
        limit,
        guarantee,
        figures,
        record.get("profile"),
        tokens,
        tail,
        families,
    )


def main_file(family: str, fitted: Path) -> Path:
    """The JSON file of a fitted policy. In a folder it holds the sha256 of the other files."""
    return fitted / f"{family}.json" if family in FOLDER_FAMILIES else fitted


def fitted_sha256(family: str, fitted: Path) -> str:
    """sha256 of a fitted policy's JSON file. Raises InvalidInput if it cannot be read."""
    path = main_file(family, fitted)
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except OSError as error:
        raise unreadable(path, family, error) from error


def fitted_to(family: str, fitted: Path) -> tuple[str | None, dict[str, str]]:
    """The kind of score and the models that a policy was fitted to, as far as recorded."""
    record = read_record(main_file(family, fitted), family)
    if family == "pomdp":
        models = dict(record["of"])
        return models.pop("kind", None), models
    return record["scorer"], dict(record["models"])


class CalibratedPolicy(DelegatingPolicy):
    """The policy of a router file.

    Attributes:
        label: the name after `router:`, by default the path of the file.
    """

    def __init__(self, path: Path, router: CalibratedRouter, policy: Policy) -> None:
        self.path = path
        self.label = str(path)
        self.router = router
        self.policy = policy
        self.take_traits(
            scorer=router.scorer, models=router.models, max_strong_tokens=router.max_strong_tokens
        )

    @property
    def name(self) -> str:
        return f"{ROUTER}:{self.label}"


def read_calibrated_policy(
    path: Path, parse: Callable[[str], Sequence[Policy]]
) -> CalibratedPolicy:
    """The policy of a router file.

    Args:
        parse: makes the policies of a command-line word (`trim.policies.registry`).

    Raises:
        InvalidInput: as `read_calibrated_router`, or the policy cannot be made.
    """
    router = read_calibrated_router(path)
    (policy,) = parse(router.spec)
    return CalibratedPolicy(path, router, policy)

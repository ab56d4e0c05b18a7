"""Router files: one policy at the setting that was calibrated, and what that promises."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trim.errors import InvalidInput
from trim.files import numbers, read_record, unreadable, wrong_content
from trim.policies.policy import Explanation, Policy
from trim.scorers.scorer import KINDS
from trim.types import Action, Observation

FAMILY = "router"
VERSION = 1
"""Of the layout that docs/calibration.md describes."""
PLAIN = ("thr", "random", "cascade")
FITTED = ("pomdp", "agg", "seq")
"""Families that a router file may name: without a file of their own, and with one."""
IN_FOLDERS = ("agg", "seq")


@dataclass(frozen=True)
class RouterFile:
    """What a router file holds.

    Attributes:
        family: one of `PLAIN` or `FITTED`.
        setting: of that family, in [0, 1].
        fitted: file or folder of a fitted family, as given or beside the router file.
        scorer: the kind of score that it was calibrated with.
        models: sha256 of each model file by role, as the bank has them.
        max_strong_tokens: the limit a problem that it was calibrated with.
        promise: `target`, `confidence`, `horizon` and `bound`, for people to read.
        figures: measured on the bank, for people to read.
        profile: what scores and actions look like where the promise holds; None if unknown.
    """

    family: str
    setting: float
    fitted: Path | None
    scorer: str
    models: Mapping[str, str]
    max_strong_tokens: int | None = None
    promise: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    profile: Any = None

    @property
    def spec(self) -> str:
        """The policy as on the command line."""
        if self.fitted is None:
            return f"{self.family}:{self.setting!r}"
        return f"{self.family}:{self.fitted}@{self.setting!r}"

    def to_json(self, path: Path) -> dict[str, Any]:
        """The content of the router file `path`.

        Raises:
            InvalidInput: the fitted file cannot be read.
        """
        record: dict[str, Any] = {
            "policy": FAMILY,
            "version": VERSION,
            "family": self.family,
            "setting": self.setting,
        }
        if self.fitted is not None:
            record["file"] = os.path.relpath(self.fitted, path.parent)
            record["sha256"] = fingerprint(self.family, self.fitted)
        record |= {**self.promise, "figures": dict(self.figures)}
        record |= {"scorer": self.scorer, "models": dict(self.models)}
        if self.max_strong_tokens is not None:
            record["max_strong_tokens"] = self.max_strong_tokens
        if self.profile is not None:
            record["profile"] = self.profile
        return record


def read_router_file(path: Path) -> RouterFile:
    """The inverse of `RouterFile.to_json`.

    Raises:
        InvalidInput: unreadable, damaged, of another version or an unknown family, for scores
            not known here, or its fitted file is missing or was changed.
    """
    record = read_record(path, FAMILY)
    if record.get("version") != VERSION:
        raise InvalidInput(
            f"{path}: version {record.get('version')!r}, this program reads {VERSION}:"
            " calibrate it anew"
        )
    family, scorer = record.get("family"), record.get("scorer")
    if family not in (*PLAIN, *FITTED):
        known = ", ".join((*PLAIN, *FITTED))
        raise InvalidInput(f"{path}: a router of the unknown family {family!r}; known: {known}")
    if scorer not in KINDS:
        raise InvalidInput(f"{path}: calibrated on scores {scorer!r}; known: {', '.join(KINDS)}")
    try:
        (setting,) = numbers([record["setting"]])
        fitted = path.parent / str(record["file"]) if family in FITTED else None
        digest = str(record["sha256"]) if fitted else None
        models = {str(role): str(name) for role, name in record["models"].items()}
        limit = record.get("max_strong_tokens")
        promise = {name: record[name] for name in ("target", "confidence", "horizon", "bound")}
        figures = dict(record["figures"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise wrong_content(path, FAMILY) from error
    if not 0 <= setting <= 1 or not (limit is None or (type(limit) is int and limit >= 0)):
        raise wrong_content(path, FAMILY)
    if fitted and fingerprint(family, fitted) != digest:
        raise InvalidInput(f"{fitted}: changed since {path} was calibrated; calibrate it anew")
    profile = record.get("profile")
    return RouterFile(family, setting, fitted, scorer, models, limit, promise, figures, profile)


def main_file(family: str, fitted: Path) -> Path:
    """The JSON file of a fitted policy; of a folder it has the sha256 of the other files."""
    return fitted / f"{family}.json" if family in IN_FOLDERS else fitted


def fingerprint(family: str, fitted: Path) -> str:
    """sha256 of a fitted router's JSON file. Raises InvalidInput where it cannot be read."""
    path = main_file(family, fitted)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise unreadable(path, family, error) from error


def fitted_to(family: str, fitted: Path) -> tuple[str | None, dict[str, str]]:
    """The kind of score and the models that a fitted router is made for, as far as it says."""
    record = read_record(main_file(family, fitted), family)
    if family == "pomdp":
        models = dict(record["of"])
        return models.pop("kind", None), models
    return record["scorer"], dict(record["models"])


class Calibrated(Policy):
    """The policy of a router file, under the file's name, or another for those who may not see it.

    Attributes:
        label: what it is called instead of its path.
    """

    def __init__(self, path: Path, file: RouterFile, policy: Policy) -> None:
        self.path = path
        self.label = str(path)
        self.file = file
        self.policy = policy
        self.needs_scores = policy.needs_scores
        self.restarts = policy.restarts
        self.scorer = file.scorer
        self.models = file.models
        self.max_strong_tokens = file.max_strong_tokens

    @property
    def name(self) -> str:
        return f"{FAMILY}:{self.label}"

    def begin(self, question: str) -> Action:
        return self.policy.begin(question)

    def decide(self, observation: Observation) -> Action:
        return self.policy.decide(observation)

    def explain(self, observation: Observation) -> Explanation:
        return self.policy.explain(observation)

    def is_doubtful(self, observation: Observation) -> bool:
        return self.policy.is_doubtful(observation)


def read_calibrated(path: Path, parse: Callable[[str], Sequence[Policy]]) -> Calibrated:
    """The one policy of a router file.

    Args:
        parse: makes the policies that a command-line word names.

    Raises:
        InvalidInput: as `read_router_file`, or its policy cannot be made.
    """
    file = read_router_file(path)
    (policy,) = parse(file.spec)
    return Calibrated(path, file, policy)

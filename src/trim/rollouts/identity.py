"""Metadata that identifies a bank: its models, scorer, settings and problems."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trim.documents import parse_json
from trim.errors import InvalidInput
from trim.files import read_bytes
from trim.fingerprints import FIELD, Seen, seen_field, seen_of
from trim.legacy import current_record, current_roles
from trim.models.model import Sampling

FORMAT = 3
"""Version of the layout that docs/reference/bank.md describes."""
PARTIAL_FORMAT = 4
"""Version of a partial bank (`Identity.partial`)."""

UNSCORED = "none"
"""Kind of score of a bank without scores."""

NAME = "bank.json"
"""File in the bank's folder that holds its identity."""


@dataclass(frozen=True)
class Identity:
    """What all problems of a bank have in common. Banks that differ in it are never mixed.

    Attributes:
        suite: source of the problems; of imported traces, their data set.
        seed: of the problems, the sampling and the random decisions; None if imported.
        models: sha256 of each model file by role (`weak`, `strong`, `scorer`, and `joint` for
            joint scores), or a server's name for its model; of imported traces, the sha256 of
            their file as `source` and the name of their scores as `scorer`.
        scorer: the kind of score (`trim.scorers.scorer.KINDS`), or `UNSCORED`.
        sampling: None if imported.
        rollouts: maximum number of solutions per problem.
        exact: whether the engines were deterministic to the last character.
        described: further metadata of the problems and the models' prompts.
        seen: fingerprints of the problems that the scorer was fitted to (`trim.fingerprints`).
        partial: whether strong solutions or scores may be missing, or a problem may have several
            records.
    """

    suite: str
    seed: int | None
    models: dict[str, str]
    scorer: str
    sampling: Sampling | None
    rollouts: int
    exact: bool = False
    described: dict[str, Any] = field(default_factory=dict)
    seen: Seen = frozenset()
    partial: bool = False

    @property
    def imported(self) -> bool:
        """Whether the solutions are of another program (`trim import`)."""
        return self.sampling is None

    def to_json(self) -> dict[str, Any]:
        record = asdict(self)
        del record[FIELD]
        version = PARTIAL_FORMAT if record.pop("partial") else FORMAT
        return {"format": version, **record, **seen_field(self.seen)}

    def differences(self, other: Identity) -> list[str]:
        """Names of the attributes in which two banks differ."""
        mine, theirs = asdict(self), asdict(other)
        return [name for name in mine if mine[name] != theirs[name]]


def read_identity(folder: Path) -> Identity:
    """Read `bank.json` of the bank in `folder`.

    Raises:
        InvalidInput: it is missing, damaged, or of another format version.
    """
    path = folder / NAME
    try:
        record = parse_json(read_bytes(path))
    except OSError as error:
        raise InvalidInput(
            f"{folder}: not a bank (no readable {NAME}); create one with `trim collect`"
        ) from error
    except ValueError as error:
        raise damaged(path) from error
    if not isinstance(record, dict) or "format" not in record:
        raise damaged(path)
    version = record.pop("format")
    if version not in (FORMAT, PARTIAL_FORMAT):
        raise InvalidInput(
            f"{path}: bank format {version!r} is not supported, only {FORMAT} and"
            f" {PARTIAL_FORMAT}; collect the bank again with this version of trim"
        )
    try:
        sampling = record["sampling"]
        record["sampling"] = None if sampling is None else Sampling(**sampling)
        record["models"] = current_roles(record["models"])
        record["described"] = current_record(record.get("described", {}))
        record[FIELD] = seen_of(record, path)
        record["partial"] = version == PARTIAL_FORMAT
        return Identity(**record)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise damaged(path) from error


def damaged(path: Path) -> InvalidInput:
    return InvalidInput(f"{path}: damaged; collect into another folder")

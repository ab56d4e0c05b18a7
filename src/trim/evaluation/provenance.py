"""Which policies of an evaluation have seen its problems before (`trim.fingerprints`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from trim.configuration.source import ModelSource
from trim.errors import InvalidInput
from trim.evaluation.problem_set import ProblemSet
from trim.evaluation.summary import split_name
from trim.fingerprints import read_seen
from trim.legacy import INTERMEDIATE, current_roles
from trim.policies.calibrated import FAMILY as ROUTER
from trim.policies.calibrated import main_file
from trim.policies.policy import Policy
from trim.policies.registry import fitted_file, label_files, parse_file


def require_same_models(policies: Iterable[Policy], lineup: ModelSource) -> None:
    """Refuse policies that were fitted to other models than those of `lineup`.

    Only what a policy depends on counts: the models, the scorer's where it decides from
    the scores of a model of its own (the kinds `prm` and `joint`), and the weights of
    joint scores.

    Raises:
        InvalidInput: one of them was, or a model cannot be read.
    """
    fitted = [policy for policy in policies if policy.models]
    if not fitted:
        return
    for policy in fitted:
        present = lineup.identify(policy.scorer or "prm")
        fitted_to = current_roles(policy.models)
        others = sorted(role for role in {*fitted_to, *present} if role.startswith(INTERMEDIATE))
        differing = [
            lineup.display_name(role)
            for role in (*roles_of(policy), *others)
            if fitted_to.get(role) != present.get(role)
        ]
        if differing:
            verb = "differs" if len(differing) == 1 else "differ"
            raise InvalidInput(
                f"policy {policy.name!r} was fitted to other models ({', '.join(differing)}"
                f" {verb}); fit it anew, or --other-models to use it all the same"
            )


def roles_of(policy: Policy) -> tuple[str, ...]:
    """The models that a fitted policy depends on."""
    of_scorer = {None: ("scorer",), "prm": ("scorer",), "joint": ("scorer", "joint")}
    return ("weak", "strong", *(of_scorer.get(policy.scorer, ()) if policy.needs_scores else ()))


@dataclass(frozen=True)
class Overlap:
    """What a policy family and its scorer have seen of an evaluation's problems.

    Attributes:
        problems: how many of them, at least 1.
        files: by each fitted file, how many of them it has seen.
    """

    problems: int
    files: Mapping[Path, int]


def overlaps_of(
    policies: Sequence[Policy],
    specs: Sequence[str],
    kind: str | None,
    joint: Path | None,
    problem_set: ProblemSet,
) -> dict[str, Overlap]:
    """The overlaps by policy family, as points name it; families without any are left out.

    Args:
        specs: the words on the command line that `policies` come from.
        kind: the kind of score of policies that are not made for one.
        joint: the weights of joint scores.

    Raises:
        InvalidInput: a fitted file cannot be read, or what it has as fingerprints are none.
    """
    asked = problem_set.fingerprints
    fitted = files_of(specs)
    read = cache(read_seen)
    found: dict[str, Overlap] = {}
    for policy in policies:
        family, _ = split_name(policy.name)
        files = [fitted[family]] if family in fitted else []
        if joint and policy.needs_scores and (policy.scorer or kind) == "joint":
            files.append(joint)
        counts = {path: sum(each in read(path) for each in asked) for path in files}
        seen = sum(any(each in read(path) for path in files) for each in asked)
        if seen:
            found[family] = Overlap(seen, {path: count for path, count in counts.items() if count})
    return found


def files_of(specs: Sequence[str]) -> dict[str, Path]:
    """The JSON file of each fitted family among `specs`, as points name the family."""
    labels = label_files(specs)
    found = {}
    for spec in specs:
        family, _, rest = spec.partition(":")
        fitted = fitted_file(spec)
        if fitted:
            label = labels[fitted]
            path = main_file(family, parse_file(family, rest)[0])
            found[f"{family}({label})" if label else family] = path
        elif family == ROUTER:
            found[f"{ROUTER}:{Path(rest)}"] = Path(rest)
    return found


def refuse_seen(overlaps: Mapping[str, Overlap], problem_set: ProblemSet, else_: str = "") -> None:
    """Raises InvalidInput, which says how to choose other problems, where there is an overlap.

    Args:
        else_: what would be right instead.
    """
    if not overlaps:
        return
    counts = {path: n for overlap in overlaps.values() for path, n in overlap.files.items()}
    seen = ", ".join(f"{path} has seen {n}" for path, n in counts.items())
    others = "another --split, or the --seed of its bank and a --skip beyond it"
    if problem_set.is_right:
        others = "another --seed"
    raise InvalidInput(
        f"{seen} of the {len(problem_set.problems)} problems; evaluate on others ({others}){else_}"
    )


def describe_seen(overlaps: Mapping[str, Overlap], of: int) -> dict[str, dict[str, Any]]:
    """What `summary.json` says of them (docs/summary.schema.json)."""
    return {
        family: {
            "problems": overlap.problems,
            "of": of,
            "files": {str(path): count for path, count in overlap.files.items()},
        }
        for family, overlap in overlaps.items()
    }

"""What policies were fitted to: models, and problems of the evaluation (`trim.fingerprints`)."""

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
from trim.policies.calibrated import ROUTER, main_file
from trim.policies.policy import Policy, shortest
from trim.policies.registry import fitted_file, label_files, parse_file
from trim.policies.token import TAIL


def require_same_models(policies: Iterable[Policy], source: ModelSource) -> None:
    """Refuse policies that were fitted to other models.

    Compares only the models that a policy depends on: weak, intermediate and strong; the scorer's
    for scores of the kinds `prm` and `joint`; and the weights of joint scores.

    Raises:
        InvalidInput: a policy was fitted to other models, or a model cannot be read.
    """
    fitted = [policy for policy in policies if policy.models]
    if not fitted:
        return
    for policy in fitted:
        present = source.identify(policy.scorer or "prm")
        fitted_to = current_roles(policy.models)
        others = sorted(role for role in {*fitted_to, *present} if role.startswith(INTERMEDIATE))
        differing = [
            source.display_name(role)
            for role in (*roles_of(policy), *others)
            if fitted_to.get(role) != present.get(role)
        ]
        if differing:
            verb = "differs" if len(differing) == 1 else "differ"
            raise InvalidInput(
                f"policy {policy.name!r} was fitted to other models ({', '.join(differing)}"
                f" {verb}); fit it again, or add --other-models to use it anyway"
            )


def roles_of(policy: Policy) -> tuple[str, ...]:
    """Roles of the models that a fitted policy depends on."""
    of_scorer = {None: ("scorer",), "prm": ("scorer",), "joint": ("scorer", "joint")}
    return ("weak", "strong", *(of_scorer.get(policy.scorer, ()) if policy.needs_scores else ()))


@dataclass(frozen=True)
class Overlap:
    """Problems of an evaluation that a policy family or its scorer was fitted to.

    Attributes:
        problems: how many, at least 1.
        files: how many by fitted file.
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
    """Overlaps by policy family, named as in the points; families without overlap are omitted.

    Args:
        specs: the policies, as on the command line.
        kind: kind of score for policies that do not require one.
        joint: file with the weights of joint scores.

    Raises:
        InvalidInput: a fitted file cannot be read, or its fingerprints are malformed.
    """
    fingerprints = problem_set.fingerprints
    fitted = files_of(specs)
    read = cache(read_seen)
    overlaps: dict[str, Overlap] = {}
    for policy in policies:
        family, _ = split_name(policy.name)
        files = [fitted[family]] if family in fitted else []
        if joint and policy.needs_scores and (policy.scorer or kind) == "joint":
            files.append(joint)
        counts = {path: sum(each in read(path) for each in fingerprints) for path in files}
        seen = sum(any(each in read(path) for path in files) for each in fingerprints)
        if seen:
            nonzero = {path: count for path, count in counts.items() if count}
            overlaps[family] = Overlap(seen, nonzero)
    return overlaps


def files_of(specs: Sequence[str]) -> dict[str, Path]:
    """The JSON file of each fitted family in `specs`, by its name in the points."""
    labels = label_files(specs)
    found = {}
    for spec in specs:
        steps, tail, probabilities = spec.partition(TAIL)
        family, _, rest = steps.partition(":")
        fitted = fitted_file(spec)
        if fitted:
            label = labels[fitted]
            path = main_file(family, parse_file(family, rest)[0])
            named = f"{family}({label})" if label else family
            for each in probabilities.split(","):
                found[f"{named}{tail}{shortest(float(each))}" if tail else named] = path
        elif family == ROUTER:
            found[f"{ROUTER}:{Path(rest)}"] = Path(rest)
    return found


def refuse_seen(
    overlaps: Mapping[str, Overlap], problem_set: ProblemSet, otherwise: str = ""
) -> None:
    """Raises InvalidInput if there is an overlap; the message names ways to other problems.

    Args:
        otherwise: end of the message.
    """
    if not overlaps:
        return
    counts = {path: n for overlap in overlaps.values() for path, n in overlap.files.items()}
    seen = ", ".join(f"{path} has seen {n}" for path, n in counts.items())
    others = "another --split, or the --seed of its bank and a --skip beyond it"
    if problem_set.is_right:
        others = "another --seed"
    raise InvalidInput(
        f"{seen} of the {len(problem_set.problems)} problems; evaluate on others"
        f" ({others}){otherwise}"
    )


def describe_seen(overlaps: Mapping[str, Overlap], of: int) -> dict[str, dict[str, Any]]:
    """Overlaps for `summary.json` (docs/summary.schema.json).

    Args:
        of: number of problems in the evaluation.
    """
    return {
        family: {
            "problems": overlap.problems,
            "of": of,
            "files": {str(path): count for path, count in overlap.files.items()},
        }
        for family, overlap in overlaps.items()
    }

r"""The authors' script beside `trim eval --protocol authors` (docs/guides/authors.md).

    python benchmarks/authors_compare.py --theirs DIR... --ours RUN... \
        [--served THEIRS.jsonl OURS.jsonl]

Reads `summary.jsonl` of the authors' output folders, and summary and traces of our runs on the same
problems; several of a kind are repeats. Prints both at each threshold, and whether they agree. With
--served it also compares the prompts that both programs sent, byte for byte.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trim.errors import InvalidInput
from trim.models.probe import QUESTION as PROBE

CERTAIN = 1.96
"""Standard errors on each side of a 95 % interval."""
BASELINES = {"weak": 0.0, "strong": 1.0}
"""Our policies that are a threshold of theirs."""
ROLES = ("weak", "strong", "prm")


@dataclass(frozen=True)
class Figure:
    """A mean over the problems and half the width of its 95 % interval."""

    mean: float
    half: float


@dataclass(frozen=True)
class Point:
    """One program at one threshold.

    Attributes:
        accuracy: share of right answers, in [0, 1].
        tokens: the strong model's tokens a problem.
    """

    accuracy: Figure
    tokens: Figure


def share_half(share: float, count: int) -> float:
    """Half of Wilson's 95 % interval of a share of `count` problems."""
    z = CERTAIN
    return z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Raises InvalidInput where the file is missing or holds something else."""
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: no readable JSON lines ({error})") from error


def our_tokens(run: Path) -> dict[float, list[int]]:
    """Strong tokens of each problem by threshold, from the traces of a run."""
    tokens: dict[float, list[int]] = {}
    for trace in read_lines(run / "traces.jsonl"):
        threshold = threshold_of(trace["policy"])
        if threshold is not None:
            spent = sum(step["strong_tokens"] for step in trace["steps"])
            tokens.setdefault(threshold, []).append(spent)
    return tokens


def threshold_of(policy: str) -> float | None:
    """The threshold that a policy of ours is; None for another kind."""
    family, _, setting = policy.partition(":")
    if family == "thr":
        return float(setting)
    return BASELINES.get(policy)


def our_points(runs: Sequence[Path]) -> tuple[dict[float, Point], int]:
    """Points by threshold, means over the runs, and the number of problems.

    Raises:
        InvalidInput: a file is missing, or the runs are of different numbers of problems.
    """
    summaries = []
    for run in runs:
        try:
            summaries.append(json.loads((run / "summary.json").read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise InvalidInput(f"{run}: no readable summary.json ({error})") from error
    counts = {summary["n"] for summary in summaries}
    if len(counts) != 1:
        raise InvalidInput(f"the runs are of {sorted(counts)} problems; compare equal ones")
    (count,) = counts
    spread = our_tokens(runs[0])
    right: dict[float, list[float]] = {}
    spent: dict[float, list[float]] = {}
    for summary in summaries:
        for point in summary["points"]:
            setting = point["setting"]
            named = point["policy"] if setting is None else f"{point['policy']}:{setting}"
            threshold = threshold_of(named)
            if threshold is not None:
                right.setdefault(threshold, []).append(point["accuracy"])
                spent.setdefault(threshold, []).append(point["strong_tokens_mean"])
    return {
        threshold: Point(
            Figure(accuracy := statistics.fmean(shares), share_half(accuracy, count)),
            Figure(statistics.fmean(spent[threshold]), mean_half(spread[threshold])),
        )
        for threshold, shares in right.items()
    }, count


def mean_half(values: Sequence[float]) -> float:
    return CERTAIN * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def their_points(
    folders: Sequence[Path], count: int, ours: Mapping[float, Point]
) -> dict[float, Point]:
    """Points by threshold, means over the folders.

    Their summary has no figures of single problems: the spread of tokens is taken from ours.
    """
    right: dict[float, list[float]] = {}
    spent: dict[float, list[float]] = {}
    for folder in folders:
        for line in read_lines(folder / "summary.jsonl"):
            right.setdefault(line["threshold"], []).append(line["accuracy"])
            spent.setdefault(line["threshold"], []).append(line["avg_target_tokens_per_question"])
            if line["accuracy"] and round(line["num_correct"] / line["accuracy"]) != count:
                raise InvalidInput(
                    f"{folder}: not of {count} problems, as ours; compare equal ones"
                )
    return {
        threshold: Point(
            Figure(accuracy := statistics.fmean(shares), share_half(accuracy, count)),
            Figure(
                statistics.fmean(spent[threshold]),
                ours[threshold].tokens.half if threshold in ours else 0.0,
            ),
        )
        for threshold, shares in right.items()
    }


def verdict(one: Figure, other: Figure) -> str:
    """`equal`, or whether the difference of two independent means may be chance."""
    difference = other.mean - one.mean
    if abs(difference) < 1e-9:
        return "equal"
    return "agree" if abs(difference) <= math.hypot(one.half, other.half) else "differ"


def percent(figure: Figure) -> str:
    return f"{100 * figure.mean:.1f} ± {100 * figure.half:.1f} %"


def number(figure: Figure) -> str:
    return f"{figure.mean:.2f} ± {figure.half:.2f}"


def table(theirs: Mapping[float, Point], ours: Mapping[float, Point]) -> str:
    """Markdown, a row for each threshold that both have."""
    rows = [
        "| threshold | right: theirs | ours | | target tokens: theirs | ours | |",
        "|---|---|---|---|---|---|---|",
    ]
    for threshold in sorted(theirs.keys() & ours.keys()):
        one, other = theirs[threshold], ours[threshold]
        cells = (
            f"{threshold:g}",
            percent(one.accuracy),
            percent(other.accuracy),
            verdict(one.accuracy, other.accuracy),
            number(one.tokens),
            number(other.tokens),
            verdict(one.tokens, other.tokens),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def prompts(path: Path) -> dict[str, set[str]]:
    """Distinct prompts of a log of `authors_servers.py`, by role; without those of `trim`'s
    probe, which tries each model before the first problem."""
    found: dict[str, set[str]] = {role: set() for role in ROLES}
    for line in read_lines(path):
        if PROBE not in line["prompt"]:
            found[line["role"]].add(line["prompt"])
    return found


def prompts_table(theirs: Path, ours: Path) -> str:
    """How many distinct prompts are in both logs, and the first that is in one alone."""
    one, other = prompts(theirs), prompts(ours)
    lines = ["| prompts | in both | theirs alone | ours alone |", "|---|---|---|---|"]
    examples = []
    for role in ROLES:
        left, right = sorted(one[role] - other[role]), sorted(other[role] - one[role])
        lines.append(f"| {role} | {len(one[role] & other[role])} | {len(left)} | {len(right)} |")
        for name, alone in (("theirs", left), ("ours", right)):
            examples += [f"{role}, {name} alone: {prompt!r}" for prompt in alone[:1]]
    return "\n".join([*lines, *([""] if examples else []), *examples])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--theirs", type=Path, nargs="+", required=True)
    parser.add_argument("--ours", type=Path, nargs="+", required=True)
    parser.add_argument("--served", type=Path, nargs=2, metavar=("THEIRS", "OURS"))
    given = parser.parse_args()
    try:
        ours, count = our_points(given.ours)
        theirs = their_points(given.theirs, count, ours)
        print(f"{count} problems, {len(given.theirs)} runs of theirs, {len(given.ours)} of ours\n")
        print(table(theirs, ours))
        if given.served:
            print(f"\n{prompts_table(*given.served)}")
    except InvalidInput as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()

"""Two real language models on GSM8K and MATH-500: `make real`.

python benchmarks/real.py solve [--models FOLDER] [--data FOLDER] [--out FOLDER] [--only PART]
python benchmarks/real.py table [--out FOLDER]
python benchmarks/real.py keep [--out FOLDER] [--only PART]

`solve` takes a night or more on two cores. It works in parts of 75 problems, all groups of
policies in turn, and an interrupted command continues. Fitted policies learn from 200 problems of
the training set, which are recorded after the groups that need none. `table` prints the
groups that are finished. Without --models and --data the files are downloaded.

`keep` writes the traces of finished groups, without their texts, to docs/results/real-pair, from
which `table --out docs/results/real-pair` prints their tables.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from below_the_step import METRICS, curve_rows, name_of, print_table, with_range

from trim.costs import Prices
from trim.evaluation.summary import group_by_policy, summarise
from trim.files import write_atomically
from trim.metrics.curve import interpolate
from trim.metrics.intervals import paired_interval
from trim.metrics.metrics import cpt
from trim.types import Trace

SIZE = 75
"""Problems of a part, at most."""
SEED = 16
CONFIGURATION = Path(__file__).parents[1] / "configurations" / "qwen-coder-laptop.yaml"
FILES = {
    "weak": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    "strong": "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
}
KEPT = Path(__file__).parents[1] / "docs" / "results" / "real-pair"
PROBLEMS = {"gsm8k": 150, "math500": 60}
SLOTS, THREADS = 96, 1
"""Slots are filled: as many problems at a time as fit with all policies of a group. Together 16
sequences decode three times as fast as one, and prefixes that policies share are read once."""
CONTEXT = {"gsm8k": 1536, "math500": 2048}
BANK_PROBLEMS = 200
SHARE = 30
"""Percent of the strong model's tokens at which other policies are compared with `thr`."""


@dataclass(frozen=True)
class Group:
    """Policies that are evaluated in one run.

    Attributes:
        score: of the step policies among them.
        fitted: from the bank of the training problems.
    """

    name: str
    policies: tuple[str, ...]
    score: str = "logprob"
    fitted: bool = False


GROUPS = (
    Group("alone", ("weak", "strong")),
    Group(
        "inside",
        (
            *("thr:0.8,0.85,0.9", "token:0.3", "token:0.3,0.4:8"),
            *("clause:0.4", "tail:0.3", "thr:0.85+tail:0.5"),
        ),
    ),
    Group("tokens", ("token:0.5,0.7",)),
    Group("spans", ("thr:0.8,0.9+tail:0.5", "clause:0.3")),
    Group("steps", ("random:0.3", "takeover:0.7,0.8", "cascade:0.7,0.8")),
    Group("entropy", ("thr:0.3,0.5", "takeover:0.1,0.2"), score="entropy"),
    Group("grade", ("thr:0.5,0.7", "takeover:0.3,0.5"), score="grade"),
    Group(
        "fitted",
        (
            *("pomdp:{fits}/pomdp.json@{prices}", "agg:{fits}/agg@{prices}"),
            *("classifier:{fits}/classifier.json", "automix:{fits}/automix.json"),
        ),
        fitted=True,
    ),
)
SWITCH = Group("switch", ())
"""The learned switch, which `benchmarks/switch.py` evaluates."""
PRICES = "0.003,0.001"
"""Of a strong token, in right answers, for the routers that were trained for all prices."""


def settings_of(models: Path | None, **values: int) -> list[str]:
    """Overrides of the configuration: the same values for both models, and files at hand."""
    settings = []
    for role, file in FILES.items():
        settings += [f"{role}.{name}={value}" for name, value in values.items()]
        if models:
            settings.append(f"{role}.gguf={models / file}")
    return settings


@dataclass(frozen=True)
class Run:
    """Where models, data and results are.

    Attributes:
        models, data: None downloads the files.
    """

    models: Path | None
    data: Path | None
    out: Path

    def trim(self, *words: str) -> None:
        """A command of trim; a failure ends this one with its message."""
        command = [str(Path(sys.executable).with_name("trim")), *words]
        if status := subprocess.run(command).returncode:
            raise SystemExit(status)

    def settings(self, benchmark: str) -> list[str]:
        """What is set in the configuration, for both models."""
        return settings_of(self.models, slots=SLOTS, threads=THREADS, context=CONTEXT[benchmark])

    def configured(self, benchmark: str, concurrency: int) -> list[str]:
        """The configuration, and what is set in it, as words of a command."""
        settings = [f"routing.concurrency={concurrency}", *self.settings(benchmark)]
        return [str(CONFIGURATION), *(word for each in settings for word in ("--set", each))]

    def problems(self, benchmark: str) -> list[str]:
        return [benchmark, *(("--data", str(self.data)) if self.data else ())]

    def evaluate(self, benchmark: str, group: Group, part: range) -> None:
        """Solve one part, or what is missing of it."""
        fits = self.out / benchmark / "fits"
        policies = [each.format(fits=fits, prices=PRICES) for each in group.policies]
        concurrency = max(SLOTS // sum(1 + policy.count(",") for policy in policies), 1)
        self.trim(
            *("eval", *self.problems(benchmark), *self.configured(benchmark, concurrency)),
            *("-n", str(len(part)), "--skip", str(part.start), "--seed", str(SEED)),
            *(word for policy in policies for word in ("--policy", policy)),
            *("--scorer", group.score, "--prices", "example"),
            *("--out", str(self.out / benchmark / group.name / f"part-{part.start:03}")),
        )

    def fit(self, benchmark: str) -> None:
        """Record the training problems and fit the policies to them."""
        bank, fits = (str(self.out / benchmark / name) for name in ("bank", "fits"))
        Path(fits).mkdir(parents=True, exist_ok=True)
        self.trim(
            *("collect", *self.problems(benchmark), *self.configured(benchmark, SLOTS)),
            *("--split", "train", "-n", str(BANK_PROBLEMS), "--rollouts", "4"),
            *("--scorer", "logprob", "--out", bank),
        )
        for words in (
            ("fit", bank, "--out", f"{fits}/pomdp.json"),
            ("train", "agg", bank, "--out", f"{fits}/agg"),
            ("fit-rival", "classifier", bank, "--out", f"{fits}/classifier.json"),
            ("fit-rival", "automix", bank, "--out", f"{fits}/automix.json"),
        ):
            if not Path(words[-1]).exists():
                self.trim(*words)


def parts(problems: int) -> Iterator[range]:
    """The numbers of the problems of each part."""
    for start in range(0, problems, SIZE):
        yield range(start, min(start + SIZE, problems))


def chosen_groups(only: str | None) -> Iterator[tuple[str, Group]]:
    """All groups of all benchmarks, or those of one, or one as `gsm8k/inside`."""
    for benchmark in PROBLEMS:
        for group in GROUPS:
            if only in (None, benchmark, f"{benchmark}/{group.name}"):
                yield benchmark, group


def solve(run: Run, only: str | None) -> None:
    """Solve all that is missing of the chosen groups."""
    for benchmark, problems in PROBLEMS.items():
        chosen = [group for name, group in chosen_groups(only) if name == benchmark]
        for fitted in (False, True):
            groups = [group for group in chosen if group.fitted is fitted]
            if fitted and groups:
                run.fit(benchmark)
            for part in parts(problems):
                for group in groups:
                    run.evaluate(benchmark, group, part)
            report(run.out, benchmark)


def records(folder: Path, group: Group) -> Iterator[dict[str, Any]]:
    """The traces of a group as they are on disk: in its parts, or as `keep` wrote them."""
    files = sorted((folder / group.name).glob("part-*/traces.jsonl"))
    kept = kept_file(folder, group)
    texts = [file.read_text(encoding="utf-8") for file in files]
    if kept.exists():
        texts.append(gzip.decompress(kept.read_bytes()).decode())
    for text in texts:
        yield from map(json.loads, text.splitlines())


def kept_file(folder: Path, group: Group) -> Path:
    return folder / f"{group.name}.jsonl.gz"


def keep(out: Path, only: str | None) -> None:
    """Write the traces of the finished groups to the repository, without their texts."""
    for benchmark, group in chosen_groups(only):
        found = list(records(out / benchmark, group))
        problems = {record["problem_id"] for record in found}
        if len(problems) == PROBLEMS[benchmark]:
            lines = [json.dumps(without_texts(record)) + "\n" for record in found]
            # Without a time the same traces give the same file.
            packed = gzip.compress("".join(lines).encode(), mtime=0)
            (KEPT / benchmark).mkdir(parents=True, exist_ok=True)
            write_atomically(kept_file(KEPT / benchmark, group), packed)


def without_texts(value: Any, key: str = "") -> Any:
    """A part of a trace with its texts empty; tokens, scores and decisions stay."""
    if isinstance(value, dict):
        return {name: without_texts(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [without_texts(each) for each in value]
    return "" if key in TEXTS and value is not None else value


TEXTS = ("question", "text", "draft")


def read(folder: Path, group: Group) -> Iterator[Trace]:
    """The finished traces of a group; other scores than the usual ones are in the policy's name."""
    for record in records(folder, group):
        trace = Trace.from_json(record)
        family, colon, setting = trace.policy.partition(":")
        label = "" if group.score == "logprob" else f"({group.score})"
        yield replace(trace, policy=f"{family}{label}{colon}{setting}")


def finished(out: Path, benchmark: str) -> dict[str, list[Trace]]:
    """Traces by policy, of the groups that have finished the problems of the furthest one."""
    groups = {group.name: list(read(out / benchmark, group)) for group in (*GROUPS, SWITCH)}
    done = {name: {trace.problem_id for trace in found} for name, found in groups.items()}
    most = max(done.values(), key=len)
    kept = [trace for name, found in groups.items() for trace in found if done[name] == most]
    for name, problems in done.items():
        if problems and problems != most:
            print(f"{benchmark}/{name} is left out: {len(problems)} of {len(most)} problems")
    return group_by_policy(kept, list(dict.fromkeys(trace.problem_id or "" for trace in kept)))


def report(out: Path, benchmark: str) -> None:
    """Print the tables of the finished problems."""
    solved = finished(out, benchmark)
    if not solved:
        return
    summary = summarise(benchmark, SEED, solved, Prices())
    print(f"\n{benchmark}, {summary['n']} problems\n")
    print_table(HEADINGS, list(rows(summary, solved)))
    print()
    print_table(CURVES, list(in_money(summary)))
    if "thr" in summary["curves"]:
        print()
        print_table(EQUAL, list(equal_rows(summary)))


HEADINGS = (
    *("policy", "right (95 %)", "less than `strong` (95 %, paired)", "c", "strong calls"),
    *("weak tokens", "strong read / cached", "money"),
)


def rows(
    summary: Mapping[str, Any], solved: Mapping[str, Sequence[Trace]]
) -> Iterator[Sequence[str]]:
    """A row for each policy; accuracies in points, money as a share of `strong` alone."""
    strong = next(point for point in summary["points"] if point["policy"] == "strong")
    for point in summary["points"]:
        low, high = (100 * bound for bound in point["accuracy_ci"])
        right, other = (
            [float(trace.correct or False) for trace in solved[name]]
            for name in ("strong", name_of(point))
        )
        least, most = (100 * bound for bound in paired_interval(right, other))
        read = point["prompt_tokens_mean"].get("strong", {"uncached": 0.0, "cached": 0.0})
        yield (
            f"`{name_of(point)}`",
            f"{100 * point['accuracy']:.1f} % ({low:.0f}–{high:.0f})",
            f"{100 * (strong['accuracy'] - point['accuracy']):.1f} ({least:.0f} to {most:.0f})",
            f"{point['strong_share']:.3f}",
            f"{point['strong_calls_mean']:.1f}",
            f"{point['weak_tokens_mean'] + point['discarded_tokens_mean']:.0f}",
            f"{read['uncached']:.0f} / {read['cached']:.0f}",
            f"{point['money_mean'] / strong['money_mean']:.2f}",
        )


CURVES = (*METRICS[1:], "the same in money")


def in_money(summary: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    """A row for each family: CPT and Δ-IBC in strong tokens, and Δ-IBC in money.

    Above 0, the policy is better than the strong model alone on a share of the problems that costs
    as much.
    """
    for row, curve in zip(curve_rows(summary), summary["curves"].values(), strict=True):
        money = curve["costs"]["money"]
        yield *row[1:], with_range(money["delta_ibc"], *money["intervals"]["delta_ibc"])


EQUAL = (
    *("policy", f"c at the accuracy of `thr` with c = {SHARE / 100:.2f}"),
    "Δ-IBC less that of `thr` (95 %, paired)",
)


def equal_rows(summary: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    """A row for each family: the strong tokens that it needs to be as good as `thr`."""
    gain = summary["curves"]["thr"]["budgeted_accuracy"][str(SHARE)]["pgr"]
    weak, strong = (
        np.array(next(p["accuracy"] for p in summary["points"] if p["policy"] == name))
        for name in ("weak", "strong")
    )
    apart = {each["a"]: each["delta_ibc"] for each in summary["comparisons"] if each["b"] == "thr"}
    for family in summary["curves"]:
        points = [point for point in summary["points"] if point["policy"] == family]
        shares, right = (
            np.array([point[name] for point in points]) for name in ("strong_share", "accuracy")
        )
        line = interpolate(shares, right, weak, strong, np.array(0.0))
        needed = float(cpt(*line, np.array([gain]))[0])
        difference = "–"
        if family in apart:
            low, high = apart[family]["interval"]
            difference = f"{apart[family]['value']:.2f} ({low:.2f} to {high:.2f})"
        yield f"`{family}`", f"{needed:.3f}", difference


def main() -> None:
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=["solve", "table", "keep"])
    parser.add_argument("--models", type=Path, help="folder of the two model files")
    parser.add_argument("--data", type=Path, help="folder of the benchmarks")
    parser.add_argument("--out", type=Path, default=Path("build/real"))
    parser.add_argument("--only", metavar="BENCHMARK[/GROUP]", help="a part of the work")
    given = parser.parse_args()
    if given.command == "table":
        for benchmark in PROBLEMS:
            report(given.out, benchmark)
    elif given.command == "keep":
        keep(given.out, given.only)
    else:
        solve(Run(given.models, given.data, given.out), given.only)


if __name__ == "__main__":
    main()

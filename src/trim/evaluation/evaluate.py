"""An evaluation from problems to report: what `trim eval` does."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trim.config import RouterConfig
from trim.configuration.source import ModelSource
from trim.costs import Prices
from trim.errors import InvalidInput
from trim.evaluation.bill import Bill, billed, require_prices, spent
from trim.evaluation.folder import solve_in
from trim.evaluation.plot import plot_curves
from trim.evaluation.problem_set import ProblemSet
from trim.evaluation.progress import RunProgress
from trim.evaluation.provenance import describe_seen, overlaps_of, refuse_seen, require_same_models
from trim.evaluation.remote import EvaluationRequest, RemoteExecutor
from trim.evaluation.report import write_report
from trim.evaluation.run import evaluation_of
from trim.evaluation.suites import SUITES, Suite, SuiteProblem, generate, is_step_right
from trim.evaluation.summary import split_name, summarise
from trim.evaluation.warnings import describe_warnings, profiles_of
from trim.files import write_atomically, writing
from trim.grading.workers import SECONDS, GraderPool, Ungraded
from trim.policies.oracle import Oracle, OracleQuery
from trim.policies.policy import Policy, needs_entropy
from trim.policies.pomdp.simulate import predict
from trim.policies.registry import label_files, parse_all

UNGRADED = "ungraded.jsonl"
"""In a run's folder: answers that could not be graded, where there were any."""


def find_suite(name: str) -> Suite:
    if name not in SUITES:
        raise InvalidInput(f"unknown suite {name!r}; known: {', '.join(SUITES)}")
    return SUITES[name]


def draw(suite_name: str, count: int, seed: int, skip: int = 0) -> ProblemSet:
    """`count` evaluation problems that a suite has for a seed, behind the first `skip`.

    Raises:
        InvalidInput: an unknown suite, or no problem at all.
    """
    suite = find_suite(suite_name)
    if count < 1:
        raise InvalidInput(f"-n {count}: at least one problem is needed")
    problem_set = suite_set(suite, list(generate(suite, skip + count, seed))[skip:])
    return replace(problem_set, described={"skip": skip}) if skip else problem_set


def suite_set(suite: Suite, problems: Sequence[SuiteProblem]) -> ProblemSet:
    """Problems of a suite, whose steps can be checked."""
    by_question = {problem.question: problem for problem in problems}

    def is_right(question: str, earlier: Sequence[str], step: str) -> bool:
        return is_step_right(suite, by_question[question], earlier, step)

    return ProblemSet(suite.name, problems, is_right)


def policies_on(specs: Sequence[str], problem_set: ProblemSet) -> list[Policy]:
    """The policies of a command line, each once, with what the oracles may know.

    Raises:
        InvalidInput: an unknown policy, or one that needs steps where there are none.
    """
    oracles: dict[str, Policy] = {"oracle-query": OracleQuery()}
    if problem_set.is_right:
        oracles["oracle"] = Oracle(problem_set.is_right)
    elif "oracle" in specs:
        raise InvalidInput(
            f"policy 'oracle': {problem_set.name} has no reference steps; use oracle-query, which"
            " needs none"
        )
    return parse_all(specs, oracles)


def predictions_for(specs: Sequence[str], scorer: str) -> list[dict[str, Any]]:
    """What every model of the POMDP router on a command line predicts for a run."""
    return [
        predict(path, scorer, f"{family}({label})" if label else family)
        for (family, path), label in label_files(specs).items()
        if family == "pomdp"
    ]


def evaluate(
    problem_set: ProblemSet,
    specs: Sequence[str],
    seed: int,
    out: Path,
    prices: Prices | None,
    lineup: ModelSource,
    progress: Callable[[RunProgress], None] = lambda standing: None,
    scorer: str | None = None,
    exact: bool = False,
    max_strong_tokens: int | None = None,
    other_models: bool = False,
    max_money: float | None = None,
    elsewhere: RemoteExecutor | None = None,
    seen: bool = False,
) -> dict[str, Any]:
    """Run or continue an evaluation in `out`, write its files and return the summary.

    Args:
        prices: what is billed; None where nothing is.
        progress: told how far the run is.
        scorer: the kind of score for policies that are not made for one
            (`trim.scorers.scorer.KINDS`); the models' usual one without any.
        exact: repeat every character from run to run (`ModelSource.load`).
        max_strong_tokens: of each policy and problem (`trim.router.Router`).
        other_models: use fitted policies also with models that they were not fitted to.
        max_money: as soon as the run has cost so much (`Bill`), no further problem is begun; the
            summary is then of those that are finished, and says `partial`.
        elsewhere: who solves the problems (`trim.cluster`); None for this process.
        seen: go on where a policy or its scorer has seen problems of the evaluation in its making
            (`trim.fingerprints`); the summary then says so.

    Raises:
        MoneySpent: before the first problem was finished.
        InvalidInput: an unknown policy, a policy that was fitted to other models or to problems of
            this evaluation, a folder that cannot be written, or `max_money` without prices.
    """
    require_prices(max_money, prices)
    lineup = lineup.with_task(problem_set.prompt)
    kind = scorer or lineup.default_kind
    problems = problem_set.problems
    policies = policies_on(specs, problem_set)
    if not other_models:
        require_same_models(policies, lineup)
    overlaps = overlaps_of(policies, specs, kind, lineup.joint, problem_set)
    if not seen:
        refuse_seen(overlaps, problem_set, ", or --seen to go on and flag it")
    profiles = profiles_of(policies)
    config = lineup.config
    if max_strong_tokens is not None:
        config = replace(config, max_strong_tokens=max_strong_tokens)
    run = {
        "suite": problem_set.name,
        "n": len(problems),
        "seed": seed,
        "scorer": kind,
        "exact": exact,
        "protocol": lineup.protocol.name,
        "version": version("trim"),
    }
    if config.max_strong_tokens is not None:
        run["max_strong_tokens"] = config.max_strong_tokens
    record = lineup.record()
    if problem_set.described or record:
        run |= {**problem_set.described, **conditions(lineup, config, kind), **record}
    bill = Bill(prices, out)

    def may_begin() -> bool:
        return not bill.reaches(max_money)

    if elsewhere:
        asked = EvaluationRequest(problem_set, tuple(specs), seed, kind, exact, max_strong_tokens)
        there = elsewhere.evaluation(lineup, asked, policies, bill, may_begin)
        solved = solve_in(out, run, there, progress, lineup.files(out), bill)
    else:
        team = billed(lineup.load(exact=exact, entropy=needs_entropy(policies, kind)), bill)
        with GraderPool(report=lambda ungraded: note(ungraded, out / UNGRADED)) as grading:
            here = evaluation_of(
                team,
                config,
                problems,
                policies,
                team.scorer_of(kind) if kind else None,
                seed,
                concurrency=lineup.concurrency,
                grading=grading,
                keep_too_long=problem_set.is_right is None,
                may_begin=may_begin,
                takes_open_box=lineup.protocol.open_box,
            )
            solved = solve_in(out, run, here, progress, lineup.files(out), bill)
    if not solved:
        raise spent(bill.money, 0, len(problems))
    # What is predicted knows of no limit.
    predicted = []
    if kind and config.max_strong_tokens is None:
        predicted = predictions_for(specs, kind)
    summary = summarise(problem_set.name, seed, solved, prices, predicted)
    if summary["n"] < len(problems):
        summary["partial"] = {"of": len(problems), "money": bill.money}
    if overlaps:
        summary["seen"] = describe_seen(overlaps, len(problems))
    if profiles:
        summary["warnings"] = describe_warnings(solved, profiles)
    write_results(summary, solved, out)
    return summary


def conditions(lineup: ModelSource, config: RouterConfig, kind: str | None) -> dict[str, Any]:
    """What a run of a published data set depends on besides its command, for `run.json`."""
    packages = ("xllamacpp", "math-verify", "latex2sympy2-extended", "sympy")
    return {
        "models": lineup.identify(kind),
        "sampling": asdict(config.sampling),
        "max_steps": config.max_steps,
        "rules": asdict(config.rules),
        "grading_seconds": SECONDS,
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
    }


def note(ungraded: Ungraded, path: Path) -> None:
    """Append an answer that could not be graded to a file of the run.

    Raises:
        InvalidInput: it cannot be written.
    """
    with writing(path), path.open("a", encoding="utf-8") as file:
        print(json.dumps(asdict(ungraded)), file=file)


def write_results(summary: dict[str, Any], solved: dict[str, Any], out: Path) -> None:
    """Raises InvalidInput where they cannot be written."""
    traces = [
        {
            **trace.to_json(),
            **dict(zip(("policy", "setting"), split_name(trace.policy), strict=True)),
        }
        for of_policy in solved.values()
        for trace in of_policy[:40]
    ]
    with writing(out):
        plot_curves(summary, [out / "curve.png", out / "curve.svg"])
        write_atomically(out / "summary.json", json.dumps(summary, indent=2) + "\n")
        svg = (out / "curve.svg").read_text(encoding="utf-8")
        write_report(summary, traces, svg, out / "report.html")

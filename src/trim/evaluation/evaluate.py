"""`trim eval`: an evaluation from problems to report."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trim.config import RouterConfig
from trim.configuration.source import Models, ModelSource
from trim.costs import Prices
from trim.errors import DISTRIBUTION, InvalidInput, require_packages
from trim.evaluation.bill import Bill, billed, cost_limit_error, require_prices
from trim.evaluation.evaluation_page import write_report
from trim.evaluation.execution import EvaluationRequest, RemoteExecutor, Runnable, solve_in_folder
from trim.evaluation.facts import facts_of
from trim.evaluation.plot import curve_svg, plot_curves
from trim.evaluation.problem_set import ProblemSet
from trim.evaluation.progress import RunProgress
from trim.evaluation.provenance import (
    Overlap,
    describe_seen,
    overlaps_of,
    refuse_seen,
    require_same_models,
)
from trim.evaluation.run import evaluation_of
from trim.evaluation.suites import SUITES, Suite, SuiteProblem, generate, is_step_right, right_step
from trim.evaluation.summary import split_name, summarise
from trim.evaluation.warnings import describe_warnings, profiles_of
from trim.files import open_to_append, write_atomically, writing
from trim.grading.workers import SECONDS, GraderPool, Ungraded
from trim.policies.oracle import Oracle, OracleQuery, OracleToken
from trim.policies.policy import Policy, needs_entropy
from trim.policies.pomdp.simulate import predict
from trim.policies.registry import label_files, parse_all
from trim.scorers.noisy import NoisyScorer
from trim.types import Trace

MOST_PROBLEMS = 1_000_000
UNGRADED = "ungraded.jsonl"
"""File in a run's folder with the answers that could not be graded, if there are any."""


def find_suite(name: str) -> Suite:
    if name not in SUITES:
        raise InvalidInput(f"unknown suite {name!r}; known: {', '.join(SUITES)}")
    return SUITES[name]


def draw(suite_name: str, count: int, seed: int, skip: int = 0) -> ProblemSet:
    """`count` evaluation problems of a suite for a seed, after the first `skip`.

    Raises:
        InvalidInput: an unknown suite, `count` below 1, or more than `MOST_PROBLEMS`.
    """
    suite = find_suite(suite_name)
    if count < 1:
        raise InvalidInput(f"-n {count}: at least one problem is needed")
    if skip + count > MOST_PROBLEMS:
        raise InvalidInput(
            f"-n {count}: the first {MOST_PROBLEMS:,} problems of a suite can be chosen, those of"
            " --skip included"
        )
    problem_set = suite_set(suite, list(generate(suite, skip + count, seed))[skip:])
    return replace(problem_set, metadata={"skip": skip}) if skip else problem_set


def suite_set(suite: Suite, problems: Sequence[SuiteProblem]) -> ProblemSet:
    """Problems of a suite, with the check of their steps."""
    return checked_set(suite, problems, {problem.question: problem for problem in problems})


def checked_set(
    suite: Suite, problems: Sequence[SuiteProblem], by_question: Mapping[str, Any]
) -> ProblemSet:
    """Problems of a suite, with the check of the steps of all problems in `by_question`.

    Args:
        by_question: may grow.
    """

    def is_right(question: str, earlier: Sequence[str], step: str) -> bool:
        return is_step_right(suite, by_question[question], earlier, step)

    def right(question: str, earlier: Sequence[str]) -> str | None:
        return right_step(suite, by_question[question], earlier)

    return ProblemSet(suite.name, problems, is_right, right)


def policies_on(specs: Sequence[str], problem_set: ProblemSet) -> list[Policy]:
    """The policies of a command line, each once, with the oracles' knowledge of the problems.

    Raises:
        InvalidInput: an unknown policy, or one that needs reference steps that do not exist.
    """
    oracles: dict[str, Policy] = {"oracle-query": OracleQuery()}
    if problem_set.is_right:
        oracles["oracle"] = Oracle(problem_set.is_right)
    if problem_set.right_step:
        oracles["oracle-token"] = OracleToken(problem_set.right_step)
    unknown = {"oracle", "oracle-token"} & {*specs} - oracles.keys()
    if unknown:
        raise InvalidInput(
            f"policy {min(unknown)!r}: {problem_set.name} has no reference steps; use oracle-query,"
            " which needs none"
        )
    return parse_all(specs, oracles)


def predictions_for(specs: Sequence[str], scorer: str) -> list[dict[str, Any]]:
    """Predictions for a run of every POMDP model on a command line."""
    return [
        predict(path, scorer, f"{family}({label})" if label else family)
        for (family, path), label in label_files(specs).items()
        if family == "pomdp"
    ]


@dataclass(frozen=True)
class RunOptions:
    """Options of an evaluation run.

    Attributes:
        seed: of the sampling.
        scorer: kind of score (`trim.scorers.scorer.KINDS`) for policies that do not require one;
            None for the models' default.
        exact: make runs reproducible character by character (`ModelSource.load`).
        max_strong_tokens: limit for each policy and problem (`trim.config.RouterConfig`).
        prices: None if nothing is billed.
        max_money: cost limit; once the run has cost this much, no further problem is started and
            the summary covers the finished ones (`partial`). Needs prices.
        allow_other_models: accept policies that were fitted to other models.
        allow_seen: accept policies and scorers that were fitted to problems of the evaluation
            (`trim.fingerprints`); the summary lists them.
        sigma: standard deviation of noise added to the scores of kind `scorer` (`NoisyScorer`),
            in this process only.
        predicts: predict the curves of fitted models, where there are any.
    """

    seed: int = 0
    scorer: str | None = None
    exact: bool = False
    max_strong_tokens: int | None = None
    prices: Prices | None = None
    max_money: float | None = None
    allow_other_models: bool = False
    allow_seen: bool = False
    sigma: float = 0.0
    predicts: bool = True


@dataclass(frozen=True)
class EvaluationResult:
    """The results of an evaluation.

    Attributes:
        summary: as in `docs/summary.schema.json`.
        solved: traces by policy, in problem order.
    """

    summary: dict[str, Any]
    solved: dict[str, list[Trace]]


def check_policies(
    problem_set: ProblemSet, specs: Sequence[str], source: ModelSource, options: RunOptions
) -> tuple[list[Policy], dict[str, Overlap]]:
    """The policies of an evaluation, and the problems that they were fitted to, by family.

    Raises:
        InvalidInput: an unknown policy, or one that was fitted to other models or to problems of
            this evaluation.
    """
    kind = options.scorer or source.default_kind
    policies = policies_on(specs, problem_set)
    if not options.allow_other_models:
        require_same_models(policies, source)
    overlaps = overlaps_of(policies, specs, kind, source.joint, problem_set)
    if not options.allow_seen:
        refuse_seen(overlaps, problem_set, ", or --seen to go on and flag it")
    return policies, overlaps


def evaluate(
    problem_set: ProblemSet,
    specs: Sequence[str],
    source: ModelSource,
    out: Path,
    options: RunOptions | None = None,
    progress: Callable[[RunProgress], None] = lambda progress: None,
    executor: RemoteExecutor | None = None,
) -> EvaluationResult:
    """Run or continue an evaluation in `out`, and write its files.

    Args:
        specs: the policies, as on the command line.
        progress: called with the progress of the run, about every second.
        executor: solves the problems in other processes (`trim.cluster`); None for this process.

    Raises:
        MoneySpent: the cost limit was reached before the first problem was finished.
        InvalidInput: an unknown policy, a policy that was fitted to other models or to problems of
            this evaluation, a folder that holds another run or cannot be written, or `max_money`
            without prices.
        MissingExtra: the extra `eval` is not installed.
    """
    require_packages("an evaluation", "math_verify", "matplotlib", "scipy")
    options = options or RunOptions()
    require_prices(options.max_money, options.prices)
    source = source.with_task(problem_set.prompt)
    kind = options.scorer or source.default_kind
    problems = problem_set.problems
    policies, overlaps = check_policies(problem_set, specs, source, options)
    profiles = profiles_of(policies)
    config = source.config
    if options.max_strong_tokens is not None:
        config = replace(config, max_strong_tokens=options.max_strong_tokens)
    run = run_record(problem_set, source, config, kind, options)
    bill = Bill(options.prices, out)

    def may_start() -> bool:
        return not bill.reaches(options.max_money)

    def report(ungraded: Ungraded) -> None:
        note(ungraded, out / UNGRADED)

    def solve(evaluation: Runnable) -> dict[str, list[Trace]]:
        return solve_in_folder(out, run, evaluation, progress, source.files(out), bill)

    if executor:
        request = EvaluationRequest(
            problem_set,
            tuple(specs),
            options.seed,
            kind,
            options.exact,
            options.max_strong_tokens,
        )
        solved = solve(executor.evaluation(source, request, policies, bill, may_start, report))
    else:
        loaded = source.load(exact=options.exact, entropy=needs_entropy(policies, kind))
        models = billed(loaded, bill)
        if options.sigma:
            models = with_noise(models, kind, options.sigma)
        with GraderPool(report=report) as grading:
            evaluation = evaluation_of(
                models,
                config,
                problems,
                policies,
                models.scorer_of(kind) if kind else None,
                options.seed,
                concurrency=source.concurrency,
                grading=grading,
                keep_too_long=problem_set.is_right is None,
                may_start=may_start,
                takes_open_box=source.protocol.open_box,
            )
            solved = solve(evaluation)
    if not solved:
        raise cost_limit_error(bill.money, 0, len(problems))
    # Predictions ignore limits.
    predicted = []
    if kind and options.predicts and config.max_strong_tokens is None:
        predicted = predictions_for(specs, kind)
    summary = summarise(problem_set.name, options.seed, solved, options.prices, predicted)
    if summary["n"] < len(problems):
        summary["partial"] = {"of": len(problems), "money": bill.money}
    if overlaps:
        summary["seen"] = describe_seen(overlaps, len(problems))
    if profiles:
        summary["warnings"] = describe_warnings(solved, profiles)
    write_results(summary, solved, out, facts_of(source, kind, options.prices, out))
    return EvaluationResult(summary, solved)


def with_noise(models: Models, kind: str | None, sigma: float) -> Models:
    """The same models, with noise added to the scores of a kind."""
    if kind is None:
        raise InvalidInput("noise: there are no scores to add it to; name a scorer")
    noisy = NoisyScorer(models.scorer_of(kind), sigma)
    return replace(models, scorers={**models.scorers, kind: noisy})


def run_record(
    problem_set: ProblemSet,
    source: ModelSource,
    config: RouterConfig,
    kind: str | None,
    options: RunOptions,
) -> dict[str, Any]:
    """The content of `run.json`, which identifies a run, except its policies."""
    run = {
        "suite": problem_set.name,
        "n": len(problem_set.problems),
        "seed": options.seed,
        "scorer": f"{kind}+noise:{options.sigma:g}" if options.sigma else kind,
        "exact": options.exact,
        "protocol": source.protocol.name,
        "version": version(DISTRIBUTION),
    }
    if config.max_strong_tokens is not None:
        run["max_strong_tokens"] = config.max_strong_tokens
    record = source.record()
    if problem_set.metadata or record:
        run |= {**problem_set.metadata, **conditions(source, config, kind), **record}
    return run


def conditions(source: ModelSource, config: RouterConfig, kind: str | None) -> dict[str, Any]:
    """What a run depends on besides its command: models, settings and versions."""
    packages = ("xllamacpp", "math-verify", "latex2sympy2-extended", "sympy")
    return {
        "models": source.identify(kind),
        "sampling": asdict(config.sampling),
        "max_steps": config.max_steps,
        "rules": {
            name: rule
            for name, rule in asdict(config.rules).items()
            if name != "keeps_fences" or rule  # runs of before it existed go on
        },
        "grading_seconds": SECONDS,
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
    }


def note(ungraded: Ungraded, path: Path) -> None:
    """Append an answer that could not be graded to a file. Raises InvalidInput if that fails."""
    with writing(path), open_to_append(path) as file:
        file.write(f"{json.dumps(asdict(ungraded))}\n".encode())


def write_results(
    summary: dict[str, Any],
    solved: dict[str, Any],
    out: Path,
    facts: Sequence[tuple[str, str]] = (),
) -> None:
    """Write plots, summary and report. Raises InvalidInput if that fails.

    Args:
        facts: as of `trim.evaluation.evaluation_page.write_report`.
    """
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
        write_report(summary, traces, curve_svg(summary), out, facts)

"""An evaluation from suite to report: what `trim eval` does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trim.embedded import SAMPLING, load_embedded, usual_kind
from trim.errors import InvalidInput
from trim.evaluation.origin import require_same_models
from trim.evaluation.plot import plot_curves
from trim.evaluation.report import write_report
from trim.evaluation.run import Evaluation
from trim.evaluation.store import TraceStore
from trim.evaluation.suites import SUITES, Problem, Suite, generate, is_step_right
from trim.evaluation.summary import group_by_policy, split_name, summarise
from trim.evaluation.warnings import describe_warnings, profiles_of
from trim.files import write_atomically
from trim.policies.oracle import Oracle, OracleQuery
from trim.policies.policy import Policy
from trim.policies.registry import label_files, parse_all
from trim.pomdp.prediction import predict
from trim.prices import Prices
from trim.scorers.choice import needs_entropy


def find_suite(name: str) -> Suite:
    if name not in SUITES:
        raise InvalidInput(f"unknown suite {name!r}; known: {', '.join(SUITES)}")
    return SUITES[name]


def policies_for(specs: Sequence[str], suite: Suite, problems: Sequence[Problem]) -> list[Policy]:
    """The policies of a command line, each once; here the oracles have their references."""
    by_question = {problem.question: problem for problem in problems}

    def is_right(question: str, earlier: Sequence[str], step: str) -> bool:
        return is_step_right(suite, by_question[question], earlier, step)

    oracles = {"oracle": Oracle(is_right), "oracle-query": OracleQuery()}
    return parse_all(specs, oracles)


def predictions_for(specs: Sequence[str], scorer: str) -> list[dict[str, Any]]:
    """What every model of the POMDP router on a command line predicts for a run."""
    return [
        predict(path, scorer, f"{family}({label})" if label else family)
        for (family, path), label in label_files(specs).items()
        if family == "pomdp"
    ]


def evaluate(
    suite_name: str,
    count: int,
    specs: Sequence[str],
    seed: int,
    out: Path,
    prices: Prices,
    models: Path,
    progress: Callable[[int], None] = lambda finished: None,
    scorer: str | None = None,
    exact: bool = False,
    max_strong_tokens: int | None = None,
    other_models: bool = False,
) -> dict[str, Any]:
    """Run or continue an evaluation in `out`, write its files and return the summary.

    Args:
        progress: called with the number of finished problems.
        scorer: the kind of score for policies that are not made for one
            (`trim.scorers.choice.KINDS`); the models' usual one without any.
        exact: repeat every character from run to run (`trim.embedded.load_embedded`).
        max_strong_tokens: of each policy and problem (`trim.router.Router`).
        other_models: use fitted policies also with models that they were not fitted to.

    Raises:
        InvalidInput: an unknown suite or policy, a negative limit of tokens, a policy that was
            fitted to other models, or a folder that cannot be written.
    """
    suite = find_suite(suite_name)
    kind = scorer or usual_kind(models)
    if count < 1:
        raise InvalidInput(f"-n {count}: at least one problem is needed")
    if max_strong_tokens is not None and max_strong_tokens < 0:
        raise InvalidInput(
            f"--max-strong-tokens {max_strong_tokens}: must be a number of tokens from 0 up"
        )
    problems = list(generate(suite, count, seed))
    policies = policies_for(specs, suite, problems)
    if not other_models:
        require_same_models(policies, models)
    profiles = profiles_of(policies)
    run = {
        "suite": suite.name,
        "n": count,
        "seed": seed,
        "policies": [policy.name for policy in policies],
        "scorer": kind,
        "exact": exact,
        "version": version("trim"),
    }
    if max_strong_tokens is not None:
        run["max_strong_tokens"] = max_strong_tokens
    embedded = load_embedded(models, exact=exact, entropy=needs_entropy(policies, kind))
    store = TraceStore(out, run)
    try:
        progress(len(store.finished))
        evaluation = Evaluation(
            problems,
            policies,
            embedded.weak,
            embedded.strong,
            embedded.scorer_of(kind),
            seed,
            SAMPLING,
            scorers=embedded.scorers,
            max_strong_tokens=max_strong_tokens,
        )
        asyncio.run(evaluation.run(store, lambda: progress(len(store.finished))))
    finally:
        store.close()
    solved = group_by_policy(store.read(), [problem.id for problem in problems])
    # What is predicted knows of no limit.
    predicted = predictions_for(specs, kind) if max_strong_tokens is None else []
    summary = summarise(suite.name, seed, solved, prices, predicted)
    if profiles:
        summary["warnings"] = describe_warnings(solved, profiles)
    write_results(summary, solved, out)
    return summary


def write_results(summary: dict[str, Any], solved: dict[str, Any], out: Path) -> None:
    plot_curves(summary, [out / "curve.png", out / "curve.svg"])
    write_atomically(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    traces = [
        {
            **trace.to_json(),
            **dict(zip(("policy", "setting"), split_name(trace.policy), strict=True)),
        }
        for of_policy in solved.values()
        for trace in of_policy[:40]
    ]
    write_report(
        summary, traces, (out / "curve.svg").read_text(encoding="utf-8"), out / "report.html"
    )

"""The summary of an evaluation: points, curves and paired differences, from traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trim.costs import Prices
from trim.evaluation.comparison import (
    Figures,
    PolicyOutcomes,
    Weights,
    describe_comparisons,
    describe_intervals,
    figures_of,
)
from trim.evaluation.cost_axes import describe_axes, outcomes
from trim.evaluation.verdict import describe_costs, describe_verdict
from trim.metrics.curve import Curve
from trim.metrics.intervals import bootstrap_interval, paired_interval
from trim.policies.token import family_and_setting
from trim.types import Finish, Trace, Usage

Solved = Mapping[str, Sequence[Trace]]
"""Traces by policy name, each list in problem order."""


def group_by_policy(traces: Sequence[Trace], problem_ids: Sequence[str]) -> dict[str, list[Trace]]:
    """Traces by policy, each list in problem order."""
    order = {problem_id: index for index, problem_id in enumerate(problem_ids)}
    solved: dict[str, list[Trace]] = {}
    for trace in sorted(traces, key=lambda trace: order[trace.problem_id or ""]):
        solved.setdefault(trace.policy, []).append(trace)
    return solved


def summarise(
    suite: str,
    seed: int,
    solved: Solved,
    prices: Prices | None,
    predicted: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The content of `summary.json` (docs/summary.schema.json).

    Args:
        prices: None if nothing is billed.
        predicted: predictions of fitted models (`trim.policies.pomdp.simulate.predict`).
    """
    strong_mean = mean_of(solved["strong"], "strong_tokens") if "strong" in solved else None
    weights = Weights.draw(len(next(iter(solved.values()))))
    points = [
        describe_point(name, traces, solved, strong_mean)
        | describe_costs(traces, solved.get("strong"), prices, weights)
        for name, traces in solved.items()
    ]
    curves = describe_curves(points)
    figures = resample_families(solved, list(curves), weights)
    if curves:
        settings = settings_of(solved, list(curves))
        costs = describe_axes(settings, solved["weak"], solved["strong"], prices, weights)
        for family, curve in curves.items():
            curve |= {"intervals": describe_intervals(figures[family]), "costs": costs[family]}
    return {
        "suite": suite,
        "n": len(next(iter(solved.values()))),
        "seed": seed,
        "points": points,
        "verdict": describe_verdict(points),
        "curves": curves,
        "comparisons": describe_comparisons(figures),
        "differences": describe_differences(solved),
        "predicted": list(predicted),
    }


def describe_point(
    name: str, traces: Sequence[Trace], solved: Solved, strong_mean: float | None
) -> dict[str, Any]:
    correct = correctness(traces)
    strong_tokens = mean_of(traces, "strong_tokens")
    policy, setting = split_name(name)
    return {
        "policy": policy,
        "setting": setting,
        "accuracy": float(correct.mean()),
        "accuracy_ci": list(bootstrap_interval(correct)),
        "strong_share": strong_tokens / strong_mean if strong_mean else None,
        "strong_tokens_mean": strong_tokens,
        "middle_tokens_mean": mean_of(traces, "intermediate_tokens"),
        "weak_tokens_mean": mean_of(traces, "weak_tokens"),
        "discarded_tokens_mean": mean_of(traces, "discarded_tokens"),
        "dropped_tokens_mean": mean_of(traces, "dropped_tokens"),
        "scorer_tokens_mean": mean_of(traces, "scorer_tokens"),
        "interventions_mean": mean_of(traces, "interventions"),
        "strong_calls_mean": strong_calls(traces),
        "fallbacks_mean": mean_of(traces, "fallbacks"),
        "prompt_tokens_mean": {role: prompt_tokens(traces, role) for role in roles_of(traces)},
        "truncated_steps_mean": mean_of(traces, "truncated_steps"),
        "unfinished": sum(trace.unfinished for trace in traces),
        "failed": sum(trace.finish is Finish.FAILED for trace in traces),
        "rescued": rescued(traces, solved.get("weak")) if name != "weak" else None,
    }


def split_name(name: str) -> tuple[str, float | None]:
    """Split `thr:0.5` into `thr` and 0.5; a setting that is not a number stays in the name.

    `trim.policies.policy.policy_name` joins them again.
    """
    return family_and_setting(name) or (name, None)


def correctness(traces: Sequence[Trace]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([bool(trace.correct) for trace in traces], dtype=float)


def mean_of(traces: Sequence[Trace], attribute: str) -> float:
    return float(np.mean([getattr(trace, attribute) for trace in traces]))


def roles_of(traces: Sequence[Trace]) -> list[str]:
    return list(dict.fromkeys(role for trace in traces for role in trace.usage))


def prompt_tokens(traces: Sequence[Trace], role: str) -> dict[str, float]:
    usages = [trace.usage.get(role, Usage()) for trace in traces]
    cached = float(np.mean([usage.cached_tokens for usage in usages]))
    total = float(np.mean([usage.prompt_tokens for usage in usages]))
    return {"cached": cached, "uncached": total - cached}


def strong_calls(traces: Sequence[Trace]) -> float | None:
    """Mean number of the strong model's answers; None if a trace is from before they counted."""
    used = [trace.usage["strong"] for trace in traces]
    if any((usage.tokens or usage.prompt_tokens) and not usage.requests for usage in used):
        return None
    return float(np.mean([usage.requests for usage in used]))


def rescued(traces: Sequence[Trace], weak: Sequence[Trace] | None) -> dict[str, int] | None:
    """Problems solved here and not by the weak model alone, by number of rewrites."""
    if weak is None:
        return None
    counts = {"1": 0, "2": 0, "3": 0, "more": 0}
    for trace, alone in zip(traces, weak, strict=True):
        if trace.correct and not alone.correct and trace.interventions:
            counts[str(trace.interventions) if trace.interventions <= 3 else "more"] += 1
    return counts


def describe_curves(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A curve for each family with settings; empty if weak or strong was not run alone."""
    alone = {point["policy"]: point for point in points if point["setting"] is None}
    if not {"weak", "strong"} <= alone.keys() or not alone["strong"]["strong_tokens_mean"]:
        return {}
    families = dict.fromkeys(point["policy"] for point in points if point["setting"] is not None)
    return {
        family: Curve(
            weak_accuracy=alone["weak"]["accuracy"],
            strong_accuracy=alone["strong"]["accuracy"],
            strong_tokens_mean=alone["strong"]["strong_tokens_mean"],
            points=tuple(
                (point["strong_share"], point["accuracy"])
                for point in points
                if point["policy"] == family
            ),
        ).summary()
        for family in families
    }


def resample_families(
    solved: Solved, families: Sequence[str], weights: Weights
) -> dict[str, Figures]:
    """The figures of families with a curve, on the same resamples of the problems."""
    if not families:
        return {}
    weak, strong = outcomes([solved["weak"]]), outcomes([solved["strong"]])
    return figures_of(outcomes_by_family(solved, families), weak, strong, weights)


def outcomes_by_family(solved: Solved, families: Sequence[str]) -> dict[str, PolicyOutcomes]:
    """Outcomes of the settings of each family, in strong tokens."""
    return {
        family: outcomes(settings) for family, settings in settings_of(solved, families).items()
    }


def settings_of(solved: Solved, families: Sequence[str]) -> dict[str, list[Sequence[Trace]]]:
    """Traces of each setting of each family."""
    return {
        family: [traces for name, traces in solved.items() if is_setting_of(name, family)]
        for family in families
    }


def is_setting_of(name: str, family: str) -> bool:
    policy, setting = split_name(name)
    return policy == family and setting is not None


def describe_differences(solved: Solved) -> list[dict[str, Any]]:
    """Every policy against the weak and the strong model alone, paired over the problems."""
    return [
        {
            "a": dict(zip(("policy", "setting"), split_name(name), strict=True)),
            "b": {"policy": alone, "setting": None},
            "accuracy_difference": mean_difference(traces, solved[alone]),
            "interval": list(paired_interval(correctness(traces), correctness(solved[alone]))),
        }
        for alone in ("weak", "strong")
        for name, traces in solved.items()
        if alone in solved and name != alone
    ]


def mean_difference(a: Sequence[Trace], b: Sequence[Trace]) -> float:
    return float((correctness(a) - correctness(b)).mean())

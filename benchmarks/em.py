"""First errors by EM from outcomes, beside the rule on scores and the fit from labels.

`python benchmarks/em.py solutions FILE...` prints the log-likelihood of solutions of held-out
problems in a file of several solutions a problem (`math500_…_32_solutions_prm_scores.jsonl.gz`).
`python benchmarks/em.py plans BANK [--splits 5]` hides the labels of a bank and prints Δ-IBC and
APGR of the plans of each fit on held-out problems, by replay, for the bank's scores and the same
scores bent. The tables are those of docs/results/first-errors.md.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trim.metrics import metrics
from trim.metrics.curve import interpolate
from trim.policies.pomdp.belief import BeliefKind
from trim.policies.pomdp.first_errors import (
    FoundErrors,
    WrittenSteps,
    find_errors,
    log_density,
)
from trim.policies.pomdp.fit import (
    LabelledTrajectory,
    evidence_from_solutions,
    fit_evidence,
    written_steps,
)
from trim.policies.pomdp.model import PomdpModel
from trim.policies.pomdp.plan import make_plan
from trim.policies.pomdp.policy import PomdpPolicy
from trim.rollouts.bank import Bank, read_bank
from trim.rollouts.fit import evidence_from_bank
from trim.rollouts.record import Node, RecordedProblem, SoloSolution
from trim.rollouts.replay import replay

WRONG_BELOW = 0.35
"""The rule (the authors' scripts): the first error of a wrong answer is its first score below."""
LONGEST = 30
"""Steps of a solution; longer ones are left out."""
RESAMPLES = 1000
PRICES = (*np.arange(0.98, 0.3, -0.03), *np.arange(0.3, 0.02, -0.04), 0.015, 0.0015)
"""Cost of rewriting a step, as a share of the gain from a right answer."""
GAP = 5e-3
NEVER = 1e-9
SCORES = ("qwen_prm", "skywork_prm", "math_shepherd")


def first_error(scores: tuple[float, ...], correct: bool) -> int | None:
    """The rule: None for a right answer, else the first score below 0.35, or the lowest one."""
    if correct:
        return None
    low = (place for place, score in enumerate(scores) if score < WRONG_BELOW)
    return next(low, scores.index(min(scores)))


def by_rule(solutions: list[LabelledTrajectory]) -> list[LabelledTrajectory]:
    """The same solutions, labelled by the rule."""
    labelled = []
    for solution in solutions:
        error = first_error(solution.scores, solution.correct)
        right = tuple(place != error for place in range(len(solution.scores)))
        labelled.append(replace(solution, right=right))
    return labelled


# --- log-likelihood of real solutions ---------------------------------------------------------


def read_solutions(file: Path, scores: str) -> list[list[LabelledTrajectory]]:
    """The solutions of each problem, by one model."""
    problems = []
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            solutions = [
                (tuple(each[scores]), each["correct"])
                for each in json.loads(line)["solutions"]
                if len(each.get(scores, ())) in range(1, LONGEST + 1)
            ]
            problems.append(
                [
                    LabelledTrajectory(values, (1,) * len(values), (False,) * len(values), correct)
                    for values, correct in solutions
                ]
            )
    return problems


def rule_model(steps: WrittenSteps, like: FoundErrors) -> FoundErrors:
    """The rule's states of labelled steps, with densities in the bins of another fit."""
    states = steps.labelled_states()
    assert states is not None
    bins, model = like.model.bins(steps.score), like.model
    counts = [np.bincount(bins, states[:, s], minlength=len(model.table)) + 0.5 for s in range(3)]
    table = np.stack(counts, axis=-1)
    accuracy = states[:, 0].sum() / states[:, [0, 2]].sum()
    fitted = replace(
        model,
        accuracies=np.array([accuracy, 0.5]),
        recovery=NEVER,
        unseen=NEVER,
        table=table / table.sum(axis=0),
    )
    return FoundErrors(fitted, states, ())


def solutions_table(files: list[Path], splits: int) -> None:
    print(
        "| solutions | fit | nats a solution | more than the rule | p_w | errors harmless, if seen"
        " | errors unseen |"
    )
    print("|---|---|---|---|---|---|---|")
    for file in files:
        for scores in SCORES:
            problems = read_solutions(file, scores)
            if any(problems):
                solutions_rows(f"{file.name.split('_')[0]}, {scores}", problems, splits)


def solutions_rows(name: str, problems: list[list[LabelledTrajectory]], splits: int) -> None:
    """Two-fold cross-validation over problems, repeated; the mean over all halves."""
    random = np.random.default_rng(0)
    found: dict[str, list[tuple[float, ...]]] = {}
    gains: dict[str, list[np.ndarray]] = {}
    for _ in range(splits):
        order = random.permutation(len(problems))
        for known, others in ((order[::2], order[1::2]), (order[1::2], order[::2])):
            fits = fits_of([each for place in known for each in problems[place]])
            held_out = [problems[place] for place in others]
            values = {
                kind: np.array([log_density(written_steps(each), fit.model) for each in held_out])
                for kind, fit in fits.items()
            }
            count = sum(map(len, held_out))
            for kind, fit in fits.items():
                model = fit.model
                found.setdefault(kind, []).append(
                    (
                        values[kind].sum() / count,
                        model.accuracies[0],
                        model.recovery,
                        model.unseen,
                    )
                )
                gains.setdefault(kind, []).append((values[kind] - values["rule"]) / count)
    for kind, rows in found.items():
        value, accuracy, recovery, unseen = np.mean(rows, axis=0)
        gain = np.mean([each.sum() for each in gains[kind]])
        low, high = interval_of_sums(gains[kind][:2])
        difference = "" if kind == "rule" else f"{gain:.2f} ({low:.2f}–{high:.2f})"
        print(
            f"| {name} | {kind} | {value:.2f} | {difference} | {accuracy:.3f} | {recovery:.0%}"
            f" | {unseen:.0%} |",
            flush=True,
        )


def fits_of(solutions: list[LabelledTrajectory]) -> dict[str, FoundErrors]:
    steps = written_steps(solutions)
    found = find_errors(steps)
    return {
        "rule": rule_model(written_steps(by_rule(solutions)), found),
        "EM": found,
    }


def interval_of_sums(folds: list[np.ndarray]) -> tuple[float, float]:
    """95 % of the mean over both halves, resampled by problem."""
    each = np.concatenate(folds) / len(folds)
    draws = np.random.default_rng(0).integers(0, len(each), (RESAMPLES, len(each)))
    low, high = np.quantile(each[draws].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


# --- plans from a bank with hidden labels -----------------------------------------------------


def hide_labels(bank: Bank) -> Bank:
    """The bank as if its steps could not be checked."""

    def alone(solution: SoloSolution) -> SoloSolution:
        return replace(solution, steps=tuple(replace(each, right=None) for each in solution.steps))

    def hidden(problem: RecordedProblem) -> RecordedProblem:
        nodes = (replace(node, draft_right=None, strong_right=None) for node in problem.nodes)
        return replace(
            problem,
            nodes=tuple(nodes),
            weak=alone(problem.weak),
            strong=alone(problem.strong),
        )

    return replace(bank, problems=tuple(map(hidden, bank.problems)))


def bend(bank: Bank, power: float) -> Bank:
    """The bank with r ** power in place of every score r."""

    def bent(node: Node) -> Node:
        strong = None if node.strong_score is None else node.strong_score**power
        return replace(node, draft_score=node.draft_score**power, strong_score=strong)

    def alone(solution: SoloSolution) -> SoloSolution:
        steps = (
            replace(each, score=None if each.score is None else each.score**power)
            for each in solution.steps
        )
        return replace(solution, steps=tuple(steps))

    def changed(problem: RecordedProblem) -> RecordedProblem:
        return replace(problem, nodes=tuple(map(bent, problem.nodes)), weak=alone(problem.weak))

    return replace(bank, problems=tuple(map(changed, bank.problems)))


def finished_solutions(bank: Bank) -> Iterator[LabelledTrajectory]:
    """The weak model's own solutions and rollouts with rewritten steps."""
    for problem in bank.problems:
        paths = [(problem.rollouts[0].nodes, (False,) * len(problem.rollouts[0].nodes))]
        outcomes = [problem.weak.correct]
        for rollout in problem.rollouts:
            if any(rollout.regenerate):
                paths.append((rollout.nodes, rollout.regenerate))
                outcomes.append(rollout.correct)
        for (nodes, by_strong), correct in zip(paths, outcomes, strict=True):
            kept = [problem.nodes[node] for node in nodes]
            scores = [
                node.strong_score if strong else node.draft_score
                for node, strong in zip(kept, by_strong, strict=True)
            ]
            if any(score is None for score in scores):
                continue
            tokens = [
                node.strong_tokens if strong else node.draft_tokens
                for node, strong in zip(kept, by_strong, strict=True)
            ]
            yield LabelledTrajectory(
                tuple(score for score in scores if score is not None),
                tuple(tokens),
                tuple(by_strong),
                correct,
            )


FITS: dict[str, Callable[[Bank], PomdpModel]] = {
    "labels": lambda bank: fit_evidence(evidence_from_bank(bank)),
    "rule": lambda bank: fit_evidence(
        evidence_from_solutions(by_rule(list(finished_solutions(bank))))
    ),
    "EM": lambda bank: fit_evidence(evidence_from_bank(hide_labels(bank))),
}


def outcomes_of(bank: Bank, model: PomdpModel, kind: BeliefKind) -> np.ndarray:
    """(prices, problems, 2): strong tokens, and whether the answer is right."""
    gain = 1 - model.process.recovery
    found = []
    for price in PRICES:
        plan = make_plan(model.problem(price * gain / model.process.tokens, kind), GAP)
        policy = PomdpPolicy(plan, model.filter(kind))
        replays = [replay(problem, policy) for problem in bank.problems]
        found.append([(each.strong_tokens, each.correct) for each in replays])
    return np.array(found, dtype=np.float64)


def curve_metrics(bank: Bank, outcomes: np.ndarray, draws: np.ndarray) -> dict[str, np.ndarray]:
    """Δ-IBC and APGR of each resample (draws, problems)."""
    weak, strong, tokens = (
        np.array(each, dtype=np.float64)[draws].mean(axis=1)
        for each in (
            [problem.weak.correct for problem in bank.problems],
            [problem.strong.correct for problem in bank.problems],
            [problem.strong.tokens for problem in bank.problems],
        )
    )
    means = np.stack([outcomes[:, draw].mean(axis=1) for draw in draws])
    shares = means[..., 0] / tokens[:, None]
    line = interpolate(shares, means[..., 1], weak, strong, np.zeros(len(draws)))
    return {"Δ-IBC": metrics.delta_ibc(*line), "APGR": metrics.apgr(*line)}


def plans_table(bank: Bank, splits: int) -> None:
    print("| scores | belief | labels | rule | EM | EM to labels | EM to rule |")
    print("|---|---|---|---|---|---|---|")
    # A rule on scores depends on their scale, ranks do not.
    for name, changed, repeats in (
        ("as recorded", bank, splits),
        ("r^4", bend(bank, 4), 1),
        ("r^(1/4)", bend(bank, 0.25), 1),
    ):
        plans_rows(name, changed, repeats)


def plans_rows(name: str, bank: Bank, splits: int) -> None:
    """Each half is replayed with plans fitted to the other one; outcomes are means over splits."""
    count, random = len(bank.problems), np.random.default_rng(0)
    total: dict[tuple[str, BeliefKind], Any] = {}
    for _ in range(splits):
        order = random.permutation(count)
        for known, others in (
            (order[: count // 2], order[count // 2 :]),
            (order[count // 2 :], order[: count // 2]),
        ):
            rest, kept = (
                replace(bank, problems=tuple(bank.problems[place] for place in places))
                for places in (known, others)
            )
            for fit, make in FITS.items():
                model = make(rest)
                for kind in BeliefKind:
                    key = fit, kind
                    total.setdefault(key, np.zeros((len(PRICES), count, 2)))
                    total[key][:, others] += outcomes_of(kept, model, kind) / splits
    plain = np.arange(count)[None, :]
    draws = np.random.default_rng(0).integers(0, count, (RESAMPLES, count))
    for kind in BeliefKind:
        found = {fit: curve_metrics(bank, total[fit, kind], plain) for fit in FITS}
        spread = {fit: curve_metrics(bank, total[fit, kind], draws) for fit in FITS}
        cells = [f"{found[fit]['Δ-IBC'][0]:.2f}, {found[fit]['APGR'][0]:.3f}" for fit in FITS]
        for other in ("labels", "rule"):
            share = found["EM"]["Δ-IBC"][0] / found[other]["Δ-IBC"][0]
            low, high = np.quantile(spread["EM"]["Δ-IBC"] / spread[other]["Δ-IBC"], [0.025, 0.975])
            gain = found["EM"]["APGR"][0] - found[other]["APGR"][0]
            least, most = np.quantile(spread["EM"]["APGR"] - spread[other]["APGR"], [0.025, 0.975])
            cells.append(
                f"{share:.1%} ({low:.1%}–{high:.1%}), {gain:+.4f} ({least:+.4f} to {most:+.4f})"
            )
        print(f"| {name} | `{kind}` | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    tables = parser.add_subparsers(dest="table", required=True)
    of_solutions = tables.add_parser("solutions")
    of_solutions.add_argument("files", type=Path, nargs="+")
    of_solutions.add_argument("--splits", type=int, default=5)
    of_plans = tables.add_parser("plans")
    of_plans.add_argument("bank", type=Path)
    of_plans.add_argument("--splits", type=int, default=5)
    given = parser.parse_args()
    if given.table == "solutions":
        solutions_table(given.files, given.splits)
    else:
        plans_table(read_bank(given.bank), given.splits)


if __name__ == "__main__":
    main()

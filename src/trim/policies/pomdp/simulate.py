"""Simulated accuracy and cost of routers, on problems drawn from a fitted POMDP model.

No language model runs: states, lengths and scores are drawn at random. All routers use the same
random numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trim.errors import InvalidInput
from trim.metrics.curve import GAINS, Curve
from trim.metrics.metrics import PERFORMANCE_REGIONS
from trim.numerics import random_generator
from trim.policies.pomdp.belief import REPAIRABLE_MARGIN, BeliefFilter, BeliefKind
from trim.policies.pomdp.model import PomdpModel, read_model
from trim.policies.pomdp.plan import Plan, make_plan
from trim.policies.pomdp.process import STEPS, Floats

Booleans = NDArray[np.bool_]
StateArray = NDArray[np.int64]

THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Swept together with as many quantiles of the fitted scores."""
SHARES = (0.1, 0.25, 0.5, 0.75)


class Draw(StrEnum):
    """How scores are drawn from the model."""

    SCORES = "scores"
    """The score of each step given its state; the lowest earlier score follows from the trace."""
    PAIRS = "pairs"
    """The pair (lowest earlier, newest) given the state, independently at each step."""


FULL_INFORMATION = {Draw.SCORES: BeliefKind.NEWEST, Draw.PAIRS: BeliefKind.PAIRS}
"""The kind of belief that uses all information in such draws."""


@dataclass(frozen=True)
class RandomNumbers:
    """Lengths (n,) and uniform random numbers (n, 31), column t for step t."""

    lengths: StateArray
    draft: Floats
    rewrite: Floats
    draft_score: Floats
    kept_score: Floats
    mix: Floats

    @staticmethod
    def of(model: PomdpModel, count: int, seed: int) -> RandomNumbers:
        random = random_generator(seed)
        lengths = random.choice(STEPS + 1, size=count, p=model.process.length_distribution)
        return RandomNumbers(lengths, *(random.random((count, STEPS + 1)) for _ in range(5)))


@dataclass(frozen=True)
class StepBatch:
    """The k unfinished problems at a step.

    Attributes:
        step: t, from 1.
        score: (k,) of the drafts, in [0, 1].
        belief: (k, 3) P(S0), P(S1), P(S2).
        last: (k,) whether the draft is the last step.
        state: (k,) the hidden state, for oracles only.
        mix: (k,) uniform random numbers, for random policies.
    """

    step: int
    score: Floats
    belief: Floats
    last: Booleans
    state: StateArray
    mix: Floats


class Rule(Protocol):
    """A routing policy on arrays; `choose` gives (k,) whether each draft is rewritten."""

    @property
    def family(self) -> str: ...
    @property
    def setting(self) -> float | None: ...
    @property
    def filter(self) -> BeliefFilter | None: ...
    def choose(self, view: StepBatch) -> Booleans: ...


@dataclass(frozen=True)
class ThresholdRule:
    setting: float
    family: str = "thr"
    filter: BeliefFilter | None = None

    def choose(self, view: StepBatch) -> Booleans:
        return view.score < self.setting


@dataclass(frozen=True)
class RandomRule:
    """Rewrites a random share of the drafts; 0 and 1 are the models alone."""

    setting: float
    family: str = "random"
    filter: BeliefFilter | None = None

    def choose(self, view: StepBatch) -> Booleans:
        return view.mix < self.setting


@dataclass(frozen=True)
class OracleRule:
    """Rewrites the drafts that are the first wrong step."""

    family: str = "oracle"
    setting: float | None = None
    filter: BeliefFilter | None = None

    def choose(self, view: StepBatch) -> Booleans:
        return np.asarray(view.state == 2)


@dataclass(frozen=True)
class PlanRule:
    """`PomdpPolicy` for steps of mean length."""

    plan: Plan
    filter: BeliefFilter

    @property
    def family(self) -> str:
        return f"pomdp-{self.filter.kind}"

    @property
    def setting(self) -> float:
        return self.plan.problem.price

    def choose(self, view: StepBatch) -> Booleans:
        keep, rewrite = self.plan.problem.process.final_accuracy
        gain = np.where(
            view.last,
            view.belief @ (rewrite - keep),
            self.plan.gains(view.step, view.belief[:, 0], view.belief[:, 1]),
        )
        pays = gain > self.plan.problem.price * self.plan.problem.process.tokens
        if self.filter.kind is BeliefKind.UNIFORM:
            pays &= view.belief[:, 2] >= view.belief.max(axis=1) - REPAIRABLE_MARGIN
        return np.asarray(pays)


@dataclass(frozen=True)
class Outcome:
    """(n,) per problem: P(the answer is right), and the number of rewritten steps."""

    right: Floats
    rewrites: NDArray[np.int64]


def run(model: PomdpModel, rule: Rule, draws: RandomNumbers, draw: Draw) -> Outcome:
    """Simulate all problems with one router."""
    process = model.process
    count = len(draws.lengths)
    right, rewrites = np.zeros(count), np.zeros(count, dtype=np.int64)
    active = np.arange(count)
    state = next_state(np.zeros(count, dtype=np.int64), process.drafting, draws.draft[:, 0])
    belief, lowest = np.tile(process.initial_belief, (count, 1)), np.ones(count)
    tables = np.stack([process.drafting, process.redrafting])
    sampler = Sampler.of(model, draw)
    for t in range(1, STEPS + 1):
        seen_lowest, score = sampler.scores(state, lowest, draws.draft_score[active, t])
        now = update_belief(rule.filter, belief, seen_lowest, score)
        last = draws.lengths[active] == t
        chosen = rule.choose(StepBatch(t, score, now, last, state, draws.mix[active, t]))
        rewritten = next_state(state, process.rewriting, draws.rewrite[active, t])
        kept = np.where(chosen, rewritten, state)
        rewrites[active] += chosen
        right[active[last]] = process.answer_accuracy(np.asarray(kept[last] == 0, dtype=np.float64))

        seen_lowest, replaced = sampler.scores(rewritten, lowest, draws.kept_score[active, t])
        after = update_belief(rule.filter, belief @ process.rewriting, seen_lowest, replaced)
        now = np.where(chosen[:, None], after, now)
        lowest = np.minimum(lowest, np.where(chosen, replaced, score))

        on = ~last
        active, chosen = active[on], chosen[on].astype(np.int64)
        if not len(active):
            break
        belief, lowest = np.einsum("ns,nst->nt", now[on], tables[chosen]), lowest[on]
        cumulative = tables.cumsum(axis=2)[chosen, kept[on]]
        state = (draws.draft[active, t][:, None] >= cumulative[:, :2]).sum(axis=1)
    return Outcome(right, rewrites)


def next_state(state: StateArray, table: Floats, uniform: Floats) -> StateArray:
    """(k,) states drawn from a (3, 3) transition table by uniform random numbers (k,)."""
    cumulative = table.cumsum(axis=1)[state]
    return np.asarray((uniform[:, None] >= cumulative[:, :2]).sum(axis=1), dtype=np.int64)


def update_belief(
    filter: BeliefFilter | None, prior: Floats, lowest: Floats, score: Floats
) -> Floats:
    """(k, 3) belief after an observation; the prior if there is no filter."""
    if filter is None:
        return prior
    likely = filter.likelihoods(lowest, score)
    joint = likely if filter.kind is BeliefKind.UNIFORM else prior * likely
    return np.asarray(joint / joint.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Sampler:
    """Draws scores at the centres of bins, by inverse transform sampling.

    Attributes:
        draw: what is drawn.
        cumulative: (3, bins) distribution functions, one per state.
        centres: of the bins of one axis.
    """

    draw: Draw
    cumulative: Floats
    centres: Floats

    @staticmethod
    def of(model: PomdpModel, draw: Draw) -> Sampler:
        seen = model.observations
        if draw is Draw.SCORES:
            table, centres = seen.newest, seen.newest_scores
        else:
            table, centres = seen.pairs, (np.arange(len(seen.pairs)) + 0.5) / len(seen.pairs)
        cumulative = table.reshape(-1, 3).T.cumsum(axis=1)
        return Sampler(draw, cumulative / cumulative[:, -1:], centres)

    def scores(self, state: StateArray, lowest: Floats, uniform: Floats) -> tuple[Floats, Floats]:
        """(k,) each: the lowest earlier score, as observed, and the newest score."""
        found = np.zeros(len(state), dtype=np.int64)
        for s, cumulative in enumerate(self.cumulative):
            of_state = state == s
            found[of_state] = np.searchsorted(cumulative, uniform[of_state], side="right")
        found = np.minimum(found, self.cumulative.shape[1] - 1)
        if self.draw is Draw.SCORES:
            return lowest, self.centres[found]
        first, second = np.divmod(found, len(self.centres))
        return self.centres[first], self.centres[second]


def make_rules(
    model: PomdpModel, prices: Sequence[float], gap: float, kinds: Sequence[BeliefKind]
) -> Iterator[Rule]:
    edges = model.observations.newest_edges
    spread = edges[:: max(1, len(edges) // len(THRESHOLDS))].tolist()
    yield from map(ThresholdRule, sorted({*THRESHOLDS, *spread}))
    yield from map(RandomRule, SHARES)
    for kind in kinds:
        beliefs = model.filter(kind)
        for price in prices:
            yield PlanRule(make_plan(model.problem(price, kind), gap), beliefs)
    yield OracleRule()


def simulate(
    model: PomdpModel,
    count: int,
    seed: int = 0,
    draw: Draw = Draw.SCORES,
    prices: Sequence[float] = (),
    gap: float = 2e-3,
    beliefs: Sequence[BeliefKind] = tuple(BeliefKind),
) -> dict[str, Any]:
    """Points and curves of each router, for `count` problems drawn from the model.

    Args:
        prices: lambda of the POMDP routers, in right answers per strong token; by default the
            model's sweep.
        gap: largest gap between the bounds of their plans, in right answers.
        beliefs: kinds of belief of the POMDP routers.

    Returns:
        `weak_accuracy`, `strong_accuracy`, `strong_tokens_mean`; `points`, each with policy,
        setting, accuracy, strong_share and interventions_mean; `curves`, the metrics of
        `trim.metrics.curve.Curve` by family; and `limit`, the `least_share` for each gain of CPT
        (0 if `beliefs` lacks the kind that uses all information in the draws) and an upper
        bound on `delta_ibc` (None in that case). The strong model alone is the router that
        rewrites every draft. Where it is no better than the weak one, metrics are None.

    Raises:
        InvalidInput: `count` is below 1.
    """
    if count < 1:
        raise InvalidInput(f"-n {count}: at least one problem is needed")
    draws = RandomNumbers.of(model, count, seed)
    weak, strong = (run(model, RandomRule(share), draws, draw) for share in (0.0, 1.0))
    whole = float(strong.rewrites.mean())
    points, lines = [], dict[str, list[tuple[float, float]]]()
    plans = []
    for rule in make_rules(model, prices or model.prices(), gap, beliefs):
        if isinstance(rule, PlanRule) and rule.filter.kind is FULL_INFORMATION[draw]:
            plans.append(rule.plan)
        outcome = run(model, rule, draws, draw)
        accuracy, rewrites = float(outcome.right.mean()), float(outcome.rewrites.mean())
        lines.setdefault(rule.family, []).append((rewrites / whole, accuracy))
        points.append(
            {
                "policy": rule.family,
                "setting": rule.setting,
                "accuracy": accuracy,
                "strong_share": rewrites / whole,
                "interventions_mean": rewrites,
            }
        )
    ends = {
        "weak_accuracy": float(weak.right.mean()),
        "strong_accuracy": float(strong.right.mean()),
        "strong_tokens_mean": whole * model.process.tokens,
    }
    curves = {family: Curve(**ends, points=tuple(line)).summary() for family, line in lines.items()}
    limit = cost_limits(plans, endpoint_metrics(model))
    return {
        "n": count,
        "seed": seed,
        "draw": str(draw),
        **ends,
        "points": points,
        "curves": curves,
        "limit": limit,
    }


def endpoint_metrics(model: PomdpModel) -> dict[str, float]:
    """Exact accuracies of both models alone, and strong tokens, as `simulate` estimates them."""
    process = model.process
    keep, rewrite = process.final_accuracy
    weak, strong = process.initial_belief, process.initial_belief
    accuracies = np.zeros(2)
    for length in process.length_distribution[1:]:
        accuracies += length * np.array([weak @ keep, strong @ rewrite])
        weak, strong = (
            state @ table for state, table in zip((weak, strong), process.transitions, strict=True)
        )
    steps = float(process.length_distribution @ np.arange(STEPS + 1))
    return {
        "weak_accuracy": float(accuracies[0]),
        "strong_accuracy": float(accuracies[1]),
        "strong_tokens_mean": steps * process.tokens,
    }


def cost_limits(plans: Sequence[Plan], ends: Mapping[str, float]) -> dict[str, float | None]:
    """`least_share` for each gain of CPT, and the resulting upper bound on Delta-IBC.

    All are None if the strong model is no better than the weak one.
    """
    if ends["strong_accuracy"] <= ends["weak_accuracy"]:
        return dict.fromkeys((*map(str, GAINS), "delta_ibc"))
    limit: dict[str, float | None] = {
        str(gain): least_share(plans, gain / 100, **ends) for gain in GAINS
    }
    gains = (np.arange(PERFORMANCE_REGIONS) + 0.5) / PERFORMANCE_REGIONS
    shares = np.array([least_share(plans, gain, **ends) for gain in gains])
    bounded = bool(np.all(shares > 0))
    limit["delta_ibc"] = float(np.mean(gains / shares - 1)) if bounded else None
    return limit


def least_share(
    plans: Sequence[Plan],
    gain: float,
    weak_accuracy: float,
    strong_accuracy: float,
    strong_tokens_mean: float,
) -> float:
    """Lower bound on the share c of strong tokens that reaches PGR `gain`, in [0, 1].

    For a router that decides from draft scores, accuracy - lambda * tokens is at most the upper
    bound of the plan at lambda. Hence tokens >= (accuracy - upper) / lambda for each plan. The
    scores of rewritten steps are not counted as information.
    """
    accuracy = weak_accuracy + gain * (strong_accuracy - weak_accuracy)
    tokens = [
        (accuracy - plan.upper) / plan.problem.price for plan in plans if plan.problem.price > 0
    ]
    return max([0.0, *tokens]) / strong_tokens_mean


DEFAULT_COUNT = 20_000
"""Simulated problems."""


def predict(
    file: Path, scorer: str, family: str = "pomdp", count: int = DEFAULT_COUNT, seed: int = 0
) -> dict[str, Any]:
    """Simulated accuracies of both models alone, and points and curves of some routers.

    Args:
        file: a model of `trim fit`.
        scorer: the kind of score of the thresholds; `thr` is left out if it is not the model's.
        family: name of the router made from the file.
        count: problems to simulate.

    Returns:
        `model`, which is `family`; `n`; `weak_accuracy`, `strong_accuracy` and
        `strong_tokens_mean`; `points` and `curves` as in `simulate`, of `family` with the file's
        kind of belief, `thr`, `random` and `oracle`.

    Raises:
        InvalidInput: the file is unreadable or malformed.
    """
    model = read_model(file)
    found = simulate(model, count, seed, Draw.SCORES, beliefs=(model.belief,))
    names = {f"pomdp-{model.belief}": family, "random": "random", "oracle": "oracle"}
    if model.fitted_to.get("kind", scorer) == scorer:
        names["thr"] = "thr"
    return {
        "model": family,
        "n": count,
        "weak_accuracy": found["weak_accuracy"],
        "strong_accuracy": found["strong_accuracy"],
        "strong_tokens_mean": found["strong_tokens_mean"],
        "points": [
            {**point, "policy": names[point["policy"]]}
            for point in found["points"]
            if point["policy"] in names
        ],
        "curves": {
            names[family]: curve for family, curve in found["curves"].items() if family in names
        },
    }

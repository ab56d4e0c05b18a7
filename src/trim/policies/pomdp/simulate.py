"""Thousands of problems drawn from a fitted model: what each router would cost and reach.

No model runs: the states, the lengths and the scores are drawn. All routers meet the same
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
from trim.policies.pomdp.belief import DOUBT, Belief, Filter
from trim.policies.pomdp.model import PomdpModel, read_model
from trim.policies.pomdp.plan import make_plan
from trim.policies.pomdp.problem import Plan
from trim.policies.pomdp.process import STEPS, Floats

Booleans = NDArray[np.bool_]
States = NDArray[np.int64]

THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Swept together with as many quantiles of the scores that the model was fitted to."""
SHARES = (0.1, 0.25, 0.5, 0.75)


class Draw(StrEnum):
    """How scores are drawn from the model."""

    SCORES = "scores"
    """Each step's own score given its state; the lowest earlier one follows from the trace."""
    PAIRS = "pairs"
    """The pair (lowest earlier, newest) given the state, anew at each step."""


INFORMED = {Draw.SCORES: Belief.NEWEST, Draw.PAIRS: Belief.PAIRS}
"""The belief that knows all that such draws tell."""


@dataclass(frozen=True)
class Draws:
    """Uniform random numbers, (n, 31) each, column t for step t, and lengths (n,)."""

    lengths: States
    draft: Floats
    rewrite: Floats
    draft_score: Floats
    kept_score: Floats
    mix: Floats

    @staticmethod
    def of(model: PomdpModel, count: int, seed: int) -> Draws:
        random = np.random.default_rng(seed)
        lengths = random.choice(STEPS + 1, size=count, p=model.process.lengths)
        return Draws(lengths, *(random.random((count, STEPS + 1)) for _ in range(5)))


@dataclass(frozen=True)
class View:
    """The problems still under way at a step, as a router sees them; shape (k,) or (k, 3).

    `state` is for oracles alone, `mix` for routers that draw random numbers.
    """

    step: int
    score: Floats
    belief: Floats
    last: Booleans
    state: States
    mix: Floats


class Rule(Protocol):
    """A router on arrays: which drafts are rewritten."""

    @property
    def family(self) -> str: ...
    @property
    def setting(self) -> float | None: ...
    @property
    def filter(self) -> Filter | None: ...
    def choose(self, view: View) -> Booleans: ...


@dataclass(frozen=True)
class ThresholdRule:
    setting: float
    family: str = "thr"
    filter: Filter | None = None

    def choose(self, view: View) -> Booleans:
        return view.score < self.setting


@dataclass(frozen=True)
class RandomRule:
    """Also both models alone: never, and always, rewrites."""

    setting: float
    family: str = "random"
    filter: Filter | None = None

    def choose(self, view: View) -> Booleans:
        return view.mix < self.setting


@dataclass(frozen=True)
class OracleRule:
    """Rewrites the drafts that are the first wrong step."""

    family: str = "oracle"
    setting: float | None = None
    filter: Filter | None = None

    def choose(self, view: View) -> Booleans:
        return np.asarray(view.state == 2)


@dataclass(frozen=True)
class PlanRule:
    """`trim.policies.pomdp.policy.Pomdp` for steps of mean length."""

    plan: Plan
    filter: Filter

    @property
    def family(self) -> str:
        return f"pomdp-{self.filter.kind}"

    @property
    def setting(self) -> float:
        return self.plan.problem.price

    def choose(self, view: View) -> Booleans:
        keep, rewrite = self.plan.problem.process.finishing
        gain = np.where(
            view.last,
            view.belief @ (rewrite - keep),
            self.plan.gains(view.step, view.belief[:, 0], view.belief[:, 1]),
        )
        pays = gain > self.plan.problem.price * self.plan.problem.process.tokens
        if self.filter.kind is Belief.UNIFORM:
            pays &= view.belief[:, 2] >= view.belief.max(axis=1) - DOUBT
        return np.asarray(pays)


@dataclass(frozen=True)
class Outcome:
    """Of each problem: P(it is solved), and the steps that were rewritten, (n,)."""

    right: Floats
    rewrites: NDArray[np.int64]


def run(model: PomdpModel, rule: Rule, draws: Draws, draw: Draw) -> Outcome:
    """Solve all problems with one router."""
    process = model.process
    count = len(draws.lengths)
    right, rewrites = np.zeros(count), np.zeros(count, dtype=np.int64)
    active = np.arange(count)
    state = next_state(np.zeros(count, dtype=np.int64), process.drafting, draws.draft[:, 0])
    belief, lowest = np.tile(process.start, (count, 1)), np.ones(count)
    tables = np.stack([process.drafting, process.redrafting])
    sampler = Sampler.of(model, draw)
    for t in range(1, STEPS + 1):
        seen_lowest, score = sampler.scores(state, lowest, draws.draft_score[active, t])
        now = believe(rule.filter, belief, seen_lowest, score)
        last = draws.lengths[active] == t
        chosen = rule.choose(View(t, score, now, last, state, draws.mix[active, t]))
        rewritten = next_state(state, process.rewriting, draws.rewrite[active, t])
        kept = np.where(chosen, rewritten, state)
        rewrites[active] += chosen
        right[active[last]] = process.answered(np.asarray(kept[last] == 0, dtype=np.float64))

        seen_lowest, replaced = sampler.scores(rewritten, lowest, draws.kept_score[active, t])
        after = believe(rule.filter, belief @ process.rewriting, seen_lowest, replaced)
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


def next_state(state: States, table: Floats, uniform: Floats) -> States:
    cumulative = table.cumsum(axis=1)[state]
    return np.asarray((uniform[:, None] >= cumulative[:, :2]).sum(axis=1), dtype=np.int64)


def believe(filter: Filter | None, prior: Floats, lowest: Floats, score: Floats) -> Floats:
    """(k, 3) belief after an observation; the prior where a router has no filter."""
    if filter is None:
        return prior
    likely = filter.likelihoods(lowest, score)
    joint = likely if filter.kind is Belief.UNIFORM else prior * likely
    return np.asarray(joint / joint.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Sampler:
    """Scores at the middle of bins, by inverse distribution functions (3, bins).

    `middles` are the scores at the middle of the bins of an axis.
    """

    draw: Draw
    cumulative: Floats
    middles: Floats

    @staticmethod
    def of(model: PomdpModel, draw: Draw) -> Sampler:
        seen = model.observations
        if draw is Draw.SCORES:
            table, middles = seen.newest, seen.newest_scores
        else:
            table, middles = seen.pairs, (np.arange(len(seen.pairs)) + 0.5) / len(seen.pairs)
        cumulative = table.reshape(-1, 3).T.cumsum(axis=1)
        return Sampler(draw, cumulative / cumulative[:, -1:], middles)

    def scores(self, state: States, lowest: Floats, uniform: Floats) -> tuple[Floats, Floats]:
        """The lowest earlier score as it is seen, and the newest one."""
        found = np.zeros(len(state), dtype=np.int64)
        for s, cumulative in enumerate(self.cumulative):
            of_state = state == s
            found[of_state] = np.searchsorted(cumulative, uniform[of_state], side="right")
        found = np.minimum(found, self.cumulative.shape[1] - 1)
        if self.draw is Draw.SCORES:
            return lowest, self.middles[found]
        first, second = np.divmod(found, len(self.middles))
        return self.middles[first], self.middles[second]


def rules_of(
    model: PomdpModel, prices: Sequence[float], gap: float, kinds: Sequence[Belief]
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
    beliefs: Sequence[Belief] = tuple(Belief),
) -> dict[str, Any]:
    """Points and curves of each router, for `count` problems drawn from the model.

    Args:
        prices: lambda of the POMDP routers, in right answers a strong token; the model's
            usual sweep without any.
        gap: within which their plans are certified, in right answers.
        beliefs: kinds of belief that POMDP routers are simulated with.

    Returns:
        `weak_accuracy`, `strong_accuracy`, `strong_tokens_mean`; `points`, each with policy,
        setting, accuracy, strong_share and interventions_mean; `curves`, for each family the
        metrics of `trim.metrics.curve.Curve`; and `limit`, for each gain of CPT what
        `least_share` says (0 without the belief that knows all that the draws tell), and the
        `delta_ibc` that no router exceeds (None likewise). The strong model alone is the
        router that rewrites every draft.

    Raises:
        InvalidInput: no problem is asked for, or neither model has an advantage.
    """
    if count < 1:
        raise InvalidInput(f"-n {count}: at least one problem is needed")
    draws = Draws.of(model, count, seed)
    weak, strong = (run(model, RandomRule(share), draws, draw) for share in (0.0, 1.0))
    whole = float(strong.rewrites.mean())
    points, lines = [], dict[str, list[tuple[float, float]]]()
    plans = []
    for rule in rules_of(model, prices or model.prices(), gap, beliefs):
        if isinstance(rule, PlanRule) and rule.filter.kind is INFORMED[draw]:
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
    limit = limit_of(plans, process_ends(model))
    return {
        "n": count,
        "seed": seed,
        "draw": str(draw),
        **ends,
        "points": points,
        "curves": curves,
        "limit": limit,
    }


def process_ends(model: PomdpModel) -> dict[str, float]:
    """What `simulate` calls the ends of the curve, exactly: both models alone."""
    process = model.process
    keep, rewrite = process.finishing
    weak, strong = process.start, process.start
    accuracies = np.zeros(2)
    for length in process.lengths[1:]:
        accuracies += length * np.array([weak @ keep, strong @ rewrite])
        weak, strong = (
            state @ table for state, table in zip((weak, strong), process.transitions, strict=True)
        )
    steps = float(process.lengths @ np.arange(STEPS + 1))
    return {
        "weak_accuracy": float(accuracies[0]),
        "strong_accuracy": float(accuracies[1]),
        "strong_tokens_mean": steps * process.tokens,
    }


def limit_of(plans: Sequence[Plan], ends: Mapping[str, float]) -> dict[str, float | None]:
    """`least_share` for each gain of CPT, and with it the Delta-IBC that no router exceeds."""
    limit: dict[str, float | None] = {
        str(gain): least_share(plans, gain / 100, **ends) for gain in GAINS
    }
    middles = (np.arange(PERFORMANCE_REGIONS) + 0.5) / PERFORMANCE_REGIONS
    shares = np.array([least_share(plans, gain, **ends) for gain in middles])
    bounded = bool(np.all(shares > 0))
    limit["delta_ibc"] = float(np.mean(middles / shares - 1)) if bounded else None
    return limit


def least_share(
    plans: Sequence[Plan],
    gain: float,
    weak_accuracy: float,
    strong_accuracy: float,
    strong_tokens_mean: float,
) -> float:
    """A share c of strong tokens below which no router reaches PGR `gain` (a fraction).

    No router that decides from the scores of drafts earns more than accuracy - lambda *
    tokens = the upper bound of the plan at lambda; so tokens >= (accuracy - upper) / lambda
    for each plan, up to the chance in the two accuracies. What the scores of rewritten steps
    tell besides is not counted.
    """
    accuracy = weak_accuracy + gain * (strong_accuracy - weak_accuracy)
    tokens = [
        (accuracy - plan.upper) / plan.problem.price for plan in plans if plan.problem.price > 0
    ]
    return max([0.0, *tokens]) / strong_tokens_mean


PROBLEMS = 20_000


def predict(
    file: Path, scorer: str, family: str = "pomdp", count: int = PROBLEMS, seed: int = 0
) -> dict[str, Any]:
    """Accuracies of both models alone, and points and curves of the routers that need no fitting.

    Args:
        file: a model of `trim fit`.
        scorer: the kind of score that thresholds are to be used with; of another kind than
            the model's they are not predicted.
        family: what the router made from the file is called.
        count: problems to simulate.

    Returns:
        `model`, which is `family`; `n`; `weak_accuracy`, `strong_accuracy` and
        `strong_tokens_mean`; `points` and `curves` as in `simulate`, of `family` with the
        belief that the file names, of `thr`, `random` and `oracle`.

    Raises:
        InvalidInput: the file is unreadable, or no such model.
    """
    model = read_model(file)
    found = simulate(model, count, seed, Draw.SCORES, beliefs=(model.belief,))
    names = {f"pomdp-{model.belief}": family, "random": "random", "oracle": "oracle"}
    if model.of.get("kind", scorer) == scorer:
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

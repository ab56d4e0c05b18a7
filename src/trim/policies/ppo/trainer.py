"""PPO on recorded trees, by default once for all prices lambda.

The objective E[R - lambda * strong tokens], clip 0.2 and no discount are those of arXiv
2601.10245. The other defaults are trim's own: lambda is drawn for each episode and is an input of
the network, counterfactual advantages replace sampled ones, since the trees hold the outcomes of
both actions (`Advantage`), and learning rate, entropy bonus, width and inputs differ
(`TrainingArguments`). `PAPER` has the paper's settings; `train_each` trains once for each price.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trim.errors import InvalidInput
from trim.metrics.curve import Curve
from trim.numerics import bounded_seed, random_generator
from trim.policies.agg.network import AggNetwork
from trim.policies.agg.policy import PAPER as PAPER_FEATURES
from trim.policies.agg.policy import SCRIPTS
from trim.policies.ppo.counterfactuals import (
    counterfactual_advantages,
    expected_outcomes,
    policy_curve,
)
from trim.policies.ppo.environment import ReplayEnvironment
from trim.policies.ppo.network import RouterNetwork, Table
from trim.policies.ppo.trees import Booleans, Floats, TreeBatch
from trim.policies.ppo.weights import LearnedRouter, PriceRange, Weights
from trim.policies.seq.network import SeqNetwork

MIN_PROBLEMS = 20
"""Needed for a training and a validation set."""
GRID = 12
"""Prices at which checkpoints are evaluated."""
INFERENCE_BATCH = 4096
"""Rows per forward pass without gradients; they fit the processor's cache."""
SWEEP = 20
"""Prices of the default sweep."""
RUNS = 8
"""Prices to train for one by one, if none are given."""
LARGEST_LOG_RATIO = 40.0
"""Bound of a log-probability ratio: exp(89) is infinite in float32, and 0 times that is NaN.

An action with a larger ratio was collected with a probability below exp(-40).
"""


class Advantage(StrEnum):
    """How the advantages of actions are computed."""

    BRANCHES = "branches"
    """Exact counterfactual advantages at every node, from the outcomes of both actions."""
    EPISODES = "episodes"
    """Generalised advantage estimation (GAE) on sampled episodes, with a learned critic."""


@dataclass(frozen=True)
class TrainingArguments:
    """Settings of a training.

    "Paper" is arXiv 2601.10245, "scripts" the code that its authors published. Settings without a
    comparison are trim's own.

    Attributes:
        family: `agg` or `seq`.
        product: whether agg reads the product of earlier scores, as in the scripts; False in the
            paper.
        log_odds: whether scores are given as log-odds, which spread those near 0 and 1; False in
            the paper and the scripts.
        standardised: whether inputs are shifted and scaled to mean 0 and deviation 1 on the
            training problems; False in the scripts.
        width: of agg's two hidden layers; 128 in the paper, 64 in the scripts.
        price: a single lambda to train for, as in the paper and the scripts; None for the whole
            curve.
        advantage: see `Advantage`; `episodes` in the paper and the scripts.
        normalised: whether the advantages of an iteration are scaled to deviation 1 (`episodes`,
            also shifted to mean 0) or root mean square 1 (`branches`), as in the scripts; False in
            the paper. Without it, prices with large advantages would drown the others.
        iterations: maximum number of iterations (collect, then update).
        patience: iterations without a better checkpoint after which training stops.
        checks: iterations between checkpoints.
        environments, horizon: parallel episodes, and their steps per iteration (`episodes`).
        prices: lambdas per iteration, each used at every node (`branches`).
        problems: maximum number of problems per iteration (`branches`).
        epochs, batch: passes over the collected rows, and rows per update.
        learning_rate, final_rate: Adam's rate falls linearly from `learning_rate` to
            `final_rate * learning_rate`. The paper has 1e-4; the scripts 3e-4, falling to 0.
        clip: 0.2 in the paper and the scripts.
        first_entropy, entropy: weight of the entropy bonus, which falls linearly from the first to
            the second; 0.01 in the paper, falling from 0.01 to 0.001 in the scripts. With a low
            first one, decisions become deterministic before the network distinguishes prices.
        gae: lambda of GAE (`episodes`); 0.95 in the paper and the scripts.
        value_share: weight of the critic's squared error (`episodes`).
        gradient_norm: maximum norm of the gradient.
        held_out: share of the problems in the validation set, which selects the checkpoint.
        seed: of the split, the initial weights and the collected data.
    """

    family: str = "agg"
    product: bool = False
    log_odds: bool = True
    standardised: bool = True
    width: int = 64
    price: float | None = None
    advantage: Advantage = Advantage.BRANCHES
    normalised: bool = True
    iterations: int = 300
    patience: int = 100
    checks: int = 1
    environments: int = 1024
    horizon: int = 16
    prices: int = 4
    problems: int = 100
    epochs: int = 3
    batch: int = 512
    learning_rate: float = 2e-3
    final_rate: float = 0.1
    clip: float = 0.2
    entropy: float = 0.01
    first_entropy: float = 0.1
    gae: float = 0.95
    value_share: float = 0.5
    gradient_norm: float = 0.5
    held_out: float = 0.2
    seed: int = 0


DEFAULT_ARGUMENTS = {
    "agg": TrainingArguments("agg"),
    # A transformer reads whole traces: fewer problems per iteration, and fewer checkpoints.
    "seq": TrainingArguments("seq", problems=30, checks=10),
}
"""Default settings by family."""

PAPER: Mapping[str, Any] = MappingProxyType(
    {
        "product": False,
        "log_odds": False,
        "standardised": False,
        "width": 128,
        "advantage": Advantage.EPISODES,
        "normalised": False,
        "learning_rate": 1e-4,
        "final_rate": 1.0,
        "clip": 0.2,
        "first_entropy": 0.01,
        "entropy": 0.01,
        "gae": 0.95,
    }
)
"""The settings of arXiv 2601.10245, over those of a family; for `train_each`."""


@dataclass(frozen=True)
class TrainedRouter:
    """The result of a training.

    Attributes:
        family: `agg` or `seq`.
        features: names of the inputs.
        log_odds: whether scores are given as log-odds.
        range: prices that it was trained for.
        prices: the default sweep, which spans the curve; falling.
        tensors: weights for `trim.policies.ppo.weights`.
        curve: of greedy decisions at `prices`, on the validation set.
        gain: mean objective of the selected checkpoint on the validation set.
        iterations: number of iterations run.
        separate: whether each of `prices` has a network of its own (`LearnedRouter`).
    """

    family: str
    features: tuple[str, ...]
    log_odds: bool
    range: PriceRange
    prices: tuple[float, ...]
    tensors: dict[str, Weights]
    curve: Curve
    gain: float
    iterations: int
    separate: bool = False

    def router(self, scorer: str, models: Mapping[str, str]) -> LearnedRouter:
        """The router to store.

        Args:
            scorer: the kind of score that it was trained on (`trim.scorers.scorer.KINDS`).
            models: sha256 of each model file by role, from the bank.
        """
        return LearnedRouter(
            self.family,
            self.features,
            self.log_odds,
            self.range,
            self.prices,
            self.tensors,
            scorer,
            models,
            self.separate,
        )


@dataclass(frozen=True)
class RolloutBatch:
    """The data of one iteration; B rows.

    Attributes:
        observations: (B, F + 1).
        logits: (B,) log-odds of regenerating under the collecting policy.
        advantages: (B, 2) of continuing and regenerating.
        weights: (B, 2) frequency of each action; 0 for an action not taken.
        returns: (B,) targets of the critic; empty without one.
    """

    observations: Tensor
    logits: Tensor
    advantages: Tensor
    weights: Tensor
    returns: Tensor


def train(trees: TreeBatch, arguments: TrainingArguments) -> TrainedRouter:
    """Train a router on the trees of a bank.

    Raises:
        InvalidInput: there are too few problems, no node has both actions recorded, the price is
            not positive, or the training diverges before the first checkpoint.
    """
    random = random_generator(arguments.seed)
    torch.manual_seed(bounded_seed(arguments.seed))
    training, validation = split(trees, arguments.held_out, random)
    prices = price_range(training, arguments.price)

    actor, critic = make_network(arguments), make_network(arguments)
    table = actor.table(training)
    if arguments.standardised:
        actor.adapt(table)
        critic.adapt(table)
    parameters = [*actor.parameters(), *critic.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=arguments.learning_rate, eps=1e-5)
    environment = ReplayEnvironment(training, table, prices, arguments.environments)
    observations, information = environment.reset(seed=bounded_seed(arguments.seed))
    free = information["free"]

    grid = (
        prices.prices_at(np.linspace(-1, 1, GRID))
        if arguments.price is None
        else prices.prices_at(np.zeros(1))
    )
    best, best_gain, best_iteration = deepcopy(actor.state_dict()), -np.inf, 0
    for iteration in range(1, arguments.iterations + 1):
        done = (iteration - 1) / arguments.iterations
        fall = 1 - (1 - arguments.final_rate) * done
        optimizer.param_groups[0]["lr"] = arguments.learning_rate * fall
        entropy = arguments.first_entropy + (arguments.entropy - arguments.first_entropy) * done

        # Collect.
        if arguments.advantage == Advantage.EPISODES:
            batch, observations, free = collect_episodes(
                environment, observations, free, actor, critic, arguments, random
            )
        else:
            batch = collect_branches(training, table, prices, actor, arguments, random)

        # Update.
        for _ in range(arguments.epochs):
            order = torch.from_numpy(random.permutation(len(batch.logits)))
            for rows in torch.split(order, arguments.batch):
                loss = clipped_loss(batch, rows, actor, arguments.clip, entropy)
                if len(batch.returns):
                    error = critic(batch.observations[rows]) - batch.returns[rows]
                    loss = loss + arguments.value_share * error.square().mean()
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                nn.utils.clip_grad_norm_(parameters, arguments.gradient_norm)
                optimizer.step()

        # Weights that are not finite stay so.
        if not is_finite(actor):
            break

        # Select the checkpoint on the validation set.
        if iteration % arguments.checks and iteration < arguments.iterations:
            continue
        gain = objective(validation, decisions(validation, actor, prices, grid), grid)
        if gain > best_gain:
            best_gain, best_iteration = gain, iteration
            best = deepcopy(actor.state_dict())
        elif iteration - best_iteration >= arguments.patience:
            break

    if not np.isfinite(best_gain):
        raise InvalidInput(
            "the training diverged before its first checkpoint: its weights are no longer finite;"
            " choose a lower --learning-rate"
        )
    actor.load_state_dict(best)
    sweep = (
        (arguments.price,) if arguments.price is not None else sweep_prices(trees, actor, prices)
    )
    chosen = decisions(validation, actor, prices, np.array(sweep))
    curve = policy_curve(validation, list(chosen.T))
    return TrainedRouter(
        arguments.family,
        actor.features,
        actor.log_odds,
        prices,
        sweep,
        actor.tensors(),
        curve,
        float(best_gain),
        iteration,
    )


def train_each(
    trees: TreeBatch,
    arguments: TrainingArguments,
    prices: Sequence[float],
    report: Callable[[TrainedRouter], None] = lambda run: None,
) -> TrainedRouter:
    """Train a network for each of several prices, in one run each, on the same split.

    Args:
        prices: different ones, at least one.
        report: called with the result of each run.

    Raises as `train` does.
    """
    runs: list[TrainedRouter] = []
    for price in sorted(prices, reverse=True):
        runs.append(train(trees, replace(arguments, price=price)))
        report(runs[-1])
    tensors = {
        f"{place}.{name}": tensor
        for place, run in enumerate(runs)
        for name, tensor in run.tensors.items()
    }
    points = tuple(point for run in runs for point in run.curve.points)
    return replace(
        runs[0],
        range=PriceRange(min(prices), max(prices)),
        prices=tuple(price for run in runs for price in run.prices),
        tensors=tensors,
        curve=replace(runs[0].curve, points=points),
        gain=sum(run.gain for run in runs) / len(runs),
        iterations=sum(run.iterations for run in runs),
        separate=True,
    )


def spread_prices(trees: TreeBatch, count: int = RUNS) -> tuple[float, ...]:
    """Prices over the range of a bank (`price_range`), with equal ratios; falling."""
    prices = price_range(trees, None).prices_at(np.linspace(1, -1, count))
    return tuple(dict.fromkeys(float(f"{price:.3g}") for price in prices))


def make_network(arguments: TrainingArguments) -> RouterNetwork:
    """A network of the family, with initial weights."""
    if arguments.family == "seq":
        return SeqNetwork(arguments.log_odds)
    return AggNetwork(
        SCRIPTS if arguments.product else PAPER_FEATURES, arguments.log_odds, arguments.width
    )


def split(
    trees: TreeBatch, held_out: float, random: np.random.Generator
) -> tuple[TreeBatch, TreeBatch]:
    """Training and validation trees."""
    problems = random.permutation(len(trees.roots))
    if len(problems) < MIN_PROBLEMS:
        raise InvalidInput(
            f"{len(problems)} problems are too few to train on; collect at least {MIN_PROBLEMS}"
        )
    if not trees.has_choice.any():
        raise InvalidInput("the bank records both actions at no step; collect more rollouts")
    count = round(held_out * len(problems))
    return trees.select(problems[count:]), trees.select(problems[:count])


def price_range(trees: TreeBatch, price: float | None) -> PriceRange:
    """The range of prices of a training; a single one if `price` is given.

    At the highest, one right answer pays for one cheap rewrite. At the lowest, the strong model
    alone costs a tenth of its gain in accuracy.
    """
    if price is not None:
        return PriceRange(price, price)
    both = np.stack([np.zeros(len(trees)), np.ones(len(trees))], axis=1)
    right, tokens = (figure.mean(axis=0) for figure in expected_outcomes(trees, both))
    average = max(float(right[1] - right[0]), 0.05) / max(float(tokens[1]), 1.0)
    step = float(np.quantile(trees.strong_tokens[trees.has_choice], 0.1))
    highest = float(f"{1 / max(step, 1.0):.3g}")
    return PriceRange(min(float(f"{average / 10:.3g}"), highest), highest)


def collect_episodes(
    environment: ReplayEnvironment,
    observations: Table,
    free: Booleans,
    actor: RouterNetwork,
    critic: RouterNetwork,
    arguments: TrainingArguments,
    random: np.random.Generator,
) -> tuple[RolloutBatch, Table, Booleans]:
    """Episodes by the actor with advantages by GAE, and the environment's last observations."""
    shape = arguments.horizon, environment.num_envs
    seen = np.zeros((*shape, observations.shape[1]), dtype=np.float32)
    logits, values = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    actions, choices = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.bool_)
    rewards, ended = np.zeros(shape), np.zeros(shape, dtype=np.bool_)
    with torch.no_grad():
        for t in range(arguments.horizon):
            rows = torch.from_numpy(observations)
            seen[t], choices[t] = observations, free
            logits[t], values[t] = actor(rows).numpy(), critic(rows).numpy()
            actions[t] = random.random(shape[1]) < 1 / (1 + np.exp(-logits[t]))
            observations, rewards[t], ended[t], _, information = environment.step(actions[t])
            free = information["free"]
        following = critic(torch.from_numpy(observations)).numpy()
    advantages, running = np.zeros(shape), np.zeros(shape[1])
    for t in range(arguments.horizon - 1, -1, -1):
        continues = ~ended[t]
        delta = rewards[t] + following * continues - values[t]
        running = delta + arguments.gae * running * continues
        advantages[t], following = running, values[t]
    returns = advantages + values
    scaled = advantages
    if arguments.normalised:
        spread = advantages[choices].std() + 1e-8
        scaled = (advantages - advantages[choices].mean()) / spread
    taken = np.stack([actions == 0, actions == 1], axis=-1) * choices[..., None]
    batch = RolloutBatch(
        torch.from_numpy(seen.reshape(-1, seen.shape[-1])),
        torch.from_numpy(logits.reshape(-1)),
        torch.from_numpy(np.repeat(scaled.reshape(-1, 1), 2, axis=1).astype(np.float32)),
        torch.from_numpy(taken.reshape(-1, 2).astype(np.float32)),
        torch.from_numpy(returns.reshape(-1).astype(np.float32)),
    )
    return batch, observations, free


def collect_branches(
    trees: TreeBatch,
    table: Table,
    prices: PriceRange,
    actor: RouterNetwork,
    arguments: TrainingArguments,
    random: np.random.Generator,
) -> RolloutBatch:
    """All nodes that the actor reaches, with counterfactual advantages of both actions."""
    if arguments.problems < len(trees.roots):
        chosen = random.choice(len(trees.roots), arguments.problems, replace=False)
        table = table[np.isin(trees.problem, chosen)]
        trees = trees.select(chosen)
    # One price from each part of the range.
    positions = (
        2 * (np.arange(arguments.prices) + random.random(arguments.prices)) / arguments.prices
    )
    positions = positions - 1 if prices.lowest < prices.highest else np.zeros(1)
    observations = with_prices(table, positions)
    logits = infer_logits(actor, observations)
    share = (1 / (1 + np.exp(-logits.astype(np.float64)))).reshape(len(trees), len(positions))
    reach, gain = counterfactual_advantages(trees, share, prices.prices_at(positions))
    reach = reach * trees.has_choice[:, None]
    if arguments.normalised:
        gain = gain / max(np.sqrt((reach * gain**2).sum() / reach.sum()), 1e-12)
    advantages = np.stack([-share * gain, (1 - share) * gain], axis=-1)
    weights = reach[..., None] * np.stack([1 - share, share], axis=-1)
    weights *= weights.size / 2 / weights.sum()
    rows = np.flatnonzero(reach.reshape(-1) > 1e-3)
    return RolloutBatch(
        torch.from_numpy(observations[rows]),
        torch.from_numpy(logits[rows]),
        torch.from_numpy(advantages.reshape(-1, 2)[rows].astype(np.float32)),
        torch.from_numpy(weights.reshape(-1, 2)[rows].astype(np.float32)),
        torch.zeros(0),
    )


def clipped_loss(
    batch: RolloutBatch, rows: Tensor, actor: RouterNetwork, clip: float, entropy: float
) -> Tensor:
    """PPO's clipped objective with the entropy bonus, as a loss (arXiv 1707.06347, eq. 7)."""
    logits = actor(batch.observations[rows])
    logs = action_log_probabilities(logits)
    log_ratio = logs - action_log_probabilities(batch.logits[rows])
    ratio = log_ratio.clamp(max=LARGEST_LOG_RATIO).exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    advantages, weights = batch.advantages[rows], batch.weights[rows]
    gained = weights * torch.minimum(ratio * advantages, clipped * advantages)
    spread = -(logs.exp() * logs).sum(-1) * weights.sum(-1)
    return -(gained.sum(-1) + entropy * spread).mean()


def action_log_probabilities(logits: Tensor) -> Tensor:
    """(B, 2) log-probabilities of continuing and regenerating."""
    return nn.functional.logsigmoid(torch.stack([-logits, logits], dim=-1))


def is_finite(actor: RouterNetwork) -> bool:
    """Whether no weight is infinite or NaN."""
    return all(bool(tensor.isfinite().all()) for tensor in actor.state_dict().values())


def infer_logits(actor: RouterNetwork, rows: Table) -> Table:
    """(B,) log-odds of regenerating, without gradients."""
    with torch.no_grad():
        parts = [
            actor(torch.from_numpy(rows[start : start + INFERENCE_BATCH])).numpy()
            for start in range(0, len(rows), INFERENCE_BATCH)
        ]
    return np.concatenate(parts)


def with_prices(table: Table, positions: Floats) -> Table:
    """(N * L, F + 1) every row with each of L prices, given as positions in [-1, 1]."""
    rows = np.repeat(table, len(positions), axis=0)
    column = np.tile(positions.astype(np.float32), len(table))[:, None]
    return np.concatenate([rows, column], axis=1)


def decisions(trees: TreeBatch, actor: RouterNetwork, prices: PriceRange, at: Floats) -> Floats:
    """(N, L) greedy decisions, 0 or 1, at the prices `at`."""
    rows = with_prices(actor.table(trees), prices.positions(at))
    logits = infer_logits(actor, rows)
    regenerate: Floats = (logits > 0).astype(np.float64).reshape(len(trees), len(at))
    return regenerate


def objective(trees: TreeBatch, regenerate: Floats, prices: Floats) -> float:
    """E[R - lambda * strong tokens], the mean over problems and prices."""
    right, tokens = expected_outcomes(trees, regenerate)
    return float((right - prices * tokens).mean())


def sweep_prices(trees: TreeBatch, actor: RouterNetwork, prices: PriceRange) -> tuple[float, ...]:
    """Prices with costs spread over their range, denser at low costs."""
    many = prices.prices_at(np.linspace(1, -1, 100))
    _, tokens = expected_outcomes(trees, decisions(trees, actor, prices, many))
    costs = np.sqrt(tokens.mean(axis=0))
    targets = np.linspace(0, costs.max(), SWEEP + 1)[1:]
    nearest = [int(np.abs(costs - cost).argmin()) for cost in targets]
    return tuple(float(f"{many[index]:.3g}") for index in sorted(set(nearest)))

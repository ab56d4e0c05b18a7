"""PPO on recorded trees: one run trains a router for every price lambda.

The method's objective and settings (arXiv 2601.10245): E[R - lambda * strong tokens], clip
0.2, entropy 0.01, GAE 0.95, no discount. Beyond it, lambda is drawn anew for each episode
and is an input of the network; and as the trees hold both actions' outcomes, the advantage
of each action need not be estimated from episodes: one backward pass gives it exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor, nn

from trim.errors import InvalidInput
from trim.metrics.curve import Curve
from trim.policies.agg.policy import PAPER, SCRIPTS
from trim.policies.ppo import exact
from trim.policies.ppo.environment import Replay
from trim.policies.ppo.networks import AggNetwork, SeqNetwork, Table
from trim.policies.ppo.trees import Booleans, Floats, TreeBatch
from trim.policies.ppo.weights import LearnedRouter, PriceRange, Weights

LEAST_PROBLEMS = 20
"""Fewer cannot be split into problems to learn from and problems to choose by."""
GRID = 12
"""Prices at which checkpoints are compared."""
PART = 4096
"""Rows that a network judges together."""
SWEEP = 20
"""Prices of the usual sweep."""


class Advantage(StrEnum):
    """Where the advantages of actions come from."""

    BRANCHES = "branches"
    """Exact, at every node, from the outcomes of both actions in the recorded trees."""
    EPISODES = "episodes"
    """Generalised advantage estimation on sampled episodes, with a learned critic."""


@dataclass(frozen=True)
class TrainingArguments:
    """Settings of a training.

    Attributes:
        family: `agg` or `seq`.
        product: whether agg has the product of earlier scores, as the authors' scripts do.
        odds: whether the network reads scores as log-odds; False as in the method.
        width: of agg's two hidden layers.
        price: a single lambda to train for; None for the whole curve.
        advantage: see `Advantage`.
        iterations: rounds of acting and learning, at most.
        patience: rounds without a better checkpoint after which training ends.
        checks: rounds from one checkpoint to the next.
        environments, horizon: episodes side by side and their steps a round (`episodes`).
        prices: lambdas a round, of which every node sees each (`branches`).
        problems: problems a round, at most (`branches`).
        epochs, batch: passes over a round, and rows of one update.
        learning_rate, final_rate: of Adam; it falls linearly to `final_rate` of itself. The
            method's is 3e-4.
        clip, entropy, gae: as in the method.
        first_entropy: the entropy bonus falls from it to `entropy`. With little of it decisions
            harden before the network tells prices apart, and at high ones never recover.
        value_share: weight of the critic's squared error (`episodes`).
        gradient_norm: longer gradients are cut to it.
        held_out: share of the problems that only choose the checkpoint.
    """

    family: str = "agg"
    product: bool = False
    odds: bool = True
    width: int = 64
    price: float | None = None
    advantage: Advantage = Advantage.BRANCHES
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


USUAL = {
    "agg": TrainingArguments("agg"),
    # A transformer reads whole traces: fewer problems a round, and fewer checkpoints.
    "seq": TrainingArguments("seq", problems=30, checks=10),
}
"""Settings by family."""


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        family: `agg` or `seq`.
        features: names of its inputs.
        odds: whether it reads scores as log-odds.
        range: prices it was trained for.
        prices: the sweep that spans its curve, falling.
        tensors: weights, as `trim.policies` reads them.
        curve: greedy decisions at `prices`, on the held-out problems.
        gain: what the checkpoint was chosen by: the mean objective on those problems.
        iterations: rounds that were run.
    """

    family: str
    features: tuple[str, ...]
    odds: bool
    range: PriceRange
    prices: tuple[float, ...]
    tensors: dict[str, Weights]
    curve: Curve
    gain: float
    iterations: int

    def router(self, scorer: str, models: Mapping[str, str]) -> LearnedRouter:
        """What is kept of it.

        Args:
            scorer: the kind of score that it was trained on (`trim.scorers.scorer.KINDS`).
            models: sha256 of each model file by role, as the bank has them.
        """
        return LearnedRouter(
            self.family,
            self.features,
            self.odds,
            self.range,
            self.prices,
            self.tensors,
            scorer,
            models,
        )


@dataclass(frozen=True)
class Round:
    """What one round of acting has gathered; B rows.

    Attributes:
        observations: (B, F + 1).
        logits: (B,) log-odds of regenerating when acting.
        advantages: (B, 2) of continuing and regenerating,
        weights: (B, 2) how often that action is met there: 0 for one that was not taken.
        returns: (B,) targets of the critic; empty without one.
    """

    observations: Tensor
    logits: Tensor
    advantages: Tensor
    weights: Tensor
    returns: Tensor


def train(forest: TreeBatch, arguments: TrainingArguments) -> Trained:
    """Train a router on the trees of a bank.

    Raises:
        InvalidInput: too few problems, none with a choice, or a price that is not positive.
    """
    random = np.random.default_rng(arguments.seed)
    torch.manual_seed(arguments.seed)
    learning, choosing = split(forest, arguments.held_out, random)
    prices = price_range(learning, arguments.price)

    actor, critic = networks(arguments), networks(arguments)
    table = actor.table(learning)
    actor.adapt(table)
    critic.adapt(table)
    parameters = [*actor.parameters(), *critic.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=arguments.learning_rate, eps=1e-5)
    environment = Replay(learning, table, prices, arguments.environments)
    observations, information = environment.reset(seed=arguments.seed)
    free = information["free"]

    grid = (
        prices.at(np.linspace(-1, 1, GRID)) if arguments.price is None else prices.at(np.zeros(1))
    )
    best, best_gain, best_iteration = deepcopy(actor.state_dict()), -np.inf, 0
    for iteration in range(1, arguments.iterations + 1):
        done = (iteration - 1) / arguments.iterations
        fall = 1 - (1 - arguments.final_rate) * done
        optimizer.param_groups[0]["lr"] = arguments.learning_rate * fall
        entropy = arguments.first_entropy + (arguments.entropy - arguments.first_entropy) * done

        # Act.
        if arguments.advantage == Advantage.EPISODES:
            gathered, observations, free = play(
                environment, observations, free, actor, critic, arguments, random
            )
        else:
            gathered = branch(learning, table, prices, actor, arguments, random)

        # Learn.
        for _ in range(arguments.epochs):
            order = torch.from_numpy(random.permutation(len(gathered.logits)))
            for rows in torch.split(order, arguments.batch):
                loss = surrogate(gathered, rows, actor, arguments.clip, entropy)
                if len(gathered.returns):
                    error = critic(gathered.observations[rows]) - gathered.returns[rows]
                    loss = loss + arguments.value_share * error.square().mean()
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                nn.utils.clip_grad_norm_(parameters, arguments.gradient_norm)
                optimizer.step()

        # Keep the checkpoint that does best on problems that it has not learned from.
        if iteration % arguments.checks and iteration < arguments.iterations:
            continue
        gain = objective(choosing, decisions(choosing, actor, prices, grid), grid)
        if gain > best_gain:
            best_gain, best_iteration = gain, iteration
            best = deepcopy(actor.state_dict())
        elif iteration - best_iteration >= arguments.patience:
            break

    actor.load_state_dict(best)
    sweep = (
        (arguments.price,) if arguments.price is not None else spread_prices(forest, actor, prices)
    )
    chosen = decisions(choosing, actor, prices, np.array(sweep))
    curve = exact.measure(choosing, list(chosen.T))
    return Trained(
        arguments.family,
        actor.features,
        actor.odds,
        prices,
        sweep,
        actor.tensors(),
        curve,
        float(best_gain),
        iteration,
    )


def networks(arguments: TrainingArguments) -> AggNetwork | SeqNetwork:
    if arguments.family == "seq":
        return SeqNetwork(arguments.odds)
    return AggNetwork(SCRIPTS if arguments.product else PAPER, arguments.odds, arguments.width)


def split(
    forest: TreeBatch, held_out: float, random: np.random.Generator
) -> tuple[TreeBatch, TreeBatch]:
    """Trees to learn from, and trees to choose by."""
    problems = random.permutation(len(forest.roots))
    if len(problems) < LEAST_PROBLEMS:
        raise InvalidInput(
            f"{len(problems)} problems are too few to train on; collect at least {LEAST_PROBLEMS}"
        )
    if not forest.free.any():
        raise InvalidInput("the bank records both actions at no step, so nothing can be learned")
    count = round(held_out * len(problems))
    return forest.of_problems(problems[count:]), forest.of_problems(problems[:count])


def price_range(forest: TreeBatch, price: float | None) -> PriceRange:
    """The prices between which every sensible trade lies.

    At the highest a right answer pays for one cheap rewrite at most. At the lowest it would
    pay for ten times what the strong model costs at its average price.
    """
    if price is not None:
        return PriceRange(price, price)
    both = np.stack([np.zeros(len(forest)), np.ones(len(forest))], axis=1)
    right, tokens = (figure.mean(axis=0) for figure in exact.outcomes(forest, both))
    average = max(float(right[1] - right[0]), 0.05) / max(float(tokens[1]), 1.0)
    step = float(np.quantile(forest.strong_tokens[forest.free], 0.1))
    highest = float(f"{1 / max(step, 1.0):.3g}")
    return PriceRange(min(float(f"{average / 10:.3g}"), highest), highest)


def play(
    environment: Replay,
    observations: Table,
    free: Booleans,
    actor: AggNetwork | SeqNetwork,
    critic: AggNetwork | SeqNetwork,
    arguments: TrainingArguments,
    random: np.random.Generator,
) -> tuple[Round, Table, Booleans]:
    """Episodes by the actor, with advantages by GAE; also where they stand at the end."""
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
        goes_on = ~ended[t]
        surprise = rewards[t] + following * goes_on - values[t]
        running = surprise + arguments.gae * running * goes_on
        advantages[t], following = running, values[t]
    returns = advantages + values
    spread = advantages[choices].std() + 1e-8
    normal = (advantages - advantages[choices].mean()) / spread
    taken = np.stack([actions == 0, actions == 1], axis=-1) * choices[..., None]
    gathered = Round(
        torch.from_numpy(seen.reshape(-1, seen.shape[-1])),
        torch.from_numpy(logits.reshape(-1)),
        torch.from_numpy(np.repeat(normal.reshape(-1, 1), 2, axis=1).astype(np.float32)),
        torch.from_numpy(taken.reshape(-1, 2).astype(np.float32)),
        torch.from_numpy(returns.reshape(-1).astype(np.float32)),
    )
    return gathered, observations, free


def branch(
    forest: TreeBatch,
    table: Table,
    prices: PriceRange,
    actor: AggNetwork | SeqNetwork,
    arguments: TrainingArguments,
    random: np.random.Generator,
) -> Round:
    """Every node that the actor may reach, with the exact advantages of both actions."""
    if arguments.problems < len(forest.roots):
        some = random.choice(len(forest.roots), arguments.problems, replace=False)
        table = table[np.isin(forest.problem, some)]
        forest = forest.of_problems(some)
    # One price from each part of the range.
    places = 2 * (np.arange(arguments.prices) + random.random(arguments.prices)) / arguments.prices
    places = places - 1 if prices.lowest < prices.highest else np.zeros(1)
    observations = priced(table, places)
    logits = judge(actor, observations)
    share = (1 / (1 + np.exp(-logits.astype(np.float64)))).reshape(len(forest), len(places))
    reach, gain = exact.counterfactuals(forest, share, prices.at(places))
    reach = reach * forest.free[:, None]
    gain = gain / max(np.sqrt((reach * gain**2).sum() / reach.sum()), 1e-12)
    advantages = np.stack([-share * gain, (1 - share) * gain], axis=-1)
    weights = reach[..., None] * np.stack([1 - share, share], axis=-1)
    weights *= weights.size / 2 / weights.sum()
    rows = np.flatnonzero(reach.reshape(-1) > 1e-3)
    return Round(
        torch.from_numpy(observations[rows]),
        torch.from_numpy(logits[rows]),
        torch.from_numpy(advantages.reshape(-1, 2)[rows].astype(np.float32)),
        torch.from_numpy(weights.reshape(-1, 2)[rows].astype(np.float32)),
        torch.zeros(0),
    )


def surrogate(
    gathered: Round, rows: Tensor, actor: AggNetwork | SeqNetwork, clip: float, entropy: float
) -> Tensor:
    """PPO's clipped objective with the entropy bonus, as a loss (arXiv 1707.06347, eq. 7)."""
    logits = actor(gathered.observations[rows])
    logs = both_logs(logits)
    ratio = (logs - both_logs(gathered.logits[rows])).exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    advantages, weights = gathered.advantages[rows], gathered.weights[rows]
    gained = weights * torch.minimum(ratio * advantages, clipped * advantages)
    spread = -(logs.exp() * logs).sum(-1) * weights.sum(-1)
    return -(gained.sum(-1) + entropy * spread).mean()


def both_logs(logits: Tensor) -> Tensor:
    """(B, 2) log-probabilities of continuing and of regenerating."""
    return nn.functional.logsigmoid(torch.stack([-logits, logits], dim=-1))


def judge(actor: AggNetwork | SeqNetwork, rows: Table) -> Table:
    """(B,) log-odds of regenerating, in parts that stay in the cache of the processor."""
    with torch.no_grad():
        parts = [
            actor(torch.from_numpy(rows[start : start + PART])).numpy()
            for start in range(0, len(rows), PART)
        ]
    return np.concatenate(parts)


def priced(table: Table, places: Floats) -> Table:
    """(N * L, F + 1) every row with each of L prices, given as positions."""
    rows = np.repeat(table, len(places), axis=0)
    column = np.tile(places.astype(np.float32), len(table))[:, None]
    return np.concatenate([rows, column], axis=1)


def decisions(
    forest: TreeBatch, actor: AggNetwork | SeqNetwork, prices: PriceRange, at: Floats
) -> Floats:
    """(N, L) greedy decisions at the prices `at`, 0 or 1: what the policy does."""
    rows = priced(actor.table(forest), prices.position(at))
    logits = judge(actor, rows)
    regenerate: Floats = (logits > 0).astype(np.float64).reshape(len(forest), len(at))
    return regenerate


def objective(forest: TreeBatch, regenerate: Floats, prices: Floats) -> float:
    """E[R - lambda * strong tokens], the mean over problems and prices."""
    right, tokens = exact.outcomes(forest, regenerate)
    return float((right - prices * tokens).mean())


def spread_prices(
    forest: TreeBatch, actor: AggNetwork | SeqNetwork, prices: PriceRange
) -> tuple[float, ...]:
    """Prices that spread the cost over its range, denser where it is low."""
    many = prices.at(np.linspace(1, -1, 100))
    _, tokens = exact.outcomes(forest, decisions(forest, actor, prices, many))
    costs = np.sqrt(tokens.mean(axis=0))
    wanted = np.linspace(0, costs.max(), SWEEP + 1)[1:]
    nearest = [int(np.abs(costs - cost).argmin()) for cost in wanted]
    return tuple(float(f"{many[index]:.3g}") for index in sorted(set(nearest)))

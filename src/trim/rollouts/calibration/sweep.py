"""Sweeps: the settings of a family of policies that a calibration tests, in order of cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trim.errors import InvalidInput
from trim.policies.calibrated import TOKEN_FAMILIES, fitted_sha256, fitted_to
from trim.policies.fixed import RandomMix
from trim.policies.policy import Policy, shortest
from trim.policies.registry import PRICED_FAMILIES
from trim.policies.rivals.cascade import Cascade
from trim.policies.threshold import Threshold
from trim.policies.token import TAIL, Tail, family_and_setting, parse_tokens
from trim.rollouts.bank import Bank
from trim.rollouts.routed import is_replayable

SETTINGS = 300
"""Per family; neighbours differ by a few thousandths of the strong tokens."""

PLAIN_SWEEPS: dict[str, Callable[[float], Policy]] = {
    "thr": Threshold,
    "random": RandomMix,
    "cascade": Cascade,
}


@dataclass(frozen=True)
class Sweep:
    """A family and its settings in order of cost.

    Attributes:
        family: without a file, a number of tokens and a tail.
        file: of a fitted family; None for a plain one.
        settings: from the fewest strong tokens to the most.
        policy: makes the policy of a setting.
        tokens: of `token`, the number of tokens that the strong model writes.
        tail: of a step policy, the probability of `+tail:P`; None rewrites whole steps.
    """

    family: str
    file: Path | None
    settings: tuple[float, ...]
    policy: Callable[[float], Policy]
    tokens: int = 1
    tail: float | None = None

    @property
    def name(self) -> str:
        """The word of the command line, without a setting: `token::8`, `agg:DIR+tail:0.9`."""
        return self._word(self.file)

    @property
    def recorded_as(self) -> str:
        """The family in the names of its policies (`trim.policies.token.family_and_setting`)."""
        return self._word(None)

    @property
    def sha256(self) -> str | None:
        """Of the fitted file; None without one."""
        return fitted_sha256(self.family, self.file) if self.file else None

    def _word(self, file: Path | None) -> str:
        tokens = f"::{self.tokens}" if self.tokens > 1 else ""
        tail = "" if self.tail is None else f"{TAIL}{shortest(self.tail)}"
        return f"{self.family}{tokens}{f':{file}' if file else ''}{tail}"

    def policies(self, most_expensive_first: bool = False) -> Iterator[tuple[float, Policy]]:
        """Settings and policies, made one by one, from the cheapest or from the most expensive."""
        for setting in reversed(self.settings) if most_expensive_first else self.settings:
            yield setting, self.policy(setting)


def parse_sweep(spec: str, bank: Bank, max_strong_tokens: int | None = None) -> Sweep:
    """The sweep of a command-line word: `thr`, `pomdp:FILE`, `token`, `token::8`, `thr+tail:0.9`.

    The settings of policies on tokens are those that the bank records for all its problems.

    Args:
        max_strong_tokens: limit under which they were recorded.

    Raises:
        InvalidInput: the family is unknown, its file is missing, damaged, or fitted to other scores
            or models than the bank's, or no setting is recorded.
    """
    word, plus, probability = spec.rpartition(TAIL)
    if plus:
        tail = parse_tokens("tail", probability).threshold
        whole = parse_whole_sweep(word, bank)

        def policy(setting: float) -> Policy:
            return Tail(whole.policy(setting), tail)

        sweep = replace(whole, policy=policy, tail=tail)
    elif spec.partition(":")[0] in TOKEN_FAMILIES:
        sweep = parse_token_sweep(spec)
    else:
        sweep = parse_whole_sweep(spec, bank)
    if sweep.settings and is_replayable(sweep.policy(sweep.settings[0])):
        return sweep
    settings = recorded_settings(sweep, bank, max_strong_tokens)
    if not settings:
        limit = "" if max_strong_tokens is None else f" --max-strong-tokens {max_strong_tokens}"
        raise InvalidInput(
            f"--policy {spec}: the bank has no setting of it for all its problems; repeat its"
            f" `trim collect` with settings to choose from, as in --policy token:0.5,0.9{limit}"
        )
    return replace(sweep, settings=settings)


def parse_token_sweep(spec: str) -> Sweep:
    """`token`, `token::M`, `clause` or `tail`, without settings."""
    family, _, rest = spec.partition(":")
    if rest and not rest.startswith(":"):
        raise no_family(spec)
    # Any probability gives the number of tokens.
    base = parse_tokens(family, f"0{rest}")
    return Sweep(
        family, None, (), lambda threshold: replace(base, threshold=threshold), base.extent.tokens
    )


def recorded_settings(sweep: Sweep, bank: Bank, max_strong_tokens: int | None) -> tuple[float, ...]:
    """The settings that the bank records for all its problems, the cheapest first."""
    sha256 = sweep.sha256
    found = set()
    for name, file in bank.recorded_policies:
        parsed = family_and_setting(name)
        if parsed is None or (parsed[0], file) != (sweep.recorded_as, sha256):
            continue
        if bank.solutions_of(name, file, max_strong_tokens):
            found.add(parsed[1])
    return tuple(sorted(found, reverse=sweep.family in PRICED_FAMILIES))


def comparable_families(bank: Bank, max_strong_tokens: int | None = None) -> list[str]:
    """The families between which a calibration chooses, if none is named.

    They are `thr`, `cascade` and those on tokens that the bank records for all its problems;
    `random` is only a baseline, and a family with a file has to be named.
    """
    recorded = [
        parsed[0]
        for name, file in sorted(bank.recorded_policies, key=str)
        if file is None and bank.solutions_of(name, file, max_strong_tokens)
        for parsed in [family_and_setting(name)]
        if parsed and is_sweep(parsed[0])
    ]
    return [*dict.fromkeys(("thr", "cascade", *recorded))]


def is_sweep(word: str) -> bool:
    """Whether a recorded family without a file can be calibrated."""
    family = word.partition(TAIL)[0] if TAIL in word else word.partition(":")[0]
    return family in (PLAIN_SWEEPS if TAIL in word else TOKEN_FAMILIES)


def parse_whole_sweep(spec: str, bank: Bank) -> Sweep:
    """The sweep of a family on whole steps."""
    family, _, file = spec.partition(":")
    if family in PLAIN_SWEEPS and not file:
        return Sweep(family, None, settings_of(family, bank), PLAIN_SWEEPS[family])
    if family in PRICED_FAMILIES and file:
        path = Path(file)
        priced = PRICED_FAMILIES[family].open(path)
        require_same_models(family, path, bank)
        prices = priced.prices if priced.separate else prices_between(priced.lowest, priced.highest)
        return Sweep(family, path, prices, priced.at)
    raise no_family(spec)


def no_family(spec: str) -> InvalidInput:
    known = [
        *PLAIN_SWEEPS,
        *(f"{name}:FILE" for name in PRICED_FAMILIES),
        *TOKEN_FAMILIES,
        "token::M",
        f"FAMILY{TAIL}P",
    ]
    return InvalidInput(
        f"--policy {spec}: no family with a setting to calibrate; known: {', '.join(known)}"
    )


def prices_between(lowest: float, highest: float) -> tuple[float, ...]:
    """Prices within a range, falling, with equal ratios; a single one if the range has one."""
    if lowest == highest:
        return (lowest,)
    # Without the ends: rounded, they might leave the range.
    inner = np.geomspace(highest, lowest, SETTINGS)[1:-1]
    return tuple(float(f"{price:.4g}") for price in inner)


def settings_of(family: str, bank: Bank) -> tuple[float, ...]:
    """Settings at quantiles of the bank's scores, rising from 0 to 1."""
    levels = np.linspace(0, 1, SETTINGS)
    if family == "random":
        return tuple(levels.round(4).tolist())
    if family == "cascade":
        scores = [min(trajectory.scores) for trajectory in bank.trajectories()]
    else:
        scores = [node.draft_score for problem in bank.problems for node in problem.nodes]
    inside = {float(f"{score:.6g}") for score in np.quantile(scores, levels)}
    return tuple(sorted({0.0, *inside, 1.0}))


def require_same_models(family: str, path: Path, bank: Bank) -> None:
    """Raises InvalidInput if a router was fitted to other scores or models than the bank's."""
    scorer, models = fitted_to(family, path)
    if scorer not in (None, bank.identity.scorer):
        raise InvalidInput(
            f"{path}: fitted to scores {scorer!r}, and the bank's are {bank.identity.scorer!r}"
        )
    if models and models != bank.identity.models:
        raise InvalidInput(f"{path}: fitted to other models than the bank's; fit it again")

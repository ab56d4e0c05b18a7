"""Policies by name: `thr:0.1,0.5` is two thresholds."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from trim.errors import InvalidInput
from trim.policies.fixed import StrongAlone, WeakAlone
from trim.policies.policy import Policy
from trim.policies.random_mix import RandomMix
from trim.policies.threshold import Takeover, Threshold

WITHOUT_SETTING: dict[str, Callable[[], Policy]] = {"weak": WeakAlone, "strong": StrongAlone}
WITH_SHARE: dict[str, Callable[[float], Policy]] = {
    "random": RandomMix,
    "thr": Threshold,
    "takeover": Takeover,
}
ONLY_IN_EVALUATION = ("oracle", "oracle-query")
ENTRY_POINTS = "trim.policies"
"""Entry-point group in which other packages offer policies: a callable that is given
the text after the colon ("" without one) and returns a policy."""


def parse_policies(spec: str) -> list[Policy]:
    """The policies that a command-line word names, one for each setting in it.

    Raises:
        InvalidInput: unknown name, missing setting, or one outside [0, 1].
    """
    family, _, settings = spec.partition(":")
    if family in WITHOUT_SETTING:
        if settings:
            raise InvalidInput(f"policy {family!r} takes no setting, got {spec!r}")
        return [WITHOUT_SETTING[family]()]
    if family in WITH_SHARE:
        return [WITH_SHARE[family](parse_share(family, text)) for text in settings.split(",")]
    if family in ONLY_IN_EVALUATION:
        raise InvalidInput(f"policy {family!r} needs reference solutions: use it with `trim eval`")
    for entry_point in entry_points(group=ENTRY_POINTS, name=family):
        return [entry_point.load()(text) for text in settings.split(",")]
    known = [*WITHOUT_SETTING, *(f"{name}:K" for name in WITH_SHARE), *ONLY_IN_EVALUATION]
    raise InvalidInput(f"unknown policy {spec!r}; known: {', '.join(known)}")


def parse_share(family: str, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InvalidInput(f"{family}: {text!r} is not a number from 0 to 1, as in {family}:0.5")
    return share

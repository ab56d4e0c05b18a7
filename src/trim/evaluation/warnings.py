"""Warnings of an evaluation: calibrated routers under conditions unlike their calibration.

`trim.monitoring` is imported on demand, as it needs SciPy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trim.errors import InvalidInput
from trim.metrics.intervals import paired_interval
from trim.policies.calibrated import CalibratedPolicy
from trim.policies.policy import Policy
from trim.types import Trace

if TYPE_CHECKING:
    from trim.monitoring.checks import RouterWarning
    from trim.monitoring.profile import Profile


def profiles_of(policies: Iterable[Policy]) -> dict[str, Profile]:
    """Profiles of their calibration by policy name, for policies whose router file has one.

    Raises:
        InvalidInput: a profile is malformed.
    """
    profiles = {}
    for policy in policies:
        if isinstance(policy, CalibratedPolicy) and policy.router.profile is not None:
            from trim.monitoring.profile import Profile

            try:
                profiles[policy.name] = Profile.from_json(policy.router.profile)
            except InvalidInput as error:
                raise InvalidInput(f"{policy.path}: {error}") from error
    return profiles


def describe_warnings(
    solved: Mapping[str, Sequence[Trace]], profiles: Mapping[str, Profile]
) -> dict[str, list[dict[str, Any]]]:
    """Warnings by policy name, as `RouterWarning.to_json`; policies without any are omitted.

    Args:
        solved: traces by policy name, each list in problem order.
        profiles: by policy name (`profiles_of`).
    """
    found = {
        name: [warning.to_json() for warning in warnings_of(traces, solved, profiles[name])]
        for name, traces in solved.items()
        if name in profiles
    }
    return {name: warnings for name, warnings in found.items() if warnings}


def warnings_of(
    traces: Sequence[Trace], solved: Mapping[str, Sequence[Trace]], profile: Profile
) -> Iterator[RouterWarning]:
    from trim.monitoring.monitor import Monitor

    monitor = Monitor(profile)
    for trace in traces:
        monitor.observe(trace)
    monitor.check()
    yield from monitor.warnings()
    if "weak" in solved:
        yield from little_gain(traces, solved["weak"])


def little_gain(traces: Sequence[Trace], alone: Sequence[Trace]) -> Iterator[RouterWarning]:
    """Warn if a router is not shown to be better than the weak model alone.

    Uses the labels instead of scores: the paired 95 % bootstrap interval of the gain must be above
    0. The warning has no p-value, as the absence of a gain is not tested.
    """
    from trim.monitoring.checks import RouterWarning, WarningKind
    from trim.monitoring.monitor import FIRST_CHECK

    if len(traces) < FIRST_CHECK:
        return
    routed, weak = (np.array([bool(t.correct) for t in ts], float) for ts in (traces, alone))
    low, high = paired_interval(routed, weak)
    if low > 0:
        return
    gain = float((routed - weak).mean())
    text = (
        f"the budget is too small: the gain over the weak model alone is {100 * gain:.1f} points"
        f" (95 % interval {100 * low:.1f} to {100 * high:.1f}), which shows none; raise the"
        " budget, or solve more problems"
    )
    yield RouterWarning(WarningKind.BUDGET_TOO_SMALL, text, gain, None)

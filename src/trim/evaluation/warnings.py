"""What an evaluation has to warn of: routers with a profile, watched at work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trim.errors import InvalidInput
from trim.metrics.intervals import paired_interval
from trim.monitoring.checks import RouterWarning, WarningKind
from trim.monitoring.monitor import FIRST_CHECK, Monitor
from trim.monitoring.profile import Profile
from trim.policies.calibrated import CalibratedPolicy
from trim.policies.policy import Policy
from trim.types import Trace


def profiles_of(policies: Iterable[Policy]) -> dict[str, Profile]:
    """What calibration saw, by name, of the policies whose router file says so.

    Raises:
        InvalidInput: what a router file has there is no profile.
    """
    profiles = {}
    for policy in policies:
        if isinstance(policy, CalibratedPolicy) and policy.router.profile is not None:
            try:
                profiles[policy.name] = Profile.from_json(policy.router.profile)
            except InvalidInput as error:
                raise InvalidInput(f"{policy.path}: {error}") from error
    return profiles


def describe_warnings(
    solved: Mapping[str, Sequence[Trace]], profiles: Mapping[str, Profile]
) -> dict[str, list[dict[str, Any]]]:
    """Warnings by policy name, as `RouterWarning.to_json` has them; policies without any left out.

    Args:
        solved: traces by policy name, each list in the order of the problems.
        profiles: what calibration saw, by the names of the policies that are watched.
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
    monitor = Monitor(profile)
    for trace in traces:
        monitor.observe(trace)
    monitor.check()
    yield from monitor.warnings()
    if "weak" in solved:
        yield from little_gain(traces, solved["weak"])


def little_gain(traces: Sequence[Trace], alone: Sequence[Trace]) -> Iterator[RouterWarning]:
    """Whether a router is not shown to be better than the weak model alone.

    With labels the question need not be left to scores: the paired 95 % bootstrap interval of
    the gain has to be above 0. This warns where a gain is not shown, so nothing is tested and
    there is no p-value.
    """
    if len(traces) < FIRST_CHECK:
        return
    routed, weak = (np.array([bool(t.correct) for t in ts], float) for ts in (traces, alone))
    low, high = paired_interval(routed, weak)
    if low > 0:
        return
    gain = float((routed - weak).mean())
    text = (
        f"the budget is too small: the gain over the weak model alone is {100 * gain:.1f} points"
        f" (95 % interval {100 * low:.1f} to {100 * high:.1f}), so none is shown; raise the"
        " budget, or solve more problems to be sure"
    )
    yield RouterWarning(WarningKind.BUDGET_TOO_SMALL, text, gain, None)

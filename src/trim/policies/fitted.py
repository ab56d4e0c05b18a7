"""Policies that are made from a fitted file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trim.policies.policy import Policy, named


@dataclass(frozen=True, kw_only=True)
class FittedPolicy(Policy):
    """What all of them know of their file.

    Attributes:
        label: tells the files of one family apart; empty where there is only one.
        models: as in `Policy`.
    """

    label: str = ""
    models: Mapping[str, str] = field(default_factory=dict)

    def named(self, family: str, setting: float) -> str:
        """`agg:0.004`, or with a label `agg(chain):0.004`."""
        return named(f"{family}({self.label})" if self.label else family, setting)

"""What the shipped generators are trained on: the suites, with programs a line shorter."""

from __future__ import annotations

from dataclasses import replace

from trim.evaluation.suites import PROGRAM, SUITES, Suite

TRAINING_SUITES: dict[str, Suite] = {**SUITES, PROGRAM.name: replace(PROGRAM, fewest=3, most=6)}

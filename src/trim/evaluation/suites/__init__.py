"""Problem suites, generated from a seed with exact reference steps."""

from trim.evaluation.suites.chain import CHAIN, CHAIN_HARD
from trim.evaluation.suites.program import PROGRAM
from trim.evaluation.suites.suite import (
    NextStep,
    Suite,
    SuiteProblem,
    draw_for_training,
    generate,
    is_for_evaluation,
    is_step_right,
    right_step,
)
from trim.evaluation.suites.words import WORDS

SUITES: dict[str, Suite] = {suite.name: suite for suite in (CHAIN, CHAIN_HARD, WORDS, PROGRAM)}

__all__ = [
    "CHAIN",
    "CHAIN_HARD",
    "PROGRAM",
    "SUITES",
    "WORDS",
    "NextStep",
    "Suite",
    "SuiteProblem",
    "draw_for_training",
    "generate",
    "is_for_evaluation",
    "is_step_right",
    "right_step",
]

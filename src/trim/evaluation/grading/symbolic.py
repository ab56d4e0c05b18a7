"""Formulas that mean the same, by math-verify."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

MISREAD = (
    (re.compile(r"\\gamma(?![A-Za-z])"), r"\\kappa_9 "),
    (re.compile(r"(?<![A-Za-z])E(?=_)"), r"\\Xi "),
)
"""Variables that math-verify takes for constants or cannot read, and other letters for them."""


def same_formula(answer: str, reference: str) -> bool:
    """Whether two formulas in LaTeX are equal, as math-verify parses and compares them.

    Without a limit of time: some formulas keep it busy for ever, and its own limit works by
    signals, which reach only the main thread. `trim.evaluation.grading.workers` ends it.
    """
    from math_verify import verify

    return bool(verify(parse(reference), parse(answer), timeout_seconds=None))


@lru_cache(maxsize=1000)
def parse(formula: str) -> list[Any]:
    import math_verify
    from latex2sympy2_extended.math_normalization import NormalizationConfig

    # It warns that it has no limit of its own.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    # Its units are dropped without regard to what they stand with: `6m` would be 6.
    normal = NormalizationConfig(units=False, malformed_operators=True, nits=True)
    extraction = math_verify.LatexExtractionConfig(normalization_config=normal)
    latex = formula.replace("⦃", r"\{").replace("⦄", r"\}")
    for pattern, letter in MISREAD:
        latex = pattern.sub(letter, latex)
    found = math_verify.parse(f"${latex}$", [extraction], parsing_timeout=None)
    # Its last entry is the text, which counts where the formula could not be read; texts have
    # been compared before.
    return [entry for entry in found if not isinstance(entry, str)]

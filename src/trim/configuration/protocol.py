r"""Evaluation protocols: prompts, ends of solutions, and where answers are read.

docs/concepts/protocols.md compares them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from trim.config import Rules
from trim.errors import InvalidInput
from trim.models.prompt import Prompt

INSTRUCTION = (
    "Solve the following math problem step by step, given in LaTeX format, clearly and concisely,"
    " and present the final answer as \\boxed{{X}}, where X is the fully simplified solution."
)
"""The instruction of the method's authors; the double braces are sent as they are."""


@dataclass(frozen=True)
class EvaluationProtocol:
    """The conditions of an evaluation.

    Attributes:
        prompt: prompt of all models, in place of their own; None for their own or the benchmark's.
        scorer_system: system message of all reward models; None for their own.
        seed: default seed of a run.
        shuffles: whether the seed also sets the order of a benchmark's problems.
        open_box: whether an unclosed box counts as an answer; its content is the rest of the text.
    """

    name: str
    rules: Rules = field(default_factory=Rules)
    prompt: Prompt | None = None
    scorer_system: str | None = None
    seed: int = 0
    shuffles: bool = True
    open_box: bool = False


DEFAULT = EvaluationProtocol("default")
AUTHORS = EvaluationProtocol(
    "authors",
    Rules(open_box=True, asks_on=True, rejoins=True, context=4096),
    Prompt(
        user=f"{INSTRUCTION}\nQuestion: {{question}}",
        assistant="Solution:\n\n",
        resumed="Solution: ",
    ),
    scorer_system=INSTRUCTION,
    seed=10,
    shuffles=False,
    open_box=True,
)
"""The conditions of the authors' `TRIM_Thr.py` and its siblings (arXiv 2601.10245)."""

PROTOCOLS = {protocol.name: protocol for protocol in (DEFAULT, AUTHORS)}


def find_protocol(name: str) -> EvaluationProtocol:
    """Raises InvalidInput for an unknown name."""
    if name not in PROTOCOLS:
        raise InvalidInput(f"unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]

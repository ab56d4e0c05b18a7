r"""The conditions of a run by name: prompts, ends of solutions, where answers stand.

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
"""What the method's authors ask; the double braces are sent as they stand."""


@dataclass(frozen=True)
class EvaluationProtocol:
    """The conditions that an evaluation is run under.

    Attributes:
        prompt: of every model, whatever it has of its own; None for its own, or the benchmark's.
        scorer_system: system message of every reward model; None for its own.
        seed: of a run that names none.
        shuffles: whether the seed also chooses the order of a benchmark's problems.
        open_box: whether an answer may stand in a box that is not closed, and its text goes on to
            the end.
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
"""What `TRIM_Thr.py` and its kin do (arXiv 2601.10245)."""

PROTOCOLS = {protocol.name: protocol for protocol in (DEFAULT, AUTHORS)}


def find_protocol(name: str) -> EvaluationProtocol:
    """Raises InvalidInput for an unknown name."""
    if name not in PROTOCOLS:
        raise InvalidInput(f"unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]

"""Models, scores and problems of which banks are made in tests."""

from trim.config import RouterConfig
from trim.configuration.source import Models
from trim.errors import ContextExceeded
from trim.evaluation.suites import SuiteProblem
from trim.models.model import Completion, Ending, Sampling
from trim.numerics import uniform
from trim.rollouts.explorer import Explorer
from trim.rollouts.identity import Identity
from trim.scorers.scorer import Scores
from trim.steps import is_degenerate
from trim.testing import ScriptedModel


def problem(name, answer="1"):
    return SuiteProblem(f"hand-1-{name}", "hand", f"question {name}", (), answer)


def writer(name, trouble=1.0):
    """A model of few words, so that two of them often agree; its steps end in every way.

    Args:
        trouble: how much of what is not a plain step it makes.
    """

    def write(prefix):
        agreed = uniform("agreed", prefix) < 0.4
        author = "both" if agreed else name
        kind = uniform("kind", author, prefix) / trouble if trouble else 1
        word = int(3 * uniform("word", author, prefix))
        tokens = 1 + int(4 * uniform("tokens", author, prefix))
        if kind < 0.05 and not all(map(is_degenerate, prefix.steps)):
            return ContextExceeded("no room")
        if kind < 0.15:
            return Completion("---\n\n", Ending.STEP, tokens, 5)
        if kind < 0.2:
            return Completion(f"stop {word}", Ending.SOLUTION, tokens, 5)
        if kind < 0.25:
            return Completion(f"cut {word}", Ending.LENGTH, tokens, 5)
        if kind < 0.4 or len(prefix.steps) > 3:
            return Completion(f"\\boxed{{{word}}}\n\n", Ending.STEP, tokens, 5)
        lines = "\n" * (2 + int(2 * uniform("lines", author, prefix)))
        return Completion(f"  step {word} \u2028{lines}", Ending.STEP, tokens, 5)

    return ScriptedModel(write, name)


class ChanceScorer:
    """Scores that depend on the text of a step and of those before it."""

    name = "chance"

    async def score(self, trace, written):
        first = len(trace.steps) - len(written) + 1
        ends = range(first, len(trace.steps) + 1)
        return Scores(tuple(uniform("score", trace.question, trace.steps[:e]) for e in ends), 1)


def ends_in_letter(problem, earlier, step):
    return step[-1:].isalpha()


SETTINGS = Sampling(max_tokens=8)
IDENTITY = Identity("hand", 1, {"weak": "a", "strong": "b"}, "prm", SETTINGS, rollouts=6)
PROBLEMS = [problem(str(index)) for index in range(200)]
EXPLORER = Explorer(
    Models(writer("weak"), writer("strong"), {}),
    ChanceScorer(),
    RouterConfig(sampling=SETTINGS, max_steps=5),
    rollouts=6,
    check=ends_in_letter,
    seed=1,
)

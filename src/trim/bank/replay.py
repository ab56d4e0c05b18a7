"""What a policy does with a recorded problem: the step loop of `trim.router`, without models."""

from __future__ import annotations

from dataclasses import dataclass

from trim.bank.books import Books
from trim.bank.record import RecordedProblem
from trim.learning.forest import LEAF_RIGHT, UNKNOWN
from trim.policies.policy import Action, Policy
from trim.router import FOR_GOOD
from trim.trace import Usage


@dataclass(frozen=True)
class Replayed:
    """A policy's way through a tree.

    Attributes:
        scores: of the drafts on its way, in [0, 1], whether the policy asked for them or not.
        actions: what was done about each of them.
        denied: whether the limit of strong tokens forbade what the policy wished for.
        correct: whether the answer is right; False where that is not recorded.
        complete: whether everything that the policy wished for is recorded.
        usage: of `weak`, `strong` and `scorer`, as `trim.trace.Trace` has it, discarded
            drafts included; the prompts are reckoned (`trim.bank.books`).
    """

    scores: tuple[float, ...]
    actions: tuple[Action, ...]
    denied: tuple[bool, ...]
    correct: bool
    complete: bool
    usage: dict[str, Usage]

    @property
    def strong_tokens(self) -> int:
        """C(q; pi): tokens that the strong model decoded; an upper estimate if incomplete."""
        return self.usage["strong"].tokens


def replay(
    problem: RecordedProblem,
    policy: Policy,
    seed: int = 0,
    max_strong_tokens: int | None = None,
) -> Replayed:
    """Follow a policy through a problem's tree.

    Where it wishes for something that was not recorded, its way is incomplete. It then
    counts as wrong, and as dear as if the strong model rewrote all that is left: the most that
    it wrote behind as many steps in any recorded solution of the problem. A real trace
    exceeds that only where the strong model is wordier than in all of them.

    Args:
        seed: of the bank, for policies that draw random numbers.
        max_strong_tokens: as `trim.router.Router` has it.
    """
    books = Books(problem, seed, policy.needs_scores, lowest(max_strong_tokens, policy))
    wish = policy.begin(books.question)
    if wish in FOR_GOOD and books.affords:
        return finish(books, books.write_alone() and problem.strong.correct)
    place = 0
    while place >= 0:
        node = problem.nodes[place]
        books.draft(node)
        if wish not in FOR_GOOD:
            wish = policy.decide(books.observe(node))
        action = wish if books.affords else Action.CONTINUE
        books.keep(node, action, denied=wish is not action)
        if action is Action.RESTART:
            return finish(books, books.write_alone() and problem.strong.correct)
        place = node.continue_to if action is Action.CONTINUE else node.regenerate_to
        known_to_end = node.strong is None or node.strong_ends
        if action is Action.TAKE_OVER and books.affords and not known_to_end:
            return finish(books, books.take_over() and problem.strong.correct)
    if place == UNKNOWN:
        books.write_unknown()
    return finish(books, place == LEAF_RIGHT)


def lowest(limit: int | None, policy: Policy) -> int | None:
    """The lower of a router's limit of strong tokens and its policy's."""
    limits = [given for given in (limit, policy.max_strong_tokens) if given is not None]
    return min(limits, default=None)


def finish(books: Books, correct: bool) -> Replayed:
    return Replayed(
        scores=tuple(books.scores),
        actions=tuple(books.actions),
        denied=tuple(books.denied),
        correct=correct and books.complete,
        complete=books.complete,
        usage={"weak": books.weak, "strong": books.strong, "scorer": books.scorer},
    )

"""What a policy does with a recorded problem: the step loop of `trim.router`, without models."""

from __future__ import annotations

from dataclasses import dataclass

from trim.loop.executor import STRONG_ONLY
from trim.policies.policy import Policy
from trim.policies.ppo.trees import LEAF_RIGHT, UNKNOWN
from trim.rollouts.record import Node, RecordedProblem
from trim.types import Action, Observation, Usage


class ReplayState:
    """Grows by one decision at a time, as `trim.loop.solution.Solution` does with models.

    A bank holds no prompt tokens, so they are reckoned: who writes or scores a step reads the
    question and the kept steps before it, the scorer the draft as well. What it has read or
    written of that before is cached, unless the way is unknown. A kept step is as long as the
    tokens decoded for it; the question has as many characters a token as the weak model's
    steps. A server that drops its cache makes a real trace dearer, and so do a chat
    template's own words.

    Args:
        seed: of the bank.
        scored: whether the policy sees scores.
        limit: strong tokens after which the strong model is not asked again.

    Attributes:
        scores, actions, denied: of the drafts, what was done about each, and whether the limit
            forbade what was wished for.
        weak, strong, scorer: tokens so far.
        complete: whether all that was wished for is recorded.
    """

    def __init__(
        self, problem: RecordedProblem, seed: int, scored: bool, limit: int | None
    ) -> None:
        self.problem = problem
        self.question = problem.question
        self.seed = seed
        self.scored = scored
        self.limit = limit
        self.scores: list[float] = []
        self.actions: list[Action] = []
        self.denied: list[bool] = []
        self.weak = self.strong = self.scorer = Usage()
        self.complete = True
        characters = sum(len(step.text) for step in problem.weak.steps)
        self._asked = round(len(self.question) * problem.weak.tokens / max(characters, 1))
        self._kept: list[tuple[str, float | None, int]] = []
        self._cached = {"weak": 0, "strong": 0, "scorer": 0}

    @property
    def affords(self) -> bool:
        """Whether the strong model may be asked."""
        return self.limit is None or self.strong.tokens < self.limit

    @property
    def _prompt(self) -> int:
        return self._asked + sum(tokens for _, _, tokens in self._kept)

    def _read(self, role: str, prompt: int, written: int = 0) -> Usage:
        """A model or the scorer reads a prompt, and writes on."""
        cached = min(self._cached[role], prompt)
        self._cached[role] = prompt + written
        return Usage(prompt, cached, written)

    def _forget(self, prompt: int) -> None:
        """Nothing that was read or written behind the first `prompt` tokens is kept."""
        self._cached = {role: min(known, prompt) for role, known in self._cached.items()}

    def draft(self, node: Node) -> None:
        self.weak += self._read("weak", self._prompt, node.draft_tokens)
        if self.scored:
            self.scorer += self._read("scorer", self._prompt + node.draft_tokens)

    def observe(self, node: Node) -> Observation:
        """What a policy sees of the draft and of all before it."""
        kept = (*self._kept, (node.draft, node.draft_score, node.draft_tokens))
        return Observation(
            question=self.question,
            steps=tuple(text for text, _, _ in kept),
            # No draft follows a step that could not be scored where scores are needed.
            scores=tuple(score for _, score, _ in kept if self.scored and score is not None),
            tokens=tuple(tokens for _, _, tokens in kept),
            actions=tuple(self.actions),
            seed=self.seed,
            last=node.draft_ends,
            answered=node.draft_answers,
        )

    def keep(self, node: Node, action: Action, denied: bool) -> None:
        """Take the step that an action keeps; none at a restart."""
        self.scores.append(node.draft_score)
        self.actions.append(action)
        self.denied.append(denied)
        if action is Action.CONTINUE:
            self._kept.append((node.draft, node.draft_score, node.draft_tokens))
        elif action is not Action.RESTART:
            self._forget(self._prompt)
            self.strong += self._read("strong", self._prompt, node.strong_tokens)
            self._kept.append((node.strong or "", node.strong_score, node.strong_tokens))

    def write_alone(self, after: int = 0) -> bool:
        """The strong model writes its own solution, as far as the limit lets it.

        Args:
            after: its first steps, that are kept already.

        Returns:
            Whether it comes to its end; what the weak model makes of a part is not recorded.
        """
        solved = self.problem.strong
        if not after:
            self._forget(self._asked)
            self._kept = []
        for step in solved.steps[after:]:
            if not self.affords:
                spent = self.strong
                self.write_unknown()
                self.strong = spent
                return False
            self.strong += self._read("strong", self._prompt, step.tokens)
            self._kept.append((step.text, None, step.tokens))
        # What a last step took that did not fit the context belongs to no step.
        self.strong += Usage(tokens=solved.tokens - sum(step.tokens for step in solved.steps))
        return True

    def take_over(self) -> bool:
        """The strong model writes the rest, which is recorded if it wrote all so far."""
        if len(self.actions) == 1:
            return self.write_alone(after=1)
        self.write_unknown()
        return False

    def write_unknown(self) -> None:
        """What follows is not recorded: the strong model writes all that is left, and the weak
        one drafts it, each as much as in any recorded solution behind as many steps."""
        self.complete = False
        kept, problem = len(self._kept), self.problem
        strong = [[step.tokens for step in problem.strong.steps]]
        weak = [[step.tokens for step in problem.weak.steps]]
        for rollout in problem.rollouts:
            strong.append([problem.nodes[node].strong_tokens for node in rollout.nodes])
            weak.append([problem.nodes[node].draft_tokens for node in rollout.nodes])
        self.strong += self._read_and_write(max((tokens[kept:] for tokens in strong), key=sum))
        drafted = self._read_and_write(max((tokens[kept:] for tokens in weak), key=sum))
        self.weak += drafted
        if self.scored:
            self.scorer += Usage(drafted.prompt_tokens + drafted.tokens)

    def _read_and_write(self, steps: list[int]) -> Usage:
        """What one model needs for further steps of so many tokens, if all are kept."""
        prompts = [self._prompt + sum(steps[:index]) for index in range(len(steps))]
        return Usage(sum(prompts), 0, sum(steps))


@dataclass(frozen=True)
class Replayed:
    """A policy's way through a tree.

    Attributes:
        scores: of the drafts on its way, in [0, 1], whether the policy asked for them or not.
        actions: what was done about each of them.
        denied: whether the limit of strong tokens forbade what the policy wished for.
        correct: whether the answer is right; False where that is not recorded.
        complete: whether everything that the policy wished for is recorded.
        usage: of `weak`, `strong` and `scorer`, as `trim.types.Trace` has it, discarded
            drafts included; the prompts are reckoned (`trim.rollouts.replay`).
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
    books = ReplayState(problem, seed, policy.needs_scores, lowest(max_strong_tokens, policy))
    wish = policy.begin(books.question)
    if wish in STRONG_ONLY and books.affords:
        return finish(books, books.write_alone() and problem.strong.correct)
    place = 0
    while place >= 0:
        node = problem.nodes[place]
        books.draft(node)
        if wish not in STRONG_ONLY:
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


def finish(books: ReplayState, correct: bool) -> Replayed:
    return Replayed(
        scores=tuple(books.scores),
        actions=tuple(books.actions),
        denied=tuple(books.denied),
        correct=correct and books.complete,
        complete=books.complete,
        usage={"weak": books.weak, "strong": books.strong, "scorer": books.scorer},
    )

"""Replay of a policy on a recorded problem: the step loop of `trim.router`, without models."""

from __future__ import annotations

from dataclasses import dataclass, replace

from trim.loop.executor import STRONG_ONLY
from trim.policies.policy import Policy
from trim.policies.ppo.trees import LEAF_RIGHT, UNKNOWN
from trim.rollouts.record import Node, RecordedProblem
from trim.types import Action, Observation, Usage

CONFIDENCE = ("logprob", "entropy")
GRADE = "grade"


class ReplayState:
    """A replayed solution under way, the counterpart of `trim.loop.solution.Solution`.

    A bank holds no prompt tokens, so they are estimated: every writer and scorer of a step reads
    the question and the kept steps, the scorer the draft as well. Text that a model or scorer
    has read or written before is cached, except after an unrecorded path. A kept step is as long
    as the tokens decoded for it; the question has as many characters per token as the weak
    model's steps. Real traces cost more if a server evicts its cache or a chat template adds
    words. Confidence (`logprob`, `entropy`) reads nothing; a `grade` takes a request and a token
    for each step, rewritten ones included.

    Args:
        seed: of the bank.
        scored: whether the policy sees scores.
        kind: of the scores (`trim.scorers.scorer.KINDS`).
        limit: maximum of strong tokens, after which the strong model is not asked again.

    Attributes:
        scores: of the drafts, in [0, 1].
        actions, denied: what was done about each draft, and whether the limit overruled the
            policy's decision.
        weak, strong, scorer: tokens so far.
        complete: whether the bank holds everything that the policy decided.
    """

    def __init__(
        self,
        problem: RecordedProblem,
        seed: int,
        scored: bool,
        limit: int | None,
        kind: str = "prm",
    ) -> None:
        self.problem = problem
        self.question = problem.question
        self.seed = seed
        self.scored = scored
        self.limit = limit
        self.kind = kind if scored else None
        self.scores: list[float] = []
        self.actions: list[Action] = []
        self.denied: list[bool] = []
        self.weak = self.strong = self.scorer = Usage()
        self.complete = True
        characters = sum(len(step.text) for step in problem.weak.steps)
        self._question_tokens = round(len(self.question) * problem.weak.tokens / max(characters, 1))
        self._kept: list[tuple[str, float | None, int]] = []
        # Of a step whose rewrite is not recorded.
        self._drafts_ahead = 0
        # Prompt tokens up to the end of each kept step that has no grade yet.
        self._ungraded: list[int] = []
        self._cached = {"weak": 0, "strong": 0, "scorer": 0}

    @property
    def affords_strong(self) -> bool:
        """Whether the limit leaves room for another strong step."""
        return self.limit is None or self.strong.tokens < self.limit

    def add_draft(self, node: Node) -> None:
        """Count the tokens of a draft and of its score."""
        self.weak += self._read("weak", self._prompt_tokens, node.draft_tokens)
        read = self._prompt_tokens + node.draft_tokens
        if self.kind == GRADE:
            for prompt in (*self._ungraded, read):
                self.scorer += replace(self._read("scorer", prompt), tokens=1)
            self._ungraded = []
        elif self.kind and self.kind not in CONFIDENCE:
            self.scorer += self._read("scorer", read)

    def observe(self, node: Node) -> Observation:
        """The policy's observation of a draft and everything before it."""
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

    def commit(self, node: Node, action: Action, denied: bool) -> None:
        """Append the step that an action keeps; nothing for RESTART or an unrecorded rewrite."""
        self.scores.append(node.draft_score)
        self.actions.append(action)
        self.denied.append(denied)
        if action is Action.CONTINUE:
            self._kept.append((node.draft, node.draft_score, node.draft_tokens))
        elif action is Action.RESTART:
            return
        elif node.has_rewrite:
            self._forget(self._prompt_tokens)
            self.strong += self._read("strong", self._prompt_tokens, node.strong_tokens)
            self._kept.append((node.strong or "", node.strong_score, node.strong_tokens))
            self._ungraded.append(self._prompt_tokens)
        else:
            self._drafts_ahead = 1

    def write_strong_solution(self, first: int = 0) -> bool:
        """Follow the strong model's own solution as far as the limit allows.

        Args:
            first: index of its first step that has not been kept yet.

        Returns:
            Whether it was followed to its end. If the limit cuts it, the weak model's continuation
            is not recorded.
        """
        solution = self.problem.strong
        if not first:
            self._forget(self._question_tokens)
            self._kept = []
        for step in solution.steps[first:]:
            if not self.affords_strong:
                spent = self.strong
                self.write_unrecorded()
                self.strong = spent
                return False
            self.strong += self._read("strong", self._prompt_tokens, step.tokens)
            self._kept.append((step.text, None, step.tokens))
        # The tokens of a last step that exceeded the context belong to no step.
        self.strong += Usage(tokens=solution.tokens - sum(step.tokens for step in solution.steps))
        return True

    def take_over(self) -> bool:
        """Let the strong model write the rest. Recorded only if it wrote every step so far.

        Returns:
            As `write_strong_solution`.
        """
        if len(self.actions) == 1:
            return self.write_strong_solution(first=1)
        self.write_unrecorded()
        return False

    def write_unrecorded(self) -> None:
        """Count an upper estimate for an unrecorded continuation.

        The weak model drafts and the strong model rewrites the rest, each with the most tokens
        of any recorded solution after as many steps; the strong model at least its longest
        recorded step.
        """
        self.complete = False
        kept, problem = len(self._kept), self.problem
        strong = [[step.tokens for step in problem.strong.steps]]
        weak = [[step.tokens for step in problem.weak.steps]]
        for rollout in problem.rollouts:
            strong.append([problem.nodes[node].strong_tokens for node in rollout.nodes])
            weak.append([problem.nodes[node].draft_tokens for node in rollout.nodes])
        longest = max((tokens for each in strong for tokens in each), default=0)
        rest = (tokens[kept:] for tokens in strong)
        self.strong += self._read_and_write(max(*rest, [longest], key=sum))
        drafts = (tokens[kept + self._drafts_ahead :] for tokens in weak)
        drafted = self._read_and_write(max(drafts, key=sum))
        self.weak += drafted
        read = drafted.prompt_tokens + drafted.tokens
        if self.kind == GRADE:
            self.scorer += Usage(2 * read, 0, 2 * max(map(len, strong)))
        elif self.kind and self.kind not in CONFIDENCE:
            self.scorer += Usage(read)

    def result(self, correct: bool) -> Replayed:
        """The finished replay; an incomplete one is never correct."""
        return Replayed(
            scores=tuple(self.scores),
            actions=tuple(self.actions),
            denied=tuple(self.denied),
            correct=correct and self.complete,
            complete=self.complete,
            usage={"weak": self.weak, "strong": self.strong, "scorer": self.scorer},
        )

    @property
    def _prompt_tokens(self) -> int:
        return self._question_tokens + sum(tokens for _, _, tokens in self._kept)

    def _read(self, role: str, prompt: int, written: int = 0) -> Usage:
        """Usage of a role that reads a prompt and writes tokens after it."""
        cached = min(self._cached[role], prompt)
        self._cached[role] = prompt + written
        return Usage(prompt, cached, written)

    def _forget(self, prompt: int) -> None:
        """Drop cached tokens after the first `prompt` ones."""
        self._cached = {role: min(known, prompt) for role, known in self._cached.items()}

    def _read_and_write(self, steps: list[int]) -> Usage:
        """Usage of one model that writes and keeps further steps of these token counts."""
        prompts = [self._prompt_tokens + sum(steps[:index]) for index in range(len(steps))]
        return Usage(sum(prompts), 0, sum(steps))


@dataclass(frozen=True)
class Replayed:
    """A policy's path through a recorded tree, or its recorded solution.

    Attributes:
        scores: of the drafts on the path, in [0, 1], even if the policy needs none; of a recorded
            solution, only if it does, and the same drafts in `actions` and `denied`.
        actions: what was done about each of them.
        denied: whether the limit of strong tokens overruled the policy's decision.
        correct: whether the answer is right; False if the path is incomplete.
        complete: whether the bank holds everything that the policy decided.
        usage: of `weak`, `strong` and `scorer`, discarded drafts included (`trim.types.Trace`);
            prompt tokens are estimated (`ReplayState`).
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
    kind: str = "prm",
) -> Replayed:
    """Follow a policy through a problem's tree.

    A path that leaves the recorded tree is incomplete: it counts as wrong, and as expensive as
    if the strong model rewrote the rest, with the most tokens that it wrote after as many steps
    in any recorded solution of the problem. A real trace costs more only if the strong model is
    wordier than in all of them.

    Args:
        seed: of the bank, for policies that draw random numbers.
        max_strong_tokens: as in `trim.config.RouterConfig`.
        kind: of the bank's scores, for what they cost.
    """
    limits = [each for each in (max_strong_tokens, policy.max_strong_tokens) if each is not None]
    state = ReplayState(problem, seed, policy.needs_scores, min(limits, default=None), kind)
    decision = policy.begin(state.question)
    if decision in STRONG_ONLY and state.affords_strong:
        return state.result(state.write_strong_solution() and problem.strong.correct)
    index = 0
    while index >= 0:
        node = problem.nodes[index]
        state.add_draft(node)
        if decision not in STRONG_ONLY:
            decision = policy.decide(state.observe(node))
        action = decision if state.affords_strong else Action.CONTINUE
        state.commit(node, action, denied=decision is not action)
        if action is Action.RESTART:
            return state.result(state.write_strong_solution() and problem.strong.correct)
        index = node.continue_to if action is Action.CONTINUE else node.regenerate_to
        ends = node.strong is None or node.strong_ends
        if action is Action.TAKE_OVER and state.affords_strong and not ends:
            return state.result(state.take_over() and problem.strong.correct)
    if index == UNKNOWN:
        state.write_unrecorded()
    return state.result(index == LEAF_RIGHT)

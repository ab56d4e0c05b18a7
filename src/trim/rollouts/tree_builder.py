"""Build a problem's tree of drafts: the step loop of `trim.router` with both actions taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from trim.errors import ContextExceeded
from trim.evaluation.problem_set import Gradable
from trim.grading.workers import GraderPool
from trim.loop.solution import Solution, Writer
from trim.models.model import Completion, Model, Prefix
from trim.numerics import uniform
from trim.policies.ppo.trees import LEAF_RIGHT, LEAF_WRONG, UNKNOWN
from trim.rollouts.record import Node, Rollout, RolloutOrigin
from trim.scorers.scorer import Scorer, checked_scores
from trim.types import Action, Author

StepCheck = Callable[[Gradable, Sequence[str], str], bool]
"""Whether a step of a problem is right after earlier ones."""
FindAnswer = Callable[[Gradable, str], str | None]
"""The answer in a complete solution."""


class TreeBuilder:
    """A tree that grows by the edges that rollouts follow.

    The strong model rewrites every draft, whatever the decision. Both edges of a node are
    therefore known if an action ends the solution, and they are one edge if both actions keep
    the same text with the same number of tokens: the models then continue alike, even if the
    two versions have different scores.

    Args:
        scorer: must give the same step the same score (`CachedStepScorer`).
        check: checks single steps; None without a checker.
        grading: grades answers.
        find_answer: extracts the answer of a solution.

    Attributes:
        nodes: the tree so far.
        unexplored: the edges (node, regenerate) without a child yet, and the solution that
            each of them continues.
    """

    def __init__(
        self,
        problem: Gradable,
        weak: Model,
        strong: Model,
        scorer: Scorer,
        check: StepCheck | None,
        grading: GraderPool,
        find_answer: FindAnswer,
    ) -> None:
        self.problem = problem
        self.weak = weak
        self.strong = strong
        self.scorer = scorer
        self.check = check
        self.grading = grading
        self.find_answer = find_answer
        self.nodes: list[Node] = []
        self.unexplored: dict[tuple[int, bool], Solution] = {}
        self._merged: set[int] = set()
        self._paths: list[tuple[bool, ...]] = []

    async def add_root(self, solution: Solution) -> None:
        """Draft the first step. Raises ContextExceeded if the question exceeds a context."""
        await self._add_node(solution, ())

    async def run_rollout(self, origin: RolloutOrigin, seed: str) -> Rollout:
        """Follow edges from the root to a leaf, adding nodes on the way.

        Args:
            seed: of the random decisions.
        """
        share = {RolloutOrigin.KEEP: 0.0, RolloutOrigin.REWRITE: 1.0}.get(
            origin, uniform(seed, "share")
        )
        branch = self._draw_branch(seed) if origin is RolloutOrigin.BRANCH else ()
        nodes: list[int] = []
        regenerate: list[bool] = []
        probability: list[float | None] = []
        node = 0
        while node >= 0:
            depth = len(nodes)
            if depth < len(branch):
                decision, chance = branch[depth], None
            else:
                decision = uniform(seed, depth) < share
                chance = share if decision else 1 - share
            nodes.append(node)
            regenerate.append(decision)
            probability.append(chance)
            node = await self._follow(node, decision)
        rewritten = (
            self.nodes[index] for index, strong in zip(nodes, regenerate, strict=True) if strong
        )
        return Rollout(
            origin=origin,
            share=share,
            nodes=tuple(nodes),
            regenerate=tuple(regenerate),
            probability=tuple(probability),
            correct=node == LEAF_RIGHT,
            strong_tokens=sum(each.strong_tokens for each in rewritten),
        )

    def _draw_branch(self, seed: str) -> tuple[bool, ...]:
        """Decisions that lead from the root through a random unexplored edge."""
        edges = sorted(self.unexplored)
        node, regenerate = edges[int(uniform(seed, "branch") * len(edges))]
        return (*self._paths[node], regenerate)

    async def _follow(self, parent: int, regenerate: bool) -> int:
        """The node or leaf at the end of an edge; an unexplored edge gets its child now."""
        edge = (parent, regenerate and parent not in self._merged)
        solution = self.unexplored.pop(edge, None)
        if solution:
            try:
                child = await self._add_node(solution, (*self._paths[parent], regenerate))
            except ContextExceeded:
                child = LEAF_WRONG
            self._set_child(parent, regenerate, child)
        node = self.nodes[parent]
        return node.regenerate_to if regenerate else node.continue_to

    def _set_child(self, parent: int, regenerate: bool, child: int) -> None:
        node = self.nodes[parent]
        if regenerate or parent in self._merged:
            node = replace(node, regenerate_to=child)
        if not regenerate or parent in self._merged:
            node = replace(node, continue_to=child)
        self.nodes[parent] = node

    async def _add_node(self, solution: Solution, path: tuple[bool, ...]) -> int:
        """Have both models write the next step, and add it as a node.

        Args:
            path: decisions that lead to the node.
        """
        earlier = solution.prefix
        draft = await solution.write(Writer(Author.WEAK, self.weak))
        node = Node(
            step=solution.length + 1,
            draft=draft.text,
            draft_score=await solution.score(self.scorer),
            draft_tokens=draft.tokens,
            draft_right=self._is_right(earlier, draft.text),
            draft_log_probability=draft.log_probability,
            draft_ends=solution.observe().last,
            draft_answers=solution.observe().answered,
        )
        kept = solution.copy()
        text = kept.commit(Action.CONTINUE).text
        node = replace(node, draft=text, continue_to=await self._leaf(kept))
        strong = await self._rewrite(solution)
        if strong is None:
            rewritten = None
            node = replace(node, regenerate_to=LEAF_WRONG)
        else:
            rewritten = solution.copy()
            text = rewritten.commit(Action.REGENERATE).text
            node = replace(
                node,
                strong=text,
                strong_score=await self._score_rewrite(earlier, strong),
                strong_tokens=strong.tokens,
                strong_right=self._is_right(earlier, strong.text),
                strong_log_probability=strong.log_probability,
                strong_ends=rewritten.finish is not None,
                regenerate_to=await self._leaf(rewritten),
            )
        index = len(self.nodes)
        self.nodes.append(node)
        self._paths.append(path)
        if node.continue_to == UNKNOWN:
            self.unexplored[index, False] = kept
        if node.regenerate_to == UNKNOWN and rewritten:
            if node.continue_to == UNKNOWN and keeps_same_text(node):
                self._merged.add(index)
            else:
                self.unexplored[index, True] = rewritten
        return index

    async def _rewrite(self, solution: Solution) -> Completion | None:
        """The strong model's step; None if its context is full, which ends the solution."""
        try:
            return await solution.write(Writer(Author.STRONG, self.strong))
        except ContextExceeded:
            if not solution.length:
                raise
            return None

    async def _score_rewrite(self, earlier: Prefix, strong: Completion) -> float | None:
        """The score of a rewrite, which the router asks for together with the next draft's."""
        try:
            scores = await checked_scores(self.scorer, earlier.then(strong.text), [strong])
        except ContextExceeded:
            return None
        return scores.values[0]

    async def _leaf(self, solution: Solution) -> int:
        """The leaf of a finished solution; UNKNOWN for one that continues."""
        if solution.finish is None:
            return UNKNOWN
        answer = self.find_answer(self.problem, solution.text)
        right = await self.grading.agrade(self.problem.grader, answer, self.problem.answer)
        return LEAF_RIGHT if right else LEAF_WRONG

    def _is_right(self, earlier: Prefix, step: str) -> bool | None:
        return self.check(self.problem, earlier.steps, step) if self.check else None


def keeps_same_text(node: Node) -> bool:
    """Whether both actions keep the same text and tokens, so that both edges have one child."""
    return (node.draft, node.draft_tokens) == (node.strong, node.strong_tokens)

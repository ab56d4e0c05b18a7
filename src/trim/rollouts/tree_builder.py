"""A problem's tree while it is explored: the step loop of `trim.router`, taken both ways."""

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
from trim.rollouts.record import Node, NodeOrigin, Rollout
from trim.scorers.scorer import Scorer
from trim.types import Action, Author

StepCheck = Callable[[Gradable, Sequence[str], str], bool]
"""Whether a step of a problem is right after earlier ones."""
FindAnswer = Callable[[Gradable, str], str | None]
"""The answer in a whole solution."""


class TreeBuilder:
    """A tree that grows by the edges that rollouts ask for.

    At every draft the strong model writes too, whatever is decided, so both actions are
    known where one of them ends the solution, or where both keep the same text, as many
    tokens long: what the models do next is then the same, even if the two were scored
    differently, as by their authors' confidence.

    Args:
        scorer: gives the same step the same score (`StepScorer`).
        check: says which steps are right; None where nothing can.
        grading: says which answers are right.
        answer: finds the answer of a solution.

    Attributes:
        nodes: the tree so far.
        open: for each (node, regenerate) that leads to a draft nobody has asked for yet,
            the solution that it continues.
    """

    def __init__(
        self,
        problem: Gradable,
        weak: Model,
        strong: Model,
        scorer: Scorer,
        check: StepCheck | None,
        grading: GraderPool,
        answer: FindAnswer,
    ) -> None:
        self.problem = problem
        self.weak = weak
        self.strong = strong
        self.scorer = scorer
        self.check = check
        self.grading = grading
        self.answer = answer
        self.nodes: list[Node] = []
        self.open: dict[tuple[int, bool], Solution] = {}
        self._merged: set[int] = set()
        self._ways: list[tuple[bool, ...]] = []

    async def plant(self, solution: Solution) -> None:
        """Draft the first step. Raises ContextExceeded where the question does not fit."""
        await self._expand(solution, ())

    async def roll(self, origin: NodeOrigin, seed: str) -> Rollout:
        """One more solution, from the root to a leaf.

        Args:
            seed: of its random decisions.
        """
        share = {NodeOrigin.KEEP: 0.0, NodeOrigin.REWRITE: 1.0}.get(origin, uniform(seed, "share"))
        way = self._unknown_way(seed) if origin is NodeOrigin.BRANCH else ()
        nodes: list[int] = []
        regenerate: list[bool] = []
        probability: list[float | None] = []
        place = 0
        while place >= 0:
            depth = len(nodes)
            if depth < len(way):
                decision, chance = way[depth], None
            else:
                decision = uniform(seed, depth) < share
                chance = share if decision else 1 - share
            nodes.append(place)
            regenerate.append(decision)
            probability.append(chance)
            place = await self._follow(place, decision)
        paid = (self.nodes[node] for node, strong in zip(nodes, regenerate, strict=True) if strong)
        return Rollout(
            origin=origin,
            share=share,
            nodes=tuple(nodes),
            regenerate=tuple(regenerate),
            probability=tuple(probability),
            correct=place == LEAF_RIGHT,
            strong_tokens=sum(node.strong_tokens for node in paid),
        )

    def _unknown_way(self, seed: str) -> tuple[bool, ...]:
        """Decisions that lead to a random open edge and through it."""
        edges = sorted(self.open)
        place, regenerate = edges[int(uniform(seed, "branch") * len(edges))]
        return (*self._ways[place], regenerate)

    async def _follow(self, place: int, regenerate: bool) -> int:
        """The node or leaf that an action leads to, drafted now if nobody has been there."""
        solution = self.open.pop((place, regenerate and place not in self._merged), None)
        if solution:
            try:
                child = await self._expand(solution, (*self._ways[place], regenerate))
            except ContextExceeded:
                child = LEAF_WRONG
            self._lead(place, regenerate, child)
        node = self.nodes[place]
        return node.regenerate_to if regenerate else node.continue_to

    def _lead(self, place: int, regenerate: bool, child: int) -> None:
        node = self.nodes[place]
        if regenerate or place in self._merged:
            node = replace(node, regenerate_to=child)
        if not regenerate or place in self._merged:
            node = replace(node, continue_to=child)
        self.nodes[place] = node

    async def _expand(self, solution: Solution, way: tuple[bool, ...]) -> int:
        """Add the node of the next draft, and what each action makes of it."""
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
                strong_score=await self._score(earlier, strong),
                strong_tokens=strong.tokens,
                strong_right=self._is_right(earlier, strong.text),
                strong_log_probability=strong.log_probability,
                strong_ends=rewritten.finish is not None,
                regenerate_to=await self._leaf(rewritten),
            )
        place = len(self.nodes)
        self.nodes.append(node)
        self._ways.append(way)
        if node.continue_to == UNKNOWN:
            self.open[place, False] = kept
        if node.regenerate_to == UNKNOWN and rewritten:
            if node.continue_to == UNKNOWN and is_same(node):
                self._merged.add(place)
            else:
                self.open[place, True] = rewritten
        return place

    async def _rewrite(self, solution: Solution) -> Completion | None:
        """The strong model's step; None where there is no room for it, which ends a solution."""
        try:
            return await solution.write(Writer(Author.STRONG, self.strong))
        except ContextExceeded:
            if not solution.length:
                raise
            return None

    async def _score(self, earlier: Prefix, strong: Completion) -> float | None:
        """The score that a rewritten step is given together with the next draft."""
        try:
            return (await self.scorer.score(earlier.then(strong.text), [strong])).values[0]
        except ContextExceeded:
            return None

    async def _leaf(self, solution: Solution) -> int:
        """UNKNOWN where the solution goes on."""
        if solution.finish is None:
            return UNKNOWN
        answer = self.answer(self.problem, solution.text)
        right = await self.grading.agrade(self.problem.grader, answer, self.problem.answer)
        return LEAF_RIGHT if right else LEAF_WRONG

    def _is_right(self, earlier: Prefix, step: str) -> bool | None:
        return self.check(self.problem, earlier.steps, step) if self.check else None


def is_same(node: Node) -> bool:
    """Whether both actions keep the same text, as long, and so lead to one node."""
    return (node.draft, node.draft_tokens) == (node.strong, node.strong_tokens)

"""Trees of recorded decisions: the same as the step loop, complete, and honestly counted."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from bank_models import SETTINGS, ChanceScorer, ends_in_letter, problem, writer
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trim.config import RouterConfig, Rules
from trim.configuration.source import Models
from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable
from trim.models.model import Completion, Ending, Prefix
from trim.policies.fixed import StrongAlone, WeakAlone
from trim.policies.policy import Policy
from trim.policies.ppo.trees import LEAF_RIGHT, LEAF_WRONG, UNKNOWN, batch_trees
from trim.rollouts.explorer import CachedStepScorer, Explorer
from trim.rollouts.record import RolloutOrigin
from trim.router import Router
from trim.scorers.scorer import Scores
from trim.testing import ScriptedModel
from trim.types import Action, Finish

MAX_STEPS = 5
EVERYTHING = 200
"""More rollouts than trees of `MAX_STEPS` steps have leaves."""

names = st.integers(0, 10**6).map(str)


def explorer(rollouts=EVERYTHING, check=None, **parts):
    weak, strong = parts.pop("weak", writer("weak")), parts.pop("strong", writer("strong"))
    return Explorer(
        Models(weak, strong, {}),
        parts.pop("scorer", ChanceScorer()),
        RouterConfig(sampling=SETTINGS, max_steps=MAX_STEPS, rules=parts.pop("rules", Rules())),
        rollouts=rollouts,
        check=check,
        seed=3,
        **parts,
    )


def explore(name, **options):
    return asyncio.run(explorer(**options).explore(problem(name)))


class Decisions(Policy):
    """Takes the given decisions and remembers what it saw."""

    name = "decisions"

    def __init__(self, regenerate):
        self.regenerate = regenerate
        self.seen = []

    def decide(self, observation):
        self.seen.append(observation)
        again = self.regenerate[len(observation.steps) - 1]
        return Action.REGENERATE if again else Action.CONTINUE


def route(name, policy):
    router = Router(
        weak=writer("weak"),
        strong=writer("strong"),
        scorer=ChanceScorer(),
        policy=policy,
        config=RouterConfig(sampling=SETTINGS, max_steps=MAX_STEPS),
    )
    trace = router.solve(problem(name).question, seed=3)
    return replace(trace, correct=trace.answer == problem(name).answer)


def child(node, regenerate):
    return node.regenerate_to if regenerate else node.continue_to


def walk(recorded, decisions):
    """The nodes that decisions lead through, and the leaf."""
    place, passed = 0, []
    while place >= 0:
        passed.append(place)
        place = child(recorded.nodes[place], decisions[len(passed) - 1])
    return passed, place


def known(recorded, passed, decisions):
    """Scores and tokens of the kept steps and of the newest draft, as the nodes have them."""
    nodes = [recorded.nodes[place] for place in passed]
    again = [*decisions[: len(nodes) - 1], False]
    pairs = [
        (node.strong_score, node.strong_tokens) if paid else (node.draft_score, node.draft_tokens)
        for node, paid in zip(nodes, again, strict=True)
    ]
    return tuple(zip(*pairs, strict=True))


@settings(max_examples=150)
@given(names, st.lists(st.booleans(), min_size=MAX_STEPS, max_size=MAX_STEPS))
def test_every_path_is_what_the_router_does_with_the_same_decisions(name, decisions):
    recorded = explore(name)
    policy = Decisions(decisions)
    trace = route(name, policy)
    passed, leaf = walk(recorded, decisions)
    assert leaf == (LEAF_RIGHT if trace.correct else LEAF_WRONG)
    assert len(passed) == len(policy.seen)
    for place, seen in zip(passed, policy.seen, strict=True):
        node, depth = recorded.nodes[place], len(seen.steps)
        assert (node.step, node.draft) == (depth, seen.steps[-1])
        assert (node.draft_ends, node.draft_answers) == (seen.last, seen.answered)
        assert known(recorded, passed[:depth], decisions) == (seen.scores, seen.tokens)
    for place, step in zip(passed, trace.steps, strict=False):
        node = recorded.nodes[place]
        rewritten = step.action is Action.REGENERATE
        assert step.text == (node.strong if rewritten else node.draft)
        ends = step is trace.steps[-1] and trace.finish is not Finish.CONTEXT
        assert (node.strong_ends if rewritten else node.draft_ends) == ends
        assert step.strong_tokens == (node.strong_tokens if rewritten else 0)
        assert (step.draft_tokens, step.score) == (node.draft_tokens, node.draft_score)


@given(names, st.lists(st.booleans(), min_size=MAX_STEPS, max_size=MAX_STEPS))
def test_a_forest_shows_at_each_node_what_the_router_would(name, decisions):
    recorded = explore(name)
    assume(len(recorded.nodes) > 2)
    forest = batch_trees([recorded.tree])
    passed, _ = walk(recorded, decisions)
    place = 0
    for depth in range(1, len(passed) + 1):
        shown = forest.scores[place, :depth], forest.tokens[place, :depth]
        assert tuple(map(tuple, shown)) == known(recorded, passed[:depth], decisions)
        way = forest.regenerate_to if decisions[depth - 1] else forest.continue_to
        place = way[place]


def test_a_draft_that_would_end_the_solution_ends_none_once_it_is_rewritten():
    """Whoever wrote the step that is kept says whether another one follows."""

    def strong(prefix):
        return "\\boxed{1}" if prefix.steps else "not yet\n\n"

    recorded = explore(
        "x", weak=ScriptedModel(lambda prefix: "\\boxed{2}"), strong=ScriptedModel(strong)
    )
    first, second = recorded.nodes
    assert first.draft_ends and first.draft_answers and first.continue_to == LEAF_WRONG
    assert not first.strong_ends and first.regenerate_to == 1
    assert second.strong_ends and second.regenerate_to == LEAF_RIGHT
    assert [step.text for step in recorded.strong.steps] == ["not yet\n\n", "\\boxed{1}"]


def test_a_draft_that_was_cut_ends_the_solution_without_an_answer():
    cut = ScriptedModel(lambda prefix: Completion("and then", Ending.LENGTH, 8, 5))
    recorded = explore("x", weak=cut, strong=cut)
    (only,) = recorded.nodes
    assert only.draft_ends and only.strong_ends and not only.draft_answers
    assert (only.continue_to, only.regenerate_to) == (LEAF_WRONG, LEAF_WRONG)
    assert recorded.weak.answer is None


def asked_on(prefix):
    """A model that ends its text twice, without the blank line that another step would need."""
    text = ("it is so", "the answer is 1.", "\\boxed{")[len(prefix.steps)]
    return Completion(text, Ending.SOLUTION, 3, 5)


def test_by_the_authors_rules_a_recorded_solution_goes_on_until_a_box_as_the_router_s():
    rules = Rules(open_box=True, asks_on=True)
    model = ScriptedModel(asked_on)
    parts = {"weak": model, "strong": model, "takes_open_box": True}
    recorded = explore("x", rules=rules, **parts)
    router = Router(
        weak=model,
        strong=model,
        policy=WeakAlone(),
        config=RouterConfig(sampling=SETTINGS, max_steps=MAX_STEPS, rules=rules),
    )
    steps = [step.text for step in router.solve(problem("x").question, seed=3).steps]
    assert steps == ["it is so\n\n", "the answer is 1.\n\n", "\\boxed{"]
    for solved in (recorded.weak, recorded.strong):
        assert [step.text for step in solved.steps] == steps
    assert [node.draft_ends for node in recorded.nodes] == [False, False, True]


def test_a_tree_of_one_node_is_a_forest():
    at_once = ScriptedModel(lambda prefix: "\\boxed{2}")
    assert len(batch_trees([explore("x", weak=at_once, strong=at_once).tree])) == 1


@given(names)
def test_with_rollouts_enough_nothing_stays_unknown(name):
    recorded = explore(name)
    assert all(UNKNOWN not in (node.continue_to, node.regenerate_to) for node in recorded.nodes)


@given(names, st.integers(2, 9))
def test_a_bank_has_at_most_the_rollouts_it_was_allowed(name, rollouts):
    recorded = explore(name, rollouts=rollouts)
    assert len(recorded.rollouts) + 1 <= rollouts
    assert len(set(recorded.rollouts)) == len(recorded.rollouts)


@given(names, st.integers(2, 9))
def test_rollouts_are_paths_with_the_probabilities_of_their_decisions(name, rollouts):
    recorded = explore(name, rollouts=rollouts)
    for rollout in recorded.rollouts:
        passed, leaf = walk(recorded, rollout.regenerate)
        assert tuple(passed) == rollout.nodes
        assert leaf == (LEAF_RIGHT if rollout.correct else LEAF_WRONG)
        assert rollout.strong_tokens == sum(
            recorded.nodes[place].strong_tokens
            for place, paid in zip(passed, rollout.regenerate, strict=True)
            if paid
        )
        drawn = [chance is not None for chance in rollout.probability]
        assert all(before <= after for before, after in pairwise(drawn))
        assert drawn[0] or rollout.origin is RolloutOrigin.BRANCH
        for decision, chance in zip(rollout.regenerate, rollout.probability, strict=True):
            assert chance in (None, rollout.share if decision else 1 - rollout.share)
            assert chance != 0


@given(names)
def test_branches_take_an_action_that_was_not_taken_before(name):
    taken = set()
    for rollout in explore(name).rollouts:
        path = list(zip(rollout.nodes, rollout.regenerate, strict=True))
        if rollout.origin is RolloutOrigin.BRANCH:
            forced = [edge for edge, p in zip(path, rollout.probability, strict=True) if p is None]
            assert forced[-1] not in taken
        taken.update(path)


@given(names)
def test_each_model_alone_is_recorded_as_the_router_has_it(name):
    recorded = explore(name, rollouts=2)
    for solved, policy in ((recorded.weak, WeakAlone()), (recorded.strong, StrongAlone())):
        trace = route(name, policy)
        assert [step.text for step in solved.steps] == [step.text for step in trace.steps]
        assert (solved.answer, solved.correct) == (trace.answer, trace.correct)
    assert recorded.strong.tokens == route(name, StrongAlone()).strong_tokens


@given(names)
def test_steps_are_checked_after_the_steps_that_were_kept(name):
    seen = set()

    def check(problem, earlier, step):
        seen.add((tuple(earlier), step))
        return ends_in_letter(problem, earlier, step)

    recorded = explore(name, check=check)
    for node in recorded.nodes:
        assert node.draft_right == ends_in_letter(None, None, node.draft)
        assert (node.strong is None) == (node.strong_right is None)
    assert max(len(earlier) for earlier, _ in seen) <= MAX_STEPS


def test_a_random_rollout_rewrites_about_its_share():
    shares, decisions = [], []
    agreeing = writer("one", trouble=0)
    for name in range(60):
        other = writer(f"two {name}", trouble=0)
        recorded = explore(str(name), rollouts=9, weak=agreeing, strong=other)
        for rollout in recorded.rollouts:
            if rollout.origin is RolloutOrigin.RANDOM:
                shares += [rollout.share] * len(rollout.regenerate)
                decisions += rollout.regenerate
    assert len(decisions) > 400
    deviation = np.sqrt(sum(share * (1 - share) for share in shares))
    assert abs(sum(decisions) - sum(shares)) < 5 * deviation


def test_models_that_always_agree_need_one_path():
    same = writer("same", trouble=0)
    recorded = explore("agreed", weak=same, strong=same)
    assert len(recorded.rollouts) == 1
    assert all(node.continue_to == node.regenerate_to for node in recorded.nodes)


def test_the_same_step_is_scored_once():
    asked = []

    class Counting(ChanceScorer):
        async def score(self, trace, written):
            asked.append(trace)
            return await super().score(trace, written)

    written = [Completion(text, Ending.STEP, 1, 1) for text in "ab"]
    scorer = CachedStepScorer(Counting())

    async def score():
        alone = await scorer.score(Prefix("q", ("a",)), written[:1])
        both = await scorer.score(Prefix("q", ("a", "b")), written)
        assert both.values[0] == alone.values[0]

    asyncio.run(score())
    assert asked == [Prefix("q", ("a",)), Prefix("q", ("a", "b"))]


def test_a_step_that_scores_otherwise_by_its_author_is_merged_and_taken_apart():
    class ByAuthor:
        name = "author"

        async def score(self, trace, written):
            return Scores(tuple(step.log_probability for step in written), 0)

    def says(figure):
        def write(prefix):
            text = "\\boxed{1}" if len(prefix.steps) == 2 else "step"
            return Completion(text, Ending.STEP, 2, 1, log_probability=figure)

        return ScriptedModel(write)

    recorded = explore("x", weak=says(0.25), strong=says(0.75), scorer=ByAuthor())
    assert [node.step for node in recorded.nodes] == [1, 2, 3]
    assert recorded.nodes[0].draft_log_probability == 0.25
    assert recorded.nodes[0].strong_log_probability == 0.75
    forest = batch_trees([recorded.tree])
    assert sorted(forest.step) == [1, 2, 2, 3, 3, 3, 3]
    assert sorted(map(tuple, forest.scores[forest.step == 3][:, :2])) == [
        (0.25, 0.25),
        (0.25, 0.75),
        (0.75, 0.25),
        (0.75, 0.75),
    ]
    assert batch_trees([recorded.tree], copies=1).step.tolist() == [1, 2, 3]


def test_a_question_that_does_not_fit_is_said():
    full = ScriptedModel(lambda prefix: ContextExceeded("no room"))
    for role in ("weak", "strong"):
        with pytest.raises(ContextExceeded):
            explore("x", **{role: full})


def test_fewer_rollouts_than_models_are_refused():
    with pytest.raises(InvalidInput, match="at least 2"):
        explorer(rollouts=1)


@pytest.mark.parametrize("silent", ["weak", "strong"])
def test_a_problem_that_a_model_does_not_answer_is_not_recorded(silent):
    models = {name: writer(name) for name in ("weak", "strong")}
    models[silent] = ScriptedModel(lambda prefix: ModelUnavailable("gone"))
    exploring = Explorer(
        Models(models["weak"], models["strong"], {}),
        ChanceScorer(),
        RouterConfig(sampling=SETTINGS),
        rollouts=4,
        seed=3,
    )
    with pytest.raises(ModelUnavailable, match="gone"):
        asyncio.run(exploring.explore(problem("a")))

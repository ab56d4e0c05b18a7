"""Training data of the shipped models, as far as it can be tested without torch."""

import json
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from training.data import (
    TRAINING_SUITES,
    common_prefix,
    compare,
    draw_problems,
    make_solutions,
    slip_often,
)
from trim.evaluation.suites import (
    CHAIN,
    SUITES,
    draw_for_training,
    is_for_evaluation,
    is_step_right,
)

SHARES = dict.fromkeys(SUITES, 0.25)


def test_no_training_problem_is_for_evaluation():
    random = Random(0)
    for suite in TRAINING_SUITES.values():
        questions = [draw_for_training(suite, random).question for _ in range(500)]
        assert not any(map(is_for_evaluation, questions))
    assert not any(is_for_evaluation(p.question) for p in draw_problems("weak", SHARES, 500, 0))


def test_reference_steps_agree_to_the_end():
    for suite in SUITES.values():
        problem = draw_for_training(suite, Random(1))
        rollout = compare(problem, list(problem.steps))
        assert rollout.agreeing == tuple(map(len, problem.steps))


@given(st.integers(0, 10**6), st.data())
def test_a_wrong_step_agrees_up_to_its_first_wrong_character(seed, data):
    problem = draw_for_training(CHAIN, Random(seed))
    index = data.draw(st.integers(0, len(problem.steps) - 1))
    right = problem.steps[index]
    place = data.draw(st.integers(1, len(right) - 1))
    for wrong in (right[:place], right[:place] + "#" + right[place + 1 :], right + "!"):
        rollout = compare(problem, [*problem.steps[:index], wrong])
        assert rollout.agreeing[:index] == tuple(map(len, problem.steps[:index]))
        assert rollout.agreeing[index] < len(wrong)
        assert wrong[: rollout.agreeing[index]] == right[: rollout.agreeing[index]]


@given(st.integers(0, 10**6), st.sampled_from(sorted(SUITES)))
def test_slips_are_found_where_they_are(seed, name):
    problem = draw_for_training(SUITES[name], Random(seed))
    rollout = slip_often(problem, Random(seed))
    for index, (step, agreeing) in enumerate(zip(rollout.steps, rollout.agreeing, strict=True)):
        right = is_step_right(SUITES[name], problem, rollout.steps[:index], step)
        assert right == (agreeing == len(step))
        assert 0 <= agreeing <= len(step)


@given(st.text(), st.text(), st.text())
def test_common_prefix(shared, a, b):
    length = common_prefix(shared + a, shared + b)
    assert length >= len(shared)
    assert (shared + a)[:length] == (shared + b)[:length]


def test_solutions_of_another_model_or_seed_are_made_again(tmp_path, monkeypatch):
    asked = []

    async def sample(gguf, problems, seed):
        asked.append((gguf.read_text(), seed, len(problems)))
        return {problem.question: f"by {gguf.read_text()}" for problem in problems}

    monkeypatch.setattr("training.data.sample_solutions", sample)
    gguf, cache = tmp_path / "weak.gguf", tmp_path / "rollouts.json"
    cache.write_text(json.dumps({"What is 3 + 4?": "of an older version"}))
    runs = [("first", 1, 5), ("first", 1, 5), ("second", 1, 5), ("second", 2, 5), ("second", 2, 6)]
    for model, seed, count in runs:
        gguf.write_text(model)
        solutions = make_solutions(gguf, {"chain": 1.0}, count, seed, cache)
        assert [solution.steps for solution in solutions] == [(f"by {model}",)] * count
    assert asked == [run for place, run in enumerate(runs) if place != 1]

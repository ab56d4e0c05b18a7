"""Suites: what they draw, that their references are right, and what their checkers find."""

import re
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trim.evaluation.suites import (
    CHAIN,
    PROGRAM,
    SUITES,
    WORDS,
    NextStep,
    SuiteProblem,
    draw_for_training,
    generate,
    is_for_evaluation,
    is_step_right,
    right_step,
)
from trim.evaluation.suites.arithmetic import LARGEST, Operation
from trim.evaluation.suites.chain import ListedOperation
from trim.evaluation.suites.program import CalculateLine, SetLine
from trim.evaluation.suites.words import Event
from trim.steps import bare, boxed_answer, is_degenerate, join_steps, split_steps

COUNT = 1000
EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)(?:, keep (\d+))?")
STATE = re.compile(r"\b([ab]) is (\d+)")


@pytest.fixture(scope="module", params=SUITES.values(), ids=SUITES)
def suite(request):
    return request.param


@pytest.fixture(scope="module")
def problems(suite):
    return list(generate(suite, COUNT, seed=0))


def calculate(value, symbol, operand):
    """The four operations of the suites, once more."""
    results = {"+": value + operand, "-": value - operand, "*": value * operand}
    return results[symbol] if symbol in results else value // operand


def answer_of(problem):
    """The answer from the words of the question alone."""
    if problem.suite == "program":
        return run_program(problem.question.splitlines()[1:])
    start, *parts = re.split(r"\d+\) |\w+ ?\w*(?:, the last one)?: ", problem.question)
    value = int(re.search(r"\d+", start)[0])
    for part in parts:
        numbers = [int(number) for number in re.findall(r"\d+", part)]
        if not numbers:
            continue
        if "packs" in part or "boxes" in part:
            value += numbers[0] * numbers[1]
        elif re.search("add|increase|buys|finds|brings", part):
            value += numbers[0]
        elif re.search("subtract|decrease|sells|loses|gives away", part):
            value -= numbers[0]
        elif "times as" in part or "multiply" in part:
            value *= numbers[0]
        else:
            assert re.search("divide|split|keeps one of every", part), part
            assert value % numbers[0] == 0
            value //= numbers[0]
        if "last two digits" in part:
            value %= 100
    return value


def run_program(lines):
    values, shown = {}, []
    for line in lines:
        code = line.split(") ", 1)[1].replace("/", "//")
        exec(code, {"__builtins__": {}, "print": shown.append}, values)
    (value,) = shown
    return value


def test_references_pass_the_checker(suite, problems):
    for problem in problems:
        for index, step in enumerate(problem.steps):
            assert is_step_right(suite, problem, problem.steps[:index], step)
            assert is_step_right(suite, problem, problem.steps[:index], f" {step}\n")
        assert right_step(suite, problem, problem.steps) is None


def test_answers_are_right(problems):
    for problem in problems:
        assert answer_of(problem) == int(problem.answer), problem.question


def test_equations_are_right_and_stay_small(problems):
    for problem in problems:
        for step in problem.steps:
            for value, symbol, operand, result, kept in EQUATION.findall(step):
                assert calculate(int(value), symbol, int(operand)) == int(result)
                assert symbol != "/" or int(value) % int(operand) == 0
                assert int(kept or result) <= LARGEST
                assert not kept or int(kept) == int(result) % 100


def test_the_last_step_alone_holds_the_answer(problems):
    for problem in problems:
        assert f"\\boxed{{{problem.answer}}}" in problem.steps[-1]
        answers = [boxed_answer(step) for step in problem.steps]
        assert answers == [None] * (len(answers) - 1) + [problem.answer]


def test_steps_are_steps(problems):
    for problem in problems:
        solution = join_steps(problem.question, problem.steps)
        assert "".join(split_steps(solution)) == solution
        assert list(map(bare, split_steps(solution))) == [problem.question, *problem.steps]
        assert not any("\n\n" in step or is_degenerate(step) for step in problem.steps)
        assert len(problem.steps) <= 30


def test_no_question_twice(suite, problems):
    assert len({problem.question for problem in problems}) == COUNT
    assert [problem.id for problem in problems] == [f"{suite.name}-0-{i}" for i in range(COUNT)]
    assert {problem.suite for problem in problems} == {suite.name}


def test_evaluation_never_occurs_in_training(suite, problems):
    random = Random(0)
    training = {draw_for_training(suite, random).question for _ in range(COUNT)}
    evaluation = {problem.question for problem in problems}
    assert all(map(is_for_evaluation, evaluation))
    assert not any(map(is_for_evaluation, training))
    assert evaluation.isdisjoint(training)


def test_the_seed_of_an_evaluation_does_not_reach_its_problems_in_training(suite):
    for index in range(100):
        random = Random(f"{suite.name}/0/{index}")
        assert not is_for_evaluation(draw_for_training(suite, random).question)


@settings(max_examples=10)
@given(seed=st.integers(), counts=st.tuples(st.integers(0, 12), st.integers(0, 12)).map(sorted))
def test_problems_are_a_function_of_the_seed(suite, seed, counts):
    fewer, more = (list(generate(suite, count, seed)) for count in counts)
    assert more[: len(fewer)] == fewer


def test_problems_do_not_depend_on_what_else_is_drawn(suite, problems):
    source = generate(suite, 5, seed=0)
    drawn = []
    for problem in source:
        drawn.append(problem)
        next(generate(suite, 1, seed=1))
    assert drawn == problems[:5]


def test_another_seed_gives_other_problems(suite, problems):
    others = {problem.question for problem in generate(suite, 50, seed=1)}
    assert others.isdisjoint(problem.question for problem in problems[:50])


def test_a_changed_digit_is_wrong(suite, problems):
    for problem in problems[:100]:
        for index, step in enumerate(problem.steps):
            for digit in re.finditer(r"\d", step):
                changed = (int(digit[0]) + 1) % 10
                written = f"{step[: digit.start()]}{changed}{step[digit.end() :]}"
                assert not is_step_right(suite, problem, problem.steps[:index], written)


def test_another_step_is_wrong(suite, problems):
    for problem in problems[:100]:
        for earlier, step in zip(range(len(problem.steps)), problem.steps[1:], strict=False):
            assert not is_step_right(suite, problem, problem.steps[:earlier], step)
        for written in ("", "---", problem.steps[0][:-1], problem.question):
            assert not is_step_right(suite, problem, (), written)
        assert not is_step_right(suite, problem, problem.steps, problem.steps[-1])


def test_after_an_unreadable_step_nothing_is_right(suite, problems):
    for problem in problems[:100]:
        *earlier, last = problem.steps
        earlier[-1] = "Let me think."
        assert not is_step_right(suite, problem, earlier, last)


@pytest.mark.parametrize("name", ["chain", "chain-hard", "words"])
def test_after_a_wrong_result_the_next_step_goes_on_from_it(name):
    suite = SUITES[name]
    for problem in generate(suite, 100, seed=2):
        for index, (step, following) in enumerate(pairwise(problem.steps)):
            equation = EQUATION.findall(following)[-1]
            symbol, operand, kept = equation[1], int(equation[2]), equation[4]
            # Values from which the next operation leads to a whole number from 0 up.
            wrong = operand * 2 if symbol == "/" else operand + 7
            earlier = [*problem.steps[:index], replace_last_number(step, wrong)]
            result = calculate(wrong, symbol, operand)
            possible = wrong <= LARGEST and (bool(kept) or result <= LARGEST)
            text = f"{wrong} {symbol} {operand} = {result}"
            if kept:
                result %= 100
                text += f", keep {result}"
            right = following.replace(EQUATION.search(following, find_last(following))[0], text)
            right = re.sub(r"boxed\{\d+\}", f"boxed{{{result}}}", right)
            assert is_step_right(suite, problem, earlier, right) == possible
            assert wrong == int(equation[0]) or not is_step_right(
                suite, problem, earlier, following
            )


def replace_last_number(step, number):
    return re.sub(r"\d+(?=\D*$)", str(number), step)


def find_last(step):
    return [equation.start() for equation in EQUATION.finditer(step)][-1]


@pytest.mark.parametrize("variable", ["a", "b"])
def test_after_a_wrong_state_the_next_line_runs_on_it(variable):
    for problem in generate(PROGRAM, 100, seed=2):
        for index, step in enumerate(problem.steps[:-1]):
            state = {name: int(value) for name, value in STATE.findall(step)}
            if variable not in state:
                continue
            state[variable] = 60
            written = re.sub(rf"\b{variable} is \d+", f"{variable} is 60", step)
            line = problem.question.splitlines()[1:][index + 1]
            reached = PROGRAM.next_step(problem, [*problem.steps[:index], written]).text
            shown = []
            code = line.split(") ", 1)[1].replace("/", "//")
            exec(code, {"__builtins__": {}, "print": shown.append}, state)
            if shown:
                assert boxed_answer(reached) == str(shown[0])
            else:
                expected = " and ".join(f"{name} is {state[name]}" for name in sorted(state))
                assert reached.endswith(f", so {expected}.")


def hand_made(name, operations):
    return SuiteProblem(f"{name}-hand", name, "by hand", (), "", operations)


def test_a_chain_has_no_right_step_where_the_operation_is_not_possible():
    chain = hand_made(
        "chain",
        (
            ListedOperation(1, "subtract 4", Operation("-", 4), 20, False),
            ListedOperation(2, "subtract 12", Operation("-", 12), 20, False),
            ListedOperation(3, "divide by 5", Operation("/", 5), 20, False),
            ListedOperation(4, "last, add 30", Operation("+", 30), 20, True),
        ),
    )
    below, uneven, beyond = (
        ["1) subtract 4: 20 - 4 = 6."],
        ["1) subtract 4: 20 - 4 = 16.", "2) subtract 12: 16 - 12 = 6."],
        ["", "", "3) divide by 5: 40 / 5 = 80."],
    )
    assert CHAIN.next_step(chain, below) == NextStep("2) subtract 12: 6 - 12 = -6.", False)
    assert CHAIN.next_step(chain, uneven) == NextStep("3) divide by 5: 6 / 5 = 1.", False)
    for earlier in (below, uneven, beyond):
        assert right_step(CHAIN, chain, earlier) is None
        assert not is_step_right(CHAIN, chain, earlier, CHAIN.next_step(chain, earlier).text)


def test_a_story_has_no_right_step_where_the_operation_is_not_possible():
    story = hand_made(
        "words",
        (
            Event("Monday", "she loses 4 pens", Operation("-", 4), None, 20, False),
            Event("Tuesday", "she loses 12 pens", Operation("-", 12), None, 20, True),
        ),
    )
    right = "Monday: she loses 4 pens. 20 - 4 = 16."
    assert right_step(WORDS, story, [right]) is not None
    assert right_step(WORDS, story, [right.replace("16", "6")]) is None


def test_a_program_has_no_right_step_where_the_operation_is_not_possible():
    program = hand_made(
        "program",
        (SetLine(1, "a", 20), SetLine(2, "b", 12), CalculateLine(3, "a", "a", "-", "b")),
    )
    first = "1) a = 20, so a is 20."
    assert right_step(PROGRAM, program, [first, "2) b = 12, so a is 20 and b is 12."])
    assert not right_step(PROGRAM, program, [first, "2) b = 12, so a is 6 and b is 12."])


def test_one_question_in_eight_is_for_evaluation():
    chosen = sum(is_for_evaluation(f"question {index}") for index in range(8000))
    # Three standard deviations.
    assert chosen == pytest.approx(1000, abs=89)

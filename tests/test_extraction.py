"""Where the answer of a solution is looked for: in the last box, and what may stand in for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trim.grading.extraction import after_phrase, find_answer, last_letter, last_number, open_box
from trim.grading.grader import GRADERS, find_grader

NAMES = sorted({*GRADERS, "within:0.1"})
SCRAPS = ["the answer is ", "Answer is: ", "(A)", " B ", "12", "-3.5", "1,000", ". ", "\n", "\n\n",
          "{", "$", r"\text", "→", "box", "x"]  # fmt: skip
texts = st.lists(st.sampled_from(SCRAPS), max_size=8).map("".join)
"""Without a box, closed or open."""
contents = st.text("0123456789abAB .,{}-", max_size=12).filter(
    lambda text: (
        all(text[:end].count("}") <= text[:end].count("{") for end in range(len(text) + 1))
        and text.count("{") == text.count("}")
    )
)
"""What may stand in a box: its braces are closed."""
graders = st.sampled_from(NAMES)
either = st.booleans()


@given(texts, contents, texts, graders, either)
def test_an_answer_in_a_box_is_always_preferred(before, content, after, grader, open_too):
    text = f"{before}\\boxed{{{content}}}{after}"
    assert find_answer(text, grader, open_too) == content.strip()


@given(st.lists(st.tuples(texts, contents), min_size=1, max_size=4), texts, graders)
def test_of_several_boxes_the_last_that_is_closed_counts(boxes, after, grader):
    text = "".join(f"{before}\\boxed{{{content}}}" for before, content in boxes)
    answer = boxes[-1][1].strip()
    assert find_answer(text + after, grader) == answer
    for open_too in (False, True):
        assert find_answer(f"{text}{after} \\boxed{{12", grader, open_too) == answer


@given(texts, texts, graders)
def test_an_open_box_is_an_answer_by_the_authors_protocol_alone(before, after, grader):
    text = f"{before}\\boxed{{7{after}"
    assert find_answer(text, grader, takes_open_box=True) == f"7{after}".strip()
    assert find_answer(text, "exact") is None


@given(texts)
def test_a_text_that_is_compared_letter_by_letter_has_to_stand_in_a_box(text):
    assert find_answer(text, "exact") is None
    assert find_answer(text, "exact", takes_open_box=True) is None


@given(st.lists(st.sampled_from(["first", "then"]), max_size=3), st.integers(0, 3), graders)
def test_the_whole_solution_is_looked_through(steps, place, grader):
    steps.insert(min(place, len(steps)), r"so \boxed{42}.")
    assert find_answer("\n\n".join(steps), grader) == "42"


@given(st.integers(-(10**6), 10**6), st.sampled_from(["math", "integer", "amount", "quantity"]))
def test_a_phrase_goes_before_the_last_number(number, grader):
    text = f"There are 3. The answer is {number}. That was 1 of 9 ways"
    assert find_answer(text, grader) == str(number)
    assert find_grader(grader).grade(find_answer(text, grader), str(number))
    assert find_answer(f"3 and then {number:,} eggs.", grader) == str(number)


@pytest.mark.parametrize(
    "text, answer",
    [
        ("The answer is 5.", "5"),
        ("the answer is: 3.5.\nSo it is.", "3.5"),
        ("The final ANSWER IS **12**, they say", "12**, they say"),
        ("The answer is **12**.", "12"),
        (r"Hence the answer is $\frac{1}{2}$.", r"\frac{1}{2}"),
        ("The answer is 1. No: the answer is 2. Good", "2"),
        ("The answer is\n\n7", "7"),
        ("The answer is", None),
        ("An answer was 5", None),
    ],
)
def test_what_the_last_answer_is_names(text, answer):
    assert after_phrase(text) == answer


@pytest.mark.parametrize(
    "text, number",
    [
        ("1, then 2", "2"),
        ("It costs $1,450.", "1450"),
        ("to -3.50 m", "-3.50"),
        ("half is .5", ".5"),
        ("it is -.25!", "-.25"),
        ("x_1 = 12,000.75 in all.", "12000.75"),
        ("none", None),
        ("", None),
    ],
)
def test_the_last_number(text, number):
    assert last_number(text) == number


@pytest.mark.parametrize(
    "text, letter",
    [
        ("(A) is wrong, so (C).", "C"),
        ("Choose B", "B"),
        ("Both (A) and D fit", "D"),
        ("ABCD, abcd", None),
        ("(E)", None),
    ],
)
def test_the_last_letter(text, letter):
    assert last_letter(text) == letter


@pytest.mark.parametrize(
    "text, answer",
    [
        ("no box", None),
        (r"\boxed{3 + 4", "3 + 4"),
        (r"\boxed{1} and \boxed{2", "2"),
        (r"\boxed{ ", None),
        ("boxed{5}", "5}"),
    ],
)
def test_an_open_box(text, answer):
    assert open_box(text) == answer


def test_a_choice_is_a_phrase_or_the_last_letter_and_no_number():
    assert find_answer("Of A and B the answer is B. Not A", "letter") == "B"
    assert find_answer("12 are left: (D)", "letter") == "D"
    assert find_answer("12 are left", "letter") is None


@given(texts, graders, either)
def test_an_answer_is_a_text_with_content_or_none(text, grader, open_too):
    answer = find_answer(text, grader, open_too)
    assert answer is None or answer == answer.strip() != ""

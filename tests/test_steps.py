"""Steps: where they end, when they are empty of content, and the boxed answer."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trim.steps import SEPARATOR, boxed_answer, is_degenerate, join_steps, split_steps

texts = st.text("a1 \n\t-é{}.").map(str.strip).filter(lambda t: t and SEPARATOR not in t)
balanced = st.recursive(
    st.text("x1 ,\\"),
    lambda inner: st.tuples(st.text("x1 "), inner, inner).map(lambda t: f"{t[0]}{{{t[1]}}}{t[2]}"),
    max_leaves=6,
)


@given(texts, st.lists(texts))
def test_split_undoes_join(question, steps):
    assert split_steps(join_steps(question, steps)) == [question, *steps]


@given(st.text("a \n"))
def test_split_steps_are_steps(solution):
    steps = split_steps(solution)
    assert all(step == step.strip() and step and SEPARATOR not in step for step in steps)
    assert split_steps(SEPARATOR.join(steps)) == steps


def test_join_ends_every_part():
    assert join_steps("q", ()) == "q\n\n"
    assert join_steps("q", ("a", "b\nc")) == "q\n\na\n\nb\nc\n\n"


@pytest.mark.parametrize(
    ("solution", "steps"),
    [
        ("", []),
        ("\n\n\n\n", []),
        ("a", ["a"]),
        ("a\nb", ["a\nb"]),
        ("a\n\nb\n\n", ["a", "b"]),
        ("a\n\n\n\n\nb", ["a", "b"]),
        ("  a \n\n b", ["a", "b"]),
    ],
)
def test_blank_lines_separate(solution, steps):
    assert split_steps(solution) == steps


@pytest.mark.parametrize("step", ["", " ", "---", "***\n===", "$$", "…", "\\[ \\]"])
def test_without_letter_and_digit_is_degenerate(step):
    assert is_degenerate(step)


@pytest.mark.parametrize("step", ["a", "--- 1", "é", "二", "٣", r"\boxed{}"])
def test_a_letter_or_digit_is_content(step):
    assert not is_degenerate(step)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{ 42 }", "42"),
        (r"\boxed{}", ""),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{1} and \boxed{2}", "2"),
        (r"\boxed{1} and \boxed{2", "1"),
        (r"\boxed{1 \boxed{2}", "2"),
        (r"\boxed{1}}", "1"),
        (r"{\boxed{1}", "1"),
        ("\\boxed{1\n2}", "1\n2"),
        (r"\boxed{1", None),
        (r"\boxed{{1}", None),
        (r"\boxed 1", None),
        ("boxed{1}", None),
        ("42", None),
        ("", None),
    ],
)
def test_boxed_answer(text, answer):
    assert boxed_answer(text) == answer


@given(st.text(), balanced, st.text("x }"))
def test_balanced_content_comes_back(before, content, after):
    assert boxed_answer(f"{before}\\boxed{{{content}}}{after}") == content.strip()


@given(st.lists(st.sampled_from((r"\boxed{", "{", "}", "1", " "))).map("".join))
@example(r"\boxed{" * 50)
def test_any_answer_is_complete(text):
    answer = boxed_answer(text)
    if answer is not None:
        assert answer.count("{") == answer.count("}")
        assert answer in text

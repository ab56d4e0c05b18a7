"""Steps: where they end, when they are empty of content, and the boxed answer."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trim.steps import (
    EMPTY,
    SEPARATOR,
    bare,
    boxed_answer,
    closed,
    is_degenerate,
    join_steps,
    split_steps,
)

texts = st.text("a1 \n\t-é{}.")
steps_of_texts = st.text("a1 \t-é{}.", min_size=1).filter(str.strip)
balanced = st.recursive(
    st.text("x1 ,\\"),
    lambda inner: st.tuples(st.text("x1 "), inner, inner).map(lambda t: f"{t[0]}{{{t[1]}}}{t[2]}"),
    max_leaves=6,
)


@given(steps_of_texts, st.lists(steps_of_texts))
def test_split_undoes_join(question, steps):
    joined = join_steps(question, steps)
    assert split_steps(joined) == [closed(part) for part in (question, *steps)]


@given(st.one_of(st.text(), st.text("a \n"), texts))
@example("\n\n\na\n\n")
@example("    a\n\n\n\n        b  \n \n\n---\n")
def test_steps_joined_are_the_text(solution):
    assert "".join(split_steps(solution)) == solution


@given(st.one_of(st.text("a \n"), texts))
def test_split_steps_are_steps(solution):
    """Each but the last is ended by a blank line, and holds no other but at its end."""
    steps = split_steps(solution)
    assert all(step.endswith(SEPARATOR) for step in steps[:-1])
    assert not any(step.startswith("\n") for step in steps[1:])
    lead = solution[: len(solution) - len(solution.lstrip("\n"))]
    for step in steps:
        assert step and SEPARATOR not in bare(step).removeprefix(lead)
    assert [split for step in steps for split in split_steps(step)] == steps


@given(texts)
def test_a_step_is_closed_once_and_bare_without(step):
    assert closed(step).endswith(SEPARATOR)
    assert closed(closed(step)) == closed(step)
    assert closed(step).startswith(step)
    assert step.startswith(bare(step)) and not bare(step).endswith("\n")
    assert bare(closed(step)) == bare(step)


def test_join_ends_every_part():
    assert join_steps("q", ()) == "q\n\n"
    assert join_steps("q", ("a", "b\nc")) == "q\n\na\n\nb\nc\n\n"
    assert join_steps("q\n\n", ("  a\n\n\n", "b")) == "q\n\n  a\n\n\nb\n\n"


@pytest.mark.parametrize(
    ("solution", "steps"),
    [
        ("", []),
        ("\n\n\n\n", ["\n\n\n\n"]),
        ("a", ["a"]),
        ("a\nb", ["a\nb"]),
        ("a\n\nb\n\n", ["a\n\n", "b\n\n"]),
        ("a\n\n\n\n\nb", ["a\n\n\n\n\n", "b"]),
        ("  a \n\n b", ["  a \n\n", " b"]),
        ("\n\na\n\nb", ["\n\na\n\n", "b"]),
        ("a\n \nb", ["a\n \nb"]),
        ("if a:\n\n    b\n", ["if a:\n\n", "    b\n"]),
        ("```\n\n---\n\n", ["```\n\n", "---\n\n"]),
    ],
)
def test_blank_lines_separate(solution, steps):
    assert split_steps(solution) == steps


@pytest.mark.parametrize(
    "step", ["", " ", "---", "***\n===", "...", "–—", "```", "\\[ \\]", "## ", "{}", "\n\n", "?!"]
)
def test_what_only_rules_and_marks_is_degenerate(step):
    assert is_degenerate(step)


@pytest.mark.parametrize(
    "step",
    [
        "a",
        "--- 1",
        "é",
        "二",
        "٣",
        r"\boxed{}",
        "$$",
        "→",
        "+",
        "…",
        "=> +",
        "%",
        "'",
        "✓",
        "```py",
    ],
)
def test_letters_digits_and_signs_that_mean_something_are_content(step):
    assert not is_degenerate(step)


@given(st.lists(st.sampled_from([*EMPTY, " ", "\n", "\t"])).map("".join), st.characters())
def test_one_sign_of_content_is_enough(empty, sign):
    assert is_degenerate(empty)
    assert is_degenerate(empty + sign + empty) == (sign in EMPTY or sign.isspace())


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


def slow_boxed_answer(text):
    """By the definition: the last box that is closed, found by counting braces from each."""
    start = text.rfind(r"\boxed{")
    while start >= 0:
        depth, content = 1, start + len(r"\boxed{")
        for position in range(content, len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                return text[content:position].strip()
        start = text.rfind(r"\boxed{", 0, start)
    return None


@settings(max_examples=500)
@given(st.lists(st.sampled_from([r"\boxed{", r"\boxed", "{", "}", "\\", "7", " "])).map("".join))
def test_the_boxed_answer_is_found_in_one_pass(text):
    assert boxed_answer(text) == slow_boxed_answer(text)


@pytest.mark.parametrize("part", [r"\boxed{", r"{\boxed{7}", "{", "a\n\n", "a\n", "\n"])
def test_long_texts_are_read_in_linear_time(part):
    """A megabyte takes a fraction of a second; by quadratic methods, hours."""
    text = part * (1_000_000 // len(part))
    assert "".join(split_steps(text)) == text
    assert boxed_answer(text) == ("7" if "7" in part else None)

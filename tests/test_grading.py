"""Grading: what counts as the same answer, for whom, and what an answer may cost."""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trim.errors import InvalidInput
from trim.grading import workers as grading_workers
from trim.grading.grader import GRADERS, find_grader
from trim.grading.latex import clean, open_brackets, split_list, split_name, without_unit
from trim.grading.mathematics import Mathematics
from trim.grading.number import read_number
from trim.grading.workers import GraderPool, GraderUnavailable, Ungraded

SHARED = Path(__file__).parents[2] / "shared"
REAL = SHARED / "data" / "reference" / "qwen3_1.7b_14b_math500_traces.jsonl"

MATH = find_grader("math")
PARTS_ONLY = Mathematics(formulas=lambda answer, reference: False)
"""Without math-verify: what is neither number, word nor list is wrong."""

integers = st.integers(-(10**9), 10**9)
fractions = st.fractions(max_denominator=1000).filter(lambda value: abs(value) < 10**6)
distinct = st.lists(st.integers(-999, 999), min_size=2, max_size=6, unique=True)
SCRAPS = [*r"\{}()[]$^_,.;=+-/ 0123456789abixn%", r"\frac", r"\pm", r"\text{", r"\boxed{"]
texts = st.lists(st.sampled_from(SCRAPS)).map("".join)


def latex(value):
    sign = "-" if value < 0 else ""
    return rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


@pytest.mark.parametrize(
    "reference, answer",
    [
        ("x=5", "5"),
        ("52_8", r"52_{8}"),
        (r"90^\circ", "90"),
        (r"\text{(C)}", "C"),
        (r"\text{Evelyn}", "Evelyn"),
        (r"\text{east}", r"\textbf{East}"),
        (r"11,\! 111,\! 111,\! 100", "11111111100"),
        (r"\$32,\!348", r"\$32{,}348.00"),
        (r"5.4 \text{ cents}", "5.4"),
        (r"864 \mbox{ inches}^2", r"864\text{ in}^2"),
        (r"\frac{270}7\text{ degrees}", r"\dfrac{270}{7}^\circ"),
        (r"137 \frac{1}{2}", "137.5"),
        (r"1\frac{4}{5}", "9/5"),
        (".0000672", r"6.72 \times 10^{-5}"),
        ("62.5%", "0.625"),
        (r"$8 \%$", "8"),
        (r"1 \pm \sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}"),
        (r"\{1\pm\sqrt{5},-2\}", r"-2, 1+\sqrt5, \text{ and } 1-\sqrt5"),
        (r"x \in [-2,7]", "[-2, 7]"),
        ("(-2,1)", r"\left( -2, 1 \right)"),
        ("$f(x)=x$,$f(x)=2-x$", "2-x, x"),
        ("f(x)=ax+b, where $b$ is an integer", "ax + b"),
        (r"\cot x", r"\frac{\cos x}{\sin x}"),
        ("6+9i", "9 i + 6"),
        (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
        (r"5x - 7y + 11z + 4 = 0", "-5x+7y-11z-4=0"),
        (r"(-\infty, 2) \cup (3, \infty)", r"(3,\infty) \cup (-\infty,2)"),
        (
            r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}",
            r"v = \begin{pmatrix} -\frac13 \\ \frac23 \end{pmatrix}",
        ),
        (r"m c^2 (\gamma^2-1)", r"(\gamma^{2} - 1) m c^{2}"),
        (r"\frac{1}{3} E_{1}+\frac{2}{3} E_{2}", r"\frac{E_1 + 2 E_2}{3}"),
    ],
)
def test_the_same_answer_written_otherwise_is_right(reference, answer):
    assert MATH.grade(answer, reference)
    assert MATH.grade(rf"\boxed{{{answer}}}", reference)


@pytest.mark.parametrize(
    "reference, answer",
    [
        ("5", None),
        ("5", ""),
        ("5", "-5"),
        ("2", "2n"),
        ("6", "6m"),
        ("m=2", "n=2"),
        ("x=3, y=4", "x=4, y=3"),
        (r"\frac{1}{3}", "0.33"),
        (".0000672", "0.0000671"),
        ("(3,4]", "[3,4]"),
        ("(6,31,-1)", "(31,6,-1)"),
        ("3, 5, 7", "3, 5"),
        ("-2,-2", "-2"),
        (r"3 \pm 2\sqrt{2}", r"3 + 2\sqrt{2}"),
        (r"\text{Evelyn}", "Carla"),
        (r"\text{(C)}", r"\text{(D)}"),
        ("y = 2x + 3", "y = 2x"),
        ("SRAC=LRAC", "SRMC=LRMC"),
        ("52_8", "52_9"),
    ],
)
def test_another_answer_is_wrong(reference, answer):
    assert not MATH.grade(answer, reference)


@given(integers, integers)
def test_integers_are_the_same_only_if_they_are_equal(first, second):
    assert PARTS_ONLY.grade(f"{first:,}", str(second)) == (first == second)
    assert PARTS_ONLY.grade(f"x = {first} \\text{{ cm}}", f"${first}$")


@given(fractions, st.integers(1, 50))
def test_fractions_are_the_same_in_every_form(value, factor):
    unreduced = f"{value.numerator * factor}/{value.denominator * factor}"
    for answer in (latex(value), latex(value).replace("frac", "dfrac"), unreduced):
        assert PARTS_ONLY.grade(answer, latex(value))
        assert not PARTS_ONLY.grade(answer, latex(value + Fraction(1, 1000)))


@given(st.decimals(-(10**6), 10**6, places=4), st.integers(-200, 200))
def test_powers_of_ten_are_read_exactly(mantissa, exponent):
    expected = Fraction(mantissa) * Fraction(10) ** exponent
    for text in (f"{mantissa:f}e{exponent}", rf"{mantissa:f}\times10^{{{exponent}}}"):
        assert read_number(clean(text)).value == expected


@given(distinct, st.randoms())
def test_a_list_may_come_in_any_order_and_a_tuple_only_in_its_own(numbers, random):
    mixed = random.sample(numbers, len(numbers))
    plain, other = (", ".join(map(str, several)) for several in (numbers, mixed))
    assert PARTS_ONLY.grade(other, plain)
    assert PARTS_ONLY.grade(rf"\{{{other}\}}", plain)
    assert PARTS_ONLY.grade(f"({other})", f"({plain})") == (mixed == numbers)
    assert not PARTS_ONLY.grade(", ".join(map(str, numbers[:-1])), plain)
    assert not PARTS_ONLY.grade(plain, plain + ", 1000")


@given(distinct, distinct)
def test_which_list_is_the_reference_does_not_matter(first, second):
    a, b = (", ".join(map(str, numbers)) for numbers in (first, second))
    assert PARTS_ONLY.grade(a, b) == PARTS_ONLY.grade(b, a) == (sorted(first) == sorted(second))


@given(texts)
def test_every_text_can_be_read_and_is_itself(text):
    cleaned = clean(text)
    read_number(cleaned), split_name(cleaned), open_brackets(cleaned), without_unit(cleaned)
    assert all(part.strip() for part in split_list(cleaned))
    assert PARTS_ONLY.grade(text, text) == bool(text.strip())


@given(texts, texts)
def test_every_grader_says_yes_or_no_to_every_text(answer, reference):
    for name in ("exact", "letter", "integer", "amount"):
        assert find_grader(name).grade(answer, reference) in (True, False)
    assert PARTS_ONLY.grade(answer, reference) in (True, False)


@given(st.integers(0, 999), st.integers(0, 999))
def test_whole_numbers_may_have_leading_zeros(first, second):
    integer = find_grader("integer")
    assert integer.grade(f"{first:03}", str(second)) == (first == second)
    assert integer.grade(f"n = {first}", f"{first:03} or {second:03} (both were accepted)")
    assert not integer.grade(f"{first}.5", str(first))


@given(st.integers(0, 10**7))
def test_amounts_may_have_currencies_and_words(number):
    amount = find_grader("amount")
    plain = (f"${number:,}", f"{number}.00", f"she pays {number:,} dollars", rf"\${number}")
    for answer in (*plain, rf"{number}\text{{ ft}}^2", f"{number} cm^2"):
        assert amount.grade(answer, f"{number:,}")
        assert amount.grade(answer, f"so it is.\n#### {number:,}")
        assert not amount.grade(answer, str(number + 1))
    assert not amount.grade(f"{number} or {number + 1}", str(number))


@pytest.mark.parametrize("answer", ["C", "(C)", "c", r"\text{C}", r"\textbf{(C)} 5 m", "C. Oxygen"])
def test_a_choice_is_its_letter(answer):
    assert find_grader("letter").grade(answer, "C")
    assert not find_grader("letter").grade(answer, "B")


@pytest.mark.parametrize("answer", [None, "", "Oxygen", "5", "CD"])
def test_what_begins_with_no_letter_is_no_choice(answer):
    assert not find_grader("letter").grade(answer, "C")


@pytest.mark.parametrize(
    "reference, answer, right",
    [
        ("4.5e33", r"4.5 \times 10^{33} \mathrm{~erg/s}", True),
        ("9.6", r"9.6 \AA", True),
        ("5", "5 m/s", True),
        ("0.5613", "0.56132", True),
        ("np.arcsin(10/13)", r"\arcsin\frac{10}{13}", True),
        ("-3./2", "-1.5", True),
        ("2e-27", "1e-27", False),
        ("41.8", "42.0", False),
        (r"\frac{37}{4} m", r"\frac{37}{4}", False),
    ],
)
def test_quantities_have_units_and_are_rounded(reference, answer, right):
    assert find_grader("quantity").grade(answer, reference) == right


def test_a_tolerance_of_its_own():
    within = find_grader("within:0.1")
    assert within.grade("4.3", "4.2") and within.grade(r"4.1 \%", "4.2")
    assert not within.grade("4.31", "4.2")


@pytest.mark.parametrize("name", ["nonsense", "math:3", "within:", "within:x", "within:1/0"])
def test_an_unknown_grader_is_refused(name):
    with pytest.raises(InvalidInput, match="grader"):
        find_grader(name)


# Processes.

FAKE = """
import json, sys, time
print('"ready"', flush=True)
for line in sys.stdin:
    answer = json.loads(line)[1]
    if answer == "die":
        sys.exit(1)
    if answer == "sleep":
        time.sleep(60)
    print(json.dumps("ValueError" if answer == "fail" else answer == "yes"), flush=True)
"""


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(grading_workers, "COMMAND", (sys.executable, "-c", FAKE))


def test_an_answer_that_hangs_crashes_or_fails_costs_itself_alone(fake):
    lost = []
    with GraderPool(1, seconds=1, report=lost.append) as workers:
        answers = ["yes", "die", "yes ", "fail", "sleep", "no", "yes"]
        grades = [workers.grade("math", answer, "5") for answer in answers]
        assert grades == [True, False, False, False, False, False, True]
        assert not workers.grade("math", "die", "5")
    assert lost == [
        Ungraded("math", "die", "5", "crash"),
        Ungraded("math", "fail", "5", "ValueError"),
        Ungraded("math", "sleep", "5", "time"),
    ]


def test_a_process_that_was_killed_is_started_anew(fake):
    with GraderPool(1) as workers:
        assert workers.grade("math", "yes", "5")
        (worker,) = workers._workers
        worker._process.kill()
        worker._process.wait()
        # Whether it notices while writing or while reading, one answer is lost.
        assert [workers.grade("math", "yes", str(n)) for n in (6, 7)] == [False, True]


def test_several_threads_and_an_event_loop_may_ask(fake):
    with GraderPool(2) as workers:
        questions = [("yes" if n % 3 else "no", str(n)) for n in range(60)]
        with ThreadPoolExecutor(8) as threads:
            grades = list(threads.map(lambda q: workers.grade("math", *q), questions))
        assert grades == [answer == "yes" for answer, _ in questions]

        async def ask():
            return await asyncio.gather(
                *(
                    workers.agrade("math", answer, reference + "0")
                    for answer, reference in questions
                )
            )

        assert asyncio.run(ask()) == grades


def test_what_can_do_no_harm_starts_no_process(monkeypatch):
    monkeypatch.setattr(grading_workers, "COMMAND", (sys.executable, "-c", ""))
    with GraderPool(1) as workers:
        assert workers.grade("exact", "5", "5") and not workers.grade("math", None, "5")
        for answer, right in {"5": True, "10/2": True, "6": False, "5, 6": False}.items():
            assert workers.grade("math", answer, "5") is right
        assert workers.grade("amount", "$1,450", "She pays 29 * 50 = 1450.\n#### 1450")
        assert workers.grade("letter", r"\textbf{(C) 5}", "C")
        with pytest.raises(GraderUnavailable):
            workers.grade("math", "5" * 301, "5")
        with pytest.raises(GraderUnavailable):
            workers.grade("math", "x + 1", "1 + x")


@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data/reference")
def test_grading_without_a_worker_changes_no_grade():
    alike = 0
    for problem in map(json.loads, REAL.read_text().splitlines()):
        for answer in filter(None, (problem[role]["answer"] for role in ("weak", "strong"))):
            here = grading_workers.grade_here("math", answer, problem["answer"])
            assert here is None or here == MATH.grade(answer, problem["answer"])
            alike += here is not None
    assert alike > 100  # of 200 answers


def test_one_worker_grades_what_comes_one_after_the_other(fake):
    with GraderPool(2) as workers:
        for number in range(3):
            assert workers.grade("math", "yes", str(number))
        assert [worker._process is not None for worker in workers._workers] == [False, True]


def test_a_process_that_does_not_start_is_an_error_of_one_line(monkeypatch):
    monkeypatch.setattr(grading_workers, "COMMAND", (sys.executable, "-c", ""))
    with (
        GraderPool(1) as workers,
        pytest.raises(GraderUnavailable, match="does not start") as error,
    ):
        workers.grade("math", "x + 1", "1 + x")
    assert "\n" not in str(error.value)


def test_a_formula_without_end_is_wrong_and_the_next_one_is_graded():
    lost = []
    with GraderPool(1, seconds=1.5, report=lost.append) as workers:
        assert not workers.grade("math", "9^{9^{9^{9}}}", r"x+\pi")
        assert workers.grade("math", "1 + x", "x + 1")
    assert [ungraded.reason for ungraded in lost] == ["time"]


# Real answers.


@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data/reference")
def test_real_answers_are_graded_as_recorded_or_better():
    differing = {}
    for line in REAL.read_text().splitlines():
        problem = json.loads(line)
        for role in ("weak", "strong"):
            answer, recorded = problem[role]["answer"], problem[role]["correct"]
            graded = MATH.grade(answer, problem["answer"])
            if graded != recorded:
                differing[problem["id"], role] = graded
    # Lists in another order, and a cotangent as cosine over sine.
    assert differing == {
        ("math500_00025", "weak"): True,
        ("math500_00025", "strong"): True,
        ("math500_00036", "weak"): True,
        ("math500_00074", "weak"): True,
    }


def test_every_grader_has_a_name_that_finds_it():
    assert all(find_grader(name).grade("C", "C") for name in ("exact", "letter", "math"))
    assert all(not find_grader(name).grade(None, "5") for name in GRADERS)

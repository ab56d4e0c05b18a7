"""Whether routing pays: totals against the strong model alone, by hand and in real runs."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from preloaded import completed

from trim.costs import Price, Prices
from trim.evaluation.summary import summarise
from trim.evaluation.verdict import (
    CostComparison,
    amount,
    describe_single,
    hidden_notes,
    outcome_of,
)
from trim.types import Action, Author, Step, Trace, Usage

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "docs" / "summary.schema.json").read_text(encoding="utf-8")
)
PRICES = Prices(weak=Price(), strong=Price(1, 1, 10), scorer=Price())
N = 40
NOTHING = Usage()
QUESTION = (
    "Start with 24. 1) multiply by 2. 2) add 2. 3) divide by 5. 4) decrease it by 7."
    " 5) last, add 19. What is the result?"
)


def traces(policy, right, strong, seconds, scored=NOTHING, scorer=None):
    """`N` problems of which the first `right` are right, all of the same cost."""
    steps = (Step("s", Author.STRONG, Action.TAKE_OVER, strong_tokens=strong),)
    drafts = NOTHING if policy == "strong" else Usage(100, 0, 50)
    usage = {"weak": drafts, "strong": Usage(0, 0, strong), "scorer": scored}
    return [
        Trace("q", policy, 0, steps, "1", usage=usage, seconds=seconds, problem_id=str(number),
              correct=number < right, scorer=scorer)
        for number in range(N)
    ]  # fmt: skip


WEAK = traces("weak", 10, 0, 1.0)
STRONG = traces("strong", 30, 100, 4.0)


def summary(*routed, alone=(WEAK, STRONG), prices=PRICES):
    solved = {each[0].policy: each for each in (*alone, *routed)}
    found = summarise("hand", 0, solved, prices)
    jsonschema.validate(json.loads(json.dumps(found, allow_nan=False)), SCHEMA)
    return found


def verdict(*routed, **options):
    return summary(*routed, **options)["verdict"]


def point_of(found, policy):
    return next(point for point in found["points"] if point["policy"] == policy)


def test_grades_by_the_strong_model_are_in_the_money_and_not_in_c():
    graded = traces("thr:0.5", 30, 40, 10.0, Usage(2000, 0, 6), scorer="grade")
    found = summary(graded)
    point = point_of(found, "thr")
    assert point["strong_share"] == pytest.approx(0.4)
    assert point["hidden_strong_tokens_mean"] == {"read": 2000, "written": 6}
    # 40 and 6 tokens written at 10, 2,000 read at 1; 100 written at 10 by the strong model alone.
    assert point["money_mean"] == pytest.approx(2460 / 1e6)
    assert point["against_strong"]["money"]["value"] == pytest.approx(2.46)
    assert point["against_strong"]["seconds"]["value"] == pytest.approx(2.5)
    assert found["verdict"] == {
        "policy": "thr",
        "setting": 0.5,
        "pays": False,
        "text": "thr:0.5 costs 0.00246 a problem against 0.00100 for the strong model alone (2.46"
        " times, 95 % interval 2.46 to 2.46) and takes 10.0 s against 4.00 s (2.50 times, 95 %"
        " interval 2.50 to 2.50), at 100 % of its accuracy (100 % of the gap closed): routing loses"
        " here.",
    }
    (note,) = hidden_notes(found["points"])
    assert note.startswith("thr: besides steps, the strong model read 2,000 and wrote 6 tokens")
    assert note.endswith("the strong share does not")


def test_tokens_of_another_scorer_are_not_hidden():
    found = summary(traces("thr:0.5", 30, 40, 2.0, Usage(2000, 0, 6), scorer="prm"))
    assert point_of(found, "thr")["hidden_strong_tokens_mean"] == {"read": 0, "written": 0}
    assert hidden_notes(found["points"]) == []
    assert found["verdict"]["pays"] is True
    assert found["verdict"]["text"].endswith(": routing pays here.")


def test_of_a_sweep_the_cheapest_is_named_that_closes_the_gap():
    cheap, enough = traces("thr:0.1", 28, 20, 1.0), traces("thr:0.5", 29, 60, 1.0)
    dear = traces("thr:0.9", 30, 90, 0.5)
    found = verdict(cheap, enough, dear)
    assert (found["policy"], found["setting"], found["pays"]) == ("thr", 0.5, True)
    begin = "Of 3 settings the cheapest that closes 95 % of the gap, thr:0.5, costs 0.000600"
    assert found["text"].startswith(begin)


def test_of_a_sweep_that_is_dearer_the_fastest_is_named_if_it_is_faster():
    found = verdict(traces("thr:0.5", 30, 120, 5.0), traces("thr:0.9", 30, 150, 2.0))
    assert (found["setting"], found["pays"]) == (0.9, None)
    assert "the fastest that closes" in found["text"]
    assert found["text"].endswith(": routing saves time and costs money.")
    found = verdict(traces("thr:0.5", 30, 120, 5.0), traces("thr:0.9", 30, 150, 4.5))
    assert (found["setting"], found["pays"]) == (0.5, False)


def test_a_sweep_that_does_not_close_the_gap():
    found = verdict(traces("thr:0.1", 15, 20, 1.0), traces("thr:0.5", 26, 60, 1.0))
    assert (found["setting"], found["pays"]) == (0.5, None)
    assert found["text"].startswith("None of 2 settings closes 95 % of the gap; the nearest, thr")
    assert "87 % of its accuracy (80 % of the gap closed)" in found["text"]
    assert found["text"].endswith(": routing saves money and time, with fewer right answers.")
    found = verdict(traces("thr:0.1", 15, 120, 5.0))
    assert found["pays"] is False and found["text"].endswith("routing loses here.")


def test_oracles_are_not_on_offer():
    assert verdict(traces("oracle", 40, 1, 0.1)) is None
    assert verdict() is None
    assert verdict(traces("oracle", 40, 1, 0.1), traces("thr:0.5", 30, 50, 1.0))["policy"] == "thr"


def test_without_the_strong_model_alone_nothing_is_said():
    found = summary(traces("thr:0.5", 30, 50, 1.0), alone=[WEAK])
    assert point_of(found, "thr")["against_strong"] is None
    assert found["verdict"]["pays"] is None
    assert found["verdict"]["text"].startswith("Strong alone not measured")


def test_without_the_weak_model_alone_the_accuracy_counts():
    found = verdict(traces("thr:0.5", 29, 50, 1.0), alone=[STRONG])
    assert found["pays"] is True and "at 97 % of its accuracy: routing pays" in found["text"]


def test_a_strong_model_that_is_not_better_is_said_to_be_so():
    same = traces("strong", 10, 100, 4.0)
    found = verdict(traces("thr:0.5", 10, 50, 1.0), alone=[WEAK, same])
    assert found["pays"] is None
    assert "routing pays" not in found["text"]
    assert found["text"].endswith("(25.0 % against 25.0 %): routing cannot help.")


def test_one_problem_shows_nothing():
    single = [each[29:30] for each in (WEAK, STRONG, traces("thr:0.5", 30, 50, 1.0))]
    found = summary(single[2], alone=single[:2])
    assert found["verdict"]["pays"] is None
    assert "interval" not in found["verdict"]["text"]
    assert found["verdict"]["text"].endswith("one problem shows nothing.")


def test_without_prices_there_is_no_money_and_seconds_decide():
    graded = traces("thr:0.5", 30, 40, 10.0, Usage(2000, 0, 6), scorer="grade")
    found = summary(graded, traces("thr:0.9", 30, 90, 2.0), prices=None)
    for point in found["points"]:
        assert point["money_mean"] is point["against_strong"]["money"] is None
    assert (found["verdict"]["setting"], found["verdict"]["pays"]) == (0.9, True)
    slow = verdict(graded, prices=None)
    assert slow["pays"] is False
    assert "decoding 0.40 times its tokens and reading or writing 2,006 hidden ones" in slow["text"]
    assert "routing loses time here. Money is not billed" in slow["text"]
    assert "costs" not in slow["text"]


def test_a_difference_that_may_be_chance_is_not_taken_for_one():
    mixed = [
        replace(trace, seconds=1.0 if number % 2 else 7.2)
        for number, trace in enumerate(traces("thr:0.5", 30, 100, 1.0))
    ]
    found = verdict(mixed)
    assert found["pays"] is None and found["text"].endswith(": no difference is shown.")


def test_a_strong_model_that_is_free_has_no_ratio():
    found = summary(traces("thr:0.5", 30, 50, 1.0), prices=Prices(Price(output=1), Price()))
    assert point_of(found, "thr")["against_strong"]["money"]["value"] is None
    assert found["verdict"]["text"].startswith("thr:0.5 costs 0.0000500 a problem against 0 for")
    assert found["verdict"]["text"].endswith("routing saves time and costs money.")


amounts = st.floats(0.001, 1000)


@given(amounts, amounts, amounts, amounts, st.booleans())
def test_routing_pays_only_where_nothing_is_dearer_and_loses_only_where_nothing_is_saved(
    money, seconds, strong_money, strong_seconds, is_as_good
):
    _, pays = outcome_of(CostComparison(money, seconds, strong_money, strong_seconds).levels,
                       is_as_good)  # fmt: skip
    if pays:
        assert is_as_good and money <= strong_money and seconds <= strong_seconds
    if pays is False:
        assert money >= strong_money and seconds >= strong_seconds


@given(st.floats(1e-9, 1e9))
def test_amounts_have_three_digits_and_no_powers_of_ten(value):
    shown = amount(value)
    assert "e" not in shown
    assert float(shown.replace(",", "")) == pytest.approx(value, rel=0.006)


def test_a_single_problem_by_hand():
    routed = replace(traces("thr:0.5", 1, 40, 2.0)[0], answer="41")
    found = describe_single(routed, STRONG[0], PRICES)
    assert (found["money"], found["seconds"], found["pays"]) == (pytest.approx(0.001), 4.0, True)
    assert found["verdict"] == (
        "On this problem thr:0.5 costs 0.000400 against 0.00100 for the strong model alone (0.40"
        " times) and takes 2.00 s against 4.00 s (0.50 times), answering 41 against 1: routing pays"
        " here."
    )
    failed = replace(STRONG[0], failure="the server is away")
    found = describe_single(routed, failed, PRICES)
    assert found["pays"] is None and "the server is away" in found["verdict"]


def test_an_evaluation_with_grades_ends_with_its_verdict(tmp_path):
    words = ("eval", "chain", "-n", 6, "--policy", "weak", "--policy", "strong", "--policy",
             "thr:0.5", "--scorer", "grade", "--seed", 1, "--prices", "example")  # fmt: skip
    result = completed(*words, "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "run" / "summary.json").read_text())
    jsonschema.validate(found, SCHEMA)
    point = point_of(found, "thr")
    assert point["hidden_strong_tokens_mean"]["read"] > 100
    assert point["hidden_strong_tokens_mean"]["written"] >= 1
    assert point["money_mean"] > 0
    text = found["verdict"]["text"]
    assert text.startswith("thr:0.5 costs ") and "for the strong model alone" in text
    *_, note, last = result.stdout.strip().splitlines()
    assert last == text
    assert note.startswith("thr: besides steps, the strong model read")
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert text in report and note in report


def test_solve_compares_with_the_strong_model_alone_when_asked():
    words = ("solve", QUESTION, "--scorer", "grade", "--prices", "example")
    plain = completed(*words).stdout.strip().splitlines()
    assert plain[-2].startswith("Total: money 0.00") and "besides steps" in plain[-2]
    assert "--against-strong" in plain[-1]
    last = completed(*words, "--against-strong").stdout.strip().splitlines()[-1]
    assert last.startswith("On this problem thr:0.5 costs ")
    told = json.loads(completed(*words, "--against-strong", "--json").stdout)
    assert told["hidden_strong_tokens"]["read"] == told["usage"]["scorer"]["prompt_tokens"] > 0
    assert told["against_strong"]["money"] > 0 and told["against_strong"]["strong_tokens"] > 0
    assert told["against_strong"]["verdict"].startswith("On this problem thr:0.5 costs ")
    assert told["money"] > 0


def test_the_strong_model_alone_is_not_held_to_a_limit():
    limit = ("--max-strong-tokens", 0, "--against-strong", "--json")
    told = json.loads(completed("solve", QUESTION, *limit).stdout)
    assert told["usage"]["strong"]["tokens"] == 0
    assert told["against_strong"]["strong_tokens"] > 0


@pytest.mark.parametrize(
    ("costs", "outcome"),
    [
        ((1, 1), "routing saves money and time, with fewer right answers"),
        ((1, 9), "routing saves money and costs time, with fewer right answers"),
        ((9, 1), "routing saves time and costs money, with fewer right answers"),
        ((4, 4), "routing loses here"),
        ((9, 9), "routing loses here"),
    ],
)
def test_what_is_saved_with_fewer_right_answers(costs, outcome):
    assert outcome_of(CostComparison(*costs, 4, 4).levels, False)[0] == outcome

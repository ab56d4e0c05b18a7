"""Models and scorers over HTTP, against real vLLM servers on this machine's processor.

`make test-vllm` installs vLLM into an environment of its own and runs this file, which serves the
shipped models, exported, and a tiny reward model. `TRIM_VLLM` is the Python of that environment;
without it all tests are skipped.
"""

import asyncio
import json
import os
import statistics
import urllib.request
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_transformer import ReferenceTransformer
from reward_checkpoint import CONTEXT
from vllm_server import BLOCK, REWARD, serving

from trim import Router
from trim.config import RouterConfig
from trim.configuration.source import shipped_models
from trim.engines.chat_template import read_chat_template
from trim.engines.http import HttpServer
from trim.errors import ContextExceeded, InvalidInput, Refused
from trim.evaluation.suites import CHAIN, CHAIN_HARD, generate
from trim.models.continuation import VLLM, Continuation
from trim.models.model import Completion, Ending, Prefix, Sampling
from trim.models.openai import OpenAIModel
from trim.models.probe import probe
from trim.models.prompt import Prompt
from trim.policies.registry import parse_policies
from trim.policies.threshold import Threshold
from trim.scorers.grade import HttpGradeScorer
from trim.scorers.label import HttpLabelScorer
from trim.scorers.pooling import PoolingScorer
from trim.steps import split_steps
from trim.types import Author

PYTHON = os.environ.get("TRIM_VLLM")
pytestmark = pytest.mark.skipif(
    not PYTHON, reason="needs vLLM in an environment of its own: run `make test-vllm`"
)
GREEDY = Sampling(0.0, 1.0, 0, 96)
MODES = (Continuation.COMPLETIONS, Continuation.CONTINUE_FINAL)
TOLERANCE = 0.01
"""In nats, of a step's mean log-probability; most differ by less than 0.001."""
WRITTEN = Completion("a", Ending.STEP, 1, 1)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    # The path as it is: a link to Python means its environment.
    with serving(str(Path(PYTHON).absolute()), tmp_path_factory.mktemp("vllm")) as started:
        yield started


@pytest.fixture(scope="module")
def embedded():
    return shipped_models(slots=1, exact=True, entropy=True)


def model(servers, name="strong", mode=Continuation.COMPLETIONS, plain=False, **given):
    template = None if plain else read_chat_template(servers[name].folder)
    return OpenAIModel(
        HttpServer(servers[name].url),
        name,
        continuation=mode,
        dialect=VLLM,
        template=template,
        **{"prompt": Prompt(), **given},
    )


def reward(servers, **given):
    template = read_chat_template(servers[REWARD].folder)
    return PoolingScorer(
        HttpServer(servers[REWARD].url), REWARD, template=template, system=None, **given
    )


def ask(server, path, body):
    request = urllib.request.Request(
        server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def problems(count=3):
    return [*generate(CHAIN, count, seed=21), *generate(CHAIN_HARD, count, seed=21)]


@pytest.mark.parametrize("name", ["weak", "strong"])
@pytest.mark.parametrize("plain", [True, False])
def test_solutions_are_those_of_llama_cpp(servers, embedded, name, plain):
    """As plain text, and as a chat that its template turns into just that."""
    there, here = model(servers, name, plain=plain), getattr(embedded, name)
    (policy,) = parse_policies("weak")
    alike = 0
    for problem in generate(CHAIN, 25, seed=22):
        remote = Router(
            weak=there, strong=there, policy=policy, config=RouterConfig(sampling=GREEDY)
        ).solve(problem.question)
        local = Router(
            weak=here, strong=here, policy=policy, config=RouterConfig(sampling=GREEDY)
        ).solve(problem.question)
        assert remote.answer == local.answer
        alike += remote.solution == local.solution
        if remote.solution == local.solution:
            assert remote.usage["weak"].tokens == local.usage["weak"].tokens
    assert alike >= 24


def test_a_routed_run_is_that_of_the_engines_in_this_process(servers, embedded):
    (policy,) = parse_policies("thr:0.8")
    weak, strong = model(servers, "weak", plain=True), model(servers, "strong", plain=True)
    label = HttpLabelScorer(model(servers, "scorer", plain=True))
    there = Router(
        weak=weak, strong=strong, scorer=label, policy=policy, config=RouterConfig(sampling=GREEDY)
    )
    here = Router(
        weak=embedded.weak,
        strong=embedded.strong,
        scorer=embedded.scorers["prm"],
        policy=policy,
        config=RouterConfig(sampling=GREEDY),
    )
    authors = []
    for problem in generate(CHAIN, 20, seed=23):
        remote, local = there.solve(problem.question), here.solve(problem.question)
        assert remote.answer == local.answer
        assert [step.author for step in remote.steps] == [step.author for step in local.steps]
        assert [step.score for step in remote.steps] == pytest.approx(
            [step.score for step in local.steps], abs=0.02
        )
        authors += [step.author for step in remote.steps]
    assert authors.count(Author.STRONG) > 10
    assert authors.count(Author.WEAK) > 10


async def test_many_problems_at_a_time_end_as_one_at_a_time(servers):
    """Batches may round differently; the answers of these problems are clear enough."""
    (policy,) = parse_policies("thr:0.8")
    weak, strong = model(servers, "weak"), model(servers, "strong")
    router = Router(
        weak=weak,
        strong=strong,
        scorer=HttpLabelScorer(model(servers, "scorer", plain=True)),
        policy=policy,
        config=RouterConfig(sampling=GREEDY),
    )
    questions = [problem.question for problem in problems(6)]
    together = await asyncio.gather(*(router.asolve(question) for question in questions))
    alone = [await router.asolve(question) for question in questions]
    assert [trace.answer for trace in together] == [trace.answer for trace in alone]
    assert not weak.server.faults


@pytest.mark.parametrize("token_ids", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_a_solution_in_steps_is_the_solution_at_one_go(servers, mode, token_ids):
    writer = model(servers, mode=mode, token_ids=token_ids)
    (policy,) = parse_policies("weak")
    for problem in problems():
        trace = Router(
            weak=writer, strong=writer, policy=policy, config=RouterConfig(sampling=GREEDY)
        ).solve(problem.question)
        whole = asyncio.run(writer.continue_text(problem.question, "", 900)).text
        assert [step.text for step in trace.steps] == split_steps(whole)


@pytest.mark.parametrize("name", ["weak", "strong"])
@pytest.mark.parametrize("mode", MODES)
def test_steps_and_figures_are_those_of_llama_cpp(servers, embedded, name, mode):
    writer = model(servers, name, mode, entropy=True)
    for problem in problems():
        prefix = Prefix(problem.question, problem.steps[:2])
        there = asyncio.run(writer.write_step(prefix, GREEDY, 0))
        here = asyncio.run(getattr(embedded, name).write_step(prefix, GREEDY, 0))
        assert (there.text, there.ending) == (here.text, here.ending)
        assert (there.tokens, there.prompt_tokens) == (here.tokens, here.prompt_tokens)
        assert there.log_probability == pytest.approx(here.log_probability, abs=TOLERANCE)
        assert there.first_entropy == pytest.approx(here.first_entropy, abs=0.02)


@pytest.mark.parametrize("mode", MODES)
def test_a_span_is_the_step_and_its_parts_are_the_whole(servers, embedded, mode):
    writer = model(servers, mode=mode, token_ids=False)
    assert asyncio.run(writer.span_obstacle()) is None
    for problem in problems():
        prefix = Prefix(problem.question, problem.steps[:2])
        step = asyncio.run(writer.write_step(prefix, GREEDY, 0))
        whole = asyncio.run(writer.write_span(prefix, GREEDY, 0))
        here = asyncio.run(embedded.strong.write_span(prefix, GREEDY, 0))
        assert (whole.text, whole.ending) == (step.text, step.ending) == (here.text, here.ending)
        assert (whole.tokens, whole.prompt_tokens) == (step.tokens, step.prompt_tokens)
        assert [token.text for token in whole.decoded] == [token.text for token in here.decoded]
        for mine, other in zip(whole.decoded, here.decoded, strict=True):
            assert mine.log_probability == pytest.approx(other.log_probability, abs=0.02)
        cut = asyncio.run(
            writer.write_span(prefix, GREEDY, 0, lambda tokens: 3 if len(tokens) > 3 else None)
        )
        assert (len(cut.decoded), cut.ending) == (3, Ending.RULE)
        assert 4 <= cut.tokens <= whole.tokens
        rest = asyncio.run(writer.write_span(prefix.inside(cut.text), GREEDY, 0))
        assert cut.text + rest.text == whole.text


def test_models_with_one_tokenizer_have_one_vocabulary(servers):
    weak, strong = model(servers, "weak"), model(servers)
    for writer in (weak, strong):
        assert asyncio.run(writer.span_obstacle()) is None
    assert weak.vocabulary == strong.vocabulary is not None


def test_whole_blocks_of_tokens_are_cached_and_counted(servers):
    writer = model(servers)
    prefix = Prefix("Cached: " + " 1 2 3 4 5 6 7 8 9" * 8)
    first = asyncio.run(writer.write_step(prefix, GREEDY, 0))
    again = asyncio.run(writer.write_step(prefix, GREEDY, 0))
    assert first.cached_tokens < BLOCK
    assert again.cached_tokens == (again.prompt_tokens - 1) // BLOCK * BLOCK > 0


@pytest.mark.parametrize("mode", MODES)
def test_a_step_is_cut_by_its_limit(servers, mode):
    prefix, sampling = Prefix(problems()[0].question), Sampling(0.0, 1.0, 0, 4)
    step = asyncio.run(model(servers, mode=mode).write_step(prefix, sampling, 0))
    assert (step.ending, step.tokens) == (Ending.LENGTH, 4)


@pytest.mark.parametrize("mode", MODES)
def test_the_probe_takes_the_modes_and_finds_the_cache(servers, mode):
    found = asyncio.run(probe(model(servers, mode=mode)))
    assert found.continuation is mode
    assert found.cached_tokens > 0


def test_prompts_and_answers_at_the_end_of_the_context(servers):
    writer = model(servers)
    fits = asyncio.run(writer.write_step(Prefix("1 + 1? " * 40), Sampling(0, 1, 0, 1000), 0))
    assert fits.tokens > 0
    with pytest.raises(ContextExceeded, match="maximum context length"):
        asyncio.run(writer.write_step(Prefix("a " * 1500), GREEDY, 0))


def test_label_scores_are_those_of_llama_cpp(servers, embedded):
    scorer = HttpLabelScorer(model(servers, "scorer", plain=True))
    for problem in problems(5):
        for end in range(1, len(problem.steps) + 1):
            prefix = Prefix(problem.question, problem.steps[:end])
            there = asyncio.run(scorer.score(prefix, [WRITTEN]))
            here = asyncio.run(embedded.scorers["prm"].score(prefix, [WRITTEN]))
            assert there.values == pytest.approx(here.values, abs=0.02)
            assert (there.prompt_tokens, there.tokens) == (here.prompt_tokens, here.tokens)


def test_the_strong_model_gives_grades(servers):
    grades = asyncio.run(HttpGradeScorer(model(servers)).score(Prefix("q", ("a",)), [WRITTEN]))
    assert 0 <= grades.values[0] <= 1
    assert grades.tokens > 0


WORDS = st.text("ab 12+=.é", min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=40)
@given(WORDS, st.lists(WORDS, min_size=1, max_size=5), st.data())
def test_a_reward_model_scores_each_step_as_its_weights_say(servers, question, steps, data):
    """Against the same network, calculated here, at each step's tag."""
    scorer = reward(servers)
    newest = data.draw(st.integers(1, len(steps)))
    trace = Prefix(question, tuple(steps))
    scores = asyncio.run(scorer.score(trace, [WRITTEN] * newest))
    read = {"prompt": scorer.rendered(question, steps), "add_special_tokens": True}
    tokens = ask(servers[REWARD], "/tokenize", {"model": REWARD, **read})["tokens"]
    right = ReferenceTransformer(servers[REWARD].folder).right(tokens, servers[REWARD].tag)
    assert scores.values == pytest.approx(right[-newest:], abs=1e-4)
    assert scores.prompt_tokens == len(tokens)


def test_a_tag_that_the_server_does_not_know_is_an_error(servers):
    with pytest.raises(InvalidInput, match="0 scores for 2 steps"):
        trace = Prefix("q", ("one", "two"))
        asyncio.run(reward(servers, tag="<x>").score(trace, [WRITTEN]))


@pytest.mark.parametrize("limit", [None, 300])
def test_a_trace_that_is_too_long_is_cut_at_whole_steps(servers, limit):
    scorer = reward(servers, limit=limit)
    trace = Prefix("q", ("ab " * 30,) * 12)
    scores = asyncio.run(scorer.score(trace, [WRITTEN]))
    assert 0 < scores.unread_steps < 12
    rest = Prefix("q", trace.steps[scores.unread_steps :])
    assert scores.values == asyncio.run(reward(servers).score(rest, [WRITTEN])).values


def test_a_newest_step_that_is_too_long_says_so(servers):
    with pytest.raises(ContextExceeded, match="newest step do not fit"):
        asyncio.run(reward(servers).score(Prefix("q", ("a " * CONTEXT,)), [WRITTEN]))


@pytest.mark.parametrize(
    ("logits", "extra"),
    [(False, {"task": "token_classify"}), (True, {"use_activation": False})],
)
def test_other_forms_of_the_request_give_the_same_scores(servers, logits, extra):
    trace = Prefix("q", ("one", "two"))
    usual = asyncio.run(reward(servers).score(trace, [WRITTEN] * 2))
    other = asyncio.run(
        reward(servers, logits=logits, extra_body=extra).score(trace, [WRITTEN] * 2)
    )
    assert other.values == pytest.approx(usual.values, abs=1e-5)


def test_a_form_that_this_version_has_dropped_is_refused_in_its_own_words(servers):
    with pytest.raises(Refused, match="task was removed; use `token_embed` or `token_classify`"):
        old = reward(servers, extra_body={"task": "encode"})
        asyncio.run(old.score(Prefix("q", ("one",)), [WRITTEN]))


def test_a_generator_is_no_reward_model(servers):
    template = read_chat_template(servers["strong"].folder)
    scorer = PoolingScorer(
        HttpServer(servers["strong"].url), "strong", template=template, system=None
    )
    with pytest.raises(Refused, match="404"):
        asyncio.run(scorer.score(Prefix("q", ("one",)), [WRITTEN]))


def test_a_router_takes_scores_of_the_reward_model(servers):
    """Its weights are random, so the threshold is put in the middle of its scores."""
    weak, strong = model(servers, "weak"), model(servers, "strong")
    questions = [problem.question for problem in problems(2)]

    def steps_at(threshold):
        router = Router(
            weak=weak,
            strong=strong,
            scorer=reward(servers),
            policy=Threshold(threshold),
            config=RouterConfig(sampling=GREEDY),
        )
        traces = [router.solve(question) for question in questions]
        assert {trace.scorer for trace in traces} == {REWARD}
        return [step for trace in traces for step in trace.steps]

    middle = statistics.median(step.score for step in steps_at(0.0))
    steps = steps_at(middle)
    for step in steps:
        assert (step.author is Author.STRONG) == (step.score < middle)
    assert {step.author for step in steps} == {Author.WEAK, Author.STRONG}

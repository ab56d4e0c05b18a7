"""Models and scorers over HTTP, against llama.cpp's real server with the shipped models."""

import asyncio
import re
import urllib.request

import pytest
from llama_server import PLAIN_CHAT, start

from trim.config import RouterConfig
from trim.configuration.source import shipped_models
from trim.engines.http import HttpServer
from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable
from trim.evaluation.suites import CHAIN, CHAIN_HARD, generate
from trim.models.continuation import LLAMA_CPP, Continuation
from trim.models.model import Ending, Prefix, Sampling
from trim.models.openai import OpenAIModel
from trim.models.probe import probe
from trim.models.prompt import Prompt
from trim.models.spans import require_spans
from trim.policies.registry import parse_policies
from trim.router import Router
from trim.scorers.confidence import LogProbabilityScorer
from trim.scorers.grade import HttpGradeScorer
from trim.scorers.label import HttpLabelScorer
from trim.shipped import SAMPLING
from trim.steps import SEPARATOR, split_steps
from trim.types import Author

GREEDY = Sampling(0.0, 1.0, 0, 96)
CONCURRENT = 2
"""llama.cpp has a thread for each connection that is kept; more of them than threads would wait
for each other to be closed."""
MODES = (Continuation.COMPLETIONS, Continuation.PREFILL)


@pytest.fixture(scope="module")
def servers():
    return {
        name: start(name, slots=1, template=PLAIN_CHAT) for name in ("weak", "strong", "scorer")
    }


@pytest.fixture(scope="module")
def embedded():
    return shipped_models(slots=1, exact=True, entropy=True)


def model(servers, name="weak", mode=Continuation.COMPLETIONS, **settings):
    server = HttpServer(servers[name].url, concurrency=CONCURRENT)
    return OpenAIModel(
        server, name, continuation=mode, dialect=LLAMA_CPP, **{"prompt": Prompt(), **settings}
    )


def problems(count=3):
    return [*generate(CHAIN, count, seed=21), *generate(CHAIN_HARD, count, seed=21)]


async def at_one_go(model, question):
    """The whole solution by one request, without a stop."""
    answer = await model.continue_text(question, "", 900)
    return answer.text


@pytest.mark.parametrize("token_ids", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_a_solution_in_steps_is_the_solution_at_one_go(servers, mode, token_ids):
    writer = model(servers, "strong", mode, token_ids=token_ids)
    (policy,) = parse_policies("weak")
    router = Router(weak=writer, strong=writer, policy=policy, config=RouterConfig(sampling=GREEDY))
    several = 0
    for problem in problems():
        trace = router.solve(problem.question)
        whole = asyncio.run(at_one_go(writer, problem.question))
        assert [step.text for step in trace.steps] == split_steps(whole)
        several += len(trace.steps) > 3
    assert several > 3


def test_tokens_are_sent_where_the_model_goes_on_by_itself(servers):
    writer = model(servers)
    sent = []
    ask = writer.server.post

    async def listening(path, body, read):
        sent.append((path, body))
        return await ask(path, body, read)

    writer.server.post = listening
    prefix = Prefix(problems()[0].question)
    first = asyncio.run(writer.write_step(prefix, GREEDY, 0))
    asyncio.run(writer.write_step(prefix.then(first.text), GREEDY, 0))
    foreign = prefix.then("1) add 3: 4 + 3 = 7.")
    asyncio.run(writer.write_step(foreign, GREEDY, 0))
    paths = [path for path, _ in sent if path != "//detokenize"]
    assert paths == ["//tokenize", "/completions", "/completions", "//tokenize", "/completions"]
    spelled = [tuple(body["tokens"]) for path, body in sent if path == "//detokenize"]
    assert len(set(spelled)) == len(spelled) <= 2 * 3  # Each token at most once.
    prompts = [body["prompt"] for path, body in sent if path == "/completions"]
    assert prompts[1][: len(prompts[0])] == prompts[0]
    assert len(prompts[1]) == len(prompts[0]) + first.tokens


@pytest.mark.parametrize("mode", MODES)
def test_steps_and_figures_are_those_of_the_engine_in_this_process(servers, embedded, mode):
    writer = model(servers, "weak", mode, entropy=True)
    for problem in problems(2):
        prefix = Prefix(problem.question)
        for step in (*problem.steps[:2], None):
            there = asyncio.run(writer.write_step(prefix, SAMPLING, 3))
            here = asyncio.run(embedded.weak.write_step(prefix, SAMPLING, 3))
            assert (there.text, there.ending) == (here.text, here.ending)
            assert (there.tokens, there.prompt_tokens) == (here.tokens, here.prompt_tokens)
            assert there.log_probability == pytest.approx(here.log_probability, abs=1e-3)
            assert there.first_entropy == pytest.approx(here.first_entropy, abs=1e-3)
            assert 0 <= there.cached_tokens <= there.prompt_tokens
            if step:
                prefix = prefix.then(step)


def test_cached_tokens_are_told(servers):
    writer = model(servers)
    prefix = Prefix(problems()[0].question)
    asyncio.run(writer.write_step(prefix, GREEDY, 0))
    assert asyncio.run(writer.write_step(prefix, GREEDY, 0)).cached_tokens > 5


@pytest.mark.parametrize("mode", MODES)
def test_a_step_is_cut_by_its_limit(servers, mode):
    step = asyncio.run(
        model(servers, "weak", mode).write_step(
            Prefix(problems()[0].question), Sampling(0.0, 1.0, 0, 4), 0
        )
    )
    assert (step.ending, step.tokens) == (Ending.LENGTH, 4)


def test_a_problem_that_does_not_fit_says_so(servers):
    with pytest.raises(ContextExceeded, match="context"):
        asyncio.run(model(servers).write_step(Prefix("a " * 3000), GREEDY, 0))


def test_a_path_that_is_not_there_is_refused_at_once(servers):
    writer = OpenAIModel(
        HttpServer(servers["weak"].url + "/nowhere"),
        "weak",
        continuation=MODES[1],
        dialect=LLAMA_CPP,
        prompt=Prompt(),
    )
    with pytest.raises(ModelUnavailable, match="404"):
        asyncio.run(writer.write_step(Prefix("1 + 1?"), GREEDY, 0))
    assert writer.server.requests == 1


@pytest.mark.parametrize("mode", MODES)
def test_the_probe_takes_the_modes_that_the_server_has(servers, mode):
    assert asyncio.run(probe(model(servers, "weak", mode))).continuation is mode


def test_a_mode_that_the_kind_of_server_lacks_is_refused(servers):
    with pytest.raises(InvalidInput, match="they take completions, prefill, user_turn"):
        model(servers, "weak", Continuation.PREFIX)


def test_label_scores_are_those_of_the_engine_in_this_process(servers, embedded):
    scorer = HttpLabelScorer(model(servers, "scorer"))
    for problem in problems(2):
        prefix = Prefix(problem.question, problem.steps[:3])
        written = [object()] * 2
        there = asyncio.run(scorer.score(prefix, written))
        here = asyncio.run(embedded.scorers["prm"].score(prefix, written))
        assert there.values == pytest.approx(here.values, abs=1e-3)
        assert (there.prompt_tokens, there.tokens) == (here.prompt_tokens, here.tokens)


def test_a_router_works_with_all_parts_over_http(servers, embedded):
    (policy,) = parse_policies("thr:0.8")
    weak, strong = model(servers), model(servers, "strong")
    label = HttpLabelScorer(model(servers, "scorer"))
    local = Router(
        weak=embedded.weak,
        strong=embedded.strong,
        scorer=embedded.scorers["prm"],
        policy=policy,
        config=RouterConfig(sampling=SAMPLING),
    )
    rewritten = 0
    for problem in problems(2):
        trace = Router(
            weak=weak,
            strong=strong,
            scorer=label,
            policy=policy,
            config=RouterConfig(sampling=SAMPLING),
        ).solve(problem.question)
        same = local.solve(problem.question)
        assert trace.solution == same.solution
        assert trace.usage["strong"].tokens == same.usage["strong"].tokens
        assert trace.usage["weak"].tokens == same.usage["weak"].tokens
        rewritten += sum(step.author is Author.STRONG for step in trace.steps)
    assert rewritten > 2


@pytest.mark.parametrize("kind", ["grade", "logprob"])
def test_other_scores_are_shares(servers, kind):
    (policy,) = parse_policies("thr:0.9")
    strong = model(servers, "strong")
    scorer = HttpGradeScorer(strong) if kind == "grade" else LogProbabilityScorer()
    trace = Router(
        weak=model(servers),
        strong=strong,
        scorer=scorer,
        policy=policy,
        config=RouterConfig(sampling=SAMPLING),
    ).solve(problems()[0].question)
    assert trace.scorer == kind
    assert all(0 <= step.score <= 1 for step in trace.steps)
    assert (trace.scorer_tokens > 0) == (kind == "grade")


async def test_many_problems_at_a_time_share_connections(servers):
    weak, strong = model(servers), model(servers, "strong")
    (policy,) = parse_policies("random:0.5")
    router = Router(weak=weak, strong=strong, policy=policy, config=RouterConfig(sampling=SAMPLING))
    traces = await asyncio.gather(*(router.asolve(p.question) for p in problems()))
    assert all(trace.steps for trace in traces)
    assert not weak.server.faults


def test_a_text_is_continued_in_the_middle_of_a_step(servers):
    """The whole of what is said is read: nothing is put between it and what follows."""
    for mode in MODES:
        writer = model(servers, "strong", mode)
        question = problems()[0].question
        whole = asyncio.run(writer.continue_text(question, "", 60)).text.partition(SEPARATOR)[0]
        half = whole[: len(whole) // 2].rpartition(" ")[0]
        assert asyncio.run(writer.continue_text(question, half, 60)).text.startswith(
            whole[len(half) :]
        )


# Inside a step


def decoded_by(server):
    """Tokens that the server has decoded so far, by its own count."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as answer:
        counts = re.search(rb"^llamacpp:tokens_predicted_total (\d+)", answer.read(), re.MULTILINE)
    return int(counts[1])


class Keep:
    """A rule that keeps so many tokens."""

    def __init__(self, count):
        self.count = count

    def __call__(self, tokens):
        return self.count if len(tokens) > self.count else None


@pytest.mark.parametrize("token_ids", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_a_span_without_a_rule_is_the_step(servers, embedded, mode, token_ids):
    there = model(servers, "weak", mode, token_ids=token_ids, entropy=True)
    for problem in problems(4):
        prefix = Prefix(problem.question, problem.steps[:2])
        step = asyncio.run(there.write_step(prefix, SAMPLING, 3))
        span = asyncio.run(there.write_span(prefix, SAMPLING, 3))
        here = asyncio.run(embedded.weak.write_span(prefix, SAMPLING, 3))
        assert (span.text, span.ending) == (step.text, step.ending) == (here.text, here.ending)
        assert span.tokens == step.tokens == here.tokens
        assert span.prompt_tokens == step.prompt_tokens == here.prompt_tokens
        assert "".join(token.text for token in span.decoded) == span.text
        assert [token.id for token in span.decoded] == [token.id for token in here.decoded]
        for mine, other in zip(span.decoded, here.decoded, strict=True):
            assert mine.log_probability == pytest.approx(other.log_probability, abs=1e-2)
            assert len(mine.likeliest) == 20
        assert span.log_probability == pytest.approx(here.log_probability, abs=1e-2)
        assert span.first_entropy == pytest.approx(here.first_entropy, abs=1e-2)


@pytest.mark.parametrize("mode", MODES)
def test_a_solution_that_ends_by_itself_ends_a_span(servers, mode):
    writer = model(servers, "strong", mode)
    problem = problems()[0]
    prefix = Prefix(problem.question, problem.steps[:-1])
    step = asyncio.run(writer.write_step(prefix, GREEDY, 0))
    span = asyncio.run(writer.write_span(prefix, GREEDY, 0))
    assert (span.text, span.ending, span.tokens) == (step.text, Ending.SOLUTION, step.tokens)
    assert "".join(token.text for token in span.decoded) == span.text
    assert len(span.decoded) == span.tokens - 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kept", [1, 4, 9])
def test_a_rule_stops_decoding_and_the_rest_is_as_without_it(servers, mode, kept):
    writer = model(servers, "strong", mode, token_ids=False)
    for problem in problems(2):
        prefix = Prefix(problem.question, problem.steps[:1])
        whole = asyncio.run(writer.write_span(prefix, GREEDY, 0))
        cut = asyncio.run(writer.write_span(prefix, GREEDY, 0, Keep(kept)))
        assert (cut.ending, cut.tokens, len(cut.decoded)) == (Ending.RULE, kept + 1, kept)
        assert [token.text for token in cut.dropped] == [whole.decoded[kept].text]
        assert cut.prompt_tokens == whole.prompt_tokens
        rest = asyncio.run(writer.write_span(prefix.inside(cut.text), GREEDY, 0))
        assert cut.text + rest.text == whole.text
        assert (rest.ending, rest.tokens) == (whole.ending, whole.tokens - kept)
        assert 0 < rest.cached_tokens <= rest.prompt_tokens == whole.prompt_tokens + kept


async def test_the_server_itself_stops_at_the_token(servers):
    """By its own count, with text for hundreds of tokens before it."""
    writer = model(servers, "weak")
    long = Sampling(0.0, 1.0, 0, 500)
    prefix = Prefix(problems()[0].question)
    body = {"logit_bias": [["\n", False]]}  # no line end: a step without an end
    endless = model(servers, "weak", extra_body=body)
    before = decoded_by(servers["weak"])
    whole = await endless.write_span(prefix, long, 0)
    assert whole.tokens == decoded_by(servers["weak"]) - before > 200
    spent = []
    for _ in range(3):  # on a busy machine one of them may hear late that its client has left
        before = decoded_by(servers["weak"])
        cut = await endless.write_span(prefix, long, 0, Keep(5))
        assert (cut.tokens, len(cut.decoded)) == (6, 5)
        await writer.write_span(prefix, Sampling(0.0, 1.0, 0, 1), 0)  # after the stopped one
        spent.append(decoded_by(servers["weak"]) - before)
    assert min(spent) < 60


@pytest.mark.parametrize("mode", MODES)
def test_a_step_goes_on_behind_white_space(servers, mode):
    """Neither server nor template trims what a step begins with."""
    writer = model(servers, "strong", mode)
    question = problems()[0].question
    whole = asyncio.run(writer.write_step(Prefix(question), GREEDY, 0)).text
    for begun in (whole[: whole.index(" ") + 1], whole.removesuffix("\n")):
        span = asyncio.run(writer.write_span(Prefix(question, begun=begun), GREEDY, 0))
        bare = asyncio.run(writer.write_span(Prefix(question, begun=begun.rstrip()), GREEDY, 0))
        assert span.prompt_tokens > bare.prompt_tokens
    assert span.text.startswith("\n") and span.ending is Ending.STEP


async def test_a_served_model_writes_inside_steps_and_has_a_vocabulary(servers):
    found = set()
    for mode in MODES:
        for name in ("weak", "strong"):
            writer = model(servers, name, mode)
            assert await require_spans(writer) is writer
            found.add(writer.vocabulary)
    assert len(found) == 1 and None not in found
    with pytest.raises(InvalidInput, match="the mode user_turn"):
        await require_spans(model(servers, "weak", Continuation.USER_TURN))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("spec", ["token:0.9", "clause:0.7", "tail:0.9", "random:0.5+tail:0.9"])
def test_routing_inside_steps_is_that_of_the_engines_in_this_process(servers, embedded, mode, spec):
    """The same texts, authors and counts; only the cache differs, which an exact engine lacks."""
    (policy,) = parse_policies(spec)
    config = RouterConfig(sampling=SAMPLING)
    weak, strong = model(servers, "weak", mode), model(servers, "strong", mode)
    calls = 0
    for problem in generate(CHAIN, 8, seed=31):
        there = Router(weak=weak, strong=strong, policy=policy, config=config).solve(
            problem.question
        )
        here = Router(
            weak=embedded.weak, strong=embedded.strong, policy=policy, config=config
        ).solve(problem.question)
        assert there.solution == here.solution
        assert [step.spans for step in there.steps] == [step.spans for step in here.steps]
        for role in ("weak", "strong"):
            mine, other = there.usage[role], here.usage[role]
            assert (mine.tokens, mine.requests) == (other.tokens, other.requests)
            assert mine.prompt_tokens == other.prompt_tokens
        calls += there.usage["strong"].requests
    assert calls > 8


async def test_spans_of_many_problems_share_connections(servers):
    weak, strong = model(servers), model(servers, "strong")
    (policy,) = parse_policies("token:0.9")
    router = Router(weak=weak, strong=strong, policy=policy, config=RouterConfig(sampling=SAMPLING))
    traces = await asyncio.gather(*(router.asolve(p.question) for p in problems()))
    assert all(trace.steps for trace in traces)
    assert not weak.server.faults and not strong.server.faults

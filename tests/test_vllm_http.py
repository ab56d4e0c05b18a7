"""Models and scorers over HTTP, against a real vLLM; skipped where none is named.

`TRIM_VLLM_STRONG` is the address of a vLLM that serves the shipped strong model as a Hugging Face
checkpoint under the name `strong`, with at most 1,024 tokens of context, `TRIM_VLLM_TOKENIZER` that
checkpoint's folder (its chat template: question, blank line, answer), and `TRIM_VLLM_REWARD` the
address of one that serves a `Qwen2ForProcessRewardModel` with the same tokenizer, step tag
`<extra_0>` and at most 512 tokens under the name `prm`.
"""

import asyncio
import os

import pytest

from trim.embedded import load_embedded
from trim.engines.http import HttpServer
from trim.errors import ContextExceeded, InvalidInput
from trim.evaluation.suites import CHAIN, CHAIN_HARD, generate
from trim.models.chat_template import read_chat_template
from trim.models.continuation import Continuation
from trim.models.dialect import VLLM
from trim.models.model import Completion, Ending, Prefix, Sampling
from trim.models.openai import OpenAIModel
from trim.models.probe import probe
from trim.policies.registry import parse_policies
from trim.router import Router
from trim.scorers.pooling import PoolingScorer
from trim.steps import split_steps

NAMES = ("TRIM_VLLM_STRONG", "TRIM_VLLM_TOKENIZER", "TRIM_VLLM_REWARD")
pytestmark = pytest.mark.skipif(
    not all(name in os.environ for name in NAMES), reason=f"no vLLM is named by {', '.join(NAMES)}"
)
GREEDY = Sampling(0.0, 1.0, 0, 96)
MODES = (Continuation.COMPLETIONS, Continuation.CONTINUE_FINAL)
WRITTEN = Completion("a", Ending.STEP, 1, 1)


def strong(mode, **settings):
    template = read_chat_template(os.environ["TRIM_VLLM_TOKENIZER"])
    server = HttpServer(os.environ["TRIM_VLLM_STRONG"])
    return OpenAIModel(server, "strong", mode, VLLM, template=template, **settings)


def reward(**settings):
    template = read_chat_template(os.environ["TRIM_VLLM_TOKENIZER"])
    server = HttpServer(os.environ["TRIM_VLLM_REWARD"])
    return PoolingScorer(server, "prm", template, system=None, **settings)


def problems():
    return [*generate(CHAIN, 3, seed=21), *generate(CHAIN_HARD, 3, seed=21)]


@pytest.mark.parametrize("token_ids", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_a_solution_in_steps_is_the_solution_at_one_go(mode, token_ids):
    writer = strong(mode, token_ids=token_ids)
    (policy,) = parse_policies("weak")
    for problem in problems():
        trace = Router(writer, writer, None, policy, GREEDY).solve(problem.question)
        whole = asyncio.run(writer.go_on(problem.question, "", 900)).text
        assert [step.text for step in trace.steps] == split_steps(whole)


@pytest.mark.parametrize("mode", MODES)
def test_steps_and_figures_are_those_of_llama_cpp(mode):
    embedded = load_embedded(slots=1, exact=True, entropy=True)
    writer = strong(mode, entropy=True)
    for problem in problems():
        prefix = Prefix(problem.question)
        there = asyncio.run(writer.write_step(prefix, GREEDY, 0))
        here = asyncio.run(embedded.strong.write_step(prefix, GREEDY, 0))
        assert (there.text, there.ending) == (here.text, here.ending)
        assert (there.tokens, there.prompt_tokens) == (here.tokens, here.prompt_tokens)
        assert there.log_probability == pytest.approx(here.log_probability, abs=0.01)
        assert there.first_entropy == pytest.approx(here.first_entropy, abs=0.02)


@pytest.mark.parametrize("mode", MODES)
def test_the_probe_takes_the_modes_and_finds_the_cache(mode):
    found = asyncio.run(probe(strong(mode)))
    assert found.continuation is mode
    assert found.cached_tokens > 0


def test_prompts_and_answers_at_the_end_of_the_context():
    writer = strong(Continuation.COMPLETIONS)
    fits = asyncio.run(writer.write_step(Prefix("1 + 1? " * 40), Sampling(0, 1, 0, 1000), 0))
    assert fits.tokens > 0
    with pytest.raises(ContextExceeded, match="maximum context length"):
        asyncio.run(writer.write_step(Prefix("a " * 1500), GREEDY, 0))


def test_a_reward_model_scores_each_step():
    scores = asyncio.run(reward().score(Prefix("q", ("one", "two")), [WRITTEN, WRITTEN]))
    assert len(scores.values) == 2
    assert all(0 <= value <= 1 for value in scores.values)
    assert scores.prompt_tokens > 4
    with pytest.raises(InvalidInput, match="0 scores for 2 steps"):
        asyncio.run(reward(tag="<x>").score(Prefix("q", ("one", "two")), [WRITTEN]))


@pytest.mark.parametrize("limit", [None, 300])
def test_a_trace_that_is_too_long_is_cut(limit):
    scores = asyncio.run(reward(limit=limit).score(Prefix("q", ("ab " * 30,) * 12), [WRITTEN]))
    assert 0 < scores.unread_steps < 12
    assert len(scores.values) == 1


def test_logits_are_the_same_scores():
    trace = Prefix("q", ("one", "two"))
    usual = asyncio.run(reward().score(trace, [WRITTEN]))
    raw = reward(logits=True, extra_body={"use_activation": False})
    assert asyncio.run(raw.score(trace, [WRITTEN])).values == pytest.approx(usual.values, rel=0.01)

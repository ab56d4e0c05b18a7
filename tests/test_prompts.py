"""What models read around a question, by benchmark, configuration and protocol; and who reads the
question alone."""

import asyncio
import json

import pytest
import yaml
from click.testing import CliRunner
from llama_server import PLAIN_CHAT
from staged_server import chat, completion, pooling, staged

from trim.cli.main import main
from trim.configuration.configuration import read_configuration
from trim.configuration.protocol import AUTHORS, INSTRUCTION
from trim.configuration.source import ModelSource
from trim.engines.llama_cpp import LlamaCppEngine
from trim.models.prompt import Prompt
from trim.policies.threshold import Threshold
from trim.rollouts.bank import read_bank
from trim.shipped import FOLDER

QUESTION = "1 + 1 = ?"
ASKED = "Whole numbers only, and in a box."
"""The instruction of the benchmark, which is in no prompt of its own accord."""
CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
FIELDS = ("--question", "q", "--answer", "a", "--grader", "integer", "--instruction", ASKED)
MODES = ("completions", "chat completions", "continue_final", "prefix", "prefill", "user_turn")
TAG = "<extra_0>"


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """With a file of one problem and a chat template; models are not tried before a run."""
    monkeypatch.setattr(ModelSource, "load", ModelSource.build)
    (tmp_path / "set.jsonl").write_text(json.dumps({"q": QUESTION, "a": "2"}) + "\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHAT}))
    return tmp_path


def write(folder, document):
    path = folder / "trim.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def answering(request):
    """All models on one server: two steps for whoever writes, a low score for each step."""
    if request.path.endswith("/pooling"):
        return pooling([[0.6, 0.4]] * request.body["input"].count(TAG))
    if "Grade the last step" in str(request.body.get("messages", "")):
        return chat("5")
    read = json.dumps(request.body)
    text = r"\boxed{2}" if "it is so" in read else "it is so\n\n"
    return completion(text) if "prompt" in request.body else chat(text)


def model(url, mode="completions", **own):
    """A section; `chat completions` are completions behind a chat template."""
    plain = mode.removeprefix("chat ")
    template = {"template": "."} if plain != mode else {}
    return {"api": "openai", "url": url, "model": "m", "continuation": plain, "attempts": 1,
            **template, **own}  # fmt: skip


def scorer(url):
    return {"kind": "pooling", "url": url, "model": "prm", "template": ".", "attempts": 1}


def of_writers(server):
    """What the models were sent to write steps."""
    bodies = [r.body for r in server.requests if not r.path.endswith("/pooling")]
    return [body for body in bodies if "Grade the last step" not in str(body)]


def of_scorers(server):
    writing = of_writers(server)
    return [body for body in server.bodies if body not in writing]


def traces(out):
    return [json.loads(line) for line in (out / "traces.jsonl").read_text().splitlines()]


@pytest.fixture
def seen(monkeypatch):
    """The questions that a policy is shown, before the first step and at each draft."""
    questions = []
    begin, decide = Threshold.begin, Threshold.decide

    def beginning(self, question):
        questions.append(question)
        return begin(self, question)

    def deciding(self, observation):
        questions.append(observation.question)
        return decide(self, observation)

    monkeypatch.setattr(Threshold, "begin", beginning)
    monkeypatch.setattr(Threshold, "decide", deciding)
    return questions


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["pooling", "grade"])
async def test_an_instruction_is_read_by_models_on_servers_and_by_nobody_else(
    folder, seen, mode, kind
):
    async with staged(answering) as server:
        scoring = scorer(server.url) if kind == "pooling" else {"kind": "grade"}
        document = {role: model(server.url, mode) for role in ("weak", "strong")}
        path = write(folder, {**document, "scorer": scoring})
        words = (folder / "set.jsonl", path, *FIELDS)
        policies = ("--policy", "weak", "--policy", "thr:0.9")
        evaluated = await asyncio.to_thread(run, "eval", *words, *policies, "--out", folder / "run")
        assert evaluated.exit_code == 0, evaluated.output
        recorded = await asyncio.to_thread(
            run, "collect", *words, "--rollouts", 3, "--out", folder / "bank"
        )
        assert recorded.exit_code == 0, recorded.output
    assert of_scorers(server) and of_writers(server)
    for body in of_writers(server):
        assert json.dumps(body).count(ASKED) == 1
        assert json.dumps(body).count(json.dumps(f"{QUESTION}\n\n{ASKED}")[1:-1]) == 1
    for body in of_scorers(server):
        assert ASKED not in json.dumps(body) and QUESTION in json.dumps(body)
    assert set(seen) == {QUESTION} and len(seen) > 2
    assert [trace["question"] for trace in traces(folder / "run")] == [QUESTION] * 2
    assert all(trace["correct"] for trace in traces(folder / "run"))
    assert [problem.question for problem in read_bank(folder / "bank").problems] == [QUESTION]
    for name in ("run/run.json", "bank/bank.json"):
        described = json.loads((folder / name).read_text())
        described = described.get("described", described)
        assert described["instruction"] == ASKED
        assert described["prompts"]["weak"]["user"] == f"{{question}}\n\n{ASKED}"


async def test_an_instruction_is_read_by_models_in_process_and_not_by_their_scorer(
    folder, seen, monkeypatch
):
    read = {"weak": [], "strong": [], "scorer": []}
    complete = LlamaCppEngine.complete

    def noting(self, prompt, **settings):
        read[self.path.stem].append(prompt if isinstance(prompt, str) else prompt[0])
        return complete(self, prompt, **settings)

    monkeypatch.setattr(LlamaCppEngine, "complete", noting)
    (folder / "plain").mkdir()
    (folder / "plain" / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": PLAIN_CHAT})
    )
    document = {
        role: {"gguf": str(FOLDER / f"{role}.gguf"), "context": 1024, "template": "plain"}
        for role in ("weak", "strong")
    }
    gguf = {"kind": "label", "gguf": str(FOLDER / "scorer.gguf"), "context": 1024}
    path = write(folder, {**document, "scorer": gguf, "sampling": {"max_tokens": 16},
                          "routing": {"max_steps": 2}})  # fmt: skip
    words = ("--policy", "thr:1", "--out", folder / "run")
    evaluated = await asyncio.to_thread(run, "eval", folder / "set.jsonl", path, *FIELDS, *words)
    assert evaluated.exit_code == 0, evaluated.output
    for role in ("weak", "strong"):
        assert read[role]
        assert all(text.startswith(f"{QUESTION}\n\n{ASKED}\n\n") for text in read[role])
    assert read["scorer"] and all(text.startswith(f"{QUESTION}\n\n") for text in read["scorer"])
    assert not any(ASKED in text for text in read["scorer"])
    assert set(seen) == {QUESTION}
    assert [trace["question"] for trace in traces(folder / "run")] == [QUESTION]


@pytest.mark.parametrize(
    "own, prompt",
    [
        ({"system": "Be brief."}, f"<system>Be brief.<user>{QUESTION}<assistant>"),
        ({"user": "Solve {question} now: {}"}, f"<user>Solve {QUESTION} now: {{}}<assistant>"),
        ({"assistant": "So: "}, f"<user>{QUESTION}<assistant>So: "),
        ({}, f"<user>{QUESTION}\n\n{ASKED}<assistant>"),
    ],
)
async def test_a_model_with_a_prompt_of_its_own_reads_just_that(folder, own, prompt):
    async with staged(answering) as server:
        document = {"weak": model(server.url, "chat completions", name="one", **own),
                    "strong": model(server.url, "chat completions", model="strong")}  # fmt: skip
        words = (folder / "set.jsonl", write(folder, document), *FIELDS)
        result = await asyncio.to_thread(run, "eval", *words, "--out", folder / "run")
    assert result.exit_code == 0, result.output
    asked = {name: [b["prompt"] for b in server.bodies if b["model"] == name] for name in
             ("m", "strong")}  # fmt: skip
    assert asked["m"] == [prompt, f"{prompt}it is so\n\n"]
    usual = f"<user>{QUESTION}\n\n{ASKED}<assistant>"
    assert asked["strong"] == [usual, f"{usual}it is so\n\n"]
    record = json.loads((folder / "run" / "run.json").read_text())["prompts"]
    assert record["weak"]["system"] == own.get("system")
    assert record["strong"]["user"] == f"{{question}}\n\n{ASKED}"


# Protocols


@pytest.mark.parametrize("named", ["configuration", "option", "over the configuration"])
async def test_the_authors_protocol_asks_as_its_authors_do(folder, named):
    async with staged(answering) as server:
        document = {role: model(server.url, "chat completions") for role in ("weak", "strong")}
        document |= {"scorer": scorer(server.url)}
        if named != "option":
            document["protocol"] = "authors" if named == "configuration" else "default"
        option = () if named == "configuration" else ("--protocol", "authors")
        words = (folder / "set.jsonl", write(folder, document), *FIELDS, *option)
        result = await asyncio.to_thread(
            run, "eval", *words, "--policy", "thr:0", "--out", folder / "run"
        )
    assert result.exit_code == 0, result.output
    asked = f"<user>{INSTRUCTION}\nQuestion: {QUESTION}<assistant>"
    assert [body["prompt"] for body in of_writers(server)] == [
        f"{asked}Solution:\n\n",
        f"{asked}Solution: it is so\n\n",
    ]
    scored = f"<system>{INSTRUCTION}<user>{QUESTION}<assistant>it is so{TAG}"
    assert [body["input"] for body in of_scorers(server)] == [
        f"{scored}<assistant>",
        f"{scored}\\boxed{{2}}{TAG}<assistant>",
    ]
    record = json.loads((folder / "run" / "run.json").read_text())
    assert (record["protocol"], record["seed"]) == ("authors", AUTHORS.seed)
    assert record["rules"] == {
        "ends": "box",
        "open_box": True,
        "asks_on": True,
        "rejoins": True,
        "context": 4096,
    }
    assert record["prompts"]["weak"]["user"] == f"{INSTRUCTION}\nQuestion: {{question}}"
    (trace,) = traces(folder / "run")
    assert trace["question"] == QUESTION and trace["correct"]


async def test_a_protocol_is_part_of_what_a_run_and_a_bank_are(folder):
    async with staged(answering) as server:
        document = {role: model(server.url) for role in ("weak", "strong")}
        words = (folder / "set.jsonl", write(folder, {**document, "scorer": {"kind": "grade"}}),
                 *FIELDS)  # fmt: skip
        for command in ("eval", "collect"):
            out = ("--out", folder / command)
            usual = await asyncio.to_thread(run, command, *words, *out)
            assert usual.exit_code == 0, usual.output
            other = await asyncio.to_thread(run, command, *words, *out, "--protocol", "authors")
            assert other.exit_code == 2 and other.stderr.count("\n") == 1
    record = json.loads((folder / "eval" / "run.json").read_text())
    assert (record["protocol"], record["seed"]) == ("default", 0)
    assert read_bank(folder / "collect").identity.described["protocol"] == "default"


async def test_an_answer_in_an_open_box_is_the_authors_only(folder):
    def cut(request):
        return completion(r"so it is \boxed{2", "length")

    async with staged(cut) as server:
        document = {role: model(server.url) for role in ("weak", "strong")}
        words = (folder / "set.jsonl", write(folder, document), *FIELDS, "--policy", "weak")
        found = {}
        for protocol in ("default", "authors"):
            out = folder / protocol
            result = await asyncio.to_thread(
                run, "eval", *words, "--grader", "exact", "--protocol", protocol, "--out", out
            )
            assert result.exit_code == 0, result.output
            (found[protocol],) = traces(out)
    ends = {name: (trace["answer"], trace["finish"]) for name, trace in found.items()}
    assert ends == {"default": (None, "length"), "authors": ("2", "answer")}


def test_the_shipped_models_can_be_run_by_the_authors_rules(tmp_path):
    words = ("-n", 1, "--policy", "weak", "--protocol", "authors", "--out", tmp_path / "run")
    result = run("eval", "chain", *words)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["protocol"], record["seed"]) == ("authors", 10)
    named = run("eval", "chain", *words[:-1], tmp_path / "other", "--seed", 3)
    assert named.exit_code == 0, named.output
    assert json.loads((tmp_path / "other" / "run.json").read_text())["seed"] == 3


@pytest.mark.parametrize("command", ["eval", "collect"])
def test_an_unknown_protocol_is_one_line_and_nothing_is_written(folder, command):
    section = model("http://127.0.0.1:9")
    known = {"weak": section, "strong": section}
    out = ("--out", folder / "out")
    for document, words in (
        (known, ("--protocol", "author")),
        ({**known, "protocol": "author"}, ()),
        (known, ("--set", "protocol=author")),
    ):
        path = write(folder, document)
        before = sorted(folder.rglob("*"))
        refused = run(command, folder / "set.jsonl", path, *FIELDS, *out, *words)
        assert refused.exit_code == 2
        assert refused.stderr.startswith("trim: ") and refused.stderr.count("\n") == 1
        assert "'author'" in refused.stderr and "default, authors" in refused.stderr
        assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("role", ["weak", "strong", "intermediate"])
def test_a_user_template_without_the_question_is_one_line_and_nothing_is_written(folder, role):
    section = model("http://127.0.0.1:9")
    wrong = {**section, "user": "Solve it: {problem}"}
    document = {
        "weak": section,
        "strong": section,
        role: [wrong] if role == "intermediate" else wrong,
    }
    path = write(folder, document)
    before = sorted(folder.rglob("*"))
    for command in ("eval", "collect"):
        refused = run(command, folder / "set.jsonl", path, *FIELDS, "--out", folder / "out")
        assert refused.exit_code == 2
        assert refused.stderr.startswith("trim: ") and refused.stderr.count("\n") == 1
        assert f"{role}" in refused.stderr and "lacks {question}" in refused.stderr
    assert sorted(folder.rglob("*")) == before


def test_prompts_of_the_authors_go_before_a_models_own_and_those_before_a_benchmarks(folder):
    section = model("http://127.0.0.1:9", "chat completions")
    own = {**section, "system": "Be brief."}
    benchmarks = Prompt(user="{question} Go!")
    for protocol, prompts in (
        ("default", (Prompt("Be brief."), benchmarks)),
        ("authors", (AUTHORS.prompt, AUTHORS.prompt)),
    ):
        path = write(folder, {"weak": own, "strong": section, "protocol": protocol})
        source = ModelSource(read_configuration(path, (), {}), folder)
        models = source.with_task(benchmarks).build()
        assert (models.weak.prompt, models.strong.prompt) == prompts
    path = write(folder, {"weak": own, "strong": section})
    chatting = ModelSource(read_configuration(path, (), {}), folder).build()
    assert (chatting.weak.prompt, chatting.strong.prompt) == (Prompt("Be brief."), Prompt())

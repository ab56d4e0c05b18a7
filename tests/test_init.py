"""`trim init`: from two models to a configuration that `trim check` passes."""

import os
import pty
import shutil
import subprocess
import sys

import pytest
import yaml
from click.testing import CliRunner
from llama_server import PLAIN_CHAT, start
from staged_server import Reply, chat, completion, staged, usage

from trim.checks.separation import Separation
from trim.cli.main import main
from trim.configuration.configuration import read_configuration
from trim.engines.http import HttpServer
from trim.errors import InvalidInput
from trim.models.discovery import discover
from trim.setup.notation import FileSource, ServerSource, ServiceSource, parse_source
from trim.setup.scorers import choose_kind, threshold_for
from trim.setup.sections import SYSTEM, describe
from trim.shipped import FOLDER

pytestmark = pytest.mark.usefixtures("puzzles_alone")

SECRET = "Zx81-very-secret-indeed"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with the shipped models' files."""
    for name in ("weak", "strong", "scorer"):
        shutil.copy(FOLDER / f"{name}.gguf", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def passes(path):
    result = run("check", path)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_two_files_become_a_configuration_that_works(folder):
    result = run("init", "weak.gguf", "strong.gguf")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.endswith(
        'trim.yaml is written. Next: trim solve "What is 17 * 23?" trim.yaml\n'
    )
    text = (folder / "trim.yaml").read_text()
    document = yaml.safe_load(text)
    assert document["weak"] == {"gguf": "weak.gguf", "context": 1024}
    assert document["strong"] == {"gguf": "strong.gguf", "context": 1024}
    assert document["scorer"] == {"kind": "logprob"}
    assert document["sampling"] == {"max_tokens": 128}
    family, _, threshold = document["routing"]["policy"].partition(":")
    assert family == "thr" and 0.5 < float(threshold) < 1
    assert all(line.startswith("#") for line in text.splitlines()[:4])
    table = passes("trim.yaml")
    assert [line for line in result.stdout.splitlines() if "recommended" in line] == [
        line for line in table.splitlines() if "recommended" in line
    ]
    solved = run("solve", "Write down 13. 1) add 4. 2) last, multiply by 3. What is the result?",
                 "trim.yaml")  # fmt: skip
    assert "Answer" in solved.stdout


def test_a_reward_model_may_be_named_and_paths_are_seen_from_the_file(folder):
    (folder / "below").mkdir()
    out = folder / "below" / "mine.yaml"
    words = ("init", "weak.gguf", folder / "strong.gguf", "--scorer", "scorer.gguf", "--out", out)
    result = run(*words)
    assert result.exit_code == 0, result.stderr
    document = yaml.safe_load(out.read_text())
    assert document["weak"]["gguf"] == "../weak.gguf"
    assert document["strong"]["gguf"] == str(folder / "strong.gguf")
    assert document["scorer"]["kind"] == "label"
    passes(out)


def test_where_no_scorer_is_fit_the_file_is_written_and_that_is_said(folder):
    result = run("init", "weak.gguf", "strong.gguf", "--scorer", "grade")
    assert result.exit_code == 1
    assert "trim: scorer grade: " in result.stderr and "0.7 or more are needed" in result.stderr
    assert "recommended scorer: logprob" in result.stdout
    assert "trim.yaml is written, but not all of it works" in result.stdout
    assert yaml.safe_load((folder / "trim.yaml").read_text())["scorer"] == {"kind": "grade"}
    assert run("check", "trim.yaml").exit_code == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a weak and a strong model, each a GGUF file"),
        (["weak.gguf"], "name a weak and a strong model, each a GGUF file"),
        (["missing.gguf", "strong.gguf"], "missing.gguf: no readable model file"),
        (["weak", "strong.gguf"], "weak: 'weak' is not a model; name a GGUF file"),
        (["weak.gguf", "anthropic:"], "strong: name a model of the service, as anthropic:MODEL"),
        (["weak.gguf", "anthropic:claude"], "the environment variable ANTHROPIC_API_KEY holds no"),
        (["weak.gguf", f"http://user:{SECRET}@host/v1#m"], "strong: host: a URL must not hold"),
        (["weak.gguf", "http://127.0.0.1:9/v1#m"], "127.0.0.1:9: no answer"),
        (["weak.gguf", "strong.gguf", "--strong-key-variable", f"sk-{SECRET}"],
         "--strong-key-variable: must be the name of an environment variable"),
        (["weak.gguf", "strong.gguf", "--scorer", "nonsense"], "--scorer: 'nonsense' is not"),
        (["weak.gguf", "strong.gguf", "--scorer", "weak.gguf", "--out", "nowhere/a.yaml"],
         "--out nowhere/a.yaml: nowhere does not exist"),
        (["weak.gguf", "strong.gguf", "--out", "a.json"], "--out a.json: must end in .yaml"),
        (["weak.gguf", "strong.gguf", "--out", "there.yaml"], "there.yaml exists; "),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_nothing_is_written(folder, monkeypatch, words, message):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    (folder / "there.yaml").write_text("mine")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    result = run("init", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith("trim: ") and result.stderr.count("\n") == 1
    assert message in result.stderr
    assert SECRET not in result.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_file_is_replaced_by_force_alone(folder):
    (folder / "trim.yaml").write_text("mine")
    assert run("init", "weak.gguf", "strong.gguf", "--force").exit_code == 0
    assert "weak.gguf" in (folder / "trim.yaml").read_text()


def test_a_terminal_is_asked(folder):
    here, there = pty.openpty()
    command = [sys.executable, "-c", "from trim.cli.main import main; main()", "init"]
    with subprocess.Popen(command, stdin=there, stdout=there, stderr=there) as process:
        os.close(there)
        said = b""
        for question, answer in ((b"Weak model", b"weak.gguf\n"), (b"Strong", b"strong.gguf\n")):
            while question not in said:
                said += os.read(here, 1024)
            os.write(here, answer)
        while True:
            try:
                said += os.read(here, 1024)
            except OSError:  # its end
                break
    os.close(here)
    assert process.returncode == 0, said
    assert b"trim.yaml is written" in said
    assert read_configuration(folder / "trim.yaml").strong.gguf.name == "strong.gguf"


def test_two_servers_become_a_configuration_that_works(tmp_path, monkeypatch):
    """llama.cpp's real server, with and without a chat template that the shipped models read."""
    monkeypatch.chdir(tmp_path)
    servers = [start("weak", slots=2), start("strong", slots=2, template=PLAIN_CHAT)]
    result = run("init", *(f"{server.url}/v1#any" for server in servers))
    assert result.exit_code == 0, result.stderr
    document = yaml.safe_load((tmp_path / "trim.yaml").read_text())
    for role in ("weak", "strong"):
        assert document[role]["server"] == "llama_cpp"
        assert document[role]["concurrency"] == 2
    assert document["weak"]["continuation"] == "completions"
    assert document["scorer"] == {"kind": "logprob"}
    passes("trim.yaml")


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("a/weak.gguf", FileSource),
        ("http://h:8000", ServerSource),
        ("https://h/v1#owner/name", ServerSource),
        ("openai:gpt", ServiceSource),
    ],
)
def test_a_model_in_one_word(text, source):
    assert isinstance(parse_source(text, "weak"), source)


def models(*entries):
    return {"data": [{"id": name, "owned_by": owner} for name, owner in entries]}


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ({"/v1/models": models(("m", "vllm"))}, "vllm"),
        ({"/v1/models": models(("m", "sglang"))}, "sglang"),
        ({"/v1/models": models(("m", "llamacpp"))}, "llama_cpp"),
        ({"/props": {"default_generation_settings": {}, "total_slots": 3}}, "llama_cpp"),
        ({"/version": {"version": "0.11.0"}}, "vllm"),
        ({"/get_model_info": {"model_path": "m"}}, "sglang"),
        ({"/info": {"model_id": "m", "max_input_tokens": 5}}, "tgi"),
        ({"/v1/models": models(("m", "someone"))}, "other"),
        ({"/v1/models": [], "/props": "?", "/version": {}}, "other"),
        ({}, "other"),
    ],
)
async def test_the_kind_of_a_server_is_found_out(answers, kind):
    def answer(request):
        assert request.method == "GET"
        return answers.get(request.path, Reply({"detail": "no"}, status=404))

    async with staged(answer) as server:
        found = await discover(HttpServer(server.url))
    assert found.kind == kind
    assert found.models == (("m",) if "m" in str(answers.get("/v1/models")) else ())
    assert found.slots == (3 if "total_slots" in str(answers) else None)


def continuing(request, listed=("m",)):
    """A vLLM that continues chats, and answers plain questions rightly."""
    if request.method == "GET":
        names = models(*((name, "vllm") for name in listed))
        return names if request.path == "/v1/models" else Reply({}, status=404)
    if not request.path.endswith("/chat/completions"):
        return Reply({"error": {"message": "no such route"}}, status=404)
    messages = request.body["messages"]
    if messages[-1]["role"] == "assistant":
        counts = usage(len(messages[-1]["content"]))
        return chat(" five, six", counts=counts) if "continue_final_message" in request.body else (
            Reply({"error": {"message": "no"}}, status=400)
        )  # fmt: skip
    return chat("one, two")


async def test_the_continuation_of_a_server_is_found_out_by_trying(tmp_path, monkeypatch):
    monkeypatch.setenv("A_KEY", SECRET)
    async with staged(continuing) as server:
        source = parse_source(server.url, "weak")
        section = await describe(source, "weak", "A_KEY", tmp_path, [])
        assert section == {
            "api": "openai", "url": server.url, "server": "vllm", "model": "m",
            "key_variable": "A_KEY", "continuation": "continue_final", "system": SYSTEM,
        }  # fmt: skip
        assert {request.headers["Authorization"] for request in server.requests} == {
            f"Bearer {SECRET}"
        }


async def test_one_of_several_models_must_be_named(tmp_path):
    async with staged(lambda request: continuing(request, ("a", "b"))) as server:
        with pytest.raises(InvalidInput, match=r"name one of its models, as .*#MODEL; .*: a, b"):
            await describe(parse_source(server.url, "weak"), "weak", None, tmp_path, [])


async def test_a_model_that_thinks_is_told_not_to(tmp_path):
    def thinking(request):
        if request.method == "GET":
            return continuing(request)
        if request.body.get("chat_template_kwargs") == {"enable_thinking": False}:
            return continuing(request)
        return chat("five", message={"reasoning_content": "Hm."})

    async with staged(thinking) as server:
        source = parse_source(f"{server.url}#m", "weak")
        section = await describe(source, "weak", None, tmp_path, [])
    assert (section["continuation"], section["thinking_off"]) == ("continue_final", "template")


async def test_a_server_by_which_nothing_works_is_one_line(tmp_path):
    def anew(request):
        return continuing(request) if request.method == "GET" else completion("one, two")

    async with staged(anew) as server:
        with pytest.raises(InvalidInput, match="weak: no continuation works: ") as caught:
            await describe(parse_source(server.url, "weak"), "weak", None, tmp_path, [])
    assert "\n" not in str(caught.value)


def test_the_threshold_is_halfway_between_right_and_wrong():
    assert threshold_for(Separation((0.9,) * 5, (0.5,) * 5)) == 0.7
    assert threshold_for(Separation((0.9,) * 20, (0.5,))) == 0.9
    assert threshold_for(Separation((1.0,) * 20, ())) == 0.99
    assert threshold_for(Separation((), ())) == threshold_for(None) == 0.5


def test_without_a_fit_scorer_the_one_that_may_be_is_chosen():
    unfit, few = Separation((0.6,) * 9, (0.5,) * 4 + (0.7,) * 5), Separation((0.9,) * 9, ())
    worse = Separation((0.5,) * 9, (0.9,) * 9)
    assert choose_kind({"logprob": worse, "grade": unfit}) == "grade"
    assert choose_kind({"logprob": worse, "entropy": few, "grade": unfit}) == "entropy"
    assert choose_kind({}) == "grade"

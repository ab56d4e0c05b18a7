"""`trim check` against llama.cpp's real server with the shipped models, and against staged ones."""

import asyncio
import json

import pytest
import yaml
from click.testing import CliRunner
from llama_server import PLAIN_CHAT, start
from staged_server import Reply, completion, pooling, staged, usage

from trim.cli import main
from trim.commands.check import COLUMNS
from trim.configuration.check import TOKENS, check, miscounted
from trim.configuration.configuration import read_configuration
from trim.embedded import FOLDER, SAMPLING
from trim.models.model import Completion, Ending
from trim.models.probe import Verdict

CHAT = {"chat_template": PLAIN_CHAT}


@pytest.fixture(scope="module")
def servers():
    return {
        name: start(name, slots=2, template=PLAIN_CHAT) for name in ("weak", "strong", "scorer")
    }


def served(servers, name, **fields):
    return {
        "api": "openai", "server": "llama_cpp", "url": servers[name].url, "model": name,
        "continuation": "completions", "concurrency": 2, **fields,
    }  # fmt: skip


def label(servers, **fields):
    section = served(servers, "scorer", kind="label", **fields)
    del section["api"], section["continuation"]
    return section


def document(servers, **fields):
    return {
        "weak": served(servers, "weak"),
        "strong": served(servers, "strong", continuation="prefill"),
        "scorer": [label(servers), {"kind": "logprob"}, {"kind": "entropy"}],
        "sampling": {"max_tokens": 96},
        **fields,
    }


def write(folder, content):
    path = folder / "trim.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def checked(folder, content):
    configuration = read_configuration(write(folder, content), (), {})
    return {each.part: each for each in asyncio.run(check(configuration, SAMPLING))}


def test_what_works_is_found_to_work(tmp_path, servers):
    between = [{"gguf": str(FOLDER / "weak.gguf"), "context": 1024}]
    found = checked(tmp_path, document(servers, between=between))
    assert list(found) == [
        "weak", "between.0", "strong", "scorer label", "scorer logprob", "scorer entropy",
    ]  # fmt: skip
    assert not [each.failure for each in found.values() if each.failure]
    assert all(each.reachable for each in found.values())
    for part, mode in (
        ("weak", "completions"), ("between.0", "completions"), ("strong", "prefill")
    ):  # fmt: skip
        each = found[part]
        assert (each.continuation, each.verdict) == (mode, Verdict.UNCLEAR)
        read, written = each.tokens
        assert read > 10 and 1 <= written <= TOKENS
        assert each.cached > 0
        assert each.milliseconds > 0
    right, wrong = found["scorer label"].scores
    assert right > 0.5 > wrong
    assert found["scorer label"].milliseconds > 0
    for kind in ("logprob", "entropy"):
        assert len(found[f"scorer {kind}"].scores) == 3
        assert all(0 <= score <= 1 for score in found[f"scorer {kind}"].scores)


def test_the_command_prints_a_table_and_a_line_for_each_failure(tmp_path, servers):
    path = str(write(tmp_path, document(servers)))
    good = CliRunner().invoke(main, ["check", path])
    assert good.exit_code == 0, good.stderr
    assert good.stderr == ""
    header, _, *rows = [line for line in good.stdout.splitlines() if line.strip()]
    assert header.split() == [*COLUMNS[:5], "right", "/", "wrong", "ms"]
    assert [row.split()[0] for row in rows] == ["weak", "strong", "scorer", "scorer", "scorer"]
    bad = CliRunner().invoke(main, ["check", path, "--set", "strong.url=http://127.0.0.1:9"])
    assert bad.exit_code == 1
    assert "…" not in bad.stdout
    (line,) = bad.stderr.splitlines()
    assert line.startswith("trim: strong: 127.0.0.1:9: no answer in 2 attempts")
    assert " no " in next(row for row in bad.stdout.splitlines() if row.startswith(" strong"))


def test_one_part_that_fails_hides_no_other(tmp_path, servers):
    found = checked(
        tmp_path,
        document(
            servers,
            weak={"gguf": str(tmp_path / "missing.gguf")},
            scorer=[
                label(servers, right="yes", wrong="no"),
                {"kind": "grade"},
                {"kind": "logprob"},
            ],
        ),
    )
    assert "missing.gguf: no readable model file" in found["weak"].failure
    assert found["strong"].failure is None
    assert "neither 'yes' nor 'no' is among the next" in found["scorer label"].failure
    assert found["scorer label"].reachable
    assert found["scorer logprob"].failure is None
    assert len(found["scorer logprob"].scores) == 1


def test_a_scorer_that_prefers_wrong_steps_fails(tmp_path, servers):
    found = checked(tmp_path, document(servers, scorer=label(servers, right="-", wrong="+")))
    assert "wrong steps have the mean score" in found["scorer label"].failure
    assert found["scorer label"].scores[0] < found["scorer label"].scores[1]


def test_the_grade_needs_a_strong_model_that_works(tmp_path, servers):
    strong = served(servers, "strong", url="http://127.0.0.1:9")
    found = checked(tmp_path, document(servers, strong=strong, scorer={"kind": "grade"}))
    assert "and it does not work" in found["scorer grade"].failure


def answered(request):
    """A server that begins anew where it should go on."""
    if request.path.endswith("/pooling"):
        return pooling([])
    return completion("one, two, three, four, five", counts=usage())


async def test_a_mode_that_does_not_work_and_scores_that_are_missing_are_told(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(CHAT))
    async with staged(answered) as server:
        model = {"api": "openai", "server": "vllm", "url": server.url, "model": "m"}
        content = {
            "weak": {**model, "continuation": "completions"},
            "strong": {**model, "continuation": "completions"},
            "scorer": {"kind": "pooling", "url": server.url, "model": "m",
                       "template": str(tmp_path)},
        }  # fmt: skip
        configuration = read_configuration(write(tmp_path, content), (), {})
        weak, _, scorer = await check(configuration, SAMPLING)
    assert weak.reachable
    assert "the mode 'completions' does not work: the model begins anew" in weak.failure
    assert "0 scores for 2 steps" in scorer.failure and "step_tag_id" in scorer.failure
    assert weak.failure.count("\n") == 0


async def test_a_refused_key_is_told_without_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("A_KEY", "Zx81-very-secret-indeed")

    def refuse(request):
        return Reply({"error": {"message": request.headers["Authorization"]}}, status=401)

    async with staged(refuse) as server:
        model = {"api": "openai", "url": server.url, "model": "m", "key_variable": "A_KEY",
                 "continuation": "user_turn"}  # fmt: skip
        configuration = read_configuration(
            write(tmp_path, {"weak": model, "strong": model}), (), {}
        )
        found = await check(configuration, SAMPLING)
    for each in found:
        assert each.reachable and "A_KEY" in each.failure
        assert "Zx81" not in each.failure


@pytest.mark.parametrize(
    ("text", "read", "written", "failure"),
    [
        ("5 + 4 = 9.", 20, 8, None),
        ("", 20, 1, None),
        ("5 + 4 = 9.", 0, 8, "0 prompt tokens are counted for"),
        ("one two three four five six", 20, 0, "0 tokens are counted for 6 words"),
        ("5 + 4 = 9.", 20, 500, "thinks unseen"),
    ],
)
def test_counts_that_cannot_be_right_are_told(text, read, written, failure):
    found = miscounted(Completion(text, Ending.STEP, written, read))
    assert found is None if failure is None else failure in found

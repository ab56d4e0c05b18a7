"""`trim check` against llama.cpp's real server with the shipped models, and against staged ones."""

import asyncio
import io
import json
import re

import pytest
import yaml
from click.testing import CliRunner
from llama_server import PLAIN_CHAT, start
from rich.console import Console
from staged_server import Reply, completion, pooling, staged, usage

from trim.checks.check import check, checkup_of, try_models
from trim.checks.exercises import GENERAL, KINDS, PUZZLES, drafts_of
from trim.checks.findings import Finding
from trim.checks.models import TOKENS, miscounted
from trim.checks.separation import ScorerFitness, Separation
from trim.checks.spans import try_spans
from trim.cli.configure import COLUMNS, WIDTH, findings_table
from trim.cli.main import main
from trim.configuration.configuration import read_configuration
from trim.models.continuation import Continuation
from trim.models.model import Completion, Ending, Token
from trim.models.probe import ProbeResult
from trim.shipped import FOLDER, SAMPLING

CHAT = {"chat_template": PLAIN_CHAT}


@pytest.fixture(scope="module")
def servers():
    return {
        name: start(name, slots=2, template=PLAIN_CHAT) for name in ("weak", "strong", "scorer")
    }


ALL_KINDS = (
    "test_what_works_is_found_to_work",
    "test_more_is_asked_until_there_are_enough_right_and_wrong_steps",
)


@pytest.fixture(autouse=True)
def puzzles(request):
    if request.node.name not in ALL_KINDS:
        request.getfixturevalue("puzzles_alone")


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


def checkup(folder, content):
    configuration = read_configuration(write(folder, content), (), {})
    return asyncio.run(check(configuration, SAMPLING))


def checked(folder, content):
    return {each.part: each for each in checkup(folder, content).findings}


def test_what_works_is_found_to_work(tmp_path, servers):
    intermediate = [{"gguf": str(FOLDER / "weak.gguf"), "context": 1024}]
    scorer = [label(servers), {"kind": "logprob"}]
    found = checked(tmp_path, document(servers, intermediate=intermediate, scorer=scorer))
    assert list(found) == ["weak", "intermediate.0", "strong", "scorer label", "scorer logprob"]
    assert not [each.failure for each in found.values() if each.failure]
    assert all(each.reachable for each in found.values())
    for part, mode in (
        ("weak", "completions"), ("intermediate.0", "completions"), ("strong", "prefill")
    ):  # fmt: skip
        each = found[part]
        assert (each.continuation, each.verdict) == (mode, ProbeResult.UNCLEAR)
        read, written = each.tokens
        assert read > 10 and 1 <= written <= TOKENS
        assert each.cached > 0
        assert each.milliseconds > 0
    assert found["scorer label"].milliseconds > 0
    for kind in ("label", "logprob"):
        separation = found[f"scorer {kind}"].separation
        assert separation.fitness is ScorerFitness.FIT
        right, wrong = separation.means
        assert right > wrong


def test_all_continuations_and_scorers_are_tried_and_the_best_ones_named(tmp_path, servers):
    found = checkup(tmp_path, document(servers, scorer={"kind": "entropy"}))
    assert set(found.tried) == {"logprob", "entropy", "grade"}
    weak, weak_span, strong, strong_span, scorer = found.advice
    assert weak == (
        "weak: continuation completions (unclear) works; also: prefill (unclear), user_turn"
        " (unclear)"
    )
    assert strong.startswith("strong: continuation prefill (unclear) works; also: user_turn")
    for line in (weak_span, strong_span):
        assert re.fullmatch(
            r"(weak|strong): inside a step: a draft stops at a token \((\d+) of (\d+) tokens"
            r" decoded\); continues half a step exactly",
            line,
        )
    assert scorer.startswith("recommended scorer: logprob (")
    assert "; configured: entropy (0." in scorer
    assert "also tried: grade (0." in scorer
    (failure,) = found.failures
    assert failure.startswith("scorer entropy: right steps have the mean score 0.")
    assert "and 0.7 or more are needed; name another scorer" in failure


def test_the_command_prints_a_table_and_a_line_for_each_failure(tmp_path, servers):
    path = str(write(tmp_path, document(servers, scorer=[label(servers), {"kind": "logprob"}])))
    # A pipe has no width; test runners may state one.
    piped = CliRunner(env={"COLUMNS": None})
    good = piped.invoke(main, ["check", path])
    assert good.exit_code == 0, good.stderr
    assert good.stderr == ""
    header, _, *rows = [line for line in good.stdout.splitlines() if line.strip()]
    assert header.split() == [*COLUMNS[:5], "right", "/", "wrong", "AUC", "ms"]
    assert [row.split()[0] for row in rows] == [
        "weak", "strong", "scorer", "scorer",
        "weak:", "weak:", "strong:", "strong:", "recommended",
    ]  # fmt: skip
    bad = piped.invoke(main, ["check", path, "--set", "strong.url=http://127.0.0.1:9"])
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
    assert not found["weak"].reachable
    assert found["strong"].failure is None
    assert "neither 'yes' nor 'no' is among the next" in found["scorer label"].failure
    assert found["scorer label"].reachable
    assert "steps of the weak model, which does not work" in found["scorer logprob"].failure


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"scorer": []}, "scorer: the configuration has none; name one, e.g. `scorer: {kind: "),
        ({"weak": {"gguf": "missing.gguf"}}, "weak: missing.gguf: no readable model file"),
        ({"scorer": {"kind": "label", "gguf": "missing.gguf"}},
         "scorer label: missing.gguf: no readable model file"),
        ({"scorer": {"kind": "joint", "weights": "missing.json", "of":
          {"kind": "label", "gguf": str(FOLDER / "scorer.gguf"), "context": 1024}}},
         "scorer joint: missing.json: cannot read the weights"),
        ({"weak": {"api": "openai", "url": "http://127.0.0.1:9", "model": "m", "server": "vllm",
                   "continuation": "user_turn", "key_variable": "TRIM_TEST_UNSET"}},
         "weak: the environment variable TRIM_TEST_UNSET holds no key"),
        ({"routing": {"router": "missing.json"}}, "routing: "),
        ({"routing": {"policy": "nonsense"}}, "routing: unknown policy 'nonsense'"),
        ({"server": {"belief": "missing.json"}}, "server.belief: missing.json: no such file"),
    ],
)  # fmt: skip
def test_what_is_missing_is_one_line_and_exit_code_1(tmp_path, monkeypatch, changes, line):
    monkeypatch.chdir(tmp_path)
    away = {role: {"gguf": "away.gguf"} for role in ("weak", "strong")}
    content = {**away, "scorer": {"kind": "logprob"}, "sampling": {"max_tokens": 96}, **changes}
    write(tmp_path, content)
    result = CliRunner().invoke(main, ["check", "trim.yaml"])
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert any(each.startswith(f"trim: {line}") for each in lines), lines
    assert "Traceback" not in result.stderr


def test_a_policy_that_needs_no_score_needs_no_scorer(tmp_path, servers):
    content = document(servers, routing={"policy": "random:0.3"})
    del content["scorer"]
    assert not checkup(tmp_path, content).failures


def test_a_scorer_that_prefers_wrong_steps_fails(tmp_path, servers):
    found = checked(tmp_path, document(servers, scorer=label(servers, right="-", wrong="+")))
    assert "check whether the model can grade" in found["scorer label"].failure
    assert found["scorer label"].separation.auc < 0.3


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
        weak, _, scorer = (await check(configuration, SAMPLING)).findings
    assert weak.reachable
    assert "the mode 'completions' does not work: the model starts over" in weak.failure
    assert "0 scores for 2 steps" in scorer.failure and "step_tag_id" in scorer.failure
    assert weak.failure.count("\n") == 0


def test_a_policy_inside_steps_needs_models_that_write_there(tmp_path, servers):
    strong = served(servers, "strong", continuation="user_turn")
    content = {**document(servers, strong=strong), "scorer": {"kind": "logprob"}}
    configuration = read_configuration(write(tmp_path, content), (), {})
    trials = asyncio.run(try_models(configuration, SAMPLING))
    for policy, failures in (("token:0.9", 1), ("thr:0.5+tail:0.9", 1), ("thr:0.5", 0)):
        path = write(tmp_path, {**content, "routing": {"policy": policy}})
        found = checkup_of(read_configuration(path, (), {}), trials, ())
        told = [each for each in found.failures if each.startswith("routing: ")]
        assert len(told) == failures
        assert all("strong cannot write inside a step: the mode user_turn" in each for each in told)
        assert any(each.startswith("strong: cannot write inside a step: ") for each in found.advice)


class Half:
    """Writes `whole` after a question, and `rest` after half a step."""

    name, vocabulary = "half", None

    def __init__(self, whole, rest):
        self.whole, self.rest = whole, rest

    async def span_obstacle(self):
        return None

    async def write_step(self, prefix, sampling, seed):
        raise AssertionError

    async def write_span(self, prefix, sampling, seed, stop=None):
        text = self.rest if prefix.begun else self.whole
        tokens = tuple(Token(each, -0.1) for each in re.findall(r"\s*\S+|\n\n", text))
        return Completion(text, Ending.STEP, len(tokens), 9, decoded=tokens)


@pytest.mark.parametrize(
    ("rest", "line"),
    [
        (" d e f\n\n", "a draft is decoded to its end (8 of 8 tokens decoded); continues half a"
         " step exactly"),
        (" d and so on\n\n", "continues half a step in other words"),
        (" 1) a b c\n\n", "cannot write inside a step: after '1) a b c' it writes"
         " ' 1) a b c\\n\\n', where its whole step has ' d e f\\n\\n'"),
    ],
)  # fmt: skip
async def test_half_a_step_is_given_to_the_model(rest, line):
    trial = await try_spans(Half("1) a b c d e f\n\n", rest), "q", SAMPLING)
    assert trial.half == "1) a b c"
    assert line in trial.line


async def test_a_short_step_is_not_tried():
    trial = await try_spans(Half("a\n\n", ""), "q", SAMPLING)
    assert trial.failure is None
    assert "too short" in trial.line


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
        found = (await check(configuration, SAMPLING)).findings
    for each in found[:2]:
        assert each.reachable and "A_KEY" in each.failure
        assert "Zx81" not in each.failure


@pytest.mark.parametrize(
    ("text", "read", "written", "failure"),
    [
        ("5 + 4 = 9.", 20, 8, None),
        ("5 + 4 = 9.\n\n", 20, 8, None),
        ("", 20, 1, None),
        ("5 + 4 = 9.", 0, 8, "0 prompt tokens are counted for"),
        ("one two three four five six", 20, 0, "0 tokens are counted for 6 words"),
        ("5 + 4 = 9.", 20, 500, "thinks and hides it"),
    ],
)
def test_counts_that_cannot_be_right_are_told(text, read, written, failure):
    found = miscounted(Completion(text, Ending.STEP, written, read))
    assert found is None if failure is None else failure in found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_pairs_differ_in_the_last_step_alone(kind):
    for pair in kind.pairs(24):
        assert pair.right.question == pair.wrong.question
        assert pair.right.steps[:-1] == pair.wrong.steps[:-1]
        assert pair.right.steps[-1] != pair.wrong.steps[-1]
    assert kind.pairs(12) == kind.pairs(24)[:12]


@pytest.mark.parametrize("end", ["", "\n\n"])
def test_puzzles_are_judged_by_their_right_steps(end):
    for exercise, pair in zip(PUZZLES.exercises(12), PUZZLES.pairs(12), strict=True):
        assert pair.right.steps[:-1] == exercise.prefix.steps
        assert exercise.is_right(Completion(pair.right.steps[-1] + end, Ending.STEP, 9, 9))
        assert not exercise.is_right(Completion(pair.wrong.steps[-1] + end, Ending.STEP, 9, 9))


@pytest.mark.parametrize(
    ("text", "ending", "right"),
    [
        ("He has {answer} apples.", Ending.STEP, True),
        ("\\boxed{{{answer}}}\n\n", Ending.STEP, True),
        ("He has 1{answer} apples.", Ending.STEP, False),
        ("He has {answer} apples", Ending.LENGTH, None),
        ("He has {a} apples.", Ending.STEP, None),
        ("I do not know.", Ending.STEP, None),
    ],
)
def test_plain_answers_are_judged_by_their_last_number(text, ending, right):
    exercise, pair = GENERAL.exercises(1)[0], GENERAL.pairs(1)[0]
    a, _, b, _, answer = pair.right.steps[-1].splitlines()[0].rstrip(".").split()
    assert a in exercise.prefix.question and b in exercise.prefix.question
    written = text.format(a=a, answer=answer)
    assert exercise.is_right(Completion(written, ending, 9, 9)) is right


class Sure:
    """Answers every plain question; sure of itself where it is right, or never."""

    def __init__(self, wrong_every):
        self.wrong_every = wrong_every
        self.asked = 0

    async def write_step(self, prefix, sampling, seed):
        self.asked += 1
        (question,) = [
            pair.right for pair, each in zip(GENERAL.pairs(96), GENERAL.exercises(96), strict=True)
            if each.prefix == prefix
        ]  # fmt: skip
        answer = question.steps[-1].splitlines()[0].split()[-1].rstrip(".")
        wrong = self.wrong_every and seed % self.wrong_every == 0
        return Completion(f"It is {'9' * wrong}{answer}.", Ending.SOLUTION, 4, 9)


async def test_more_is_asked_until_there_are_enough_right_and_wrong_steps():
    for wrong_every, asked in ((2, 32), (5, 64), (0, 96)):
        model = Sure(wrong_every)
        written = await drafts_of(model, SAMPLING)
        assert (written.kind, model.asked, len(written.drafts)) == (GENERAL, asked, asked)
        wrong = sum(not draft.right for draft in written.drafts)
        assert wrong == (-(-asked // wrong_every) if wrong_every else 0)


def test_no_table_is_wider_than_80_characters():
    separation = Separation((0.99,) * 5, (0.98,) * 4 + (1.0,))
    rows = [
        Finding(
            "intermediate.10", True, Continuation.CONTINUE_FINAL, (), (1234, 64), 1024, None, 99999
        ),
        Finding("scorer entropy", True, separation=separation, milliseconds=99999),
    ]
    console = Console(width=WIDTH, record=True, file=io.StringIO())
    console.print(findings_table(rows))
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= WIDTH == 80
    assert "…" not in shown and "continue_final" in shown and "0.99 / 0.98" in shown

"""What the authors' script is run against: served models, its folder, and the comparison."""

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import authors_compare
import authors_folder
import authors_servers
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trim.configuration.protocol import INSTRUCTION
from trim.configuration.source import shipped_models
from trim.engines.chat_template import read_chat_template
from trim.engines.http import HttpServer
from trim.errors import ContextExceeded, InvalidInput
from trim.evaluation.benchmarks.data_file import DataFile
from trim.evaluation.suites import CHAIN, generate
from trim.models.continuation import VLLM, Continuation
from trim.models.model import Completion, Ending, Prefix, Sampling
from trim.models.openai import OpenAIModel
from trim.models.prompt import Prompt
from trim.scorers.pooling import PoolingScorer
from trim.shipped import FOLDER
from trim.steps import bare, closed

SCRIPT = Path(authors_servers.__file__)
GREEDY = Sampling(0.0, 1.0, 0, 96)


def chat(question, said):
    """As the authors' script renders a prompt with a template in ChatML."""
    return (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        f"<|im_start|>user\n{INSTRUCTION}\nQuestion: {question}<|im_end|>\n"
        f"<|im_start|>assistant\n{said}"
    )


def later(*steps):
    return "Solution: " + "\n\n".join(steps) + "\n\n"


def start(folder, *options):
    return subprocess.Popen(
        [sys.executable, SCRIPT, "--port-weak=0", "--port-strong=0", "--port-prm=0", *options],
        stdout=subprocess.PIPE,
        cwd=folder,
        text=True,
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Addresses, and the log; the servers must end at SIGTERM."""
    folder = tmp_path_factory.mktemp("served")
    process = start(folder, "--log=served.jsonl", "--seed=3")
    try:
        addresses = json.loads(process.stdout.readline())
        yield {**addresses, "log": folder / "served.jsonl"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def weak(served):
    client = openai.OpenAI(api_key="EMPTY", base_url=f"{served['weak']}/v1", max_retries=0)
    return lambda prompt, **settings: client.completions.create(
        model="weak", prompt=prompt, **{"max_tokens": 96, "temperature": 0, **settings}
    )


@pytest.fixture(scope="module")
def embedded():
    return shipped_models(slots=1, exact=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("authors")
    command = [sys.executable, authors_folder.__file__, folder, "--suite=chain", "-n=3"]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def problems(count=3):
    return list(generate(CHAIN, count, seed=21))


def begun(problem, count):
    """The problem with its first reference steps."""
    return Prefix(problem.question, tuple(map(closed, problem.steps[:count])))


def test_a_list_of_prompts_is_answered_in_its_order_as_the_model_reads_bare_text(weak, embedded):
    asked = [
        *(chat(problem.question, "Solution:\n\n") for problem in problems()),
        *(chat(problem.question, later(*problem.steps[:2])) for problem in problems()),
    ]
    answer = weak(asked, stop=["\n\n"])
    prefixes = [Prefix(problem.question) for problem in problems()]
    prefixes += [begun(problem, 2) for problem in problems()]
    own = [asyncio.run(embedded.weak.write_step(prefix, GREEDY, 0)) for prefix in prefixes]
    assert [choice.index for choice in answer.choices] == list(range(len(asked)))
    assert [choice.text for choice in answer.choices] == [bare(step.text) for step in own]
    assert {(c.finish_reason, c.stop_reason) for c in answer.choices} == {("stop", "\n\n")}
    assert answer.usage.completion_tokens == sum(step.tokens for step in own)
    assert answer.usage.prompt_tokens == sum(step.prompt_tokens for step in own)


def test_endings_are_told_as_vllm_tells_them(weak):
    problem = problems()[0]
    prompt = chat(problem.question, later(*problem.steps[:-1]))
    (ended,) = weak(prompt, stop=["\n\n"]).choices
    assert (ended.finish_reason, ended.stop_reason) == ("stop", None)
    assert "boxed{" in ended.text
    (cut,) = weak(prompt, stop=["\n\n"], max_tokens=4).choices
    assert (cut.finish_reason, cut.stop_reason) == ("length", None)
    (whole,) = weak(
        chat(problem.question, "Solution:\n\n"),
        stop=["\n\n"],
        extra_body={"include_stop_str_in_output": True},
    ).choices
    assert whole.text.endswith("\n\n")
    assert whole.stop_reason == "\n\n"


def test_an_answer_is_a_function_of_the_servers_seed_and_the_prompt(weak):
    prompt = chat(problems()[0].question, "Solution:\n\n")
    texts = {weak(prompt, temperature=2.0, seed=seed).choices[0].text for seed in range(4)}
    assert len(texts) == 1


def test_without_a_seed_answers_are_drawn():
    model = authors_servers.ServedModel(FOLDER / "weak.gguf", "weak")
    prompt = chat(problems()[0].question, "Solution:\n\n")

    async def drawn(seed=None):
        body = {"temperature": 2.0, "max_tokens": 60, "seed": seed}
        return (await model.write(prompt, body)).text

    async def several():
        return {await drawn() for _ in range(4)}, {await drawn(5) for _ in range(3)}

    free, fixed = asyncio.run(several())
    assert len(free) > 1
    assert len(fixed) == 1


@pytest.mark.parametrize(
    "prompt, said",
    [
        ("1 + 1?", "ChatML"),
        ("<|im_start|>user\n1 + 1?<|im_end|>\n", "ChatML"),
        ([[1, 2]], "token ids"),
        ([], "list of texts"),
        (chat("a " * 3000, "Solution:\n\n"), "context length"),
    ],
)
def test_a_prompt_that_cannot_be_served_is_refused(weak, prompt, said):
    with pytest.raises(openai.BadRequestError, match=said):
        weak(prompt)


def test_trim_reads_endings_and_lengths(served, folder):
    """The routers' own client, in its own protocol."""
    server = HttpServer(served["weak"])
    template = read_chat_template(folder / "weak")
    model = OpenAIModel(
        server,
        "weak",
        continuation=Continuation.COMPLETIONS,
        dialect=VLLM,
        template=template,
        prompt=Prompt(),
    )
    problem = problems()[0]
    for count, ending in (0, Ending.STEP), (len(problem.steps) - 1, Ending.SOLUTION):
        step = asyncio.run(model.write_step(begun(problem, count), GREEDY, 0))
        assert step.ending is ending
        assert step.log_probability is not None
    with pytest.raises(ContextExceeded):
        asyncio.run(model.write_step(Prefix("a " * 3000), GREEDY, 0))


def test_pooling_answers_are_the_shipped_scorers(served, folder, embedded):
    template = read_chat_template(folder / "prm")
    scorer = PoolingScorer(HttpServer(served["prm"]), "prm", template=template, system=INSTRUCTION)
    written = [Completion("", Ending.STEP, 1, 1)] * 3
    for problem in problems():
        for steps in problem.steps[:3], (*problem.steps[:2], "3) add 1: 1 + 1 = 77."):
            trace = Prefix(problem.question, tuple(steps))
            there = asyncio.run(scorer.score(trace, written))
            here = asyncio.run(embedded.scorers["prm"].score(trace, written))
            assert there.values == pytest.approx(here.values, abs=1e-9)


def test_a_row_is_the_two_probabilities_of_a_tag(served):
    said = "1) add 1: 1 + 1 = 2.<extra_0><extra_0>2) add 1: 2 + 1 = 3.<extra_0><|im_end|>\n"
    body = {"model": "prm", "input": chat("Start with 1.", said), "truncate_prompt_tokens": 4096}
    request = urllib.request.Request(
        f"{served['prm']}/pooling", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        rows = json.load(answer)["data"][0]["data"]
    assert len(rows) == 3  # the empty step has its own
    assert all(sum(row) == pytest.approx(1) for row in rows)


def test_every_prompt_is_in_the_log_as_it_was_sent(served, weak):
    prompt = chat("Start with 7. 1) last, add 1. What is the result? é ∑", later("a ", "", "\nb"))
    weak([prompt, prompt], stop=["\n\n"], top_p=0.8, extra_body={"top_k": 20})
    records = [json.loads(line) for line in served["log"].read_text().splitlines()]
    same = [record for record in records if record["prompt"] == prompt]
    assert [record["index"] for record in same] == [0, 1]
    assert same[0]["role"] == "weak"
    assert (same[0]["top_p"], same[0]["top_k"], same[0]["max_tokens"]) == (0.8, 20, 96)


def test_servers_name_themselves_and_count_tokens(served):
    with urllib.request.urlopen(f"{served['strong']}/v1/models") as answer:
        assert json.load(answer)["data"][0]["id"] == "strong"
    with urllib.request.urlopen(f"{served['prm']}/health") as answer:
        assert answer.status == 200
    counts = {}
    for text in ("4.", "4.\n\n"):
        body = json.dumps({"prompt": text}).encode()
        with urllib.request.urlopen(f"{served['weak']}/tokenize", body) as answer:
            counts[text] = json.load(answer)["count"]
    assert counts == {"4.": 2, "4.\n\n": 4}


def test_the_servers_end_by_themselves(tmp_path):
    process = start(tmp_path, "--idle-minutes=0.001")
    assert process.wait(60) == 0


def test_an_answer_may_be_disturbed_and_its_usage_count_the_text_alone():
    model = authors_servers.ServedModel(
        FOLDER / "weak.gguf", "weak", seed=1, disturbed=1.0, text_alone=True
    )
    asked = [chat(problem.question, "Solution:\n\n") for problem in problems(40)]

    async def write_all():
        body = {"stop": ["\n\n"], "temperature": 0, "max_tokens": 60}
        return [await model.write(prompt, body) for prompt in asked]

    written = asyncio.run(write_all())
    assert {authors_servers.RULER, authors_servers.EMPTY} < {step.text for step in written}
    assert {(step.cut, step.stop) for step in written} == {
        (True, None),
        (False, None),
        (False, "\n\n"),
    }
    assert all(step.tokens == 0 for step in written if not step.text)
    assert all(step.tokens == asyncio.run(model.count(step.text)) for step in written[:5])


words = st.text(st.characters(codec="utf-8", exclude_characters="<"), max_size=30)


@given(words, st.lists(words, max_size=5))
def test_the_wrapper_comes_off_whole(question, steps):
    said = later(*steps) if steps else "Solution:\n\n"
    taken = "".join(step + "\n\n" for step in steps)
    assert authors_servers.turns(chat(question, said)) == (question, taken)
    tagged = "".join(step + "<extra_0>" for step in steps)
    assert authors_servers.scored_steps(chat(question, tagged + "<|im_end|>\n")) == (
        question,
        steps,
    )


def test_steps_without_content_are_not_read():
    read = authors_servers.bare_prompt(chat("1 + 1?", later("---", "", "1 + 1 = 2.", "***")))
    assert read == "1 + 1?\n\n1 + 1 = 2.\n\n"


def test_the_folder_holds_problems_that_both_programs_read(folder):
    file = DataFile.read(folder / "data" / "gsm8k" / "test.jsonl")
    expected = list(generate(CHAIN, 3, 7))
    for record, problem in zip(file.records, expected, strict=True):
        assert record.text("question") == problem.question
        assert record.text("answer").count("####") == 1
        assert record.text("final") == str(problem.answer)


def test_the_folder_holds_tokenizers(folder):
    tokenizers = pytest.importorskip("tokenizers", reason="the library tokenizers is missing")
    made = tokenizers.Tokenizer.from_file(str(folder / "prm" / "tokenizer.json"))
    assert len(made.encode("4.\n\n<extra_0>").ids) == 5
    assert made.encode("a<extra_0>").ids[-1] == made.token_to_id("<extra_0>")


def test_another_file_than_qwens_gives_no_tokenizer():
    with pytest.raises(InvalidInput, match="Qwen2 tokenizer"):
        authors_folder.gguf_tokenizer(FOLDER / "weak.gguf")


THEIRS = {"accuracy": 0.5, "num_correct": 50, "avg_target_tokens_per_question": 10.0}


def compared(tmp_path, theirs, ours, tokens=(5, 15)):
    """Output of the comparison: `theirs` and `ours` are (accuracy, tokens) by threshold."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").mkdir()
    lines = [
        {
            "threshold": threshold,
            "accuracy": accuracy,
            "num_correct": round(100 * accuracy),
            "avg_target_tokens_per_question": mean,
        }
        for threshold, (accuracy, mean) in theirs.items()
    ]
    (tmp_path / "theirs" / "summary.jsonl").write_text("".join(f"{json.dumps(x)}\n" for x in lines))
    points = [
        {"policy": name, "setting": setting, "accuracy": accuracy, "strong_tokens_mean": mean}
        for (name, setting), (accuracy, mean) in ours.items()
    ]
    (tmp_path / "ours" / "summary.json").write_text(json.dumps({"n": 100, "points": points}))
    policies = [name if setting is None else f"{name}:{setting}" for name, setting in ours]
    traces = [
        {"policy": policy, "steps": [{"strong_tokens": count}]}
        for policy in policies
        for count in tokens * 50
    ]
    (tmp_path / "ours" / "traces.jsonl").write_text("".join(f"{json.dumps(x)}\n" for x in traces))
    folders = [f"--theirs={tmp_path / 'theirs'}", f"--ours={tmp_path / 'ours'}"]
    return subprocess.run(
        [sys.executable, authors_compare.__file__, *folders], capture_output=True, text=True
    )


def test_the_comparison_says_what_agrees(tmp_path):
    done = compared(
        tmp_path,
        {0.0: (0.5, 0.0), 0.35: (0.6, 10.0), 1.0: (0.99, 20.0)},
        {("weak", None): (0.5, 0.0), ("thr", 0.35): (0.65, 10.5), ("thr", 1.0): (0.7, 40.0)},
    )
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[3] for row in cells] == ["equal", "agree", "differ"]
    assert [row[6] for row in cells] == ["equal", "agree", "differ"]


def test_runs_of_other_problems_are_not_compared(tmp_path):
    (tmp_path / "theirs").mkdir()
    line = {"threshold": 0.0, **THEIRS, "num_correct": 100}
    (tmp_path / "theirs" / "summary.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(InvalidInput, match="not of 100 problems"):
        authors_compare.their_points([tmp_path / "theirs"], 100, {})


def test_prompts_that_one_program_alone_sent_are_shown(tmp_path):
    logs = tmp_path / "theirs.jsonl", tmp_path / "ours.jsonl"
    for log, own in zip(logs, ("left", "right"), strict=True):
        records = [{"role": "weak", "prompt": prompt} for prompt in ("both", own, own)]
        log.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    told = authors_compare.prompts_table(*logs)
    assert "| weak | 1 | 1 | 1 |" in told
    assert "weak, theirs alone: 'left'" in told

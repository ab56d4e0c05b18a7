"""Long runs that are killed at any moment and continued by the same command."""

import asyncio
import json
import random
import signal
from functools import partial
from statistics import median_low

import pytest
import yaml
from preloaded import PATIENCE, die_after, die_at, fill_disk_at, finished, started
from staged_server import SILENCE, chat, staged, usage

from trim.evaluation.bill import SAVE_INTERVAL
from trim.numerics import derive_seed
from trim.rollouts.bank import read_bank
from trim.steps import split_steps

pytestmark = pytest.mark.soak

PROBLEMS = 40
STEPS = 3
CONCURRENCY = 4
EVALUATE = ("--policy", "weak", "--policy", "strong", "--policy", "random:0.5")
PRICES = {"weak": {"output": 100.0}, "strong": {"output": 1000.0}}
SIGNALS = {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}


def question_of(request):
    """Without the instruction that follows it."""
    return request.body["messages"][0]["content"].partition("\n\n")[0]


def is_trial(request):
    """Whether a server is only tried, and no problem is solved."""
    if "messages" in request.body:
        return question_of(request).startswith("Count")
    return "problem" not in request.body["prompt"]


def of_problems(server):
    """How many requests have been about problems."""
    return sum(not is_trial(request) for request in server.requests)


def answer(request):
    """A model that counts on where it is probed, and solves in a few steps."""
    question = question_of(request)
    messages = request.body["messages"]
    said = messages[1]["content"] if len(messages) > 1 else ""
    counts = usage(len(question) + len(said), 1 + derive_seed(question, said) % 9)
    if question.startswith("Count"):
        return chat(" five, six, seven", counts=counts, matched_stop=None)
    index = len(split_steps(said))
    model = request.body["model"]
    last = index + 1 == STEPS
    text = rf"\boxed{{{derive_seed(model, said) % 2}}}" if last else f"{model} {index}"
    return chat(text, counts=counts, matched_stop=7 if last else "\n\n")


@pytest.fixture
def work(tmp_path):
    problems = [{"question": f"problem {n}", "answer": str(n % 2)} for n in range(PROBLEMS)]
    lines = "".join(json.dumps(problem) + "\n" for problem in problems)
    (tmp_path / "problems.jsonl").write_text(lines, encoding="utf-8")

    def prepare(server):
        model = {"api": "openai", "url": server.url, "server": "sglang",
                 "continuation": "continue_final"}  # fmt: skip
        configuration = {
            "weak": {**model, "model": "weak"},
            "strong": {**model, "model": "strong"},
            "scorer": {"kind": "label", "url": server.url, "model": "scorer"},
            "routing": {"concurrency": CONCURRENCY},
            "prices": PRICES,
        }
        path = tmp_path / "trim.yaml"
        path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        fields = ("--question", "question", "--answer", "answer", "--grader", "exact")
        return (tmp_path / "problems.jsonl", path, *fields)

    return prepare


def label(request):
    """The scorer: a token that says right or wrong."""
    if request.path != "/v1/completions":
        return answer(request)
    tokens = [{"+": -0.1, "-": -2.5}]
    logprobs = {"tokens": ["+"], "token_logprobs": [-0.1], "top_logprobs": tokens}
    choice = {"index": 0, "text": "+", "finish_reason": "length", "logprobs": logprobs}
    return {"choices": [choice], "usage": usage(20, 1)}


async def until(happened):
    async with asyncio.timeout(PATIENCE):
        while not happened():
            await asyncio.sleep(0.002)


async def killed(words, server, requests, number):
    """Begin a command, and end it by a signal once the server has had so many requests of it."""
    goal = len(server.requests) + requests
    with started(*words) as command:
        await until(lambda: command.code is not None or len(server.requests) >= goal)
        command.send(number)
        code, _, errors = await command.ended()
    return code, errors


def complete(folder):
    """Questions of the problems that are on disk with all their traces."""
    seen = {}
    for line in content(folder).splitlines(keepends=True):
        if line.endswith(b"\n"):
            question = json.loads(line)["question"]
            seen[question] = seen.get(question, 0) + 1
    return {question for question, count in seen.items() if count == 3}


def traces_of(folder):
    lines = (folder / "traces.jsonl").read_text(encoding="utf-8").splitlines()
    traces = [{**json.loads(line), "seconds": 0} for line in lines]
    return sorted(traces, key=lambda trace: (trace["question"], trace["policy"]))


def timeless(summary):
    """A summary without what differs from run to run: seconds, and the verdict that weighs them."""
    if isinstance(summary, dict):
        untold = ("seconds", "seconds_mean", "verdict")
        return {name: timeless(part) for name, part in summary.items() if name not in untold}
    return [timeless(part) for part in summary] if isinstance(summary, list) else summary


@pytest.mark.parametrize("seed", range(2))
async def test_a_killed_evaluation_continues_without_loss(work, tmp_path, seed):
    """Six kills, by three signals in turn, at random moments."""
    chance, found = random.Random(seed), set()
    async with staged(answer, delay=0.002) as server:
        given = work(server)
        whole, folder = tmp_path / "whole", tmp_path / "killed"
        command = ("eval", *given, *EVALUATE, "--out")
        assert (await finished(*command, whole))[0] == 0
        paid = len(server.requests)
        for number in list(SIGNALS) * 2:
            done, asked = complete(folder), len(server.requests)
            found |= done
            words, moment = (*command, folder), chance.randint(paid // 12, paid // 4)
            code, errors = await killed(words, server, moment, number)
            again = {question_of(request) for request in server.requests[asked:]}
            assert not again & done, "what was finished is never asked for again"
            assert code == SIGNALS[number], errors
            if number != signal.SIGKILL:
                assert errors.endswith(f"interrupted; the same command continues from {folder}\n")
        assert found, "a run was killed after some problems had been finished"
        assert (await finished(*command, folder))[0] == 0
        assert traces_of(folder) == traces_of(whole)
        summaries = [json.loads((f / "summary.json").read_text()) for f in (whole, folder)]
        assert timeless(summaries[0]) == timeless(summaries[1])
        assert not list(folder.glob(".*.partial"))


async def test_a_killed_collection_continues_without_loss(work, tmp_path):
    chance, found = random.Random(7), set()
    async with staged(label, delay=0.002) as server:
        given = work(server)
        whole, folder = tmp_path / "whole", tmp_path / "killed"
        command = ("collect", *given, "--rollouts", 3, "--out")
        code, _, errors = await finished(*command, whole)
        assert code == 0, errors
        paid = len(server.requests)
        for number in list(SIGNALS) * 2:
            done = {p.question for p in read_bank(folder).problems} if any(
                folder.glob("parts/*.parquet")
            ) else set()  # fmt: skip
            found |= done
            asked = len(server.requests)
            words, moment = (*command, folder), chance.randint(paid // 8, paid // 4)
            code, errors = await killed(words, server, moment, number)
            again = {
                question_of(request)
                for request in server.requests[asked:]
                if "messages" in request.body
            }
            assert not again & done
            assert code == SIGNALS[number], errors
        assert found, "a collection was killed after some problems had been finished"
        assert (await finished(*command, folder))[0] == 0
        assert read_bank(folder).problems == read_bank(whole).problems


SHIPPED = {
    "exact": ("eval", "chain", "--policy", "strong", "--policy", "thr:0.5", "--exact"),
    "ablate": ("ablate", "takeover", "chain", "--thresholds", "0.3"),
}


@pytest.mark.parametrize("name", SHIPPED)
async def test_shipped_models_are_killed_and_continue_without_loss(tmp_path, name):
    whole, folder, problems = tmp_path / "whole", tmp_path / "killed", 8
    words = (*SHIPPED[name], "-n", problems, "--seed", 2, "--out")
    run = folder / "trial" if name == "ablate" else folder
    kept = b""
    for number in SIGNALS:
        code, _, errors = await finished(*words, folder, stage=partial(die_after, 1, number))
        assert code == SIGNALS[number], errors
        assert content(run).startswith(kept)
        policies = json.loads((run / "run.json").read_text())["policies"]
        lines = content(run).splitlines(keepends=True)
        kept = b"".join(lines[: len(lines) // len(policies) * len(policies)])
        assert len(policies) <= len(lines) < problems * len(policies)
    assert (await finished(*words, folder))[0] == 0
    assert content(run).startswith(kept)
    assert len(traces_of(run)) == problems * len(policies)
    assert (folder / "report.html").exists()
    if name == "exact":
        assert (await finished(*words, whole))[0] == 0
        continued, undisturbed = ([t["steps"] for t in traces_of(f)] for f in (run, whole))
        assert continued == undisturbed


def content(folder):
    path = folder / "traces.jsonl"
    return path.read_bytes() if path.exists() else b""


FILES = {
    "eval": (
        "run.json",
        "configuration.yaml",
        "bill.json",
        "curve.png",
        "curve.svg",
        "summary.json",
        "report.html",
    ),
    "collect": ("bank.json", "bill.json", "*.parquet"),
}


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", FILES)
async def test_a_run_is_killed_while_it_writes_its_files(work, tmp_path, command, number):
    """Each is whole or not there, and what a killed process leaves is removed by the next one."""
    options = EVALUATE if command == "eval" else ("--rollouts", 2)
    async with staged(label) as server:
        whole, folder = tmp_path / "whole", tmp_path / "killed"
        words = (command, *work(server), "-n", 5, *options, "--out")
        assert (await finished(*words, whole))[0] == 0
        for name in FILES[command]:
            code, _, errors = await finished(*words, folder, stage=partial(die_at, name, number))
            assert code == SIGNALS[number], errors
            left = list(folder.rglob(".*.partial"))
            assert len(left) == (number == signal.SIGKILL)
            assert all(path.match(f".{name}.*.partial") for path in left)
        asked = of_problems(server)
        assert (await finished(*words, folder))[0] == 0
        assert not list(folder.rglob(".*.partial"))
        if command == "eval":
            assert of_problems(server) == asked, "all was solved before the results were written"
            assert traces_of(folder) == traces_of(whole)
        else:
            assert read_bank(folder).problems == read_bank(whole).problems
        assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}


class Metered:
    """Answers so many requests about problems, which never end, and then none; knows what it gave.

    Attributes:
        held: requests that it left without an answer since it was last filled.
    """

    def __init__(self):
        self.left = self.held = 0
        self.served = {}
        self.dearest = 0

    def fill(self, requests):
        self.left, self.held = requests, 0

    def __call__(self, request):
        reply = label(request)
        if is_trial(request):
            return reply
        if "messages" in request.body:
            reply = chat(f"step {self.left}", counts=reply["usage"], matched_stop="\n\n")
        if not self.left:
            self.held += 1
            return SILENCE
        self.left -= 1
        role, tokens = request.body["model"], reply["usage"]["prompt_tokens"]
        self.served[role] = self.served.get(role, 0) + tokens
        self.dearest = max(self.dearest, tokens)
        return reply


@pytest.mark.parametrize("command", ["eval", "collect"])
async def test_the_bill_is_what_was_served_until_a_run_is_killed(work, tmp_path, command):
    """Nothing is missing after Ctrl-C and SIGTERM, and few requests after each `kill -9`."""
    meter, lost = Metered(), 0
    options = ("--policy", "random:0.5") if command == "eval" else ("--rollouts", 2)
    async with staged(meter) as server:
        words = (command, *work(server), *options, "--out", tmp_path / "out")
        for requests, number in zip((40, 7, 31, 40, 28), [*SIGNALS, *SIGNALS][:5], strict=True):
            meter.fill(requests)
            with started(*words) as process:
                await until(lambda: process.code is not None or meter.held == CONCURRENCY)
                process.send(number)
                assert (await process.ended())[0] == SIGNALS[number]
            record = json.loads((tmp_path / "out" / "bill.json").read_text())
            billed = {role: used["prompt_tokens"] for role, used in record.items()}
            missing = {role: tokens - billed.get(role, 0) for role, tokens in meter.served.items()}
            assert min(missing.values()) >= 0
            if number == signal.SIGKILL:
                assert sum(missing.values()) - lost <= (SAVE_INTERVAL - 1) * meter.dearest
            else:
                assert sum(missing.values()) == lost
            lost = sum(missing.values())


@pytest.mark.parametrize("limit", [2_000, 20_000, 60_000])
async def test_a_full_disk_ends_a_run_in_one_line_and_loses_nothing(work, tmp_path, limit):
    async with staged(answer) as server:
        command = ("eval", *work(server), *EVALUATE, "--out", tmp_path / "out")
        code, _, errors = await finished(*command, limit=limit)
        assert code == 2, errors
        assert is_one_line(errors, "File too large")
        done, asked = complete(tmp_path / "out"), len(server.requests)
        code, _, errors = await finished(*command)
        assert code == 0, errors
        assert not {question_of(request) for request in server.requests[asked:]} & done
        assert len(traces_of(tmp_path / "out")) == 3 * PROBLEMS


@pytest.mark.parametrize("command", FILES)
async def test_a_disk_is_full_for_any_file(work, tmp_path, command):
    options = EVALUATE if command == "eval" else ("--rollouts", 2)
    async with staged(label) as server:
        folder = tmp_path / "out"
        words = (command, *work(server), "-n", 5, *options, "--out", folder)
        for name in FILES[command]:
            code, _, errors = await finished(*words, stage=partial(fill_disk_at, name))
            assert code == 2, errors
            assert is_one_line(errors, "No space left on device")
            assert not list(folder.rglob(".*.partial"))
        asked = of_problems(server)
        code, _, errors = await finished(*words)
        assert code == 0, errors
        if command == "eval":
            assert of_problems(server) == asked, "all was solved before the results were written"
            assert len(traces_of(folder)) == 3 * 5
        else:
            assert len(read_bank(folder).problems) == 5


async def test_results_that_do_not_fit_on_the_disk_are_written_later(work, tmp_path):
    async with staged(answer) as server:
        folder = tmp_path / "out"
        words = ("eval", *work(server), "-n", 5, *EVALUATE, "--out", folder)
        assert (await finished(*words, pictures=True))[0] == 0
        asked = of_problems(server)
        sizes = {name: (folder / name).stat().st_size for name in ("curve.png", "report.html")}
        for size in sizes.values():
            for name in sizes:
                (folder / name).unlink()
            code, _, errors = await finished(*words, limit=size - 1)
            assert code == 2, errors
            assert is_one_line(errors, "File too large")
            assert (await finished(*words, pictures=True))[0] == 0
            assert {name: (folder / name).stat().st_size for name in sizes} == sizes
        assert of_problems(server) == asked


async def test_a_full_disk_ends_a_collection_in_one_line_and_loses_nothing(work, tmp_path):
    """Neither a bank's description nor half of its parts find room."""
    async with staged(label) as server:
        whole, folder = tmp_path / "whole", tmp_path / "out"
        command = ("collect", *work(server), "--rollouts", 3, "--out")
        assert (await finished(*command, whole))[0] == 0
        parts = [path.stat().st_size for path in whole.glob("parts/*")]
        for limit in (1_500, median_low(parts)):
            code, _, errors = await finished(*command, folder, limit=limit)
            assert code == 2, errors
            assert is_one_line(errors, "File too large")
        assert (await finished(*command, folder))[0] == 0
        assert read_bank(folder).problems == read_bank(whole).problems


def is_one_line(errors, reason):
    """Whether a command ended with one line that gives a reason, below its progress."""
    *shown, last = errors.splitlines()
    told = all(line.startswith(("solving ", "recording ")) for line in shown)
    return told and last.startswith("trim: ") and reason in last


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [("solve", "problem 1"), ("check",), ("serve", "--port", "0")])
async def test_a_command_without_a_bar_ends_by_signals_in_one_line(work, words, number):
    async with staged(lambda request: SILENCE) as server:
        configuration = work(server)[1]
        code, errors = await killed((*words, configuration), server, 1, number)
    assert (code, errors) == (SIGNALS[number], "trim: interrupted\n")


async def test_one_process_works_in_a_folder(work, tmp_path):
    held = True

    def holding(request):
        """Is tried like any server, and then never answers."""
        return SILENCE if held and not is_trial(request) else label(request)

    async with staged(holding) as server:
        given = work(server)
        for command in (("eval", *given, *EVALUATE), ("collect", *given, "--rollouts", 2)):
            folder, held = tmp_path / command[0], True
            goal = of_problems(server) + 1
            with started(*command, "--out", folder) as first:
                await until(lambda goal=goal: of_problems(server) >= goal)
                code, _, errors = await finished(*command, "--out", folder)
                assert (code, "another process works in this folder" in errors) == (2, True), errors
                first.send(signal.SIGKILL)
                await first.ended()
            held = False
            assert (await finished(*command, "--out", folder))[0] == 0


async def test_a_run_ends_at_its_money_and_continues_with_more(work, tmp_path):
    async with staged(answer) as server:
        command = ("eval", *work(server), *EVALUATE, "--out")
        folder = tmp_path / "out"
        assert (await finished(*command, tmp_path / "whole"))[0] == 0
        price = bill_of(tmp_path / "whole")
        dearest = most_of_a_problem(server, price)
        asked = len(server.requests)
        code, _, errors = await finished(*command, folder, "--max-money", price / 2)
        assert code == 3, errors
        spent = bill_of(folder)
        assert price / 2 <= spent <= price / 2 + 4 * dearest
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["partial"] == {"of": PROBLEMS, "money": spent}
        assert summary["n"] == len(complete(folder)) < PROBLEMS
        line = errors.splitlines()[-1]
        assert f"{summary['n']} of {PROBLEMS} problems done; to continue, repeat" in line
        again = len(server.requests)
        assert (await finished(*command, folder, "--max-money", price / 2))[0] == 3
        assert all(question_of(request)[0] == "C" for request in server.requests[again:])
        assert (await finished(*command, folder))[0] == 0
        assert traces_of(folder) == traces_of(tmp_path / "whole")
        assert bill_of(folder) == pytest.approx(price)
        problems = [r for r in server.requests[asked:] if question_of(r)[0] == "p"]
        assert len(problems) == len(
            [r for r in server.requests[:asked] if question_of(r)[0] == "p"]
        )


def bill_of(folder):
    usage = json.loads((folder / "bill.json").read_text())
    return sum(usage[role]["tokens"] * price["output"] for role, price in PRICES.items()) / 1e6


def most_of_a_problem(server, price):
    """No problem costs more than all of its possible steps by both models."""
    return 2 * STEPS * 9 * 4 * 1000.0 / 1e6


async def test_a_run_without_a_terminal_tells_how_far_it_is(work, tmp_path):
    async with staged(answer) as server:
        code, _, errors = await finished("eval", *work(server), *EVALUATE, "--out", tmp_path / "o")
        assert code == 0
        last = [line for line in errors.splitlines() if line.startswith("solving")][-1]
        assert f"{PROBLEMS}/{PROBLEMS}" in last
        for figure in (" a minute", "% right", "% strong", "money "):
            assert figure in last


async def test_a_collection_ends_at_its_money_and_continues_with_more(work, tmp_path):
    async with staged(label) as server:
        command = ("collect", *work(server), "--rollouts", 3, "--out")
        assert (await finished(*command, tmp_path / "whole"))[0] == 0
        price = bill_of(tmp_path / "whole")
        folder = tmp_path / "part"
        code, _, errors = await finished(*command, folder, "--max-money", price / 2)
        assert code == 3, errors
        assert price / 2 <= bill_of(folder) < price
        done = len(read_bank(folder).problems)
        assert 0 < done < PROBLEMS
        assert f"{done} of {PROBLEMS} problems done" in errors.splitlines()[-1]
        assert (await finished(*command, folder))[0] == 0
        assert read_bank(folder).problems == read_bank(tmp_path / "whole").problems
        assert bill_of(folder) == pytest.approx(price)

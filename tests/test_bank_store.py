"""Banks on disk: whole after any interruption, added to, and refused when they are not right."""

import asyncio
import json
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from bank_models import EXPLORER, IDENTITY, PROBLEMS
from click.testing import CliRunner
from preloaded import FORKING

from trim.cli.main import main
from trim.configuration.identity import identify_models
from trim.errors import InvalidInput
from trim.files import FolderLock
from trim.rollouts.bank import read_bank
from trim.rollouts.collect import record_problems
from trim.rollouts.explorer import Explorer
from trim.rollouts.store import BankStore, decode
from trim.shipped import FOLDER

TRACES = Path(__file__).parents[2] / "shared/data/reference/qwen3_1.7b_14b_math500_traces.jsonl"


def filled(folder, problems=PROBLEMS[:10], identity=IDENTITY, part=4):
    """A bank of the problems that it did not hold."""
    store = BankStore(folder, identity, part)
    missing = iter([p for p in problems if p.id not in store.finished])
    asyncio.run(record_problems(store, EXPLORER, missing))
    return read_bank(folder)


def content(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def parts(folder):
    return sorted((folder / "parts").glob("*.parquet"))


def test_what_is_read_is_what_was_recorded(tmp_path):
    async def explored():
        return [await EXPLORER.explore(p) for p in PROBLEMS[:10]]

    bank = filled(tmp_path)
    assert bank.identity == IDENTITY
    assert sorted(bank.problems, key=repr) == sorted(asyncio.run(explored()), key=repr)


def test_a_bank_is_added_to(tmp_path):
    grown, at_once = tmp_path / "grown", tmp_path / "at-once"
    filled(grown, PROBLEMS[:7])
    before = content(grown)
    assert filled(grown, PROBLEMS[:20]) == filled(at_once, PROBLEMS[:20])
    assert before.items() <= content(grown).items()


def test_the_same_command_again_changes_nothing(tmp_path):
    filled(tmp_path)
    before = content(tmp_path)
    filled(tmp_path)
    assert content(tmp_path) == before


def record_all(folder, pipe):
    """Tell which problems are finished, each time that one more is."""
    store = BankStore(folder, IDENTITY, 2)
    pipe.send(())
    missing = iter([p for p in PROBLEMS if p.id not in store.finished])
    asyncio.run(record_problems(store, EXPLORER, missing, lambda: pipe.send(tuple(store.finished))))


def test_a_bank_killed_at_any_moment_loses_and_doubles_nothing(tmp_path):
    random, folder = Random(5), tmp_path / "killed"
    reported = set()
    for _ in range(5):
        told, pipe = FORKING.Pipe(duplex=False)
        process = FORKING.Process(target=record_all, args=(folder, pipe))
        process.start()
        pipe.close()
        assert told.recv() == ()
        time.sleep(random.uniform(0, 0.05))
        process.kill()
        process.join()
        # Nobody reads while it runs, and a full pipe keeps it from finishing too early.
        with suppress(EOFError, OSError):
            while True:
                reported.update(told.recv())
        assert process.exitcode == -signal.SIGKILL
        if parts(folder):
            assert {p.problem_id for p in read_bank(folder).problems} >= reported
    rows = [row for path in parts(folder) for row in ids(path)]
    assert len(rows) == len(set(rows))
    assert filled(folder, PROBLEMS) == filled(tmp_path / "whole", PROBLEMS)
    rows = [row for path in parts(folder) for row in ids(path)]
    assert sorted(rows) == sorted(p.id for p in PROBLEMS)


def ids(path):
    return [row.problem_id for row in decode(path)]


def test_a_failure_keeps_what_was_finished(tmp_path):
    finished = []

    class Failing(Explorer):
        async def explore(self, problem):
            if problem is PROBLEMS[6]:
                async with asyncio.timeout(60):
                    while len(finished) < 6:
                        await asyncio.sleep(0.01)
                raise InvalidInput("it fails")
            finished.append(await super().explore(problem))
            return finished[-1]

    failing = Failing(**vars(EXPLORER))
    with pytest.raises(InvalidInput, match="it fails"):
        asyncio.run(record_problems(BankStore(tmp_path, IDENTITY, 4), failing, iter(PROBLEMS[:7])))
    assert {p.problem_id for p in read_bank(tmp_path).problems} == {p.id for p in PROBLEMS[:6]}


def test_a_problem_in_two_parts_is_read_once(tmp_path):
    bank = filled(tmp_path)
    first = parts(tmp_path)[0]
    first.with_name("again.parquet").write_bytes(first.read_bytes())
    assert read_bank(tmp_path) == bank


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 2}, "seed"),
        ({"models": {"weak": "a", "strong": "c"}}, "models"),
        ({"scorer": "grade"}, "scorer"),
        ({"rollouts": 3, "suite": "other"}, "suite, rollouts"),
    ],
)
def test_another_bank_is_not_added_to(tmp_path, changed, named):
    filled(tmp_path)
    before = content(tmp_path)
    with pytest.raises(InvalidInput, match=f"with other {named} "):
        BankStore(tmp_path, replace(IDENTITY, **changed))
    assert content(tmp_path) == before


def test_no_bank_and_an_empty_one_are_said(tmp_path):
    with pytest.raises(InvalidInput, match="not a bank"):
        read_bank(tmp_path)
    BankStore(tmp_path / "new", IDENTITY)
    with pytest.raises(InvalidInput, match="the bank is empty"):
        read_bank(tmp_path / "new")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 3}', '{"format": 3, "sampling": {}}'])
def test_a_damaged_description_is_said(tmp_path, text):
    filled(tmp_path)
    (tmp_path / "bank.json").write_text(text)
    with pytest.raises(InvalidInput, match=r"bank\.json: damaged"):
        read_bank(tmp_path)


@pytest.mark.parametrize("version", [1, 2, 5, "3"])
def test_another_version_is_said(tmp_path, version):
    """A bank of format 2 does not know which steps end a solution."""
    filled(tmp_path)
    record = json.loads((tmp_path / "bank.json").read_text())
    assert record["format"] == 3
    (tmp_path / "bank.json").write_text(json.dumps({**record, "format": version}))
    before = content(tmp_path)
    message = rf"bank format {version!r} is not supported, only 3 and 4; collect the bank again"
    for use in (read_bank, lambda folder: BankStore(folder, IDENTITY)):
        with pytest.raises(InvalidInput, match=message):
            use(tmp_path)
    assert content(tmp_path) == before


def test_a_damaged_part_is_said_and_left_alone(tmp_path):
    filled(tmp_path)
    part = parts(tmp_path)[0]
    whole = part.read_bytes()
    random = Random(1)
    for _ in range(20):
        end = random.randrange(len(whole))
        blotted = bytearray(whole)
        start = random.randrange(4, len(whole) // 2)
        blotted[start : start + 64] = bytes(64)
        for spoilt in (whole[:end], bytes(blotted)):
            part.write_bytes(spoilt)
            with pytest.raises(InvalidInput, match=rf"{part.name}: damaged"):
                read_bank(tmp_path)
            with pytest.raises(InvalidInput, match=rf"{part.name}: damaged"):
                BankStore(tmp_path, IDENTITY)
            assert part.read_bytes() == spoilt


def test_a_bank_of_other_models_is_said(tmp_path):
    filled(tmp_path / "other")
    filled(tmp_path / "same", identity=replace(IDENTITY, models=identify_models(FOLDER)))
    assert read_bank(tmp_path / "same", FOLDER)
    with pytest.raises(InvalidInput, match="recorded with other models"):
        read_bank(tmp_path / "other", FOLDER)


def test_the_weak_model_s_own_steps_are_read_with_their_labels(tmp_path):
    bank = filled(tmp_path, PROBLEMS[:30])
    for recorded, trajectory, alone in zip(
        bank.problems, bank.trajectories(), bank.solved_alone(), strict=True
    ):
        path = [recorded.nodes[place] for place in recorded.rollouts[0].nodes]
        assert trajectory.problem_id == recorded.problem_id
        assert trajectory.scores == tuple(node.draft_score for node in path) == alone.weak.scores
        assert trajectory.tokens == tuple(node.draft_tokens for node in path)
        assert trajectory.right == tuple(node.draft_right for node in path)
        assert trajectory.correct == recorded.rollouts[0].correct == alone.weak_correct
        assert alone.weak.answered == path[-1].draft_answers
        # What a last step took that did not fit the context belongs to no step.
        kept = sum(step.tokens for step in recorded.strong.steps)
        lost = "step" in recorded.strong.steps[-1].text and len(recorded.strong.steps) < 5
        assert alone.strong_tokens == recorded.strong.tokens
        assert alone.strong_tokens >= kept if lost else alone.strong_tokens == kept


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_command_records_adds_and_refuses(tmp_path):
    command = ("collect", "chain", "--rollouts", 3, "--seed", 5, "--out", tmp_path / "bank")
    assert run(*command, "-n", 2).exit_code == 0
    said = run(*command, "-n", 3)
    assert said.exit_code == 0
    assert "chain: 3 problems" in said.stdout
    bank = read_bank(tmp_path / "bank", FOLDER)
    assert f" {sum(len(problem.nodes) for problem in bank.problems)} drafts" in said.stdout
    assert [p.problem_id for p in bank.problems] == [f"chain-5-{index}" for index in range(3)]
    assert len(bank.tree_batch().roots) == 3
    assert all(
        node.draft_right is not None and 0 < node.draft_score < 1
        for p in bank.problems
        for node in p.nodes
    )
    before = content(tmp_path)
    for wrong in (
        (*command, "-n", 2, "--scorer", "grade"),
        (*command, "-n", 0),
        ("collect", "nothing", "--out", tmp_path / "bank"),
        ("collect", "chain", "--models", tmp_path, "--out", tmp_path / "bank"),
    ):
        refused = run(*wrong)
        assert refused.exit_code == 2
        assert refused.stderr.startswith("trim: ") and refused.stderr.count("\n") == 1
    assert content(tmp_path) == before


def test_nothing_is_read_or_written_where_another_process_works(tmp_path):
    """What it would read is changed meanwhile."""
    filled(tmp_path / "other")
    for folder in (tmp_path / "new", tmp_path / "other"):
        lock = FolderLock(folder)
        before = content(tmp_path)
        refused = run("collect", "chain", "-n", 2, "--out", folder)
        assert refused.exit_code == 2
        assert "another process works in this folder" in refused.stderr
        assert content(tmp_path) == before and not list((tmp_path / "new").glob("[!.]*"))
        lock.release()
    assert "holds a bank with other" in run("collect", "chain", "-n", 2, "--out", folder).stderr

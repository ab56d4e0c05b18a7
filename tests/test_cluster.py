"""Evaluations and banks on Ray.

Those on a real cluster of two nodes, one of which dies, need Ray: `make test-ray`.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
from preloaded import finished, started
from staged_server import staged
from test_kills import EVALUATE, PROBLEMS, answer, label, traces_of, until, work

import trim
from trim.cluster import pool
from trim.cluster.pool import WorkerPool
from trim.cluster.ray_cluster import RayCluster, task_of
from trim.cluster.worker import (
    ProblemReader,
    Task,
    Worker,
    error_to_json,
    problem_to_json,
    raise_error,
)
from trim.configuration.source import models_in
from trim.errors import InvalidInput, ModelUnavailable
from trim.evaluation.benchmarks.benchmark import BenchmarkProblem
from trim.evaluation.evaluate import UNGRADED, draw, evaluate
from trim.evaluation.execution import EvaluationRequest
from trim.evaluation.problem_set import ProblemSet
from trim.evaluation.suites import SUITES, generate
from trim.grading import workers as grading_workers
from trim.rollouts.bank import read_bank

assert work  # A fixture.

SHIPPED = Path(trim.__file__).parent / "shipped"


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """Ray without telemetry, dashboard and tokens, in a folder of its own."""
    pytest.importorskip("ray", reason="needs the extra ray: run `make test-ray`")
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "RAY_TMPDIR": str(tmp_path_factory.mktemp("ray")),
        "RAY_health_check_initial_delay_ms": "1000",
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_failure_threshold": "4",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name)
        else:
            os.environ[name] = value


@pytest.fixture
def cluster(quiet):
    """Two nodes with a processor each."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}
    started = Cluster(initialize_head=True, head_node_args=node)
    started.add_node(num_cpus=1, object_store_memory=100_000_000)
    yield started
    started.shutdown()


def workers():
    """Process ids of the workers that Ray runs."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    lines = [line.split(None, 1) for line in listed.stdout.splitlines()[1:]]
    return [int(pid) for pid, words in lines if words.startswith("ray::Worker")]


class Died(Exception):
    pass


class BugDied(Died):
    pass


class StagedRay:
    """Ray without processes.

    Args:
        start: called with the number of a worker, from 0, as it starts.
        solve: called with the number of a worker and a problem.
    """

    exceptions = SimpleNamespace(RayError=Died, RayTaskError=BugDied)

    def __init__(self, start, solve):
        self.start, self.solve, self.actors = start, solve, []

    def remote(self, *arguments):
        if arguments == (Worker,):
            return self
        number = len(self.actors)
        methods = {"ready": partial(self.start, number), "solve": partial(self.solve, number)}
        actor = {name: SimpleNamespace(remote=method) for name, method in methods.items()}
        self.actors.append(SimpleNamespace(**actor))
        return self.actors[-1]

    def options(self, **options):
        return self

    def kill(self, actor):
        pass

    def shutdown(self):
        pass


class InProcessRay(StagedRay):
    """Ray whose workers are in this process."""

    def __init__(self):
        pass

    def remote(self, *arguments):
        if arguments == (Worker,):
            return self
        worker = Worker(*arguments)

        async def ready():
            return worker.ready()

        return SimpleNamespace(
            ready=SimpleNamespace(remote=ready), solve=SimpleNamespace(remote=worker.solve)
        )


@pytest.fixture
def staged_pool(monkeypatch):
    """Makes a pool of workers whose behaviour is given, and the warnings of the pool."""

    def make(count, start, solve, concurrency=4):
        monkeypatch.setattr(pool, "connect", lambda address: StagedRay(start, solve))
        warnings = []
        task = Task({}, None, 0, None)
        return WorkerPool(task, "staged", count, concurrency, warnings.append), warnings

    return make


async def solved(number, problem):
    return json.dumps({"worker": number, "problem": problem})


async def test_a_worker_that_dies_as_it_starts_is_started_again(staged_pool):
    async def start(number):
        if number < pool.MAX_STARTS - 1:
            raise Died("killed")

    workers, warnings = staged_pool(1, start, solved)
    async with workers:
        assert await workers.solve("x") == {"worker": pool.MAX_STARTS - 1, "problem": "x"}
    assert warnings == []


async def test_problems_beyond_what_workers_take_wait_for_one_that_is_ready(staged_pool):
    running, most = [0, 0], [0, 0]
    ready, done = asyncio.Event(), asyncio.Event()

    async def start(number):
        if number == 1:
            await ready.wait()

    async def solve(number, problem):
        running[number] += 1
        most[number] = max(most[number], running[number])
        await done.wait()
        running[number] -= 1
        return await solved(number, problem)

    workers, _ = staged_pool(2, start, solve, concurrency=4)
    async with workers, asyncio.timeout(60):
        problems = [asyncio.create_task(workers.solve(str(n))) for n in range(12)]
        while running != [4, 0]:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert running == [4, 0]
        ready.set()
        while running != [4, 4]:
            await asyncio.sleep(0.01)
        done.set()
        results = await asyncio.gather(*problems)
    assert [result["problem"] for result in results] == [str(n) for n in range(12)]
    assert most == [4, 4]


async def test_a_run_continues_with_the_workers_that_start(staged_pool):
    dead = set()

    async def start(number):
        await asyncio.sleep(0.01 * number)
        if 0 < number <= pool.MAX_STARTS:
            raise Died("killed\nand more")

    async def solve(number, problem):
        if problem == "deadly" and not dead:
            dead.add(number)
        if number in dead:
            raise Died("killed")
        return await solved(number, problem)

    workers, warnings = staged_pool(2, start, solve)
    async with workers:
        async with asyncio.timeout(60):
            while not warnings:
                await asyncio.sleep(0.01)
        expected = "a worker did not start: killed; the run continues with 1 of 2 workers"
        assert warnings == [expected]
        # The last worker dies, and another one is awaited: the old failure does not end the run.
        assert (await workers.solve("deadly"))["worker"] == pool.MAX_STARTS + 1
    assert dead == {0}


@pytest.mark.parametrize(
    ("message", "starts"), [("killed", 2 * pool.MAX_STARTS), ("no such file", 2)]
)
async def test_without_a_worker_that_starts_a_run_ends(staged_pool, message, starts):
    started = []

    async def start(number):
        started.append(number)
        if message == "killed":
            raise Died(message)
        return error_to_json(InvalidInput(message))

    workers, warnings = staged_pool(2, start, solved)
    with pytest.raises((InvalidInput, ModelUnavailable), match=message):
        await workers.__aenter__()
    assert len(started) == starts
    assert len(warnings) == 1


async def test_a_node_may_die(work, tmp_path, cluster):
    async with staged(answer, delay=0.05) as server:
        command = ("eval", *work(server), *EVALUATE, "--out")
        assert (await finished(*command, tmp_path / "here"))[0] == 0
        asked = len(server.requests)
        with started(*command, tmp_path / "there", "--ray", cluster.address) as process:
            await until(lambda: len(server.requests) > asked + 60 and len(workers()) == 2)
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
            code, _, errors = await process.ended()
        assert code == 0, errors
        assert traces_of(tmp_path / "there") == traces_of(tmp_path / "here")
        # What was under way on the node is asked for again, and nothing else.
        assert len(server.requests) - asked < 1.5 * asked


async def test_a_worker_may_die_while_a_bank_is_filled(work, tmp_path, cluster):
    async with staged(label, delay=0.02) as server:
        command = ("collect", *work(server), "--rollouts", 3, "--out")
        assert (await finished(*command, tmp_path / "here"))[0] == 0
        asked = len(server.requests)
        with started(*command, tmp_path / "there", "--ray", cluster.address) as process:
            await until(lambda: len(server.requests) > asked + 60 and len(workers()) == 2)
            os.kill(workers()[0], signal.SIGKILL)
            code, _, errors = await process.ended()
        assert code == 0, errors
        here, there = (read_bank(tmp_path / name).problems for name in ("here", "there"))
        assert here == there


async def test_a_killed_driver_continues(work, tmp_path, cluster):
    async with staged(answer, delay=0.05) as server:
        command = ("eval", *work(server), *EVALUATE, "--out", tmp_path / "there")
        path = tmp_path / "there" / "traces.jsonl"
        with started(*command, "--ray", cluster.address) as process:
            await until(lambda: path.exists() and path.read_bytes().count(b"\n") > PROBLEMS)
            process.send(signal.SIGKILL)
            await process.ended()
        assert (await finished(*command, "--ray", cluster.address))[0] == 0
        assert len(traces_of(tmp_path / "there")) == 3 * PROBLEMS


async def test_a_problem_of_which_workers_die_is_given_up(work, tmp_path, cluster):
    deadly = "problem 7"

    def murderous(request):
        if request.body["messages"][0]["content"].split("\n")[0] == deadly:
            for worker in workers():
                os.kill(worker, signal.SIGKILL)
        return answer(request)

    async with staged(murderous) as server:
        given = work(server)
        code, _, errors = await finished(
            "eval", *given, *EVALUATE, "--ray", cluster.address, "--ray-workers", 1,
            "--set", "routing.concurrency=1", "--out", tmp_path / "out",
        )  # fmt: skip
        assert code == 0, errors
    traces = traces_of(tmp_path / "out")
    found = {trace["question"].split("\n")[0]: trace for trace in traces}
    assert found[deadly]["failure"] == "the workers that had it died, 3 times"
    assert [q for q, trace in found.items() if trace["finish"] == "failed"] == [deadly]


async def test_generated_problems_and_oracles_are_those_of_one_process(
    tmp_path, quiet, monkeypatch
):
    command = ("eval", "chain", "-n", 8, "--exact", "--policy", "weak", "--policy", "strong",
               "--policy", "thr:0.5", "--policy", "oracle", "--out")  # fmt: skip
    assert (await finished(*command, tmp_path / "here"))[0] == 0
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # `local` joins no other cluster.
    code, _, errors = await finished(*command, tmp_path / "there", "--ray", "local")
    assert code == 0, errors
    assert traces_of(tmp_path / "there") == traces_of(tmp_path / "here")
    bills = [json.loads((tmp_path / name / "bill.json").read_text()) for name in ("here", "there")]
    tokens = [{role: used["tokens"] for role, used in bill.items()} for bill in bills]
    assert tokens[0] == tokens[1]


def test_relative_files_of_policies_are_those_of_the_command(tmp_path, monkeypatch):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    shutil.copy(SHIPPED / "belief.json", here)
    monkeypatch.chdir(here)
    request = EvaluationRequest(draw("chain", 1, 0), ("pomdp:belief.json",), 0, "prm", False, None)
    task = task_of(models_in(), request)
    monkeypatch.chdir(elsewhere)  # as a worker of Ray
    assert Worker(task.to_json()).ready() is None
    shutil.rmtree(here)
    monkeypatch.chdir(elsewhere)
    with pytest.raises(InvalidInput, match=r"a worker on \S+ did not start: .*belief\.json"):
        raise_error(json.loads(Worker(task.to_json()).ready()))


FAILING_GRADER = """
print('"ready"', flush=True)
while input():
    print('"ValueError"', flush=True)
"""


def test_answers_that_cannot_be_graded_are_written_as_by_one_process(tmp_path, monkeypatch):
    monkeypatch.setattr(grading_workers, "COMMAND", (sys.executable, "-c", FAILING_GRADER))
    monkeypatch.setattr(pool, "connect", lambda address: InProcessRay())
    monkeypatch.chdir(tmp_path)
    question = draw("chain", 1, 0).problems[0].question
    # Two workers meet the same answer.
    references = ("2x + y", "3x + y", "3x + y")
    problems = [
        BenchmarkProblem(str(n), question, reference, "math")
        for n, reference in enumerate(references)
    ]
    found = []
    for executor in (None, RayCluster("staged", 2)):
        out = tmp_path / str(len(found))
        evaluate(ProblemSet("own", problems), ("weak",), models_in(), out, executor=executor)
        found.append(sorted((out / UNGRADED).read_text().splitlines()))
    assert found[1] == sorted(set(found[0]))
    assert [json.loads(line)["reference"] for line in found[1]] == ["2x + y", "3x + y"]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "auto"])
async def test_no_cluster_is_told_in_a_line(tmp_path, quiet, address):
    command = ("eval", "chain", "-n", 2, "--ray", address, "--out", tmp_path)
    code, _, errors = await asyncio.wait_for(finished(*command), 60)
    assert code == 2
    assert errors.splitlines()[-1].startswith(f"trim: --ray {address}: ")


def test_problems_are_the_same_after_they_were_text():
    problems = ProblemReader()
    for suite, seed in product(SUITES.values(), (3, -1)):
        drawn = list(generate(suite, 5, seed))
        for problem in reversed(drawn):
            assert problems.from_json(problem_to_json(problem)) == problem
    other = BenchmarkProblem("x", "2 + 2?", "4", "exact")
    assert problems.from_json(problem_to_json(other)) == other


def test_without_a_cluster_ray_is_not_imported():
    code = "import sys, trim.cli.evaluate, trim.cli.collect; print('ray' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"

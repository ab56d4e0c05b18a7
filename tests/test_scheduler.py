"""Depth first: engines serve earlier problems first, so that the first are finished early."""

import asyncio
import json
from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from preloaded import finished
from staged_server import staged
from test_kills import label, question_of, traces_of, work

from trim.configuration.source import Models
from trim.engines.scheduler import RequestQueue, begin_problem
from trim.evaluation.execution import solve_all
from trim.evaluation.problem_set import Gradable
from trim.evaluation.run import Evaluation
from trim.evaluation.suites import SuiteProblem
from trim.models.model import Completion, Ending
from trim.policies.fixed import RandomMix, StrongAlone, WeakAlone

assert work  # A fixture.

PROBLEMS, STEPS = 24, 12
LONG = 40
"""Passes of the event loop that a slow engine takes for a step."""


class SlowModel:
    """An engine with a few slots that takes its time; knows who wrote each step, in order."""

    def __init__(self, name, slots):
        self.name = name
        self.turns = RequestQueue(slots)
        self.slots = slots
        self.written = []
        self.busy = self.idle = 0

    async def write_step(self, prefix, sampling, seed):
        async with self.turns:
            self.busy += 1
            for _ in range(LONG):
                await asyncio.sleep(0)
            self.busy -= 1
        self.written.append(prefix.question)
        last = len(prefix.steps) + 1 == STEPS
        text = r"\boxed{7}" if last else f"{self.name} {len(prefix.steps)}"
        return Completion(text, Ending.STEP, 1, 0)


class Kept:
    """A store that remembers how many steps each problem had when one was finished."""

    def __init__(self, *models):
        self.models = models
        self.finished = set()
        self.order = []
        self.steps = []

    def add(self, problem_id, traces):
        self.finished.add(problem_id)
        self.order.append(problem_id)
        self.steps.append(Counter(q for model in self.models for q in model.written))


def problems() -> list[Gradable]:
    return [SuiteProblem(f"p-{n}", "hand", f"question {n}", (), "7") for n in range(PROBLEMS)]


async def solved(policies, weak, strong):
    store = Kept(weak, strong)
    evaluation = Evaluation(problems(), policies, Models(weak, strong, {}), None, concurrency=16)
    await solve_all(evaluation.problems, evaluation.solve, store, evaluation.concurrency)
    return store


@pytest.mark.parametrize("slots", [1, 2, 4])
async def test_problems_are_finished_in_their_order_by_one_engine(slots):
    strong = SlowModel("strong", slots)
    store = await solved([StrongAlone()], SlowModel("weak", slots), strong)
    assert sorted(store.order[:slots]) == sorted(f"p-{n}" for n in range(slots))
    # Nobody but as many problems as there are slots has written anything by then.
    assert len(store.steps[0]) <= slots
    assert len(strong.written) == PROBLEMS * STEPS
    if slots == 1:
        assert strong.written == [f"question {n}" for n in range(PROBLEMS) for _ in range(STEPS)]


@pytest.mark.parametrize("slots", [1, 4])
async def test_the_first_problem_is_finished_before_others_are_far(slots):
    """Three policies and two models: what is free goes to later problems, and no more."""
    weak, strong = SlowModel("weak", slots), SlowModel("strong", slots)
    store = await solved([WeakAlone(), StrongAlone(), RandomMix(0.5)], weak, strong)
    needed = Counter(weak.written + strong.written)
    # Had all advanced at the same pace, 16 problems would be nearly done.
    assert sum(store.steps[0].values()) < 4 * slots * needed["question 0"]
    begun = [store.steps[0][f"question {n}"] / needed[f"question {n}"] for n in range(PROBLEMS)]
    assert max(begun[8:]) < 0.5
    place = [int(name.removeprefix("p-")) for name in store.order]
    assert all(abs(n - at) <= 2 * slots for at, n in enumerate(place))


@given(st.lists(st.integers(0, 4), max_size=30), st.integers(1, 4), st.data())
def test_turns_are_given_by_place_and_arrival_and_none_is_lost(places, limit, data):
    """Also where some that wait or work are cancelled."""
    cancelled = data.draw(st.sets(st.integers(0, len(places))))
    moments = data.draw(st.lists(st.integers(0, 60), min_size=31, max_size=31))
    served = []

    async def run():
        turns = RequestQueue(limit)
        under_way = most = 0

        async def ask(number, place):
            nonlocal under_way, most
            async with turns:
                under_way += 1
                most = max(most, under_way)
                served.append((place, number))
                try:
                    for _ in range(20):
                        await asyncio.sleep(0)
                finally:
                    under_way -= 1

        async def problem(place):
            begin_problem()
            return [asyncio.ensure_future(ask(n, p)) for n, p in enumerate(places) if p == place]

        # Tasks are created by place, and start in the order of their creation.
        tasks = [task for place in range(5) for task in await asyncio.create_task(problem(place))]
        for moment in range(61):
            for number, task in enumerate(tasks):
                if number in cancelled and moments[number] == moment:
                    task.cancel()
            await asyncio.sleep(0)
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        for _ in range(20):
            await asyncio.sleep(0)
        assert turns._free == limit
        assert most <= limit

    asyncio.run(run())
    assert served == sorted(served)


async def test_later_problems_come_behind_earlier_ones_whenever_they_asked():
    turns, served = RequestQueue(1), []

    async def ask(name):
        async with turns:
            served.append(name)
            for _ in range(LONG):
                await asyncio.sleep(0)

    async def problem(name, ready):
        begin_problem()
        await ready.wait()
        await ask(name)

    early, late = asyncio.Event(), asyncio.Event()
    late.set()
    async with asyncio.TaskGroup() as group:
        group.create_task(problem("first", early))
        for n in range(3):
            group.create_task(problem(f"later {n}", late))
        for _ in range(LONG // 2):
            await asyncio.sleep(0)
        early.set()
        group.create_task(ask("outside"))
    assert served == ["later 0", "outside", "first", "later 1", "later 2"]


LIMITED = [f"{role}.concurrency=2" for role in ("weak", "strong")]


@pytest.mark.parametrize("command", ["eval", "collect"])
async def test_a_server_is_asked_depth_first(work, tmp_path, command):
    """By a real process: two requests at a time, and 16 problems under way."""
    options = ("--policy", "strong") if command == "eval" else ("--rollouts", 3)
    settings = [word for each in [*LIMITED, "routing.concurrency=16"] for word in ("--set", each)]
    async with staged(label, delay=0.005) as server:
        code, _, errors = await finished(
            command, *work(server), *options, *settings, "--out", tmp_path / "out"
        )
        assert code == 0, errors
        asked = [
            question_of(request).split("\n")[0]
            for request in server.requests
            if "messages" in request.body and question_of(request).startswith("problem")
        ]
    first, *others = dict.fromkeys(asked)  # in the order in which they were begun
    end = len(asked) - asked[::-1].index(first)
    done = [asked[:end].count(question) / asked.count(question) for question in others[9:15]]
    assert max(done) < 0.3, "in order of arrival they would be as good as done"


async def test_a_file_serves_depth_first(tmp_path):
    """The shipped models in one slot finish one problem after the other."""
    words = ("eval", "chain", "-n", 12, "--exact", "--policy", "strong", "--out", tmp_path)
    code, _, errors = await finished(*words)
    assert code == 0, errors
    lines = (tmp_path / "traces.jsonl").read_text(encoding="utf-8").splitlines()
    ids = [json.loads(line)["problem_id"] for line in lines]
    assert ids == sorted(ids, key=lambda name: int(name.rsplit("-")[-1]))
    assert len(traces_of(tmp_path)) == 12

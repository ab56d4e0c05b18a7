"""A server whose models fail in a fifth of the calls: every request ends once, and says how."""

import asyncio
import json
import os
import random
import sqlite3
from collections import Counter

import httpx
import pytest
from staged_server import chat, staged, usage
from test_faults import FAULTS
from test_server_api import asked, configured, serving

from trim.steps import split_steps

REQUESTS = int(os.environ.get("TRIM_REQUESTS", "600"))
"""`benchmarks/server_promises.py` asks for more."""
TOGETHER = 100
STEPS = 3


def writing(request):
    """A model of solutions of three steps, that counts on where it is probed."""
    messages = request.body["messages"]
    said = messages[1]["content"] if len(messages) > 1 else ""
    counts = usage(len(str(messages)), 5)
    if messages[0]["content"].startswith("Count"):
        return chat(" five, six", counts=counts, matched_stop=None)
    index = len(split_steps(said))
    if index + 1 == STEPS:
        return chat(rf"\boxed{{{messages[0]['content']}}}", counts=counts, matched_stop=7)
    return chat(f"step {index}", counts=counts, matched_stop="\n\n")


@pytest.mark.soak
async def test_every_request_ends_once_and_says_how(tmp_path, record_property):
    chance = random.Random(1)
    faults = [FAULTS[kind] for kind in ("429", "500", "503", "connection", "garbled answer")]
    steady = True

    def answer(request):
        fails = not steady and chance.random() < 0.2
        return chance.choice(faults) if fails else writing(request)

    async with staged(answer) as server:
        path = configured(tmp_path, server)
        path.write_text(path.read_text().replace("attempts: 1", "attempts: 2"))
        words = (path, "--running", TOGETHER, "--queue", TOGETHER)
        manager = serving(tmp_path, *words)
        url = await asyncio.to_thread(manager.__enter__)
        steady = False
        turns = asyncio.Semaphore(TOGETHER)
        limits = httpx.Limits(max_connections=TOGETHER)
        try:
            async with httpx.AsyncClient(timeout=120, limits=limits) as client:

                async def ask(number):
                    body = asked(f"question {number}", stream=number % 2 == 0)
                    async with turns:
                        return await client.post(f"{url}/chat/completions", json=body)

                answers = await asyncio.gather(*map(ask, range(REQUESTS)))
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)
    ends = Counter()
    for number, answered in enumerate(answers):
        if answered.status_code == 503:
            ends["failed"] += 1
            assert "no answer in 2 attempts" in answered.json()["error"]["message"]
            continue
        assert answered.status_code == 200, answered.text
        if number % 2:
            assert f"question {number}" in answered.json()["choices"][0]["message"]["content"]
            ends["answered"] += 1
            continue
        events = [line.removeprefix("data: ") for line in answered.text.split("\n\n") if line]
        if events[-1] == "[DONE]":
            pieces = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
            assert f"question {number}" in "".join(p.get("content", "") for p in pieces)
            ends["answered"] += 1
        else:
            assert json.loads(events[-1])["error"]["code"] == "model_unavailable"
            ends["failed"] += 1
    assert ends.total() == REQUESTS
    told = f"{ends['answered']} answered, {ends['failed']} failed"
    record_property("counted", f"{REQUESTS} requests: {told}")
    assert ends["answered"] > 0.7 * REQUESTS and ends["failed"] > 20
    connection = sqlite3.connect(tmp_path / "trim.sqlite")
    kept = dict(connection.execute("SELECT finish, count(*) FROM requests GROUP BY finish"))
    assert kept == {"stop": ends["answered"], "failed": ends["failed"]}
    connection.close()

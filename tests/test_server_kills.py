"""A server that is killed under load: what is on disk is what clients have received."""

import asyncio
import json
import os
import random
import signal
import sqlite3

import httpx
import pytest
from preloaded import PATIENCE, started
from test_server_api import QUESTIONS, asked

KILLS = int(os.environ.get("TRIM_KILLS", "8"))
"""`benchmarks/server_promises.py` asks for more."""
CLIENTS = 6


async def ask(client, url, chance, received):
    """Requests without end, streams and others; what was received whole is noted."""
    while True:
        stream = chance.random() < 0.5
        body = asked(chance.choice(QUESTIONS), model="trim:thr-0.9", stream=stream,
                     stream_options={"include_usage": True})  # fmt: skip
        answer = await client.post(f"{url}/chat/completions", json=body)
        assert answer.status_code == 200
        if not stream:
            record = answer.json()
        else:
            *events, last = [line for line in answer.text.split("\n\n") if line]
            assert last == "data: [DONE]"
            record = json.loads(events[-1][6:])
        received[record["id"].partition("-")[2]] = record["usage"]["trim"]


@pytest.mark.soak
async def test_spending_on_disk_is_what_clients_received(tmp_path, record_property):
    chance, received = random.Random(3), {}
    for _ in range(KILLS):
        words = ("serve", "--port", "0", "--database", tmp_path / "t.sqlite")
        with started(*words) as process:
            url = await asyncio.to_thread(process.address)
            async with httpx.AsyncClient(timeout=30) as client:
                asking = [
                    asyncio.create_task(ask(client, url, chance, received)) for _ in range(CLIENTS)
                ]
                goal = len(received) + chance.randint(1, 12)
                async with asyncio.timeout(PATIENCE):
                    while len(received) < goal:
                        await asyncio.sleep(0.005)
                await asyncio.sleep(chance.uniform(0, 0.1))
                process.send(signal.SIGKILL)
                assert (await process.ended())[0] == -signal.SIGKILL
                ended = await asyncio.gather(*asking, return_exceptions=True)
        assert all(isinstance(end, httpx.TransportError) for end in ended), ended
    connection = sqlite3.connect(tmp_path / "t.sqlite")
    kept = {
        name: (strong, money)
        for name, strong, money in connection.execute(
            "SELECT id, strong_tokens, money FROM requests WHERE finish != 'abandoned'"
        )
    }
    steps = dict(connection.execute("SELECT request_id, count(*) FROM steps GROUP BY request_id"))
    assert len(received) >= KILLS
    for name, spent in received.items():
        assert kept[name] == (spent["strong_tokens"], spent["money"])
        assert steps[name] > 0
    # What is there beyond was under way: written, and not yet received whole.
    beyond = len(kept) - len(received)
    record_property(
        "counted", f"{KILLS} kills: {len(received)} answers received and kept, {beyond} in flight"
    )
    assert beyond <= KILLS * CLIENTS
    connection.close()

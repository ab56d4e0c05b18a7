"""What an operator is shown of the traffic: sums over real databases, and who may see them."""

import asyncio
import random
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from databases import made_at
from preloaded import completed
from staged_server import Reply, staged
from test_server_api import QUESTIONS, asked, configured, counting, serving
from test_server_storage import entry

from trim.server.page.overview import histogram, newest_days, score_drift, warnings
from trim.server.storage.database import open_database
from trim.server.storage.keys import Keys
from trim.server.storage.ledger import today
from trim.server.storage.recorder import Recorder
from trim.server.storage.traffic import Count, Spent, Traffic


async def write(engine, rows):
    """Requests with a step each: (fields of the request, score of its first draft)."""
    recorder = Recorder(engine)
    for request, score in rows:
        made = entry(request.pop("key_id", None), number=1, day=request.pop("day", None))
        steps = [{**made.steps[0], "score": score}]
        await recorder.write(replace(made, request={**made.request, **request}, steps=steps))
    await recorder.close()


async def test_counts_are_by_slice_policy_and_end(engine):
    await write(engine, [
        ({"created": 1000.2, "policy": "thr:0.5"}, 0.5),
        ({"created": 1009.4, "policy": "thr:0.5"}, 0.5),
        ({"created": 1010.2, "policy": "thr:0.5"}, 0.5),
        ({"created": 1011.2, "policy": "weak", "finish": "failed", "money": 0.0}, None),
        ({"created": 990.0}, 0.5),
        ({"created": 1012.2, "policy": "weak", "finish": "failed", "controlled": True}, None),
    ])  # fmt: skip
    assert await Traffic(engine).counts(1000, 10) == [
        Count(1000, "thr:0.5", "answer", 2, 14, 20, 1.0),
        Count(1010, "thr:0.5", "answer", 1, 7, 10, 0.5),
        Count(1010, "weak", "failed", 1, 7, 10, 0.0),
        Count(1010, "weak", "failed", 1, 7, 10, 0.5, True),
    ]
    assert await Traffic(engine).counts(5000, 10) == []


async def test_latencies_are_of_what_was_answered(engine):
    traffic = Traffic(engine)
    assert await traffic.latencies(0) == {}
    rows = [({"created": 100.0, "seconds": second / 100}, None) for second in range(100)]
    rows += [({"created": 100.0, "seconds": 99.0, "finish": end}, None)
             for end in ("failed", "abandoned")]  # fmt: skip
    random.Random(1).shuffle(rows)
    await write(engine, rows)
    assert await traffic.latencies(0) == {0.5: 0.5, 0.95: 0.95, 0.99: 0.99}


async def test_failures_are_counted_by_reason(engine):
    rows = [({"finish": "failed", "failure": reason}, None)
            for reason in ("gone", "slow", "gone", None)]  # fmt: skip
    await write(engine, [*rows, ({}, 0.5)])
    assert await Traffic(engine).faults(0) == [
        ("gone", 2), ("slow", 1), ("unknown reason", 1),
    ]  # fmt: skip
    assert await Traffic(engine).faults(2) == []


async def test_spending_is_by_day_and_key_and_includes_requests_without_one(engine):
    store = Keys(engine)
    key = await store.find(await store.create("app", money_a_day=2.5))
    days, first = newest_days()
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    assert days[-2:] == [yesterday, today()]
    await write(engine, [
        ({"key_id": key.id, "created": time.time()}, 0.5),
        ({"key_id": key.id, "created": time.time() - 86400, "day": yesterday}, 0.5),
        ({"key_id": key.id, "day": "2001-01-01"}, 0.5),
        ({"created": time.time() - 86400}, 0.5),
        ({"created": time.time() - 86400}, 0.5),
        ({"created": first - 5.0}, 0.5),
    ])  # fmt: skip
    assert await Traffic(engine).spending(days, first) == [
        Spent("app", today(), 0.5, 7, 2.5),
        Spent("app", yesterday, 0.5, 7, 2.5),
        Spent(None, yesterday, 1.0, 14),
    ]


async def test_first_scores_are_those_of_first_drafts_the_newest_first(engine):
    rows = [({"created": float(n), "scorer": "a"}, None if n == 3 else n / 10) for n in range(6)]
    rows += [({"created": 9.0, "scorer": scorer}, 0.9) for scorer in ("b", None)]
    await write(engine, rows)
    assert await Traffic(engine).first_scores("a", 3) == [0.5, 0.4, 0.2]
    assert await Traffic(engine).first_scores("b", 3) == [0.9]


async def test_a_database_of_the_first_version_gets_operators(address):
    """Its keys hold as before, and none of them is an operator's."""
    made = "INSERT INTO keys (name, prefix, digest, created) VALUES ('app', 'p', 'd', 1)"
    await made_at(address, "0001", made)
    opened = await open_database(address)
    (key,) = await Keys(opened).all()
    assert (key.name, key.operator) == ("app", False)
    shown = await Keys(opened).create("boss", operator=True)
    assert (await Keys(opened).find(shown)).operator is True
    await opened.dispose()


def test_drift_is_told_where_it_is_and_not_where_it_is_not():
    drawn = random.Random(2)
    same = [drawn.betavariate(5, 1) for _ in range(1500)]
    lower = [drawn.betavariate(2, 2) for _ in range(500)]
    assert not score_drift(same).drifted
    found = score_drift(lower + same)
    assert found.drifted and found.distance > 0.3 and found.p_value < 1e-6
    assert (len(found.recent), len(found.earlier)) == (500, 1500)
    few = score_drift(lower[:39])
    assert few.distance is None and not few.drifted
    assert score_drift([]).to_json()["recent"] == [0] * 20
    assert histogram([0.0, 0.049, 0.05, 1.0]) == [2, 1, *[0] * 17, 1]


def test_warnings_name_what_is_wrong_and_nothing_else():
    def told(counts, spent=(), target=None, drift=None):
        share = 0.3 if counts else None
        return list(warnings(counts, spent, drift or score_drift([]), share, target))

    good = Count(0, "thr:0.5", "answer", 95, 30, 100, 1.0)
    assert told([]) == told([good], target=0.3) == []
    (failed,) = told([good, replace(good, finish="failed", requests=5)])
    assert failed == "5 of 100 requests failed"
    assert told([replace(good, requests=10), replace(good, finish="failed", requests=9)]) == []
    assert told([good], target=0.26) == []
    (above,) = told([good], target=0.2)
    assert above == "the strong share is 30.0%, above its target of 20.0%"
    (drifted,) = told([good], drift=score_drift([0.1] * 100 + [0.9] * 100))
    assert "scores have drifted: the newest 100 first drafts" in drifted
    spent = [
        Spent("app", today(), 0.9, 0, 1.0),
        Spent("old", "2001-01-01", 9.0, 0, 1.0),
        Spent("frugal", today(), 0.1, 5, 1.0, 100),
        Spent("free", today(), 99.0, 9999),
    ]
    assert told([], spent) == ["the key app has spent 90 % of its budget for today"]


def trim(*words, folder):
    return completed(*words, "--database", folder / "trim.sqlite").stdout.strip()


def test_the_traffic_of_all_is_for_operators_only(tmp_path):
    plain, boss = (trim("keys", "create", name, *more, folder=tmp_path)
                   for name, more in (("app", ["--strong-tokens-a-day", "100000"]),
                                      ("boss", ["--operator"])))  # fmt: skip
    assert "operator" in trim("keys", "list", folder=tmp_path)
    with serving(tmp_path) as url:
        seen = url.removesuffix("/v1") + "/page/traffic"

        def get(key=None, **query):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            return httpx.get(seen, headers=headers, params=query, timeout=30)

        for key, status in ((None, 401), ("trim-0-0", 401), (plain, 403), (boss, 200)):
            assert get(key).status_code == status
        assert "--operator" in get(plain).json()["error"]["message"]
        for wrong in (0, -1, 10**6, "x"):
            assert get(boss, hours=wrong).status_code == 400
        money = 0.0
        for number, question in enumerate(QUESTIONS[:4]):
            answer = httpx.post(
                f"{url}/chat/completions", json=asked(question, seed=number), timeout=30,
                headers={"Authorization": f"Bearer {plain}"},
            ).json()  # fmt: skip
            money += answer["usage"]["trim"]["money"]
        told = get(boss, hours=1).json()
        assert told["outcomes"] == {"stop": 4}
        assert told["routers"][0]["policy"] == "thr:0.5" and told["routers"][0]["requests"] == 4
        assert len(told["times"]) == 48
        assert sum(sum(slice["outcomes"].values()) for slice in told["times"]) == 4
        (spent,) = told["spending"]
        assert (spent["key"], spent["strong_tokens_a_day"]) == ("app", 100000)
        assert spent["money"] == pytest.approx(money) == told["money"]
        assert set(told["latency"]) == {"0.5", "0.95", "0.99"}
        assert told["warnings"] == told["silent"] == told["faults"] == []
        assert plain not in str(told) and boss not in str(told)


def test_requests_that_name_a_router_are_not_compared_with_the_target(tmp_path):
    others = [asked(model="trim:strong"), asked(trim={"policy": "thr-0.9"})]
    with serving(tmp_path, "--target-share", "0") as url:

        def send(body):
            assert httpx.post(f"{url}/chat/completions", json=body, timeout=30).status_code == 200

        for body in others:
            send(body)
        told = httpx.get(url.removesuffix("/v1") + "/page/traffic", timeout=30).json()
        send(asked())
    assert told["target_share"] == 0 and told["strong_share"] > 0.5
    assert told["warnings"] == []
    with closing(sqlite3.connect(tmp_path / "trim.sqlite")) as database:
        held = database.execute("SELECT controlled FROM requests ORDER BY created").fetchall()
    assert held == [(0,), (0,), (1,)]


def test_scores_of_other_scorers_are_not_compared(tmp_path):
    with serving(tmp_path) as url:
        for body in (asked(), asked(trim={"policy": "specreason-7"}), asked(model="trim:weak")):
            assert httpx.post(f"{url}/chat/completions", json=body, timeout=30).status_code == 200
        told = httpx.get(url.removesuffix("/v1") + "/page/traffic", timeout=30).json()
    with closing(sqlite3.connect(tmp_path / "trim.sqlite")) as database:
        used = database.execute("SELECT scorer FROM requests ORDER BY created").fetchall()
    assert used == [("joint",), ("grade",), (None,)]
    assert sum(told["drift"]["recent"]) + sum(told["drift"]["earlier"]) == 1


async def test_what_fails_is_seen(tmp_path):
    probing = True

    def answer(request):
        return counting(request) if probing else Reply({"error": "gone"}, 500)

    async with staged(answer) as server:
        manager = serving(tmp_path, configured(tmp_path, server))
        url = await asyncio.to_thread(manager.__enter__)
        probing = False
        try:
            async with httpx.AsyncClient(timeout=30) as client:
                bodies = [asked(f"question {number}", model="trim:weak") for number in range(20)]
                answers = await asyncio.gather(
                    *(client.post(f"{url}/chat/completions", json=body) for body in bodies)
                )
                assert {answered.status_code for answered in answers} == {503}
                told = (await client.get(url.removesuffix("/v1") + "/page/traffic")).json()
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)
    assert told["outcomes"] == {"failed": 20}
    assert sum(count for _, count in told["faults"]) == 20
    assert "20 of 20 requests failed" in told["warnings"]
    assert told["latency"] == {} and told["strong_share"] is None

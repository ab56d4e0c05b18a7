"""The events that the page is told of a solution, and the doors in front of them."""

import asyncio
import json
from itertools import pairwise

import httpx
import pytest
from staged_server import Reply, chat, staged, usage
from test_server_api import (
    QUESTIONS,
    asked,
    configured,
    counting,
    rows,
    serving,
    until_quiet,
)
from test_server_traffic import trim

from trim.config import RouterConfig
from trim.configuration.source import shipped_models
from trim.events import Finished
from trim.policies.registry import parse_policies
from trim.router import Router
from trim.server.page.events import EventSerializer
from trim.shipped import SAMPLING


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as address:
        yield address.removesuffix("/v1")


def told(url, body, **more):
    answer = httpx.post(f"{url}/page/solutions", json=body, timeout=30, **more)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [json.loads(part.removeprefix("data: ")) for part in answer.text.split("\n\n")[:-1]]


def named(events, name):
    return [event for event in events if event["event"] == name]


@pytest.mark.parametrize("model", ["trim", "trim:thr-0.99", "trim:weak", "trim:strong",
                                   "trim:takeover-0.9", "trim:random-0.5", "trim:token-0.9",
                                   "trim:thr-0.9+tail-0.9"])  # fmt: skip
def test_events_tell_what_the_api_answers(url, model):
    body = asked(QUESTIONS[1], model=model, seed=4)
    events = told(url, body)
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=30).json()
    first, *middle, last = events
    assert (first["event"], first["seed"], last["event"]) == ("begun", 4, "finished")
    assert last["text"] == answer["choices"][0]["message"]["content"]
    assert last["text"] == "".join(step["text"] for step in named(middle, "kept"))
    for name in ("strong_tokens", "weak_tokens", "discarded_tokens", "interventions", "policy",
                 "strong_calls"):  # fmt: skip
        assert last[name] == answer["usage"]["trim"][name]
    alone = {"trim:weak": "weak", "trim:strong": "strong"}.get(model)
    assert (first["reason"] is not None, first["whole"]) == (alone is not None, alone)
    assert (last["whole"] or {}).get("role") == alone
    for event in named(middle, "decided"):
        assert event["reason"] and event["left"] == {}
        if event["belief"]:
            assert sum(event["belief"].values()) == pytest.approx(1)
    scored = model not in ("trim:weak", "trim:strong", "trim:random-0.5", "trim:token-0.9")
    assert bool(named(middle, "scored")) == scored
    assert all(bool(event["belief"]) == scored for event in named(middle, "decided"))


def test_spans_are_told_as_they_are_written(url):
    events = told(url, asked(QUESTIONS[1], model="trim:token-0.9", seed=4))
    assert not named(events, "written")
    mixed = 0
    for step in named(events, "kept"):
        spans = [span for span in named(events, "span") if span["index"] == step["index"]]
        assert events.index(spans[-1]) < events.index(step)
        assert step["text"].rstrip("\n") == "".join(each["text"] for each in spans).rstrip("\n")
        for span, after in pairwise(spans):
            if span["dropped"]:
                assert (span["author"], after["author"]) == ("weak", "strong")
        if "spans" in step:
            mixed += 1
            kept = [(each["author"], each["text"]) for each in step["spans"]]
            assert kept == [(each["author"], each["text"]) for each in spans if each["text"]]
            assert any(span["dropped"] for span in spans)
        else:
            assert {span["author"] for span in spans} == {step["author"]}
    assert mixed
    assert {event["action"] for event in named(events, "decided")} == {"continue"}
    assert events[-1]["strong_calls"] >= mixed


def test_a_solution_that_starts_anew_is_told_so(url):
    events = told(url, asked(QUESTIONS[2], model="trim:cascade-1", seed=1))
    actions = [event["action"] for event in named(events, "decided")]
    assert actions[-1] == "restart" and set(actions[:-1]) <= {"continue"}
    reasons = [event["reason"] for event in named(events, "decided")]
    assert all("whole solution" in reason for reason in reasons[:-1])
    assert "lowest score" in reasons[-1]
    later = events[events.index(named(events, "decided")[-1]) + 1 :]
    assert {step["author"] for step in named(later, "kept")} == {"strong"}
    assert events[-1]["text"] == "".join(step["text"] for step in named(later, "kept"))


def test_a_budget_says_what_is_left_and_where_it_denies(url):
    events = told(url, asked(model="trim:thr-1", trim={"strong_tokens": 30, "money": 1}))
    left = [event["left"] for event in named(events, "decided")]
    tokens = [each["strong_tokens"] for each in left]
    assert tokens[0] == 30 and tokens == sorted(tokens, reverse=True) and tokens[-1] == 0
    assert all(0 < each["money"] < 1 for each in left)
    notes = [step["note"] for step in named(events, "kept")]
    assert notes[0] is None and "may cost no more" in notes[-1]


@pytest.mark.parametrize(
    "body, status, message",
    [
        (asked(model="trim:nothing"), 404, "unknown router"),
        (asked(n=2), 400, "one solution at a time"),
        (asked(tools=[{"type": "function"}]), 400, "cannot serve"),
        (asked(" "), 400, "empty"),
        (asked("word " * 5000), 400, "context"),
        ({"model": "trim"}, 400, "messages"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_event(url, body, status, message):
    answer = httpx.post(f"{url}/page/solutions", json=body, timeout=30)
    assert (answer.status_code, message in answer.json()["error"]["message"]) == (status, True)


def test_keys_budgets_and_records_are_those_of_the_api(tmp_path):
    key = trim("keys", "create", "app", "--strong-tokens-a-day", "40", folder=tmp_path)
    headers = {"Authorization": f"Bearer {key}"}
    with serving(tmp_path) as address:
        url = address.removesuffix("/v1")
        body = asked(model="trim:strong")
        assert httpx.post(f"{url}/page/solutions", json=body).status_code == 401
        end = told(url, body, headers=headers)[-1]
        assert 40 <= end["strong_tokens"] <= 41 and end["finish"] == "length"
        spent = httpx.post(f"{url}/page/solutions", json=body, headers=headers)
        assert spent.status_code == 429 and "has spent its" in spent.json()["error"]["message"]
        menu = httpx.get(f"{url}/page/menu").json()
        assert menu["keys"] is True and key not in json.dumps(menu)
    assert asyncio.run(rows(tmp_path)) == [("length", True)]


def test_requests_are_listed_with_their_steps_for_operators_only(tmp_path):
    app = {"Authorization": f"Bearer {trim('keys', 'create', 'app', folder=tmp_path)}"}
    made = trim("keys", "create", "boss", "--operator", folder=tmp_path)
    boss = {"Authorization": f"Bearer {made}"}
    with serving(tmp_path, "--keep-texts") as address:
        url = address.removesuffix("/v1")
        ends = [
            told(url, asked(question, model="trim:thr-0.9", seed=1), headers=app)
            for question in QUESTIONS[:12]
        ]
        for path in ("requests", "requests/x/steps", "traffic"):
            for headers, status in (({}, 401), (app, 403)):
                assert httpx.get(f"{url}/page/{path}", headers=headers).status_code == status
        first = httpx.get(f"{url}/page/requests", headers=boss).json()
        assert len(first["requests"]) == 10 and first["more"]
        oldest = first["requests"][-1]["created"]
        rest = httpx.get(f"{url}/page/requests?before={oldest!r}", headers=boss).json()
        assert len(rest["requests"]) == 2 and not rest["more"]
        listed = [*first["requests"], *rest["requests"]]
        assert [one["question"] for one in listed] == list(reversed(QUESTIONS[:12]))
        assert {one["key"] for one in listed} == {"app"}
        for one, events in zip(reversed(listed), ends, strict=True):
            kept = named(events, "kept")
            assert [step["author"] for step in one["steps"]] == [step["author"] for step in kept]
            path = f"{url}/page/requests/{one['id']}/steps"
            steps = httpx.get(path, headers=boss).json()["steps"]
            assert [step["text"] for step in steps] == [step["text"] for step in kept]
            assert [step["score"] for step in steps] == [step["score"] for step in kept]
            assert one["money"] == pytest.approx(events[-1]["money"])
        nothing = httpx.get(f"{url}/page/requests/{'x' * 64}/steps", headers=boss)
        assert nothing.json() == {"steps": []}
        for wrong in ("?hours=0", "?hours=9999", "?before=nan", "?before=1e12", "?before=-1",
                      f"/{'x' * 65}/steps"):  # fmt: skip
            answer = httpx.get(f"{url}/page/requests{wrong}", headers=boss)
            assert answer.status_code == 400, wrong
        saved = httpx.get(f"{url}/page/traffic", headers=boss).json()["saved"]
        assert saved["money"] == pytest.approx(sum(events[-1]["money"] for events in ends))
        kept = sum(events[-1]["strong_tokens"] + events[-1]["weak_tokens"] for events in ends)
        assert (saved["requests"], saved["tokens"]) == (12, kept)
        assert saved["strong_alone"] == pytest.approx(4e-6 * kept)


async def test_who_leaves_stops_all_work(tmp_path):
    async with staged(counting, delay=0.1) as server:
        manager = serving(tmp_path, configured(tmp_path, server))
        address = await asyncio.to_thread(manager.__enter__)
        try:
            before = len(server.requests)
            async with (
                httpx.AsyncClient(timeout=30) as client,
                client.stream("POST", address.removesuffix("/v1") + "/page/solutions",
                              json=asked("a question")) as answer,
            ):  # fmt: skip
                async for line in answer.aiter_lines():
                    if '"kept"' in line:
                        break
            assert await until_quiet(server) < before + 30  # It would go on without end.
            while not (kept := await rows(tmp_path)):
                await asyncio.sleep(0.05)
            assert kept == [("abandoned", True)]
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)


async def test_a_model_that_falls_silent_ends_the_events(tmp_path):
    def answer(request):
        deep = "step 2" in str(request.body["messages"])
        return Reply({"error": "gone"}, 500) if deep else counting(request)

    async with staged(answer) as server:
        manager = serving(tmp_path, configured(tmp_path, server))
        address = await asyncio.to_thread(manager.__enter__)
        try:
            url = address.removesuffix("/v1")
            events = await asyncio.to_thread(told, url, asked("a question", model="trim:random-0"))
            assert len(named(events, "kept")) == 3
            assert events[-1]["event"] == "failed"
            assert events[-1]["error"]["code"] == "model_unavailable"
            assert await rows(tmp_path) == [("failed", True)]
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)


async def test_a_part_that_does_not_answer_is_named_where_it_is_passed_over(tmp_path):
    probed = True

    def answer(request):
        if request.body["model"] == "strong" and not probed:
            return Reply({"error": "gone"}, 500)
        counts = usage(len(str(request.body["messages"])), 5)
        if request.body["messages"][0]["content"].startswith("Count"):
            return chat(" five, six", counts=counts, matched_stop=None)
        return chat(r"a \boxed{1}", counts=counts, matched_stop=7)

    async with staged(answer) as server:
        manager = serving(tmp_path, configured(tmp_path, server))
        address = await asyncio.to_thread(manager.__enter__)
        probed = False
        try:
            url = address.removesuffix("/v1")
            body = asked([{"type": "text", "text": "a question"}], model="trim:random-1",
                         trim={"fallback": "keep"})  # fmt: skip
            events = await asyncio.to_thread(told, url, body)
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)
    ((decided,), (kept,)) = (named(events, name) for name in ("decided", "kept"))
    assert decided["action"] == "regenerate" and decided["belief"] is None
    assert kept["note"] == "the strong model does not answer"


async def test_telling_changes_nothing():
    """The same steps with and without somebody who asks why."""
    models = shipped_models(exact=True, slots=1)
    for spec in ("thr:0.9", "random:0.5", "cascade:0.5", "token:0.9", "thr:0.9+tail:0.9"):
        (policy,) = parse_policies(spec)
        router = Router(
            weak=models.weak,
            strong=models.strong,
            scorer=models.scorer,
            policy=policy,
            config=RouterConfig(sampling=SAMPLING),
        )
        serializer = EventSerializer(router, None)
        for seed, question in enumerate(QUESTIONS[:3]):
            alone = await router.asolve(question, seed)
            solution = router.begin(question, seed)
            serializer.begin(solution)
            async for event in router.run(solution):
                if isinstance(event, Finished):
                    assert event.trace.steps == alone.steps
                    assert event.trace.usage["strong"].tokens == alone.strong_tokens
                else:
                    json.dumps(serializer.serialize(event, solution))


async def test_models_between_are_told_as_authors_of_their_own():
    models = shipped_models(exact=True, slots=1)
    (policy,) = parse_policies("thr:0.9")
    router = Router(
        weak=models.weak,
        strong=models.strong,
        scorer=models.scorer,
        policy=policy,
        intermediate=(models.weak,),
        config=RouterConfig(sampling=SAMPLING),
    )
    authors, rejected = set(), 0
    for seed, question in enumerate(QUESTIONS[:6]):
        solution = router.begin(question, seed)
        async for event in router.run(solution):
            record = EventSerializer(router, None).serialize(event, solution)
            authors |= {record["author"]} if record["event"] == "written" else set()
            rejected += len(record.get("rejected", ()))
    assert authors == {"weak", "intermediate", "strong"} and rejected > 0

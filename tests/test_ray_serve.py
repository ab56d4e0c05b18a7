"""The server on Ray Serve, two replicas on one machine: `make test-ray`."""

import asyncio
import inspect
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import openai
import postgres
import pytest
import yaml
from test_server_api import QUESTIONS, asked
from test_server_workers import kept, key_for
from test_telemetry import ENDPOINT, collector

from trim.errors import InvalidInput

serve = pytest.importorskip("ray.serve", reason="needs the extra ray-serve: run `make test-ray`")

BUDGET = 1500
CLIENTS = 6
OPEN_TO_ALL = """
import sys
import ray
from ray import serve
from trim.cluster.serving import ServeArguments, application

ray.init("local", num_cpus=1, include_dashboard=False, object_store_memory=100_000_000)
serve.start(http_options={"host": "0.0.0.0", "port": int(sys.argv[2])})
serve.run(application(ServeArguments(database=sys.argv[1], replicas=1)))
"""


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The server's address, its database, a key, and the spans that its replicas send."""
    import ray

    from trim.cluster.serving import ServeArguments, application

    folder = tmp_path_factory.mktemp("serve")
    database = postgres.fresh() or str(folder / "trim.sqlite")
    key = asyncio.run(key_for(database, strong_tokens_a_day=BUDGET))
    with collector() as (address, received):
        port = free_port()
        settings = {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",
            "RAY_TMPDIR": str(tmp_path_factory.mktemp("ray")),
            ENDPOINT: address,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        ray.init(num_cpus=3, include_dashboard=False, object_store_memory=100_000_000,
                 _node_ip_address="127.0.0.1")  # fmt: skip
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            serve.run(application(ServeArguments(database=database, policy="thr:0.9")))
            yield f"http://127.0.0.1:{port}/v1", database, key, received
        finally:
            serve.shutdown()
            ray.shutdown()
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name)
                else:
                    os.environ[name] = value


def steps_by_process(received):
    """How many steps each process has told of."""
    found = Counter()
    for _, request in received:
        for resource in request.resource_spans:
            names = {pair.key: pair.value for pair in resource.resource.attributes}
            spans = [span for scope in resource.scope_spans for span in scope.spans]
            steps = sum(span.name.startswith("step ") for span in spans)
            found[names["process.pid"].int_value] += steps
    return found


def test_the_example_is_an_application(place):
    from trim.cluster import serving

    path = Path(__file__).parents[1] / "docs" / "ray-serve.yaml"
    (example,) = yaml.safe_load(path.read_text(encoding="utf-8"))["applications"]
    assert example["import_path"] == f"{serving.__name__}:application"
    # Ray makes what the signature names of the arguments.
    (parameter,) = inspect.signature(serving.application).parameters.values()
    arguments = parameter.annotation(**example["args"])
    assert arguments.replicas == 2
    assert isinstance(serving.application(arguments), serve.Application)
    with pytest.raises(InvalidInput, match="unknown policy"):
        serving.application(arguments.model_copy(update={"policy": "none"}))


def test_a_relative_database_is_refused():
    from trim.cluster import serving

    # It would be one in the folder in which Ray was started.
    with pytest.raises(InvalidInput, match="give an absolute one"):
        serving.application(serving.ServeArguments(database="trim.sqlite"))
    assert serving.absolute("~/trim.sqlite") == str(Path.home() / "trim.sqlite")
    assert serving.absolute("/data/trim.sqlite") == "/data/trim.sqlite"
    assert serving.absolute("postgresql://trim@database/trim") == "postgresql://trim@database/trim"


def test_without_keys_ray_may_not_listen_for_other_machines(tmp_path, tmp_path_factory):
    variables = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    found = subprocess.run(
        [sys.executable, "-c", OPEN_TO_ALL, tmp_path / "trim.sqlite", str(free_port())],
        env={**os.environ, **variables, "RAY_TMPDIR": str(tmp_path_factory.mktemp("ray"))},
        capture_output=True,
        text=True,
    )
    assert found.returncode != 0
    assert "listening on 0.0.0.0: other machines need a key" in found.stdout + found.stderr


def test_keys_are_needed_where_ray_does_not_tell_the_address(monkeypatch):
    from trim.cluster import serving

    class Client:
        http_config = None

    monkeypatch.setattr(serve.context, "_get_global_client", Client)
    assert serving.public_host("127.0.0.1") == serving.UNKNOWN_HOST
    monkeypatch.delattr(serve.context, "_get_global_client")
    assert serving.public_host("localhost") == serving.UNKNOWN_HOST
    assert serving.public_host("0.0.0.0") == "0.0.0.0"


async def test_a_stream_comes_step_by_step(place):
    url, _, key, _ = place
    client = openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0)
    answer = await client.chat.completions.create(**asked(seed=3))
    stream = await client.chat.completions.create(
        **asked(seed=3), stream=True, stream_options={"include_usage": True}
    )
    *pieces, last = [piece async for piece in stream]
    texts = [piece.choices[0].delta.content for piece in pieces if piece.choices[0].delta.content]
    assert len(texts) > 1
    assert "".join(texts) == answer.choices[0].message.content
    assert last.usage.total_tokens == answer.usage.total_tokens
    with pytest.raises(openai.AuthenticationError):
        stranger = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
        await stranger.chat.completions.create(**asked())


async def test_pieces_come_while_the_answer_is_written(place):
    url, _, key, _ = place
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(timeout=60, headers=headers) as client:
        for question in QUESTIONS:
            body = asked(question, stream=True, model="trim:weak")
            async with client.stream("POST", f"{url}/chat/completions", json=body) as answer:
                reads = [piece async for piece in answer.aiter_raw()]
            assert b"".join(reads).endswith(b"data: [DONE]\n\n")
            if len(reads) > 2:
                return
    raise AssertionError("every stream came in one piece")


async def test_both_replicas_answer_and_keep_one_budget(place):
    url, database, key, received = place
    served = {}

    async def ask_until_spent(client):
        for number in range(1000):
            question = QUESTIONS[number % len(QUESTIONS)]
            body = asked(question, model="trim:strong")
            answer = await client.post(f"{url}/chat/completions", json=body)
            if answer.status_code == 429:
                code = answer.json()["error"]["code"]
                if code == "budget_reserved":
                    await asyncio.sleep(0.05)
                    continue
                assert code == "insufficient_quota"
                return
            assert answer.status_code == 200, answer.text
            record = answer.json()
            spent = record["usage"]["trim"]
            name = record["id"].partition("-")[2]
            served[name] = (spent["strong_tokens"], spent["money"])
        raise AssertionError("the budget does not hold")

    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(timeout=60, headers=headers) as client:
        await asyncio.gather(*(ask_until_spent(client) for _ in range(CLIENTS)))
    on_disk, (_, spent) = await kept(database)
    assert {name: on_disk[name] for name in served} == served
    assert spent == sum(tokens for tokens, _ in on_disk.values())
    largest = max(tokens for tokens, _ in on_disk.values())
    assert BUDGET <= spent <= BUDGET + CLIENTS * largest < 2 * BUDGET
    async with asyncio.timeout(60):
        while len(found := steps_by_process(received)) < 2 or not all(found.values()):
            await asyncio.sleep(0.1)
    assert len(found) == 2

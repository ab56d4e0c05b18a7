"""Real vLLM servers on loopback, one a checkpoint, that end with whoever started them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reward_checkpoint import CONTEXT, write_reward_checkpoint

from trim.shipped import FOLDER
from trim.shipped.export import ROLES, export_models

REWARD = "prm"
PATIENCE = 900.0
"""Seconds until all servers must be up: less than one on an idle machine."""
GRACE = 20.0
"""Seconds that a server has to end by itself."""
BLOCK = 32
"""Tokens that the prefix cache holds or lacks together; the smallest that there is on a CPU."""
SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "TORCHDYNAMO_DISABLE": "1",
}


@dataclass(frozen=True)
class VllmServer:
    """One model of a server.

    Attributes:
        name: what the server calls it.
        url: of the server.
        folder: the checkpoint.
        tag: id of the step tag of a reward model.
        process: id of the server's first process, which leads their group.
    """

    name: str
    url: str
    folder: Path
    tag: int | None
    process: int


@contextlib.contextmanager
def serving(python: str, folder: Path) -> Iterator[dict[str, VllmServer]]:
    """Serve the shipped models and a tiny reward model, by name.

    Args:
        python: of the environment where vLLM is installed.
        folder: gets the checkpoints and the servers' logs.
    """
    checkpoints = {path.name: path for path in export_models(FOLDER, folder / "models")}
    checkpoints[REWARD] = folder / REWARD
    tag = write_reward_checkpoint(checkpoints[REWARD], checkpoints[ROLES[1]])
    with contextlib.ExitStack() as stack:
        # A test run that is told to end does so as by Ctrl-C, and takes its servers along.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        stack.callback(signal.signal, signal.SIGTERM, before)
        started = {}
        for name, checkpoint in checkpoints.items():
            port = free_port()
            command = arguments(python, checkpoint, port, tag if name == REWARD else None)
            process = stack.enter_context(running(command, folder / f"{name}.log"))
            url = f"http://127.0.0.1:{port}"
            step_tag = tag if name == REWARD else None
            server = VllmServer(name, url, checkpoint, step_tag, process.pid)
            started[name] = (server, process)
        deadline = time.monotonic() + PATIENCE
        for name, (server, process) in started.items():
            wait_for(server.url, process, folder / f"{name}.log", deadline)
        yield {name: server for name, (server, _) in started.items()}


def arguments(python: str, checkpoint: Path, port: int, tag: int | None) -> list[str]:
    command = ["nice", "-n", "5", python, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(checkpoint), "--served-model-name", checkpoint.name]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "float32", "--enforce-eager", "--generation-config", "vllm"]
    if tag is None:
        command += ["--max-model-len", "1024", "--block-size", str(BLOCK)]
        return [*command, "--enable-prompt-tokens-details"]
    command += ["--max-model-len", str(CONTEXT), "--runner", "pooling"]
    return [*command, "--pooler-config", json.dumps({"step_tag_id": tag})]


@contextlib.contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen]:
    """A process, and all that it starts, as long as the block takes."""
    environment = {**os.environ, **SETTINGS}
    environment.pop("PYTHONPATH", None)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen) -> None:
    """End the process's own group: gently, then not, also where Ctrl-C is pressed once more."""
    try:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url: str, process: subprocess.Popen, log: Path, deadline: float) -> None:
    """Until the server is healthy; RuntimeError with the log's end where it ends or stays mute."""
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(1)
    told = log.read_text(errors="replace")[-3000:]
    raise RuntimeError(f"vLLM did not start ({process.poll()}); the end of its log:\n{told}")

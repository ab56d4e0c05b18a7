"""llama.cpp's HTTP server with the shipped models, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from trim.engines.llama_cpp import load_library
from trim.shipped import FOLDER

CONTEXT = 1024
"""Tokens of a slot."""


@contextmanager
def llama_servers(slots: int) -> Iterator[dict[str, str]]:
    """Addresses by model; `slots` is the server's --parallel."""
    context = multiprocessing.get_context("spawn")
    processes, urls = [], {}
    try:
        for model in ("weak", "strong", "scorer"):
            here, there = context.Pipe()
            process = context.Process(target=serve, args=(there, model, slots), daemon=True)
            process.start()
            processes.append(process)
            urls[model] = here.recv()
        yield urls
    finally:
        for process in processes:
            process.terminate()
            process.join()


def serve(wire: Connection, model: str, slots: int) -> None:
    xllamacpp = load_library()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(FOLDER / f"{model}.gguf")
    parameters.n_parallel = slots
    parameters.n_ctx = CONTEXT * slots
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    # A thread serves one kept connection.
    parameters.n_threads_http = slots + 2
    parameters.n_gpu_layers = 0
    parameters.warmup = False
    parameters.verbosity = -1
    parameters.port = 0
    parameters.cache_ram_mib = 64
    server = xllamacpp.Server(parameters)
    # A server that is freed before its first answer would wait for itself forever.
    server.handle_completions({"prompt": "1", "n_predict": 1})
    wire.send(server.listening_address)
    while True:
        time.sleep(3600)

"""Where the file of a benchmark comes from: a folder, or the Hugging Face hub."""

from __future__ import annotations

import logging
from pathlib import Path

from trim.errors import InvalidInput
from trim.evaluation.benchmarks.benchmark import Benchmark
from trim.evaluation.benchmarks.data_file import READERS


def locate(benchmark: Benchmark, split: str, data: Path | None) -> Path:
    """The file of a split: in the folder `data`, or fetched from the hub without one.

    Raises:
        InvalidInput: the folder does not have it, or the hub cannot be reached.
    """
    if data is not None:
        names = benchmark.names(split)
        found = [data / f"{name}{ending}" for name in names for ending in READERS]
        for path in found:
            if path.is_file():
                return path
        whole = "" if split == next(iter(benchmark.files)) else f", split {split}"
        raise InvalidInput(
            f"{data}: has no file of {benchmark.name}{whole}; it needs"
            f" {' or '.join(path.name for path in found)}"
        )
    return fetch(benchmark, split)


def fetch(benchmark: Benchmark, split: str) -> Path:
    """Fetch a file from the hub into its cache, or take it from there."""
    wanted = f"give --data FOLDER with {benchmark.files[split]}.jsonl"
    file = benchmark.hub.get(split)
    if file is None:
        raise InvalidInput(f"{benchmark.name}: is not fetched from the hub; {wanted}")
    try:
        import huggingface_hub
    except ImportError as error:
        raise InvalidInput(
            f"{benchmark.name}: {wanted}, or install trim[hub] to fetch it from the hub"
        ) from error
    # It tells of every attempt; one line says it all in the end.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    try:
        path = huggingface_hub.hf_hub_download(file.repository, file.path, repo_type="dataset")
    # The hub's client raises errors of its own, of its HTTP client and of the system.
    except Exception as error:
        raise InvalidInput(
            f"{benchmark.name}: cannot be fetched from the hub ({file.repository},"
            f" {type(error).__name__}); {wanted}"
        ) from error
    return Path(path)

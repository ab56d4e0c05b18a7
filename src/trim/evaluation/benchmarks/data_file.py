"""Data files: JSON lines, Parquet, CSV."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trim.documents import parse_json
from trim.engines.hub import cached_file
from trim.errors import InvalidInput, require_extra
from trim.evaluation.benchmarks.benchmark import Benchmark, Record
from trim.files import read_bytes


@dataclass(frozen=True)
class DataFile:
    """The records of a file.

    Attributes:
        sha256: hash of the file's bytes.
    """

    path: Path
    records: tuple[Record, ...]
    sha256: str

    @staticmethod
    def read(path: Path) -> DataFile:
        """Read a `.jsonl`, `.parquet` or `.csv` file.

        Raises:
            InvalidInput: another suffix, or the file is unreadable, damaged or empty.
            MissingExtra: a Parquet file, and PyArrow is not installed.
        """
        if path.suffix not in READERS:
            raise InvalidInput(
                f"{path}: not a data file; the name must end in {', '.join(READERS)}"
            )
        try:
            content = read_bytes(path, largest=None)
        except OSError as error:
            raise InvalidInput(f"{path}: cannot be read ({error.strerror})") from error
        records = tuple(READERS[path.suffix](path, content))
        if not records:
            raise InvalidInput(f"{path}: empty; at least one problem is needed")
        return DataFile(path, records, hashlib.sha256(content).hexdigest())


def read_lines(path: Path, content: bytes) -> Iterator[Record]:
    for index, line in enumerate(decode(path, content).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = parse_json(line, finite=False)
        except ValueError as error:
            reason = getattr(error, "msg", error)
            raise InvalidInput(f"{path}, line {index}: invalid JSON ({reason})") from error
        if not isinstance(values, dict):
            raise InvalidInput(f"{path}, line {index}: not a JSON object with fields")
        yield Record(values, f"{path}, line {index}", index - 1)


def read_parquet(path: Path, content: bytes) -> Iterator[Record]:
    with require_extra("a Parquet file"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(content)).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InvalidInput(f"{path}: not a Parquet file, or a damaged one") from error
    for index, row in enumerate(rows):
        yield Record(row, f"{path}, row {index + 1}", index)


def read_csv(path: Path, content: bytes) -> Iterator[Record]:
    text = decode(path, content).removeprefix("\ufeff")
    try:
        for index, row in enumerate(csv.DictReader(io.StringIO(text, newline=""), strict=True)):
            named = {name: value for name, value in row.items() if name is not None}
            yield Record(named, f"{path}, row {index + 1}", index)
    except csv.Error as error:
        raise InvalidInput(f"{path}: invalid CSV ({error})") from error


def decode(path: Path, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: not UTF-8 text") from error


READERS: dict[str, Callable[[Path, bytes], Iterator[Record]]] = {
    ".jsonl": read_lines,
    ".parquet": read_parquet,
    ".csv": read_csv,
}
"""By suffix."""


def locate(benchmark: Benchmark, split: str, data: Path | None) -> Path:
    """The file of a split: in the folder `data`, or from the Hugging Face hub if that is None.

    Raises:
        InvalidInput: the folder does not contain it, or the hub cannot be reached.
    """
    if data is not None:
        names = benchmark.names(split)
        found = [data / f"{name}{ending}" for name in names for ending in READERS]
        for path in found:
            if path.is_file():
                return path
        whole = "" if split == next(iter(benchmark.files)) else f", split {split}"
        raise InvalidInput(
            f"{data}: contains no file of {benchmark.name}{whole}; it needs"
            f" {' or '.join(path.name for path in found)}"
        )
    return fetch(benchmark, split)


def fetch(benchmark: Benchmark, split: str) -> Path:
    """Path of a file in the hub's cache, downloaded if it is not there yet.

    A cached file stays as it is, even if the data set is changed on the hub.
    """
    wanted = f"give --data FOLDER with {benchmark.files[split]}.jsonl"
    file = benchmark.hub.get(split)
    if file is None:
        raise InvalidInput(f"{benchmark.name}: not available from the hub; {wanted}")
    if find_spec("huggingface_hub") is None:
        raise InvalidInput(
            f"{benchmark.name}: {wanted}, or pip install 'trim-router[hub]' to fetch it from"
            " the hub"
        )
    # It logs every attempt; the error below is enough.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    try:
        return cached_file(file.repository, file.path, kind="dataset")
    # The client raises its own errors, those of its HTTP client and OSError.
    except Exception as error:
        raise InvalidInput(
            f"{benchmark.name}: cannot be fetched from the hub ({file.repository},"
            f" {type(error).__name__}); {wanted}"
        ) from error

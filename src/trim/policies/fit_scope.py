"""Fitting the classifier of a scope to examples of requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trim.documents import parse_json
from trim.errors import InvalidInput
from trim.files import read_text
from trim.policies.rivals import embedding as sentence
from trim.policies.rivals.embedding import EmbeddingModel, Encode
from trim.policies.rivals.fit import fit_regression
from trim.policies.scope import CHARACTERS, FAMILY


@dataclass(frozen=True)
class Example:
    """A request, and whether it needs reasoning."""

    question: str
    reasoning: bool


LEAST = 8
"""Examples of each kind that a classifier needs."""


def read_examples(path: Path) -> list[Example]:
    """The examples in a file of JSON lines: `{"question": "…", "reasoning": true}`.

    Raises:
        InvalidInput: the file is unreadable, a line is malformed, or there are too few of a kind.
    """
    try:
        lines = read_text(path).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: cannot read the examples ({error})") from error
    examples = [
        parse_example(line, f"{path}, line {n}") for n, line in enumerate(lines, 1) if line.strip()
    ]
    counts = [sum(each.reasoning is kind for each in examples) for kind in (True, False)]
    if min(counts) < LEAST:
        raise InvalidInput(
            f"{path}: {counts[0]} examples with reasoning and {counts[1]} without;"
            f" a classifier needs at least {LEAST} of each"
        )
    return examples


def parse_example(line: str, place: str) -> Example:
    try:
        record = parse_json(line)
        question, reasoning = record["question"], record["reasoning"]
    except (LookupError, TypeError, ValueError):
        question = reasoning = None
    if not isinstance(question, str) or not question.strip() or not isinstance(reasoning, bool):
        raise InvalidInput(
            f'{place}: not an example such as {{"question": "What is 3 x 7?", "reasoning": true}}'
        )
    return Example(question, reasoning)


def fit_scope(examples: Sequence[Example], encode: Encode = sentence.encode) -> EmbeddingModel:
    """Logistic regression on the embeddings of the questions.

    Raises:
        MissingExtra: scikit-learn or the encoder is not installed.
    """
    vectors = np.array(encode([example.question[:CHARACTERS] for example in examples]))
    labels = [example.reasoning for example in examples]
    return EmbeddingModel(encode, *fit_regression(vectors, labels, inverse_penalty=1.0))


def count_right(examples: Sequence[Example], encode: Encode = sentence.encode) -> int:
    """Number of examples on the right side of 0.5, each half judged by a fit to the other.

    The halves are every second example of each kind.
    """
    kinds = [[each for each in examples if each.reasoning is kind] for kind in (True, False)]
    halves = [[each for kind in kinds for each in kind[start::2]] for start in (0, 1)]
    right = 0
    for fitted, judged in (halves, halves[::-1]):
        model = fit_scope(fitted, encode)
        probabilities = model.probabilities([each.question[:CHARACTERS] for each in judged])
        right += sum(
            (probability >= 0.5) is each.reasoning
            for probability, each in zip(probabilities, judged, strict=True)
        )
    return right


def scope_record(model: EmbeddingModel, encoder: str = sentence.ENCODER) -> dict[str, Any]:
    """The content of the file for `trim.policies.scope.read_classifier`."""
    return {
        "policy": FAMILY,
        "encoder": encoder,
        "intercept": model.intercept,
        "coefficients": list(model.coefficients),
    }

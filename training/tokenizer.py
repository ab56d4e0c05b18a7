"""The shipped models' tokenizer: GPT-2's byte-level BPE, trained on the suites' texts.

Digits are never merged with each other (a number is read digit by digit) and line breaks are
never merged at all. A text that ends with a blank line therefore has the same tokens whatever
follows it, and a prefix is continued exactly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from random import Random

from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from training.data import TRAINING_SUITES
from trim.evaluation.suites import draw_for_training

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")
BEGIN, END = 1, 2
SPACE, NEWLINE = "Ġ", "Ċ"  # In GPT-2's byte-to-unicode map.


def learn_merges(texts: Iterable[str], vocabulary_size: int) -> list[tuple[str, str]]:
    """Byte-pair merges trained on `texts`, in order of frequency."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((re.sub(r"\d", "", text) for text in texts), trainer)
    learned = json.loads(tokenizer.to_str())["model"]["merges"]
    merges = [(left, right) for left, right in learned if NEWLINE not in left + right]
    return [(SPACE, digit) for digit in "0123456789"] + merges


def build_tokenizer(merges: list[tuple[str, str]]) -> Tokenizer:
    tokens = [*SPECIAL_TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokens += [left + right for left, right in merges]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def make_tokenizer(vocabulary_size: int = 560, seed: int = 0) -> Tokenizer:
    """Train the tokenizer on training problems of every suite."""
    random = Random(f"tokenizer/{seed}")
    texts = []
    for suite in TRAINING_SUITES.values():
        for _ in range(2000):
            problem = draw_for_training(suite, random)
            texts.append("\n\n".join([problem.question, *problem.steps]))
    return build_tokenizer(learn_merges(texts, vocabulary_size))


def save_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))


def load_tokenizer(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))

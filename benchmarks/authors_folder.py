r"""What the authors' script reads in the comparison of docs/guides/authors.md, in one folder.

    python benchmarks/authors_folder.py FOLDER --suite chain -n 200 --seed 7
    python benchmarks/authors_folder.py FOLDER --weak a.gguf --strong b.gguf --problems gsm8k.jsonl

FOLDER/weak, strong and prm hold tokenizers with a chat template, FOLDER/data/gsm8k/test.jsonl the
problems, and FOLDER/trim.yaml the configuration for `trim eval` with the same servers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from trim.engines.gguf import read_metadata
from trim.errors import InvalidInput
from trim.evaluation.evaluate import find_suite
from trim.evaluation.suites import generate
from trim.files import write_atomically
from trim.scorers.pooling import TAG
from trim.shipped import FOLDER
from trim.shipped.checkpoint import added_token, pair_model, tokenizer
from trim.shipped.gguf_model import read_gguf

CHATML = (
    "{% if messages[0]['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""As Qwen2.5's template for chats without tools, its default system message included."""
CHATML_TOKENS = ("<|im_start|>", "<|im_end|>", TAG)
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
"""Types of tokens in a GGUF file."""
QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2's tokenizer cuts a text before it merges (`qwen2` in GGUF)."""
Tokenizer = dict[str, Any]


def shipped_tokenizer(model: Path) -> tuple[Tokenizer, Mapping[str, Any]]:
    """A shipped model's tokenizer with ChatML's tokens, and its configuration.

    As with Qwen's, no token is put before a text: counts are those of the text alone.
    """
    held = read_gguf(model)
    made = tokenizer(held)
    made["post_processor"] = None
    made["added_tokens"] += [
        added_token(len(held.tokens) + index, token) for index, token in enumerate(CHATML_TOKENS)
    ]
    return made, {"eos_token": "<|im_end|>", "chat_template": CHATML}


def gguf_tokenizer(model: Path) -> tuple[Tokenizer, Mapping[str, Any]]:
    """Tokenizer and configuration of a GGUF file of the Qwen2 family, from its header alone.

    Raises:
        InvalidInput: the file cannot be read, has another tokenizer, or no chat template.
    """
    held = read_metadata(model)
    kind = (held.get("tokenizer.ggml.model"), held.get("tokenizer.ggml.pre"))
    template = held.get("tokenizer.chat_template")
    if kind != ("gpt2", "qwen2") or not isinstance(template, str):
        raise InvalidInput(f"{model}: needs a Qwen2 tokenizer and a chat template, not {kind}")
    tokens, kinds = held["tokenizer.ggml.tokens"], held["tokenizer.ggml.token_type"]
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": False,
        "use_regex": False,
    }
    cut = {"type": "Split", "pattern": {"Regex": QWEN_WORDS}, "behavior": "Isolated"}
    made = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            added_token(index, tokens[index], kind == CONTROL)
            for index, kind in enumerate(kinds)
            if kind in (CONTROL, USER_DEFINED)
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{**cut, "invert": False}, byte_level],
        },
        "post_processor": None,
        "decoder": byte_level,
        "model": pair_model(
            {tokens[i]: i for i, kind in enumerate(kinds) if kind == NORMAL},
            held["tokenizer.ggml.merges"],
        ),
    }
    end = tokens[held["tokenizer.ggml.eos_token_id"]]
    return made, {"eos_token": end, "chat_template": template}


def write_tokenizer(folder: Path, made: Tokenizer, settings: Mapping[str, Any]) -> None:
    """Write a folder that `AutoTokenizer.from_pretrained` reads."""
    configuration = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "tokenizer.json", json.dumps(made, ensure_ascii=False))
    write_atomically(folder / "tokenizer_config.json", json.dumps(configuration, indent=1))


def suite_problems(suite: str, count: int, seed: int) -> Iterator[dict[str, str]]:
    """Generated problems in GSM8K's form; `final` is the answer alone."""
    for problem in generate(find_suite(suite), count, seed):
        solution = "\n\n".join(problem.steps)
        yield {
            "question": problem.question,
            "answer": f"{solution}\n#### {problem.answer}",
            "final": str(problem.answer),
        }


def file_problems(path: Path, count: int) -> Iterator[dict[str, str]]:
    """The first problems of a file in GSM8K's form."""
    with path.open(encoding="utf-8") as lines:
        for line in islice(lines, count):
            record = json.loads(line)
            final = record["answer"].rpartition("####")[2].strip().replace(",", "")
            yield {"question": record["question"], "answer": record["answer"], "final": final}


def configuration(folder: Path, weak: int, strong: int, prm: int) -> str:
    """`trim eval`'s configuration with the served models at these ports of loopback."""

    def model(name: str, port: int) -> str:
        return (
            f"{name}:\n  api: openai\n  server: vllm\n  url: http://127.0.0.1:{port}\n"
            f"  model: {name}\n  continuation: completions\n  template: {folder / name}\n"
            "  token_ids: false\n"
        )

    return (
        model("weak", weak)
        + model("strong", strong)
        + f"scorer:\n  kind: pooling\n  url: http://127.0.0.1:{prm}\n  model: prm\n"
        + f"  template: {folder / 'prm'}\n"
        + "sampling: {temperature: 0.7, top_p: 0.8, top_k: 20, max_tokens: 2048}\n"
        + "routing: {concurrency: 32}\n"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--suite", default="chain", help="chain, chain-hard, words or program")
    parser.add_argument("--problems", type=Path, help="a file in GSM8K's form, for a suite")
    parser.add_argument("-n", type=int, default=200, help="how many problems")
    parser.add_argument("--seed", type=int, default=7, help="of a suite's problems")
    parser.add_argument("--weak", type=Path, help="GGUF file of the Qwen2 family")
    parser.add_argument("--strong", type=Path, help="GGUF file of the Qwen2 family")
    parser.add_argument("--port-weak", type=int, default=30001)
    parser.add_argument("--port-strong", type=int, default=30000)
    parser.add_argument("--port-prm", type=int, default=30002)
    return parser.parse_args()


def main() -> None:
    given = arguments()
    folder = given.folder.resolve()
    for role, model in (("weak", given.weak), ("strong", given.strong)):
        made = gguf_tokenizer(model) if model else shipped_tokenizer(FOLDER / f"{role}.gguf")
        write_tokenizer(folder / role, *made)
    write_tokenizer(folder / "prm", *shipped_tokenizer(FOLDER / "scorer.gguf"))
    problems = (
        file_problems(given.problems, given.n)
        if given.problems
        else suite_problems(given.suite, given.n, given.seed)
    )
    lines = "".join(json.dumps(problem) + "\n" for problem in problems)
    data = folder / "data" / "gsm8k" / "test.jsonl"
    data.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(data, lines)
    write_atomically(
        folder / "trim.yaml",
        configuration(folder, given.port_weak, given.port_strong, given.port_prm),
    )
    print(f"{folder}: {lines.count(chr(10))} problems")


if __name__ == "__main__":
    main()

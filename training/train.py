"""Train one of the shipped generators: `python -m training.train strong`.

One file, top to bottom: arguments, data, optimiser, loop. The loss covers the solutions only.
The work is a number of updates, not of minutes, so a seed repeats on any CPU. Writes
`DIR/NAME.safetensors` and the log `DIR/NAME.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from training.data import TRAINING_SUITES
from training.network import Network, NetworkShape
from training.tokenizer import (
    BEGIN,
    END,
    load_tokenizer,
    make_tokenizer,
    save_tokenizer,
)
from trim.evaluation.suites import draw_for_training
from trim.evaluation.suites.arithmetic import (
    LARGEST,
    critical_operation,
    routine_operation,
    wrapping_operation,
)

NO_LOSS = -100
"""Target without loss; PyTorch's default `ignore_index`."""


@dataclass(frozen=True)
class Arguments:
    name: str
    width: int
    layers: int
    heads: int
    feed_forward: int
    updates: int
    mixture: dict[str, float]
    """Share of the sequences drawn from each suite; `drill` is bare equations."""
    batch_tokens: int = 3072
    matrix_rate: float = 0.01
    embedding_rate: float = 0.004
    warm_up: int = 100
    seed: int = 0
    threads: int = 1
    compile: bool = True
    """Fuse the network's operations; 1.2 times as fast, needs a C++ compiler."""
    log_every: int = 250
    folder: Path = Path("build/models")


PRESETS = {
    "weak": Arguments(
        "weak",
        width=64,
        layers=3,
        heads=4,
        feed_forward=160,
        updates=1800,
        mixture={"drill": 0.15, "chain": 0.15, "chain-hard": 0.25, "words": 0.2, "program": 0.25},
        seed=1,
    ),
    "strong": Arguments(
        "strong",
        width=96,
        layers=4,
        heads=6,
        feed_forward=256,
        updates=3600,
        mixture={"drill": 0.15, "chain": 0.15, "chain-hard": 0.25, "words": 0.2, "program": 0.25},
    ),
}


def draw_drill(tokenizer: Tokenizer, random: Random) -> tuple[list[int], list[int]]:
    """Tokens and targets of bare equations, which teach the suites' arithmetic in few tokens."""
    tokens, targets = [BEGIN], []
    for _ in range(16):
        draw = random.choice(
            (routine_operation, critical_operation, critical_operation, wrapping_operation)
        )
        value = random.randint(2, LARGEST)
        asked, result = draw(random, value).equation(value).split("=")
        for text, with_loss in ((f" {asked}=", False), (f"{result}.", True)):
            piece = tokenizer.encode(text).ids
            tokens += piece
            targets += piece if with_loss else [NO_LOSS] * len(piece)
    return tokens[:-1], targets


def draw_sequence(tokenizer: Tokenizer, kind: str, random: Random) -> tuple[list[int], list[int]]:
    """Tokens of one training text, and targets: the next token, or NO_LOSS in the prompt."""
    if kind == "drill":
        return draw_drill(tokenizer, random)
    problem = draw_for_training(TRAINING_SUITES[kind], random)
    prompt = [BEGIN, *tokenizer.encode(problem.question + "\n\n").ids]
    solution = [*tokenizer.encode("\n\n".join(problem.steps)).ids, END]
    tokens = prompt + solution
    return tokens[:-1], [NO_LOSS] * (len(prompt) - 1) + solution


def batches(tokenizer: Tokenizer, arguments: Arguments) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless padded batches (B, T) of tokens and targets, of about `batch_tokens` each."""
    random = Random(f"train/{arguments.name}/{arguments.seed}")
    kinds, weights = zip(*arguments.mixture.items(), strict=True)
    while True:
        pool = [
            draw_sequence(tokenizer, kind, random) for kind in random.choices(kinds, weights, k=640)
        ]
        pool.sort(key=lambda pair: len(pair[0]))
        groups, group = [], []
        for pair in pool:
            if group and (len(group) + 1) * len(pair[0]) > arguments.batch_tokens:
                groups.append(group)
                group = []
            group.append(pair)
        random.shuffle(groups)
        for group in groups:
            yield pad([tokens for tokens, _ in group], END), pad([t for _, t in group], NO_LOSS)


def pad(rows: list[list[int]], filler: int) -> Tensor:
    padded = np.full((len(rows), max(map(len, rows))), filler, dtype=np.int64)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    return torch.from_numpy(padded)


def make_optimisers(network: Network, arguments: Arguments) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, Adam for the embedding and the norms."""
    matrices = [p for p in network.blocks.parameters() if p.ndim == 2]
    others = [network.embedding.weight, *(p for p in network.parameters() if p.ndim == 1)]
    return [
        torch.optim.Muon(matrices, lr=arguments.matrix_rate, weight_decay=0.0),
        torch.optim.Adam(others, lr=arguments.embedding_rate, betas=(0.9, 0.98)),
    ]


def rate_factor(update: int, arguments: Arguments) -> float:
    """Linear warm-up, then linear decay to zero."""
    warm = min(1.0, (update + 1) / arguments.warm_up)
    return warm * (1 - update / arguments.updates)


@torch.no_grad()
def measure(network: Network, tokenizer: Tokenizer, count: int = 64) -> dict[str, float]:
    """By suite, the share of solutions whose every token is the most likely one."""
    shares = {}
    for name in TRAINING_SUITES:
        random = Random(f"measure/{name}")
        rows = [draw_sequence(tokenizer, name, random) for _ in range(count)]
        targets = pad([t for _, t in rows], NO_LOSS)
        guesses = network.logits(network(pad([tokens for tokens, _ in rows], END))).argmax(-1)
        right = ((guesses == targets) | (targets == NO_LOSS)).all(1)
        shares[name] = round(right.float().mean().item(), 3)
    return shares


def train(arguments: Arguments) -> Path:
    """Train a generator and return the path of its weights."""
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    tokenizer_file = arguments.folder / "tokenizer.json"
    if not tokenizer_file.exists():
        save_tokenizer(make_tokenizer(), tokenizer_file)
    tokenizer = load_tokenizer(tokenizer_file)
    shape = NetworkShape(
        tokenizer.get_vocab_size(),
        arguments.width,
        arguments.layers,
        arguments.heads,
        arguments.feed_forward,
    )
    network = Network(shape)
    forward = torch.compile(network, dynamic=True) if arguments.compile else network
    optimisers = make_optimisers(network, arguments)
    data = batches(tokenizer, arguments)
    started, losses = time.time(), []
    log_file = arguments.folder / f"{arguments.name}.jsonl"
    log_file.write_text(json.dumps({"arguments": asdict(arguments)}, default=str) + "\n")
    for update in range(arguments.updates):
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group.setdefault("full_rate", group["lr"])
                group["lr"] = group["full_rate"] * rate_factor(update, arguments)
        tokens, targets = next(data)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = forward(tokens)[targets != NO_LOSS]
            logits = network.logits(hidden)
        loss = functional.cross_entropy(logits.float(), targets[targets != NO_LOSS])
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        losses.append(loss.item())
        if (update + 1) % arguments.log_every == 0 or update + 1 == arguments.updates:
            entry = {
                "update": update + 1,
                "minutes": round((time.time() - started) / 60, 2),
                "loss": round(sum(losses) / len(losses), 5),
                "solved": measure(network, tokenizer),
            }
            losses = []
            with log_file.open("a") as log:
                log.write(json.dumps(entry) + "\n")
            print(entry, flush=True)
            save(network, arguments.folder / f"{arguments.name}.safetensors")
    return arguments.folder / f"{arguments.name}.safetensors"


def save(network: Network, path: Path) -> None:
    """Write the weights with their shape, atomically."""
    partial = path.with_suffix(".partial")
    metadata = {key: str(value) for key, value in asdict(network.shape).items()}
    save_file(network.state_dict(), partial, metadata=metadata)
    partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=PRESETS)
    for option, kind in {"updates": int, "seed": int, "threads": int, "folder": Path}.items():
        parser.add_argument(f"--{option}", type=kind)
    given = {key: value for key, value in vars(parser.parse_args()).items() if value is not None}
    train(replace(PRESETS[given["name"]], **given))


if __name__ == "__main__":
    main()

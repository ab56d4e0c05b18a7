"""Train the shipped step scorer: `python -m training.train_scorer`.

It starts from a generator's weights (`strong.safetensors`, which know the arithmetic). On
solutions by the weak model (`weak.gguf`) and on deliberate slips it learns to classify, after
every digit, the step so far as right ("+") or wrong ("-"). The label at the end of a step is
the only one used at run time: one token.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from training.data import ComparedSolution, draw_problems, make_solutions, slip_often
from training.export import export, read_shape
from training.network import Network
from training.tokenizer import BEGIN, END, load_tokenizer
from training.train import (
    NO_LOSS,
    Arguments,
    make_optimisers,
    pad,
    rate_factor,
    save,
)
from trim.scorers.label import RIGHT, WRONG


@dataclass(frozen=True)
class ScorerArguments:
    start: str = "strong"
    """Generator whose weights the scorer starts from."""
    layers_added: int = 2
    """New layers on top, which compare the generator's prediction with the text."""
    rollouts: int = 5000
    """Number of solutions by the weak model, whose drafts the scorer will grade."""
    shares: tuple[tuple[str, float], ...] = (("chain", 0.5), ("words", 0.25), ("program", 0.25))
    """Share of each suite. The hard suite is left out, to test generalisation."""
    updates: int = 2500
    batch_tokens: int = 3072
    matrix_rate: float = 0.008
    embedding_rate: float = 0.0015
    held_out: int = 400
    seed: int = 0
    threads: int = 1
    folder: Path = Path("build/models")


Example = tuple[list[int], list[int], list[bool]]
"""Tokens of a trace, the label token after each (or NO_LOSS), and where steps end."""


def encode(tokenizer: Tokenizer, solution: ComparedSolution) -> Example:
    """The training example of a solution, with a label after each token."""
    right, wrong = (tokenizer.token_to_id(label) for label in (RIGHT, WRONG))
    tokens = [BEGIN, *tokenizer.encode(solution.question + "\n\n").ids]
    targets, ends = [NO_LOSS] * len(tokens), [False] * len(tokens)
    for step, agreeing in zip(solution.steps, solution.agreeing, strict=True):
        piece = tokenizer.encode(step + "\n\n")
        is_right = agreeing == len(step)
        tokens += piece.ids
        targets += [right if is_right or end <= agreeing else wrong for _, end in piece.offsets]
        ends += [False] * (len(piece.ids) - 1) + [True]
    return tokens, targets, ends


def batch(examples: list[Example]) -> tuple[Tensor, Tensor, Tensor]:
    """Padded tokens, targets and step ends, each (B, T)."""
    tokens, targets, ends = zip(*examples, strict=True)
    return pad(list(tokens), END), pad(list(targets), NO_LOSS), pad(list(ends), 0).bool()


def batches(
    tokenizer: Tokenizer, examples: list[Example], arguments: ScorerArguments
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Endless batches of texts of similar length: half with slips, half by the weak model."""
    random = Random(arguments.seed)
    for pool in count():
        slipping = draw_problems(f"slips/{pool}", dict(arguments.shares), 160, arguments.seed)
        rows = [encode(tokenizer, slip_often(problem, random)) for problem in slipping]
        rows += random.sample(examples, 160)
        rows.sort(key=lambda example: len(example[0]))
        groups: list[list[Example]] = [[]]
        for row in rows:
            if groups[-1] and (len(groups[-1]) + 1) * len(row[0]) > arguments.batch_tokens:
                groups.append([])
            groups[-1].append(row)
        random.shuffle(groups)
        yield from map(batch, groups)


def train_scorer(arguments: ScorerArguments) -> Path:
    """Train the scorer and return the path of its GGUF file."""
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    folder = arguments.folder
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    gguf, written = folder / "weak.gguf", folder / "rollouts.json"
    solutions = make_solutions(
        gguf, dict(arguments.shares), arguments.rollouts, arguments.seed, written
    )
    Random(arguments.seed).shuffle(solutions)
    encoded = [encode(tokenizer, solution) for solution in solutions]
    held_out, examples = encoded[: arguments.held_out], encoded[arguments.held_out :]

    weights = folder / f"{arguments.start}.safetensors"
    shape = read_shape(weights)
    labels = tokenizer.token_to_id(RIGHT), tokenizer.token_to_id(WRONG)
    network = Network(replace(shape, layers=shape.layers + arguments.layers_added))
    network.load_state_dict(load_file(weights), strict=False)
    silence(network.blocks[shape.layers :])
    look_back(network, shape.layers, batch(examples[:64])[0])
    introduce_labels(network, tokenizer, examples[:64])
    forward = torch.compile(network, dynamic=True)
    schedule = Arguments(
        "scorer",
        *(0, 0, 0, 0),
        mixture={},
        updates=arguments.updates,
        matrix_rate=arguments.matrix_rate,
        embedding_rate=arguments.embedding_rate,
    )
    optimisers = make_optimisers(network, schedule)
    words = [tokenizer.decode([token]) for token in range(shape.vocabulary)]
    digits = torch.tensor([word.strip().isdigit() for word in words])
    data = batches(tokenizer, examples, arguments)
    started, losses = time.time(), []
    log_file = folder / "scorer.jsonl"
    log_file.write_text(json.dumps({"arguments": asdict(arguments)}, default=str) + "\n")
    for update in range(arguments.updates):
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group.setdefault("full_rate", group["lr"])
                group["lr"] = group["full_rate"] * rate_factor(update, schedule)
        tokens, targets, ends = next(data)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = forward(tokens)
            logits = network.logits(hidden).float()
        language, classification, at_ends = losses_of(logits, tokens, targets, ends, labels, digits)
        loss = language + classification + at_ends
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        losses.append(at_ends.item())
        if (update + 1) % 100 == 0 or update + 1 == arguments.updates:
            entry = {
                "update": update + 1,
                "minutes": round((time.time() - started) / 60, 2),
                "loss": round(sum(losses) / len(losses), 5),
                "auc": round(measure_auc(network, tokenizer, held_out), 4),
            }
            losses = []
            with log_file.open("a") as log:
                log.write(json.dumps(entry) + "\n")
            print(entry, flush=True)
            save(network, folder / "scorer.safetensors")
    export(folder / "scorer.safetensors", tokenizer, folder / "scorer.gguf", "trim scorer")
    return folder / "scorer.gguf"


def losses_of(
    logits: Tensor,
    tokens: Tensor,
    targets: Tensor,
    ends: Tensor,
    labels: tuple[int, int],
    digits: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The scorer's three mean losses.

    - Language modelling: within a step, the next token while the step is right, to keep what the
      generator knows.
    - Classification: after every digit, right against wrong by the difference of the two label
      logits, which leaves the most likely token to the first loss. Few errors occur between
      digits.
    - Step ends: the label as the next token, as at run time.
    """
    right, wrong = labels
    asked = (targets != NO_LOSS) & (digits[tokens] | ends)
    inside = ~ends[:, :-1] & (targets[:, 1:] == right)
    language = functional.cross_entropy(logits[:, :-1][inside], tokens[:, 1:][inside])
    difference = (logits[..., right] - logits[..., wrong])[asked]
    truth = (targets[asked] == right).float()
    classification = functional.binary_cross_entropy_with_logits(difference, truth)
    at_ends = functional.cross_entropy(logits[ends], targets[ends])
    return language, classification, at_ends


@torch.no_grad()
def silence(blocks: nn.ModuleList) -> None:
    """Make new layers add nothing at first: training starts from the generator."""
    for block in blocks:
        block.attention.output.weight.zero_()
        block.down.weight.zero_()


@torch.no_grad()
def look_back(network: Network, layer: int, tokens: Tensor) -> None:
    """Initialise half of a new layer's heads to attend to the previous token.

    The generator's prediction of a token is known one position before that token. To compare
    the two, a head has to attend to that position, which training from random weights finds
    slowly. Query and key are made equal for all tokens, w·x = 1 by least squares, and the key's
    rotary angles are turned by one position.
    """
    block, shape = network.blocks[layer], network.shape
    size = shape.width // shape.heads
    normed: list[Tensor] = []
    hook = block.attention.register_forward_pre_hook(lambda _, inputs: normed.append(inputs[0]))
    network(tokens)
    hook.remove()
    states = normed[0].flatten(0, 1)
    same = torch.linalg.lstsq(states, torch.ones(len(states), 1)).solution[:, 0]
    for head in range(shape.heads // 2):
        query = block.attention.query.weight[head * size : (head + 1) * size]
        key = block.attention.key.weight[head * size : (head + 1) * size]
        query.zero_(), key.zero_()
        for pair, sharpness in enumerate((28.0, 8.0)):
            angle = shape.rope_base ** torch.tensor(-2 * pair / size)
            strength = (sharpness * size**0.5) ** 0.5
            query[2 * pair] = strength * same
            key[2 * pair] = strength * angle.cos() * same
            key[2 * pair + 1] = strength * angle.sin() * same


@torch.no_grad()
def introduce_labels(network: Network, tokenizer: Tokenizer, rows: list[Example]) -> None:
    """Make the two labels equally the most likely tokens at step ends, by least squares.

    The generator never wrote them. Otherwise the first updates would raise their logits at the
    cost of what the generator knows.
    """
    tokens, targets, ends = batch(rows)
    hidden = network(tokens)
    likeliest = network.logits(hidden).amax(-1)
    targeted = torch.where(ends, likeliest + 2, torch.zeros_like(likeliest))
    inside = targets != NO_LOSS
    row = torch.linalg.lstsq(hidden[inside], targeted[inside][:, None]).solution[:, 0]
    for label in (RIGHT, WRONG):
        network.embedding.weight[tokenizer.token_to_id(label)] = row


@torch.no_grad()
def measure_auc(network: Network, tokenizer: Tokenizer, rows: list[Example]) -> float:
    """AUC-ROC of the step scores on held-out solutions."""
    right, wrong = (tokenizer.token_to_id(token) for token in (RIGHT, WRONG))
    truth, scores = [], []
    for start in range(0, len(rows), 50):
        tokens, targets, ends = batch(rows[start : start + 50])
        logits = network.logits(network(tokens)[ends])
        scores += (logits[:, right] - logits[:, wrong]).tolist()
        truth += (targets[ends] == right).tolist()
    return float(roc_auc_score(truth, scores))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    options = {"start": str, "updates": int, "seed": int, "threads": int, "folder": Path}
    for option, kind in options.items():
        parser.add_argument(f"--{option}", type=kind)
    given = {key: value for key, value in vars(parser.parse_args()).items() if value is not None}
    train_scorer(replace(ScorerArguments(), **given))


if __name__ == "__main__":
    main()

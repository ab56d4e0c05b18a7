"""The step response of `trim serve --target-share`: traffic turns hard, and easy again.

    python benchmarks/controller.py [requests] [picture]

Each question goes to one server twice, with the same seed: to the model `trim`, which is held at a
fifth of strong tokens, and to `trim:thr-0.5`, the setting that it begins with and keeps. So many
requests of the suite chain, then of chain-hard, then of chain, one after the other.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import httpx
import numpy as np
from matplotlib.figure import Figure
from server import server

from trim.evaluation.plot import COLOURS, GREY, rendered
from trim.evaluation.suites import CHAIN, CHAIN_HARD, generate
from trim.files import write_atomically

TARGET = 0.2
SEED = 903
WINDOW = 40
HELD, FIXED = f"held at {TARGET:.0%}", "threshold 0.5"
MODELS = {HELD: "trim", FIXED: "trim:thr-0.5"}


def ask(client: httpx.Client, model: str, question: str, seed: int) -> tuple[int, int]:
    """Strong tokens and all tokens of an answer."""
    body = {"model": model, "seed": seed, "messages": [{"role": "user", "content": question}]}
    usage = client.post("/chat/completions", json=body).raise_for_status().json()["usage"]
    return usage["trim"]["strong_tokens"], usage["completion_tokens"]


def draw(shares: dict[str, np.ndarray], phases: list[tuple[str, int]]) -> Figure:
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    for (name, share), colour in zip(shares.items(), COLOURS, strict=False):
        axes.plot(range(WINDOW, WINDOW + len(share)), 100 * share, color=colour, label=name)
    axes.axhline(100 * TARGET, color=GREY, linewidth=0.8, linestyle=":")
    first = 0
    for suite, count in phases:
        axes.axvline(first, color=GREY, linewidth=0.8)
        axes.text(first + 5, 92, suite, color=GREY)
        first += count
    axes.set(xlabel=f"request (means of {WINDOW})", ylabel="% strong tokens", ylim=(0, 100))
    axes.legend(loc="center right", frameon=False)
    return figure


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    phases = [(suite.name, count) for suite in (CHAIN, CHAIN_HARD, CHAIN)]
    questions = [
        problem.question
        for number, suite in enumerate((CHAIN, CHAIN_HARD, CHAIN))
        for problem in generate(suite, count, SEED + number)
    ]
    with tempfile.TemporaryDirectory() as folder:
        words = ("--policy", "thr:0.5", "--target-share", str(TARGET))
        with (
            server(Path(folder), *words) as (url, _),
            httpx.Client(base_url=url, timeout=300) as client,
        ):
            spent = {
                name: np.array([ask(client, model, question, seed)
                                for seed, question in enumerate(questions)])
                for name, model in MODELS.items()
            }  # fmt: skip
    print(f"| strong tokens, % of {count} requests | whole phase | its second half |")
    print("|---|---|---|")
    for number, (suite, _) in enumerate(phases):
        for name, tokens in spent.items():
            phase = tokens[number * count : (number + 1) * count]
            shares = [
                f"{100 * part[:, 0].sum() / part[:, 1].sum():.0f}"
                for part in (phase, phase[count // 2 :])
            ]
            print(f"| {suite}, {name} | {shares[0]} | {shares[1]} |")
    moving = {
        name: np.convolve(tokens[:, 0], np.ones(WINDOW), "valid")
        / np.convolve(tokens[:, 1], np.ones(WINDOW), "valid")
        for name, tokens in spent.items()
    }
    if len(sys.argv) > 2:
        write_atomically(Path(sys.argv[2]), rendered(draw(moving, phases), "svg"))


if __name__ == "__main__":
    main()

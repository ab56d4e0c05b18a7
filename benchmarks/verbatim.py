"""Check that a model behind the router writes the same bytes as alone.

    python benchmarks/verbatim.py MODEL.gguf RESULTS.jsonl [--tokens 160] [--threads 1]

Fifty prompts at temperature 0: code with blank lines, nested lists, YAML, Markdown tables, LaTeX
and other languages. The model's own answer is one request without a stop string, in this process
and to the chat route of llama.cpp's HTTP server. It is compared with the router's joined steps,
with the policies of one model alone and the settings of `trim serve`. Every answer starts with an
empty cache: the last digits of llama.cpp's sums depend on what is read together, which may decide a
near tie. If interrupted, repeat the command to continue.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from trim.config import End, RouterConfig, Rules
from trim.engines.http import HttpServer
from trim.engines.llama_cpp import LlamaCppEngine
from trim.models.continuation import LLAMA_CPP, Continuation
from trim.models.llama_cpp import LlamaCppModel
from trim.models.model import Model, Prefix, Sampling
from trim.models.openai import OpenAIModel
from trim.models.prompt import Prompt
from trim.policies.fixed import StrongAlone, WeakAlone
from trim.policies.policy import Policy
from trim.router import Router

CONTEXT = 2048
PROMPTS = (
    "Write a Python class Stack with push, pop and peek, a blank line between the methods.",
    "Write a Python function fib(n) with a docstring, then a blank line, then an example call.",
    "Write two Python functions, add and subtract, separated by two blank lines.",
    "Write a Python class with nested if statements and blank lines inside the method bodies.",
    "Show a JavaScript module that exports three functions, with blank lines between them.",
    "Write a C program that reverses a string; put blank lines between its parts.",
    "Write a Rust struct Point with an impl block of two methods and a test module.",
    "Write a Go program with two functions and a main, with comments above each.",
    "Write a SQL script that creates two tables and inserts three rows into each.",
    "Write a Java interface Shape and two classes that implement it.",
    "Write a Bash script with a usage function, argument parsing and a main part.",
    "Write a Makefile with the targets all, test and clean, and explain it.",
    "Write Python code that reads a CSV file and prints its rows, in three commented sections.",
    "Write an HTML page with a head, a nav and two sections, well indented.",
    "Write a Dockerfile for a Flask application with comments and blank lines.",
    "Give a nested bullet list of three fruits, each with two varieties and a note on each.",
    "Make a numbered list of four steps to bake bread, with sub-steps under each.",
    "List the planets as nested bullets: inner planets and outer planets, with one fact each.",
    "Write a packing list with categories as bullets and items as indented bullets.",
    "Outline an essay about rivers as a nested list with Roman numerals and letters.",
    "Give a to-do list in Markdown with check boxes, nested two levels deep.",
    "Give a list of three books, each with a paragraph of text under its bullet.",
    "Write a list of three Git commands, each with a code block below it.",
    "Write a docker-compose YAML file with a web service and a database.",
    "Write a GitHub Actions workflow in YAML that runs tests on push.",
    "Write a YAML file that describes three employees with name, age and skills.",
    "Write a Kubernetes deployment and a service in one YAML file, separated by ---.",
    "Write a YAML configuration with a multi-line string that has blank lines in it.",
    "Write an OpenAPI description in YAML with one path and one schema.",
    "Write a TOML file and the same content as YAML below it.",
    "Make a Markdown table of three countries with capital and population, then explain it.",
    "Compare Python and Rust in a Markdown table with four rows, then give a conclusion.",
    "Make two Markdown tables: one of prices, one of quantities, with headings.",
    "Make a Markdown table of the days of the week in English, French and German.",
    "Write a README in Markdown with a title, a code block, a table and a licence section.",
    "Make a Markdown table whose cells hold inline code, then a horizontal rule, then notes.",
    "Derive the quadratic formula in LaTeX, with display equations on lines of their own.",
    "Write the proof that the square root of 2 is irrational in LaTeX.",
    "Write a LaTeX document with two sections, an equation and an itemize list.",
    "Show in LaTeX how to solve 2x + 3 = 11 step by step with an align environment.",
    "Write a LaTeX matrix and its determinant, with explanations between the formulas.",
    "State and explain Euler's identity with inline and display mathematics.",
    "Compute 17 * 24 step by step and put the result in \\boxed{}, then check it another way.",
    "Erkläre in drei Absätzen auf Deutsch, warum der Himmel blau ist.",
    "Écris une recette de crêpes en français, avec une liste d'ingrédients et des étapes.",
    "Escribe un poema corto en español de dos estrofas.",
    "用中文写三段话介绍长城。",
    "日本語で自己紹介を二つの段落で書いてください。",
    "Напиши короткий рассказ на русском языке из двух абзацев.",
    "اكتب فقرتين عن القهوة باللغة العربية.",
)


async def own_answer(engine: LlamaCppEngine, prompt: str, tokens: int) -> str:
    answer = await engine.complete(
        prompt, n_predict=tokens, temperature=0.0, cache_prompt=False, min_p=0.0
    )
    return answer.text


async def own_chat(server: HttpServer, question: str, tokens: int) -> str:
    body = {
        "messages": [{"role": "user", "content": question}],
        **{"temperature": 0.0, "max_tokens": tokens, "cache_prompt": False, "min_p": 0.0},
    }
    return await server.post(
        "/chat/completions", body, lambda raw: str(raw["choices"][0]["message"]["content"])
    )


async def joined(model: Model, policy: Policy, question: str, tokens: int) -> str:
    router = Router(
        weak=model,
        strong=model,
        policy=policy,
        config=RouterConfig(
            sampling=Sampling(0.0, 1.0, 0, tokens),
            max_steps=None,
            max_tokens=tokens,
            rules=Rules(End.MODEL),
        ),
    )
    return (await router.asolve(question)).solution


async def compare(
    engine: LlamaCppEngine, question: str, tokens: int, policy: Policy
) -> dict[str, Any]:
    """Compare a model alone and behind the router, in this process and over HTTP."""
    here = LlamaCppModel(engine, "model", prompt=Prompt(), adds_begin=False)
    server = HttpServer(engine.address)
    there = OpenAIModel(
        server,
        "model",
        continuation=Continuation.COMPLETIONS,
        dialect=LLAMA_CPP,
        template=here.template,
        prompt=Prompt(),
    )
    texts = {}
    ways: dict[str, Callable[[], Awaitable[str]]] = {
        "own": lambda: own_answer(engine, here.before(Prefix(question)), tokens),
        "in_process": lambda: joined(here, policy, question, tokens),
        "own_http": lambda: own_chat(server, question, tokens),
        "http": lambda: joined(there, policy, question, tokens),
    }
    for name, answer in ways.items():
        await engine.complete("1", n_predict=1)  # Clears the prompt from the cache.
        texts[name] = await answer()
    return {
        "question": question,
        "policy": policy.name,
        "in_process": texts["in_process"] == texts["own"],
        "http": texts["http"] == texts["own_http"],
        "blank_lines": texts["own"].count("\n\n"),
        "texts": texts,
    }


def done(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def describe(records: Sequence[dict[str, Any]]) -> str:
    count = len(records)
    same = {route: sum(record[route] for record in records) for route in ("in_process", "http")}
    lines = sum(record["blank_lines"] for record in records)
    return (
        f"{count} prompts, {lines} blank lines in the answers: the same bytes in this process for"
        f" {same['in_process']}, over HTTP for {same['http']}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--policy", choices=("weak", "strong"), default="weak")
    parser.add_argument("--tokens", type=int, default=160)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    policy = WeakAlone() if given.policy == "weak" else StrongAlone()
    engine = LlamaCppEngine(given.model, 1, CONTEXT, given.threads, cache_mib=0)
    known = {record["question"] for record in done(given.results)}
    for question in PROMPTS:
        if question in known:
            continue
        record = asyncio.run(compare(engine, question, given.tokens, policy))
        with given.results.open("a", encoding="utf-8") as file:
            print(json.dumps(record, ensure_ascii=False), file=file)
        if not (record["in_process"] and record["http"]):
            print(f"differs: {question}")
    print(describe(done(given.results)))


if __name__ == "__main__":
    main()

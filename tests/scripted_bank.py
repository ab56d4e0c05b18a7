"""A bank with routed solutions by scripted models: the shipped ones would take 40 seconds."""

import asyncio
from dataclasses import replace

from bank_models import IDENTITY, problem

from trim.config import RouterConfig
from trim.configuration.source import Models
from trim.models.model import Sampling
from trim.numerics import uniform
from trim.rollouts.explorer import Explorer
from trim.rollouts.routed_solver import RoutedSolver, parse_recorded
from trim.rollouts.routed_store import RoutedStore
from trim.rollouts.store import BankStore
from trim.scorers.scorer import Scores
from trim.testing import ScriptedSpanModel

WEAK, STRONG = 0.4, 0.97
"""Share of the problems that a model answers right."""


def answer_of(name, question):
    return "1" if uniform(name, question) < (WEAK if name == "weak" else STRONG) else "2"


def scripted(name):
    """A model of three steps of ten words; the weak one doubts words, and a wrong answer."""

    def script(prefix):
        last = len(prefix.steps) == 2
        words = [f"{name}{len(prefix.steps)}{letter}" for letter in "abcdefghij"]
        if last:
            words += ["so", f"\\boxed{{{answer_of(name, prefix.question)}}}"]
        begun = len(prefix.begun.split())
        rest = "".join(f" {word}" for word in words[begun:])
        return (rest if begun else rest[1:]) + ("" if last else "\n\n")

    def probability(prefix, piece):
        if name == "strong" or not piece.strip():
            return 1.0
        if "boxed" in piece:
            return 0.95 if answer_of(name, prefix.question) == "1" else 0.2
        return max(0.01, uniform(prefix.question, len(prefix.steps), len(prefix.begun)) ** 0.1)

    return ScriptedSpanModel(script, probability=probability, name=name)


class AnswerScorer:
    """Doubts a wrong answer."""

    name = "joint"

    async def score(self, trace, written):
        steps = trace.steps[len(trace.steps) - len(written) :]
        scores = [
            0.2 if "boxed{2}" in step else 0.5 + uniform(trace.question, step) / 2 for step in steps
        ]
        return Scores(tuple(scores), 5)


def record(folder, count, specs, names, limit=None):
    """Write a bank of `count` problems with solutions routed by `specs`.

    Args:
        names: of the models that it shall be of, as `identify_models` gives them.
        limit: of strong tokens in a solution.
    """
    identity = replace(IDENTITY, models=names, scorer="joint", rollouts=2)
    models = Models(scripted("weak"), scripted("strong"), {})
    config = RouterConfig(sampling=Sampling(max_tokens=60), max_steps=4)
    explorer = Explorer(models, AnswerScorer(), config, rollouts=2, seed=1)
    policies = parse_recorded(specs, identity)
    solver = RoutedSolver(models, AnswerScorer(), policies, config, limit, 1)
    store, routed = BankStore(folder, identity, 100), RoutedStore(folder)

    async def record_all():
        for each in (problem(str(number)) for number in range(count)):
            store.add(await explorer.explore(each))
            routed.add(await solver.solve(each))

    asyncio.run(record_all())
    store.flush()

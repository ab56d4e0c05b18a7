"""A learned switch for doubtful tokens, against the threshold on their probability.

python benchmarks/switch.py record --models FOLDER --data FOLDER [-n PROBLEMS]
python benchmarks/switch.py fit
python benchmarks/switch.py solve --models FOLDER --data FOLDER [-n PROBLEMS]

`record` solves training problems of GSM8K with the weak model of `benchmarks/real.py`. At each
token below LIMIT the strong model reads the draft and gives its own distribution, and from some of
the places where it writes another token the weak model goes on from there to an answer. `fit`
learns from the places how likely the strong model disagrees, and prints how well that is predicted
on held-out problems, by the learned switch and by the probability alone. `solve` has the switch
rewrite as many places as `token:P:M` would, for the comparison in `real.py table`.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from below_the_step import print_table
from real import CONFIGURATION, SEED, SLOTS, Run, parts
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trim.configuration.source import Models, ModelSource, open_models
from trim.evaluation.benchmarks.selection import Selection
from trim.evaluation.problem_set import Gradable
from trim.evaluation.run import evaluation_of
from trim.evaluation.store import TraceStore
from trim.files import write_atomically
from trim.grading.extraction import find_answer
from trim.grading.workers import GraderPool
from trim.models.model import Completion, Ending, Prefix, Sampling, Token
from trim.models.spans import require_spans
from trim.policies.policy import Policy, TokenObservation
from trim.policies.span import Extent, Unit
from trim.types import Action, Observation

LIMIT = 0.7
"""Probability below which a token may be rewritten."""
DISAGREES = 0.1
"""The strong model disagrees with a token to which it gives less than this."""
BRANCHES = 5
"""Places of a problem from which the weak model goes on after the strong model's token."""
MAX_STEPS = 14
SETTINGS = ((0.4, 8), (0.3, 1))
"""(P, M) of `token:P:M`: the switch rewrites as many of the training places with M tokens."""
AT_ONCE = SLOTS // len(SETTINGS)
"""Problems at a time."""
FOLDS = 5
FUNCTION_WORDS = (
    "the a an of to in on at by for and or is are was were be it this that these those we he she"
    " they his her their you your with from as so then if has have had do does will can first"
    " next now since there each per total"
)
KINDS = ("space", "digit", "operator", "function", "name", "word", "other")


def kind_of(text: str) -> str:
    """What kind of token it is, one of `KINDS`."""
    word = text.strip()
    if not word:
        return "space"
    if re.fullmatch(r"[\d.,]+", word):
        return "digit"
    if re.fullmatch(r"[-+*/=×÷<>%^$\\{}()\[\]]+", word):
        return "operator"
    if word.lower() in FUNCTION_WORDS.split():
        return "function"
    if not word.isalpha():
        return "other"
    return "name" if word[0].isupper() else "word"


def features(token: Token, position: int, step: int, before: Sequence[float]) -> list[float]:
    """What the switch sees of a token.

    Args:
        position: tokens of the step before it.
        step: kept steps.
        before: log-probabilities of the step's tokens before it.
    """
    likely = sorted((value for _, value in token.likeliest), reverse=True) or [0.0]
    chances = np.exp(likely)
    return [
        token.probability,
        -float(np.sum(chances * likely)),
        float(chances[0] - chances[1]) if len(chances) > 1 else 1.0,
        min(position, 40) / 40,
        min(step, 8) / 8,
        float(np.mean(before)) if len(before) else 0.0,
        *(float(kind_of(token.text) == kind) for kind in KINDS),
    ]


@dataclass(frozen=True)
class Switch(Policy):
    """Rewrites tokens below `LIMIT` at which the strong model is likely to disagree.

    Attributes:
        weights: of the standardised features, after the constant.
        centre, scale: of the features.
        least: the least logit at which a token is rewritten.
        tokens: how many tokens the strong model writes.
    """

    weights: tuple[float, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    least: float
    tokens: int

    needs_scores = False
    inside_steps = True

    @property
    def name(self) -> str:
        return f"switch:{self.least:.3g}:{self.tokens}"

    def logit(self, found: Sequence[float]) -> float:
        """Log-odds that the strong model disagrees."""
        constant, *weights = self.weights
        standard = (np.array(found) - self.centre) / self.scale
        return constant + float(np.dot(weights, standard))

    def at_token(self, observation: TokenObservation) -> Extent | None:
        token = observation.token
        if token.probability >= LIMIT or not token.text:
            return None
        before = [each.log_probability for each in observation.draft[:-1]]
        position = observation.position + len(before)
        found = features(token, position, len(observation.steps), before)
        return Extent(Unit.TOKENS, self.tokens) if self.logit(found) >= self.least else None

    def decide(self, observation: Observation) -> Action:
        return Action.CONTINUE


@dataclass(frozen=True)
class Recorder:
    """Records the doubtful places of one problem after the other."""

    models: Models
    sampling: Sampling
    grading: GraderPool

    async def write(
        self, question: str, prefix: Prefix, seed: int
    ) -> tuple[str, list[tuple[Prefix, Completion]]]:
        """The weak model's solution from a prefix, and its steps with their prefixes."""
        weak = await require_spans(self.models.weak)
        steps: list[tuple[Prefix, Completion]] = []
        while len(prefix.steps) < MAX_STEPS:
            written = await weak.write_span(prefix, self.sampling, seed + len(steps))
            steps.append((prefix, written))
            prefix = prefix.then(prefix.begun + written.text)
            if written.ending is not Ending.STEP or "\\boxed" in written.text:
                break
        return "".join(prefix.steps), steps

    async def is_right(self, problem: Gradable, solution: str) -> bool:
        answer = find_answer(solution, problem.grader)
        return await self.grading.agrade(problem.grader, answer, problem.answer)

    async def record(self, problem: Gradable) -> dict[str, Any]:
        """The places of a problem as `fit` reads them."""
        solution, steps = await self.write(problem.question, Prefix(problem.question), 7)
        places = [place for at in steps for place in [each async for each in self.places(*at)]]
        differ = [place for place in places if place["token"] != place["strong"]]
        chosen = random.Random(problem.id).sample(differ, min(BRANCHES, len(differ)))
        for place in chosen:
            begun = place["begun"] + place["strong"]
            whole = steps[place["step"]][0]
            onward = whole.then(begun) if begun.endswith("\n\n") else whole.inside(begun)
            text, _ = await self.write(problem.question, onward, 101)
            place["branch"] = await self.is_right(problem, text)
        right = await self.is_right(problem, solution)
        return {"id": problem.id, "right": right, "places": places}

    async def places(self, prefix: Prefix, written: Completion) -> AsyncIterator[dict[str, Any]]:
        """The doubtful places of a step, with the strong model's view of each."""
        strong = await require_spans(self.models.strong)
        one = replace(self.sampling, max_tokens=1)
        before: list[float] = []
        begun = ""
        for position, token in enumerate(written.decoded):
            if token.text and token.probability < LIMIT:
                answer = await strong.write_span(prefix.inside(begun), one, 11 + position)
                if answer.decoded:
                    first, *_ = answer.decoded
                    likely = dict(first.likeliest)
                    yield {
                        "step": len(prefix.steps),
                        "begun": begun,
                        "token": token.text,
                        "strong": first.text,
                        "features": features(token, position, len(prefix.steps), before),
                        "chance": math.exp(likely[token.text]) if token.text in likely else 0.0,
                    }
            before.append(token.log_probability)
            begun += token.text


def problems_of(given: Namespace, split: str, count: int, skip: int = 0) -> Sequence[Gradable]:
    """Problems of GSM8K, shuffled as `trim eval` does."""
    selection = Selection(data=given.data, split=split, skip=skip)
    return selection.open("gsm8k", count, SEED).problems


def opened(given: Namespace) -> tuple[ModelSource, Models]:
    """The pair of `benchmarks/real.py`."""
    settings = Run(given.models, given.data, given.out).settings("gsm8k")
    source = open_models(CONFIGURATION, settings)
    return source, source.load(entropy=True)


def record(given: Namespace) -> None:
    """Record training problems; those in the file already are left out."""
    source, models = opened(given)
    file = given.out / "switch" / "places.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    known = {place["id"] for place in read_places(file)}
    problems = problems_of(given, "train", given.n)

    async def run() -> None:
        recorder = Recorder(models, source.config.sampling, GraderPool())
        limit = asyncio.Semaphore(8)

        async def add(problem: Gradable) -> None:
            async with limit:
                line = json.dumps(await recorder.record(problem))
            with file.open("a", encoding="utf-8") as lines:
                lines.write(line + "\n")

        await asyncio.gather(*[add(problem) for problem in problems if problem.id not in known])

    asyncio.run(run())


def read_places(file: Path) -> Iterator[dict[str, Any]]:
    """The recorded problems; none where there is no file yet."""
    if file.exists():
        yield from map(json.loads, file.read_text(encoding="utf-8").splitlines())


def fit(given: Namespace) -> None:
    """Fit the switch, and print what it and the probability predict on held-out problems."""
    problems = list(read_places(given.out / "switch" / "places.jsonl"))
    places = [place for problem in problems for place in problem["places"]]
    inputs = np.array([place["features"] for place in places])
    labels = np.array([place["chance"] < DISAGREES for place in places])
    groups = [n for n, problem in enumerate(problems) for _ in problem["places"]]
    learner = make_pipeline(StandardScaler(), LogisticRegression())
    held_out = cross_val_predict(
        learner, inputs, labels, groups=groups, cv=GroupKFold(FOLDS), method="decision_function"
    )
    probability = inputs[:, 0]
    print(f"{len(places)} places of {len(problems)} problems; at {labels.mean():.0%} of them")
    print(f"the strong model gives the token less than {DISAGREES}")
    print(f"AUC of that: learned {roc_auc_score(labels, held_out):.3f},", end=" ")
    print(f"probability alone {roc_auc_score(labels, -probability):.3f}\n")
    print_branches(problems)
    scaler, regression = (step for _, step in learner.fit(inputs, labels).steps)
    logits = learner.decision_function(inputs)
    fitted = {
        "weights": [*regression.intercept_, *regression.coef_[0]],
        "centre": scaler.mean_.tolist(),
        "scale": scaler.scale_.tolist(),
        "cuts": [float(np.quantile(logits, 1 - np.mean(probability < p))) for p, _ in SETTINGS],
    }
    write_atomically(given.out / "switch" / "switch.json", json.dumps(fitted) + "\n")


def print_branches(problems: Sequence[dict[str, Any]]) -> None:
    """Print how often the weak model is right after one token of the strong model."""
    print_table(
        (
            "kind of token",
            "places",
            "the strong model writes another",
            "branches",
            "right",
            "before",
        ),
        [branch_row(kind, problems) for kind in KINDS],
    )


def branch_row(kind: str, problems: Sequence[dict[str, Any]]) -> list[str]:
    places = [
        (place, problem["right"])
        for problem in problems
        for place in problem["places"]
        if kind_of(place["token"]) == kind
    ]
    differ = [place["token"] != place["strong"] for place, _ in places]
    branches = [(place["branch"], right) for place, right in places if "branch" in place]
    shares = np.mean(branches, axis=0) if branches else (math.nan, math.nan)
    return [
        *(kind, str(len(places)), f"{np.mean(differ) if differ else math.nan:.0%}"),
        *(str(len(branches)), *(f"{share:.0%}" for share in shares)),
    ]


def solve(given: Namespace) -> None:
    """Solve the test problems of `real.py` with the switch, in the same parts."""
    fitted = json.loads((given.out / "switch" / "switch.json").read_text(encoding="utf-8"))
    weights, centre, scale = (tuple(fitted[name]) for name in ("weights", "centre", "scale"))
    cuts = zip(fitted["cuts"], SETTINGS, strict=True)
    policies = [Switch(weights, centre, scale, cut, tokens) for cut, (_, tokens) in cuts]
    source, models = opened(given)
    for part in parts(given.n):
        problems = problems_of(given, "test", len(part), part.start)
        evaluation = evaluation_of(
            models, source.config, problems, policies, None, SEED, concurrency=AT_ONCE
        )
        folder = given.out / "gsm8k" / "switch" / f"part-{part.start:03}"
        described = {"policies": [policy.name for policy in policies], "part": part.start}
        store = TraceStore(folder, described)
        try:
            asyncio.run(evaluation.run(store))
        finally:
            store.close()


def main() -> None:
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    commands = {"record": record, "fit": fit, "solve": solve}
    parser.add_argument("command", choices=commands)
    parser.add_argument("--models", type=Path, help="folder of the two model files")
    parser.add_argument("--data", type=Path, help="folder of the benchmarks")
    parser.add_argument("--out", type=Path, default=Path("build/real"))
    parser.add_argument("-n", type=int, default=40, help="problems")
    given = parser.parse_args()
    commands[given.command](given)


if __name__ == "__main__":
    main()

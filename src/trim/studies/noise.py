"""Study: routers on scores with added noise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trim.errors import DISTRIBUTION, InvalidInput
from trim.evaluation.comparison import direction, interval_of
from trim.evaluation.plot import COLOURS, MARKERS, new_figure
from trim.evaluation.report import Page, Table, number, results_folder, save_picture
from trim.files import read_bytes, write_atomically
from trim.metrics.metrics import Array, area_under_curve
from trim.policies.pomdp.fit import fit_evidence
from trim.policies.pomdp.model import PomdpModel, write_model
from trim.policies.ppo.weights import LearnedRouter, write_router
from trim.rollouts.bank import Bank
from trim.rollouts.fit import evidence_from_bank
from trim.rollouts.rescore import add_noise
from trim.scorers.noisy import check_sigma
from trim.studies.curves import (
    COMPARED,
    budgets_table,
    costs_table,
    curves_table,
    differences_table,
    draw_curves,
)
from trim.studies.sample import judged_steps, lowest_scores
from trim.studies.trial import BUDGETS, RIVAL, Progress, Results, Trial, with_settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POMDP = "pomdp.json"
"""File of the fitted model in the folder of a level."""
LEVELS = (0.0, 1.0, 2.0, 4.0)
QUANTILES = (
    *(0.003, 0.006, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.13, 0.17, 0.22, 0.28, 0.35, 0.42),
    *(0.5, 0.6, 0.7, 0.8, 0.9, 0.97),
)
"""Quantiles of the drafts' scores that are the thresholds of TRIM-Thr at each level, as dense as
the other routers' settings, however noise shifts the scores."""


@dataclass(frozen=True)
class Level:
    """Results at one level of noise.

    Attributes:
        sigma: standard deviation of the noise in log-odds.
        steps, lowest: AUC-ROC in the bank, of the drafts up to the first error and of the lowest
            score of a weak solution; NaN if undefined.
        results: of the trial.
    """

    sigma: float
    steps: float
    lowest: float
    results: Results


Trainer = Callable[[Bank], LearnedRouter]


def study_noise(
    bank: Bank,
    trial: Trial,
    out: Path,
    sigmas: Sequence[float] = LEVELS,
    trainer: Trainer | None = None,
    progress_of: Callable[[int], Progress] = lambda level: lambda progress: None,
    budgets: Sequence[float] = BUDGETS,
    iterations: int | None = None,
) -> Page:
    """Thr, and pomdp and agg refitted to `bank`, at each level of noise.

    The scores of the bank get the same noise as those of the trial.

    Args:
        trainer: trains agg on a bank; None leaves agg out.
        progress_of: returns the progress callback of a level, by its index.
        budgets: strong shares at which accuracies are compared.
        iterations: of the trainer, which a folder keeps; None for its default.

    Raises:
        InvalidInput: an invalid standard deviation, a bank of other models, of problems of the
            trial or with too few examples, a folder that holds another study, or as `Trial.run`.
    """
    for sigma in sigmas:
        check_sigma(sigma)
    require_fitting_bank(bank, trial)
    banks = [add_noise(bank, sigma) for sigma in sigmas]
    folders = [out / f"sigma-{sigma:g}" for sigma in sigmas]
    # All before the first file: a bank with too few examples leaves nothing behind.
    models = [
        None if (folder / POMDP).exists() else fit_model(worse)
        for worse, folder in zip(banks, folders, strict=True)
    ]
    claim(out, bank, trainer is not None, iterations)
    options = replace(trial.options, scorer=bank.identity.scorer)
    levels = []
    for index, (sigma, worse, folder) in enumerate(zip(sigmas, banks, folders, strict=True)):
        specs = [thresholds_for(worse), *fitted(worse, models[index], folder, trainer)]
        noisy = replace(trial, options=replace(options, sigma=sigma))
        results = noisy.run(specs, folder, progress_of(index))
        steps, lowest = areas(worse)
        levels.append(Level(sigma, steps, lowest, results))
    return page_of(bank, levels, out, trainer is not None, budgets)


def require_fitting_bank(bank: Bank, trial: Trial) -> None:
    """Raises InvalidInput for a bank of other models, or of problems of the trial."""
    identity, options = bank.identity, trial.options
    recorded_with, present = identity.models, trial.source.identify(identity.scorer)
    if recorded_with != present and not options.allow_other_models:
        raise InvalidInput(
            f"the bank of {identity.suite} was recorded with other models, or under another"
            " protocol; collect one as this command is run, or add --other-models to use it anyway"
        )
    seen = sum(each in bank.seen for each in trial.problem_set.fingerprints)
    if seen and not options.allow_seen:
        raise InvalidInput(
            f"the bank of {identity.suite} has seen {seen} of the"
            f" {len(trial.problem_set.problems)} problems; use others (another --seed, or --skip),"
            " or add --seen to go on"
        )


def claim(out: Path, bank: Bank, learned: bool, iterations: int | None) -> None:
    """Mark the folder as this study's; its fitted routers are reused.

    Raises:
        InvalidInput: the folder holds another study.
    """
    problems = "\n".join(map(repr, bank.problems))
    study: dict[str, Any] = {"bank": hashlib.sha256(problems.encode()).hexdigest(), "agg": learned}
    if learned and iterations is not None:
        study["iterations"] = iterations
    path = out / "study.json"
    with results_folder(out):
        if not path.exists():
            write_atomically(path, json.dumps(study) + "\n")
        elif read_bytes(path) != f"{json.dumps(study)}\n".encode():
            raise InvalidInput(
                f"{out}: holds a study of another bank, or of other routers; name another --out"
            )


def thresholds_for(bank: Bank) -> str:
    """TRIM-Thr with thresholds at quantiles of the bank's scores."""
    scores = [node.draft_score for problem in bank.problems for node in problem.nodes]
    found = np.quantile(scores, QUANTILES).tolist()
    return with_settings(RIVAL, list(dict.fromkeys(float(f"{value:.6g}") for value in found)))


def fit_model(bank: Bank) -> PomdpModel:
    """The model of pomdp, fitted to a bank. Raises InvalidInput for too few examples."""
    fitted_to = {**bank.identity.models, "kind": bank.identity.scorer}
    return fit_evidence(evidence_from_bank(bank), fitted_to)


def fitted(
    bank: Bank, model: PomdpModel | None, folder: Path, trainer: Trainer | None
) -> Iterator[str]:
    """Routers fitted to a bank in `folder`, unless they exist already.

    Args:
        model: of pomdp; None if the folder has it.
    """
    if model:
        with results_folder(folder):
            write_model(folder / POMDP, model, bank.seen)
    yield f"pomdp:{folder / POMDP}"
    if trainer:
        agg = folder / "agg"
        if not (agg / "agg.json").exists():
            write_router(agg, trainer(bank), bank.seen)
        yield f"agg:{agg}"


def areas(bank: Bank) -> tuple[float, float]:
    """AUC-ROC of drafts up to the first error, and of the lowest scores of solutions."""
    steps, lowest = judged_steps(bank), lowest_scores(bank)
    drafts = steps.repairable if steps else None
    return (
        area_under_curve(drafts.right, drafts.scores) if drafts else float("nan"),
        area_under_curve(lowest.right, lowest.scores),
    )


def page_of(
    bank: Bank, levels: Sequence[Level], out: Path, learned: bool, budgets: Sequence[float]
) -> Page:
    families = [family for family in levels[0].results.figures if family != RIVAL]
    first = levels[0].results
    by_sigma = [(f"{level.sigma:g}, ", level.results) for level in levels]
    return Page(
        title=f"Noisy scores: {first.title}",
        verdict=" ".join(verdict_of(level, families) for level in levels),
        notes=(
            first.alone,
            "Noise of standard deviation sigma is added to the log-odds of every score; pomdp"
            f"{' and agg are' if learned else ' is'} refitted to"
            f" {len(bank.problems)} problems of {bank.identity.suite} with the same noise.",
            *(() if learned else (f"agg is left out: it needs {DISTRIBUTION}[train].",)),
            "AUC-ROC is measured on the bank: for drafts up to the first error, and for solutions"
            " by their lowest score.",
            f"Differences are to {RIVAL} with 95 % bootstrap intervals, paired over the problems.",
        ),
        tables=(
            Table(
                "AUC-ROC of the scores",
                ("sigma", "drafts up to the first error", "lowest score of a solution"),
                tuple(
                    (f"{level.sigma:g}", number(level.steps, 3), number(level.lowest, 3))
                    for level in levels
                ),
            ),
            curves_table(by_sigma, "sigma, policy"),
            differences_table(by_sigma, "sigma, policy"),
            budgets_table(by_sigma, budgets, "sigma, policy"),
            costs_table(by_sigma, "sigma, policy"),
        ),
        pictures=(
            *(
                save_picture(
                    draw_levels(levels, figure, label),
                    f"{label} over the noise in the scores, on {first.title}.",
                    out,
                    figure.replace("_", "-"),
                )
                for label, figure in COMPARED.items()
            ),
            *(
                save_picture(
                    draw_curves(level.results),
                    f"Accuracy over strong tokens with noise {level.sigma:g}.",
                    out,
                    f"curve-{level.sigma:g}",
                )
                for level in levels
            ),
        ),
    )


def verdict_of(level: Level, families: Sequence[str]) -> str:
    """`Noise 2 (AUC 0.81): pomdp ahead of thr, agg level with thr.`"""
    parts = []
    for family in families:
        stand = direction(level.results.less("delta_ibc", family, RIVAL))
        words = {"ahead": f"ahead of {RIVAL}", "level": f"level with {RIVAL}"}
        words |= {"behind": f"behind {RIVAL}", "not defined": "cannot be compared"}
        parts.append(f"{family} {words[stand]}")
    return f"Noise {level.sigma:g} (AUC {number(level.lowest)}): {', '.join(parts)} in Δ-IBC."


def draw_levels(levels: Sequence[Level], figure: str, label: str) -> Figure:
    """A metric of every family over the level of noise, with its interval."""
    drawing, axes = new_figure()
    places = np.arange(len(levels), dtype=np.float64)
    families = list(levels[0].results.figures)
    for index, family in enumerate(families):
        rows = [level.results.figures[family].values[figure] for level in levels]
        values = np.array([row[0] for row in rows])
        # Side by side, as intervals would overlap.
        shift = 0.06 * (index - (len(families) - 1) / 2)
        axes.errorbar(
            places + shift,
            values,
            yerr=np.array([reach(row) for row in rows]).T,
            fmt=MARKERS[index % len(MARKERS)] + "-",
            color=COLOURS[index % len(COLOURS)],
            markersize=6,
            markeredgecolor="white",
            linewidth=1.6,
            elinewidth=1,
            label=family,
        )
    axes.set_xticks(places, [f"{level.sigma:g}\nAUC {number(level.lowest)}" for level in levels])
    axes.set_xlabel("noise in the log-odds of the scores, and AUC-ROC of the lowest")
    axes.set_ylabel(f"{label} (95 % interval)")
    axes.set_title(levels[0].results.title)
    drawing.legend(loc="outside lower center", ncols=6, frameon=False)
    return drawing


def reach(values: Array) -> tuple[float, float]:
    """Distances of the interval's ends from the value, below and above; 0 if undefined."""
    interval = interval_of(values)
    if interval is None:
        return 0.0, 0.0
    return max(0.0, values[0] - interval[0]), max(0.0, interval[1] - values[0])

"""A check of every model and scorer of a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from trim.checks.exercises import GENERAL, Draft, ProblemKind, drafts_of
from trim.checks.findings import Finding, failed, mode_advice, scorer_advice, span_advice
from trim.checks.models import check_model
from trim.checks.scorers import Material, check_scorer, make_scorer
from trim.checks.separation import Separation
from trim.configuration.build import for_trial, make_writer
from trim.configuration.configuration import Configuration
from trim.configuration.models import PluginModel
from trim.configuration.scorers import ConfidenceSection, GradeSection, ScorerSection, kind_of
from trim.errors import TrimError
from trim.models.model import Model, Sampling
from trim.policies.policy import Policy
from trim.policies.registry import parse_policies
from trim.scorers.scorer import Scorer

ScorerTrial = tuple[ScorerSection, Finding]
BUILT_IN = (
    ConfidenceSection(kind="logprob"),
    ConfidenceSection(kind="entropy"),
    GradeSection(kind="grade"),
)
"""Scorers that need no model of their own, cheapest first; a check tries all of them."""


@dataclass(frozen=True)
class Checkup:
    """The result of a check.

    Attributes:
        findings: of each model and scorer of the configuration, and of missing parts.
        tried: separation of right from wrong steps by kind of scorer, as in a configuration;
            includes the built-in scorers that the configuration does not name.
        advice: of each model the recommended continuation and how it writes inside a step, then the
            recommended scorer, one line each.
    """

    findings: tuple[Finding, ...]
    tried: Mapping[str, Separation]
    advice: tuple[str, ...]

    @property
    def failures(self) -> list[str]:
        """A line for each part that does not work."""
        return [f"{each.part}: {each.failure}" for each in self.findings if each.failure]


@dataclass(frozen=True)
class ModelTrials:
    """The checked models of a configuration.

    Attributes:
        findings: of each model.
        material: for checks of scorers.
        models: all that were made. A server whose model is freed before the event loop ends would
            leave its connections open.
    """

    findings: tuple[Finding, ...]
    material: Material
    models: tuple[Model, ...]


async def check(configuration: Configuration, sampling: Sampling) -> Checkup:
    """Check every model and scorer of a configuration, and the built-in scorers."""
    trials = await try_models(configuration, sampling)
    return checkup_of(configuration, trials, await try_scorers(configuration, trials))


def checkup_of(
    configuration: Configuration, trials: ModelTrials, scorers: Sequence[ScorerTrial]
) -> Checkup:
    configured = configuration.scorer
    tried: dict[str, Separation] = {}
    for section, finding in scorers:
        if finding.separation:
            tried.setdefault(section.kind, finding.separation)
    lines = [line(each) for each in trials.findings for line in (mode_advice, span_advice)]
    choice = scorer_advice(tried, configured[0].kind if configured else None)
    return Checkup(
        findings=(
            *trials.findings,
            *(finding for section, finding in scorers if section in configured),
            *missing_parts(configuration, trials.findings, choice.best),
        ),
        tried=tried,
        advice=tuple(filter(None, [*lines, choice.line])),
    )


async def try_models(configuration: Configuration, sampling: Sampling) -> ModelTrials:
    """Check every model, and let the models that draft write steps for checks of scorers."""
    findings: list[Finding] = []
    working: dict[str, Model] = {}
    models: list[Model] = []
    drafts: dict[str, tuple[Draft, ...]] = {}
    kind: ProblemKind | None = None
    for role, section in configuration.writers.items():
        finding = Finding(role)
        try:
            entropy = section.reports_log_probabilities
            model = make_writer(for_trial(section), role, slots=1, entropy=entropy)
        except TrimError as error:
            findings.append(replace(finding, failure=str(error)))
            continue
        models.append(model)
        try:
            finding = await check_model(finding, model, sampling)
            working[role] = model
            # No scorer reads steps of the strong model.
            if role != "strong" or not drafts:
                written = await drafts_of(model, sampling)
                kind = kind or written.kind
                if role != "strong":
                    drafts[role] = written.drafts
        except TrimError as error:
            finding = failed(finding, error)
        findings.append(finding)
    return ModelTrials(tuple(findings), Material(working, drafts, kind or GENERAL), tuple(models))


async def try_scorers(configuration: Configuration, trials: ModelTrials) -> list[ScorerTrial]:
    """Check the scorers of a configuration, then the built-in ones that it does not name."""
    configured = configuration.scorer
    kinds = {section.kind for section in configured}
    others = (each for each in built_in_scorers(configuration) if each.kind not in kinds)
    scorers: list[Scorer] = []
    return [
        (section, await try_scorer(section, trials.material, scorers))
        for section in (*configured, *others)
    ]


async def try_scorer(section: ScorerSection, material: Material, scorers: list[Scorer]) -> Finding:
    """Check a scorer.

    Args:
        scorers: keeps it from being freed, as `ModelTrials.models`.
    """
    finding = Finding(f"scorer {section.kind}")
    try:
        scorer = make_scorer(section, material.models)
    except TrimError as error:
        return replace(finding, failure=str(error))
    scorers.append(scorer)
    try:
        return await check_scorer(finding, section, scorer, material)
    except TrimError as error:
        return failed(finding, error)


def built_in_scorers(configuration: Configuration) -> list[ScorerSection]:
    """The built-in scorers that work with the configuration's models."""
    reported = configuration.reports_log_probabilities
    is_plugin = isinstance(configuration.strong, PluginModel)
    return [
        each for each in BUILT_IN if (not is_plugin if isinstance(each, GradeSection) else reported)
    ]


def missing_parts(
    configuration: Configuration, models: Sequence[Finding], best: str | None
) -> Iterator[Finding]:
    """Findings of policies, scorers and files that the configuration lacks.

    Args:
        models: findings of its models.
        best: kind of the recommended scorer.
    """
    unfit = [(each.part, each.spans.failure) for each in models if each.spans]
    policies: list[Policy] = []
    specs = {"routing": configuration.routing.spec}
    specs |= {f"router {each.name}": each.spec for each in configuration.server.routers}
    sections = (*configuration.scorer, *built_in_scorers(configuration))
    kinds = set(map(kind_of, sections))
    for part, spec in specs.items():
        try:
            found = parse_policies(spec) if spec else []
        except TrimError as error:
            yield Finding(part, failure=str(error))
            continue
        policies += found
        for policy in found:
            for model, failure in unfit:
                if failure and policy.needs_spans:
                    cannot = f"{model} cannot write inside a step: {failure}"
                    yield Finding(part, failure=f"policy {policy.name!r}: {cannot}")
            if policy.needs_scores and policy.scorer and policy.scorer not in kinds:
                lacking = f"policy {policy.name!r} needs a scorer of the kind {policy.scorer!r}"
                known = ", ".join(sorted(kinds))
                yield Finding(part, failure=f"{lacking}; the configuration has {known}")
    for name in ("curve", "belief"):
        file = getattr(configuration.server, name)
        if file and not file.is_file():
            yield Finding(f"server.{name}", failure=f"{file}: no such file; leave it out")
    needed = not policies or any(each.needs_scores and not each.scorer for each in policies)
    if needed and not configuration.scorer:
        advice = f"scorer: {{kind: {best or 'logprob'}}}"
        yield Finding("scorer", failure=f"the configuration has none; name one, e.g. `{advice}`")

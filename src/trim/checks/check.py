"""Whether the parts of a configuration work: each is tried by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from trim.checks.exercises import GENERAL, Draft, Kind, drafts_of
from trim.checks.findings import Finding, failed, mode_advice, scorer_advice
from trim.checks.scorers import Material, check_scorer, make_scorer
from trim.checks.separation import Separation
from trim.checks.writers import check_writer
from trim.configuration.build import ScorerSection, WritingModel, fail_fast, kind_of, make_model
from trim.configuration.configuration import Configuration
from trim.configuration.models import tells_log_probabilities
from trim.configuration.scorers import ConfidenceSection, GradeSection
from trim.errors import InvalidInput, TrimError
from trim.models.model import Sampling
from trim.policies.policy import Policy
from trim.policies.registry import parse_policies
from trim.scorers.scorer import Scorer

Tried = tuple[ScorerSection, Finding]
"""A scorer, and what it does."""
OWN = (
    ConfidenceSection(kind="logprob"),
    ConfidenceSection(kind="entropy"),
    GradeSection(kind="grade"),
)
"""Scorers that need no model of their own, the cheapest first: all are tried."""


@dataclass(frozen=True)
class Checkup:
    """What was found out about a configuration.

    Attributes:
        findings: of each model and each scorer that it names, and of what else is wrong.
        tried: how well each kind of scorer tells right steps from wrong ones, those included that
            could be had without a model of their own, by the kind in a configuration.
        advice: what would be the best choice of each continuation and of the scorer, a line each.
    """

    findings: tuple[Finding, ...]
    tried: Mapping[str, Separation]
    advice: tuple[str, ...]

    @property
    def failures(self) -> list[str]:
        """A line for each part that does not work."""
        return [f"{each.part}: {each.failure}" for each in self.findings if each.failure]


@dataclass(frozen=True)
class Trial:
    """The models of a configuration, tried.

    Attributes:
        findings: of each model.
        material: what scorers can be tried on.
        made: a server that is forgotten before the event loop ends would leave its connections
            open, so all are kept.
    """

    findings: tuple[Finding, ...]
    material: Material
    made: tuple[WritingModel, ...]


async def check(configuration: Configuration, sampling: Sampling) -> Checkup:
    """Try every model and every scorer that a configuration names or could name."""
    trial = await try_models(configuration, sampling)
    return checkup_of(configuration, trial, await try_scorers(configuration, trial))


def checkup_of(configuration: Configuration, trial: Trial, scorers: Sequence[Tried]) -> Checkup:
    """What the trials of a configuration's models and scorers come to."""
    named = configuration.scorer
    tried: dict[str, Separation] = {}
    for section, finding in scorers:
        if finding.separation:
            tried.setdefault(section.kind, finding.separation)
    modes = [line for each in trial.findings if (line := mode_advice(each))]
    choice = scorer_advice(tried, named[0].kind if named else None)
    return Checkup(
        findings=(
            *trial.findings,
            *(finding for section, finding in scorers if section in named),
            *missing_parts(configuration, choice.best),
        ),
        tried=tried,
        advice=(*modes, *filter(None, [choice.line])),
    )


async def try_models(configuration: Configuration, sampling: Sampling) -> Trial:
    """Try every model, and have those write whose drafts are scored."""
    findings: list[Finding] = []
    writers: dict[str, WritingModel] = {}
    made: list[WritingModel] = []
    drafts: dict[str, tuple[Draft, ...]] = {}
    kind: Kind | None = None
    for role, section in configuration.writers.items():
        finding = Finding(role)
        try:
            told = tells_log_probabilities(section)
            model = make_model(fail_fast(section), role, slots=1, entropy=told)
        except TrimError as error:
            findings.append(replace(finding, failure=str(error)))
            continue
        made.append(model)
        try:
            finding = await check_writer(finding, model, sampling)
            writers[role] = model
            # Nobody decides about what the strong model writes.
            if role != "strong" or not drafts:
                written = await drafts_of(model, sampling)
                kind = kind or written.kind
                if role != "strong":
                    drafts[role] = written.drafts
        except TrimError as error:
            finding = failed(finding, error)
        findings.append(finding)
    return Trial(tuple(findings), Material(writers, drafts, kind or GENERAL), tuple(made))


async def try_scorers(configuration: Configuration, trial: Trial) -> list[Tried]:
    """Try the scorers that a configuration names, and then those that it could name."""
    named = configuration.scorer
    kinds = {section.kind for section in named}
    offered = (each for each in own_scorers(configuration) if each.kind not in kinds)
    made: list[Scorer] = []
    return [
        (section, await try_scorer(section, trial.material, made)) for section in (*named, *offered)
    ]


async def try_scorer(section: ScorerSection, material: Material, made: list[Scorer]) -> Finding:
    """What a scorer does.

    Args:
        made: the scorer is added, so that it is kept for a while (`Trial.made`).
    """
    finding = Finding(f"scorer {section.kind}")
    try:
        scorer = make_scorer(section, material.writers)
    except TrimError as error:
        return replace(finding, failure=str(error))
    made.append(scorer)
    try:
        return await check_scorer(finding, section, scorer, material)
    except TrimError as error:
        return failed(finding, error)


def own_scorers(configuration: Configuration) -> list[ScorerSection]:
    """The scorers that the configuration's models can serve without another model."""
    confident = all(map(tells_log_probabilities, configuration.writers.values()))
    return [each for each in OWN if confident or isinstance(each, GradeSection)]


def missing_parts(configuration: Configuration, best: str | None) -> Iterator[Finding]:
    """What else keeps a configuration from being used.

    Args:
        best: the scorer to recommend.
    """
    policies: list[Policy] = []
    specs = {"routing": configuration.routing.spec}
    specs |= {f"router {each.name}": each.spec for each in configuration.server.routers}
    kinds = {kind_of(each) for each in (*configuration.scorer, *own_scorers(configuration))}
    for part, spec in specs.items():
        try:
            found = parse_policies(spec) if spec else []
        except InvalidInput as error:
            yield Finding(part, failure=str(error))
            continue
        policies += found
        for policy in found:
            if policy.needs_scores and policy.scorer and policy.scorer not in kinds:
                lacking = f"policy {policy.name!r} needs a scorer of the kind {policy.scorer!r}"
                yield Finding(part, failure=f"{lacking}; there is {', '.join(sorted(kinds))}")
    for name in ("curve", "belief"):
        file = getattr(configuration.server, name)
        if file and not file.is_file():
            yield Finding(f"server.{name}", failure=f"{file}: no such file; leave it out")
    needed = not policies or any(each.needs_scores and not each.scorer for each in policies)
    if needed and not configuration.scorer:
        advice = f"scorer: {{kind: {best or 'logprob'}}}"
        yield Finding("scorer", failure=f"the configuration has none; name one, e.g. `{advice}`")

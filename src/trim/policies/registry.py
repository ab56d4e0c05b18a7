"""Policies by name: `thr:0.1,0.5` is two thresholds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trim.errors import InvalidInput
from trim.policies.agg.policy import read_agg
from trim.policies.calibrated import FAMILY as ROUTER
from trim.policies.calibrated import read_calibrated
from trim.policies.fixed import RandomMix, StrongAlone, WeakAlone
from trim.policies.policy import FittedPolicy, Policy, Priced
from trim.policies.pomdp.policy import read_pomdp
from trim.policies.rivals import embedding as sentence
from trim.policies.rivals.automix import AutoMix, AutoMixPRM, read_automix
from trim.policies.rivals.cascade import Cascade
from trim.policies.rivals.classifier import read_classifier
from trim.policies.rivals.embedding import read_embedding_classifier
from trim.policies.rivals.stepwise import RewardGuided, SpecReason
from trim.policies.seq.policy import read_seq
from trim.policies.threshold import Takeover, Threshold

WITHOUT_SETTING: dict[str, Callable[[], Policy]] = {"weak": WeakAlone, "strong": StrongAlone}
WITH_SHARE: dict[str, Callable[[float], Policy]] = {
    "random": RandomMix,
    "thr": Threshold,
    "takeover": Takeover,
    "cascade": Cascade,
    "rsd": RewardGuided,
}
WITH_GRADE: dict[str, Callable[[float], Policy]] = {"specreason": SpecReason}
USUAL_SETTING = {"rsd": "0.7", "specreason": "7"}
"""What a family is without a setting, where its authors name one."""
PRICED: dict[str, Callable[[Path], Priced[Any]]] = {
    "pomdp": read_pomdp,
    "agg": read_agg,
    "seq": read_seq,
}
"""Fitted families whose setting is the price of a strong token: the dearer, the less is spent."""


def at_prices(family: str, path: Path, prices: tuple[float, ...]) -> Sequence[Policy]:
    return PRICED[family](path).policies(prices)


FROM_FILE: dict[str, Callable[[Path, tuple[float, ...]], Sequence[Policy]]] = {
    "classifier": read_classifier,
    "classifier-embedding": partial(
        read_embedding_classifier, sentence.encode, sentence.ENCODER, sentence.SIZE
    ),
    "automix": partial(read_automix, AutoMix),
    "automix-prm": partial(read_automix, AutoMixPRM),
    **{family: partial(at_prices, family) for family in PRICED},
}
"""Fitted families: a file and the settings to use (none: the file's own) give policies."""
ONLY_IN_EVALUATION = ("oracle", "oracle-query")
NO_OTHERS: Mapping[str, Policy] = MappingProxyType({})
ENTRY_POINTS = "trim.policies"
"""Entry-point group in which other packages offer policies: a callable that is given
the text after the colon ("" without one) and returns a policy."""


def parse_policy(spec: str) -> Policy:
    """The one policy that a command-line word names, as `thr:0.8`.

    Raises:
        InvalidInput: as `parse_policies`, or the word names several.
    """
    policies = parse_policies(spec)
    if len(policies) != 1:
        raise InvalidInput(f"policy {spec!r} has {len(policies)} settings; give one, as in thr:0.8")
    return policies[0]


def parse_policies(spec: str) -> list[Policy]:
    """The policies that a command-line word names, one for each setting in it.

    A fitted family takes a file, which brings its own settings: `classifier:FILE`; others
    come after an @, as in `classifier:FILE@0.2,0.4`.

    Raises:
        InvalidInput: unknown name, a missing setting or file, or one outside its range.
    """
    family, _, settings = spec.partition(":")
    if family in WITHOUT_SETTING:
        if settings:
            raise InvalidInput(f"policy {family!r} takes no setting, got {spec!r}")
        return [WITHOUT_SETTING[family]()]
    settings = settings or USUAL_SETTING.get(spec, "")
    if family in WITH_SHARE:
        return [WITH_SHARE[family](parse_share(family, text)) for text in settings.split(",")]
    if family in WITH_GRADE:
        return [WITH_GRADE[family](parse_grade(family, text)) for text in settings.split(",")]
    if family in FROM_FILE:
        return list(FROM_FILE[family](*parse_file(family, settings)))
    if family == ROUTER and settings:
        return [read_calibrated(Path(settings), parse_policies)]
    if family in ONLY_IN_EVALUATION:
        raise InvalidInput(f"policy {family!r} needs reference solutions: use it with `trim eval`")
    for entry_point in entry_points(group=ENTRY_POINTS, name=family):
        return [entry_point.load()(text) for text in settings.split(",")]
    known = [
        *WITHOUT_SETTING,
        *(f"{name}:K" for name in (*WITH_SHARE, *WITH_GRADE)),
        *(f"{name}:FILE" for name in (*FROM_FILE, ROUTER)),
        *ONLY_IN_EVALUATION,
    ]
    raise InvalidInput(f"unknown policy {spec!r}; known: {', '.join(known)}")


def parse_all(specs: Sequence[str], others: Mapping[str, Policy] = NO_OTHERS) -> list[Policy]:
    """The policies that several words name, each once.

    Where a fitted family comes with several files, each is a family of its own, named after
    its file: `agg(chain)` and `agg(hard)`.

    Args:
        others: policies by words that only the caller knows.

    Raises:
        InvalidInput: as `parse_policies`.
    """
    labels = label_files(specs)
    policies: list[Policy] = []
    for spec in specs:
        found = [others[spec]] if spec in others else parse_policies(spec)
        file = fitted_file(spec)
        policies += [
            replace(policy, label=labels[file])
            if file and isinstance(policy, FittedPolicy)
            else policy
            for policy in found
        ]
    return list({policy.name: policy for policy in policies}.values())


def fitted_file(spec: str) -> tuple[str, Path] | None:
    """The family and the file of a word that names one, else None."""
    family, _, settings = spec.partition(":")
    if family not in FROM_FILE or not settings:
        return None
    return family, parse_file(family, settings)[0].resolve()


def label_files(specs: Sequence[str]) -> dict[tuple[str, Path], str]:
    """`FittedPolicy.label` of each family and file, empty where the family has no other."""
    files = dict.fromkeys(filter(None, map(fitted_file, specs)))
    labels = dict.fromkeys(files, "")
    for family in dict.fromkeys(family for family, _ in files):
        of_family = [path for other, path in files if other == family]
        if len(of_family) > 1:
            keys = [(family, path) for path in of_family]
            labels.update(zip(keys, short_names(of_family), strict=True))
    return labels


def short_names(paths: Sequence[Path]) -> list[str]:
    """The ends of different paths, as short as tells them apart, without `.json`."""
    for depth in range(1, max(len(path.parts) for path in paths)):
        ends = ["/".join(path.parts[-depth:]).removesuffix(".json") for path in paths]
        # A colon would end the family's name, and a bracket its label.
        names = [re.sub("[:()]", "-", end) for end in ends]
        if len(set(names)) == len(names):
            return names
    return [str(number) for number, _ in enumerate(paths, start=1)]


def parse_share(family: str, text: str) -> float:
    return parse_number(family, text, highest=1, example="0.5")


def parse_grade(family: str, text: str) -> float:
    return parse_number(family, text, highest=9, example="7")


def parse_number(family: str, text: str, highest: float, example: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= highest:
        raise InvalidInput(
            f"{family}: {text!r} is not a number from 0 to {highest}, as in {family}:{example}"
        )
    return number


def parse_file(family: str, text: str) -> tuple[Path, tuple[float, ...]]:
    """`FILE` or `FILE@0.2,0.4`: the file, and the settings in [0, 1] that were asked for."""
    file, at, settings = text.rpartition("@")
    if not at:
        file, settings = text, ""
    if not file:
        raise InvalidInput(f"{family}: needs the file that was fitted, as in {family}:FILE")
    chosen = tuple(parse_share(family, setting) for setting in settings.split(",")) if at else ()
    return Path(file), chosen

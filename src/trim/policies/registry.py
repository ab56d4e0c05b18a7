"""Policies by name: `thr:0.1,0.5` names two thresholds.

`FAMILIES` is the table of the built-in families. Other packages add families under the
entry-point group `trim.policies`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from trim.errors import InvalidInput
from trim.files import require_name
from trim.plugins import call_plugin, find_plugin, installed
from trim.policies.calibrated import ROUTER, read_calibrated_policy
from trim.policies.fixed import RandomMix, StrongAlone, WeakAlone
from trim.policies.policy import FittedPolicy, Policy, PricedPolicies
from trim.policies.rivals.cascade import Cascade
from trim.policies.rivals.stepwise import RewardGuided, SpecReason
from trim.policies.threshold import Takeover, Threshold
from trim.policies.token import TAIL, Tail, parse_tokens

if TYPE_CHECKING:
    from trim.policies.agg.policy import AggPolicy
    from trim.policies.pomdp.policy import PomdpPolicy
    from trim.policies.seq.policy import SeqPolicy


class Family(Protocol):
    """A family of policies as the command line names it."""

    @property
    def name(self) -> str: ...
    @property
    def syntax(self) -> str:
        """Name and argument, such as `thr:K`."""

    @property
    def help(self) -> str:
        """One line without a full stop."""

    def parse(self, text: str) -> list[Policy]:
        """The policies for the `text` after the colon; raises InvalidInput."""


@dataclass(frozen=True)
class PlainFamily:
    """A single policy without a setting."""

    name: str
    make: Callable[[], Policy]
    help: str

    @property
    def syntax(self) -> str:
        return self.name

    def parse(self, text: str) -> list[Policy]:
        if text:
            raise InvalidInput(
                f"policy {self.name!r} takes no setting, got {f'{self.name}:{text}'!r}"
            )
        return [self.make()]


@dataclass(frozen=True)
class SettingFamily:
    """A policy for each setting from 0 to `highest`.

    Attributes:
        example: a valid setting, for error messages.
        default: the setting of the bare name; empty if the name needs a setting.
    """

    name: str
    at: Callable[[float], Policy]
    help: str
    highest: float = 1
    example: str = "0.5"
    default: str = ""

    @property
    def syntax(self) -> str:
        return f"{self.name}:K"

    def parse(self, text: str) -> list[Policy]:
        return [
            self.at(parse_number(self.name, part, self.highest, self.example))
            for part in text.split(",")
        ]


@dataclass(frozen=True)
class FileFamily:
    """Policies read from a fitted file, at its own settings or at those after an @.

    Attributes:
        read: makes the policies of a file for the given settings (none: the file's own).
    """

    name: str
    read: Callable[[Path, tuple[float, ...]], Sequence[Policy]]
    help: str

    @property
    def syntax(self) -> str:
        return f"{self.name}:FILE"

    def parse(self, text: str) -> list[Policy]:
        return list(self.read(*parse_file(self.name, text)))


@dataclass(frozen=True)
class PricedFamily:
    """A fitted family whose setting is the price of a strong token; a higher price spends less."""

    name: str
    open: Callable[[Path], PricedPolicies[Any]]
    help: str

    @property
    def syntax(self) -> str:
        return f"{self.name}:FILE"

    def parse(self, text: str) -> list[Policy]:
        path, prices = parse_file(self.name, text)
        return list(self.open(path).policies(prices))


@dataclass(frozen=True)
class RouterFamily:
    """The policy of a router file of `trim calibrate`."""

    name: str
    help: str

    @property
    def syntax(self) -> str:
        return f"{self.name}:FILE"

    def parse(self, text: str) -> list[Policy]:
        if not text:
            raise InvalidInput(f"{self.name}: needs a file of `trim calibrate`, as in router:FILE")
        return [read_calibrated_policy(require_name(Path(text)), parse_policies)]


# Fitted families are imported on first use: they need numpy, and fitting code scipy.


def _classifier(path: Path, settings: tuple[float, ...]) -> Sequence[Policy]:
    from trim.policies.rivals.classifier import read_classifier

    return read_classifier(path, settings)


def _embedding(path: Path, settings: tuple[float, ...]) -> Sequence[Policy]:
    from trim.policies.rivals import embedding

    return embedding.read_embedding_classifier(
        embedding.encode, embedding.ENCODER, embedding.SIZE, path, settings
    )


def _automix(path: Path, prices: tuple[float, ...]) -> Sequence[Policy]:
    from trim.policies.rivals.automix import AutoMix, read_automix

    return read_automix(AutoMix, path, prices)


def _automix_prm(path: Path, prices: tuple[float, ...]) -> Sequence[Policy]:
    from trim.policies.rivals.automix import AutoMixPRM, read_automix

    return read_automix(AutoMixPRM, path, prices)


def _pomdp(path: Path) -> PricedPolicies[PomdpPolicy]:
    from trim.policies.pomdp.policy import read_pomdp

    return read_pomdp(path)


def _agg(path: Path) -> PricedPolicies[AggPolicy]:
    from trim.policies.agg.policy import read_agg

    return read_agg(path)


def _seq(path: Path) -> PricedPolicies[SeqPolicy]:
    from trim.policies.seq.policy import read_seq

    return read_seq(path)


@dataclass(frozen=True)
class TokenFamily:
    """Policies that decide at the tokens of a draft."""

    name: str
    syntax: str
    help: str

    def parse(self, text: str) -> list[Policy]:
        return [parse_tokens(self.name, part) for part in text.split(",")]


PLAIN_FAMILIES: Mapping[str, PlainFamily] = {
    family.name: family
    for family in (
        PlainFamily("weak", WeakAlone, "the weak model alone"),
        PlainFamily("strong", StrongAlone, "the strong model alone"),
    )
}
SETTING_FAMILIES: Mapping[str, SettingFamily] = {
    family.name: family
    for family in (
        SettingFamily("random", RandomMix, "regenerate a random share K of the steps"),
        SettingFamily("thr", Threshold, "TRIM-Thr: regenerate steps with a score below K"),
        SettingFamily(
            "takeover", Takeover, "the strong model writes the rest after a score below K"
        ),
        SettingFamily("cascade", Cascade, "solve again if the lowest score is below K"),
        SettingFamily(
            "rsd", RewardGuided, "RSD: accept drafts with a score of at least K", default="0.7"
        ),
        SettingFamily(
            "specreason",
            SpecReason,
            "SpecReason: accept drafts that the strong model grades K or better",
            highest=9,
            example="7",
            default="7",
        ),
    )
}
FILE_FAMILIES: Mapping[str, FileFamily] = {
    family.name: family
    for family in (
        FileFamily("classifier", _classifier, "choose one model by the words of the question"),
        FileFamily("classifier-embedding", _embedding, "choose one model by a sentence embedding"),
        FileFamily("automix", _automix, "AutoMix: verify the solution by the model's confidence"),
        FileFamily("automix-prm", _automix_prm, "AutoMix: verify the solution by its step scores"),
    )
}
PRICED_FAMILIES: Mapping[str, PricedFamily] = {
    family.name: family
    for family in (
        PricedFamily("pomdp", _pomdp, "TRIM-POMDP: plan on a belief over the hidden state"),
        PricedFamily("agg", _agg, "TRIM-Agg: a network on aggregates of the scores"),
        PricedFamily("seq", _seq, "TRIM-Seq: a transformer on all scores"),
    )
}
TOKEN_FAMILIES: Mapping[str, TokenFamily] = {
    family.name: family
    for family in (
        TokenFamily(
            "token",
            "token:P[:M]",
            "the strong model writes M tokens (1) at each with a probability below P",
        ),
        TokenFamily("clause", "clause:P", "as token, to the end of the clause, sentence or line"),
        TokenFamily("tail", "tail:P", "as token, to the end of the step"),
    )
}
FITTED_FAMILIES = (*FILE_FAMILIES, *PRICED_FAMILIES)
"""Families whose argument is a fitted file or folder."""
FAMILIES: Mapping[str, Family] = {
    **PLAIN_FAMILIES,
    **SETTING_FAMILIES,
    **TOKEN_FAMILIES,
    **FILE_FAMILIES,
    **PRICED_FAMILIES,
    ROUTER: RouterFamily(ROUTER, "the setting that `trim calibrate` chose"),
}
"""All built-in families that work without reference solutions, by name."""
EVALUATION_ONLY = {
    "oracle": "regenerate exactly the wrong steps",
    "oracle-query": "give the strong model the questions that only it solves",
    "oracle-token": "one strong token wherever a draft leaves the right step",
}
"""Families that need reference solutions, with their help."""

ENTRY_POINTS = "trim.policies"
"""Entry-point group for policies of other packages: a callable that takes the text after the
colon ("" without one) and returns a `Policy`."""
NO_OTHERS: Mapping[str, Policy] = MappingProxyType({})


def describe_families() -> Iterator[tuple[str, str]]:
    """Syntax and one line of help of every family, for help texts and documentation."""
    for family in FAMILIES.values():
        yield family.syntax, family.help
    yield f"POLICY{TAIL}P", "rewrite from the first token with a probability below P"
    for name, text in EVALUATION_ONLY.items():
        yield name, f"{text} (`trim eval` only)"
    for name, entry_point in installed(ENTRY_POINTS).items():
        yield name, f"from {entry_point.value}"


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

    A fitted family takes a file with its own settings, `classifier:FILE`, or with others
    after an @, `classifier:FILE@0.2,0.4`.

    Raises:
        InvalidInput: unknown name, missing setting or file, or a setting outside its range.
    """
    if TAIL in spec:
        steps, _, probabilities = spec.rpartition(TAIL)
        thresholds = [parse_tokens("tail", part).threshold for part in probabilities.split(",")]
        return [Tail(policy, each) for policy in parse_policies(steps) for each in thresholds]
    name, _, text = spec.partition(":")
    if name in FAMILIES:
        # The bare name has the authors' setting; "rsd:" is an empty one.
        default = SETTING_FAMILIES[name].default if spec in SETTING_FAMILIES else ""
        return FAMILIES[name].parse(text or default)
    if name in EVALUATION_ONLY:
        raise InvalidInput(f"policy {name!r} needs reference solutions: use it with `trim eval`")
    if make := find_plugin(ENTRY_POINTS, name):
        return [made_by(make, name, part) for part in text.split(",")]
    raise unknown(spec)


def made_by(make: Any, name: str, setting: str) -> Policy:
    """A policy of another package.

    Raises:
        InvalidInput: it does not take the setting or fails with it, or what it makes is no policy.
    """
    made = call_plugin(lambda: make(setting), f"policy {name!r}", f"the setting {setting!r}")
    if not isinstance(made, Policy):
        raise InvalidInput(
            f"policy {name!r}: its package makes a {type(made).__name__}, not a subclass of"
            " trim.Policy"
        )
    return made


def unknown(spec: str) -> InvalidInput:
    """The error for a word that names no policy, with the nearest name."""
    plugins = installed(ENTRY_POINTS)
    names = (*FAMILIES, *EVALUATION_ONLY, *plugins)
    near = get_close_matches(spec.partition(":")[0].lower(), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near and near[0] != spec else ";"
    known = [
        *(family.syntax for family in FAMILIES.values()),
        *EVALUATION_ONLY,
        *installed(ENTRY_POINTS),
    ]
    return InvalidInput(f"unknown policy {spec!r}{hint} known: {', '.join(known)}")


def parse_all(specs: Sequence[str], others: Mapping[str, Policy] = NO_OTHERS) -> list[Policy]:
    """The policies of several words, each once.

    If a fitted family has several files, each is a family of its own, named after its file:
    `agg(chain)` and `agg(hard)`.

    Args:
        others: policies for words that only the caller knows.

    Raises:
        InvalidInput: as `parse_policies`.
    """
    labels = label_files(specs)
    policies: list[Policy] = []
    for spec in specs:
        found = [others[spec]] if spec in others else parse_policies(spec)
        file = fitted_file(spec)
        policies += [labelled(policy, labels[file]) if file else policy for policy in found]
    return list({policy.name: policy for policy in policies}.values())


def labelled(policy: Policy, label: str) -> Policy:
    """The policy with the label of its file, if it has one."""
    if isinstance(policy, Tail):
        return replace(policy, policy=labelled(policy.policy, label))
    return replace(policy, label=label) if isinstance(policy, FittedPolicy) else policy


def fitted_file(spec: str) -> tuple[str, Path] | None:
    """The family and the resolved file of a word such as `agg:FILE`; None for other words."""
    family, _, text = spec.partition(TAIL)[0].partition(":")
    if family not in FITTED_FAMILIES or not text:
        return None
    return family, parse_file(family, text)[0].resolve()


def label_files(specs: Sequence[str]) -> dict[tuple[str, Path], str]:
    """`FittedPolicy.label` by family and file; empty for the only file of a family."""
    files = dict.fromkeys(filter(None, map(fitted_file, specs)))
    labels = dict.fromkeys(files, "")
    for family in dict.fromkeys(family for family, _ in files):
        of_family = [path for other, path in files if other == family]
        if len(of_family) > 1:
            keys = [(family, path) for path in of_family]
            labels.update(zip(keys, short_names(of_family), strict=True))
    return labels


def short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest endings that distinguish different paths, without `.json`."""
    for depth in range(1, max(len(path.parts) for path in paths)):
        ends = ["/".join(path.parts[-depth:]).removesuffix(".json") for path in paths]
        # A colon would end the family's name, and a bracket its label.
        names = [re.sub("[:()]", "-", end) for end in ends]
        if len(set(names)) == len(names):
            return names
    return [str(number) for number, _ in enumerate(paths, start=1)]


def parse_share(family: str, text: str) -> float:
    """A setting from 0 to 1; raises InvalidInput for anything else."""
    return parse_number(family, text)


def parse_number(family: str, text: str, highest: float = 1, example: str = "0.5") -> float:
    """A setting from 0 to `highest`; raises InvalidInput for anything else."""
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
    """`FILE` or `FILE@0.2,0.4`: the file, and the requested settings in [0, 1]."""
    file, settings = split_file(text)
    if not file:
        raise InvalidInput(f"{family}: needs the file that was fitted, as in {family}:FILE")
    chosen = () if settings is None else settings.split(",")
    return require_name(Path(file)), tuple(parse_share(family, each) for each in chosen)


def split_file(text: str) -> tuple[str, str | None]:
    """The parts of `FILE@SETTINGS`, None for `FILE` alone; a folder may have an `@` in its name."""
    file, at, settings = text.rpartition("@")
    return (file, settings) if at and not {"/", os.sep} & set(settings) else (text, None)

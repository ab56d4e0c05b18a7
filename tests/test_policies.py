"""Policies: when each of them rewrites, and how the command line names them."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trim import plugins
from trim.errors import InvalidInput
from trim.policies import registry
from trim.policies.fixed import RandomMix, StrongAlone, WeakAlone
from trim.policies.oracle import Oracle, OracleQuery
from trim.policies.registry import FAMILIES, describe_families, parse_policies
from trim.policies.threshold import Takeover, Threshold
from trim.types import Action, Observation

ROOT = Path(registry.__file__).parents[1]
shares = st.floats(0, 1)
observations = st.builds(
    lambda question, scores, seed: Observation(
        question=question,
        steps=tuple(f"step {index}" for index in range(len(scores))),
        scores=tuple(scores),
        tokens=(5,) * len(scores),
        actions=(Action.CONTINUE,) * (len(scores) - 1),
        seed=seed,
    ),
    st.text(),
    st.lists(shares, min_size=1, max_size=8),
    st.integers(),
)


def rewrites(policy, observation):
    return policy.decide(observation) is not Action.CONTINUE


@pytest.mark.parametrize("family", [Threshold, Takeover, RandomMix])
@given(observation=observations)
def test_0_never_and_1_always(family, observation):
    assert not rewrites(family(0), observation)
    assert rewrites(family(1), observation)


@pytest.mark.parametrize("family", [Threshold, Takeover, RandomMix])
@given(observation=observations, settings=st.tuples(shares, shares).map(sorted))
def test_a_larger_setting_rewrites_a_superset(family, observation, settings):
    smaller, larger = map(family, settings)
    assert rewrites(larger, observation) >= rewrites(smaller, observation)


@given(observations, shares.filter(lambda k: k < 1))
def test_only_the_newest_score_counts(observation, threshold):
    expected = observation.scores[-1] < threshold
    assert rewrites(Threshold(threshold), observation) is expected
    assert rewrites(Takeover(threshold), observation) is expected


def test_the_action_after_a_low_score():
    low = Observation("q", ("a",), (0.2,), (1,), (), 0)
    assert Threshold(0.5).decide(low) is Action.REGENERATE
    assert Takeover(0.5).decide(low) is Action.TAKE_OVER


def drawn(share, seed=0):
    return {
        (question, step)
        for question in range(200)
        for step in range(1, 11)
        if rewrites(
            RandomMix(share), Observation(str(question), ("s",) * step, (), (1,) * step, (), seed)
        )
    }


def test_the_random_mix_keeps_its_rate():
    chosen = [drawn(share) for share in (0.1, 0.3, 0.5, 0.9)]
    # Three standard deviations of 2,000 draws.
    assert [len(steps) / 2000 for steps in chosen] == pytest.approx([0.1, 0.3, 0.5, 0.9], abs=0.034)
    assert all(smaller < larger for smaller, larger in pairwise(chosen))


def test_the_random_mix_depends_on_the_seed_alone():
    assert drawn(0.5, seed=1) == drawn(0.5, seed=1)
    assert drawn(0.5, seed=1) != drawn(0.5, seed=2)


@given(observations)
def test_one_model_alone(observation):
    assert WeakAlone().begin(observation.question) is Action.CONTINUE
    assert WeakAlone().decide(observation) is Action.CONTINUE
    assert StrongAlone().begin(observation.question) is Action.TAKE_OVER


def test_the_oracles():
    observation = Observation("q", ("a", "b", "c"), (), (1, 1, 1), (Action.CONTINUE,) * 2, 0)
    seen = []

    def is_right(question, earlier, step):
        seen.append((question, list(earlier), step))
        return step == "b"

    assert Oracle(is_right).decide(observation) is Action.REGENERATE
    assert seen == [("q", ["a", "b"], "c")]
    assert OracleQuery().begin("q") is Action.CONTINUE
    assert OracleQuery({"q"}).begin("q") is Action.TAKE_OVER
    assert OracleQuery({"q"}).begin("another") is Action.CONTINUE


@pytest.mark.parametrize(
    ("policy", "needs_scores"),
    [
        (Threshold(0.5), True),
        (Takeover(0.5), True),
        (RandomMix(0.5), False),
        (WeakAlone(), False),
        (StrongAlone(), False),
        (Oracle(lambda *_: True), False),
        (OracleQuery(), False),
    ],
)
def test_only_thresholds_need_scores(policy, needs_scores):
    assert policy.needs_scores is needs_scores


def test_specs_of_the_command_line():
    assert [type(p) for word in ("weak", "strong") for p in parse_policies(word)] == [
        WeakAlone,
        StrongAlone,
    ]
    assert parse_policies("thr:0.1,0.5") == [Threshold(0.1), Threshold(0.5)]
    assert parse_policies("takeover:1") == [Takeover(1)]
    assert parse_policies("random:0,1e-1") == [RandomMix(0), RandomMix(0.1)]


@pytest.mark.parametrize("family", [Threshold, Takeover, RandomMix])
@given(setting=shares)
def test_a_name_parses_to_its_policy(family, setting):
    policy = family(setting)
    assert parse_policies(policy.name) == [policy]


def test_short_settings_have_short_names():
    names = [policy.name for policy in parse_policies("thr:0,0.10,0.5,1.0")]
    assert names == ["thr:0", "thr:0.1", "thr:0.5", "thr:1"]
    assert [p.name for word in ("weak", "strong") for p in parse_policies(word)] == [
        "weak",
        "strong",
    ]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nonsense", "unknown policy 'nonsense'; known: weak, strong, random:K, thr:K"),
        ("", "unknown policy ''"),
        ("THR:0.5", "unknown policy"),
        ("weak:0.5", "policy 'weak' takes no setting"),
        ("strong:1", "policy 'strong' takes no setting"),
        ("thr", "thr: '' is not a number from 0 to 1, as in thr:0.5"),
        ("thr:", "thr: ''"),
        ("thr:0.1,,0.5", "thr: ''"),
        ("thr:half", "thr: 'half'"),
        ("thr:nan", "thr: 'nan'"),
        ("thr:inf", "thr: 'inf'"),
        ("random:-0.1", "random: '-0.1'"),
        ("takeover:1.01", "takeover: '1.01'"),
        ("thr:0.5:0.6", "thr: '0.5:0.6'"),
        ("oracle", "needs reference solutions: use it with `trim eval`"),
        ("oracle-query", "needs reference solutions"),
    ],
)
def test_invalid_specs_are_refused(spec, message):
    with pytest.raises(InvalidInput) as refusal:
        parse_policies(spec)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("spec", "near"),
    [("thrs:0.5", "thr"), ("THR:0.5", "thr"), ("speccreason", "specreason"), ("pompd:f", "pomdp")],
)
def test_the_nearest_name_is_suggested(spec, near):
    with pytest.raises(InvalidInput, match=f"; did you mean '{near}'\\?"):
        parse_policies(spec)


def test_every_family_has_one_line_of_help():
    described = dict(describe_families())
    for name, family in FAMILIES.items():
        assert family.syntax.partition(":")[0] == name
        assert described[family.syntax] == family.help
    assert {"oracle", "oracle-query"} <= set(described)
    assert all(text and "\n" not in text and len(text) < 80 for text in described.values())


def test_a_threshold_is_parsed_without_numeric_libraries():
    """In a fresh process, with the package's own root replaced: other parts may import them."""
    code = (
        "import sys, types; root = types.ModuleType('trim');"
        f"root.__path__ = [{str(ROOT)!r}]; sys.modules['trim'] = root;"
        "from trim.policies.registry import parse_policies; parse_policies('thr:0.5');"
        "heavy = {'numpy', 'scipy', 'sklearn', 'torch', 'matplotlib'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@given(st.text())
def test_any_spec_is_parsed_or_refused(spec):
    try:
        policies = parse_policies(spec)
    except InvalidInput:
        return
    assert policies


class PluggedIn:
    """An entry point that offers `Threshold` under another name."""

    name, value = "beam", "another.package:make"

    def __init__(self):
        self.settings = []

    def load(self):
        return self.make

    def make(self, setting):
        self.settings.append(setting)
        return Threshold(float(setting or 0.25))


def test_another_package_offers_a_policy(monkeypatch):
    plugged_in = PluggedIn()

    def entry_points(group):
        assert group == "trim.policies"
        return [plugged_in]

    monkeypatch.setattr(plugins, "entry_points", entry_points)
    assert parse_policies("beam:0.5,0.75") == [Threshold(0.5), Threshold(0.75)]
    assert parse_policies("beam") == [Threshold(0.25)]
    assert plugged_in.settings == ["0.5", "0.75", ""]
    with pytest.raises(InvalidInput, match="unknown policy 'beams'; did you mean 'beam'"):
        parse_policies("beams")
    assert ("beam", "from another.package:make") in describe_families()

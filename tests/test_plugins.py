"""Models and scorers of other packages: found by entry point, made from a section's fields."""

import math
import sys

import pytest
import yaml
from click.testing import CliRunner

from trim.checks.check import check
from trim.cli.main import main
from trim.configuration.configuration import read_configuration
from trim.configuration.source import ModelSource, open_models
from trim.errors import InvalidInput
from trim.router import Router
from trim.shipped import SAMPLING

CODE = """
from trim.models.model import Completion, Ending
from trim.scorers.scorer import Scores


class EchoModel:
    def __init__(self, text, name="echo"):
        self.text, self.name = text, name

    async def write_step(self, prefix, sampling, seed):
        return Completion(self.text, Ending.STEP, len(self.text.split()), 40, log_probability=-0.1)


class LengthScorer:
    name = "length"

    def __init__(self, longest):
        self.longest = longest

    async def score(self, trace, written):
        steps = trace.steps[len(trace.steps) - len(written):]
        return Scores(tuple(float(len(step) <= self.longest) for step in steps), 0)


class OddScorer:
    name = "odd"

    def __init__(self, values):
        self.values = values

    async def score(self, trace, written):
        return Scores(tuple(self.values), 0)


def nothing():
    return object()
"""
ENTRY_POINTS = """
[trim.models]
echo = echo_package:EchoModel
nothing = echo_package:nothing
gone = echo_package:Missing

[trim.scorers]
length = echo_package:LengthScorer
odd = echo_package:OddScorer
nothing = echo_package:nothing
"""
WEAK = {"plugin": "echo", "text": "It is 2, as one and one are two."}
STRONG = {"plugin": "echo", "text": r"It is \boxed{2}.", "name": "large"}
SCORER = {"kind": "plugin", "plugin": "length", "longest": 20}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A distribution on `sys.path`, as an installer leaves it."""
    site = tmp_path / "site"
    info = site / "echo_package-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "echo_package.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: echo-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(site))
    yield tmp_path
    sys.modules.pop("echo_package", None)


def write(folder, **changes):
    path = folder / "trim.yaml"
    document = {"weak": WEAK, "strong": STRONG, "scorer": SCORER, **changes}
    path.write_text(yaml.safe_dump(document))
    return path


def test_models_and_scorers_of_another_package_solve_a_problem(package):
    path = write(package, routing={"policy": "thr:0.5"})
    trace = Router.from_config(path).solve("What is 1 + 1?")
    assert trace.answer == "2"
    assert [step.author for step in trace.steps] == ["strong"]
    assert (trace.steps[0].score, trace.scorer) == (0.0, "length")


def test_the_fields_of_a_section_are_keywords_and_are_written_again(package):
    source = open_models(write(package), ["weak.text=Yes.", "strong.log_probabilities=true"])
    models = source.build()
    assert (models.weak.text, models.weak.name) == ("Yes.", "echo")
    assert (models.strong.name, models.scorer.longest) == ("large", 20)
    assert set(models.scorers) == {"prm"}
    again = package / "configuration.yaml"
    again.write_text(source.files(package)["configuration.yaml"])
    assert read_configuration(again, (), {}) == source.configuration


def test_log_probabilities_that_a_plugin_reports_are_scores(package):
    reporting = {
        role: {**section, "log_probabilities": True}
        for role, section in (("weak", WEAK), ("strong", STRONG))
    }
    path = write(package, **reporting, scorer={"kind": "logprob"})
    assert set(open_models(path).build().scorers) == {"logprob", "entropy"}
    with pytest.raises(InvalidInput, match=r"weak reports no .* weak\.log_probabilities: true"):
        open_models(write(package, scorer={"kind": "logprob"}))


def test_identity_follows_the_settings_and_not_the_place(package):
    def identity(**changes):
        path = write(package, weak={**WEAK, **changes})
        return ModelSource(read_configuration(path, (), {}), package).identify(None)

    assert identity()["weak"].startswith("plugin, echo, settings ")
    assert identity() == identity(url="http://elsewhere", timeout=3)
    assert identity()["weak"] != identity(text="No.")["weak"]
    assert identity()["scorer"].startswith("plugin, length, settings ")


async def test_a_check_tries_plugins(package):
    found = await check(read_configuration(write(package), (), {}), SAMPLING)
    weak, strong, scorer = found.findings
    assert weak.reachable and weak.tokens == (40, 9) and weak.failure is None
    assert strong.failure is None and strong.continuation is None
    assert scorer.part == "scorer plugin" and scorer.separation is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weak": {"plugin": "ecoh"}},
         "trim.models: no plug-in 'ecoh' is installed; installed: echo, gone, nothing"),
        ({"weak": {"plugin": "gone"}}, "trim.models: the plug-in 'gone' cannot be loaded"),
        ({"weak": {"plugin": "nothing"}},
         "trim.models: 'nothing' is not a model: it lacks name and write_step"),
        ({"weak": {"plugin": "echo", "txt": "x"}}, "trim.models: 'echo' does not take these"),
        ({"weak": {"plugin": 3}}, "weak.plugin: 3: must be text"),
        ({"weak": {**WEAK, "api_key": "x"}}, "weak.api_key: a configuration must not hold a key"),
        ({"scorer": {"kind": "plugin", "plugin": "width"}},
         "trim.scorers: no plug-in 'width' is installed; installed: length, nothing, odd"),
        ({"scorer": {"kind": "plugin", "plugin": "nothing"}},
         "trim.scorers: 'nothing' is not a scorer: it lacks name and score"),
        ({"scorer": {"kind": "plugin"}}, "scorer.plugin: is missing"),
        ({"scorer": {"kind": "grade"}}, "scorer 'grade': large is a plug-in"),
        ({"server": {"passthrough": "strong"}}, "strong must be a server with OpenAI's protocol"),
        ({"strong": {"gguf": "s.gguf", "log_probabilities": True}}, "no setting 'log_prob"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_plugin_is_one_line(package, changes, message):
    path = write(package, **changes)
    result = CliRunner().invoke(main, ["solve", "x", str(path), "--policy", "thr:0.5"])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("trim: ") and result.stderr.count("\n") == 1
    assert message in result.stderr


@pytest.mark.parametrize("words", [
    ("solve", "x"), ("eval", "chain", "-n", 1), ("collect", "chain", "-n", 1), ("check",),
])  # fmt: skip
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([3.2], "score 1 of 1 is 3.2, not within [0, 1]"),
        ([math.nan], "score 1 of 1 is nan, not within [0, 1]"),
        ([], "0 scores for 1 steps"),
    ],
)
def test_what_is_no_score_ends_a_command_with_one_line(package, words, values, message):
    path = write(package, scorer={"kind": "plugin", "plugin": "odd", "values": values})
    out = () if words[0] in ("solve", "check") else ("--out", package / "out")
    policy = () if words[0] in ("collect", "check") else ("--policy", "thr:0.5")
    name, *rest = words
    result = CliRunner().invoke(main, [str(word) for word in (name, *rest, path, *policy, *out)])
    assert result.exit_code == (1 if name == "check" else 2), result.output
    (line,) = (line for line in result.stderr.splitlines() if "scorer 'odd'" in line)
    if name != "check":  # which scores two steps
        assert line == (
            f"trim: scorer 'odd': {message}; it must return one number in [0, 1] for each step"
        )


def test_a_plugin_does_not_repeat_every_character(package):
    with pytest.raises(InvalidInput, match="--exact: weak is a plug-in"):
        open_models(write(package)).build(exact=True)

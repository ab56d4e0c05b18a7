"""Models and scorers of other packages, found by entry points."""

import re
import sys
from importlib.metadata import EntryPoints

import pytest

from trim import plugins
from trim.checks.check import check
from trim.configuration.configuration import Configuration
from trim.errors import InvalidInput, ModelUnavailable
from trim.models.model import Sampling, load_model
from trim.plugins import find_plugin, plugin_names
from trim.policies.registry import parse_policy
from trim.scorers.scorer import load_scorer
from trim.testing import check_model, check_scorer

PACKAGE = '''
from trim import Action, Policy
from trim.errors import ModelUnavailable
from trim.models.model import Completion, Ending
from trim.scorers.scorer import Scores

class EchoModel:
    """A model of another package."""

    def __init__(self, text="echo", name="echo"):
        self.text, self.name = text, name

    async def write_step(self, prefix, sampling, seed):
        return Completion(self.text + "\\n\\n", Ending.STEP, 2, 5)

class LengthScorer:
    """A scorer of another package."""

    name = "length"

    def __init__(self, longest):
        self.longest = longest

    async def score(self, trace, written):
        return Scores(tuple(min(len(s.text) / self.longest, 1.0) for s in written), 0)

class TunedPolicy(Policy):
    """A policy of another package."""

    def __init__(self, setting):
        self.setting = float(setting)

    @property
    def name(self):
        return f"tuned:{self.setting}"

    def decide(self, observation):
        return Action.CONTINUE

class Duck:
    def __init__(self, setting):
        self.name = "duck"

    def decide(self, observation):
        return Action.CONTINUE

class Reader:
    """Needs a file, in whatever group it is."""

    def __init__(self, path):
        open(path)

class Unavailable:
    def __init__(self, host):
        raise ModelUnavailable(f"{host} does not answer")

def nothing(setting):
    return None
'''
ENTRY_POINTS = """
[trim.models]
echo = trim_echo:EchoModel
broken = trim_echo:Nothing
none = trim_echo:Scores
reader = trim_echo:Reader
away = trim_echo:Unavailable
crash = trim_crash:Model

[trim.scorers]
length = trim_echo:LengthScorer
none = trim_echo:Completion
reader = trim_echo:Reader
"""


POLICIES = """
[trim.policies]
tuned = trim_echo:TunedPolicy
lost = trim_echo:Nothing
empty = trim_echo:nothing
duck = trim_echo:Duck
reader = trim_echo:Reader
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package, as `pip install` leaves it."""
    (tmp_path / "trim_echo.py").write_text(PACKAGE)
    (tmp_path / "trim_crash.py").write_text(r"raise RuntimeError('no GPU\nis here')")
    information = tmp_path / "trim_echo-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: trim-echo\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS + POLICIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("trim_echo", None)


def test_a_model_of_another_package(package):
    model = load_model("echo", {"text": "hello"})
    assert model.text == "hello"
    check_model(model)
    assert load_model("echo").text == "echo"
    assert "echo" in plugin_names("trim.models")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tuned:x", "policy 'tuned' does not take the setting 'x'"),
        ("lost:1", "trim.policies: the plug-in 'lost' cannot be loaded"),
        ("empty:1", "policy 'empty': its package makes a NoneType, not a subclass of trim.Policy"),
        ("duck:1", "policy 'duck': its package makes a Duck, not a subclass of trim.Policy"),
        ("reader:no", "policy 'reader' fails with the setting 'no': FileNotFoundError: [Errno 2]"),
    ],
)
def test_a_policy_that_another_package_cannot_make_is_one_line(package, spec, message):
    assert parse_policy("tuned:0.5").name == "tuned:0.5"
    with pytest.raises(InvalidInput, match=re.escape(message)):
        parse_policy(spec)


def test_a_scorer_of_another_package(package):
    scorer = load_scorer("length", {"longest": 100})
    check_scorer(scorer)


@pytest.mark.parametrize(
    ("load", "kind", "settings", "reason"),
    [
        (
            load_model,
            "eko",
            {},
            "no plug-in 'eko' is installed; installed: away, broken, crash, echo, ",
        ),
        (load_model, "echo", {"txt": "a"}, "'echo' does not take these settings: .*'txt'"),
        (load_model, "broken", {}, "'broken' cannot be loaded"),
        (load_model, "none", {"values": (), "prompt_tokens": 0}, "'none' is not a model"),
        (load_scorer, "length", {}, "'length' does not take these settings"),
        (load_scorer, "echo", {}, "no plug-in 'echo' is installed"),
        (load_model, "reader", {"path": "no"}, "'reader' fails with these .*: FileNotFoundError:"),
        (load_scorer, "reader", {"path": "no"}, "'reader' fails with these .*: FileNotFoundError:"),
        (load_model, "crash", {}, r"'crash' cannot be loaded: RuntimeError: no GPU\\nis here"),
    ],
)
def test_what_does_not_fit_is_one_line(package, load, kind, settings, reason):
    with pytest.raises(InvalidInput, match=reason) as caught:
        load(kind, settings)
    assert "\n" not in str(caught.value)


def test_an_error_of_trim_that_a_plugin_raises_stays_what_it_is(package):
    with pytest.raises(ModelUnavailable, match=r"^here does not answer$"):
        load_model("away", {"host": "here"})


async def test_a_check_finds_plugins_that_fail(package):
    document = {
        "weak": {"plugin": "crash"},
        "strong": {"plugin": "reader", "path": "no"},
        "scorer": {"kind": "plugin", "plugin": "reader", "path": "no"},
        "routing": {"policy": "reader:no"},
    }
    found = await check(Configuration.model_validate(document), Sampling())
    parts = ("weak", "strong", "scorer plugin", "routing")
    assert [each.part for each in found.findings] == list(parts)
    assert all(re.search("RuntimeError|FileNotFoundError", line) for line in found.failures)


def test_without_plugins_there_are_none(monkeypatch):
    monkeypatch.setattr(plugins, "entry_points", lambda **selected: EntryPoints())
    assert find_plugin("trim.models", "echo") is None
    with pytest.raises(InvalidInput, match="installed: none"):
        load_model("echo")

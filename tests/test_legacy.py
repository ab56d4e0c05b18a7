"""Names of version 0.1 are still read: configurations, price lists, traces and records."""

import json

import pytest
import yaml
from click.testing import CliRunner

from trim.cli.main import main
from trim.config import Fallback, PrefillMode
from trim.configuration.configuration import read_configuration
from trim.configuration.source import ModelSource
from trim.costs import Price, Prices, read_prices
from trim.errors import InvalidInput
from trim.evaluation.provenance import require_same_models
from trim.evaluation.store import TraceStore
from trim.legacy import current_record
from trim.policies.threshold import Threshold
from trim.rollouts.identity import Identity, read_identity
from trim.types import Action, Author, Rejected, Step, Trace, Usage

SERVED = {"api": "openai", "url": "http://127.0.0.1:9", "model": "m", "continuation": "user_turn"}
OLD = {
    "weak": SERVED,
    "between": [SERVED, SERVED],
    "strong": SERVED,
    "routing": {"warming": "likely", "fallbacks": {"between": "keep"}},
    "prices": {"between": [{"prompt": 1.0}]},
}
NEW = {
    "weak": SERVED,
    "intermediate": [SERVED, SERVED],
    "strong": SERVED,
    "routing": {"prefill": "likely", "fallbacks": {"intermediate": "keep"}},
    "prices": {"intermediate": [{"prompt": 1.0}]},
}


def read(folder, document, *assignments, environment=None):
    path = folder / "trim.yaml"
    path.write_text(yaml.safe_dump(document))
    return read_configuration(path, assignments, environment or {})


def refusal(folder, document, *assignments, environment=None):
    with pytest.raises(InvalidInput) as caught:
        read(folder, document, *assignments, environment=environment)
    return str(caught.value)


def test_a_configuration_of_old_names_is_the_same(tmp_path):
    found = read(tmp_path, OLD)
    assert found == read(tmp_path, NEW)
    assert len(found.intermediate) == 2
    assert found.routing.prefill is PrefillMode.LIKELY
    assert found.routing.fallbacks.intermediate is Fallback.KEEP
    assert read(tmp_path, found.model_dump(mode="json")) == found


@pytest.mark.parametrize("document", [OLD, NEW])
def test_overrides_of_either_name_change_files_of_either(tmp_path, document):
    for name in ("between", "intermediate"):
        environment = {f"TRIM_{name.upper()}__1__MODEL": "other"}
        line = (f"{name}.0.model=first", f"routing.fallbacks.{name}=escalate",
                f"prices.{name}.0.output=2")  # fmt: skip
        found = read(tmp_path, document, *line, environment=environment)
        assert [each.model for each in found.intermediate] == ["first", "other"]
        assert found.routing.fallbacks.intermediate is Fallback.ESCALATE
        assert found.prices.intermediate[0].output == 2
        assert read(tmp_path, document, f"{name}=[]").intermediate == ()
    for name in ("warming", "prefill"):
        assert read(tmp_path, document, f"routing.{name}=always").routing.prefill == "always"
        assert read(tmp_path, document, f"routing={{{name}: never}}").routing.prefill == "never"


@pytest.mark.parametrize(
    ("document", "assignment", "message"),
    [
        ({**OLD, "between": [{"gguf": "a", "context": 1}]}, (), "between.0.context: 1: must"),
        ({**OLD, "intermediate": []}, (), "trim.yaml: between is the old name of intermediate;"),
        (OLD, "between.1.attempts=0", "between.1.attempts: 0: must"),
        (OLD, "between.2.name=x", "--set between.2.name: '2' is not a place in a list of 2"),
        (OLD, "between.0.api_key=x", "--set between.0.api_key: between.0.api_key: a configuration"),
        (OLD, "routing.warming=often", "routing.warming: 'often' is none of never, always"),
        (OLD, "routing.fallbacks.between=stop", "routing.fallbacks.between: 'stop' is none of"),
        (NEW, "prices.between.0.output=-1", "prices.between.0.output: -1: must be greater"),
        (NEW, "routing.warming=often", "routing.warming: 'often' is none of never, always"),
        (NEW, "routing={warming: never, prefill: never}",
         "--set routing: routing.warming is the old name of prefill; set prefill alone"),
        (NEW, "intermediate.0.url=here", "intermediate.0.url: 'here'"),
    ],
)  # fmt: skip
def test_an_error_names_the_setting_as_the_user_did(tmp_path, document, assignment, message):
    found = refusal(tmp_path, document, *([assignment] if assignment else []))
    assert message in found and "\n" not in found


def test_a_price_list_of_old_names_is_the_same(tmp_path):
    path = tmp_path / "prices.json"
    for name in ("middle", "intermediate"):
        path.write_text(json.dumps({name: [{"output": 3}], "strong": {"output": 9}}))
        free = Price()
        assert read_prices(path) == Prices(free, Price(output=9), free, (Price(output=3),))
    path.write_text('{"middle": [{"output": -1}]}')
    with pytest.raises(InvalidInput, match=r"intermediate-1\.output must be a number"):
        read_prices(path)


def test_a_trace_of_old_names_is_the_same():
    step = Step("a\n\n", Author.INTERMEDIATE, Action.REGENERATE, level=1, intermediate_tokens=3,
                rejected=(Rejected("b", 1, 1, 0.1),), fallback="intermediate")  # fmt: skip
    usage = {
        "weak": Usage(),
        "strong": Usage(),
        "scorer": Usage(),
        "intermediate-1": Usage(9, 0, 3),
    }
    trace = Trace("q", "thr:0.5", 0, (step,), usage=usage, abandoned=(step,))
    record = json.loads(json.dumps(trace.to_json()))
    assert Trace.from_json(record) == trace
    (written,) = record["steps"]
    assert written["middle_tokens"] == 3 and "intermediate_tokens" not in written
    assert list(written)[-3:] == ["middle_tokens", "rejected", "fallback"]
    text = json.dumps(record).replace('"intermediate', '"middle')
    assert text.count('"middle-1"') == 1 and text.count('"author": "middle"') == 2
    assert Trace.from_json(json.loads(text)) == trace
    assert trace.intermediate_tokens == 3


def old_names(record):
    text = json.dumps(record)
    return json.loads(text.replace("intermediate", "between").replace('"prefill"', '"warming"'))


def test_a_run_of_before_goes_on(tmp_path):
    source = ModelSource(read(tmp_path, NEW), tmp_path)
    run = {"policies": ["weak"], "models": source.identify(None), **source.record()}
    assert set(run["models"]) == {"weak", "intermediate-1", "intermediate-2", "strong"}
    assert set(run["prompts"]) == set(run["models"])
    folder = tmp_path / "run"
    folder.mkdir()
    before = json.dumps(old_names(run))
    assert "between-1" in before and "warming" in before and "intermediate" not in before
    assert current_record(json.loads(before)) == run
    (folder / "run.json").write_text(before)
    TraceStore(folder, run).close()
    with pytest.raises(InvalidInput, match="holds another run"):
        TraceStore(folder, {**run, "policies": ["strong"]})


def test_a_bank_of_before_is_the_same(tmp_path):
    source = ModelSource(read(tmp_path, {**NEW, "intermediate": []}), tmp_path)
    identity = Identity(
        "chain", 1, source.identify(None), "prm", None, 3, described=source.record()
    )
    before = json.dumps(old_names(identity.to_json()))
    assert '"between"' in before
    (tmp_path / "bank.json").write_text(before)
    assert read_identity(tmp_path) == identity


def test_a_policy_that_was_fitted_before_is_accepted(tmp_path):
    source = ModelSource(read(tmp_path, NEW), tmp_path)

    class Fitted(Threshold):
        models = old_names(source.identify("prm"))

    assert "between-1" in Fitted.models
    require_same_models([Fitted(0.5)], source)
    changed = ModelSource(read(tmp_path, NEW, "intermediate.1.model=other"), tmp_path)
    with pytest.raises(InvalidInput, match=r"other models \(intermediate-2 differs\)"):
        require_same_models([Fitted(0.5)], changed)


def test_files_without_a_name_are_called_by_their_role(tmp_path):
    result = CliRunner().invoke(main, ["solve", "x", str(tmp_path / "trim.yaml")])
    assert result.exit_code == 2
    missing = {**NEW, "intermediate": [{**SERVED, "key_file": "nowhere"}]}
    with pytest.raises(InvalidInput, match=r"^intermediate\.0\.key_file: no such file"):
        ModelSource(read(tmp_path, missing), tmp_path).build()

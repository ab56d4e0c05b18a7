"""Configuration files: what they may say, what has the last word, and that no key leaves them."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_server import PLAIN_CHAT, start

from trim.cli.main import main
from trim.config import End, Fallback, Fallbacks, PrefillMode, RouterConfig, Rules
from trim.configuration.configuration import read_configuration
from trim.configuration.document import SECRET_NAMES, override_in, parse_override
from trim.configuration.models import AnthropicServed, OpenAIServed
from trim.configuration.protocol import AUTHORS
from trim.configuration.routing import RoutingSection, SamplingSection
from trim.configuration.source import ModelSource, models_in, open_models
from trim.costs import Price, Prices
from trim.engines import gguf as engines_gguf
from trim.engines.chat_template import ChatTemplate
from trim.engines.gguf import read_chat
from trim.engines.hub import HubFile
from trim.engines.llama_cpp import LlamaCppEngine
from trim.errors import InvalidInput
from trim.evaluation.provenance import require_same_models
from trim.evaluation.run import evaluation_of
from trim.evaluation.suites import CHAIN, generate
from trim.models.llama_cpp import LlamaCppModel
from trim.models.model import Completion, Ending, Prefix, Sampling
from trim.models.prompt import Prompt
from trim.policies.fixed import StrongAlone
from trim.policies.threshold import Threshold
from trim.rollouts.bank import read_bank
from trim.router import Router
from trim.shipped import FOLDER, SAMPLING

ROOT = Path(__file__).parents[1]
READY = sorted((ROOT / "configurations").glob("*.yaml"))
SHIPPED = ROOT / "configurations" / "shipped-models.yaml"
SECRET = "Zx81-very-secret-indeed"
SERVED = {"api": "openai", "url": "http://127.0.0.1:9", "model": "m", "continuation": "user_turn"}
LEAST = {"weak": SERVED, "strong": SERVED}
LABEL = {"kind": "label", "gguf": str(FOLDER / "scorer.gguf")}
QUESTION = next(generate(CHAIN, 1, seed=9)).question

words = st.text("abcdefgh", min_size=1, max_size=8)
counts = st.integers(1, 10_000)
amounts = st.floats(0, 1e6)


def some(**fields):
    return st.fixed_dictionaries({}, optional=fields)


def with_fields(needed, **optional):
    return st.fixed_dictionaries(needed, optional=optional)


network = {
    "name": words, "key_variable": st.text("ABC_", min_size=1), "concurrency": counts,
    "timeout": st.floats(0.1, 1e4), "attempts": counts,
    "extra_body": st.dictionaries(words, st.none() | counts | words, max_size=2),
}  # fmt: skip
address = {"url": st.just("https://host:8000/v1"), "model": words}
turns = {"system": words, "user": words.map("{}: {{question}}".format), "assistant": words}
models = st.one_of(
    with_fields({"gguf": words.map(lambda name: f"/models/{name}.gguf")
                 | words.map(lambda name: f"hf:{name}/{name}@{name}/a/{name}.gguf")}, slots=counts,
                sha256=st.integers(0, 2**256 - 1).map("{:064x}".format),
                context=st.integers(64, 9999), template=st.booleans(), **turns),
    with_fields({"api": st.just("openai"), "continuation": st.just("user_turn"), **address},
                server=st.sampled_from(["vllm", "openai", "other"]),
                log_probabilities=st.booleans(), **turns, **network),
    with_fields({"api": st.just("anthropic"), "model": words}, **turns, **network),
)  # fmt: skip
readers = st.one_of(
    with_fields({"kind": st.just("pooling"), "template": st.just("owner/name"), **address},
                tag=words, limit=st.none() | counts, logits=st.booleans(), **network),
    with_fields({"kind": st.just("label"), **address}, right=words, wrong=words, **network),
    with_fields({"kind": st.just("label"), "gguf": st.just("/models/scorer.gguf")}, slots=counts),
)  # fmt: skip
scorers = st.one_of(
    readers,
    with_fields({"kind": st.just("grade")}, likeliest=st.integers(0, 20)),
    st.sampled_from([{"kind": "logprob"}, {"kind": "entropy"}]),
    st.fixed_dictionaries(
        {"kind": st.just("joint"), "weights": st.just("/models/joint.json"), "of": readers}
    ),
)


def is_served(document):
    """Whether its scorers need no log-probabilities that a model does not tell."""
    listed = document.get("scorer", [])
    kinds = {each["kind"] for each in ([listed] if isinstance(listed, dict) else listed)}
    writers = [document["weak"], document["strong"], *document.get("intermediate", [])]
    told = all(
        "gguf" in each or each.get("log_probabilities", each.get("server") == "vllm")
        for each in writers
    )
    return told or not kinds & {"logprob", "entropy", "joint"}


def are_of_one_kind_each(sections):
    """Whether a list of scorers has one of each kind, and one reward model."""
    readers = ("pooling", "label")
    kinds = ["prm" if each["kind"] in readers else each["kind"] for each in sections]
    models = [each.get("of", each) for each in sections if each["kind"] in ("joint", *readers)]
    return len(set(kinds)) == len(kinds) and all(each == models[0] for each in models)


documents = with_fields(
    {"weak": models, "strong": models},
    intermediate=st.lists(models, max_size=2),
    scorer=scorers | st.lists(scorers, max_size=3).filter(are_of_one_kind_each),
    routing=some(policy=st.just("thr:0.5"), max_steps=counts, max_seconds=st.floats(0.1, 1e4),
                 max_strong_tokens=st.integers(0, 999), overlap=st.booleans(), concurrency=counts,
                 prefill=st.sampled_from(["never", "always", "likely"]),
                 ends=st.sampled_from(["box", "model"]),
                 fallbacks=some(strong=st.just("keep"), intermediate=st.just("keep"))),
    protocol=st.sampled_from(["default", "authors"]),
    sampling=some(temperature=amounts, top_p=st.floats(0.01, 1), top_k=st.integers(0, 99),
                  max_tokens=counts),
    prices=some(strong=some(prompt=amounts, output=amounts),
                intermediate=st.lists(some(cached=amounts), max_size=2)),
).filter(is_served)  # fmt: skip


def write(folder, document, name="trim.yaml"):
    path = folder / name
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def read(folder, document, *assignments, environment=None):
    return read_configuration(write(folder, document), assignments, environment or {})


def refusal(folder, document, *assignments, environment=None):
    with pytest.raises(InvalidInput) as caught:
        read(folder, document, *assignments, environment=environment)
    message = str(caught.value)
    assert "\n" not in message
    return message


@settings(max_examples=60, deadline=None)
@given(document=documents)
def test_what_was_read_and_written_is_read_again(tmp_path_factory, document):
    folder = tmp_path_factory.mktemp("trip")
    first = read(folder, document)
    again = read(folder, first.model_dump(mode="json", exclude_unset=True))
    whole = read(folder, first.model_dump(mode="json"))
    assert first == again == whole
    for role in ("weak", "strong"):
        for name, value in document[role].items():
            found = getattr(getattr(first, role), name)
            assert (str(found) if isinstance(found, Path | HubFile) else found) == value


def test_toml_says_the_same(tmp_path):
    toml = tmp_path / "trim.toml"
    toml.write_text(
        'sampling = {top_k = 5}\n[weak]\ngguf = "weak.gguf"\n[strong]\napi = "anthropic"\n'
        'model = "m"\n[[scorer]]\nkind = "grade"\n'
    )
    document = {
        "weak": {"gguf": "weak.gguf"},
        "strong": {"api": "anthropic", "model": "m"},
        "scorer": [{"kind": "grade"}],
        "sampling": {"top_k": 5},
    }
    assert read_configuration(toml, (), {}) == read(tmp_path, document)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weak": {**SERVED, "continuation": "prefil"}},
         "trim.yaml: weak.continuation: 'prefil' is none of completions, continue_final, prefix,"
         " prefill, user_turn"),
        ({"weak": {**SERVED, "sevrer": "vllm"}},
         "trim.yaml: weak: no setting 'sevrer'; the nearest is 'server'"),
        ({"waek": {}}, "trim.yaml: no setting 'waek'; the nearest is 'weak'"),
        ({"weak": {}}, "weak: name a file, as in `gguf: weak.gguf`, or a server"),
        ({"weak": "weak.gguf"}, "weak: name a file, as in `gguf: weak.gguf`, or a server"),
        ({"weak": {**SERVED, "server": "vlm"}}, "weak.server: 'vlm' is none of vllm, sglang"),
        ({"weak": {**SERVED, "url": "nowhere"}}, "weak.url: 'nowhere': not a server's URL"),
        ({"weak": {**SERVED, "url": "http://h/v1?key=a"}}, "weak.url: h: a URL must not hold a"),
        ({"weak": {**SERVED, "attempts": 0}},
         "weak.attempts: 0: must be greater than or equal to 1"),
        ({"weak": {**SERVED, "server": "vllm", "continuation": "prefix"}},
         "weak: servers of the kind 'vllm' do not take the continuation 'prefix'"),
        ({"weak": {**SERVED, "continuation": "completions", "system": "s"}},
         "weak: a system message needs a chat template"),
        ({"weak": {**SERVED, "key_variable": "A", "key_file": "b"}},
         "weak: name key_variable or key_file, not both"),
        ({"weak": {"gguf": "w.gguf", "slots": "many"}},
         "weak.slots: 'many': must be a whole number"),
        ({"strong": {"api": "anthropic", "model": "m", "continuation": "prefix"}},
         "strong: Anthropic's API does not take the continuation 'prefix'"),
        ({"strong": {"api": "openai", "url": "http://h", "continuation": "prefix"}},
         "strong.model: is missing"),
        ({"intermediate": [{"gguf": "a"}, {"gguf": "b", "context": 1}]},
         "intermediate.1.context: 1: must"),
        ({"scorer": {"kind": "prm"}},
         "scorer: a scorer has a kind: pooling, label, grade, logprob, entropy, joint or plugin"),
        ({"scorer": {"kind": "pooling", "url": "http://h", "model": "m"}},
         "scorer.template: is missing"),
        ({"scorer": [{"kind": "grade"}, {"kind": "grade", "likeliest": -1}]},
         "scorer.1.likeliest: -1: must be greater than or equal to 0"),
        ({"scorer": {"kind": "joint", "weights": "j", "of": {"kind": "grade"}}},
         "scorer.of: a reward model has the kind pooling, label or plugin"),
        ({"scorer": [{"kind": "grade"}, {"kind": "grade"}]},
         "scorer: two of the kind 'grade'; leave one out"),
        ({"scorer": [LABEL, {"kind": "plugin", "plugin": "length"}]},
         "scorer: two reward models; leave one out"),
        ({"scorer": [LABEL, {"kind": "joint", "weights": "j", "of": {**LABEL, "gguf": "b.gguf"}}]},
         "scorer: the joint score is of another reward model than the one beside it; give both"),
        ({"routing": {"policy": "thr:0.5", "router": "r.json"}},
         "routing: name policy or router, not both"),
        ({"routing": {"prefill": "often"}},
         "routing.prefill: 'often' is none of never, always, likely"),
        ({"routing": {"max_seconds": float("nan")}}, "routing.max_seconds: nan: must be a finite"),
        ({"routing": {"fallbacks": {"weak": "keep"}}},
         "routing.fallbacks.weak: 'keep' is none of fail, escalate"),
        ({"routing": {"ends": "boxed"}}, "routing.ends: 'boxed' is none of box, model"),
        ({"protocol": "author"}, "trim.yaml: protocol: 'author' is none of default, authors"),
        ({"weak": {**SERVED, "user": "Solve this."}},
         "weak.user: the user template 'Solve this.' lacks {question}"),
        ({"strong": {"gguf": "s.gguf", "user": "{problem}"}},
         "strong.user: the user template '{problem}' lacks {question}"),
        ({"routing": 3}, "routing: 3: must be a mapping of names to values"),
        ({"sampling": {"top_p": 0}}, "sampling.top_p: 0: must be greater than 0"),
        ({"scorer": {"kind": "label", "gguf": "scorer.gguf", "right": "-"}},
         "right and wrong are both '-': name two labels"),
        ({"prices": {"strong": {"prompt": -1}}}, "prices.strong.prompt: -1: must be greater"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_says_what_would_be_right(tmp_path, change, message):
    assert message in refusal(tmp_path, {**LEAST, **change})


def test_a_joint_score_beside_its_reward_model_loads_that_once(tmp_path):
    joint = {"kind": "joint", "weights": str(FOLDER / "joint.json"), "of": LABEL}
    weak, strong = ({"gguf": str(FOLDER / f"{role}.gguf")} for role in ("weak", "strong"))
    for listed, default in (([LABEL, joint], "prm"), ([joint, LABEL], "joint")):
        document = {"weak": weak, "strong": strong, "scorer": listed}
        models = ModelSource(read(tmp_path, document), tmp_path).build()
        assert models.default_kind == default
        assert models.scorers["joint"].scorer is models.scorers["prm"]


def test_a_check_refuses_two_reward_models(tmp_path):
    result = run("check", write(tmp_path, {**LEAST, "scorer": [LABEL, LABEL]}))
    assert result.exit_code == 2
    assert "scorer: two reward models; leave one out" in result.stderr


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_misspelt_name_is_refused_with_the_right_one(tmp_path_factory, data):
    sections = {
        "weak": (OpenAIServed, SERVED), "strong": (AnthropicServed, {"api": "anthropic"}),
        "routing": (RoutingSection, {}), "sampling": (SamplingSection, {}),
    }  # fmt: skip
    place = data.draw(st.sampled_from(sorted(sections)))
    section, needed = sections[place]
    name = data.draw(st.sampled_from([n for n in section.model_fields if len(n) > 5]))
    cut = data.draw(st.integers(0, len(name) - 1))
    misspelt = name[:cut] + name[cut + 1 :]
    folder = tmp_path_factory.mktemp("names")
    message = refusal(folder, {**LEAST, place: {**needed, misspelt: 1}})
    assert f"{place}: no setting {misspelt!r}; the nearest is {name!r}" in message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.yaml", "weak: [", "a.yaml: invalid YAML: line 1"),
        ("a.yaml", "weak: {gguf: a}\nweak: {gguf: b}\n", "line 2: 'weak' is set twice"),
        ("a.yaml", "1: 2", "a name must be text"),
        ("a.yaml", "- weak", "must be a mapping of sections"),
        ("a.yaml", "", "must be a mapping of sections"),
        ("a.yaml", "weak: !!python/object:os.system {}", "invalid YAML"),
        ("a.toml", "weak = ", "invalid TOML"),
        ("a.json", "{}", "must be a .yaml or .toml file"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInput) as caught:
        read_configuration(tmp_path / name, (), {})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="cannot read the configuration"):
        read_configuration(tmp_path / "nowhere.yaml", (), {})


@given(st.sampled_from(["file", "variable", "line", "variable and line"]))
@settings(deadline=None)
def test_the_command_line_goes_before_the_environment_and_that_before_the_file(
    tmp_path_factory, given_by
):
    folder = tmp_path_factory.mktemp("order")
    variable = {"TRIM_SAMPLING__TOP_K": "2"} if "variable" in given_by else {}
    line = ["sampling.top_k=3"] if "line" in given_by else []
    found = read(folder, {**LEAST, "sampling": {"top_k": 1}}, *line, environment=variable)
    assert found.sampling.top_k == (3 if line else 2 if variable else 1)


def test_of_several_assignments_the_last_counts(tmp_path):
    assert read(tmp_path, LEAST, "sampling.top_k=3", "sampling.top_k=4").sampling.top_k == 4


@given(st.lists(words, min_size=1, max_size=4), st.none() | counts | words | st.lists(counts))
def test_an_assignment_changes_its_own_value_and_nothing_else(names, value):
    document = {"other": {"a": 1}, "list": [1, 2]}
    changed = override_in(document, parse_override(f"{'.'.join(names)}={yaml.safe_dump(value)}"))
    found = changed
    for name in names:
        found = found[name]
    assert found == value
    assert document == {"other": {"a": 1}, "list": [1, 2]}
    assert all(changed[name] == document[name] for name in document if name != names[0])


def test_values_reach_into_lists_and_only_known_variables_count(tmp_path):
    document = {**LEAST, "intermediate": [SERVED, SERVED]}
    environment = {
        "TRIM_INTERMEDIATE__1__MODEL": "other", "TRIM_DATA": "elsewhere", "TRIM_STRONG_KEY": SECRET,
        "TRIM_WEAK__EXTRA_BODY": "{min_p: 0.1}",
    }  # fmt: skip
    found = read(tmp_path, document, "intermediate.0.name=first", environment=environment)
    assert [model.model for model in found.intermediate] == ["m", "other"]
    assert found.intermediate[0].name == "first"
    assert found.weak.extra_body == {"min_p": 0.1}
    assert "not a place in a list of 2" in refusal(tmp_path, document, "intermediate.2.name=x")
    assert "below a plain value" in refusal(tmp_path, document, "weak.url.host=x")
    assert "a name and a value" in refusal(tmp_path, document, "weak.url")


def test_paths_are_relative_to_the_file_and_assigned_ones_to_the_working_directory(tmp_path):
    document = {
        "weak": {"gguf": "models/a.gguf"}, "strong": {"gguf": "/models/b.gguf"},
        "scorer": {"kind": "pooling", "url": "http://h", "model": "m", "template": "owner/name"},
        "routing": {"policy": "agg:routers/agg@0.3"},
    }  # fmt: skip
    found = read(tmp_path, document, "strong.gguf=c.gguf")
    assert found.weak.gguf == tmp_path / "models" / "a.gguf"
    assert found.strong.gguf == Path("c.gguf")
    assert found.scorer[0].template == "owner/name"
    assert found.routing.policy == f"agg:{tmp_path / 'routers' / 'agg'}@0.3"
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert read(tmp_path, document).scorer[0].template == str(tmp_path / "owner" / "name")
    document["routing"] = {"policy": "agg:user@example.org/agg"}
    path = tmp_path / "user@example.org" / "agg"
    assert read(tmp_path, document).routing.policy == f"agg:{path}"
    document["routing"] = {"router": "router.json"}
    assert read(tmp_path, document).routing.spec == f"router:{tmp_path / 'router.json'}"


@given(
    st.sampled_from(sorted(SECRET_NAMES)),
    st.sampled_from([str.lower, str.upper, str.title, lambda name: name.replace("_", "-")]),
    st.sampled_from([("weak",), ("strong", "extra_body"), ("scorer", "extra_body", "headers")]),
    st.sampled_from(["file", "line", "variable"]),
)
@settings(deadline=None)
def test_a_key_in_a_configuration_is_refused_and_not_shown(
    tmp_path_factory, name, spelt, place, given_by
):
    folder = tmp_path_factory.mktemp("keys")
    path = [*place, spelt(name)]
    held = SECRET
    for step in reversed(path[1:]):
        held = {step: held}
    if given_by == "file":
        message = refusal(folder, {**LEAST, path[0]: {**SERVED, **held}})
    elif given_by == "line":
        message = refusal(folder, LEAST, f"{'.'.join(path)}={SECRET}")
    else:
        message = refusal(folder, LEAST, environment={"TRIM_" + "__".join(path).upper(): SECRET})
    assert SECRET.lower() not in message.lower()
    assert "key_variable or key_file" in message


@pytest.mark.parametrize(
    "weak",
    [
        {"url": f"http://user:{SECRET}@host:8000"},
        {"key_variable": SECRET},
        {"extra_body": {"note": f"Bearer {SECRET}"}},
        {"extra_body": {"note": f"sk-{SECRET}"}},
        {"model": f"sk-{SECRET}"},
        {"timeout": f"sk-{SECRET}"},
    ],
)
def test_a_key_in_another_place_is_refused_and_not_shown(tmp_path, weak):
    assert SECRET not in refusal(tmp_path, {**LEAST, "weak": {**SERVED, **weak}})


def test_a_key_as_the_name_of_its_file_is_not_shown(tmp_path):
    path = write(tmp_path, {**LEAST, "weak": {**SERVED, "key_file": SECRET}})
    result = CliRunner().invoke(main, ["solve", "x", str(path)])
    assert result.exit_code == 2
    assert "weak.key_file: no such file" in result.stderr
    assert SECRET not in result.output + result.stderr


@pytest.mark.parametrize("path", READY, ids=lambda path: path.stem)
def test_each_ready_made_configuration_is_right(path):
    found = read_configuration(path, (), {})
    assert found.routing.spec
    assert "trim check" in path.read_text(encoding="utf-8")
    assert {"ladder": 1}.get(path.stem, 0) == len(found.intermediate)


def test_there_are_ready_made_configurations():
    assert {path.stem for path in READY} == {
        "ladder", "local-and-hosted", "qwen-coder-laptop", "qwen-two-gpus", "shipped-models",
    }  # fmt: skip


def run(*words, **options):
    return CliRunner().invoke(main, [str(word) for word in words], **options)


def test_the_shipped_models_by_a_configuration_are_the_shipped_models(tmp_path):
    configured, shipped = open_models(SHIPPED), models_in()
    for kind in ("joint", "prm", "grade"):
        assert configured.identify(kind) == shipped.identify(kind)
    assert configured.config.sampling == SAMPLING
    words = ("-n", 2, "--policy", "weak", "--policy", "thr:0.5", "--exact", "--out")
    assert run("eval", "chain", SHIPPED, *words, tmp_path / "a").exit_code == 0
    assert run("eval", "chain", *words, tmp_path / "b").exit_code == 0
    texts = [
        [[step["text"] for step in json.loads(line)["steps"]] for line in sorted(
            (tmp_path / name / "traces.jsonl").read_text().splitlines())]
        for name in "ab"
    ]  # fmt: skip
    assert texts[0] == texts[1]


def test_policies_and_prices_come_from_the_configuration(tmp_path):
    words = ("--set", "prices.strong.output=4e6", "--set", "routing.max_strong_tokens=0")
    result = run("eval", "chain", SHIPPED, "-n", 2, "--out", tmp_path / "run", *words)
    assert result.exit_code == 0, result.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["policies"] == ["weak", "strong", "thr:0.5"]
    assert record["max_strong_tokens"] == 0
    assert record["configuration"]["sampling"]["max_tokens"] == 96
    assert record["protocol"] == "default"
    assert record["prompts"]["weak"] == {
        "system": None, "user": "{question}", "assistant": "", "resumed": None, "template": None,
    }  # fmt: skip
    again = read_configuration(tmp_path / "run" / "configuration.yaml", (), {})
    assert again.weak.gguf.resolve() == (FOLDER / "weak.gguf").resolve()
    assert again.routing.policy == "thr:0.5"
    solved = json.loads(run("solve", QUESTION, SHIPPED, *words, "--json").stdout)
    assert solved["policy"] == "thr:0.5"
    assert solved["usage"]["strong"]["tokens"] == 0


@pytest.fixture(scope="module")
def urls():
    servers = [start(name, slots=2, template=PLAIN_CHAT) for name in ("weak", "strong")]
    yield [server.url for server in servers]


def served(url, model, **fields):
    known = {"api": "openai", "server": "llama_cpp", "continuation": "completions"}
    return {**known, "url": url, "model": model, "concurrency": 2, **fields}


def test_a_run_over_servers_keeps_no_key_and_goes_on_at_another_address(
    tmp_path, urls, monkeypatch
):
    (tmp_path / "key").write_text(SECRET + "-of-the-file\n")
    monkeypatch.setenv("SOME_KEY", SECRET)
    document = {
        "weak": served(urls[0], "weak", key_variable="SOME_KEY"),
        "strong": served(urls[1], "strong", key_file="key"),
        "scorer": {"kind": "logprob"},
        "sampling": {"max_tokens": 96},
        "routing": {"policy": "thr:0.5"},
    }
    path, out = write(tmp_path, document), tmp_path / "run"
    result = run("eval", "chain", path, "-n", 2, "--out", out)
    assert result.exit_code == 0, result.stderr
    for file in out.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    assert SECRET not in result.output + result.stderr
    kept = yaml.safe_load((out / "configuration.yaml").read_text())
    assert kept["weak"]["key_variable"] == "SOME_KEY"
    record = (out / "run.json").read_text()
    assert urls[0] not in record and "SOME_KEY" not in record
    assert "weak, completions" in json.loads(record)["models"]["weak"]
    elsewhere = f"strong.url={urls[1].replace('127.0.0.1', 'localhost')}"
    assert run("eval", "chain", path, "-n", 2, "--out", out, "--set", elsewhere).exit_code == 0
    other = run("eval", "chain", path, "-n", 2, "--out", out, "--set", "weak.model=another")
    assert other.exit_code == 2 and "holds another run" in other.stderr


def test_a_mode_that_does_not_work_is_refused_before_anything_is_written(tmp_path, urls):
    document = {"weak": served(urls[0], "weak"), "strong": served("http://127.0.0.1:9", "strong",
                attempts=1)}  # fmt: skip
    result = run("eval", "chain", write(tmp_path, document), "-n", 2, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert result.stderr.startswith("trim: 127.0.0.1:9: no answer in 1 attempt")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("document", "words", "message"),
    [
        (LEAST, ["--models", "elsewhere"], "--models: the configuration names the models"),
        (LEAST, ["--exact"], "--exact: weak is on a server"),
        (LEAST, ["--scorer", "joint"], "scorer 'joint': the configuration has none"),
        (LEAST, ["--policy", "thr:0.5"], "policy 'thr:0.5' needs a scorer"),
        ({"weak": {"gguf": "no.gguf"}, "strong": SERVED}, [], "no.gguf: no readable model file"),
        ({"weak": {"gguf": str(FOLDER / "weak.gguf"), "system": "s"}, "strong": SERVED}, [],
         "weak.gguf: a system message needs a chat template"),
        ({**LEAST, "weak": {**SERVED, "key_variable": "TRIM_TEST_UNSET"}}, [],
         "the environment variable TRIM_TEST_UNSET holds no key"),
        ({**LEAST, "scorer": {"kind": "logprob"}}, ["--scorer", "logprob"],
         "scorer 'logprob': weak reports no log-probabilities; set weak.log_probabilities: true"),
        ({**LEAST, "weak": {**SERVED, "server": "vllm", "log_probabilities": False},
          "scorer": {"kind": "entropy"}}, [],
         "scorer 'entropy': weak reports no log-probabilities"),
        ({"weak": {"gguf": "w.gguf"}, "strong": {"api": "anthropic", "model": "m"},
          "scorer": [{"kind": "grade"}, {"kind": "logprob"}]}, [],
         "scorer 'logprob': strong reports no log-probabilities; name another scorer"),
        ({**LEAST, "scorer": {"kind": "joint", "weights": "j.json", "of":
          {"kind": "label", "gguf": "s.gguf"}}}, [],
         "scorer 'joint': weak reports no log-probabilities"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_one_line(tmp_path, document, words, message, monkeypatch):
    monkeypatch.setattr(ModelSource, "load", ModelSource.build)
    out = tmp_path / "run"
    result = run("eval", "chain", write(tmp_path, document), "-n", 2, "--out", out, *words)
    assert result.exit_code == 2
    assert result.stderr.startswith("trim: ") and result.stderr.count("\n") == 1
    assert message in result.stderr
    assert not out.exists()


def test_assignments_need_a_configuration():
    result = run("solve", "x", "--set", "a.b=1")
    assert result.exit_code == 2 and "there is no configuration" in result.stderr


class Fitted(Threshold):
    """A policy that was fitted to certain models."""

    def __init__(self, models):
        super().__init__(0.5)
        object.__setattr__(self, "models", models)


def source(folder, **changes):
    return source_of(folder, {"weak": {**SERVED, **changes}, "strong": SERVED})


def source_of(folder, document):
    return ModelSource(read(folder, document), folder)


def test_a_policy_fitted_to_other_models_is_refused(tmp_path):
    policy = Fitted(source(tmp_path).identify("prm"))
    for place in ({"url": "http://other:1"}, {"key_variable": "KEY"}, {"concurrency": 3}):
        require_same_models([policy], source(tmp_path, **place))
    for other in ({"model": "other"}, {"system": "s"}, {"server": "openai"},
                  {"thinking_off": "no_think"}, {"user": "{question}!"},
                  {"assistant": "So:"}):  # fmt: skip
        with pytest.raises(InvalidInput, match=r"other models \(weak differs\)"):
            require_same_models([policy], source(tmp_path, **other))
    more = read(tmp_path, {**LEAST, "intermediate": [SERVED]})
    with pytest.raises(InvalidInput, match="intermediate-1"):
        require_same_models([policy], ModelSource(more, tmp_path))


def test_a_file_of_problems_is_recorded_without_step_labels(tmp_path):
    problems = tmp_path / "sums.jsonl"
    problems.write_text(
        "".join(
            json.dumps({"question": each.question, "answer": each.answer}) + "\n"
            for each in generate(CHAIN, 2, seed=3)
        )
    )
    words = ("--question", "question", "--answer", "answer", "--instruction", "", "--rollouts", 3)
    result = run("collect", problems, SHIPPED, *words, "--out", tmp_path / "bank")
    assert result.exit_code == 0, result.stderr
    bank = read_bank(tmp_path / "bank", FOLDER)
    assert len(bank.problems) == 2
    assert {step.right for each in bank.problems for step in each.weak.steps} == {None}
    assert bank.identity.described["sha256"]
    assert {each.strong.correct for each in bank.problems} == {True}
    ladder = ("--set", f"intermediate=[{{gguf: '{FOLDER / 'weak.gguf'}'}}]")
    more = run("collect", "chain", SHIPPED, "-n", 1, "--out", tmp_path / "more", *ladder)
    assert more.exit_code == 2 and "a bank is of a weak and a strong model" in more.stderr


def entry(name, kind, packed):
    spelt = name.encode()
    return struct.pack("<Q", len(spelt)) + spelt + struct.pack("<I", kind) + packed


def string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf(path, *entries):
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries))
    return path


@given(
    st.text(max_size=20),
    st.lists(st.text(min_size=1, max_size=5), min_size=2, max_size=5),
    st.booleans(),
)
@settings(deadline=None)
def test_a_gguf_file_tells_its_chat_template_and_tokens(tmp_path_factory, text, tokens, begins):
    template = "{{ bos_token }}" + text.replace("{", "(").replace("\r", "")
    listed = struct.pack("<IQ", 8, len(tokens)) + b"".join(map(string, tokens))
    path = gguf(
        tmp_path_factory.mktemp("gguf") / "a.gguf",
        entry("general.size", 10, struct.pack("<Q", 7)),
        entry("tokenizer.ggml.tokens", 9, listed),
        entry("tokenizer.ggml.scores", 9, struct.pack("<IQ3f", 6, 3, 0, 1, 2)),
        entry("tokenizer.ggml.bos_token_id", 4, struct.pack("<I", 1)),
        entry("tokenizer.ggml.add_bos_token", 7, struct.pack("<?", begins)),
        entry("tokenizer.chat_template", 8, string(template)),
    )
    chat = read_chat(path)
    assert chat.adds_begin is begins
    assert chat.template.source == template
    assert chat.template.begin == tokens[1]
    assert chat.template.render([]).startswith(tokens[1])


def test_a_damaged_header_is_one_line(tmp_path):
    whole = gguf(tmp_path / "a.gguf", entry("tokenizer.chat_template", 8, string("x" * 50)))
    content = whole.read_bytes()
    for cut in (6, 30, len(content) - 60):
        whole.write_bytes(content[:cut])
        with pytest.raises(InvalidInput, match="damaged"):
            read_chat(whole)
    whole.write_bytes(b"GGUF" + b"\xff" * 60)
    with pytest.raises(InvalidInput, match="damaged"):
        read_chat(whole)


def test_the_header_of_an_unchanged_file_is_read_once(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(engines_gguf, "value", lambda *a, real=engines_gguf.value: (
        read.append(a) or real(*a)))  # fmt: skip
    path = gguf(tmp_path / "a.gguf", entry("tokenizer.chat_template", 8, string("x")))
    assert read_chat(path).template.source == read_chat(path).template.source == "x"
    assert len(read) == 1
    gguf(path, entry("tokenizer.chat_template", 8, string("longer")))
    assert read_chat(path).template.source == "longer"


async def test_a_label_file_with_a_template_reads_what_the_template_makes(tmp_path):
    """A template that spells plain text gives the scores of plain text."""
    spelt = r"{{ messages[0].content.replace('| ', '\n\n') }}{{ '\n\n' }}"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": spelt}))
    section = {"kind": "label", "gguf": str(FOLDER / "scorer.gguf"), "context": 1024}
    plain, turns = (
        source_of(tmp_path, {**LEAST, "scorer": {**section, **more}})
        for more in ({}, {"template": "."})
    )
    for step in (*next(generate(CHAIN, 1, seed=9)).steps[:1], "1) add 4: 1 + 1 = 77."):
        written = [Completion(step, Ending.STEP, 1, 1)]
        one, other = [
            await each.build().scorer_of("prm").score(Prefix(asked, (step,)), written)
            for each, asked in ((plain, QUESTION), (turns, QUESTION + "|"))
        ]
        assert other.values[0] == pytest.approx(one.values[0], abs=1e-4)
        assert other.prompt_tokens == one.prompt_tokens
    assert turns.identify("prm")["scorer"].startswith(plain.identify("prm")["scorer"] + ", ")


async def test_a_file_reads_in_advance():
    model = LlamaCppModel(LlamaCppEngine(FOLDER / "strong.gguf", slots=1), "a")
    prefix = Prefix(QUESTION, ("1) add 4: 13 + 4 = 17.",))
    read = await model.prefill(prefix)
    step = await model.write_step(prefix, SAMPLING, 0)
    assert (read.text, read.tokens) == ("", 1)
    assert step.prompt_tokens == read.prompt_tokens
    assert step.cached_tokens >= read.prompt_tokens - 1


async def test_a_chat_template_stands_before_the_steps():
    engine = LlamaCppEngine(FOLDER / "weak.gguf", slots=1, exact=True)
    source = "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}"
    template = ChatTemplate("{{ bos_token }}" + source, {"bos_token": "<s>"}, "test")
    brief = Prompt("Be short.")
    chatting = LlamaCppModel(engine, "a", template=template, prompt=brief, adds_begin=True)
    assert chatting.rendered("Why?") == "system:Be short.\nuser:Why?\n"
    assert (
        LlamaCppModel(engine, "a", template=template, prompt=Prompt(), adds_begin=False).rendered(
            "x"
        )
        == "<s>user:x\n"
    )
    same = ChatTemplate(PLAIN_CHAT, {}, "test")
    prefix, greedy = Prefix(QUESTION), SAMPLING
    plain = await LlamaCppModel(engine, "a").write_step(prefix, greedy, 4)
    rendered = await LlamaCppModel(
        engine, "a", template=same, prompt=Prompt(), adds_begin=False
    ).write_step(prefix, greedy, 4)
    assert rendered.text == plain.text
    assert rendered.prompt_tokens == plain.prompt_tokens


def test_every_value_of_routing_reaches_the_router(tmp_path):
    document = {
        **LEAST,
        "intermediate": [{**SERVED, "name": "middle"}],
        "scorer": {"kind": "grade"},
        "routing": {
            "max_steps": 7, "max_seconds": 8.5, "max_strong_tokens": 9, "overlap": True,
            "prefill": "likely", "concurrency": 10,
            "fallbacks": {"weak": "escalate", "intermediate": "keep", "strong": "keep",
                          "scorer": "escalate"},
        },
        "sampling": {"temperature": 0.1, "top_p": 0.2, "top_k": 3, "max_tokens": 4},
        "prices": {"intermediate": [{"prompt": 1}], "strong": {"output": 2}},
    }  # fmt: skip
    found = source_of(tmp_path, document)
    models = found.build()
    scorer = models.scorer_of("grade")
    router = Router.of(models, policy=Threshold(0.5), scorer=scorer, config=found.config)
    config = router.config
    assert (config.max_steps, config.max_seconds, config.max_strong_tokens) == (7, 8.5, 9)
    assert (config.overlap, config.prefill) == (True, PrefillMode.LIKELY)
    assert config.fallbacks == Fallbacks(
        Fallback.ESCALATE, Fallback.KEEP, Fallback.KEEP, Fallback.ESCALATE
    )
    assert config.sampling == Sampling(0.1, 0.2, 3, 4)
    assert [model.name for model in router.intermediate] == ["middle"]
    assert found.concurrency == 10
    priced = Prices(Price(), Price(output=2), Price(), intermediate=(Price(1, 1),))
    assert found.price_list == found.prices == priced
    evaluation = evaluation_of(
        models, found.config, [], [Threshold(0.5)], router.scorer, 0, concurrency=found.concurrency
    )
    assert evaluation.config == config
    assert evaluation.models.intermediate == router.intermediate
    assert evaluation.concurrency == 10


def test_without_a_word_everything_is_as_usual(tmp_path):
    found = source_of(tmp_path, LEAST)
    assert found.config == RouterConfig()
    assert found.concurrency == 16
    assert found.price_list is None
    assert found.prices == Prices()
    assert found.default_kind is None


CHAT = Rules(End.MODEL, keeps_fences=True)


@pytest.mark.parametrize(
    ("given", "problems", "chat"),
    [
        ({}, (30, Rules(End.BOX)), (None, CHAT)),
        ({"ends": "box"}, (30, Rules(End.BOX)), (None, replace(CHAT, ends=End.BOX))),
        ({"ends": "model", "max_steps": 7}, (7, Rules(End.MODEL)), (7, CHAT)),
        ({"fences": "keep"}, (30, Rules(keeps_fences=True)), (None, CHAT)),
        ({"fences": "split"}, (30, Rules()), (None, Rules(End.MODEL))),
    ],
)
def test_a_problem_ends_with_its_box_and_a_chat_with_its_models_end(
    tmp_path, given, problems, chat
):
    found = source_of(tmp_path, {**LEAST, "routing": given})
    assert (found.config.max_steps, found.config.rules) == problems
    assert (found.chat_config.max_steps, found.chat_config.rules) == chat
    same = {"max_steps": None, "rules": Rules()}
    assert replace(found.config, **same) == replace(found.chat_config, **same)


def test_a_protocol_is_of_evaluations_and_not_of_chats(tmp_path):
    """By the authors' a model that has ended is asked on until a box, which no chat has."""
    found = source_of(tmp_path, {**LEAST, "protocol": "authors"})
    assert found.config.rules == AUTHORS.rules
    assert found.chat_config.rules == CHAT
    shipped = models_in(protocol=AUTHORS.name)
    assert shipped.config.rules == AUTHORS.rules
    assert shipped.chat_config.rules == CHAT
    assert shipped.chat_config.max_steps is None


@given(st.sampled_from(["weak", "strong", "intermediate"]), some(**turns))
def test_a_section_with_any_turn_has_just_those_and_another_the_usual_ones(
    tmp_path_factory, role, own
):
    usual = Prompt("Box it.", "Q: {question}", "A:", "B:")
    section = {**SERVED, **own}
    document = {**LEAST, role: [section] if role == "intermediate" else section}
    models = source_of(tmp_path_factory.mktemp("turns"), document).with_task(usual).build()
    others = {name: models.writers[name].prompt for name in ("weak", "strong") if name != role}
    assert set(others.values()) == {usual}
    (found,) = models.intermediate if role == "intermediate" else (models.writers[role],)
    if not own:
        assert found.prompt == usual
    else:
        user = own.get("user", "{question}")
        assert found.prompt == Prompt(own.get("system"), user, own.get("assistant", ""))


def test_prefill_needs_a_model_that_can_read_in_advance(tmp_path):
    document = {"weak": SERVED, "strong": {"api": "anthropic", "model": "m"},
                "routing": {"prefill": "always"}}  # fmt: skip
    found = source_of(tmp_path, document)
    with pytest.raises(InvalidInput, match="cannot read in advance"):
        evaluation_of(found.build(), found.config, [], [StrongAlone()], None, 0)

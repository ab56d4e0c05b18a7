"""What is fitted remember its problems, and is not evaluated on them unnoticed."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from bank_models import IDENTITY, SETTINGS, ChanceScorer, problem, writer
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from trim.cli.main import main
from trim.cli.problems import choose_problems
from trim.config import RouterConfig
from trim.configuration.identity import identify_models
from trim.configuration.source import Models, models_in
from trim.errors import InvalidInput
from trim.evaluation.benchmarks.selection import Selection
from trim.evaluation.evaluate import RunOptions, draw
from trim.fingerprints import fingerprint, read_seen, seen_field
from trim.models.model import Completion
from trim.numerics import uniform
from trim.rollouts.bank import read_bank
from trim.rollouts.explorer import Explorer
from trim.rollouts.identity import read_identity
from trim.rollouts.store import BankStore
from trim.scorers.joint import NAME as JOINT
from trim.scorers.joint import read_weights, write_weights
from trim.shipped import FOLDER
from trim.studies.trial import Trial
from trim.testing import ScriptedModel

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "docs" / "summary.schema.json").read_text(encoding="utf-8")
)
SCORER = frozenset({"00000000000000aa"})
"""A problem that the scorer of a bank has seen."""


def trim(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def done(*words):
    ran = trim(*words)
    assert ran.exit_code == 0, ran.output
    return ran


def refused(*words):
    """The one line that names the mistake."""
    ran = trim(*words)
    assert ran.exit_code == 2, ran.output
    assert ran.stderr.count("\n") == 1
    return ran.stderr.strip()


@given(st.text())
def test_a_fingerprint_is_of_the_text_without_outer_space(question):
    assert fingerprint(f" {question}\n\n") == fingerprint(question)
    assert len(fingerprint(question)) == 16


def test_fingerprints_are_those_of_sha256():
    assert fingerprint(" abc\n") == "ba7816bf8f01cfea"


@pytest.mark.parametrize("wrong", [7, ["abc"], ["g" * 16], [3], {"a": 1}])
def test_fingerprints_survive_their_file_and_others_are_refused(tmp_path, wrong):
    path = tmp_path / "fitted.json"
    path.write_text(json.dumps(seen_field(SCORER)))
    assert read_seen(path) == SCORER
    path.write_text(json.dumps({"policy": "pomdp"}))
    assert read_seen(path) == frozenset()
    path.write_text(json.dumps({"seen": wrong}))
    with pytest.raises(InvalidInput, match="list of fingerprints"):
        read_seen(path)


# What is fitted.


def sure(name):
    """`writer` with log-probabilities, which joint scores need."""
    plain = writer(name)

    def write(prefix):
        found = plain.script(prefix)
        confident = -uniform("sure", name, prefix)
        known = isinstance(found, Completion)
        return replace(found, log_probability=confident) if known else found

    return ScriptedModel(write, name)


def by_chance(problem, earlier, step):
    return uniform("right", earlier, step) < 0.6


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """A bank of 60 problems whose scorer has seen one more, of models said to be the shipped."""
    folder = tmp_path_factory.mktemp("bank")
    identity = replace(IDENTITY, models=identify_models(FOLDER), seen=SCORER)
    store = BankStore(folder, identity, part_size=100)
    explorer = Explorer(
        Models(sure("weak"), sure("strong"), {}),
        ChanceScorer(),
        RouterConfig(sampling=SETTINGS, max_steps=5),
        rollouts=9,
        check=by_chance,
        seed=1,
    )

    async def explore_all():
        for index in range(60):
            store.add(await explorer.explore(problem(str(index))))

    asyncio.run(explore_all())
    store.flush()
    return folder


def test_a_bank_has_seen_its_problems_and_what_its_scorer_has(bank):
    read = read_bank(bank)
    assert read.fingerprints == {fingerprint(f"question {index}") for index in range(60)}
    assert read.seen == read.fingerprints | SCORER
    assert read_identity(bank).seen == SCORER
    # One of the time before is read as it was.
    assert "seen" not in IDENTITY.to_json()


def test_all_that_is_fitted_to_a_bank_keeps_its_problems(bank, tmp_path):
    seen = read_bank(bank).seen
    done("fit", bank, "--out", tmp_path / "pomdp.json", "--belief", "newest")
    done("fit-rival", "classifier", bank, "--out", tmp_path / "classifier.json")
    done("fit-rival", "automix-prm", bank, "--out", tmp_path / "automix.json")
    done("fit-scorer", bank, "--out", tmp_path / "joint.json")
    for name in ("pomdp", "classifier", "automix", "joint"):
        assert read_seen(tmp_path / f"{name}.json") == seen, name
    done("rescore", bank, tmp_path / "joint.json", "--out", tmp_path / "rescored")
    assert read_bank(tmp_path / "rescored").seen == seen


def test_a_router_file_has_seen_its_bank_and_what_its_policy_has(bank, tmp_path):
    pomdp, out = tmp_path / "pomdp.json", tmp_path / "router.json"
    done("fit", bank, "--out", pomdp, "--belief", "newest")
    words = ("calibrate", bank, "--strong-share", 0.9, "--out", out)
    ran = done(*words, "--policy", f"pomdp:{pomdp}")
    assert f"{pomdp} was fitted to 60 of the 60 problems of this bank" in ran.stderr
    elsewhere = {**json.loads(pomdp.read_text()), "seen": ["00000000000000bb"]}
    pomdp.write_text(json.dumps(elsewhere))
    ran = done(*words, "--policy", f"pomdp:{pomdp}")
    assert "was fitted to" not in ran.stderr
    assert read_seen(out) == read_bank(bank).seen | {"00000000000000bb"}
    assert "was fitted to" not in done(*words, "--policy", "thr").stderr


# What is evaluated.


def router(path, questions):
    """A calibrated threshold that has seen these questions."""
    record = {
        "policy": "router",
        "version": 1,
        "family": "thr",
        "setting": 0.5,
        "target": {"strong-share": 0.2},
        "confidence": 0.9,
        "horizon": None,
        "bound": "betting",
        "figures": {},
        "scorer": "prm",
        "models": identify_models(FOLDER),
        **seen_field(frozenset(map(fingerprint, questions))),
    }
    path.write_text(json.dumps(record))
    return f"router:{path}"


def test_a_policy_is_not_evaluated_on_what_it_has_seen(tmp_path):
    problems = draw("chain", 3, 5).problems
    spec = router(tmp_path / "router.json", [problem.question for problem in problems[:2]])
    out = tmp_path / "run"
    words = ("eval", "chain", "--policy", "weak", "--policy", spec, "--out", out)
    assert refused(*words, "-n", 3, "--seed", 5) == (
        f"trim: {tmp_path / 'router.json'} has seen 2 of the 3 problems; evaluate on others"
        " (another --seed), or --seen to go on and flag it"
    )
    assert not out.exists()
    done(*words, "-n", 2, "--seed", 5, "--skip", 2)
    assert "seen" not in json.loads((out / "summary.json").read_text())


def test_who_wants_it_all_the_same_has_it_flagged(tmp_path):
    problems = draw("chain", 3, 5).problems
    spec = router(tmp_path / "router.json", [problem.question for problem in problems[:2]])
    out = tmp_path / "run"
    words = ("--policy", "weak", "--policy", spec, "--out", out)
    ran = done("eval", "chain", *words, "-n", 3, "--seed", 5, "--seen")
    summary = json.loads((out / "summary.json").read_text())
    Draft202012Validator(SCHEMA).validate(summary)
    files = {str(tmp_path / "router.json"): 2}
    assert summary["seen"] == {spec: {"problems": 2, "of": 3, "files": files}}
    assert "fitted to 2 of the 3 problems (" in ran.stdout
    html = (out / "report.html").read_text()
    assert "Seen before:" in html and html.count("<td>2 of 3</td>") == 1
    assert "<td></td>" in html


def test_a_fitted_family_is_flagged_by_the_name_of_its_file(bank, tmp_path):
    """Two files of one family, of which one has seen the problems."""
    problems = draw("chain", 2, 5).problems
    for name, questions in (("one", [problems[0].question]), ("two", ["another?"])):
        done("fit-rival", "classifier", bank, "--out", tmp_path / f"{name}.json")
        record = json.loads((tmp_path / f"{name}.json").read_text())
        record["seen"] = [fingerprint(question) for question in questions]
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    specs = [f"--policy=classifier:{tmp_path / name}.json@0.5" for name in ("one", "two")]
    words = ("eval", "chain", "-n", 2, "--seed", 5, *specs, "--out", tmp_path / "run")
    assert "one.json has seen 1 of the 2 problems" in refused(*words)
    done(*words, "--seen")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert list(summary["seen"]) == ["classifier(one)"]
    assert {point["policy"] for point in summary["points"]} > set(summary["seen"])


@pytest.fixture
def models(tmp_path):
    """The shipped models with joint scores that have seen two problems of `chain`."""
    folder = tmp_path / "models"
    folder.mkdir()
    for path in FOLDER.glob("*.gguf"):
        (folder / path.name).symlink_to(path)
    seen = frozenset(fingerprint(problem.question) for problem in draw("chain", 2, 5).problems)
    write_weights(folder / JOINT, read_weights(FOLDER / JOINT), seen)
    return folder


def test_joint_scores_count_for_all_who_read_them(models, tmp_path):
    words = ("eval", "chain", "-n", 2, "--seed", 5, "--models", models, "--out", tmp_path / "run")
    assert f"{models / JOINT} has seen 2 of the 2" in refused(*words, "--policy", "thr:0.5")
    done(*words, "--policy", "weak", "--policy", "thr:0.5", "--scorer", "prm")
    done(*words[:-1], tmp_path / "alone", "--policy", "weak", "--policy", "strong")
    ran = done(*words[:-1], tmp_path / "seen", "--policy", "weak", "--policy", "thr:0.5", "--seen")
    assert "warning thr: " in ran.stdout and "warning weak" not in ran.stdout


def test_a_bank_of_joint_scores_knows_what_they_have_seen(models, tmp_path):
    words = ("chain", "-n", 1, "--seed", 9, "--rollouts", 3, "--models", models)
    done("collect", *words, "--out", tmp_path / "bank")
    bank = read_bank(tmp_path / "bank")
    assert bank.seen == bank.fingerprints | read_seen(models / JOINT)
    done("collect", *words, "--out", tmp_path / "bank")
    done("collect", *words, "--scorer", "prm", "--out", tmp_path / "prm")
    assert read_bank(tmp_path / "prm").identity.seen == frozenset()


@pytest.mark.parametrize(("suite", "count"), [("chain", 1100), ("words", 400), ("program", 400)])
def test_the_shipped_scores_say_what_they_were_fitted_to(suite, count):
    """Problems of seed 1, and none of seed 0, which evaluations have unless told otherwise."""
    seen = read_seen(models_in().joint)
    assert seen.issuperset(draw(suite, count, 1).fingerprints)
    assert seen.isdisjoint(draw(suite, 500, 0).fingerprints)


def test_studies_refuse_what_was_fitted_to_their_problems(tmp_path):
    spec = router(tmp_path / "router.json", [draw("chain", 1, 5).problems[0].question])
    trial = Trial(draw("chain", 2, 5), models_in(), RunOptions(seed=5))
    with pytest.raises(InvalidInput, match=r"has seen 1 of the 2 .*\(another --seed\), or --seen"):
        trial.run([spec], tmp_path / "run")
    assert not (tmp_path / "run").exists()
    seen = replace(trial, options=RunOptions(seed=5, allow_seen=True))
    results = seen.run([spec, "thr:0.5"], tmp_path / "run")
    assert "was fitted to 1 of the 2 problems." in results.alone


def test_a_file_is_split_into_a_part_to_learn_from_and_a_part_to_test(tmp_path):
    file = tmp_path / "set.jsonl"
    records = [{"q": each.question, "a": each.answer} for each in draw("chain", 6, 5).problems]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    of_file = (file, "--question", "q", "--answer", "a", "--seed", 3)
    done("collect", *of_file, "-n", 3, "--rollouts", 2, "--out", tmp_path / "bank")
    bank = read_bank(tmp_path / "bank")
    chosen = choose_problems(str(file), 3, 3, Selection(question="q", answer="a", instruction=""))
    # The bank's questions end with an instruction, and are known without it.
    assert bank.fingerprints == {fingerprint(problem.question) for problem in chosen.problems}
    spec = router(tmp_path / "router.json", [problem.question for problem in chosen.problems])
    words = ("eval", *of_file, "--policy", "weak", "--policy", spec, "--out", tmp_path / "run")
    said = refused(*words, "--instruction", "Be brief.")
    assert "has seen 3 of the 6 problems" in said and "--skip beyond it" in said
    done(*words, "--skip", 3)
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["skip"], run["seed"], run["shuffled"], run["n"]) == (3, 3, True, 3)
    assert "holds another run" in refused(*words, "--skip", 4)

"""Traces of other programs as banks: what is read, what it can be used for, what is refused."""

import gzip
import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from trim.cli.main import main
from trim.errors import InvalidInput
from trim.files import FolderLock
from trim.policies.pomdp.first_errors import WrittenSteps
from trim.policies.pomdp.fit import evidence_from_steps
from trim.policies.ppo.trees import UNKNOWN
from trim.policies.registry import parse_policy
from trim.rollouts.bank import read_bank
from trim.rollouts.fit import tree_steps
from trim.rollouts.import_traces import import_traces
from trim.rollouts.imported_solution import apportion
from trim.rollouts.replay import replay
from trim.shipped import FOLDER

REFERENCE = Path(__file__).parents[2] / "shared" / "data" / "reference"
TRACES = REFERENCE / "qwen3_1.7b_14b_math500_traces.jsonl"


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def refusal(ran):
    assert ran.exit_code == 2, ran.output
    assert ran.stderr.startswith("trim: ")
    assert ran.stderr.count("\n") == 1
    return ran.stderr


def write_lines(file, records):
    text = "\n".join(json.dumps(record, ensure_ascii=False) for record in records) + "\n"
    content = text.encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    return file


# Solutions of both models


def solution(**changes):
    known = {"steps": ["a", "---", "b"], "prm_scores": [0.5, 0.25, 1.0], "step_tokens": [3, 1, 4]}
    return {**known, "tokens": 8, "correct": True, "answer": "7", **changes}


def trace(name="one", weak=None, **changes):
    record = {"id": name, "query": "q\u2028?", "answer": "7", "dataset": "hand"}
    return {**record, "weak": weak or solution(), "strong": solution(tokens=20), **changes}


def imported(tmp_path, *records, **options):
    file = write_lines(tmp_path / "traces.jsonl", records)
    return import_traces(file, tmp_path / "bank", **options)


def test_traces_made_elsewhere_are_the_weak_models_path(tmp_path):
    bank = imported(tmp_path, trace("one"), trace("two", solution(correct=False, answer=None)))
    one, two = bank.problems
    assert [(n.draft, n.draft_score, n.draft_tokens) for n in one.nodes] == [
        ("a", 0.5, 3),
        ("b", 1.0, 5),
    ]
    assert [n.continue_to for n in one.nodes] == [1, -1]
    assert [n.continue_to for n in two.nodes] == [1, -2]
    assert all(n.regenerate_to == UNKNOWN for p in bank.problems for n in p.nodes)
    assert [n.draft_ends for n in one.nodes] == [False, True]
    assert [n.draft_answers for n in one.nodes] == [False, True]
    assert [n.draft_answers for n in two.nodes] == [False, False]
    assert [t.correct for t in bank.trajectories()] == [True, False]
    assert [each.weak.answered for each in bank.solved_alone()] == [True, False]
    assert one.strong.tokens == 20
    again = imported(tmp_path, trace("one"), trace("two", solution(correct=False, answer=None)))
    assert again.problems == bank.problems


def test_real_traces_can_be_imported(tmp_path):
    if not TRACES.exists():
        pytest.skip("the reference traces are not beside this checkout")
    assert run("import", TRACES, "--out", tmp_path).exit_code == 0
    bank = read_bank(tmp_path)
    records = [json.loads(line) for line in TRACES.read_text().split("\n") if line]
    assert len(bank.problems) == len(records)
    assert sum(t.correct for t in bank.trajectories()) == sum(r["weak"]["correct"] for r in records)
    assert sum(sum(t.tokens) for t in bank.trajectories()) == sum(
        sum(r["weak"]["step_tokens"]) for r in records
    )
    assert len(bank.tree_batch().roots) == len(records)


def test_strong_solutions_or_their_scores_may_be_missing(tmp_path):
    unscored = {name: value for name, value in solution().items() if name != "prm_scores"}
    bank = imported(tmp_path / "unscored", trace(strong=unscored))
    assert [step.score for step in bank.problems[0].strong.steps] == [None, None]
    assert bank.has_strong and not bank.identity.partial
    for number, strong in enumerate(({"strong": None}, {})):
        record = {**trace(), **strong}
        if not strong:
            del record["strong"]
        bank = imported(tmp_path / str(number), record)
        assert not bank.has_strong and bank.problems[0].weak.correct
        assert bank == read_bank(tmp_path / str(number) / "bank")


def test_solutions_of_any_length_are_kept_whole(tmp_path):
    """Only the step loop has a limit of 30 steps: what others have written ends where it ends."""
    many = solution(steps=["a"] * 90, prm_scores=[0.5] * 90, step_tokens=[1] * 90, tokens=90)
    (only,) = imported(tmp_path, trace(weak=many)).problems
    assert (len(only.nodes), only.weak.correct, only.nodes[-1].continue_to) == (90, True, -1)


# Tokens


sizes = st.lists(st.integers(0, 500), min_size=1, max_size=40)


@given(st.integers(0, 5000), sizes)
def test_apportioned_tokens_add_up_exactly_and_follow_the_lengths(total, lengths):
    shares = apportion(total, lengths)
    assert sum(shares) == total
    assert len(shares) == len(lengths)
    whole = sum(lengths)
    for share, length in zip(shares, lengths, strict=True):
        exact = total * length / whole if whole else total / len(lengths)
        assert abs(share - exact) < 1
    if whole:
        for share, length in zip(shares, lengths, strict=True):
            for other, shorter in zip(shares, lengths, strict=True):
                assert length <= shorter or share >= other


def test_unknown_tokens_of_steps_come_from_characters(tmp_path):
    known = solution(steps=["a" * 30, "b" * 60], prm_scores=[0.5, 0.5])
    for changes, tokens, total, described in (
        ({}, [3, 1], 8, None),
        ({"step_tokens": None}, [3, 5], 8, "those of the solution, apportioned by characters"),
        ({"step_tokens": None, "step_chars": [50, 10]}, [7, 1], 8, "apportioned by characters"),
        ({"step_tokens": None, "tokens": None}, [8, 15], 23, "estimated, 4 characters a token"),
        ({"tokens": None}, [3, 1], 4, None),
    ):
        weak = {**known, "step_tokens": [3, 1], **changes}
        weak = {name: value for name, value in weak.items() if value is not None}
        bank = imported(tmp_path / str(total) / str(tokens), trace(weak=weak))
        assert [step.tokens for step in bank.problems[0].weak.steps] == tokens
        assert bank.problems[0].weak.tokens == total
        found = bank.identity.described.get("tokens")
        assert found is None if described is None else described in found


# Several solutions of a problem


def number(digits):
    return st.integers(0, 10**digits).map(lambda whole: whole / 10**digits)


@st.composite
def several(draw):
    """Lines of several solutions without texts, as published with scores of two reward models."""
    lines = []
    for name in draw(
        st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=4, unique=True)
    ):
        written = []
        for length in draw(st.lists(st.integers(1, 40), min_size=1, max_size=12)):
            listed = st.lists(number(4), min_size=length, max_size=length)
            lengths = st.lists(st.integers(0, 90), min_size=length, max_size=length)
            written.append(
                {
                    "correct": draw(st.booleans()),
                    "tokens": draw(st.integers(0, 900)),
                    "step_chars": draw(lengths),
                    "one": draw(listed),
                    "other": draw(listed),
                }
            )
        lines.append({"id": name, "solutions": written})
    return lines


@settings(max_examples=25, deadline=None)
@given(several(), st.sampled_from(["one", "other"]), st.sampled_from([".jsonl", ".jsonl.gz"]))
def test_every_solution_is_a_record_in_its_order(tmp_path_factory, lines, scores, suffix):
    folder = tmp_path_factory.mktemp("several")
    file = write_lines(folder / f"solved{suffix}", lines)
    bank = import_traces(file, folder / "bank", scores=scores)
    assert bank == read_bank(folder / "bank")
    assert bank.identity.suite == "solved"
    assert bank.identity.models["scorer"] == scores
    by_group = {name: [] for name in bank.group_names}
    for group, problem in zip(bank.groups, bank.problems, strict=True):
        by_group[bank.group_names[group]].append(problem)
    assert set(by_group) == {line["id"] for line in lines}
    for line in lines:
        for problem, written in zip(by_group[line["id"]], line["solutions"], strict=True):
            assert problem.weak.correct == written["correct"]
            assert [step.score for step in problem.weak.steps] == written[scores]
            assert [node.draft_score for node in problem.nodes] == written[scores]
            tokens = [step.tokens for step in problem.weak.steps]
            assert tokens == apportion(written["tokens"], written["step_chars"])
            assert sum(tokens) == problem.weak.tokens == written["tokens"]
    assert not bank.has_strong and not bank.fingerprints


def test_published_solutions_are_read_whole(tmp_path):
    name = "gsm8k_qwen2.5_7b_32_solutions_prm_scores.jsonl.gz"
    if not (REFERENCE / name).exists():
        pytest.skip("needs the reference solutions in ../shared, beside this checkout")
    ran = run("import", REFERENCE / name, "--scores", "skywork_prm", "--out", tmp_path)
    assert ran.exit_code == 0, ran.output
    assert "300 problems, 9600 solutions" in ran.stdout
    assert "strong" not in ran.stdout
    bank = read_bank(tmp_path)
    lines = gzip.decompress((REFERENCE / name).read_bytes()).decode().splitlines()
    solutions = [
        each
        for line in sorted(map(json.loads, lines), key=lambda line: line["id"])
        for each in line["solutions"]
    ]
    assert [each.scores for each in bank.trajectories()] == [
        tuple(each["skywork_prm"]) for each in solutions
    ]
    assert [sum(each.tokens) for each in bank.trajectories()] == [
        each["tokens"] for each in solutions
    ]
    message = refusal(run("import", REFERENCE / name, "--out", tmp_path / "other"))
    assert "choose one of math_shepherd, qwen_prm, skywork_prm, or none with --scores" in message


# Labelled steps


def labelled(label, steps=5, name="math-1", **changes):
    """A line with ProcessBench's fields."""
    return {
        "id": name,
        "generator": "model-a",
        "problem": "How many?",
        "steps": [f"step {place}" for place in range(steps)],
        "label": label,
        **changes,
    }


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_labels_give_the_states_of_the_method(tmp_path_factory, data):
    """S0 up to the first error, S2 at it, S1 after it; the score of each step stays its own."""
    folder = tmp_path_factory.mktemp("labelled")
    steps = data.draw(st.integers(1, 35))
    label = data.draw(st.integers(-1, steps - 1))
    scores = data.draw(st.lists(number(3), min_size=steps, max_size=steps))
    bank = imported(folder, labelled(label, steps, prm_scores=scores))
    evidence = evidence_from_steps(WrittenSteps.of(tree_steps(bank)), [steps], [])
    states = [
        0 if label < 0 or place < label else 2 if place == label else 1 for place in range(steps)
    ]
    lowest = [min(scores[:place], default=1.0) for place in range(steps)]
    assert evidence.examples.tolist() == [
        list(row) for row in zip(states, lowest, scores, strict=True)
    ]
    right = steps if label < 0 else label
    assert evidence.step_counts.tolist() == [[label >= 0, right], [0, 0]]


def test_labels_without_scores_wait_for_a_scorer(tmp_path):
    bank = imported(tmp_path, labelled(2), labelled(-1, name="math-2", generator="model-b"))
    assert bank.identity.scorer == "none"
    assert all(math.isnan(node.draft_score) for each in bank.problems for node in each.nodes)
    assert bank.labels_first_errors
    assert bank.identity.described["generators"] == ["model-a", "model-b"]
    assert [each.weak.correct for each in bank.problems] == [False, True]
    # Two solutions of one question are not independent.
    assert bank.groups.tolist() == [0, 0]
    judged = imported(tmp_path / "judged", labelled(2, final_answer_correct=True))
    assert judged.problems[0].weak.correct
    for command in ("fit", "audit"):
        words = ("--out", tmp_path / "out")
        message = refusal(run(command, tmp_path / "bank", *words))
        assert "its steps have no scores; add them with `trim rescore" in message
    assert not (tmp_path / "out").exists()


def test_a_step_without_content_passes_its_label_on(tmp_path):
    record = labelled(1, steps=4)
    record["steps"][1] = "---"
    (problem,) = imported(tmp_path, record).problems
    assert [step.right for step in problem.weak.steps] == [True, False, False]


# Scores by a scorer


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collected") / "bank"
    ran = run("collect", "chain", "-n", 4, "--rollouts", 3, "--scorer", "prm", "--out", folder)
    assert ran.exit_code == 0, ran.output
    return folder


def test_recorded_steps_get_the_scores_that_a_router_would_see(collected, tmp_path):
    """A bank scored again by its own scorer is the same bank."""
    ran = run("rescore", collected, "--scorer", "prm", "--out", tmp_path / "again")
    assert ran.exit_code == 0, ran.output
    before, after = read_bank(collected), read_bank(tmp_path / "again")
    assert after.identity == before.identity
    for old, new in zip(before.problems, after.problems, strict=True):
        assert [n.draft_score for n in new.nodes] == pytest.approx(
            [n.draft_score for n in old.nodes], abs=1e-3
        )
        pairs = [
            (n.strong_score, o.strong_score) for n, o in zip(new.nodes, old.nodes, strict=True)
        ]
        for score, earlier in pairs:
            assert score == (earlier if earlier is None else pytest.approx(earlier, abs=1e-3))
        assert [s.score for s in new.weak.steps] == [n.draft_score for n in kept(new)]
        assert [s.score for s in new.strong.steps] == [None] * len(new.strong.steps)


def kept(problem):
    """The drafts of the weak model's own solution."""
    return [problem.nodes[index] for index in problem.rollouts[0].nodes]


def test_imported_labels_are_scored_and_then_audited_or_fitted(collected, tmp_path):
    recorded = read_bank(collected)
    records = []
    for problem in recorded.problems:
        right = [step.right for step in problem.weak.steps]
        records.append(
            {
                "id": problem.problem_id,
                "problem": problem.question,
                "steps": [step.text for step in problem.weak.steps],
                "label": right.index(False) if False in right else -1,
                "final_answer_correct": problem.weak.correct,
            }
        )
    imported(tmp_path, *records)
    command = ("rescore", tmp_path / "bank", "--scorer", "prm", "--out", tmp_path / "scored")
    ran = run(*command)
    assert ran.exit_code == 0, ran.output
    assert f"{len(records)} problems with prm scores" in ran.stdout
    bank = read_bank(tmp_path / "scored")
    for problem, original in zip(bank.problems, recorded.problems, strict=True):
        assert [step.score for step in problem.weak.steps] == pytest.approx(
            [step.score for step in original.weak.steps], abs=1e-3
        )
    assert bank.identity.models["scorer"] == recorded.identity.models["scorer"]
    assert bank.labels_first_errors
    again = run(*command)
    assert (again.exit_code, read_bank(tmp_path / "scored")) == (0, bank)
    other = run(*command[:2], "--scorer", "grade", *command[4:])
    assert "holds a bank with other models, scorer" in refusal(other)


def test_a_configuration_scores_as_well(collected, tmp_path):
    file = tmp_path / "trim.yaml"
    models = {role: {"gguf": str(FOLDER / f"{role}.gguf")} for role in ("weak", "strong")}
    scorer = {"kind": "label", "gguf": str(FOLDER / "scorer.gguf")}
    file.write_text(json.dumps({**models, "scorer": scorer}))
    ran = run("rescore", collected, file, "--out", tmp_path / "scored")
    assert ran.exit_code == 0, ran.output
    before, after = read_bank(collected), read_bank(tmp_path / "scored")
    for old, new in zip(before.problems, after.problems, strict=True):
        assert [n.draft_score for n in new.nodes] == pytest.approx(
            [n.draft_score for n in old.nodes], abs=1e-3
        )


def test_strong_steps_without_scores_are_scored_for_a_fit(tmp_path):
    unscored = without("prm_scores", solution())
    records = [trace(f"m-{n}", solution(correct=n % 2 > 0), strong=unscored) for n in range(20)]
    imported(tmp_path, *records)
    fit = ("--out", tmp_path / "pomdp.json")
    message = refusal(run("fit", tmp_path / "bank", *fit))
    assert "the strong model's steps have no scores" in message
    assert "`trim rescore BANK CONFIG --out NEW`" in message
    ran = run("rescore", tmp_path / "bank", "--scorer", "prm", "--out", tmp_path / "scored")
    assert ran.exit_code == 0, ran.output
    for problem in read_bank(tmp_path / "scored").problems:
        assert all(step.score is not None for step in problem.strong.steps)
    assert "scores" not in run("fit", tmp_path / "scored", *fit).output


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"strong": None}, "the bank holds no solutions by the strong model, which a fit needs"),
        ({}, "every solution has a single step, so no step follows an error"),
    ],
)
def test_a_fit_names_what_more_traces_would_not_bring(tmp_path, wrong, said):
    single = {"steps": ["a"], "prm_scores": [0.5], "step_tokens": [8]}
    records = [
        trace(f"m-{n}", solution(correct=n % 2 > 0, **single), strong=solution(**single)) | wrong
        for n in range(20)
    ]
    imported(tmp_path, *records)
    message = refusal(run("fit", tmp_path / "bank", "--out", tmp_path / "pomdp.json"))
    assert said in message


QUESTION = {"id": "m-1", "problem": "What is 3 + 4?", "label": -1}


@pytest.mark.parametrize(
    ("scorer", "said"),
    [
        (
            (),
            "the bank lacks the log-probability of a step of 'm-1', which the scorer 'joint' reads",
        ),
        (("--scorer", "logprob"), "which the scorer 'logprob' reads and `trim collect` records"),
        (("--scorer", "entropy"), "a bank does not record the entropy that the scorer 'entropy'"),
    ],
)
def test_a_confidence_that_the_bank_lacks_is_named_before_anything_is_written(
    tmp_path, scorer, said
):
    imported(tmp_path, {**QUESTION, "steps": ["3 + 4 = 7"]})
    message = refusal(run("rescore", tmp_path / "bank", *scorer, "--out", tmp_path / "out"))
    assert said in message
    assert "--scorer prm" in message
    assert not (tmp_path / "out").exists()


def test_a_step_that_is_too_long_is_named_by_its_problem(tmp_path):
    """The bank, empty until then, may then be one of other traces."""
    imported(tmp_path, {**QUESTION, "steps": ["3 + 4 = 7 " * 2000]})
    command = ("rescore", tmp_path / "bank", "--scorer", "prm", "--out", tmp_path / "out")
    ran = run(*command)
    assert ran.exit_code == 2
    assert "\ntrim: problem 'm-1': scorer.gguf: " in ran.stderr
    (tmp_path / "other").mkdir()
    imported(tmp_path / "other", {**QUESTION, "steps": ["3 + 4 = 7"]})
    ran = run("rescore", tmp_path / "other" / "bank", *command[2:])
    assert ran.exit_code == 0, ran.output
    assert len(read_bank(tmp_path / "out").problems) == 1


# Refusals

FREE = solution(step_tokens=[0, 0, 0], tokens=0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            trace(weak=solution(prm_scores=[0.5, 0.5])),
            "line 2: not a trace .*3 in step_tokens, 2 in prm_scores",
        ),
        (trace(weak=solution(prm_scores=[0.5, 0.5, 1.5])), "line 2: not a trace .*outside"),
        (trace(weak=solution(step_tokens=[1, 1, 0.5])), "line 2: not a trace .*token count"),
        (trace(weak=solution(correct="yes")), "line 2: not a trace .*correct"),
        (trace(weak={"steps": []}), "line 2: not a trace .*prm_scores"),
        ([], "line 2: not a trace"),
        (trace("zero"), "line 2: the id 'zero' occurs twice"),
        (trace(dataset="other"), "traces of hand, other; a bank is of one data set"),
        (trace(strong=FREE), "all solutions of the strong model have 0 tokens"),
    ],
)
def test_what_is_no_trace_is_said_and_nothing_is_written(tmp_path, wrong, said):
    with pytest.raises(InvalidInput, match=said):
        imported(tmp_path, trace("zero", strong=FREE), wrong)
    assert not (tmp_path / "bank").exists()


def without(name, record):
    return {key: value for key, value in record.items() if key != name}


GOOD = {"correct": True, "tokens": 9, "step_chars": [4, 5], "one": [0.5, 0.75]}
LONG = {"correct": True, "step_chars": [2**31 - 1] * 5, "one": [0.5] * 5}


@pytest.mark.parametrize(
    ("lines", "options", "said"),
    [
        ([labelled(5)], {}, "the label 5 is neither the index of one of 5 steps, 0 to 4, nor -1"),
        ([labelled(-2)], {}, "the label -2 is neither"),
        ([labelled(True)], {}, "the label True is neither"),
        ([labelled(None)], {}, "the label None is neither"),
        ([labelled(0, steps=0)], {}, "the label 0 is neither"),
        ([labelled(-1, steps=0)], {}, "no steps"),
        ([{**labelled(0), "steps": None}], {}, "no 'steps'"),
        ([labelled(0, prm_scores=[0.5])], {}, "5 in steps, 1 in prm_scores"),
        ([labelled(0, prm_scores=[])], {}, "5 in steps, 0 in prm_scores"),
        ([labelled(0, final_answer_correct="no")], {}, "neither true nor false"),
        (
            [labelled(0, final_answer_correct=True), labelled(0, name="b")],
            {},
            "line 2: .*no 'final_answer_correct'",
        ),
        ([labelled(0, steps=3), trace("b")], {}, "line 2: .*the field weak, and the lines before"),
        ([labelled(0, weak={})], {}, "it has to have one of weak, solutions and label"),
        ([{"id": "a"}], {}, "it has to have one of weak, solutions and label"),
        ([{**labelled(0), "steps": "abc"}], {}, "steps is not a list"),
        ([{"id": "a", "solutions": []}], {"scores": "one"}, "not a list of at least one"),
        (
            [{"id": "a", "solutions": [GOOD, {**GOOD, "one": [0.5]}]}],
            {"scores": "one"},
            "line 1: .*solution 2: .*2 in step_chars, 1 in one",
        ),
        ([{"id": "a", "solutions": [GOOD, 7]}], {"scores": "one"}, "solution 2: .*JSON object"),
        ([{"id": "a", "solutions": [GOOD]}], {}, "no 'prm_scores'; choose one of one, or none"),
        ([{"id": "a", "solutions": [GOOD]}], {"scores": "two"}, "no 'two'; choose one of one"),
        (
            [{"id": "a", "solutions": [without("step_chars", GOOD)]}],
            {"scores": "one"},
            "no length of the steps; give steps, step_chars or step_tokens",
        ),
        (
            [{"id": "a", "solutions": [{**GOOD, "tokens": 10**12}]}],
            {"scores": "one"},
            "not a whole number from 0 to",
        ),
        (
            [{"id": "a", "solutions": [{**GOOD, "tokens": None, "step_tokens": [2**31 - 1, 1]}]}],
            {"scores": "one"},
            "2147483648 tokens in all steps; a solution has at most 2147483647",
        ),
        (
            [trace(weak=solution(step_tokens=[1, 2**31 - 1, 1]))],
            {},
            "2147483649 tokens in all steps",
        ),
        (
            [{"id": "a", "solutions": [LONG]}],
            {"scores": "one"},
            "2684354559 tokens in all steps",
        ),
        ([trace(), without("strong", trace("b"))], {}, "line 2: .*in all lines or in none"),
        ([trace(weak=solution(steps=["a", "\ud800", "b"]))], {}, "half a surrogate pair"),
        ([trace(weak=[1])], {}, "a solution is not a JSON object"),
        ([trace(strong=7)], {}, "a solution is not a JSON object"),
    ],
)
def test_a_bad_line_is_one_clear_error_and_nothing_is_written(tmp_path, lines, options, said):
    file = tmp_path / "traces.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    ran = run("import", file, *words, "--out", tmp_path / "bank")
    message = refusal(ran)
    assert "docs/reference/bank.md describes the fields" in message
    with pytest.raises(InvalidInput, match=said):
        import_traces(file, tmp_path / "bank", **options)
    assert not (tmp_path / "bank").exists()


def test_a_late_bad_line_writes_nothing(tmp_path):
    lines = [labelled(0, name=str(number)) for number in range(1500)]
    file = write_lines(tmp_path / "traces.jsonl", [*lines, labelled(9, name="last")])
    assert "line 1501: " in refusal(run("import", file, "--out", tmp_path / "bank"))
    assert not (tmp_path / "bank").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("traces.jsonl.gz", b"{}", "not a gzip file, or a damaged one"),
        (
            "traces.jsonl.gz",
            gzip.compress(b"{}" * 900, mtime=0)[:-12],
            "not a gzip file, or a damaged one",
        ),
        ("traces.jsonl", gzip.compress(b"{}", mtime=0), "not UTF-8 text"),
        ("traces.jsonl", b"\n\n", "no traces"),
        ("traces.jsonl", b"[" * 100_000, "line 1: not a trace"),
    ],
)
def test_a_file_of_something_else_is_one_clear_error(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    assert said in refusal(run("import", tmp_path / name, "--out", tmp_path / "bank"))
    assert not (tmp_path / "bank").exists()


def test_what_needs_the_strong_model_is_refused_without_it(tmp_path):
    solutions = [{**GOOD, "correct": place % 2 > 0} for place in range(4)]
    lines = [{"id": str(number), "solutions": solutions} for number in range(30)]
    imported(tmp_path, *lines, scores="one")
    bank, out = tmp_path / "bank", tmp_path / "out.json"
    for words, said in (
        (
            ["fit-rival", "classifier", bank],
            "no solutions by the strong model, which a rival needs",
        ),
        (["calibrate", bank, "--strong-share", 0.2], "which a replay needs"),
        (["train", "agg", bank], "which training needs"),
        (["rescore", bank], "holds no text of '0/0', which a scorer reads"),
    ):
        assert said in refusal(run(*words, "--out", out))
        assert not out.exists()


def test_rewrites_that_no_trace_has_count_as_tokens(tmp_path):
    """As of the strong model alone from that step on, and as its longest step beyond its end."""
    weak = solution(steps=["a", "b", "c"], prm_scores=[0.9, 0.2, 0.6], step_tokens=[10, 10, 10])
    alone = {"steps": ["A", "B"], "step_tokens": [100, 120], "tokens": 220, "correct": True}
    bank = imported(tmp_path, trace(weak=weak, strong={**alone, "answer": "7"}))
    spent = [replay(bank.problems[0], parse_policy(f"thr:{p}")) for p in (0.1, 0.5, 0.95)]
    assert [each.strong_tokens for each in spent] == [0, 120, 220]
    assert [each.complete for each in spent] == [True, False, False]
    assert {each.usage["weak"].tokens for each in spent} == {30}
    late = solution(steps=["a", "b", "c"], prm_scores=[0.9, 0.9, 0.2], step_tokens=[10, 10, 10])
    (beyond,) = imported(tmp_path / "late", trace(weak=late, strong=alone)).problems
    assert replay(beyond, parse_policy("thr:0.5")).strong_tokens == 120


def test_an_import_waits_for_nobody_in_its_folder(tmp_path):
    lock = FolderLock(tmp_path / "bank")
    with pytest.raises(InvalidInput, match="another process works in this folder"):
        imported(tmp_path, trace())
    lock.release()
    assert imported(tmp_path, trace()).problems


def test_options_of_a_configuration_do_not_go_with_weights(collected, tmp_path):
    for words in (["--scorer", "prm"], ["--set", "a=1"], ["--models", tmp_path]):
        ran = run("rescore", collected, tmp_path / "joint.json", *words, "--out", tmp_path / "out")
        assert f"{words[0]}: goes with a configuration" in refusal(ran)
    assert not (tmp_path / "out").exists()

"""The controller of the strong share: what it promises for any traffic, and on a real server."""

import json
import random

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_calibrate import agg_folder
from test_server_api import serving

from trim.config import RouterConfig
from trim.configuration.source import models_in
from trim.errors import InvalidInput
from trim.evaluation.suites import CHAIN, CHAIN_HARD, generate
from trim.policies.calibrated import CalibratedRouter
from trim.policies.registry import parse_policy
from trim.policies.sweep import policies_by_cost
from trim.router import Router
from trim.server.controller import GAIN, Controller
from trim.shipped import FOLDER
from trim.types import Action, Author, Finish, Step, Trace, Usage

POLICIES, PLACE = policies_by_cost("thr:0.5")
LAST = len(POLICIES) - 1


def answered(tokens, strong):
    """A trace of so many tokens, of which the strong model wrote some."""
    steps = [
        Step("", author, Action.CONTINUE, draft_tokens=count * (author is Author.WEAK),
             strong_tokens=count * (author is Author.STRONG))
        for author, count in ((Author.WEAK, tokens - strong), (Author.STRONG, strong))
    ]  # fmt: skip
    usage = {"weak": Usage(0, 0, tokens - strong), "strong": Usage(0, 0, strong),
             "scorer": Usage()}  # fmt: skip
    return Trace("", "thr", 0, tuple(steps), finish=Finish.ANSWER, usage=usage)


def held(controller, requests):
    """Deviation from the target over all requests; each is (tokens, hardness in [0, 1])."""
    strong = whole = 0
    for tokens, hardness in requests:
        place = POLICIES.index(controller.policy()) / LAST
        # The ends spend nothing and all; between them the harder spends the more.
        share = place if place in (0, 1) else place ** (3 * (1 - hardness))
        spent = round(tokens * share)
        controller.update([answered(tokens, spent)])
        strong, whole = strong + spent, whole + tokens
    return strong / whole - controller.target


@given(
    st.lists(st.tuples(st.just(40), st.floats(0, 1)), min_size=1, max_size=400),
    st.floats(0, 1),
    st.integers(0, LAST),
)
@settings(max_examples=60, deadline=None)
def test_deviations_add_up_to_no_more_than_the_way_between_the_ends(requests, target, place):
    controller = Controller(POLICIES, place, target)
    assert abs(held(controller, requests)) <= (LAST + 2) / GAIN / len(requests) + 0.5 / 40


@pytest.mark.parametrize("target", [0.05, 0.2, 0.7])
def test_traffic_that_turns_hard_is_held(target):
    draw = random.Random(3)
    controller = Controller(POLICIES, PLACE, target)
    for hardness in (0.1, 0.9, 0.3):
        held(controller, [(draw.randint(20, 200), hardness) for _ in range(300)])
        after = held(controller, [(draw.randint(20, 200), hardness) for _ in range(500)])
        assert abs(after) < 0.04
        assert controller.share == pytest.approx(target, abs=0.08)


def test_what_was_silent_for_long_is_not_owed():
    controller = Controller(POLICIES, PLACE, 0.3)
    for _ in range(5000):
        controller.update([answered(50, 0)])
    assert controller.at_end
    controller.update([answered(50, 50)] * 2)
    for _ in range(3):
        controller.update([answered(50, 50)])
    assert not controller.at_end


def test_moves_are_smaller_with_much_under_way():
    calm, busy = (Controller(POLICIES, PLACE, 0.2) for _ in range(2))
    calm.update([answered(50, 50)])
    busy.update([answered(50, 50)], concurrent=500)
    assert calm.place < busy.place < PLACE


def test_a_request_without_tokens_moves_nothing():
    controller = Controller(POLICIES, PLACE, 0.2)
    controller.update([])
    assert controller.place == PLACE and controller.share is None


def test_a_sweep_goes_from_the_weak_model_alone_to_the_strong_one():
    assert [POLICIES[0].name, POLICIES[-1].name] == ["weak", "strong"]
    thresholds = [policy.threshold for policy in POLICIES[1:-1]]
    assert thresholds == sorted(set(thresholds))
    assert POLICIES[PLACE].name == "thr:0.5"
    for spec in ("weak", "cascade:0.5", "specreason:7", "pomdp", "cascade:0.5+tail:0.9"):
        with pytest.raises(InvalidInput, match="no setting to adjust"):
            policies_by_cost(spec)


@pytest.mark.parametrize(
    ("spec", "setting"),
    [
        ("token:0.9", lambda policy: policy.threshold),
        ("token:0.5:8", lambda policy: policy.threshold),
        ("clause:0.7", lambda policy: policy.threshold),
        ("tail:0.7", lambda policy: policy.threshold),
        ("thr:0.5+tail:0.9", lambda policy: policy.policy.threshold),
    ],
)
def test_a_sweep_of_tokens_varies_one_setting(spec, setting):
    policies, place = policies_by_cost(spec)
    assert [policies[0].name, policies[-1].name] == ["weak", "strong"]
    inner = policies[1:-1]
    settings = [setting(policy) for policy in inner]
    assert settings == sorted(set(settings)) and settings[0] > 0 and settings[-1] < 1
    own = parse_policy(spec)
    nearest = min(settings, key=lambda each: abs(each - setting(own)))
    assert setting(policies[place]) == nearest == pytest.approx(setting(own), abs=0.08)
    # What is fixed stays.
    for policy in inner:
        if spec.startswith("thr"):
            assert policy.threshold == own.threshold
        else:
            assert policy.extent == own.extent


def test_every_fitted_policy_may_start_at_a_token(tmp_path):
    folder = agg_folder(tmp_path / "agg", {"weak": "a", "strong": "b"})
    policies, _ = policies_by_cost(f"agg:{folder}@0.01+tail:0.9")
    assert [policy.policy.price for policy in policies[1:-1]] == [0.1, 0.01, 0.001]
    assert all(policy.places for policy in policies[1:-1])


def test_the_limit_of_a_router_file_holds_for_all_its_settings(tmp_path):
    file, models = tmp_path / "router.json", models_in(FOLDER).load()
    promise = {"target": "strong-share", "confidence": 0.9, "horizon": None, "bound": 0.3}
    router = CalibratedRouter("thr", 0.5, None, "prm", {}, 20, promise)
    file.write_text(json.dumps(router.to_json(file)))
    policies, place = policies_by_cost(f"router:{file}")
    assert ([each.name for each in policies], place) == ([each.name for each in POLICIES], PLACE)
    (problem,) = generate(CHAIN, 1, seed=902)

    def spent(policy, limit=None):
        router = Router.of(models, policy=policy, config=RouterConfig(max_strong_tokens=limit))
        return router.solve(problem.question).strong_tokens

    assert spent(policies[-1]) == spent(POLICIES[-1], limit=20) < spent(POLICIES[-1]) / 2
    assert spent(policies[place]) == spent(POLICIES[PLACE], limit=20)


@pytest.mark.parametrize("spec", ["token:0.9", "tail:0.9"])
def test_a_share_of_tokens_is_held_by_real_models(spec):
    """The settings move until the share is met, from one that spends a tenth of it."""
    controller = Controller(*policies_by_cost(spec), target=0.3)
    models, before = models_in(FOLDER).load(), controller.place
    strong = whole = 0
    for seed, problem in enumerate(generate(CHAIN, 40, seed=902)):
        router = Router.of(models, policy=controller.policy(), config=models_in(FOLDER).config)
        trace = router.solve(problem.question, seed)
        controller.update([trace])
        if seed >= 20:
            strong += trace.strong_tokens
            whole += sum(step.tokens for step in trace.steps)
    assert controller.place > before
    assert strong / whole == pytest.approx(0.3, abs=0.1)


def share_of(url, questions, first):
    """Strong tokens in all tokens of the answers."""
    strong = whole = 0
    with httpx.Client(base_url=url, timeout=60) as client:
        for seed, question in enumerate(questions, first):
            body = {
                "model": "trim",
                "seed": seed,
                "messages": [{"role": "user", "content": question}],
            }
            usage = client.post("/chat/completions", json=body).raise_for_status().json()["usage"]
            strong += usage["trim"]["strong_tokens"]
            whole += usage["completion_tokens"]
    return strong / whole


@pytest.mark.soak
def test_a_server_holds_the_share_when_its_traffic_turns_hard(tmp_path):
    """With the threshold that it begins with, two thirds of the hard tokens would be strong."""
    hard = [problem.question for problem in generate(CHAIN_HARD, 90, seed=902)]
    with serving(tmp_path, "--policy", "thr:0.5", "--target-share", "0.2") as url:
        share_of(url, [problem.question for problem in generate(CHAIN, 20, seed=902)], 0)
        share_of(url, hard[:55], 100)
        assert share_of(url, hard[55:], 200) == pytest.approx(0.2, abs=0.12)
        page = httpx.get(url.removesuffix("/v1") + "/metrics").text
    figures = dict(line.rsplit(" ", 1) for line in page.splitlines() if line[0] != "#")
    assert float(figures["trim_target_share"]) == 0.2
    assert 0 < float(figures["trim_realised_share"]) < 0.6
    assert json.loads(figures["trim_controller_place"]) < PLACE


def test_a_router_that_cannot_be_moved_is_named(tmp_path):
    from click.testing import CliRunner

    from trim.cli.main import main

    words = ["serve", "--policy", "weak", "--target-share", "0.2", "--port", "0"]
    result = CliRunner().invoke(main, [*words, "--database", str(tmp_path / "trim.sqlite")])
    assert result.exit_code == 2 and "no setting to adjust" in result.output

"""The dashboard and the alerts ask for what a server really exports."""

import json
import re
from pathlib import Path

import httpx
import openai
import pytest
import yaml
from test_server_api import asked, serving

from trim.costs import Prices
from trim.server.metrics import Metrics
from trim.types import Action, Author, Rejected, Step, Trace

DOCS = Path(__file__).parents[1] / "docs"
BOARD = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((DOCS / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
EXPRESSIONS = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
EXPRESSIONS += [rule["expr"] for rule in RULES]
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The page of figures after a few requests."""
    with serving(tmp_path_factory.mktemp("server")) as url:
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
        for model in ("trim:thr-0.9", "trim:strong"):
            client.chat.completions.create(**asked(model=model))
        return httpx.get(url.removesuffix("/v1") + "/metrics").text


def test_every_figure_is_exported(exported):
    types = re.findall(r"^# TYPE (\w+) (\w+)$", exported, re.MULTILINE)
    names = {name + suffix for name, kind in types for suffix in SUFFIXES[kind]}
    named = {name for text in EXPRESSIONS for name in re.findall(r"\btrim_\w+", text)}
    assert named <= names, named - names
    # And every figure is shown.
    shown = {name for text in EXPRESSIONS[: -len(RULES)] for name in re.findall(r"trim_\w+", text)}
    families = {name for name, _ in types if not name.endswith("_created")}
    assert families <= {re.sub("_bucket$", "", name) for name in shown}


def test_every_label_and_value_is_exported(exported):
    labels = {"le"}
    values = set()
    for inside in re.findall(r"^trim_\w+\{(.*)\} ", exported, re.MULTILINE):
        found = re.findall(r'(\w+)="([^"]*)"', inside)
        labels |= {label for label, _ in found}
        values |= set(found)
    # Of what has not gone wrong there is none yet.
    labels |= {"server", "kind", "part"}
    for text in EXPRESSIONS:
        for listed in re.findall(r"by \(([^)]*)\)", text):
            assert set(re.split(r", *", listed)) <= labels, text
        for label, value in re.findall(r'(\w+)="([^"]*)"', text):
            assert (label, value) in values | {("finish", "failed")}, text


def test_panels_are_laid_out_and_have_a_source():
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in BOARD["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in BOARD["panels"]})
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in BOARD["panels"])
    assert BOARD["templating"]["list"][0]["name"] == "datasource"
    assert all(text.count("(") == text.count(")") for text in EXPRESSIONS)


def test_the_scores_are_those_of_drafts():
    rewritten = {"action": Action.REGENERATE, "draft": "d"}
    ladder = Step("a", Author.INTERMEDIATE, score=0.9, level=1, draft_score=0.25, **rewritten)
    top = Step("a", Author.STRONG, score=0.9, rejected=(Rejected("b", 1, 1, 0.9),), **rewritten)
    kept = Step("a", Author.WEAK, Action.CONTINUE, score=0.5)
    steps = (kept, Step("a", Author.STRONG, score=0.125, **rewritten), ladder, top)
    metrics = Metrics(Prices(), [])
    metrics.record([Trace("q", "p", 0, steps, abandoned=(kept,))], "stop", 1.0)
    page = metrics.render().decode()
    assert "# HELP trim_score Scores of the weak model's drafts, discarded ones included." in page
    assert "trim_score_count 4.0" in page and "trim_score_sum 1.375" in page

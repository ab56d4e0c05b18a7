"""The summary's schema, and the plot and report that are made from it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from trim.errors import MissingExtra
from trim.evaluation.benchmarks.data_file import read_parquet
from trim.evaluation.comparison import (
    Figures,
    PolicyOutcomes,
    Weights,
    describe_comparisons,
    describe_intervals,
    figures_of,
)
from trim.evaluation.evaluation_page import by_problem, write_report
from trim.evaluation.plot import curve_svg, plot_curves
from trim.evaluation.verdict import describe_verdict
from trim.metrics.curve import Curve
from trim.metrics.intervals import bootstrap_interval

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "docs" / "summary.schema.json").read_text(encoding="utf-8")
)
HOSTILE = "<script>alert('x')</script> & \"quoted\" <img src=http://example.org/x.png>"


def point(policy: str, setting: float | None, accuracy: float, share: float) -> dict[str, Any]:
    return {
        "policy": policy,
        "setting": setting,
        "accuracy": accuracy,
        "accuracy_ci": [accuracy - 0.05, accuracy + 0.05],
        "strong_share": share,
        "strong_tokens_mean": 120 * share,
        "weak_tokens_mean": 80.5,
        "discarded_tokens_mean": 12.0,
        "scorer_tokens_mean": 300.0,
        "interventions_mean": 1.25,
        "strong_calls_mean": 2.5,
        "seconds_mean": 0.04,
        "money_mean": 0.004 * (share + 0.1),
        "hidden_strong_tokens_mean": {"read": 0.0, "written": 0.0},
        "against_strong": {
            "money": {"value": (share + 0.1) / 1.1, "interval": [0.1, 1.1], "resamples_without": 0},
            "seconds": {"value": 1.0, "interval": [1.0, 1.0], "resamples_without": 0},
        },
        "prompt_tokens_mean": {
            model: {"cached": 10.0, "uncached": 5.0} for model in ("weak", "strong", "scorer")
        },
        "truncated_steps_mean": 0.0,
        "unfinished": 0,
        "failed": 0,
        "fallbacks_mean": 0.0,
        "middle_tokens_mean": 0.0,
        "dropped_tokens_mean": 0.0,
        "rescued": None if policy == "weak" else {"1": 8, "2": 3, "3": 1, "more": 0},
    }


def make_outcomes(rate: float, tokens: float) -> PolicyOutcomes:
    correct = np.array([[i < 100 * rate for i in range(100)]], dtype=np.float64)
    return PolicyOutcomes(correct, np.full((1, 100), tokens))


def make_figures() -> dict[str, Figures]:
    families = {"thr": make_outcomes(0.7, 30), "random": make_outcomes(0.4, 36)}
    weak, strong = make_outcomes(0.3, 0), make_outcomes(0.9, 120)
    return figures_of(families, weak, strong, Weights.draw(100, 20))


def make_summary() -> dict[str, Any]:
    points = [
        point("weak", None, 0.3, 0),
        point("thr", 0.2, 0.55, 0.12),
        point("thr", 0.6, 0.7, 0.25),
        point("random", 0.3, 0.4, 0.3),
        point("oracle", None, 0.85, 0.2),
        point("strong", None, 0.9, 1),
    ]
    curves = {
        family: Curve(
            0.3,
            0.9,
            120,
            tuple((p["strong_share"], p["accuracy"]) for p in points if p["policy"] == family),
        ).summary()
        for family in ("thr", "random")
    }
    figures = make_figures()
    for family, curve in curves.items():
        curve["intervals"] = describe_intervals(figures[family])
    difference = {
        "a": {"policy": "thr", "setting": 0.6},
        "b": {"policy": "random", "setting": 0.3},
        "accuracy_difference": 0.3,
        "interval": [0.21, 0.38],
    }
    return {
        "suite": "chain",
        "n": 100,
        "seed": 7,
        "points": points,
        "verdict": describe_verdict(points),
        "curves": curves,
        "comparisons": describe_comparisons(figures),
        "differences": [difference],
        "predicted": [],
    }


def make_trace(policy: str, setting: float | None, index: int = 0) -> dict[str, Any]:
    return {
        "problem_id": f"chain-7-{index}",
        "question": HOSTILE,
        "policy": policy,
        "setting": setting,
        "correct": True,
        "answer": HOSTILE,
        "finish": "answer",
        "seconds": 0.0312,
        "steps": [
            {
                "text": HOSTILE,
                "author": "strong",
                "action": "regenerate",
                "score": 0.125,
                "draft": f"discarded {HOSTILE}",
                "draft_tokens": 9,
                "strong_tokens": 11,
                "truncated": False,
                "rejected": [],
                "fallback": None,
            },
            {
                "text": "kept as it was",
                "author": "weak",
                "action": "continue",
                "score": None,
                "draft": None,
                "draft_tokens": 8,
                "strong_tokens": 0,
                "truncated": True,
                "rejected": [],
                "fallback": None,
            },
        ],
    }


class Page(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        names = ("src", "href", "xlink:href", "srcset", "action")
        self.references += [value or "" for name, value in attributes if name in names]

    def handle_data(self, data: str) -> None:
        self.text += data


def report(folder: Path, summary: dict[str, Any], traces: list[dict[str, Any]]) -> str:
    plot_curves(summary, [folder / "plot.svg"])
    svg = (folder / "plot.svg").read_text(encoding="utf-8")
    write_report(summary, traces, svg, folder)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_schema_accepts_a_summary_and_nothing_misspelt() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    validator = Draft202012Validator(SCHEMA)
    summary = json.loads(json.dumps(make_summary()))
    validator.validate(summary)
    summary["points"][0]["acuracy"] = 0.5
    assert not validator.is_valid(summary)


def test_schema_accepts_undefined_metrics() -> None:
    nothing = make_outcomes(0.5, 10)
    figures = figures_of({"thr": nothing, "pomdp": nothing}, nothing, nothing, Weights.draw(100, 3))
    curve = Curve(0.5, 0.5, 100, ((0.1, 0.6),)).summary()
    curve["intervals"] = describe_intervals(figures["thr"])
    summary = make_summary() | {
        "curves": {"thr": curve},
        "comparisons": describe_comparisons(figures),
    }
    Draft202012Validator(SCHEMA).validate(summary)


@pytest.mark.pictures
def test_plot_writes_both_formats_and_leaves_nothing_else(tmp_path: Path) -> None:
    paths = [tmp_path / "curve.png", tmp_path / "curve.svg"]
    plot_curves(make_summary(), paths)
    assert sorted(tmp_path.iterdir()) == paths
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    svg = paths[1].read_text(encoding="utf-8")
    for words in ("thr", "oracle", "weak alone 30.0 %", "performance gap recovered"):
        assert words in svg


@pytest.mark.parametrize(
    "module, use",
    [
        ("matplotlib.figure", lambda folder: plot_curves(make_summary(), [folder / "curve.svg"])),
        ("scipy.stats", lambda folder: bootstrap_interval([0.0, 1.0])),
        ("pyarrow", lambda folder: list(read_parquet(folder / "set.parquet", b""))),
    ],
)
def test_a_missing_package_is_one_line_that_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, use: Callable[[Path], object]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"pip install 'trim-router\[eval\]'") as error:
        use(tmp_path)
    assert "\n" not in str(error.value)


def test_evaluating_imports_plots_and_graders_on_demand() -> None:
    code = "import sys, trim.evaluation.evaluate; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, check=True, text=True)
    assert not {"matplotlib", "pyarrow", "scipy", "math_verify", "sympy"} & set(
        loaded.stdout.split()
    )


def test_plot_is_reproducible(tmp_path: Path) -> None:
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    for path in (first, second):
        plot_curves(make_summary(), [path])
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("left_out", ["weak", "strong"])
def test_plot_without_one_of_the_models_alone(tmp_path: Path, left_out: str) -> None:
    summary = make_summary()
    summary["points"] = [p for p in summary["points"] if p["policy"] != left_out]
    if left_out == "strong":
        for entry in summary["points"]:
            entry["strong_share"] = None
    plot_curves(summary, [tmp_path / "curve.svg"])
    svg = (tmp_path / "curve.svg").read_text(encoding="utf-8")
    assert f"{left_out} alone" not in svg.replace("% of strong alone", "")
    assert "performance gap" not in svg


def test_report_holds_plot_tables_and_traces(tmp_path: Path) -> None:
    html = report(tmp_path, make_summary(), [make_trace("thr", 0.2), make_trace("weak", None)])
    page = Page(html)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plot.svg", "report.html"]
    assert page.tags.count("svg") == 1
    assert page.tags.count("table") == 6
    # A problem, and in it the solutions of both policies.
    assert page.tags.count("details") == 3
    for text in ("chain", "100 problems, seed 7", "thr 0.6", "21.0 to 38.0", "score 0.125"):
        assert text in page.text
    struck = re.findall(r"<del[^>]*>(.*?)</del>", html, flags=re.DOTALL)
    assert len(struck) == 2 and struck[0].startswith("discarded")


def test_report_colours_the_spans_of_a_step(tmp_path: Path) -> None:
    trace = make_trace("token", 0.9)
    spans = [("48 + 2 =", "weak"), (f" 5{HOSTILE}", "strong"), ("0.\n\n", "weak")]
    mixed = trace["steps"][0] | {
        "text": "".join(text for text, _ in spans),
        "draft": None,
        "spans": [{"text": text, "author": author, "tokens": 3} for text, author in spans],
    }
    html = report(tmp_path, make_summary(), [trace | {"steps": [mixed, *trace["steps"]]}])
    shown = re.findall(r'<span class="by-(\w+)">(.*?)</span>', html)
    assert [author for author, _ in shown] == ["weak", "strong", "weak"]
    texts = [Page(text).text for _, text in shown]
    assert texts == ["48 + 2 =", f" 5{HOSTILE}", "0."]
    assert '<span class="author">weak and strong</span>' in html
    assert "3 steps,\n1 by the strong model, 1 in part" in html
    assert html.count('<li class="mixed">') == 1


def test_report_shows_strong_calls_or_a_dash(tmp_path: Path) -> None:
    summary = make_summary()
    summary["points"][1]["strong_calls_mean"] = None
    html = report(tmp_path, summary, []).partition("<h2>Work</h2>")[2]
    head = re.findall(r'<th scope="col">(.*?)</th>', html)
    place = head.index("strong calls") - 1
    rows = re.findall(r"<tr>\n<th scope=\"row\">.*?</tr>", html, flags=re.DOTALL)
    cells = [re.findall(r"<td>(.*?)</td>", row)[place : place + 3] for row in rows[:2]]
    assert cells == [["2.50", "5", "10"], ["–", "5", "10"]]


def test_report_needs_nothing_from_outside(tmp_path: Path) -> None:
    page = Page(report(tmp_path, make_summary(), [make_trace("thr", 0.2)]))
    assert all(reference.startswith("#") for reference in page.references)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)


def test_report_escapes_model_text(tmp_path: Path) -> None:
    html = report(tmp_path, make_summary(), [make_trace("thr", 0.2)])
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert HOSTILE in Page(html).text


def test_report_survives_text_that_is_not_unicode(tmp_path: Path) -> None:
    trace = make_trace("thr", 0.2) | {"question": "half \ud83d a character"}
    assert "half ? a character" in report(tmp_path, make_summary(), [trace])


def test_report_of_little(tmp_path: Path) -> None:
    summary = make_summary() | {"curves": {}, "comparisons": [], "differences": []}
    summary["points"] = summary["points"][:1]
    page = Page(report(tmp_path, summary, []))
    assert page.tags.count("table") == 2
    assert "details" not in page.tags


def test_traces_of_a_problem_stand_together() -> None:
    traces = [make_trace("thr", 0.2, i) for i in range(60)]
    traces += [make_trace("strong", None, i) for i in range(60)]
    shown = by_problem(traces, 41)
    assert [[t["problem_id"] for t in group] for group in shown] == [
        [f"chain-7-{i}"] * 2 for i in range(20)
    ]
    assert len(by_problem(traces, 1)) == 1


def test_report_opens_with_verdict_and_conditions(tmp_path: Path) -> None:
    summary = make_summary()
    facts = [("weak model", HOSTILE), ("date", "2026-01-31"), ("prices", "USD for a million")]
    write_report(summary, [], curve_svg(summary), tmp_path, facts)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    text = Page(html).text
    # The nearest setting has 70 % of 90 % right, for 0.35 of 1.1 times the money.
    verdict = "thr:0.6 reaches 78\u00a0% of the strong model's accuracy for 32\u00a0% of its money"
    assert verdict in text
    assert text.count(summary["verdict"]["text"]) == 1
    places = [text.index(each) for each in (verdict, HOSTILE, "2026-01-31", "Results")]
    assert places == sorted(places)
    # One title: that of the page, which the picture does not repeat.
    assert html.count("100 problems") == 2 and html.count("<h1>") == 1
    (columns,) = re.findall(r"<h2>Results</h2>.*?<thead>(.*?)</thead>", html, flags=re.DOTALL)
    assert {"money", "seconds", "÷ strong"} <= set(re.findall(r"col\">(.*?)<", columns))


@pytest.mark.pictures
def test_the_plot_labels_settings_and_dashes_what_was_not_measured() -> None:
    summary = make_summary()
    svg = curve_svg(summary)
    labels = re.findall(r">([\d.]+)</text>", svg)
    assert {"0.2", "0.6", "0.3"} <= set(labels)
    dashed = [style for style in re.findall(r"<path [^>]*style=\"([^\"]*)\"", svg)
              if "stroke-dasharray" in style]  # fmt: skip
    # Two families, each from the weak model alone and to the strong one, beside two references.
    assert len(dashed) == 6
    summary["points"] = [p for p in summary["points"] if p["policy"] not in ("weak", "strong")]
    assert "stroke-dasharray" not in curve_svg(summary)

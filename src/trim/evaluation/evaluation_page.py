"""The report of an evaluation, from its summary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from trim.evaluation.cost_axes import PREFILL
from trim.evaluation.report import (
    NOTHING,
    Page,
    Picture,
    Table,
    interval,
    number,
    percent,
    spaced_label,
    write_page,
)
from trim.evaluation.verdict import headline, hidden_notes
from trim.metrics.curve import GAINS

SHOWN_TRACES = 160
"""Solutions on a page, all policies of a problem together."""

Record = Mapping[str, Any]


def write_report(
    summary: Record,
    traces: Sequence[Record],
    svg: str,
    folder: Path,
    facts: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write the report of an evaluation as `report.html` into `folder`; returns its path.

    Args:
        summary: as in `docs/summary.schema.json`.
        traces: solved problems; about 160 are shown, those of a problem together.
        svg: the plot (`trim.evaluation.plot.curve_svg`), embedded without escaping.
        facts: names and values that describe the run, as models, date and prices.

    Raises:
        InvalidInput: the folder or the file cannot be written.
    """
    return write_page(evaluation_page(summary, traces, svg, facts), folder)


def evaluation_page(
    summary: Record, traces: Sequence[Record], svg: str, facts: Sequence[tuple[str, str]] = ()
) -> Page:
    """The page; arguments as of `write_report`."""
    verdict = summary["verdict"]
    short = headline(summary["points"], verdict)
    details = (verdict["text"],) if verdict and verdict["text"] != short else ()
    return Page(
        title="{suite}: {n} problems, seed {seed}".format_map(summary),
        verdict=short,
        notes=(*details, *_notes(summary)),
        tables=tuple(_tables(summary)),
        pictures=(Picture(CAPTION, svg),),
        problems=tuple(by_problem(traces, SHOWN_TRACES)),
        facts=tuple(facts),
    )


CAPTION = (
    "Accuracy over strong tokens; the table below has the values. Numbers beside the points are"
    " settings; between the ends of a dashed line nothing was measured."
)


def by_problem(traces: Sequence[Record], count: int) -> list[tuple[Record, ...]]:
    """The traces of each problem together: whole problems, in all about `count` traces."""
    problems: dict[str, list[Record]] = {}
    for trace in traces:
        problems.setdefault(trace["problem_id"], []).append(trace)
    shown: list[tuple[Record, ...]] = []
    for solutions in problems.values():
        if shown and sum(map(len, shown)) + len(solutions) > count:
            break
        shown.append(tuple(solutions))
    return shown


def _notes(summary: Record) -> Iterator[str]:
    if partial := summary.get("partial"):
        yield (
            f"Partial: {summary['n']} of {partial['of']} problems were finished when the run"
            " reached its cost limit."
        )
    if summary.get("seen"):
        yield (
            "Seen before: some policies, or their scorers, were fitted to problems of this"
            " evaluation, and may look better here than on other problems."
        )
    for policy, seen in summary.get("seen", {}).items():
        files = ", ".join(seen["files"])
        yield f"Seen by {policy}: {seen['problems']} of {seen['of']} problems ({files})."


def _tables(summary: Record) -> Iterator[Table]:
    yield points_table(summary)
    yield work_table(summary)
    if summary.get("warnings"):
        yield warnings_section(summary)
    if summary["curves"]:
        yield curves_table(summary)
        if (costs := costs_table([("", summary["curves"])])).rows:
            yield costs
    if summary["comparisons"]:
        yield comparisons_table(summary)
    for prediction in summary["predicted"]:
        yield predicted_points_table(prediction, summary)
        if summary["curves"]:
            yield predicted_curves_table(prediction, summary)
    if any(point["rescued"] for point in summary["points"]):
        yield rescued_table(summary)
    if summary["differences"]:
        yield differences_table(summary)


def points_table(summary: Record) -> Table:
    points, seen = summary["points"], summary.get("seen")
    unbilled = any(point["money_mean"] is None for point in points)
    return Table(
        "Results",
        (
            *("policy", "accuracy", "strong share", "money", "÷ strong", "seconds", "÷ strong"),
            *(["seen before"] if seen else []),
        ),
        tuple(
            (
                spaced_label(point),
                percent(point["accuracy"]) + interval(point["accuracy_ci"], 1, 100),
                percent(point["strong_share"]),
                number(point["money_mean"], 6),
                against_strong(point, "money"),
                number(point["seconds_mean"], 3),
                against_strong(point, "seconds"),
                *([format_seen(seen.get(point["policy"]))] if seen else []),
            )
            for point in points
        ),
        about=(
            "Means per problem, with 95 % bootstrap intervals. Money and seconds are totals: they"
            " include discarded drafts, scores, grades and prefill. ÷ strong: divided by those of"
            " the strong model alone on the same problems."
        ),
        notes=("Money is not billed: no price list was given.",) if unbilled else (),
    )


def work_table(summary: Record) -> Table:
    points = summary["points"]
    return Table(
        "Work",
        (
            *("policy", "strong tokens", "weak tokens kept", "discarded", "scorer tokens"),
            *("rewrites", "strong calls", "strong read", "cached", "hidden strong tokens"),
            *("truncated steps", "unfinished", "failed"),
        ),
        tuple(
            (
                spaced_label(point),
                number(point["strong_tokens_mean"], 1),
                number(point["weak_tokens_mean"], 1),
                number(point["discarded_tokens_mean"], 1),
                number(point["scorer_tokens_mean"], 1),
                number(point["interventions_mean"]),
                number(point["strong_calls_mean"]),
                number(point["prompt_tokens_mean"]["strong"]["uncached"], 0),
                number(point["prompt_tokens_mean"]["strong"]["cached"], 0),
                number(sum(point["hidden_strong_tokens_mean"].values()), 0),
                number(point["truncated_steps_mean"]),
                str(point["unfinished"]),
                str(point["failed"]),
            )
            for point in points
        ),
        about=(
            "Means per problem, and numbers of unfinished and failed problems. Strong calls:"
            " answers of the strong model; for them it read prompt tokens that were not in its"
            " cache, and others that were. Hidden strong tokens: read or written by the strong"
            " model besides steps; the strong share leaves them out."
        ),
        notes=tuple(f"{note}." for note in hidden_notes(points)),
    )


def format_seen(seen: Record | None) -> str:
    """Problems that a policy was fitted to: `24 of 100`; "" for none."""
    return f"{seen['problems']} of {seen['of']}" if seen else ""


def against_strong(point: Record, cost: str) -> str:
    """A cost divided by that of the strong model alone: `1.46 (1.20 to 1.74)`."""
    ratio = (point["against_strong"] or {}).get(cost)
    return NOTHING if ratio is None else figure(ratio)


def figure(record: Record, decimals: int = 2, scale: float = 1) -> str:
    """A figure with its interval: `0.84 (0.45 to 1.37)`."""
    value = record["value"]
    text = number(None if value is None else scale * value, decimals)
    return text + interval(record["interval"], decimals, scale)


def warnings_section(summary: Record) -> Table:
    return Table(
        "Warnings",
        about="Routers that do not meet the conditions of their calibration.",
        notes=tuple(
            f"{policy}, {warning['kind']}: {warning['text']}"
            for policy, warnings in summary["warnings"].items()
            for warning in warnings
        ),
    )


def curves_table(summary: Record) -> Table:
    curves = summary["curves"]
    first = next(iter(curves.values()))
    undefined = max(curve["intervals"]["resamples_without"] for curve in curves.values())
    about = (
        "CPT: least strong share that recovers this part of the performance gap. ΔIBC: gain per"
        " strong token over that of the strong model alone, less 1. APGR: mean gap recovered over"
        " all strong shares. Last columns: accuracy (gap recovered) at a budget. In brackets: 95 %"
        " intervals."
    )
    if undefined:
        about += (
            f" In {undefined} resamples the strong model is not better, and no metric is defined."
        )
    return Table(
        "Curves",
        (
            "policy",
            *(f"CPT {gain} %" for gain in first["cpt"]),
            *("ΔIBC", "APGR"),
            *(f"at {budget} %" for budget in first["budgeted_accuracy"]),
        ),
        tuple(
            (
                family,
                *(measured_cpt(curve, gain) for gain in curve["cpt"]),
                measured(curve, "delta_ibc", 2),
                measured(curve, "apgr", 3),
                *(
                    f"{percent(reached['accuracy'])} ({percent(reached['pgr'], 0)})"
                    for reached in curve["budgeted_accuracy"].values()
                ),
            )
            for family, curve in curves.items()
        ),
        about,
    )


def costs_table(found: Iterable[tuple[str, Record]], heading: str = "policy") -> Table:
    """CPT and Delta-IBC on every axis of cost, each beside that of the upper envelope.

    Args:
        found: curves of summaries, each with a prefix for the names of its families.
        heading: of the first column.
    """
    rows = tuple(
        (
            before + family,
            name,
            percent(axis["weak_share"]),
            *(
                f"{percent(axis['cpt'][gain])}, {percent(axis['envelope']['cpt'][gain])}"
                for gain in axis["cpt"]
            ),
            f"{number(axis['delta_ibc'])}, {number(axis['envelope']['delta_ibc'])}",
        )
        for before, curves in found
        for family, curve in curves.items()
        for name, axis in curve.get("costs", {}).items()
    )
    about = (
        "Cost divided by that of the strong model alone, in four units: tokens that it decodes;"
        f" the same with {PREFILL:g} for each in another model's solution, which allows for"
        " prefill; money, where there are prices; seconds, which include waiting for the other"
        " policies and problems of the run. ΔIBC is measured from the weak model's own cost."
        " Second figures are those of the upper envelope of the settings, which a random choice"
        " between two of them for each problem reaches on average."
    )
    columns = (heading, "cost", "weak alone", *(f"CPT {gain} %" for gain in GAINS), "ΔIBC")
    return Table("Costs", columns, rows, about)


def measured_cpt(curve: Record, gain: str) -> str:
    return percent(curve["cpt"][gain]) + interval(curve["intervals"]["cpt"][gain], 1, 100)


def measured(curve: Record, metric: str, decimals: int) -> str:
    return number(curve[metric], decimals) + interval(curve["intervals"][metric], decimals)


def comparisons_table(summary: Record) -> Table:
    pairs = summary["comparisons"]
    about = (
        "Metrics of the first family less those of the second, with 95 % intervals from resamples"
        " of the problems that both share. The ratio is that of their ΔIBC. The shortfall is the"
        " largest distance of the first curve below the second at any budget, in percentage points"
        " of accuracy; if its interval starts at 0, no shortfall is shown."
    )
    if undefined := max(pair["delta_ibc_ratio"]["resamples_without"] for pair in pairs):
        about += (
            f" In up to {undefined} resamples a ratio is not defined: its interval is that of the"
            " others, and is omitted if they are too few."
        )
    gains = pairs[0]["cpt"]
    return Table(
        "Families against each other",
        (
            *("first", "second", "ΔIBC", "ratio", "APGR", *(f"CPT {gain} %" for gain in gains)),
            *("worst shortfall", "at a strong share of"),
        ),
        tuple(
            (
                pair["a"],
                pair["b"],
                figure(pair["delta_ibc"]),
                figure(pair["delta_ibc_ratio"]),
                figure(pair["apgr"], 3),
                *(figure(record, 1, 100) for record in pair["cpt"].values()),
                figure(pair["shortfall"], 1, 100),
                percent(pair["shortfall"]["budget"]),
            )
            for pair in pairs
        ),
        about,
    )


def predicted_points_table(prediction: Record, summary: Record) -> Table:
    points = {point["policy"]: point for point in reversed(summary["points"])}
    oracle = next(point for point in prediction["points"] if point["policy"] == "oracle")
    expected = {
        "weak": (prediction["weak_accuracy"], 0),
        "strong": (prediction["strong_accuracy"], 1),
        "oracle": (oracle["accuracy"], oracle["strong_share"]),
    }
    return Table(
        f"Predicted and measured, {prediction['model']}",
        ("policy", "accuracy", "measured", "strong share", "measured"),
        tuple(
            (
                name,
                percent(accuracy),
                percent(points[name]["accuracy"]) + interval(points[name]["accuracy_ci"], 1, 100),
                percent(share),
                percent(points[name]["strong_share"]),
            )
            for name, (accuracy, share) in expected.items()
            if name in points
        ),
        about=(
            f"Predictions of the fitted model from {prediction['n']:,} simulated problems, beside"
            " the measured values."
        ),
    )


def predicted_curves_table(prediction: Record, summary: Record) -> Table:
    expected = prediction["curves"]
    gains = next(iter(expected.values()))["cpt"]
    headings = (*(f"CPT {gain} %" for gain in gains), "ΔIBC", "APGR")
    return Table(
        "",
        ("policy", *chain.from_iterable((heading, "measured") for heading in headings)),
        tuple(
            (
                family,
                *chain.from_iterable(
                    (percent(expected[family]["cpt"][gain]), measured_cpt(curve, gain))
                    for gain in curve["cpt"]
                ),
                number(expected[family]["delta_ibc"]),
                measured(curve, "delta_ibc", 2),
                number(expected[family]["apgr"], 3),
                measured(curve, "apgr", 3),
            )
            for family, curve in summary["curves"].items()
            if family in expected
        ),
    )


def rescued_table(summary: Record) -> Table:
    counts = ("1", "2", "3", "more")
    return Table(
        "Rescued problems",
        ("policy", *counts),
        tuple(
            (spaced_label(point), *(str(point["rescued"][count]) for count in counts))
            for point in summary["points"]
            if point["rescued"]
        ),
        about="Problems solved here and not by the weak model alone, by number of rewrites.",
    )


def differences_table(summary: Record) -> Table:
    return Table(
        "Paired differences",
        ("first", "second", "difference", "interval"),
        tuple(
            (
                spaced_label(pair["a"]),
                spaced_label(pair["b"]),
                number(100 * pair["accuracy_difference"], 1),
                " to ".join(number(100 * bound, 1) for bound in pair["interval"]),
            )
            for pair in summary["differences"]
        ),
        about=(
            "Accuracy of the first less that of the second on the same problems, in percentage"
            " points, with the 95 % bootstrap interval."
        ),
    )

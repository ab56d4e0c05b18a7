"""Results on a terminal: tables of an evaluation, reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trim.evaluation.cost_axes import AXES, STRONG_TOKENS
from trim.evaluation.evaluation_page import format_seen
from trim.evaluation.report import Page, number
from trim.evaluation.report import Table as PageTable
from trim.evaluation.verdict import amount, hidden_notes, label


def new_table(title: str | Text | None, first: str | Text, *headings: str | Text) -> Table:
    """A table that fits 80 columns: a long entry of the first column is folded, none is cut."""
    table = Table(
        title=title,
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1),
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column(first, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def print_page(console: Console, page: Page) -> None:
    """Print title, verdict, notes and tables of a report; pictures are left out."""
    console.print(Text(page.title, "bold"))
    if page.verdict is not None:
        console.print(Text(page.verdict, "bold yellow"))
    for note in page.notes:
        console.print(Text(note))
    for table in page.tables:
        console.print(terminal_table(table))


def terminal_table(table: PageTable) -> Table:
    printed = new_table(Text(table.title), *map(Text, table.columns))
    for column in printed.columns:
        column.no_wrap, column.overflow = False, "fold"
    for row in table.rows:
        printed.add_row(*map(Text, row))
    return printed


def show_warnings(console: Console, summary: Mapping[str, Any]) -> None:
    """Print the warnings of a summary, one per line."""
    for policy, seen in summary.get("seen", {}).items():
        files = ", ".join(seen["files"])
        text = f"fitted to {seen['problems']} of the {seen['of']} problems ({files})"
        line = Text("warning ", "yellow").append(f"{policy}: {text}", "default")
        console.print(line, soft_wrap=True)
    for policy, warnings in summary.get("warnings", {}).items():
        for warning in warnings:
            line = Text("warning ", "yellow").append(f"{policy}: {warning['text']}", "default")
            console.print(line, soft_wrap=True)


def points_table(summary: Mapping[str, Any]) -> Table:
    """The points of a summary, one policy per row."""
    seen = summary.get("seen", {})
    table = new_table(
        f"{summary['suite']}, {summary['n']} problems, seed {summary['seed']}; tokens per problem",
        "policy",
        *("right", "95 %", "strong\nshare", "strong", "weak", "dis-\ncarded", "re-\nwrites"),
        *(["seen"] if seen else []),
    )
    for point in summary["points"]:
        low, high = point["accuracy_ci"]
        share = point["strong_share"]
        table.add_row(
            label(point),
            f"{point['accuracy']:.1%}",
            f"{100 * low:.0f}–{100 * high:.0f}",
            "" if share is None else f"{share:.1%}",
            f"{point['strong_tokens_mean']:.1f}",
            f"{point['weak_tokens_mean']:.1f}",
            f"{point['discarded_tokens_mean']:.1f}",
            f"{point['interventions_mean']:.2f}",
            *([format_seen(seen.get(point["policy"]))] if seen else []),
        )
    return table


def costs_table(summary: Mapping[str, Any]) -> Table:
    """Total cost per problem, and its ratio to the strong model alone, one policy per row.

    `read` and `cached` are prompt tokens of the strong model's calls.
    """
    table = new_table(
        "total cost per problem",
        *("policy", "money", "÷\nstrong", "seconds", "÷\nstrong"),
        *("strong\ncalls", "read", "cached", "hidden\nstrong\ntokens"),
    )
    for point in summary["points"]:
        ratios = point["against_strong"] or {"money": None, "seconds": None}
        money, hidden = point["money_mean"], sum(point["hidden_strong_tokens_mean"].values())
        table.add_row(
            label(point),
            "–" if money is None else amount(money),
            format_ratio(ratios["money"]),
            amount(point["seconds_mean"]),
            format_ratio(ratios["seconds"]),
            number(point["strong_calls_mean"], 1),
            number(point["prompt_tokens_mean"]["strong"]["uncached"], 0),
            number(point["prompt_tokens_mean"]["strong"]["cached"], 0),
            f"{hidden:,.0f}" if hidden else "–",
        )
    return table


def format_ratio(figure: Mapping[str, Any] | None) -> str:
    return "–" if figure is None or figure["value"] is None else f"{figure['value']:.2f}"


def show_costs(console: Console, summary: Mapping[str, Any]) -> None:
    """Print total costs, the costs that the strong share leaves out, and whether routing pays."""
    console.print(costs_table(summary))
    for note in hidden_notes(summary["points"]):
        console.print(note, soft_wrap=True)
    if verdict := summary["verdict"]:
        console.print(verdict["text"], style="bold", soft_wrap=True)


def curves_table(summary: Mapping[str, Any], cost: str = STRONG_TOKENS.name) -> Table:
    """CPT and Delta-IBC of a summary's curves, and below them those of the upper envelope.

    Args:
        cost: name of the axis (`trim.evaluation.cost_axes.AXES`); APGR is of strong tokens alone.
    """
    in_tokens = cost == STRONG_TOKENS.name
    title = "strong share that closes a part of the gap (CPT)"
    if not in_tokens:
        title = f"CPT and Δ-IBC in {AXES[cost].unit}"
    headings = ("CPT 50 %", "CPT 80 %", "CPT 95 %", "Δ-IBC")
    table = new_table(title, "policy", *headings, *(["APGR"] if in_tokens else []))
    for family, curve in summary["curves"].items():
        found = curve if in_tokens else curve.get("costs", {}).get(cost, NO_BENEFITS)
        for name, figures in ((family, found), ("  envelope", found.get("envelope"))):
            if figures:
                table.add_row(name, *curve_cells(figures), *(decimals(figures, "apgr", in_tokens)))
    return table


NO_BENEFITS: Mapping[str, Any] = {"cpt": dict.fromkeys(("50", "80", "95")), "delta_ibc": None}


def curve_cells(figures: Mapping[str, Any]) -> list[str]:
    shares = [figures["cpt"] and figures["cpt"][level] for level in ("50", "80", "95")]
    cells = ["–" if share is None else f"{share:.1%}" for share in shares]
    return [*cells, *decimals(figures, "delta_ibc")]


def decimals(figures: Mapping[str, Any], name: str, shown: bool = True) -> list[str]:
    if not shown:
        return []
    return ["–" if figures[name] is None else f"{figures[name]:.2f}"]


def comparisons_table(summary: Mapping[str, Any], rival: str) -> Table:
    """Differences from `rival`, one policy family per row, each with its 95 % interval."""
    table = new_table(
        f"difference from {rival}, with 95 % intervals",
        *("policy", "Δ-IBC", "APGR", "CPT 95 %", "worst\nshortfall"),
    )
    for pair in summary["comparisons"]:
        if pair["b"] == rival:
            table.add_row(
                pair["a"],
                format_figure(pair["delta_ibc"], "+.2f"),
                format_figure(pair["apgr"], "+.3f"),
                format_figure(pair["cpt"]["95"], "+.1%"),
                format_figure(pair["shortfall"], ".1%"),
            )
    return table


def format_figure(figure: Mapping[str, Any], form: str) -> str:
    """A figure above its interval: `+0.84` and `+0.45 to +1.37`."""
    if figure["value"] is None:
        return "–"
    value = format(figure["value"], form)
    if figure["interval"] is None:
        return value
    low, high = (format(bound, form) for bound in figure["interval"])
    return f"{value}\n{low} to {high}"

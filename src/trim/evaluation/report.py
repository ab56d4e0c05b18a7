"""An evaluation as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from trim.evaluation.verdict import hidden_notes
from trim.files import write_atomically

SHOWN_TRACES = 40

Trace = Mapping[str, Any]


def write_report(summary: Mapping[str, Any], traces: Sequence[Trace], svg: str, path: Path) -> None:
    """Write the report of an evaluation to `path`, which is replaced only once complete.

    Args:
        summary: as in `docs/summary.schema.json`.
        traces: solved problems; of those by routed policies up to 40 are shown.
        svg: the text of the plot (`trim.evaluation.plot.plot_curves`). It goes into the page
            as it is, so it has to be our own; all other text is escaped.
        path: the HTML file.
    """
    environment = page_environment(Path(__file__).parent)
    environment.filters.update(
        number=_number,
        percent=_percent,
        label=_label,
        interval=_interval,
        figure=_figure,
        against_strong=_against_strong,
        hidden_notes=hidden_notes,
    )
    html = environment.get_template("report.html.jinja").render(
        summary=summary, traces=spread(traces, SHOWN_TRACES), svg=svg
    )
    # A model may emit half a character, which UTF-8 cannot hold.
    write_atomically(path, html.encode("utf-8", errors="replace"))


def page_environment(folder: Path) -> Environment:
    """What renders the templates in `folder`: text is escaped, but for pictures (`inline`)."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["inline"] = lambda svg: Markup(svg[svg.index("<svg") :])
    return environment


def spread(traces: Sequence[Trace], count: int) -> list[Trace]:
    """Up to `count` traces of routed policies, in turn one from each policy and setting."""
    groups: dict[tuple[str, float | None], list[Trace]] = {}
    for trace in traces:
        if trace["policy"] not in ("weak", "strong"):
            groups.setdefault((trace["policy"], trace["setting"]), []).append(trace)
    in_turn = chain.from_iterable(zip_longest(*groups.values()))
    return [trace for trace in in_turn if trace is not None][:count]


def _number(value: float | None, decimals: int = 1) -> str:
    return "–" if value is None else f"{value:,.{decimals}f}"


def _percent(value: float | None, decimals: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{decimals}f} %"


def _interval(bounds: Sequence[float] | None, decimals: int = 1, scale: float = 1) -> str:
    """` (0.45 to 1.37)`, or nothing where there is no interval."""
    if bounds is None:
        return ""
    low, high = (_number(scale * bound, decimals) for bound in bounds)
    return f" ({low} to {high})"


def _figure(figure: Mapping[str, Any], decimals: int = 1, scale: float = 1) -> str:
    """A figure of a comparison with its interval: `0.84 (0.45 to 1.37)`."""
    value = figure["value"]
    shown = _number(None if value is None else scale * value, decimals)
    return shown + _interval(figure["interval"], decimals, scale)


def _against_strong(point: Mapping[str, Any], cost: str) -> str:
    """A cost divided by that of the strong model alone: `1.46 (1.20 to 1.74)`."""
    figure = (point["against_strong"] or {}).get(cost)
    return "–" if figure is None else _figure(figure, 2)


def _label(point: Mapping[str, Any]) -> str:
    """A policy and its setting: `thr 0.5`, `weak`."""
    setting = point["setting"]
    return str(point["policy"]) if setting is None else f"{point['policy']} {setting:g}"

"""Plots: accuracy over cost, and the style of all figures.

matplotlib is imported by the first figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import cycle, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trim.errors import require_extra
from trim.files import write_atomically
from trim.metrics.curve import best_by_cost
from trim.policies.policy import shortest

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.container import Container
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Distinguishable with every form of colour blindness (Okabe and Ito, Color Universal Design)."""

MARKERS = "osD^vPX"
LONE_MARKERS = "*pHd<>8"
GREY = "#5A5A5A"
LONG_NAME = 16
"""Characters of a family's name; only three longer names fit side by side."""

ROOM = (0.05, 0.035)
"""Width and height of a setting's label, as parts of the axes."""

Point = Mapping[str, Any]

NO_METADATA: dict[str, dict[str, Any]] = {
    "svg": dict.fromkeys(("Creator", "Date", "Format", "Type")),
    "png": {"Software": None},
}


def new_figure(width: float = 8, height: float = 5.2) -> tuple[Figure, Axes]:
    """An empty figure in the style of all plots; sizes in inches.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    with require_extra("a plot"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def rendered(figure: Figure, kind: str) -> bytes:
    """The figure as a file of the kind `svg` or `png`; equal figures give equal files."""
    import matplotlib

    content = BytesIO()
    # Text stays searchable text; the fixed salt makes the ids in the file reproducible.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "trim"}):
        figure.savefig(content, format=kind, dpi=160, metadata=NO_METADATA[kind])
    return content.getvalue()


def write_figure(figure: Figure, paths: Sequence[Path]) -> None:
    """Write the figure atomically to each path, `.png` or `.svg`. Raises OSError as `open`."""
    for path in paths:
        write_atomically(path, rendered(figure, path.suffix.removeprefix(".")))


def plot_curves(summary: Mapping[str, Any], paths: Sequence[Path]) -> None:
    """Plot the points of a summary (`docs/summary.schema.json`) into each path, `.png` or `.svg`.

    A policy with settings is a line, which also passes through the weak and the strong model
    alone if they were evaluated, as in the metrics; from them to the settings it is dashed, as
    nothing between was measured. Settings are labelled where there is room. A policy without
    settings is a marker. The cost is the strong share, or strong tokens per problem if the strong
    model was not evaluated alone. Files are written atomically.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    write_figure(_draw(summary), paths)


def curve_svg(summary: Mapping[str, Any]) -> str:
    """The plot of a summary for a page that has a title, as text of an SVG file."""
    figure = _draw(summary)
    figure.axes[0].set_title("")
    return rendered(figure, "svg").decode("utf-8")


def _draw(summary: Mapping[str, Any]) -> Figure:
    figure, axes = new_figure()
    points: Sequence[Point] = summary["points"]
    in_shares = all(point["strong_share"] is not None for point in points)
    alone = {point["policy"]: point for point in points if point["policy"] in ("weak", "strong")}
    families: dict[str, list[Point]] = {}
    for point in points:
        if point["policy"] not in alone:
            families.setdefault(point["policy"], []).append(point)

    _draw_references(axes, alone, in_shares)
    colours, markers, lone_markers = cycle(COLOURS), cycle(MARKERS), cycle(LONE_MARKERS)
    for name, members in families.items():
        has_settings = any(point["setting"] is not None for point in members)
        colour = next(colours)
        if has_settings:
            places = [_place(point, in_shares) for point in members]
            ends = [_place(point, in_shares) for point in alone.values()]
            _draw_line(axes, places, ends, colour)
        marker = next(markers if has_settings else lone_markers)
        _draw_markers(axes, members, in_shares, name, colour, marker, 5 if has_settings else 11)
        for prediction in summary["predicted"]:
            _draw_prediction(axes, prediction, name, in_shares, colour, marker)

    axes.set_title(f"{summary['suite']}, {summary['n']} problems, seed {summary['seed']}")
    axes.set_xlabel("strong tokens, % of strong alone" if in_shares else "strong tokens a problem")
    axes.set_ylabel("accuracy, % (95 % interval)")
    axes.margins(x=0.02)
    _label_settings(axes, [p for p in points if p["setting"] is not None], in_shares)
    if families:
        handles: list[Artist | Container] = [
            handle for handle in axes.containers if handle.get_label() in families
        ]
        if summary["predicted"]:
            from matplotlib.lines import Line2D

            dashed = Line2D([], [], linestyle="--", color=GREY, linewidth=1.2, label="predicted")
            handles.append(dashed)
        columns = 6 if max(map(len, families)) <= LONG_NAME else 3
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _draw_line(
    axes: Axes,
    places: Sequence[tuple[float, float]],
    ends: Sequence[tuple[float, float]],
    colour: str,
) -> None:
    """A line through measured settings, dashed to the models alone."""
    line = best_by_cost([*places, *ends])
    measured = {cost for cost, _ in places}
    inner = [place for place in line if place[0] in measured]
    axes.plot(*zip(*inner, strict=True), color=colour, linewidth=1.6, alpha=0.8)
    for part in pairwise(line):
        if not {cost for cost, _ in part} <= measured:
            style: dict[str, Any] = {"linewidth": 1.2, "alpha": 0.6, "dashes": (4, 3)}
            axes.plot(*zip(*part, strict=True), color=colour, **style)


def _label_settings(axes: Axes, points: Sequence[Point], in_shares: bool) -> None:
    """Write settings beside their points, leaving out those that would cover another label."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    taken: list[tuple[float, float]] = []
    for point in points:
        cost, accuracy = _place(point, in_shares)
        place = (cost - left) / (right - left), (accuracy - low) / (high - low)
        if any(abs(place[0] - x) < ROOM[0] and abs(place[1] - y) < ROOM[1] for x, y in taken):
            continue
        taken.append(place)
        axes.annotate(
            shortest(point["setting"]),
            (cost, accuracy),
            xytext=(5, -9),
            textcoords="offset points",
            fontsize=7,
            color=GREY,
        )


def _place(point: Point, in_shares: bool) -> tuple[float, float]:
    """Cost (% or tokens) and accuracy (%) of a point."""
    cost = 100 * point["strong_share"] if in_shares else point["strong_tokens_mean"]
    return cost, 100 * point["accuracy"]


def _draw_markers(
    axes: Axes,
    points: Sequence[Point],
    in_shares: bool,
    label: str,
    colour: str,
    marker: str,
    size: float,
) -> None:
    costs, accuracies = zip(*(_place(point, in_shares) for point in points), strict=True)
    bounds = [[100 * bound for bound in point["accuracy_ci"]] for point in points]
    below = [max(0, a - low) for a, (low, _) in zip(accuracies, bounds, strict=True)]
    above = [max(0, high - a) for a, (_, high) in zip(accuracies, bounds, strict=True)]
    bars = axes.errorbar(
        costs,
        accuracies,
        yerr=[below, above],
        fmt=marker,
        label=label,
        color=colour,
        markersize=size,
        markeredgecolor="white",
        markeredgewidth=0.6,
        elinewidth=1,
        zorder=3,
    )
    for bar in bars[2]:
        bar.set_alpha(0.4)


def _draw_prediction(
    axes: Axes, prediction: Point, family: str, in_shares: bool, colour: str, marker: str
) -> None:
    """The prediction of a fitted model for a family: a dashed line, or an empty marker."""
    points = [point for point in prediction["points"] if point["policy"] == family]
    whole = 100 if in_shares else prediction["strong_tokens_mean"]
    places = [(whole * point["strong_share"], 100 * point["accuracy"]) for point in points]
    if any(point["setting"] is not None for point in points):
        weak, strong = prediction["weak_accuracy"], prediction["strong_accuracy"]
        line = best_by_cost([*places, (0, 100 * weak), (whole, 100 * strong)])
        axes.plot(*zip(*line, strict=True), "--", color=colour, linewidth=1.2, alpha=0.8)
    elif places:
        axes.plot(*places[0], marker, color=colour, markersize=11, fillstyle="none")


def _draw_references(axes: Axes, alone: Mapping[str, Point], in_shares: bool) -> None:
    """The two models alone, and a right-hand axis with the gap recovered between them."""
    across = axes.get_yaxis_transform()
    for name, x, side in (("weak", 0.99, "right"), ("strong", 0.01, "left")):
        if name not in alone:
            continue
        accuracy = 100 * alone[name]["accuracy"]
        axes.axhline(accuracy, color=GREY, linewidth=1, linestyle="--", zorder=1)
        axes.annotate(
            f"{name} alone {accuracy:.1f} %",
            (x, accuracy),
            xycoords=across,
            xytext=(0, 3),
            textcoords="offset points",
            ha=side,
            color=GREY,
        )
        _draw_markers(axes, [alone[name]], in_shares, f"_{name}", GREY, "s", 7)
    if len(alone) < 2:
        return
    weak, strong = 100 * alone["weak"]["accuracy"], 100 * alone["strong"]["accuracy"]
    if strong > weak:
        gap = strong - weak
        recovered = axes.secondary_yaxis(
            "right",
            functions=(lambda a: 100 * (a - weak) / gap, lambda g: weak + g * gap / 100),
        )
        recovered.set_ylabel("performance gap recovered, %")

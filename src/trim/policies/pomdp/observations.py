"""The observation model P(scores | S0, S1, S2), in bins of scores."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trim.errors import InvalidInput
from trim.files import read_text
from trim.policies.pomdp.process import STATES, Floats


def reflected_density(points: Floats, cells: int, weights: Floats | None = None) -> Floats:
    """Kernel density on the unit cube, in `cells` equal cells per axis; sums to 1.

    Gaussian kernels with the covariance of the points times Scott's factor n^(-1/(d+4))
    squared, reflected at the edges; of weighted points, n is Kish's effective sample size.
    Points are placed at the centre of their cell: the time does not depend on their number.

    Args:
        points: (n, d) in [0, 1], n at least 2.
        weights: (n,) at least 0, of two or more points above 0; None for equal weights.

    Returns:
        Shape (cells,) * d.
    """
    from scipy.signal import fftconvolve  # takes half a second to import

    count, axes = points.shape
    weights = np.ones(count) if weights is None else weights / weights.max()
    hist, _ = np.histogramdd(points, bins=cells, range=[(0, 1)] * axes, weights=weights)
    effective = weights.sum() ** 2 / (weights**2).sum()
    scott = effective ** (-1 / (axes + 4))
    covariance = np.atleast_2d(np.cov(points, rowvar=False, aweights=weights))
    covariance = covariance * scott**2 * cells**2
    # Equal points on an axis get a kernel of about one cell.
    inverse = np.linalg.inv(covariance + 0.1 * np.eye(axes))
    offsets = np.stack(np.meshgrid(*[np.arange(-cells, cells + 1)] * axes, indexing="ij"), axis=-1)
    kernel = np.exp(-0.5 * np.einsum("...i,ij,...j->...", offsets, inverse, offsets))
    density = fftconvolve(hist, kernel, mode="full").clip(min=0)
    for axis in range(axes):
        below, inside, above = np.split(density, [cells, 2 * cells], axis=axis)
        density = inside + np.flip(below, axis) + np.flip(above, axis)
    return np.asarray(density / density.sum(), dtype=np.float64)


def coarsen(density: Floats, bins: int) -> Floats:
    """Sums over blocks of cells, to `bins` per axis; the number of cells is a multiple of it."""
    for axis in range(density.ndim):
        shape = (*density.shape[:axis], bins, -1, *density.shape[axis + 1 :])
        density = density.reshape(shape).sum(axis=axis + 1)
    return density


PAIR_CELLS, PAIR_BINS = 200, 40
"""Cells per axis for computing densities, and bins per axis that are stored."""
NEWEST_CELLS, NEWEST_BINS = 1000, 100
MIN_EXAMPLES = 10
"""Examples of each state needed to fit its density."""

BIN_COLUMNS = ["min_previous_score", "current_score", "p_S0", "p_S1", "p_S2"]
EXAMPLE_COLUMNS = ["state", "min_previous_score", "current_score"]


@dataclass(frozen=True)
class Observations:
    """P(score in bin | state).

    Attributes:
        pairs: (n, n, 3) for the lowest earlier score (1 if there is none) and the newest score,
            in equal bins; sums to 1 for each state.
        newest: (m, 3) for the newest score only.
        edges: (m - 1,) between the bins of `newest`, strictly rising within (0, 1]; a score
            equal to an edge is in the bin above. None for equal bins.
    """

    pairs: Floats
    newest: Floats
    edges: Floats | None = None

    def __post_init__(self) -> None:
        square = self.pairs.ndim == 3 and self.pairs.shape[0] == self.pairs.shape[1]
        if not square or self.pairs.shape[2:] != (3,) or self.newest.shape[1:] != (3,):
            raise InvalidInput("observations need bins of 3 probabilities, one for each state")
        for table in (self.pairs.reshape(-1, 3), self.newest):
            if not np.all(table >= 0) or not np.allclose(table.sum(axis=0), 1, atol=1e-3):
                raise InvalidInput("probabilities of the bins must sum to 1 for each state")
        bounds = np.concatenate([[0.0], self.newest_edges])
        if bounds.shape != (len(self.newest),) or not np.all(np.diff(bounds) > 0) or bounds[-1] > 1:
            raise InvalidInput("edges between bins of scores must rise within (0, 1]")

    @cached_property
    def newest_edges(self) -> Floats:
        """(m - 1,) `edges`, or those of equal bins."""
        if self.edges is not None:
            return self.edges
        return np.arange(1, len(self.newest)) / len(self.newest)

    @cached_property
    def newest_scores(self) -> Floats:
        """(m,) the centre of each bin."""
        bounds = np.concatenate([[0.0], self.newest_edges, [1.0]])
        return np.asarray((bounds[1:] + bounds[:-1]) / 2)


def fit_observations(examples: Floats, weights: Floats | None = None) -> Observations:
    """Reflected kernel densities, Scott's rule (arXiv 2601.10245, observation model).

    The density of pairs is the paper's. The density of the newest score is on its rank among
    all examples: most scores are close to 0 or 1, where a kernel on the scores themselves
    would blur the difference between states. A uniform density with the weight of one example
    is added: no score has probability 0.

    Args:
        examples: (n, 3) rows of state (0, 1, 2), lowest earlier score, newest score.
        weights: (n,) in [0, 1], the probability of that state; None if the states are known.

    Raises:
        InvalidInput: a state has fewer than `MIN_EXAMPLES` examples, or a score is outside
            [0, 1].
    """
    states, scores = examples[:, 0], examples[:, 1:]
    weights = np.ones(len(examples)) if weights is None else weights
    if not np.all((scores >= 0) & (scores <= 1)):
        raise InvalidInput("examples: a score outside [0, 1]")
    for state, name in enumerate(STATES):
        found = float(weights[states == state].sum())
        if found < MIN_EXAMPLES:
            raise InvalidInput(
                f"{found:.3g} examples of state {name}, at least {MIN_EXAMPLES} are needed;"
                " collect more traces"
            )
    values, places = np.unique(scores[:, 1], return_inverse=True)
    counts = np.bincount(places.reshape(-1), weights)
    ranks = (np.cumsum(counts) - counts / 2) / counts.sum()
    example_ranks = ranks[places.reshape(-1)][:, None]
    pairs, newest = [], []
    for state in range(3):
        of_state = states == state
        weight = weights[of_state]
        density = coarsen(reflected_density(scores[of_state], PAIR_CELLS, weight), PAIR_BINS)
        rank_density = coarsen(
            reflected_density(example_ranks[of_state], NEWEST_CELLS, weight), NEWEST_BINS
        )
        pairs.append(_with_uniform(density, weight.sum()))
        newest.append(_with_uniform(rank_density, weight.sum()))
    edges, bins = _edges_of(values, ranks)
    table = np.zeros((len(edges) + 1, 3))
    np.add.at(table, bins, np.stack(newest, axis=-1))
    return Observations(np.stack(pairs, axis=-1), table, edges)


def _edges_of(values: Floats, ranks: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Edges between bins of scores, and the bin of each of `NEWEST_BINS` equal bins of rank.

    An edge is the lowest score with at least the rank of the edge. Bins of rank within a group
    of equal scores become one bin.
    """
    edge_ranks = np.arange(1, NEWEST_BINS) / NEWEST_BINS
    beyond = np.searchsorted(ranks, edge_ranks)
    all_edges = np.where(beyond < len(values), values[np.minimum(beyond, len(values) - 1)], np.inf)
    edges = np.unique(all_edges[(all_edges > 0) & np.isfinite(all_edges)])
    lower = np.concatenate([[0.0], np.minimum(all_edges, values[-1])])
    return edges, np.searchsorted(edges, lower, side="right")


def _with_uniform(density: Floats, count: float) -> Floats:
    return (count * density + 1 / density.size) / (count + 1)


def read_bins(path: Path) -> Observations:
    """An observation model from a CSV of densities at the centres of equal bins, as published.

    Each column is normalised.

    Raises:
        InvalidInput: the file is unreadable, has other columns, or its bins do not fill a square.
    """
    rows = read_table(path, BIN_COLUMNS)
    bins = round(len(rows) ** 0.5)
    centres = (np.arange(bins) + 0.5) / bins
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    table = rows[order]
    grid = np.stack(np.meshgrid(centres, centres, indexing="ij"), axis=-1).reshape(-1, 2)
    if bins**2 != len(rows) or not np.allclose(table[:, :2], grid, atol=1e-6):
        raise InvalidInput(f"{path}: rows must be the centres of n x n equal bins of scores")
    density = table[:, 2:]
    if not np.all(density >= 0) or not np.all(density.sum(axis=0) > 0):
        raise InvalidInput(f"{path}: each state needs probabilities from 0 up, not all 0")
    pairs = (density / density.sum(axis=0)).reshape(bins, bins, 3)
    return Observations(pairs, pairs.sum(axis=0))


def read_examples(path: Path) -> Floats:
    """(n, 3) labelled examples from a CSV: state, lowest earlier score, newest score.

    Raises:
        InvalidInput: the file is unreadable, has other columns, an unknown state, or a score
            outside [0, 1].
    """
    rows = read_table(path, EXAMPLE_COLUMNS)
    known = np.isin(rows[:, 0], (0, 1, 2))
    inside = np.all((rows[:, 1:] >= 0) & (rows[:, 1:] <= 1), axis=1)
    for rule, valid in (("a state must be 0, 1 or 2", known), ("scores are in [0, 1]", inside)):
        if not valid.all():
            raise InvalidInput(f"{path}, line {int(valid.argmin()) + 2}: {rule}")
    return rows


def read_table(path: Path, columns: list[str]) -> Floats:
    """(rows, columns) finite numbers from a CSV with exactly these columns."""
    try:
        # Excel writes a byte-order mark.
        text = io.StringIO(read_text(path).removeprefix("\ufeff"), newline="")
        header, *lines = list(csv.reader(text)) or [[]]
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, csv.Error) as error:
        raise InvalidInput(f"{path}: not a CSV file in UTF-8") from error
    expected = f"a table of the numbers {','.join(columns)}"
    if header != columns:
        raise InvalidInput(f"{path}, line 1: not the header of {expected}")
    rows = []
    for number, line in enumerate(lines, start=2):
        try:
            row = [float(text) for text in line]
        except ValueError:
            row = []
        if len(row) != len(columns) or not np.all(np.isfinite(row)):
            raise InvalidInput(f"{path}, line {number}: not a row of {expected}")
        rows.append(row)
    if not rows:
        raise InvalidInput(f"{path}: no rows; expected {expected}")
    return np.array(rows, dtype=np.float64)

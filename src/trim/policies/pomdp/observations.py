"""What scores say about the hidden state: P(scores | S0, S1, S2), in bins."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trim.errors import InvalidInput
from trim.policies.pomdp.process import STATES, Floats


def reflected_density(points: Floats, cells: int) -> Floats:
    """Probability of each of `cells` equal cells an axis of the unit cube, summing to 1.

    A Gaussian kernel density whose covariance is that of the points times Scott's factor
    n^(-1/(d+4)) squared; what falls outside is reflected back in. Points are placed at the
    middle of their cell, so the time does not depend on their number.

    Args:
        points: (n, d) in [0, 1], n at least 2.

    Returns:
        Shape (cells,) * d.
    """
    from scipy.signal import fftconvolve  # half a second, which commands without a plan save

    count, axes = points.shape
    hist, _ = np.histogramdd(points, bins=cells, range=[(0, 1)] * axes)
    scott = count ** (-1 / (axes + 4))
    covariance = np.atleast_2d(np.cov(points, rowvar=False)) * scott**2 * cells**2
    # Points that are all alike on an axis are spread over about one cell.
    inverse = np.linalg.inv(covariance + 0.1 * np.eye(axes))
    offsets = np.stack(np.meshgrid(*[np.arange(-cells, cells + 1)] * axes, indexing="ij"), axis=-1)
    kernel = np.exp(-0.5 * np.einsum("...i,ij,...j->...", offsets, inverse, offsets))
    density = fftconvolve(hist, kernel, mode="full").clip(min=0)
    for axis in range(axes):
        below, inside, above = np.split(density, [cells, 2 * cells], axis=axis)
        density = inside + np.flip(below, axis) + np.flip(above, axis)
    return np.asarray(density / density.sum(), dtype=np.float64)


def merged(density: Floats, bins: int) -> Floats:
    """Sums over blocks of cells, so that `bins` are left on each axis; must divide evenly."""
    for axis in range(density.ndim):
        shape = (*density.shape[:axis], bins, -1, *density.shape[axis + 1 :])
        density = density.reshape(shape).sum(axis=axis + 1)
    return density


PAIR_CELLS, PAIR_BINS = 200, 40
"""Fine cells in which densities are computed, and bins that are kept, an axis."""
NEWEST_CELLS, NEWEST_BINS = 1000, 100
FEWEST_EXAMPLES = 10
"""Examples of a state below which its density would be a guess."""

BIN_COLUMNS = ["min_previous_score", "current_score", "p_S0", "p_S1", "p_S2"]
EXAMPLE_COLUMNS = ["state", "min_previous_score", "current_score"]


@dataclass(frozen=True)
class Observations:
    """Probabilities of scores in bins, for each state.

    Attributes:
        pairs: (n, n, 3) of the lowest earlier score (1 if there is none) and the newest
            one, in equal bins; sums to 1 for each state.
        newest: (m, 3) of the newest score alone.
        edges: (m - 1,) between the bins of `newest`, strictly rising within (0, 1]; a score
            belongs above an edge that it equals. Without edges the bins are equal.
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
                raise InvalidInput("probabilities of the bins have to sum to 1 for each state")
        bounds = np.concatenate([[0.0], self.newest_edges])
        if bounds.shape != (len(self.newest),) or not np.all(np.diff(bounds) > 0) or bounds[-1] > 1:
            raise InvalidInput(
                "edges between bins of scores have to rise from above 0 to at most 1"
            )

    @cached_property
    def newest_edges(self) -> Floats:
        """(m - 1,) `edges`, also of equal bins."""
        if self.edges is not None:
            return self.edges
        return np.arange(1, len(self.newest)) / len(self.newest)

    @cached_property
    def newest_scores(self) -> Floats:
        """(m,) the score at the middle of each bin."""
        bounds = np.concatenate([[0.0], self.newest_edges, [1.0]])
        return np.asarray((bounds[1:] + bounds[:-1]) / 2)


def fit_observations(examples: Floats) -> Observations:
    """Reflected kernel densities, Scott's rule (arXiv 2601.10245, observation model).

    Of the pair as the method has it. Of the newest score alone on its rank among all
    examples: most scores lie close to 0 or 1, where a kernel as wide as their spread would
    blur what tells the states apart. Each density has one example's worth of uniform added,
    so that no score is impossible.

    Args:
        examples: (n, 3) rows of state (0, 1, 2), lowest earlier score, newest score.

    Raises:
        InvalidInput: fewer than 10 examples of a state, or scores outside [0, 1].
    """
    states, scores = examples[:, 0], examples[:, 1:]
    if not np.all((scores >= 0) & (scores <= 1)):
        raise InvalidInput("examples: a score outside [0, 1]")
    for state, name in enumerate(STATES):
        found = int((states == state).sum())
        if found < FEWEST_EXAMPLES:
            raise InvalidInput(
                f"{found} examples of state {name}, at least {FEWEST_EXAMPLES} are needed;"
                " collect more traces"
            )
    values, places, counts = np.unique(scores[:, 1], return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - counts / 2) / len(scores)
    of_examples = ranks[places.reshape(-1)][:, None]
    pairs, newest = [], []
    for state in range(3):
        mine = states == state
        both = merged(reflected_density(scores[mine], PAIR_CELLS), PAIR_BINS)
        last = merged(reflected_density(of_examples[mine], NEWEST_CELLS), NEWEST_BINS)
        pairs.append(_with_uniform(both, int(mine.sum())))
        newest.append(_with_uniform(last, int(mine.sum())))
    edges, bins = _edges_of(values, ranks)
    table = np.zeros((len(edges) + 1, 3))
    np.add.at(table, bins, np.stack(newest, axis=-1))
    return Observations(np.stack(pairs, axis=-1), table, edges)


def _edges_of(values: Floats, ranks: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Edges between bins of scores, and the bin of each of `NEWEST_BINS` equal bins of rank.

    An edge is the least score whose rank is beyond; where many examples have one and the
    same score, bins that no score tells apart are one.
    """
    wanted = np.arange(1, NEWEST_BINS) / NEWEST_BINS
    beyond = np.searchsorted(ranks, wanted)
    all_edges = np.where(beyond < len(values), values[np.minimum(beyond, len(values) - 1)], np.inf)
    edges = np.unique(all_edges[(all_edges > 0) & np.isfinite(all_edges)])
    lower = np.concatenate([[0.0], np.minimum(all_edges, values[-1])])
    return edges, np.searchsorted(edges, lower, side="right")


def _with_uniform(density: Floats, count: int) -> Floats:
    return (count * density + 1 / density.size) / (count + 1)


def read_bins(path: Path) -> Observations:
    """Densities at the centres of equal bins, as published; each column is normalised.

    Raises:
        InvalidInput: unreadable, other columns, or bins that do not fill a square.
    """
    rows = read_table(path, BIN_COLUMNS)
    bins = round(len(rows) ** 0.5)
    wanted = (np.arange(bins) + 0.5) / bins
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    table = rows[order]
    grid = np.stack(np.meshgrid(wanted, wanted, indexing="ij"), axis=-1).reshape(-1, 2)
    if bins**2 != len(rows) or not np.allclose(table[:, :2], grid, atol=1e-6):
        raise InvalidInput(f"{path}: the rows are not the centres of n x n equal bins of scores")
    density = table[:, 2:]
    if not np.all(density >= 0) or not np.all(density.sum(axis=0) > 0):
        raise InvalidInput(f"{path}: a state needs probabilities from 0 up that are not all 0")
    pairs = (density / density.sum(axis=0)).reshape(bins, bins, 3)
    return Observations(pairs, pairs.sum(axis=0))


def read_examples(path: Path) -> Floats:
    """(n, 3) labelled examples from a CSV: state, lowest earlier score, newest score.

    Raises:
        InvalidInput: unreadable, other columns, or a state that is none.
    """
    rows = read_table(path, EXAMPLE_COLUMNS)
    if not np.all(np.isin(rows[:, 0], (0, 1, 2))):
        raise InvalidInput(f"{path}: a state is 0, 1 or 2")
    return rows


def read_table(path: Path, columns: list[str]) -> Floats:
    """(rows, columns) of finite numbers from a CSV with exactly these columns."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = list(csv.reader(file)) or [[]]
        rows = np.array([[float(text) for text in line] for line in lines], dtype=np.float64)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InvalidInput(f"{path}: not a table of the numbers {','.join(columns)}") from error
    if header != columns or rows.shape[1:] != (len(columns),) or not np.all(np.isfinite(rows)):
        raise InvalidInput(f"{path}: not a table of the numbers {','.join(columns)}")
    return rows

"""What scores say about the hidden state: P(scores | S0, S1, S2), in bins."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trim.errors import InvalidInput
from trim.pomdp.density import merged, reflected_density
from trim.pomdp.process import STATES, Floats

PAIR_CELLS, PAIR_BINS = 200, 40
"""Fine cells in which densities are computed, and bins that are kept, an axis."""
NEWEST_CELLS, NEWEST_BINS = 1000, 100
FEWEST_EXAMPLES = 10
"""Examples of a state below which its density would be a guess."""

BIN_COLUMNS = ["min_previous_score", "current_score", "p_S0", "p_S1", "p_S2"]
EXAMPLE_COLUMNS = ["state", "min_previous_score", "current_score"]


@dataclass(frozen=True)
class Observations:
    """Probabilities of scores in equal bins, for each state.

    Attributes:
        pairs: (n, n, 3) of the lowest earlier score (1 if there is none) and the newest
            one; sums to 1 for each state.
        newest: (m, 3) of the newest score alone.
    """

    pairs: Floats
    newest: Floats

    def __post_init__(self) -> None:
        square = self.pairs.ndim == 3 and self.pairs.shape[0] == self.pairs.shape[1]
        if not square or self.pairs.shape[2:] != (3,) or self.newest.shape[1:] != (3,):
            raise InvalidInput("observations need bins of 3 probabilities, one for each state")
        for table in (self.pairs.reshape(-1, 3), self.newest):
            if not np.all(table >= 0) or not np.allclose(table.sum(axis=0), 1, atol=1e-3):
                raise InvalidInput("probabilities of the bins have to sum to 1 for each state")


def fit_observations(examples: Floats) -> Observations:
    """Reflected kernel densities, Scott's rule (arXiv 2601.10245, observation model).

    Each density has one example's worth of uniform added, so that no score is impossible.

    Args:
        examples: (n, 3) rows of state (0, 1, 2), lowest earlier score, newest score.

    Raises:
        InvalidInput: fewer than 10 examples of a state, or scores outside [0, 1].
    """
    scores = examples[:, 1:]
    if not np.all((scores >= 0) & (scores <= 1)):
        raise InvalidInput("examples: a score outside [0, 1]")
    pairs, newest = [], []
    for state, name in enumerate(STATES):
        found = scores[examples[:, 0] == state]
        if len(found) < FEWEST_EXAMPLES:
            raise InvalidInput(
                f"{len(found)} examples of state {name}, at least {FEWEST_EXAMPLES} are needed;"
                " collect more traces"
            )
        both = merged(reflected_density(found, PAIR_CELLS), PAIR_BINS)
        last = merged(reflected_density(found[:, 1:], NEWEST_CELLS), NEWEST_BINS)
        pairs.append(_with_uniform(both, len(found)))
        newest.append(_with_uniform(last, len(found)))
    return Observations(np.stack(pairs, axis=-1), np.stack(newest, axis=-1))


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

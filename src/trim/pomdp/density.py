"""Kernel densities of scores, reflected at 0 and 1."""

from __future__ import annotations

import numpy as np

from trim.pomdp.process import Floats


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

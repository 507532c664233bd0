"""Numbers of which some are not known: ratios to nothing, rows of several lengths, their means."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from accweight_core.probes.network import Array


def ratio(part: Array, whole: Array) -> Array:
    """Return ``part / whole``; NaN where the whole is not above 0.

    >>> ratio(np.array([1, 0]), np.array([4, 0]))
    array([0.25,  nan])
    """
    nothing = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    return np.asarray(np.divide(part, whole, out=nothing, where=whole > 0))


def padded_rows(values: Iterable[Array], width: int, dtype: npt.DTypeLike = np.float64) -> Array:
    """Return (nodes, width): a row for the units of each node; NaN where it has no more.

    >>> padded_rows([np.array([1, 2, 3]), np.array([4])], 2)
    array([[ 1.,  2.],
           [ 4., nan]])
    """
    kept = [own[:width] for own in values]
    found = np.full((len(kept), width), np.nan, dtype)
    for row, own in zip(found, kept, strict=True):
        row[: len(own)] = own
    return found


def mean_of_known(rows: Array) -> Array:
    """Return the mean of each row over what is finite in it; NaN where nothing is.

    Args:
        rows: (rows, columns), or (rows, columns, others).
    """
    known = np.isfinite(rows)
    return ratio(np.where(known, rows, 0).sum(axis=1), known.sum(axis=1))


def median_of_known(values: Array) -> float:
    """Return the median of what is finite; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")

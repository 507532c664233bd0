"""The fused step in NumPy: much slower than the compiled loops, with the same bits.

For a small run, importing the compiler takes longer than all of the arithmetic. Rows go through
their steps a few thousand weights at a time, and sums are added in the order of the compiled loops
(`order`). Those use fused multiply-add, which rounds once, whereas NumPy rounds twice. So the
rounding error of each square is computed as well (Dekker, Numer. Math. 18, 1971), and the three
terms are added with a single rounding (Boldo and Melquiond, IEEE Trans. Comput. 57, 2008).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from accweight_core.jit.operands import Path, Planes, Steps
from accweight_core.jit.order import LANES, LARGEST_SQUARE
from accweight_core.jit.rows import AT
from accweight_core.metrics.sums import SUMS

Array = npt.NDArray[Any]

CHUNK = 1 << 16
"""Weights, over all rows and steps, that are processed at a time."""

TINIEST = 2.0**-480
"""Squares of smaller numbers may lose their rounding error; these rows go to the compiled loops."""

_SPLITTER = 2.0**27 + 1
_LOWEST_BITS = np.uint64(2**51 - 1)


def square_rows(weights: Array, out: Array) -> bool:
    """Do the same as `step_loops.square_rows`; return whether that was possible.

    Args:
        weights: (rows, columns).
        out: (rows,) sums of squares; output.
    """
    rows, columns = weights.shape
    whole = columns - columns % LANES
    sums = Sums((1, rows), weights.dtype, plain=0, squared=1)
    with np.errstate(all="ignore"):
        for start, stop in _cuts(whole, max(rows, 1)):
            sums.add([], [weights[None, :, start:stop].astype(np.float64)])
        if not sums.are_right:
            return False
        rest = weights[None, :, whole:].astype(np.float64)
        out[:] = _in_turn(sums.joined(), (rest * rest)[None])[0, 0]
    return True


def advance_rows(steps: Steps, path: Path, planes: Planes, sums: Array, todo: Array) -> int | None:
    """Do the same as `step_loops.advance_rows`; return None if that is impossible.

    A_t after the steps must not overwrite A_t before them, so that the compiled loops can start
    over.
    """
    rows, many = sums.shape[:2]
    columns = steps.reference.size // rows

    def seen(flat: Array, apart: int) -> Array:
        strides = (apart * flat.itemsize, columns * flat.itemsize, flat.itemsize)
        return as_strided(flat, (many, rows, columns), strides)

    w, w_1 = (seen(flat, steps.stride) for flat in (steps.weights, steps.before))
    drawn = seen(planes.values, planes.stride) if planes.values.size else None
    shape = rows, columns
    w_0, after = steps.reference.reshape(shape), path.after.reshape(shape)
    before = path.before.reshape(shape) if path.is_begun else None
    with np.errstate(all="ignore"):
        for first, end in _stretches(todo, max(1, CHUNK // (many * min(columns, 512)))):
            own = slice(first, end)
            group = _Group(
                w_0[own], w_1[:, own], w[:, own], None if before is None else before[own],
                after[own], None if drawn is None else drawn[:, own],
            )  # fmt: skip
            found = group.sums(steps.square[own])
            if found is None:
                return None
            sums[own] = found
            todo[own] = ~(found[..., AT["square"]] < LARGEST_SQUARE).all(axis=1)
    return int(todo.sum())


def _stretches(todo: Array, most: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows to process, of at most so many rows."""
    edges = np.flatnonzero(np.diff(todo, prepend=False, append=False))
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        for start in range(first, end, most):
            yield start, min(start + most, end)


def _cuts(whole: int, beside: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of columns, small enough that all rows and steps of one range fit the cache."""
    length = max(LANES, CHUNK // beside // LANES * LANES)
    for start in range(0, whole, length):
        yield start, min(start + length, whole)


class _Group:
    """Some rows through some steps.

    Arrays are (steps, rows, columns), except the reference and A_t, which are (rows, columns).
    """

    def __init__(
        self, w_0: Array, w_1: Array, w: Array, total: Array | None, after: Array,
        planes: Array | None,
    ) -> None:  # fmt: skip
        """Wrap the arrays; see `advance_rows`."""
        self._w_0, self._w_1, self._w = w_0, w_1, w
        self._total, self._after, self._planes = total, after, planes
        steps, rows, _ = w.shape
        self._tops = np.zeros((steps, rows))
        self._step_tops = np.zeros((steps, rows))
        self._places = np.zeros((steps, rows))
        self._flips = np.zeros((steps, rows))
        first = [np.zeros(rows) if total is None else total[:, 0]]
        moved = np.abs(w[:, :, 0] - w_1[:, :, 0]).astype(np.float64)
        self._pivots = np.add.accumulate([*first, *moved], axis=0)[1:, :, None]

    def sums(self, square: Array) -> Array | None:
        """Advance A_t, draw it, and return (rows, steps, sums), or None if bits might differ."""
        steps, rows, columns = self._w.shape
        whole = columns - columns % LANES
        sums = Sums((steps, rows), self._w.dtype, plain=3, squared=4)
        for start, stop in _cuts(whole, steps * rows):
            moved, net, offset, weights = self._passed(start, stop)
            sums.add([moved, net, offset], [offset, moved, net, weights])
        if not sums.are_right:
            return None
        joined = sums.joined()
        if whole < columns:
            moved, net, offset, weights = self._passed(whole, columns)
            squared = (values * values for values in (offset, moved, net, weights))
            joined = _in_turn(joined, np.stack([moved, net, offset, *squared]))
        return self._finished(joined, square, columns)

    def _passed(self, start: int, stop: int) -> tuple[Array, Array, Array, Array]:
        """Take some columns through all steps; return the values to add up."""
        part = slice(start, stop)
        w_0, w = self._w_0[:, part], self._w[:, :, part]
        moved = np.abs(w - self._w_1[:, :, part]).astype(np.float64)
        net = np.abs(w - w_0).astype(np.float64)
        path = np.empty(moved.shape)
        np.add(0.0 if self._total is None else self._total[:, part], moved[0], out=path[0])
        for step in range(1, len(path)):
            np.add(path[step - 1], moved[step], out=path[step])
        self._after[:, part] = path[-1]
        if self._planes is not None:
            self._planes[:, :, part] = path
        place = path.argmax(axis=-1)
        top = np.take_along_axis(path, place[..., None], -1)[..., 0]
        higher = top > self._tops
        self._tops[higher], self._places[higher] = top[higher], place[higher] + start
        np.maximum(self._step_tops, moved.max(axis=-1), out=self._step_tops)
        self._flips += np.count_nonzero(
            ((w < 0) != (w_0 < 0)) | ((w > 0) != (w_0 > 0)), axis=-1
        )  # fmt: skip
        path -= self._pivots
        return moved, net, path, w.astype(np.float64)

    def _finished(self, added: Array, square: Array, columns: int) -> Array:
        """Return the sums in their final form."""
        steps, rows = self._tops.shape
        found = np.zeros((len(SUMS), steps, rows))
        step_sum, net_sum, offset, offset_square, step_square, net_square, weights = added
        found[AT["step_sum"]], found[AT["step_square"]] = step_sum, step_square
        found[AT["net_sum"]], found[AT["net_square"]] = net_sum, net_square
        found[AT["square"]], found[AT["reference_square"]] = weights, square
        found[AT["path_sum"]] = offset + self._pivots[..., 0] * columns
        found[AT["path_m2"]] = np.maximum(offset_square - offset * offset / columns, 0.0)
        found[AT["path_max"]], found[AT["path_argmax"]] = self._tops, self._places
        found[AT["step_max"]], found[AT["flips"]] = self._step_tops, self._flips
        return found.transpose(2, 1, 0)


class Sums:
    """Sums over the columns of rows, in sixteen lanes, and sums of squares.

    Attributes:
        are_right: Whether the bits are those of the compiled loops; numbers near 0 can prevent it.
    """

    def __init__(self, shape: tuple[int, int], dtype: Any, *, plain: int, squared: int) -> None:
        """Start with zeros.

        Args:
            shape: Number of steps and rows.
            dtype: Dtype of the weights.
            plain: Number of plain sums.
            squared: Number of sums of squares. For float32 weights, the last one is over the
                weights, the two before it are over differences of weights, and none of these
                squares is rounded in float64; any before those are over differences of sums, and
                are rounded.
        """
        self._lanes = (*shape, -1, LANES)
        self._plain = np.zeros((plain, *shape, LANES))
        self._squares = np.zeros((squared, *shape, LANES))
        self._is_single = dtype == np.float32
        self._rounded = squared - 3 if self._is_single else squared
        self.are_right = True

    def add(self, plain: Sequence[Array], squared: Sequence[Array]) -> None:
        """Add columns: (steps, rows, columns) float64 each; the `plain` arrays are overwritten."""
        for number, values in enumerate(squared):
            lanes = values.reshape(self._lanes)
            if number < self._rounded:
                self._fuse(self._squares[number], lanes)
            else:
                _add_down(self._squares[number], lanes * lanes)
        for sums, values in zip(self._plain, plain, strict=True):
            _add_down(sums, values.reshape(self._lanes))

    def _fuse(self, sums: Array, values: Array) -> None:
        """Add squares that are not exact in float64, with a single rounding."""
        if not self._is_single:
            sizes = np.abs(values)
            self.are_right &= bool((sizes[sizes > 0] >= TINIEST).all())
        square, error = squares(values)
        if error.any():
            add_fused(sums, square, error)
        else:
            _add_down(sums, square)

    def joined(self) -> Array:
        """Return the sums over all lanes: (plain and squared, steps, rows)."""
        values = np.concatenate([self._plain, self._squares])
        while values.shape[-1] > 1:
            half = values.shape[-1] // 2
            values = values[..., :half] + values[..., half:]
        return values[..., 0]


def _add_down(sums: Array, values: Array) -> None:
    """Add (steps, rows, columns, lanes) to (steps, rows, lanes), column by column."""
    values[:, :, 0] += sums
    np.add.reduce(values, axis=2, out=sums)


def _in_turn(sums: Array, values: Array) -> Array:
    """Add values along the last axis to sums, one by one."""
    joined = np.concatenate([sums[..., None], values], axis=-1)
    found: Array = np.add.accumulate(joined, axis=-1)[..., -1]
    return found


def squares(values: Array) -> tuple[Array, Array]:
    """Return the squares of float64 values, rounded, and the rounding errors."""
    square = values * values
    high = values * _SPLITTER
    high -= high - values
    low = values - high
    error = high * high
    error -= square
    high *= low
    high *= 2
    error += high
    low *= low
    error += low
    return square, error


def add_fused(sums: Array, square: Array, error: Array) -> None:
    """Add squares and their errors to sums, column by column, with one rounding per column.

    Args:
        sums: (steps, rows, lanes), updated.
        square: (steps, rows, columns, lanes), not negative.
        error: Same shape.
    """
    columns = square.shape[2]
    shape = columns, sums.size
    squared = np.moveaxis(square, 2, 0).reshape(shape)
    errors = np.moveaxis(error, 2, 0).reshape(shape)
    left, before = np.empty(shape), sums.reshape(-1)
    now, one, two = before.copy(), np.empty(sums.size), np.empty(sums.size)
    for column in range(columns):
        added, rest = squared[column], left[column]
        np.add(now, added, out=one)  # one + rest is exactly now + added
        np.subtract(one, now, out=two)
        np.subtract(added, two, out=rest)
        np.subtract(one, two, out=two)
        np.subtract(now, two, out=two)
        rest += two
        rest += errors[column]
        np.add(one, rest, out=now)
    if _is_doubtful(left, errors):
        now = _added_to_odd(before.copy(), squared, errors)
    sums[...] = now.reshape(sums.shape)


def _is_doubtful(left: Array, errors: Array) -> bool:
    """Tell whether a sum may have been rounded the wrong way.

    The remainder has been rounded as well, which matters only if it ended up exactly between two
    float64 numbers; all but its highest bits are then 0.
    """
    simple = (left.view(np.uint64) & _LOWEST_BITS) == 0
    return bool((simple & (left != 0) & (errors != 0)).any())


def _added_to_odd(now: Array, squared: Array, errors: Array) -> Array:
    """Do the same as `add_fused`, rounding the remainder to odd, which never lies halfway."""
    for added, error in zip(squared, errors, strict=True):
        high = now + added
        part = high - now
        low = (now - (high - part)) + (added - part)
        rest = low + error
        part = rest - low
        lost = (low - (rest - part)) + (error - part)
        bits = rest.view(np.int64)
        away = np.where((lost > 0) == (rest > 0), 1, -1)
        bits += np.where((lost != 0) & (bits & 1 == 0), away, 0)
        now = high + rest
    return now

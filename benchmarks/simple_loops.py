"""The rival of SIMD intrinsics: the same sums in plain loops that LLVM vectorises by itself.

Each loop does little enough to be vectorised (sums and squares; signs), maxima are taken of bit
patterns, since a maximum of floats is not, and ``fastmath`` lets sums be reordered. What is lost
with it is the one order of sums on every machine. The block is taken through all steps a thousand
weights at a time, as the compiled pass does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from accweight_core.jit.operands import Path, Planes, Steps
from accweight_core.jit.step_loops import CHUNK, advance_rows
from accweight_core.metrics.sub_blocks import SUB_BLOCK
from accweight_core.metrics.sums import SUMS

Array = npt.NDArray[Any]

PATH_SUM, PATH_M2, PATH_MAX, PATH_ARGMAX, STEP_SUM, STEP_SQUARE, STEP_MAX = (
    SUMS.index(name)
    for name in (
        "path_sum", "path_m2", "path_max", "path_argmax", "step_sum", "step_square", "step_max"
    )
)  # fmt: skip
NET_SUM, NET_SQUARE, SQUARE, REFERENCE_SQUARE, FLIPS = (
    SUMS.index(name) for name in ("net_sum", "net_square", "square", "reference_square", "flips")
)

_fast = numba.njit(nogil=True, error_model="numpy", fastmath=True)


@_fast
def _moves(w: Array, w_1: Array, path: Array, sums: Array) -> None:
    total = square = 0.0
    for i in range(len(w)):
        moved = np.float64(abs(w[i] - w_1[i]))
        total += moved
        square += moved * moved
        path[i] += moved
    sums[STEP_SUM] += total
    sums[STEP_SQUARE] += square


@_fast
def _distances(w: Array, other: Array, out: Array) -> None:
    for i in range(len(w)):
        out[i] = abs(w[i] - other[i])


@_fast
def _largest(bits: Array) -> int:
    found = bits[0]
    for i in range(len(bits)):
        found = max(found, bits[i])
    return found  # type: ignore[no-any-return]


@_fast
def _net(w: Array, w_0: Array, sums: Array) -> None:
    total = square = 0.0
    for i in range(len(w)):
        net = np.float64(abs(w[i] - w_0[i]))
        total += net
        square += net * net
    sums[NET_SUM] += total
    sums[NET_SQUARE] += square


@_fast
def _weigh(w: Array, w_0: Array, sums: Array) -> None:
    square, flips = 0.0, np.int32(0)
    for i in range(len(w)):
        square += np.float64(w[i]) * np.float64(w[i])
    for i in range(len(w)):
        flips += np.int32((w[i] < 0) != (w_0[i] < 0)) | np.int32((w[i] > 0) != (w_0[i] > 0))
    sums[SQUARE] += square
    sums[FLIPS] += flips


@_fast
def _spread(path: Array, pivot: float, sums: Array) -> None:
    total = square = 0.0
    for i in range(len(path)):
        offset = path[i] - pivot
        total += offset
        square += offset * offset
    sums[PATH_SUM] += total
    sums[PATH_M2] += square


@_fast
def simple_rows(
    w_0: Array, square: Array, w_1: Array, w: Array, stride: int, total: Array, sums: Array
) -> None:
    """Take rows of whole chunks through all steps; `stride` and others as in `Steps`."""
    rows, steps = sums.shape[:2]
    columns = w_0.size // rows
    room, bits, wide_bits = (
        np.empty(CHUNK, np.float32),
        np.empty(1, np.int32),
        np.empty(1, np.int64),
    )
    pivots = np.empty(steps)
    for row in range(rows):
        own = row * columns
        sums[row] = 0
        pivot = total[own]
        for t in range(steps):
            pivot += np.float64(abs(w[t * stride + own] - w_1[t * stride + own]))
            pivots[t] = pivot
        for start in range(0, columns, CHUNK):
            first, last = own + start, own + start + CHUNK
            for t in range(steps):
                at, found = t * stride, sums[row, t]
                now, before = w[at + first : at + last], w_1[at + first : at + last]
                path = total[first:last]
                _moves(now, before, path, found)
                _distances(now, before, room)
                bits[0] = _largest(room.view(np.int32))
                found[STEP_MAX] = max(found[STEP_MAX], np.float64(bits.view(np.float32)[0]))
                _net(now, w_0[first:last], found)
                _weigh(now, w_0[first:last], found)
                _spread(path, pivots[t], found)
                wide_bits[0] = _largest(path.view(np.int64))
                top = wide_bits.view(np.float64)[0]
                if top > found[PATH_MAX]:
                    found[PATH_MAX] = top
                    for i in range(CHUNK):
                        if path[i] == top:
                            found[PATH_ARGMAX] = start + i
                            break
        for t in range(steps):
            offset, offset_square = sums[row, t, PATH_SUM], sums[row, t, PATH_M2]
            sums[row, t, PATH_SUM] = offset + pivots[t] * columns
            sums[row, t, PATH_M2] = max(offset_square - offset * offset / columns, 0.0)
            sums[row, t, REFERENCE_SQUARE] = square[row]


def rivals(rows: int, steps: int) -> dict[str, Callable[[], object]]:
    """Return both ways through a block that lies in cache, checked against each other."""
    chance = np.random.default_rng(0)
    walk = chance.normal(0, 0.002, (1 + steps, rows, SUB_BLOCK)).cumsum(axis=0)
    walk += chance.normal(0, 0.05, (rows, SUB_BLOCK))
    weights = walk.astype(np.float32).reshape(1 + steps, -1)
    flat, stride = weights.reshape(-1), rows * SUB_BLOCK
    square = np.square(weights[0], dtype=np.float64).reshape(rows, -1).sum(axis=1)
    sums, todo = np.empty((2, rows, steps, len(SUMS))), np.ones(rows, np.bool_)
    totals = np.zeros((2, stride))
    through = Steps(weights[0], square, flat, flat[stride:], stride)
    path = Path(totals[0], totals[0], is_begun=True)

    def by_intrinsics() -> object:
        totals[0] = 0
        todo[:] = True
        return advance_rows(through, path, Planes.nothing(), sums[0], todo)

    def by_simple_loops() -> object:
        totals[1] = 0
        return simple_rows(weights[0], square, flat, flat[stride:], stride, totals[1], sums[1])

    by_intrinsics()
    by_simple_loops()
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-9, atol=1e-12)
    return {"SIMD intrinsics": by_intrinsics, "simple loops, fastmath": by_simple_loops}

"""Choose between loops in NumPy, for small runs, and compiled loops.

Importing the compiler and loading compiled code takes about as long as NumPy needs for `FREE_WORK`.
Both give the same bits, so callers need not know which they get.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.jit import array_pooling, array_step
from accweight_core.jit.operands import Path, Planes, Steps, flat_memory
from accweight_core.jit.order import fuses

Array = npt.NDArray[Any]

FREE_WORK = 12_000_000
"""Weights times steps that a process handles in NumPy before it compiles loops.

Loops over pictures are counted separately, each on its own. Once the compiler is there, loading one
more loop takes a fortieth of that.
"""

CALL_WORK, COLUMN_WORK = 4000, 8
"""Overhead of a call of the NumPy loops, and of each column, in units of weights times steps."""

_done: Counter[str] = Counter()


def are_compiled(work: int = 0, loop: str = "steps") -> bool:
    """Return whether the compiled loops are to be used.

    Args:
        work: Weights times steps of the coming call or of the expected run, or an equivalent cost
            in NumPy.
        loop: Name of the loops.
    """
    _done[loop] += work
    free = FREE_WORK if loop == "steps" or _done["steps"] <= FREE_WORK else FREE_WORK // 40
    return _done[loop] > free or not fuses()


def expect(work: int) -> None:
    """Use compiled loops from the start if the expected weights times steps are worth it."""
    if work > FREE_WORK:
        are_compiled(work)


def square_rows(weights: Array, out: Array) -> None:
    """Compute the sum of squares of each row: (rows, columns) to (rows,)."""
    if are_compiled(weights.size) or not array_step.square_rows(weights, out):
        from accweight_core.jit import step_loops

        step_loops.square_rows(weights, out)


def advance_rows(steps: Steps, path: Path, planes: Planes, sums: Array, todo: Array) -> None:
    """Take every row marked in `todo` through all steps; see `step_loops.advance_rows`."""
    size, columns = steps.reference.size, steps.reference.size // len(todo)
    if not are_compiled(size * sums.shape[1] + columns * COLUMN_WORK + CALL_WORK):
        asked, in_place = todo.copy(), np.shares_memory(path.before, path.after)
        room = np.empty_like(path.after) if in_place else path.after
        left = array_step.advance_rows(steps, path._replace(after=room), planes, sums, todo)
        if left is not None:
            if in_place:
                done = (asked & ~todo).repeat(room.size // len(todo))
                np.copyto(path.after, room, where=done)
            return
        todo[:] = asked  # rows done before it gave up are in `room`, or done again
    from accweight_core.jit import step_loops

    step_loops.advance_rows(steps, path, planes, sums, todo)


def pool(sheet: Array, side: int, sums: Array, tops: Array) -> None:
    """Compute sum and maximum of each square of a sheet; see `pooling.pool`."""
    if are_compiled(sheet.size // 16, "pool"):
        from accweight_core.jit import pooling

        pooling.pool(sheet, side, sums, tops)
    else:
        array_pooling.pool(sheet, side, sums, tops)


def halve(mean: Array, largest: Array, counts: Array, half: Array, half_largest: Array) -> Array:
    """Compute the next coarser level at several steps; see `halving.halve`.

    Args:
        mean: (steps, rows, columns) float32, rows contiguous; NaN where there is no element.
        largest: Same shape and strides.
        counts: (rows, columns) float32, C order, number of elements per texel.
        half: (steps, rows / 2, columns / 2), sizes rounded up; output.
        half_largest: Same shape and strides; output.

    Returns:
        Number of elements per texel of `half`.
    """
    if not are_compiled(mean.size // 16, "halve"):
        halved = array_pooling.halved_counts(counts)
        array_pooling.halve(mean, largest, counts, half, half_largest, halved)
        return halved
    from accweight_core.jit import halving

    halved = np.empty(half.shape[1:], np.float32)
    halving.halve(
        flat_memory(mean), flat_memory(largest), mean.strides[0] // 4, counts, flat_memory(half),
        flat_memory(half_largest), half.strides[0] // 4, halved, len(half),
    )  # fmt: skip
    return halved


def halve_levels(
    sheet: Array, firsts: Sequence[tuple[int, int]], sizes: Sequence[tuple[int, int]], counts: Array
) -> None:
    """Fill all levels of a sheet but the finest from it.

    Args:
        sheet: (steps, texels) float32, C order.
        firsts: First texels of the mean and the maximum of each level, finest first.
        sizes: (rows, columns) of each level.
        counts: Elements per texel of the finest level, as in `halve`.
    """
    rows, cols = sizes[0]
    if len(sizes) > 1 and are_compiled(len(sheet) * rows * cols // 16, "halve"):
        from accweight_core.jit import halving

        levels = np.array(firsts), np.array(sizes)
        halving.halve_levels(sheet.reshape(-1), sheet.shape[1], len(sheet), *levels, counts)
        return
    mean, largest = (_plane(sheet, at, sizes[0]) for at in firsts[0])
    for (first, top), size in zip(firsts[1:], sizes[1:], strict=True):
        half, half_largest = _plane(sheet, first, size), _plane(sheet, top, size)
        counts = halve(mean, largest, counts, half, half_largest)
        mean, largest = half, half_largest


def _plane(sheet: Array, first: int, size: tuple[int, int]) -> Array:
    """Return a plane of a sheet: (steps, rows, columns)."""
    rows, cols = size
    return sheet[:, first : first + rows * cols].reshape(len(sheet), rows, cols)


def place(path: Array, targets: Array, step: int, sheet: Array) -> bool:
    """Write values to their texels; see `pooling.place`. False if NumPy had better do it."""
    if not are_compiled(path.size // 16, "place"):
        return False
    from accweight_core.jit import pooling

    pooling.place(path, targets, step, sheet)
    return True


def look_up(codes: Array, table: Array, out: Array) -> None:
    """Write ``table[codes]`` for codes of one byte."""
    if are_compiled(codes.size // 32):
        from accweight_core.jit import pooling

        pooling.look_up(codes, table, out)
    else:
        np.take(table, codes, out=out, mode="clip")


def widen_halves(halves: Array, out: Array) -> None:
    """Convert float16, given as bit patterns, to float32."""
    if are_compiled(halves.size // 32):
        from accweight_core.jit import pooling

        pooling.widen_halves(halves, out, 0, halves.size)
    else:
        out[...] = halves.view(np.float16)

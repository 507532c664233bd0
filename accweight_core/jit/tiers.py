"""Tiers: small work goes through loops of NumPy, large work through compiled ones.

Importing a compiler, and fetching compiled code from its cache, takes about as long as NumPy
needs for `FREE_WORK`. Both give the same bits, so who asks for a loop need not know which it gets.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.jit import array_pooling, array_step
from accweight_core.jit.operands import Path, Planes, Steps
from accweight_core.jit.order import fuses

Array = npt.NDArray[Any]

FREE_WORK = 12_000_000
"""Weights times steps that a process takes through NumPy before loops are compiled.

Loops over pictures are counted apart, each by itself: where the steps are worth compiling, the
pictures of a run seldom are.
"""

CALL_WORK, COLUMN_WORK = 4000, 8
"""What a call of the loops in NumPy costs beside its weights, in these, and what each column."""

_done: Counter[str] = Counter()


def are_compiled(work: int = 0, loop: str = "steps") -> bool:
    """Tell whether loops are compiled from here on.

    Args:
        work: Weights times steps that are about to be worked, or are known to come; or what
            costs as much in NumPy.
        loop: Which ones.
    """
    _done[loop] += work
    return _done[loop] > FREE_WORK or not fuses()


def expect(work: int) -> None:
    """Begin with compiled loops if so many weights times steps, known to come, are worth it."""
    if work > FREE_WORK:
        are_compiled(work)


def square_rows(weights: Array, out: Array) -> None:
    """Write each row's sum of squares: of (rows, columns) to (rows,)."""
    if are_compiled(weights.size) or not array_step.square_rows(weights, out):
        from accweight_core.jit import step_loops

        step_loops.square_rows(weights, out)


def advance_rows(steps: Steps, path: Path, planes: Planes, sums: Array, todo: Array) -> None:
    """Take every row that is `todo` through all steps; see `step_loops.advance_rows`."""
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
        todo[:] = asked  # what was done before it gave up lies in `room`, or is done again
    from accweight_core.jit import step_loops

    step_loops.advance_rows(steps, path, planes, sums, todo)


def pool(sheet: Array, side: int, sums: Array, tops: Array) -> None:
    """Write sum and maximum of each square of a sheet; see `pooling.pool`."""
    if are_compiled(sheet.size // 16, "pool"):
        from accweight_core.jit import pooling

        pooling.pool(sheet, side, sums, tops)
    else:
        array_pooling.pool(sheet, side, sums, tops)


def halve(
    mean: Array, largest: Array, counts: Array, half: Array, half_largest: Array, halved: Array
) -> None:
    """Write the next coarser level of pictures; see `pooling.halve`."""
    if are_compiled(mean.size // 4, "halve"):
        from accweight_core.jit import pooling

        pooling.halve(mean, largest, counts, half, half_largest, halved)
    else:
        array_pooling.halve(mean, largest, counts, half, half_largest, halved)


def look_up(codes: Array, table: Array, out: Array) -> None:
    """Write ``table[codes]`` for codes of one byte."""
    if are_compiled(codes.size // 32):
        from accweight_core.jit import pooling

        pooling.look_up(codes, table, out)
    else:
        np.take(table, codes, out=out, mode="clip")


def widen_halves(halves: Array, out: Array) -> None:
    """Write numbers of float16, of which the bits are given, as float32."""
    if are_compiled(halves.size // 32):
        from accweight_core.jit import pooling

        pooling.widen_halves(halves, out, 0, halves.size)
    else:
        out[...] = halves.view(np.float16)

"""One weight over the whole run: its value and its cumulative change at every step.

Only one element of each checkpoint is read. If neighbouring weights determine the dtype of the
subtraction, the weight's sub-block is walked instead, so that the bits are those of
`Analysis.cumulative`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.accumulate.block import common_dtype
from accweight_core.arguments import brief
from accweight_core.dtypes import DTYPES
from accweight_core.errors import UnknownNameError
from accweight_core.io.reading import OpenFiles, read_stretch
from accweight_core.io.stamp import held_to, stamps_of
from accweight_core.jit.fused import measure_step, start_block
from accweight_core.jit.order import LARGEST_SQUARE
from accweight_core.jit.rows import RowState
from accweight_core.metrics.sub_blocks import partition
from accweight_core.metrics.totals import Floats
from accweight_core.schema import Checkpoint, Extent, Parameter, StoredTensor

Weights = npt.NDArray[np.float64] | npt.NDArray[np.complex128]


@dataclass(frozen=True)
class Trace:
    """One weight at every step.

    Attributes:
        parameter: Name of its parameter.
        index: Index in the parameter, one number per axis.
        steps: (steps,) of the run.
        weights: (steps,) W_t as stored, widened exactly; complex128 for complex weights.
            Non-finite values are kept.
        cumulative: (steps,) A_t.
    """

    parameter: str
    index: tuple[int, ...]
    steps: npt.NDArray[np.int64]
    weights: Weights
    cumulative: Floats


def trace(
    checkpoints: Sequence[Checkpoint],
    parameter: Parameter,
    index: Iterable[int],
    squares: Floats,
    *,
    files: OpenFiles | None = None,
) -> Trace:
    """Return W_t and A_t of one weight at every step, from the checkpoints.

    Args:
        checkpoints: All checkpoints of the run, in step order.
        parameter: One of its parameters.
        index: One number per axis, from 0.
        squares: (steps,) sum of squares of the parameter at every step; tells whether
            neighbouring weights determine the dtype of the subtraction.
        files: Open files to read through; they are not closed. New ones if None.

    Raises:
        UnknownNameError: If the parameter has no such element.
        FormatError: If a file is missing, truncated, or modified while it is read.
    """
    place = _checked(parameter, index)
    tensors = [checkpoint.tensors[parameter.name] for checkpoint in checkpoints]
    dtype = common_dtype(tensors)
    at = 0
    for i, length in zip(place, parameter.shape, strict=True):
        at = at * length + i
    alone = dtype.kind != "c" and bool((squares <= LARGEST_SQUARE).all())
    stamps = stamps_of(checkpoints)
    with (
        held_to(stamps),
        nullcontext(files) if files else OpenFiles(described=stamps) as opened,
    ):
        if alone:
            found = [_gapless(tensor, place, at) for tensor in tensors]
            weights, cumulative = _followed(opened, found, range(at, at + 1), at, dtype)
        else:
            columns = _sub_block(parameter.shape, at)
            weights, cumulative = _followed(opened, tensors, columns, at, dtype)
    steps = np.array([checkpoint.step for checkpoint in checkpoints], np.int64)
    return Trace(parameter.name, place, steps, weights, cumulative)


def _checked(parameter: Parameter, index: Iterable[int]) -> tuple[int, ...]:
    """Return the index as a tuple of ints, after checking that the element exists."""
    try:
        place = tuple(operator.index(i) for i in index)
    except (TypeError, ValueError, RuntimeError):
        raise UnknownNameError(
            f"parameter {parameter.name!r} has no element {brief(index)}: an index is a number "
            f"per axis of its shape {parameter.shape}"
        ) from None
    if len(place) != len(parameter.shape) or any(
        not 0 <= i < length for i, length in zip(place, parameter.shape, strict=True)
    ):
        raise UnknownNameError(
            f"parameter {parameter.name!r} has no element {brief(place)}: its shape is "
            f"{parameter.shape}, and an index is a number per axis, counted from 0"
        )
    return place


def _gapless(tensor: StoredTensor, place: tuple[int, ...], at: int) -> StoredTensor:
    """Return a contiguous tensor of which only element `at` is valid, to read that element alone.

    Its offset is chosen such that element `at` lies where it does in the strided tensor; all other
    elements are meaningless.
    """
    values = tensor.values
    if not isinstance(values, Extent) or values.strides is None:
        return tensor
    stored = sum(i * stride for i, stride in zip(place, values.strides, strict=True))
    moved = (stored - at) * DTYPES[values.dtype].size_bytes
    return replace(tensor, values=replace(values, offset=values.offset + moved, strides=None))


def _sub_block(shape: tuple[int, ...], at: int) -> range:
    """Return the elements of the sub-block that `Analysis.cumulative` has the weight in.

    Weights too large for a float32 difference make the whole sub-block be subtracted in float64.
    """
    cut = partition(shape)
    segment = at // cut.segment * cut.segment
    first = segment + (at - segment) // cut.sub_block * cut.sub_block
    return range(first, min(first + cut.sub_block, segment + cut.segment))


def _followed(
    files: OpenFiles, tensors: Sequence[StoredTensor], row: range, at: int, dtype: np.dtype[Any]
) -> tuple[Weights, Floats]:
    """Walk some elements through the checkpoints; return W_t and A_t of element `at`."""
    buffers = [np.empty((1, len(row)), dtype) for _ in range(3)]
    cumulative = np.zeros(len(tensors))
    weights: Weights = cumulative.astype(np.complex128) if dtype.kind == "c" else cumulative.copy()
    state: RowState | None = None
    files.expect((tensor, row.start, row.stop) for tensor in tensors)
    for step, tensor in enumerate(tensors):
        current = buffers[1 + step % 2 if step else 0]
        read_stretch(files, tensor, row.start, row.stop, current[0])
        weights[step] = current[0, at - row.start]  # before the kernel replaces non-finite values
        if state is None:
            state, _ = start_block(current)
        else:
            measure_step(state, current)
            state.previous = current
        cumulative[step] = state.total[0, at - row.start]
    return weights, cumulative

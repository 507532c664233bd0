"""The fused step for GPUs: `kernels.measure_step` in one launch, for rows of any tensors.

On a device, a step costs the bytes it moves plus its launches. So one launch reads every weight in
place through a table of addresses, for rows of any number, length and parameter, and reads and
writes each state value once.

Non-finite values need no check on the host either: `previous` is NaN where an element has not been
finite yet, and its first finite value becomes its reference. A new state is all NaN, so that the
reference step is a step like any other.

One program handles one row, in a fixed order, so a row's sums depend on that row alone. The module
needs Triton, which the GPU builds of torch include; import it only with a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from accweight_core.metrics.sums import SUMS

LANES = tl.constexpr(256)
"""Threads per program. Each has its own sums, which are combined at the end of the row."""

WARPS = 8
"""Warps of 32 threads: one thread per lane."""

_jit: Callable[[Callable[..., Any]], Any] = triton.jit

_COLUMNS = tl.constexpr(len(SUMS))
_PATH_SUM, _PATH_M2, _PATH_MAX, _PATH_ARGMAX, _STEP_SUM, _STEP_SQUARE, _STEP_MAX = (
    tl.constexpr(SUMS.index(name))
    for name in (
        "path_sum",
        "path_m2",
        "path_max",
        "path_argmax",
        "step_sum",
        "step_square",
        "step_max",
    )
)
_NET_SUM, _NET_SQUARE, _SQUARE, _REFERENCE_SQUARE, _FLIPS, _NONFINITE = (
    tl.constexpr(SUMS.index(name))
    for name in ("net_sum", "net_square", "square", "reference_square", "flips", "nonfinite")
)


@dataclass
class RowState:
    """State of rows from step to step, concatenated in flat tensors.

    Attributes:
        reference: W_0 in the dtype of the weights; undefined where `previous` is NaN.
        previous: Last finite value of every element in the dtype of the weights, NaN where
            there has been none.
        total: A_t as float64, or as float32 with a compensation.
        compensation: A_t minus the float32 `total`; None for a float64 one.
    """

    reference: Tensor
    previous: Tensor
    total: Tensor
    compensation: Tensor | None = None


@dataclass(frozen=True)
class Rows:
    """Location of the rows, one entry per row, on the device.

    Attributes:
        addresses: int64, address of the first weight of this step.
        starts: int64, index of the first element in the state, a multiple of 16.
        lengths: int32, number of elements, at most `SUB_BLOCK`.
        aligned: Whether every row starts and ends at a multiple of 16 bytes.
    """

    addresses: Tensor
    starts: Tensor
    lengths: Tensor
    aligned: bool


def measure_rows(state: RowState, rows: Rows) -> Tensor:
    """Advance rows by one step and return their partial sums, in one launch, without waiting.

    The weights at `rows.addresses` have the dtype of ``state.previous`` and are only read. They may
    be freed as soon as this returns, because the stream keeps operations in order.

    Returns:
        (rows, len(SUMS)), in the dtype of the state's `total`.
    """
    count = rows.lengths.numel()
    sums = torch.empty((count, len(SUMS)), dtype=state.total.dtype, device=state.total.device)
    compensation = state.total if state.compensation is None else state.compensation
    with torch.cuda.device_of(state.total):  # type: ignore[no-untyped-call]
        _measure[(count,)](
            rows.addresses,
            rows.starts,
            rows.lengths,
            state.reference,
            state.previous,
            state.total,
            compensation,
            sums,
            COMPENSATED=state.compensation is not None,
            ALIGNED=rows.aligned,
            num_warps=WARPS,
        )
    return sums


@_jit
def _mended(current, previous, reference):  # type: ignore[no-untyped-def]
    """Return W_t, W_(t-1) and W_0 with non-finite elements replaced, and two masks.

    The masks: elements of W_t that are finite, and those that are finite for the first time.
    """
    finite = tl.abs(current) < float("inf")
    seen = previous == previous  # False for NaN
    weight = tl.where(finite, current, tl.where(seen, previous, 0.0))
    before = tl.where(seen, previous, weight)
    origin = tl.where(seen, reference, weight)
    return weight, before, origin, finite, finite & (seen == 0)


@_jit
def _advanced(total, compensation, moved, COMPENSATED: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
    """Return `total` and `compensation` after adding `moved`, as `accumulate_compensated_` does."""
    if COMPENSATED:
        added = compensation + moved
        after = total + added
        grown = after - total
        lost = total - (after - grown)
        total, compensation = after, added - grown + lost
    else:
        total += moved
    return total, compensation


@_jit
def _bits(value):  # type: ignore[no-untyped-def]
    """Return the bits of non-negative floats as integers of the same order; NaN comes last."""
    if value.dtype == tl.float64:
        bits = value.to(tl.int64, bitcast=True) & 0x7FFFFFFFFFFFFFFF
    else:
        bits = value.to(tl.int32, bitcast=True) & 0x7FFFFFFF
    return bits


@_jit
def _first_total(weights, previouses, totals, compensations, COMPENSATED: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
    """Return A_t of the first element, the pivot of `kernels._spread`."""
    current, previous = tl.load(weights).to(tl.float32), tl.load(previouses).to(tl.float32)
    weight, before, _, _, _ = _mended(current, previous, 0.0)
    total, compensation = tl.load(totals), tl.load(compensations)
    total, _ = _advanced(total, compensation, tl.abs(weight - before).to(total.dtype), COMPENSATED)
    return total


@_jit
def _gone_on(  # type: ignore[no-untyped-def]
    weights,
    references,
    previouses,
    totals,
    compensations,
    at,
    within,
    inside,
    COMPENSATED: tl.constexpr,  # noqa: N803
):
    """Advance the state of some elements by one step.

    Returns W_t, W_0, the step change, A_t, what is missing in it, and which of W_t are finite.
    """
    current = tl.load(weights + at, inside, 0.0).to(tl.float32)
    previous = tl.load(previouses + at, within, 0.0).to(tl.float32)
    reference = tl.load(references + at, within, 0.0).to(tl.float32)
    total = tl.load(totals + at, within, 0.0)
    compensation = total
    if COMPENSATED:
        compensation = tl.load(compensations + at, within, 0.0)

    weight, before, origin, finite, fresh = _mended(current, previous, reference)
    moved = tl.abs(weight - before)
    total, compensation = _advanced(total, compensation, moved.to(total.dtype), COMPENSATED)
    tl.store(totals + at, total, within)
    if COMPENSATED:
        tl.store(compensations + at, compensation, within)
    tl.store(previouses + at, tl.where(finite, current, previous), within)
    tl.store(references + at, weight, within & fresh)
    return weight, origin, moved, total, compensation, finite


@_jit
def _write_path(out, offset_sum, offset_square, pivot, length, top, place):  # type: ignore[no-untyped-def]
    """Write the sums of A_t: offsets are those from the pivot, `top` the bits of the largest."""
    offsets = tl.sum(offset_sum, 0)
    spread = tl.sum(offset_square, 0) - offsets * offsets / length
    largest = tl.max(tl.max(top, 1), 0)
    last = tl.full(place.shape, 2147483647, tl.int32)
    where = tl.min(tl.min(tl.where(top == largest, place, last), 1), 0)
    tl.store(out + _PATH_SUM, offsets + pivot * length)
    tl.store(out + _PATH_M2, tl.where(spread < 0, 0.0, spread))
    tl.store(out + _PATH_MAX, largest.to(pivot.dtype, bitcast=True))
    tl.store(out + _PATH_ARGMAX, where.to(pivot.dtype))


@_jit
def _measure(  # type: ignore[no-untyped-def]
    addresses,
    starts,
    lengths,
    references,
    previouses,
    totals,
    compensations,
    sums,
    COMPENSATED: tl.constexpr,  # noqa: N803
    ALIGNED: tl.constexpr,  # noqa: N803
):
    """Advance one row; see `measure_rows`."""
    row = tl.program_id(0)
    start = tl.multiple_of(tl.load(starts + row), 16)
    length = tl.load(lengths + row)
    weights = tl.load(addresses + row).to(previouses.dtype)
    if ALIGNED:
        weights = tl.multiple_of(weights, 16)
    references += start
    previouses += start
    totals += start
    compensations += start
    wide: tl.constexpr = totals.dtype.element_ty
    WIDTH: tl.constexpr = 128 // wide.primitive_bitwidth  # noqa: N806

    pivot = _first_total(weights, previouses, totals, compensations, COMPENSATED)
    tl.debug_barrier()  # every thread reads the first element before one overwrites it

    none = tl.zeros((LANES,), wide)
    step_sum, step_square, net_sum, net_square = none, none, none, none
    square, reference_square, offset_sum, offset_square = none, none, none, none
    step_max = tl.zeros((LANES,), tl.float32)
    flips = tl.zeros((LANES,), tl.int32)
    nonfinite = tl.zeros((LANES,), tl.int32)
    top = _bits(tl.zeros((LANES, WIDTH), wide)) - 1
    place = tl.zeros((LANES, WIDTH), tl.int32)
    lanes, beside = tl.arange(0, LANES)[:, None] * WIDTH, tl.arange(0, WIDTH)[None, :]
    for first in range(0, length, LANES * WIDTH):
        at = first + lanes + beside
        within = first + lanes < length
        inside = within if ALIGNED else at < length
        weight, origin, moved, total, compensation, finite = _gone_on(
            weights, references, previouses, totals, compensations, at, within, inside, COMPENSATED
        )

        step_max = tl.maximum(step_max, tl.max(moved, 1))
        turned = ((weight > 0) != (origin > 0)) | ((weight < 0) != (origin < 0))
        flips += tl.sum(turned.to(tl.int32), 1)
        nonfinite += tl.sum((finite == 0).to(tl.int32), 1)
        bits = _bits(total)
        place = tl.where(bits > top, at, place)
        top = tl.maximum(bits, top)
        offset = total - pivot
        if COMPENSATED:
            offset += compensation
        offset = tl.where(inside, offset, 0.0)
        offset_sum += tl.sum(offset, 1)
        offset_square += tl.sum(offset * offset, 1)
        far, gone = moved.to(wide), tl.abs(weight - origin).to(wide)
        step_sum += tl.sum(far, 1)
        step_square += tl.sum(far * far, 1)
        net_sum += tl.sum(gone, 1)
        net_square += tl.sum(gone * gone, 1)
        square += tl.sum(weight.to(wide) * weight.to(wide), 1)
        reference_square += tl.sum(origin.to(wide) * origin.to(wide), 1)

    out = sums + row.to(tl.int64) * _COLUMNS
    _write_path(out, offset_sum, offset_square, pivot, length, top, place)
    tl.store(out + _STEP_SUM, tl.sum(step_sum, 0))
    tl.store(out + _STEP_SQUARE, tl.sum(step_square, 0))
    tl.store(out + _STEP_MAX, tl.max(step_max, 0).to(wide))
    tl.store(out + _NET_SUM, tl.sum(net_sum, 0))
    tl.store(out + _NET_SQUARE, tl.sum(net_square, 0))
    tl.store(out + _SQUARE, tl.sum(square, 0))
    tl.store(out + _REFERENCE_SQUARE, tl.sum(reference_square, 0))
    tl.store(out + _FLIPS, tl.sum(flips, 0).to(wide))
    tl.store(out + _NONFINITE, tl.sum(nonfinite, 0).to(wide))

"""Plan the reads of strided tensors, whose axes are reordered or have gaps.

A stretch of a tensor is a few boxes. A box is read with one call if it is not too large and its
gaps are small, else in parts. The parts depend on the tensor alone, so reads are known in advance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

SPAN_BYTES = 4 << 20
"""Bytes read at a time from a tensor with gaps or reordered axes."""

MOST_GAPS = 64
"""Elements read per wanted element before separate calls are better than reading the gaps."""

Index = tuple[slice, ...]


class Box(NamedTuple):
    """A part of a tensor: offset of its first element, and lengths and strides of its axes."""

    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def span(self) -> int:
        """Elements of the file from the first to the last of the box."""
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))

    def part(self, axis: int, start: int, stop: int) -> Box:
        """Return the box limited to indices start..stop of one axis."""
        shape = tuple(stop - start if a == axis else n for a, n in enumerate(self.shape))
        return Box(self.first + start * self.strides[axis], shape, self.strides)


def boxes_of(
    shape: tuple[int, ...], strides: tuple[int, ...], start: int, stop: int
) -> Iterator[Box]:
    """Yield the boxes that make up elements start..stop of a tensor, in order.

    >>> [box.shape for box in boxes_of((3, 4), (1, 3), 2, 11)]
    [(1, 2), (1, 4), (1, 3)]
    """
    return _boxes(Box(0, shape, strides), start, stop)


def _boxes(box: Box, start: int, stop: int, axis: int = 0) -> Iterator[Box]:
    inner = math.prod(box.shape[axis + 1 :])
    if start == 0 and stop == box.shape[axis] * inner if box.shape else True:
        yield box
        return
    first, last = -(-start // inner), stop // inner
    if first > last:  # within one index
        yield from _boxes(
            box.part(axis, last, last + 1), start - last * inner, stop - last * inner, axis + 1
        )
        return
    if start < first * inner:
        yield from _boxes(
            box.part(axis, first - 1, first), start - (first - 1) * inner, inner, axis + 1
        )
    if first < last:
        yield box.part(axis, first, last)
    if last * inner < stop:
        yield from _boxes(box.part(axis, last, last + 1), 0, stop - last * inner, axis + 1)


def parts_of(box: Box, size_bytes: int, where: Index | None = None) -> Iterator[tuple[Box, Index]]:
    """Yield the parts of a box that are read with one call each, with their index in the box.

    Gaps are read too if that is faster than one call for every piece between them.

    Args:
        box: The box to read.
        size_bytes: Bytes per element.
        where: Index of the box within a larger one.
    """
    where = tuple(slice(0, n) for n in box.shape) if where is None else where
    elements = math.prod(box.shape)
    if box.span <= max(SPAN_BYTES // size_bytes, 1) and box.span <= MOST_GAPS * elements:
        yield box, where
        return
    axis = max((a for a, n in enumerate(box.shape) if n > 1), key=lambda a: box.strides[a])
    stride, length = box.strides[axis], box.shape[axis]
    inner = box.part(axis, 0, 1)
    gapless = stride <= MOST_GAPS * math.prod(inner.shape)
    step = max(1, (SPAN_BYTES // size_bytes - inner.span) // max(stride, 1)) if gapless else 1
    if step >= length:  # gaps inside, as between interleaved rows: the recursion must shrink
        step = 1
    for start in range(0, length, step):
        stop, before = min(start + step, length), where[axis].start
        there = slice(before + start, before + stop)
        inside = (*where[:axis], there, *where[axis + 1 :])
        yield from parts_of(box.part(axis, start, stop), size_bytes, inside)


def c_order(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of a contiguous tensor in C order, in elements."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def reshaped(
    shape: Sequence[int], strides: Sequence[int], new: Sequence[int]
) -> tuple[int, ...] | None:
    """Return the strides of a tensor viewed in another shape, None if that needs a copy.

    >>> reshaped((4, 6), (6, 1), (2, 2, 6)), reshaped((4, 6), (1, 4), (24,))
    ((12, 6, 1), None)
    """
    if not math.prod(shape) or not shape:
        return c_order(new)
    found, axis, stride = [0] * len(new), len(new) - 1, strides[-1]
    together = done = 1
    for old in reversed(range(len(shape))):
        together *= shape[old]
        if old and (shape[old - 1] == 1 or strides[old - 1] == together * stride):
            continue  # contiguous with the next axis
        while axis >= 0 and (done < together or new[axis] == 1):
            found[axis] = done * stride
            done *= new[axis]
            axis -= 1
        if done != together:
            return None
        if old:
            stride, together, done = strides[old - 1], 1, 1
    return tuple(found)

"""A part of an array: which elements an index asks for, and which of them each chunk has.

Arithmetic of positions alone; `zarr_chunks` reads the files.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Protocol

Index = int | slice | tuple[int | slice, ...]
"""A part of an array: positions and slices along its first axes, or all axes."""


class StoredArray(Protocol):
    """An array on disk that can be read in parts."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""

    def __getitem__(self, index: Index, /) -> Any:
        """Return a part of the array."""


def on_all_axes(index: Index, shape: Sequence[int]) -> tuple[int | slice, ...]:
    """Return an index with an entry for every axis of an array.

    Raises:
        IndexError: If it has more entries than the array has axes.
    """
    given = index if isinstance(index, tuple) else (index,)
    if len(given) > len(shape):
        raise IndexError(f"has {len(shape)} axes, not {len(given)}")
    return (*given, *[slice(None)] * (len(shape) - len(given)))


def positions(axis: int, length: int, asked: int | slice) -> range:
    """Return the positions that are asked for along one axis.

    Raises:
        IndexError: If there is no such position, or a slice has another step than 1.
    """
    if isinstance(asked, slice):
        start, stop, step = asked.indices(length)
        if step != 1:
            raise IndexError(f"is read in steps of 1, not {step}")
        return range(start, max(start, stop))
    at = operator.index(asked)
    if not -length <= at < length:
        raise IndexError(f"has no position {at} along axis {axis} of {length}")
    return range(at % length, at % length + 1)


def chunks_of(ranges: Sequence[range], chunk: Sequence[int]) -> list[range]:
    """Return, per axis, the numbers of the chunks that a part overlaps."""
    return [
        range(r.start // length, -(-r.stop // length))
        for r, length in zip(ranges, chunk, strict=True)
    ]


def overlap(
    place: Sequence[int], chunk: Sequence[int], ranges: Sequence[range]
) -> tuple[list[slice], list[slice]]:
    """Return the overlap of a chunk and a part: slices in the chunk, and in the part.

    Args:
        place: Number of the chunk along each axis.
        chunk: Shape of a chunk.
        ranges: Positions of the part along each axis.
    """
    within, target = [], []
    for number, length, r in zip(place, chunk, ranges, strict=True):
        begin = number * length
        first, last = max(r.start, begin), min(r.stop, begin + length)
        within.append(slice(first - begin, last - begin))
        target.append(slice(first - r.start, last - r.start))
    return within, target


def is_contiguous(within: Sequence[slice], chunk: Sequence[int]) -> bool:
    """Tell whether a part of a chunk is contiguous in its file."""
    lengths = [s.stop - s.start for s in within]
    first = next((axis for axis, length in enumerate(lengths) if length > 1), len(lengths))
    return lengths[first + 1 :] == list(chunk[first + 1 :])

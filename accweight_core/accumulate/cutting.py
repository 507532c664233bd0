"""Cutting parameters into blocks, and blocks into kernel calls.

Cuts fall on sub-block boundaries, so they change no bit of any sum (`metrics.sub_blocks`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from accweight_core.metrics.sub_blocks import Partition, evened, partition

PIECE_ELEMENTS = 1 << 18
"""Elements of one kernel call when it covers several parameters or part of one."""


class Stretches(Protocol):
    """A set of elements of one parameter that are walked together."""

    @property
    def stretches(self) -> tuple[tuple[int, int], ...]:
        """(first, end) of each contiguous range; both are sub-block boundaries."""


class Stretch(NamedTuple):
    """Consecutive sub-blocks of a parameter, as rows of a batch.

    Attributes:
        name: The parameter.
        first: First element of the parameter in the batch.
        row: First row in the batch.
        rows: Number of sub-blocks.
        columns: Elements per sub-block.
    """

    name: str
    first: int
    row: int
    rows: int
    columns: int

    @property
    def inside(self) -> slice:
        """Its elements of the parameter."""
        return slice(self.first, self.first + self.rows * self.columns)


@dataclass(frozen=True)
class Block:
    """One contiguous range of a parameter, from one sub-block boundary to another."""

    start: int
    stop: int

    @property
    def stretches(self) -> tuple[tuple[int, int], ...]:
        """The range itself."""
        return ((self.start, self.stop),)


def blocks_of(shape: tuple[int, ...], block_elements: int) -> Iterator[Block]:
    """Yield the blocks of a parameter whose picture is not drawn.

    Args:
        shape: Shape of the parameter.
        block_elements: Target size of a block in elements.
    """
    elements, cut = math.prod(shape), partition(shape)
    unit = cut.segment if cut.segment <= block_elements else cut.sub_block
    for segment in range(0, elements, cut.segment if unit == cut.sub_block else max(elements, 1)):
        end = min(segment + cut.segment, elements) if unit == cut.sub_block else elements
        length = unit * evened(-(-(end - segment) // unit), block_elements // unit)
        for start in range(segment, end, length):
            yield Block(start, min(start + length, end))


def pieces_of(
    cut: Partition, start: int, stop: int, most_rows: int | None = None
) -> Iterator[tuple[int, int, int]]:
    """Yield (first element, rows, columns) of the kernel calls that cover a range.

    Rows are sub-blocks; the shorter sub-block at the end of a segment gets a call of its own.

    Args:
        cut: Partition of the parameter into sub-blocks.
        start: First element of the range.
        stop: End of the range (exclusive).
        most_rows: Maximum rows per call. Complex numbers need 1: their modulus may round
            differently in the last lanes of a vector.
    """
    while start < stop:
        end = min(stop, (start // cut.segment + 1) * cut.segment)
        whole = (end - start) // cut.sub_block
        most = most_rows or max(whole, 1)
        for first in range(0, whole, most):
            yield start + first * cut.sub_block, min(most, whole - first), cut.sub_block
        if tail := (end - start) % cut.sub_block:
            yield end - tail, 1, tail
        start = end

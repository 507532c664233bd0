"""Cutting: which elements of a parameter are walked together, and in which calls of the kernel.

Cuts fall between sub-blocks, so that they change no bit of any sum (`partition`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from accweight_core.metrics.sub_blocks import Partition, evened, partition

PIECE_ELEMENTS = 1 << 18
"""Elements of parameters that share a call of the kernel, or of a part of one."""


class Stretches(Protocol):
    """Elements of a parameter that are walked together."""

    @property
    def stretches(self) -> tuple[tuple[int, int], ...]:
        """First element and end of each stretch; both are sub-block boundaries."""


class Stretch(NamedTuple):
    """Some sub-blocks of a parameter, beside each other in a batch.

    Attributes:
        name: The parameter.
        first: Its first element that is there.
        row: Row of the batch in which they begin.
        rows: Number of sub-blocks.
        columns: Elements of each.
    """

    name: str
    first: int
    row: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Block:
    """One stretch of a parameter that starts and ends at sub-block boundaries."""

    start: int
    stop: int

    @property
    def stretches(self) -> tuple[tuple[int, int], ...]:
        """The stretch itself."""
        return ((self.start, self.stop),)


def blocks_of(shape: tuple[int, ...], block_elements: int) -> Iterator[Block]:
    """Yield the blocks of a parameter of which no picture is drawn.

    Args:
        shape: Its shape.
        block_elements: Elements a block should have.
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
    """Yield (first element, rows, columns) of the kernel calls that cover a stretch.

    Rows are sub-blocks; the shorter sub-block that ends a segment comes on its own.

    Args:
        cut: How the parameter is cut.
        start: First element of the stretch.
        stop: Element behind its last.
        most_rows: Most rows of a call. Complex numbers want 1: their modulus may round another
            way at the end of a vector than in its middle.
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

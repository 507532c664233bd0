"""Histograms of the step change D_t of every layer, exact, from the checkpoints.

The sums of an analysis know the largest change of a layer at each step, so bins are fixed before
any weight is read, and one pass in blocks suffices. Values have the bits of the walk that measured
the run, but for the rounding of a difference of two A_t, which are float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accweight_core.accumulate.block import common_dtype
from accweight_core.accumulate.cutting import blocks_of
from accweight_core.analysis.summary import Measured
from accweight_core.io.reading import OpenFiles, is_read_whole, read_stretch
from accweight_core.io.stamp import held_to, stamps_of
from accweight_core.jit.fused import measure_step, start_block
from accweight_core.metrics.table import Floats
from accweight_core.pictures.tiling import BLOCK_ELEMENTS
from accweight_core.schema import Checkpoint, StoredTensor

BINS = 64


@dataclass
class Histogram:
    """Counts of values from 0 to a largest one, in bins of equal width.

    Attributes:
        largest: The largest value.
        counts: (BINS,) values in each bin.
        least: The smallest value.
        sum: Their sum.
        square_sum: The sum of their squares.
    """

    largest: float
    counts: npt.NDArray[np.int64]
    least: float = np.inf
    sum: float = 0.0
    square_sum: float = 0.0

    @classmethod
    def up_to(cls, largest: float) -> Histogram:
        """Return an empty histogram for values up to a largest one."""
        return cls(largest, np.zeros(BINS, np.int64))

    @property
    def width(self) -> float:
        """Width of a bin; positive even if nothing moved, as bins have to ascend."""
        return (self.largest or 1e-12) / BINS

    @property
    def edges(self) -> Floats:
        """(BINS + 1,) limits of the bins."""
        edges: Floats = np.arange(BINS + 1) * np.float64(self.width)
        return edges

    def add(self, values: Floats) -> None:
        """Count values; those that rounding has put outside are counted in the nearest bin."""
        if not values.size:
            return
        inside = np.clip(values, 0.0, self.largest)
        bins = np.minimum((inside / self.width).astype(np.int64), BINS - 1)
        self.counts += np.bincount(bins, minlength=BINS)
        self.least = min(self.least, float(inside.min()))
        self.sum += float(inside.sum())
        self.square_sum += float(inside @ inside)


def step_change_histograms(
    checkpoints: Sequence[Checkpoint], rows: Sequence[Measured]
) -> Iterator[tuple[Measured, list[Histogram]]]:
    """Yield every row with a histogram of D_t per step, from the second step on.

    Args:
        checkpoints: All checkpoints of the run, in step order.
        rows: Layers or parameters, with the metric `step_max`.

    Raises:
        FormatError: If a file is missing, truncated, or modified while it is read.
    """
    stamps = stamps_of(checkpoints)
    with held_to(stamps), OpenFiles(described=stamps) as files:
        for row in rows:
            found = [Histogram.up_to(float(top)) for top in row.metrics["step_max"][1:]]
            for parameter in row.parameters:
                tensors = [checkpoint.tensors[parameter.name] for checkpoint in checkpoints]
                for step, change in _changes(files, tensors, parameter.shape):
                    found[step - 1].add(change)
            yield row, found


def _changes(
    files: OpenFiles, tensors: Sequence[StoredTensor], shape: tuple[int, ...]
) -> Iterator[tuple[int, Floats]]:
    """Yield D_t of a parameter, block by block, with its step; 0 where a weight is not finite."""
    dtype, elements = common_dtype(tensors), tensors[0].values.elements
    size = max(elements, 1) if any(map(is_read_whole, tensors)) else BLOCK_ELEMENTS
    for block in blocks_of(shape, size):
        weights = [np.empty((1, block.stop - block.start), dtype) for _ in range(3)]
        read_stretch(files, tensors[0], block.start, block.stop, weights[2][0])
        state, _ = start_block(weights[2])
        for step, tensor in enumerate(tensors[1:], start=1):
            before, current = state.total.copy(), weights[step % 2]
            read_stretch(files, tensor, block.start, block.stop, current[0])
            measure_step(state, current)
            state.previous = current
            yield step, (state.total - before)[0]

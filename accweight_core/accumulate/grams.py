"""Gram matrices of steps, added up while the blocks of a parameter are walked.

G[s, t] = <W_s - W_0, W_t - W_0>, in float64, needs all steps of a weight at once, and nothing else
of the parameter. A strip of some thousand weights at all steps makes one product of matrices (by
BLAS, on one thread); strips are added up within a sub-block, and sub-blocks in the order of the
elements, whatever order the blocks finish in. So neither threads nor the size of blocks change a
bit, and `accweight_core.probes.walking` alone gives the bits that it gives beside the metrics.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.accumulate.cutting import Stretches, pieces_of
from accweight_core.accumulate.observing import Observe
from accweight_core.metrics.sub_blocks import SUB_BLOCK, partition

Array = npt.NDArray[Any]

HELD_WEIGHTS = 1 << 22
"""Weights of all steps that a block should have at most: 16 MiB of float32 per thread."""

MOST_WEIGHTS = 1 << 26
"""Weights of all steps of a block that are held: larger ones are not observed."""

STRIP_WEIGHTS, LEAST_STRIP = 1 << 17, 128
"""Weights of all steps that are multiplied at a time, 1 MiB of float64; at least of one step."""


class Grams:
    """The Gram matrices of parameters whose blocks are observed. Threads may share it."""

    def __init__(self, steps: int) -> None:
        """Begin with nothing.

        Args:
            steps: Steps of the walk; the first is W_0.
        """
        self.steps = steps
        self._sums: dict[str, _Ordered] = {}
        self._lock = Lock()

    @property
    def block_elements(self) -> int:
        """Elements of a block that may be held at all steps."""
        return max(HELD_WEIGHTS // max(self.steps, 1), SUB_BLOCK)

    def walking(self) -> AbstractContextManager[None]:
        """Return the context in which blocks are walked."""
        return one_blas_thread()

    def of_block(self, name: str, shape: tuple[int, ...], block: Stretches) -> Observe | None:
        """Return what takes the weights of a block; None if they are too many to be held.

        Args:
            name: The parameter.
            shape: Its shape.
            block: The block.
        """
        elements = sum(stop - start for start, stop in block.stretches)
        if elements * self.steps > MOST_WEIGHTS:
            return None
        return partial(self.take, name, shape, block)

    def found(self, name: str, elements: int) -> Array | None:
        """Return (steps, steps) of a parameter; None unless all its elements were observed."""
        if not elements:
            return np.zeros((self.steps, self.steps))
        own = self._sums.get(name)
        return own.total if own is not None and own.at == elements else None

    def take(self, name: str, shape: tuple[int, ...], block: Stretches, weights: Array) -> None:
        """Take the weights of a block, (steps, elements)."""
        cut, at = partition(shape), 0
        found: list[tuple[int, int, Array]] = []
        room = _Room(len(weights), weights.dtype)
        for start, stop in block.stretches:
            for first, rows, columns in pieces_of(cut, start, stop):
                for row in range(rows):
                    gram = room.gram(weights[:, at : at + columns])
                    found.append((first + row * columns, columns, gram))
                    at += columns
        with self._lock:
            own = self._sums.setdefault(name, _Ordered(self.steps))
            for place, elements, gram in found:
                own.add(place, elements, gram)


class _Ordered:
    """A sum over sub-blocks in the order of the elements; early ones wait."""

    def __init__(self, steps: int) -> None:
        self.total = np.zeros((steps, steps))
        self.at = 0
        self._waiting: dict[int, tuple[int, Array]] = {}

    def add(self, place: int, elements: int, gram: Array) -> None:
        """Add a sub-block, and those that have waited for it."""
        self._waiting[place] = elements, gram
        while self.at in self._waiting:
            count, ready = self._waiting.pop(self.at)
            self.total += ready
            self.at += count


class _Room:
    """Buffers for the strips of one block."""

    def __init__(self, steps: int, dtype: np.dtype[Any]) -> None:
        share = max(STRIP_WEIGHTS // max(steps, 1), LEAST_STRIP)
        self._strip = 1 << (share.bit_length() - 1)
        self._dtype = np.result_type(dtype, np.float64)
        self._moved = np.empty((steps, self._strip), self._dtype)
        self._product = np.empty((steps, steps))

    def gram(self, weights: Array) -> Array:
        """Return the inner products of differences to the first row, over finite columns.

        Args:
            weights: (steps, elements) of a sub-block, W_0 first.
        """
        total = np.zeros_like(self._product)
        for start in range(0, weights.shape[1], self._strip):
            strip = weights[:, start : start + self._strip]
            moved = self._moved[:, : strip.shape[1]]
            with np.errstate(invalid="ignore", over="ignore"):
                np.subtract(strip, strip[0], out=moved, dtype=self._dtype)
                total += self._of(moved)
        return total

    def _of(self, moved: Array) -> Array:
        real = moved.view(np.float64)
        product = np.matmul(real, real.T, out=self._product)
        if np.isfinite(np.diagonal(product)).all():
            return product
        finite = np.isfinite(moved).all(axis=0)
        left = np.ascontiguousarray(moved[:, finite]).view(np.float64)
        return np.matmul(left, left.T, out=self._product)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS of NumPy to one thread per product: bits do not vary with their number.

    Blocks run in parallel already, and where probes multiply many small matrices, further threads
    only wait in loops (two cores, 1,000 pictures: 5.2 s of processor time a step instead of 0.5).
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield

"""Bounds on what a graph may cost: files can ask for a loop without end, or a tensor of any size.

Sizes are checked before a tensor is made where an argument states them, and afterwards for
everything else, so that repeated doubling ends. Steps in loops draw on one budget per run.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from accweight_core.errors import MemoryLimitError, UnsupportedOperatorError

LARGEST_BYTES = 1 << 33
"""Most bytes of one value."""

LARGEST_STEPS = 5_000_000
"""Most operators run in bodies of loops and branches, per run."""

_run = threading.local()


@contextmanager
def budget() -> Iterator[None]:
    """Give a run its budget of steps; one inside another shares that."""
    outer = getattr(_run, "steps", None)
    _run.steps = LARGEST_STEPS if outer is None else outer
    try:
        yield
    finally:
        if outer is None:
            _run.steps = None


def spend(steps: int) -> None:
    """Take steps of a loop from the budget of this run.

    Raises:
        UnsupportedOperatorError: If it is used up.
    """
    left = getattr(_run, "steps", None)
    if left is None:
        return
    if left < steps:
        raise UnsupportedOperatorError(
            f"loops in the graph run more than {LARGEST_STEPS:,} operators; do they ever end?"
        )
    _run.steps = left - steps


def check_size(what: str, shape: Sequence[float], itemsize: int = 4) -> None:
    """Check the size of a value that is about to be made.

    Raises:
        MemoryLimitError: If it is too large.
    """
    size_bytes = math.prod(shape) * itemsize
    if size_bytes > LARGEST_BYTES:
        raise MemoryLimitError(
            f"{what} would make a value of {size_bytes / 1e9:.3g} GB; at most "
            f"{LARGEST_BYTES / 1e9:.3g} GB are allowed: run fewer samples at once"
        )


def check_value(what: str, value: Tensor) -> None:
    """Check the size of a value that has been made; those expanded in place take no memory."""
    check_size(what, value.shape, value.element_size())

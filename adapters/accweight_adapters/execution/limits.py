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
from accweight_core.io.memory import free_bytes

LARGEST_BYTES = 1 << 32
"""Most bytes of one value."""

SMALL_BYTES = 1 << 26
"""What is made without asking how much memory is free."""

LARGEST_STEPS = 1_000_000
"""Most operators run in bodies of loops and branches, per run."""


class _Run(threading.local):
    """What this thread's run may still cost."""

    steps: int | None = None
    largest: int = LARGEST_BYTES


_run = _Run()


@contextmanager
def budget() -> Iterator[None]:
    """Give a run its budget of steps; one inside another shares that."""
    outer = _run.steps
    _run.steps = LARGEST_STEPS if outer is None else outer
    try:
        yield
    finally:
        if outer is None:
            _run.steps = None


@contextmanager
def at_most(size_bytes: int) -> Iterator[None]:
    """Allow values up to a size only."""
    outer, _run.largest = _run.largest, size_bytes
    try:
        yield
    finally:
        _run.largest = outer


def spend(steps: int) -> None:
    """Take steps of a loop from the budget of this run.

    Raises:
        UnsupportedOperatorError: If it is used up.
    """
    if _run.steps is None:
        return
    if _run.steps < steps:
        raise UnsupportedOperatorError(
            f"loops in the graph run more than {LARGEST_STEPS:,} operators; do they ever end?"
        )
    _run.steps -= steps


def check_size(what: str, shape: Sequence[float], itemsize: int = 4) -> None:
    """Check the size of a value that is about to be made.

    Raises:
        MemoryLimitError: If it is too large.
    """
    size_bytes = math.prod(shape) * itemsize
    if size_bytes <= min(SMALL_BYTES, _run.largest):
        return
    most = min(_run.largest, free_bytes())
    if size_bytes > most:
        raise MemoryLimitError(
            f"operator {what} would make a value of {size_bytes / 1e9:.3g} GB; at most "
            f"{most / 1e9:.3g} GB are allowed: run fewer samples at once"
        )


def check_value(what: str, value: Tensor) -> None:
    """Check the size of a value that has been made."""
    check_size(what, value.shape, value.element_size())

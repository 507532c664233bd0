"""Which updates are taken: every one, every n-th step, a schedule, or what a function says.

A schedule is a growing sequence of steps. The first update at or after one of them is taken, so
that nothing is missed by a loop that does not stop at every step, or that is resumed elsewhere.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any

from accweight_core.arguments import brief, checked_step, whole
from accweight_core.errors import ArgumentTypeError, ArgumentValueError

Every = int | str | Iterable[int] | Callable[[int], bool] | None
"""See `due_by`."""

Due = Callable[[int, int], bool]
"""Called as ``due(step, last)`` with the step of an update and the last step that was taken."""

PER_DECADE = 1, 2, 5


def due_by(every: Every) -> Due:
    """Return the function that tells whether an update is taken.

    Args:
        every: None for every update; a number n for the first update at or after each multiple of
            n; ``"log"`` for 1, 2, 5, 10, 20, 50, ...; several steps; or a function of the step.

    Raises:
        ArgumentTypeError: If it is something else.
        ArgumentValueError: If the number is not positive, or the word is not "log".
    """
    if every is None:
        return lambda step, last: True
    if isinstance(every, str):
        if every != "log":
            raise ArgumentValueError(f'every must be a number, steps or "log", got {brief(every)}')
        return lambda step, last: _decades(step) > _decades(last)
    if callable(every):
        return lambda step, last: bool(every(step))
    number = whole(every)
    if number is not None:
        if number < 1:
            raise ArgumentValueError(f"every must be at least 1, got {brief(every)}")
        return lambda step, last: step // number > last // number
    return _at(_steps(every))


def _steps(every: Any) -> list[int]:
    try:
        given = list(every)
    except TypeError:
        raise ArgumentTypeError(
            f'every must be a number, "log", steps or a function, got {brief(every)}'
        ) from None
    return sorted(map(checked_step, given))


def _at(steps: list[int]) -> Due:
    return lambda step, last: bisect_right(steps, step) > bisect_right(steps, last)


def _decades(step: int) -> int:
    """Return how many of 1, 2, 5, 10, 20, 50, ... are at most `step`."""
    if step < 1:
        return 0
    power = len(str(step)) - 1
    leading = step // 10**power
    return len(PER_DECADE) * power + bisect_right(PER_DECADE, leading)

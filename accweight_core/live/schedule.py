"""Which updates are taken: every one, every n-th step, a schedule, or what a function says.

A schedule is a growing sequence of steps. The first update at or after one of them is taken, so
that nothing is missed by a loop that does not stop at every step, or that is resumed elsewhere.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from accweight_core.arguments import brief, checked_step, whole
from accweight_core.errors import ArgumentTypeError, ArgumentValueError, StepOrderError

Every = int | str | Iterable[int] | Callable[[int], bool] | None
"""See `due_by`."""

Due = Callable[[int, int], bool]
"""Called as ``due(step, last)`` with the step of an update and the last step that was taken."""

PER_DECADE = 1, 2, 5

OF_CALLBACKS = "epoch", "rollout"
"""What callbacks take for `every` beside steps."""


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
        if every in OF_CALLBACKS:
            raise ArgumentValueError(
                f'every="{every}" is for the callbacks of frameworks, which know when one ends; in '
                "your own loop call update() then, without every, or give a number of steps"
            )
        if every != "log":
            raise ArgumentValueError(
                f'every must be a number, "log", steps or a function, got {brief(every)}'
            )
        return lambda step, last: _decades(step) > _decades(last)
    if callable(every):
        return lambda step, last: bool(every(step))
    number = whole(every)
    if number is not None:
        if number < 1:
            raise ArgumentValueError(f"every must be at least 1, got {brief(every)}")
        return lambda step, last: step // number > last // number
    return _at(_steps(every))


class Schedule:
    """Which updates of a run are taken, of which some steps may have been taken before.

    Attributes:
        following: Step of the next update of which none is given.
    """

    def __init__(self, every: Every) -> None:
        """Begin with step 0.

        Args:
            every: As of `due_by`.

        Raises:
            ArgumentTypeError, ArgumentValueError: As of `due_by`.
        """
        self.following = 0
        self._due = due_by(every)
        self._resumed_at: int | None = None

    def begin(self, stored: Sequence[int] = ()) -> None:
        """Begin a run, or go on with one of which a store has some steps: these are skipped."""
        self._resumed_at = stored[-1] if stored else None
        self.following = stored[-1] + 1 if stored else 0

    def go_on(self, taken: Sequence[int], following: int) -> None:
        """Go on with a run in memory.

        Args:
            taken: Steps that were taken, ascending.
            following: Step that would have followed; at least the one after these.
        """
        self._resumed_at = None
        self.following = max(following, taken[-1] + 1 if taken else 0)

    def step_of(self, given: int | None) -> int:
        """Return the step of an update; the one after it follows.

        Raises:
            ArgumentTypeError, ArgumentValueError: If the one given is no step.
        """
        step = self.following if given is None else checked_step(given)
        self.following = step + 1
        return step

    def is_due(self, step: int, taken: Sequence[int], *, force: bool) -> bool:
        """Tell whether the update of a step is taken; costs microseconds.

        Args:
            step: The step.
            taken: Steps that were taken, ascending.
            force: Whether it is taken even if it is not due.

        Raises:
            StepOrderError: If the step does not come after those.
        """
        if not taken:
            return True
        if self._resumed_at is not None and step <= self._resumed_at:
            return False
        if step <= taken[-1]:
            raise StepOrderError(f"step {step} came after step {taken[-1]}; steps must grow")
        return force or self._due(step, taken[-1])


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

"""Which steps of a run are probed: ``first,last,every:10,250``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from accweight_core.arguments import brief, whole
from accweight_core.errors import ArgumentValueError, UnknownNameError


def chosen_steps(steps: Sequence[int], asked: str | Sequence[int] | None) -> tuple[int, ...]:
    """Return the steps that are probed, ascending.

    Args:
        steps: All steps of the run, ascending.
        asked: Words separated by commas: "first", "last", "all", "every:N" (every Nth checkpoint,
            from the first on), "last:N" (the last N), or steps; or a list of steps; None for all.

    Raises:
        ArgumentValueError: If a word is none of these.
        UnknownNameError: If the run has no such step.

    >>> chosen_steps([0, 5, 10, 15, 20], "first,every:3,last")
    (0, 15, 20)
    """
    if asked is None:
        return tuple(steps)
    words = asked.split(",") if isinstance(asked, str) else list(asked)
    found: set[int] = set()
    for word in words:
        found.update(_meant(steps, word.strip() if isinstance(word, str) else word))
    if not found:
        raise ArgumentValueError("no step is chosen; leave out steps for all of them")
    return tuple(sorted(found))


def _meant(steps: Sequence[int], word: object) -> Sequence[int]:
    match word:
        case "first":
            return steps[:1]
        case "last":
            return steps[-1:]
        case "all":
            return steps
    counted = re.fullmatch(r"(every|last):([1-9]\d{0,8})", str(word))
    if counted:
        number = int(counted[2])
        return steps[::number] if counted[1] == "every" else steps[-number:]
    step = whole(word)
    if step is None:
        raise ArgumentValueError(
            f"steps: {brief(word)} is none; expected first, last, all, every:N, last:N, or a step"
        )
    if step not in steps:
        raise UnknownNameError(
            f"the run has no step {step}; it has {len(steps)}, from {steps[0]} to {steps[-1]}"
        )
    return [step]

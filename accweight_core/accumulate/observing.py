"""Observers of a walk: they see the weights of a block at all steps, which are read anyway."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy.typing as npt

from accweight_core.accumulate.cutting import Stretches

Observe = Callable[[npt.NDArray[Any]], None]
"""Called with the weights of a block, (steps, elements), which are overwritten afterwards."""


class Observer(Protocol):
    """What is told of a walk, from all of its threads."""

    @property
    def block_elements(self) -> int:
        """Elements of a block that may be held at all steps."""
        ...

    def of_block(self, name: str, shape: tuple[int, ...], block: Stretches) -> Observe | None:
        """Return what takes the weights of a block; None if it is not looked at."""
        ...

    def walking(self) -> AbstractContextManager[None]:
        """Return the context in which blocks are walked."""
        ...


def not_observed(block: Any) -> Observe | None:
    """Observe nothing."""
    return None

"""Compare values at a step that both sides have checkpoints of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy.typing as npt

from accweight_core.errors import AccweightError
from accweight_core.io.stamp import held_to, stamps_of
from accweight_core.schema import Checkpoint, Layer

if TYPE_CHECKING:
    from accweight_core.alignment.matching.values import EqualLayers


class Side(Protocol):
    """One side of an alignment: a run, an analysis, or any object with layers and checkpoints."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers in network order."""

    @property
    def steps(self) -> npt.NDArray[Any]:
        """Steps, ascending."""

    def checkpoint(self, step_index: int) -> Checkpoint:
        """Return one checkpoint; raise a `SourceError` if it is missing."""


class ValuesAtStep:
    """Compares values at the first common step, then at the last.

    Runs with the same seed are equal at first, exports of the same network at every step. Without
    a common step, the first checkpoints are compared.

    Attributes:
        notes: What was compared, or why not.
    """

    def __init__(self, a: Side, b: Side, *, must: bool) -> None:
        self._sides = (a, b)
        self._must = must
        self.notes: list[str] = []

    def __call__(self, left: Sequence[Layer], right: Sequence[Layer]) -> Sequence[EqualLayers]:
        """Return which of these layers hold equal values."""
        from accweight_core.alignment.matching.values import (
            MOST_ELEMENTS,
            elements_read,
            equal_layers,
        )

        most = max(elements_read(left), elements_read(right))
        if most > MOST_ELEMENTS and not self._must:
            self.notes.append(
                f"values were not compared: {most:,} weights would be read; "
                "to compare them, add --values always"
            )
            return ()
        for at in self._pairs():
            try:
                here, there = (
                    side.checkpoint(index) for side, index in zip(self._sides, at, strict=True)
                )
            except AccweightError as error:
                if self._must:
                    raise
                self.notes.append(f"values were not compared: {error}")
                return ()
            with held_to(stamps_of((here, there))):
                found = equal_layers(left, right, here.tensors, there.tensors)
            where = f"step {here.step}"
            if here.step != there.step:
                where = f"the first checkpoints, step {here.step} and step {there.step}"
            if found:
                return [replace(item, words=f"{item.words} at {where}") for item in found]
            self.notes.append(f"values of {where} do not decide any match")
        return ()

    def _pairs(self) -> list[tuple[int, int]]:
        """Return index pairs of the checkpoints to compare, in order."""
        steps = [{int(step): i for i, step in enumerate(side.steps)} for side in self._sides]
        common = sorted(steps[0].keys() & steps[1].keys())
        if not common:
            return [(0, 0)] if all(steps) else []
        return [(steps[0][s], steps[1][s]) for s in dict.fromkeys((common[0], common[-1]))]

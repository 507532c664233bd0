"""One weight over all steps: stored values, and exact values from the checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.metrics.totals import Floats
from accweight_viewer.model.picking import Pick
from accweight_viewer.model.plates import Plate, Texels
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.texels import texel_series

Steps = npt.NDArray[np.int64]
Number = float | complex | None


@dataclass(frozen=True, eq=False)
class SeriesRequest:
    """A request for all steps of one texel."""

    run: ShownRun
    plate: Plate
    row: int
    col: int

    @property
    def _key(self) -> tuple[ShownRun, int, int, int]:
        """Key for comparison; comparing whole plates would be slow."""
        return self.run, self.plate.number, self.row, self.col

    def __eq__(self, other: object) -> bool:
        """Tell whether both requests have the same result."""
        return isinstance(other, SeriesRequest) and self._key == other._key

    def __hash__(self) -> int:
        """Return a hash of the key."""
        return hash(self._key)

    def read(self) -> Texels:
        """Return (steps,) of cumulative change at the finest stored level."""
        return texel_series(self.run, self.plate, self.row, self.col)


@dataclass(frozen=True)
class ExactSeries:
    """Exact values of one weight.

    Attributes:
        steps: Steps that were read.
        weights: W_t; None where it is not finite.
        cumulative: A_t.
        named: "nan", "inf" or the like by position, where a weight is not finite.
    """

    steps: Steps
    weights: tuple[Number, ...]
    cumulative: tuple[float | None, ...]
    named: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        steps: npt.ArrayLike,
        weights: Sequence[Any],
        cumulative: Sequence[Any],
        named: Mapping[str, str] | None = None,
    ) -> ExactSeries:
        """Return the series in an answer; a complex weight is a pair."""
        return cls(
            np.asarray(steps, dtype=np.int64),
            tuple(map(_number, weights)),
            tuple(cumulative),
            {int(at): text for at, text in (named or {}).items()},
        )

    def position(self, step: int) -> int | None:
        """Return the index of a step, or None if it was not read."""
        found = np.flatnonzero(self.steps == step)
        return int(found[0]) if len(found) else None

    @property
    def sizes(self) -> Floats:
        """Weights as a curve; the modulus of complex ones."""
        complex_valued = any(isinstance(weight, complex) for weight in self.weights)
        known = [math.nan if weight is None else weight for weight in self.weights]
        drawn = [abs(weight) for weight in known] if complex_valued else known
        return np.array(drawn, dtype=np.float64)

    @property
    def path(self) -> Floats:
        """Cumulative change as a curve."""
        return np.array([math.nan if a is None else a for a in self.cumulative], dtype=np.float64)


def as_json(pick: Pick, step: int, cumulative: Number, weight: Number) -> str:
    """Return a line of JSON with the values of a weight at a step; NaN is null."""
    return json.dumps(
        {
            "parameter": pick.plate.name,
            "index": None if pick.index is None else list(pick.index),
            "step": step,
            "cumulative": _plain(cumulative),
            "weight": _plain(weight),
        }
    )


def _number(value: Any) -> Number:
    if isinstance(value, list | tuple):
        real, imaginary = value
        return None if real is None or imaginary is None else complex(real, imaginary)
    return None if value is None else float(value)


def _plain(value: Number) -> Any:
    if isinstance(value, complex):
        return [value.real, value.imag]
    return value if value is not None and math.isfinite(value) else None

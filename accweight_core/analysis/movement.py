"""Which parameters moved in which step, told by the stored sums alone.

*Still* means bit-equal: the largest movement of any element is zero.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from accweight_core.dtypes import DTYPES
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.table import Floats
from accweight_core.metrics.totals import are_known
from accweight_core.schema import Parameter, Role, TypeChange
from accweight_core.store.header import Header


class Movement:
    """Which parameters moved in which step.

    Attributes:
        header: Header of the analysis.
        values: (steps, parameters, sums).
        steps: The steps.
        trained: Indices of the parameters that are trained (no buffers), in network order.
    """

    def __init__(self, header: Header, values: Floats) -> None:
        self.header = header
        self.values = values
        self.steps = [int(step) for step in header.steps]
        known = are_known(values)
        self.trained = [
            index
            for index, parameter in enumerate(header.parameters)
            if parameter.role is not Role.BUFFER and parameter.elements and known[index]
        ]

    def sums(self, name: str) -> Floats:
        """Return one sum of all parameters: (steps, parameters)."""
        column: Floats = self.values[:, :, SUMS.index(name)]
        return column

    @cached_property
    def moved(self) -> npt.NDArray[np.bool_]:
        """(steps, parameters): whether any element differs from the step before.

        What is not finite has no movement, so it counts as moved.
        """
        found = np.asarray((self.sums("step_max") != 0) | (self.sums("nonfinite") > 0))
        found[0] = False
        return found

    @cached_property
    def is_moving(self) -> npt.NDArray[np.bool_]:
        """(steps,): whether any trained parameter moved."""
        return np.asarray(self.moved[:, self.trained].any(axis=1))

    @cached_property
    def is_still(self) -> npt.NDArray[np.bool_]:
        """(parameters,): whether a parameter is bit-equal in all checkpoints."""
        return np.asarray(np.logical_not(np.logical_or.reduce(self.moved, axis=0)))

    def parameter(self, index: int) -> Parameter:
        """Return a parameter by its index."""
        return self.header.parameters[index]

    @cached_property
    def layers(self) -> dict[str, list[int]]:
        """Indices of the trained parameters of each layer, in network order."""
        members: dict[str, list[int]] = {}
        for index in self.trained:
            members.setdefault(self.parameter(index).layer, []).append(index)
        return members

    @cached_property
    def still_layers(self) -> tuple[str, ...]:
        """Layers whose trained parameters are all bit-equal in all checkpoints."""
        return tuple(name for name, members in self.layers.items() if self.is_still[members].all())

    def is_rounding(self, index: int, change: TypeChange) -> bool:
        """Tell whether all that a parameter moved is within the rounding of a change of type."""
        at = self.steps.index(change.step)
        if self.moved[np.arange(len(self.steps)) != at, index].any():
            return False
        moved, length = (self.sums(name)[at, index] for name in ("step_square", "square"))
        return bool(np.sqrt(moved) <= rounding(change) * np.sqrt(length))


def rounding(change: TypeChange) -> float:
    """Return the largest relative rounding error of the coarser of two element types."""
    return max((_EPSILON.get(name, 0.0) for name in (change.before, change.after)), default=0.0)


_EPSILON = {
    name: 2.0**-digits
    for name, digits in {
        "float64": 53,
        "float32": 24,
        "float16": 11,
        "bfloat16": 8,
        "float8_e4m3fn": 4,
        "float8_e4m3fnuz": 4,
        "float8_e5m2": 3,
        "float8_e5m2fnuz": 3,
    }.items()
    if name in DTYPES
}
"""Rounding error of an element relative to it, at most, by element type."""

"""Inputs that excite units most, by gradient ascent ``x <- x + rate * dh/dx``.

h is the value of a unit (Erhan et al., "Visualizing higher-layer features of a deep network",
2009). After every iteration, x may be drawn back to 0 and smoothed (Yosinski et al., arXiv
1506.06579). Units of a node are excited side by side, one sample each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from accweight_core.probes.context import Context
from accweight_core.probes.network import Array, BoundNetwork, portions_of
from accweight_core.probes.patches import with_units
from accweight_core.probes.units import Position, UnitAxes

MOST_AT_ONCE = 64
"""Units that are excited side by side."""

MOST_AVERAGED = 1000
"""Samples whose mean an ascent may begin at."""

NOISE = 0.01
"""Standard deviation of the noise that it may begin at."""

Beginning = Literal["zero", "mean", "noise"]


@dataclass(frozen=True)
class Ascent:
    """How the values of units are raised.

    Attributes:
        iterations: Steps of the ascent.
        rate: Factor of the gradient.
        decay: Share of x that is taken away after every iteration.
        blur: Share of every pixel that its neighbours get after every iteration.
    """

    iterations: int = 20
    rate: float = 1.0
    decay: float = 0.0
    blur: float = 0.0

    def climbed(self, x: Array, gradient: Callable[[Array], Array]) -> Array:
        """Return where the ascent ends.

        Args:
            x: (samples, ...) float32 where it begins.
            gradient: Returns the gradient of what is raised, for every sample its own.
        """
        for _ in range(self.iterations):
            x = self._regularised(x + np.float32(self.rate) * gradient(x))
        return x

    def _regularised(self, x: Array) -> Array:
        if self.decay:
            x = x * np.float32(1 - self.decay)
        if self.blur and x.ndim == 4:
            x = (1 - self.blur) * x + self.blur * smoothed(x)
        return x.astype(np.float32, copy=False)


class Climbed(NamedTuple):
    """Where an ascent has ended, for every unit.

    Attributes:
        x: The inputs.
        value: (units,) value of the unit there.
        before: (units,) its value where the ascent began.
    """

    x: Array
    value: Array
    before: Array


def exciting_inputs(
    network: BoundNetwork,
    node: str,
    axes: UnitAxes,
    units: int,
    begin: Array,
    ascent: Ascent,
    *,
    position: Position = "all",
    at_once: int = 0,
) -> Climbed:
    """Return the inputs that excite the first units of a node most.

    Args:
        network: The network with its weights.
        node: The node; before an activation function, behind which the gradient may be 0.
        axes: Where its samples and units are.
        units: How many of them.
        begin: One input, where the ascent begins.
        ascent: How they are raised.
        position: The position at which a unit is excited; by default the sum of all.
        at_once: Samples that the network takes at a time; 0 for any.
    """
    parts = []
    for rows, taken in portions_of(units, at_once, MOST_AT_ONCE):
        alone = with_units(network, node, axes, taken, axes.place(position))

        def value(x: Array, alone: BoundNetwork = alone) -> Array:
            found = np.moveaxis(alone.run(x, [node])[node], axes.samples, 0)
            return np.asarray(found.reshape(len(x), -1).sum(axis=1, dtype=np.float64))

        def gradient(x: Array, alone: BoundNetwork = alone) -> Array:
            return np.asarray(alone.gradient(x, (node, None)))

        first = np.broadcast_to(begin, (len(taken), *begin.shape)).copy()
        x, count = ascent.climbed(first, gradient), len(rows)
        parts.append((x[:count], value(x)[:count], value(first)[:count]))
    return Climbed(*map(np.concatenate, zip(*parts, strict=True)))


def beginning(context: Context, where: Beginning) -> Array:
    """Return one input, float32: 0, the mean of the samples, or noise near 0.

    Args:
        context: What the probe is told; its network has one input.
        where: Which of them.
    """
    shape = context.data.inputs[0].shape[1:]
    if where == "mean":
        total, count = np.zeros(shape, np.float64), 0
        for portion in context.portions(context.chosen_rows(MOST_AVERAGED)):
            (values,) = portion.inputs.values()
            values = values[: len(portion.rows)]
            total, count = total + values.sum(axis=0, dtype=np.float64), count + len(values)
        return (total / count).astype(np.float32)
    if where == "noise":
        return np.asarray(np.float32(NOISE) * context.random().standard_normal(shape, np.float32))
    return np.zeros(shape, np.float32)


def smoothed(x: Array) -> Array:
    """Return pictures in which every pixel is a mean of its neighbours, weighted 1 2 1 each way."""
    for axis in (-2, -1):
        edge = [(0, 0)] * x.ndim
        edge[axis] = (1, 1)
        wide = np.moveaxis(np.pad(x, edge, mode="edge"), axis, -1)
        x = np.moveaxis((wide[..., :-2] + 2 * wide[..., 1:-1] + wide[..., 2:]) / 4, -1, axis)
    return x

"""Values of nodes as (samples, units, positions): which axis has the samples, and which the units.

Convolutions have their channels along axis 1, layers of transformers their features along the last
one, after the tokens; recurrent nodes of ONNX begin with the time, and so does attention in torch.
Which axis has the samples is not guessed from its length: it is the one that gets shorter if the
network is given one sample less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from accweight_core.probes.network import Array

Position = Literal["centre", "last", "all"]
"""A position of a unit: at the centre of its map or sequence, at the end; or all of them."""

MOST_UNITS = 4096
"""Units of a node of which something is stored, unless a probe says otherwise."""


@dataclass(frozen=True, slots=True)
class UnitAxes:
    """Where the samples and the units of a node are.

    Attributes:
        samples: Axis of the samples in what the network computes; batches have it first.
        units: Axes of the units, once the samples are first: several for both directions of a
            recurrent layer.
        count: Number of units.
        places: Lengths of the other axes: positions, tokens, times.
    """

    samples: int
    units: tuple[int, ...]
    count: int
    places: tuple[int, ...]

    @property
    def positions(self) -> int:
        """Number of values per unit."""
        return math.prod(self.places)

    def place(self, position: Position) -> int | slice:
        """Return the index of a position among all of a unit."""
        if position == "all" or not self.places:
            return slice(None)
        ends = [n // 2 if position == "centre" else n - 1 for n in self.places]
        return int(np.ravel_multi_index(ends, self.places))

    def of(self, values: Array) -> Array:
        """Return values, samples first, as (samples, units, positions)."""
        moved = np.moveaxis(values, self.units, range(1, 1 + len(self.units)))
        return moved.reshape(len(values), self.count, -1)

    def made(self, values: Array, count: int) -> Array:
        """Return values as the network computes them as (samples, units, positions).

        Args:
            values: The values.
            count: Samples, from the first on: others fill up what a network takes at a time.
        """
        return self.of(np.moveaxis(values, self.samples, 0)[:count])

    def back(self, values: Array, shape: Sequence[int]) -> Array:
        """Return (samples, units, positions) as the network computes them.

        Args:
            values: The values.
            shape: Shape of the node for any number of samples, samples first.
        """
        lengths = [len(values), *(shape[axis] for axis in self.units), *self.places]
        first = np.moveaxis(values.reshape(lengths), range(1, 1 + len(self.units)), self.units)
        return np.ascontiguousarray(np.moveaxis(first, 0, self.samples))

    def tensor_like(self, value: Any, values: Array) -> Any:
        """Return (samples, units, positions) as a tensor of the shape and type of a value.

        Args:
            value: What the network computes of the node: a tensor.
            values: The values.
        """
        lengths = list(value.shape)
        shape = [lengths.pop(self.samples), *lengths]
        return value.new_tensor(self.back(values, shape))


def unit_counts(nodes: Mapping[str, UnitAxes], most: int = MOST_UNITS) -> dict[str, int]:
    """Return how many units of nodes are kept, by the node: so many at most, from the first on."""
    return {node: min(axes.count, most) for node, axes in nodes.items()}


def unit_names(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return the names of units of nodes, those of the first node first.

    >>> unit_names({"conv": 2, "fc": 1})
    ('conv/0', 'conv/1', 'fc/0')
    """
    return tuple(f"{node}/{unit}" for node, count in counts.items() for unit in range(count))


def names_by_class(
    counts: Mapping[str, int], axes: Mapping[str, UnitAxes], classes: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return the names of units; those of a node that has a unit for each class have it as well.

    Args:
        counts: Units of each node.
        axes: Where the units of the nodes are.
        classes: Names of classes, by the nodes whose units may stand for them.
    """
    found = []
    for node, count in counts.items():
        told = classes.get(node, ())
        ends = [f" {name}" for name in told] if len(told) == axes[node].count else [""] * count
        found += [f"{node}/{unit}{ends[unit]}" for unit in range(count)]
    return found


def by_node(values: Array, counts: Mapping[str, int]) -> dict[str, Array]:
    """Return the values of the units of each node.

    Args:
        values: (..., units), those of the first node first.
        counts: Units of each node.
    """
    parts = np.split(values, np.cumsum([*counts.values()])[:-1], axis=-1)
    return dict(zip(counts, parts, strict=True))


def side_by_side(
    nodes: Mapping[str, UnitAxes],
    outputs: Mapping[str, Array],
    most: int,
    pooled: Callable[[Array], Array],
) -> Array:
    """Return (samples, units): one value of every unit of several nodes.

    Args:
        nodes: The nodes.
        outputs: Their values, samples first.
        most: Units of each at most, from the first on.
        pooled: Makes (samples, units) of (samples, units, positions).
    """
    found = [pooled(axes.of(outputs[node])[:, :most]) for node, axes in nodes.items()]
    return np.concatenate(found, axis=1)


@dataclass(frozen=True, slots=True)
class Placed:
    """What a trial tells of a node.

    Attributes:
        shape: Its shape, samples first if it has an axis for them.
        samples: That axis in what the network computes; None without one.
        problem: Why its value is not known; empty if it is.
    """

    shape: tuple[int, ...]
    samples: int | None
    problem: str = ""

    @classmethod
    def of(cls, shape: Sequence[int], samples: int | None) -> Placed:
        """Return it for the shape that the network computes."""
        others = [n for axis, n in enumerate(shape) if axis != samples]
        return cls((*(() if samples is None else (shape[samples],)), *others), samples)


def sample_axis(lengths: Sequence[int], fewer: Sequence[int]) -> int | None:
    """Return the axis that has the samples, None if none has.

    Args:
        lengths: Shape of a value.
        fewer: Its shape for one sample less.

    >>> sample_axis((12, 32, 48), (12, 31, 48)), sample_axis((12, 16), (12, 16))
    (1, None)
    """
    if len(lengths) != len(fewer):
        return None
    apart = [axis for axis, (a, b) in enumerate(zip(lengths, fewer, strict=True)) if a != b]
    return apart[0] if len(apart) == 1 and lengths[apart[0]] - fewer[apart[0]] == 1 else None


def likely_sample_axis(lengths: Sequence[int], samples: int) -> int | None:
    """Return the axis that has the samples by their number, for networks that take no other one."""
    order = (0, 2, 1) if len(lengths) == 4 else (0, 1) if len(lengths) == 3 else (0,)
    return next((a for a in order if a < len(lengths) and lengths[a] == samples), None)


def unit_axes(
    placed: Placed, layer: str, parameters: Mapping[str, Sequence[int]]
) -> UnitAxes | None:
    """Return the axes of a node, None if it has none for the samples, or no other ones.

    Args:
        placed: Its shape and the axis of its samples.
        layer: Name of the node.
        parameters: Shapes of the parameters of the network: the bias of a layer has its units.
    """
    shape, samples = placed.shape, placed.samples
    if samples is None or len(shape) < 2:
        return None
    units = _units(shape, samples, layer, parameters)
    count = math.prod(shape[axis] for axis in units)
    places = tuple(n for axis, n in enumerate(shape) if axis > 0 and axis not in units)
    return UnitAxes(samples, units, count, places)


def _units(
    shape: Sequence[int], samples: int, layer: str, parameters: Mapping[str, Sequence[int]]
) -> tuple[int, ...]:
    """Return the axes of the units."""
    last = len(shape) - 1
    if samples == 2 and last == 3:
        return 2, 3  # samples, time, directions, units: what recurrent operators of ONNX return
    biases = {
        lengths[0]
        for name, lengths in parameters.items()
        if len(lengths) == 1 and name.rpartition(".")[0] == layer
    }
    if shape[1] in biases and not (last > 1 and shape[last] in biases):
        return (1,)
    return (last,) if shape[last] in biases or last == 2 or samples else (1,)

"""Which weights of a layer belong to which of its units: sums of squares over those of each.

Of a convolution these are the kernels of an output channel, of a dense layer the row of an output,
of a recurrent layer the rows of all gates in both matrices; and the biases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.arguments import brief
from accweight_core.dtypes import is_measurable
from accweight_core.errors import UnknownNameError
from accweight_core.probes.binding.described import Described
from accweight_core.probes.binding.recurrent import Stack, stacks_of
from accweight_core.probes.context import Context
from accweight_core.probes.network import Network
from accweight_core.probes.probe import Array
from accweight_core.probes.units import UnitAxes
from accweight_core.schema import MEASURED_ROLES, Axis, Kind, Layer, Parameter, Role
from accweight_core.text import meant, some


@dataclass(frozen=True)
class UnitWeights:
    """The weights of the units of one layer.

    Attributes:
        count: Number of units.
        rows: Parameters with a row per unit.
        stacks: Parameters of a recurrent layer, of its last level.
        others: Parameters of the layer whose weights belong to no unit alone.
    """

    count: int
    rows: tuple[Parameter, ...] = ()
    stacks: tuple[Stack, ...] = ()
    others: tuple[str, ...] = ()

    @classmethod
    def of(cls, layer: Layer, count: int) -> UnitWeights:
        """Return them.

        Args:
            layer: The layer, as files describe it.
            count: Number of its units, those of both directions of a recurrent layer.
        """
        trained = [p for p in layer.parameters if p.role in MEASURED_ROLES]
        stacks = _last_level(layer)
        if stacks is not None:
            chosen = stacks if _count(stacks) == count else []
            return cls(count, (), tuple(chosen), _others(trained, chosen))
        rows = [p for p in trained if filters_of(p) == count]
        left = tuple(p.name for p in trained if p not in rows)
        return cls(count, tuple(rows), (), left)

    @classmethod
    def of_nodes(cls, network: Network, nodes: Mapping[str, UnitAxes]) -> dict[str, UnitWeights]:
        """Return those of nodes of a network; nodes that are no layers have none."""
        described = {layer.name: layer for layer in Described.of(network).layers}
        return {
            node: cls.of(described.get(node, Layer(node, Kind.OTHER, ())), axes.count)
            for node, axes in nodes.items()
        }

    @property
    def names(self) -> tuple[str, ...]:
        """All parameters of the layer."""
        own = (*self.rows, *(stack.parameter for stack in self.stacks))
        return (*(parameter.name for parameter in own), *self.others)

    @property
    def are_known(self) -> bool:
        """Whether units have weights of their own."""
        return bool(self.rows or self.stacks)

    def norm(self, values: Mapping[str, Array]) -> float:
        """Return the norm over all weights of the layer.

        Args:
            values: As `squares` takes them.
        """
        flat = [values[name].reshape(-1) for name in self.names]
        return float(np.sqrt(sum(float(np.vdot(own, own).real) for own in flat)))

    def squares(self, values: Mapping[str, Array]) -> Array:
        """Return (units,) float64: sums of squares over the weights of each.

        Args:
            values: What is squared, by the names of the parameters.
        """
        found = np.zeros(self.count)
        for parameter in self.rows:
            given = values[parameter.name].reshape(parameter.shape)
            found += _sums(rows_of(given, parameter))
        for stack in self.stacks:
            for key, piece in stack.cut(values[stack.parameter.name]).items():
                first = key.direction * stack.units
                found[first : first + stack.units] += _sums(piece)
        return found


def units_along(layer: Layer, parameter: Parameter, axis: int, count: int) -> Array | None:
    """Return (indices,): the unit of each index along an axis of a parameter; None if none is told.

    Args:
        layer: The layer of the parameter.
        parameter: The parameter.
        axis: Its axis of outputs.
        count: Number of units of the layer.
    """
    length, stacks = parameter.shape[axis], _last_level(layer)
    if stacks is None:
        return np.arange(length) if length == count else None
    own = next((one for one in stacks if one.parameter.name == parameter.name), None)
    if own is None or _count(stacks) != count or len(own.keys) * own.units != length:
        return None
    return np.concatenate([np.arange(own.units) + key.direction * own.units for key in own.keys])


def _last_level(layer: Layer) -> list[Stack] | None:
    """Return the parameters of a recurrent layer whose units its node has; None for other layers.

    PyTorch stores all levels as one layer, and returns the units of the last one.
    """
    stacks = stacks_of([layer])
    if stacks is None:
        return None
    last = max((key.level for stack in stacks for key in stack.keys), default=0)
    return [one for one in stacks if one.keys[0].level == last]


def _count(stacks: Sequence[Stack]) -> int:
    """Return the number of units of a level, 0 if its parameters differ in it."""
    ways = {key.direction for stack in stacks for key in stack.keys}
    counts = {stack.units * len(ways) for stack in stacks}
    return counts.pop() if len(counts) == 1 else 0


def _others(trained: Sequence[Parameter], chosen: Sequence[Stack]) -> tuple[str, ...]:
    own = {stack.parameter.name for stack in chosen}
    return tuple(p.name for p in trained if p.name not in own)


def _sums(rows: Array) -> Array:
    wide = rows.astype(np.result_type(rows, np.float64), copy=False)
    return np.asarray(np.einsum("ij,ij->i", wide, wide.conj()).real)


def filters_of(parameter: Parameter) -> int:
    """Return the number of filters of a parameter: of its outputs."""
    return len(rows_of(np.zeros(parameter.shape, np.bool_), parameter))


def rows_of(weights: Array, parameter: Parameter) -> Array:
    """Return (filters, weights of each)."""
    outputs = [i for i, axis in enumerate(parameter.axes) if axis is Axis.OUTPUT] or [0]
    first = np.moveaxis(weights, outputs, range(len(outputs)))
    count = int(np.prod(first.shape[: len(outputs)]))
    return first.reshape(count, -1)


def layers_with_filters(context: Context, names: Sequence[str] = ()) -> dict[str, Parameter]:
    """Return the weights of layers that have filters, by their names: of all if none is named.

    Raises:
        UnknownNameError: If there is no such layer, or none at all.
    """
    layers = {one.name: p for one in context.run.layers if (p := _first_matrix(one)) is not None}
    if not layers:
        raise UnknownNameError(
            f"probe {context.probe!r}: {context.run.source} has no layer with filters"
        )
    for name in names:
        if name not in layers:
            raise UnknownNameError(
                f"probe {context.probe!r}: no layer {brief(name)} has filters; "
                f"{meant(name, layers)}layers that do: {some(list(layers), 12)}"
            )
    return {name: layers[name] for name in names or layers}


def _first_matrix(layer: Layer) -> Parameter | None:
    """Return the weights of a layer with filters; None without one."""
    for parameter in layer.parameters:
        is_weight = parameter.role is Role.WEIGHT and is_measurable(parameter.dtype)
        if is_weight and len(parameter.shape) > 1:
            return parameter
    return None

"""What is put back together: a layer, with the normalisation that belongs to it.

Weights mean nothing without the scale and shift of the norm behind them, and batch norm has
statistics of what its layer returned. A norm belongs to the layer that is called like it
(`layer1.0.conv1`, `layer1.0.bn1`), else to a layer beside it: the one before with as many outputs,
or the one behind with as many inputs, whichever is deeper in the same module.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from accweight_core.probes.binding.assignment import Assignment
from accweight_core.schema import MEASURED_ROLES, Axis, Kind, Layer, Parameter, Role, Run

WEIGHTS = (Role.WEIGHT, Role.EMBEDDING)


@dataclass(frozen=True)
class LayerPart:
    """A layer with its norms: what is put back together.

    Attributes:
        name: Name of the layer.
        layers: The layer and its norms, and layers that the network stores in one tensor with it.
        parameters: Their tensors in the checkpoints.
        tensors: The network's tensors that are made of them; none if no output depends on it.
    """

    name: str
    layers: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    tensors: tuple[Assignment, ...]

    @property
    def others(self) -> tuple[str, ...]:
        """The layers that are put back with it."""
        return tuple(layer for layer in self.layers if layer != self.name)


def parts_of(run: Run, assignments: Sequence[Assignment]) -> tuple[LayerPart, ...]:
    """Return what can be put back, in network order.

    Args:
        run: The run.
        assignments: Of which tensors of a checkpoint those of the network are made.
    """
    layers = [layer for layer in run.layers if _is_trained(layer)]
    leader = {layer.name: layer.name for layer in layers}
    for norm, owner in norm_owners(layers).items():
        leader[norm] = leader[owner]
    home = {p.name: layer.name for layer in layers for p in layer.parameters}
    for item in assignments:
        joined = list(dict.fromkeys(leader[home[name]] for name in item.sources if name in home))
        for name, first in leader.items():
            if first in joined[1:]:
                leader[name] = joined[0]
    groups: dict[str, list[Layer]] = {}
    for layer in layers:
        groups.setdefault(leader[layer.name], []).append(layer)
    return tuple(_part(members, assignments) for members in groups.values())


def _part(members: Sequence[Layer], assignments: Sequence[Assignment]) -> LayerPart:
    parameters = tuple(parameter for layer in members for parameter in layer.parameters)
    names = {parameter.name for parameter in parameters}
    tensors = tuple(item for item in assignments if names.intersection(item.sources))
    largest = max(members, key=_size)
    return LayerPart(largest.name, tuple(layer.name for layer in members), parameters, tensors)


def _is_trained(layer: Layer) -> bool:
    return any(parameter.role in MEASURED_ROLES for parameter in layer.parameters)


def _size(layer: Layer) -> int:
    return sum(p.elements for p in layer.parameters if p.role in WEIGHTS)


def norm_owners(layers: Sequence[Layer]) -> dict[str, str]:
    """Return the layer that each norm belongs to; norms that belong to none are missing.

    Args:
        layers: In the order of the network.
    """
    weighted = [layer for layer in layers if _size(layer)]
    found = {}
    for place, norm in enumerate(layers):
        if norm.kind is not Kind.NORM or _size(norm):
            continue
        size = max(parameter.elements for parameter in norm.parameters)
        before = next((one for one in reversed(layers[:place]) if _size(one)), None)
        after = next((one for one in layers[place + 1 :] if _size(one)), None)
        twins = [one for one in weighted if _are_twins(one.name, norm.name)]
        fits = [
            one
            for one, axis in (
                *((twin, Axis.OUTPUT) for twin in twins),
                (before, Axis.OUTPUT),
                (after, Axis.INPUT),
            )
            if one is not None and size in _lengths(one, axis)
        ]
        if fits:
            best = max(
                fits, key=lambda one: (one in twins, _shared(one.name, norm.name), one is before)
            )
            found[norm.name] = best.name
    return found


def _lengths(layer: Layer, axis: Axis) -> set[int]:
    """Return the lengths of the weights of a layer along axes of one meaning."""
    return {
        length
        for parameter in layer.parameters
        if parameter.role in WEIGHTS
        for length, meaning in zip(parameter.shape, parameter.axes, strict=True)
        if meaning is axis
    }


def _shared(layer: str, norm: str) -> int:
    """Return how many modules two layers are both in."""
    left, right = re.split(r"[./]", layer)[:-1], re.split(r"[./]", norm)[:-1]
    return sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False))
    )


def _are_twins(layer: str, norm: str) -> bool:
    """Tell whether names differ in one word alone, which has the same number: conv1 and bn1."""
    left, right = re.split(r"[./]", layer), re.split(r"[./]", norm)
    if len(left) != len(right):
        return False
    unlike = [(a, b) for a, b in zip(left, right, strict=True) if a != b]
    if len(unlike) != 1 or any(word.isdigit() for word in unlike[0]):
        return False
    ends = [re.search(r"\d*$", word) for word in unlike[0]]
    return ends[0] is not None and ends[1] is not None and ends[0][0] == ends[1][0]

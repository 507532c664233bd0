"""The weights of recurrent layers, gate by gate, in whatever order and shape a format stacks them.

A tensor of a recurrent layer is a row of pieces: of a level, a direction, a side (w: from the
input, r: recurrent) and a gate. PyTorch has a tensor per level, direction and side; ONNX stacks
directions, and both biases in one; Keras transposes, and leaves one bias out where the other does
as well; Flax has a tensor per gate. So a tensor of one format is made from those of another by
cutting these into pieces and joining them.

Orders: PyTorch i f g o and r z n, ONNX i o f c and z r h, Keras i f c o and z r h.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from accweight_core.probes.binding.arrays import Array, are_equal
from accweight_core.probes.binding.forms import ORDER
from accweight_core.probes.binding.recipes import Recipe
from accweight_core.schema import Axis, Kind, Layer, Parameter, Role

RECURRENT = (Kind.LSTM, Kind.GRU, Kind.RNN)
GATES = {Kind.LSTM: "ifgo", Kind.GRU: "rzn", Kind.RNN: " "}
"""Gates by their names in PyTorch; a plain RNN has one unnamed."""

_AS_IN_TORCH = {Kind.LSTM: {"c": "g"}, Kind.GRU: {"h": "n"}, Kind.RNN: {}}
_TORCH = re.compile(r"(weight|bias)_(ih|hh)(?:_l(\d+))?(_reverse)?")
_KERAS = {"kernel": "w", "recurrent_kernel": "r", "bias": "b"}
_FLAX = re.compile(r"([ih])([ifgorzn])")
_BACKWARD = re.compile(r"(^|[._/])(backward|reverse|bw)", re.IGNORECASE)


UNEVEN = (("", ""),)
"""In place of a renaming of gates: the pieces do not follow one."""


class Key(NamedTuple):
    """Which piece of a group of recurrent layers: level from 0, direction, kind, side, gate."""

    level: int
    direction: int
    kind: str
    side: str
    gate: str


@dataclass(frozen=True)
class Stack:
    """A tensor as a row of pieces.

    Attributes:
        parameter: The tensor.
        keys: Its pieces in the order of storage.
        order: Its axes with those that are stacked first.
    """

    parameter: Parameter
    keys: tuple[Key, ...]
    order: tuple[int, ...]

    def cut(self, values: Array) -> dict[Key, Array]:
        """Return the pieces of the tensor, each (hidden units, inputs or 1)."""
        moved = values.reshape(self.parameter.shape).transpose(self.order)
        parts = moved.reshape(len(self.keys), self.units, -1)
        return dict(zip(self.keys, parts, strict=True))

    def joined(self, pieces: Mapping[Key, Array]) -> Array:
        """Return the tensor made of pieces; those missing are zeros."""
        zeros = np.zeros(self.piece, np.float32)
        row = np.stack([pieces.get(key, zeros) for key in self.keys])
        moved = row.reshape([self.parameter.shape[axis] for axis in self.order])
        return np.ascontiguousarray(moved.transpose(np.argsort(self.order, kind="stable")))

    @property
    def units(self) -> int:
        """Number of hidden units."""
        stacked = [n for n, a in self._lengths() if a in (Axis.DIRECTION, Axis.OUTPUT)]
        return max(int(np.prod(stacked)) // max(len(self.keys), 1), 1)

    @property
    def piece(self) -> tuple[int, int]:
        """Shape of a piece: hidden units, and inputs or 1."""
        return self.units, self.parameter.elements // (len(self.keys) * self.units)

    def _lengths(self) -> list[tuple[int, Axis]]:
        parameter = self.parameter
        if parameter.role is Role.BIAS or len(parameter.shape) < 2:
            return [(n, Axis.OUTPUT) for n in parameter.shape]
        return list(zip(parameter.shape, parameter.axes, strict=True))


def stacks_of(layers: Sequence[Layer]) -> list[Stack] | None:
    """Return the tensors of one group of recurrent layers as stacks; None if one is not known.

    Args:
        layers: Layers of one match, in network order: levels, and directions named so.
    """
    kinds = {layer.kind for layer in layers}
    if len(kinds) != 1 or not kinds <= set(RECURRENT):
        return None
    found: list[Stack] = []
    places = _places(layers)
    for layer, (level, direction) in zip(layers, places, strict=True):
        for number, parameter in enumerate(layer.parameters):
            keys = _keys(layer, parameter, number, level, direction)
            if keys is None:
                return None
            stack = Stack(parameter, keys, _order(parameter))
            if parameter.elements % (len(keys) * stack.units):
                return None
            found.append(stack)
    return found


def _places(layers: Sequence[Layer]) -> list[tuple[int, int]]:
    """Return level and direction of each layer; a backward layer is of the level of its forward."""
    backward = [_BACKWARD.search(layer.name) is not None for layer in layers]
    if not any(backward):
        return [(level, 0) for level in range(len(layers))]
    forwards, backwards, places = 0, 0, []
    for is_backward in backward:
        places.append((backwards, 1) if is_backward else (forwards, 0))
        backwards, forwards = backwards + is_backward, forwards + (not is_backward)
    return places


def _order(parameter: Parameter) -> tuple[int, ...]:
    axes = parameter.axes
    if parameter.role is Role.BIAS or len(parameter.shape) < 2:
        return tuple(range(len(parameter.shape)))
    return tuple(sorted(range(len(axes)), key=lambda axis: ORDER.index(axes[axis])))


def _gates(kind: Kind, sections: Sequence[str]) -> tuple[str, ...]:
    """Return the gates of a tensor, in PyTorch's names."""
    return tuple(_AS_IN_TORCH[kind].get(gate, gate) for gate in sections)


def _of_layer(layer: Layer) -> tuple[str, ...]:
    """Return the order of gates in a layer, which its matrices state."""
    stated = [p.sections for p in layer.parameters if p.sections and p.role is Role.WEIGHT]
    return _gates(layer.kind, stated[0]) if stated else tuple(GATES[layer.kind])


def _keys(
    layer: Layer, parameter: Parameter, number: int, level: int, direction: int
) -> tuple[Key, ...] | None:
    """Return the pieces of a tensor, by its name or, in ONNX, by its place in the layer."""
    gates = _of_layer(layer)
    parts = re.split(r"[./]", parameter.name.split(":0")[0])
    torch = _TORCH.fullmatch(parts[-1])
    if torch:
        side = "w" if torch[2] == "ih" else "r"
        level += int(torch[3] or 0)
        direction = 1 if torch[4] else direction
        return tuple(Key(level, direction, torch[1], side, gate) for gate in gates)
    flax = _FLAX.fullmatch(parts[-2]) if len(parts) > 1 else None
    if flax and parts[-1] in ("kernel", "bias"):
        side, kind = "w" if flax[1] == "i" else "r", "weight" if parts[-1] == "kernel" else "bias"
        return (Key(level, direction, kind, side, flax[2]),)
    if Axis.DIRECTION in parameter.axes:
        return _in_onnx(layer, parameter, gates, level)
    side = _KERAS.get(parts[-1], "")
    if side == "b":
        sides = "wr" if len(parameter.shape) == 2 else "w"
        return tuple(Key(level, direction, "bias", s, gate) for s in sides for gate in gates)
    if side:
        return tuple(Key(level, direction, "weight", side, gate) for gate in gates)
    return None


def _in_onnx(
    layer: Layer, parameter: Parameter, gates: Sequence[str], level: int
) -> tuple[Key, ...] | None:
    """Return the pieces of W, R or B, which ONNX has in this order; None for a peephole."""
    directions = range(parameter.shape[parameter.axes.index(Axis.DIRECTION)])
    if parameter.role is Role.BIAS:
        return tuple(Key(level, d, "bias", s, g) for d in directions for s in "wr" for g in gates)
    matrices = [p.name for p in layer.parameters if p.role is Role.WEIGHT]
    if len(matrices) != 2:
        return None
    side = "w" if matrices.index(parameter.name) == 0 else "r"
    return tuple(Key(level, d, "weight", side, g) for d in directions for g in gates)


def recipe_from_pieces(target: Stack, sources: Sequence[Stack]) -> Recipe | None:
    """Return how a recurrent tensor is made from the pieces of others, as their formats tell.

    A bias that the checkpoint lacks is zeros. None if another piece is missing.
    """
    at = {key: source for source in sources for key in source.keys}
    told = {key: key for key in target.keys if key in at}
    fits = all(at[key].piece == target.piece for key in told)
    lacking = [key for key in target.keys if key not in at]
    if not fits or any(key.kind != "bias" or _other(key) not in at for key in lacking):
        return None
    return _recipe(target, told, at, _said(target, told, at), told=True)


def regated(
    target: Stack, sources: Sequence[Stack], weights: Mapping[str, Array], own: Array, dtype: str
) -> Recipe | None:
    """Return the recipe by which every piece equals the network's own, in whatever order.

    None if a piece has no equal, or several.
    """
    pieces = {
        key: (source, piece)
        for source in sources
        for key, piece in source.cut(weights[source.parameter.name]).items()
    }
    found: dict[Key, Key] = {}
    for key, wanted in target.cut(own).items():
        equal = [
            other
            for other, (_, piece) in pieces.items()
            if other.kind == key.kind and are_equal(piece, wanted, dtype)
        ]
        if len(equal) != 1:
            return None
        found[key] = equal[0]
    at = {key: pieces[key][0] for key in pieces}
    recipe = _recipe(target, found, at, "gates in another order, by equal values", told=False)
    renamed = {key.gate: other.gate for key, other in found.items()}
    is_one = all(
        other == key._replace(gate=renamed[key.gate]) and other.side == key.side
        for key, other in found.items()
    )
    return replace(recipe, gates=tuple(sorted(renamed.items())) if is_one else UNEVEN)


def _other(key: Key) -> Key:
    """Return the bias that is added to a bias."""
    return key._replace(side="r" if key.side == "w" else "w")


def _recipe(
    target: Stack,
    found: Mapping[Key, Key],
    at: Mapping[Key, Stack],
    words: str,
    *,
    told: bool,
) -> Recipe:
    used = list(dict.fromkeys(at[key].parameter.name for key in found.values()))
    stacks = {name: next(s for s in at.values() if s.parameter.name == name) for name in used}

    def make(weights: Mapping[str, Array]) -> Array:
        pieces: dict[Key, Array] = {}
        for name, stack in stacks.items():
            pieces |= stack.cut(weights[name])
        return target.joined({key: pieces[other] for key, other in found.items()})

    halves = any(key not in found for key in target.keys)
    return Recipe(tuple(used), words, make, told=told, compared=_sums(target) if halves else None)


def _sums(target: Stack) -> Callable[[Array], Array]:
    """Return the function that adds up biases which the layer only ever adds up.

    The candidate gate of a GRU multiplies its recurrent part first, so that one is apart.
    """

    def compared(values: Array) -> Array:
        pieces = target.cut(values)
        rows = []
        for key, piece in pieces.items():
            other = pieces.get(_other(key))
            apart = target.parameter.kind is Kind.GRU and key.gate == "n"
            if apart or other is None:
                rows.append(piece)
            elif key.side == "w":
                rows.append(piece + other)
        return np.stack(rows)

    return compared


def _said(target: Stack, found: Mapping[Key, Key], at: Mapping[Key, Stack]) -> str:
    """Return in words how pieces are put together."""
    if not found:
        return "zeros: the checkpoint has one bias for both"
    orders = [
        " ".join(dict.fromkeys(key.gate for key in keys)).strip()
        for keys in (at[next(iter(found))].keys, target.keys)
    ]
    words = []
    if orders[0] != orders[1] and len(orders[0]) > 1:
        words.append(f"gates {orders[0]} to {orders[1]}")
    used = {at[key].parameter.name for key in found.values()}
    if len(used) > 1:
        words.append(f"{len(used)} joined")
    if len(found) < len(target.keys):
        words.append("zeros for the bias that the checkpoint lacks")
    source = at[next(iter(found))].parameter
    if (
        source.role is not Role.BIAS
        and Axis.INPUT in source.axes
        and source.axes.index(Axis.INPUT) == 0
    ):
        words.append("transposed")
    return ", ".join(words) or "as it is"

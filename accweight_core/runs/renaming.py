"""Rename parameters by a name map, and bring their axes and gates into one order.

If a run continues in another format, the same matrix may be transposed. The meaning of the axes
tells how; the matrix is then read with other strides, without a copy. Gates that are stacked in
another order must be copied, so such parameters are read whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.errors import MismatchError
from accweight_core.io.reading import OpenFiles, read_stretch
from accweight_core.io.strided import c_order, reshaped
from accweight_core.io.widening import as_widened, working_dtype
from accweight_core.naming import layers_of, module_of
from accweight_core.pictures.gates import NAMES
from accweight_core.runs.axis_shapes import parameter_form
from accweight_core.runs.name_map import Entry, NameMap
from accweight_core.schema import (
    Axis,
    Checkpoint,
    Extent,
    HiddenValues,
    Hints,
    Kind,
    Parameter,
    StoredTensor,
)

Array = npt.NDArray[Any]

ORDER = tuple(Axis)

_RECURRENT = (Kind.RNN, Kind.LSTM, Kind.GRU)


def renamed(checkpoint: Checkpoint, name_map: NameMap) -> Checkpoint:
    """Return a checkpoint with the names of a map.

    Raises:
        MismatchError: If two parameters would have the same name.
    """
    tensors: dict[str, StoredTensor] = {}
    was: dict[str, str] = {}
    for name, tensor in checkpoint.tensors.items():
        said = _mapped(name_map, tensor, checkpoint.path)
        if said is None:
            continue
        if said.name in tensors:
            raise MismatchError(
                f"{name_map.source}: {was[said.name]!r} and {name!r} of {checkpoint.path} would "
                f"both be called {said.name!r}; leave one out with a line {name!r} = false"
            )
        tensors[said.name], was[said.name] = said, name
    return replace(checkpoint, tensors=tensors)


def _mapped(name_map: NameMap, tensor: StoredTensor, path: str) -> StoredTensor | None:
    """Return a tensor with name and hints from the map, None if it is left out."""
    layer_name = tensor.hints.layer or module_of(tensor.name)
    entry = name_map.of_parameter(tensor.name, path) or Entry()
    layer = name_map.of_layer(layer_name, path) or Entry()
    if entry.skip or (layer.skip and not entry.names):
        return None
    name = entry.names[0] if entry.names else tensor.name
    hints = tensor.hints
    own_layer = entry.layer or (layer.names[0] if len(layer.names) == 1 else None)
    axes = entry.axes or hints.axes
    if entry.axes and len(entry.axes) != len(tensor.shape):
        raise MismatchError(
            f"{name_map.source}: {tensor.name!r} has {len(tensor.shape)} axes in {path}, "
            f"{tensor.shape}, but the map names {len(entry.axes)}"
        )
    told = Hints(
        layer=own_layer or (module_of(name) if entry.names else hints.layer),
        kind=entry.kind or layer.kind or hints.kind,
        role=entry.role or hints.role,
        axes=axes,
        sections=hints.sections,
        split=hints.split,
        axes_from="" if entry.axes else hints.axes_from,
    )
    return replace(tensor, name=name, hints=told)


def parameters_by_name(checkpoint: Checkpoint) -> dict[str, Parameter]:
    """Return the parameters of a checkpoint by name."""
    return {p.name: p for layer in layers_of(checkpoint.tensors.values()) for p in layer.parameters}


def conformed(
    checkpoints: Sequence[Checkpoint], reference: Mapping[str, Parameter] | None = None
) -> list[Checkpoint]:
    """Return checkpoints with the axes and gates of every parameter in the same order.

    Args:
        checkpoints: Checkpoints in step order.
        reference: Parameters whose order is used; by default, those of the first checkpoint that
            has the name.
    """
    known: dict[str, Parameter] = dict(reference or {})
    result = []
    for checkpoint in checkpoints:
        parameters = parameters_by_name(checkpoint)
        pairs = [(known[n], p) for n, p in parameters.items() if n in known]
        doubted = any(_contradict(target, p) for target, p in pairs)
        gates = {p.layer: p.sections for p in parameters.values() if p.sections}
        wanted = {p.layer: p.sections for p in known.values() if p.sections}
        tensors = dict(checkpoint.tensors)
        for target, own in pairs:
            order = _gate_order(
                target.sections or wanted.get(target.layer, ()),
                own.sections or gates.get(own.layer, ()),
                target,
            )
            tensors[own.name] = _conform(tensors[own.name], own, target, order, doubted=doubted)
        result.append(replace(checkpoint, tensors=tensors))
        known = {**parameters, **known}
    return result


def _contradict(target: Parameter, own: Parameter) -> bool:
    """Tell whether equal shapes with different axes show that the axes were guessed wrongly."""
    return (
        len(own.shape) > 1
        and target.shape == own.shape
        and parameter_form(target) != parameter_form(own)
    )


def _conform(
    tensor: StoredTensor,
    own: Parameter,
    target: Parameter,
    gates: tuple[int, ...] | None,
    *,
    doubted: bool,
) -> StoredTensor:
    """Return a tensor with axes and gates in the order of `target`; itself if nothing changes."""
    move = _move(own, target)
    if move is None or (doubted and own.shape == target.shape):
        return tensor
    moved = tensor
    if own.shape != target.shape or own.axes != target.axes:
        moved = replace(tensor, values=_moved(tensor, move, target.shape))
    axis = target.axes.index(Axis.OUTPUT) if Axis.OUTPUT in target.axes else 0
    if gates is not None and target.shape[axis] % len(gates) == 0:
        moved = replace(moved, values=_restacked(moved, axis, gates))
    if moved is tensor:
        return tensor
    hints = replace(
        tensor.hints,
        axes=target.axes,
        sections=target.sections or None,
        axes_from=target.axes_from,
    )
    return replace(moved, hints=hints)


@dataclass(frozen=True)
class _Move:
    """A change of axes: transpose, reshape, transpose.

    Attributes:
        there: First transpose: own axes, sorted by meaning.
        shape: Shape of the target, sorted by meaning.
        home: Second transpose: from axes sorted by meaning to those of the target.
    """

    there: tuple[int, ...]
    shape: tuple[int, ...]
    home: tuple[int, ...]

    def of(self, values: Array) -> Array:
        """Return values with the axes of the target."""
        return values.transpose(self.there).reshape(self.shape).transpose(self.home)

    def strides(self, shape: Sequence[int], strides: Sequence[int]) -> tuple[int, ...] | None:
        """Return the strides of the changed tensor without a copy, None if it needs one."""
        ordered = [shape[axis] for axis in self.there], [strides[axis] for axis in self.there]
        found = reshaped(*ordered, self.shape)
        return None if found is None else tuple(found[axis] for axis in self.home)


def _move(own: Parameter, target: Parameter) -> _Move | None:
    """Return the change from the axes of `own` to those of `target`, None if there is none."""
    if parameter_form(own) != parameter_form(target) or own.elements != target.elements:
        return None
    lengths = [n for n, axis in zip(own.shape, own.axes, strict=True) if axis is not Axis.DIRECTION]
    if len(own.shape) < 2 or len(lengths) < 2:
        plain = tuple(range(len(own.shape))), target.shape, tuple(range(len(target.shape)))
        return _Move(*plain)
    if Axis.OTHER in (*own.axes, *target.axes) and own.axes != target.axes:
        return None
    there = sorted(range(len(own.shape)), key=lambda a: ORDER.index(own.axes[a]))
    back = sorted(range(len(target.shape)), key=lambda a: ORDER.index(target.axes[a]))
    home = (back.index(axis) for axis in range(len(back)))
    return _Move(tuple(there), tuple(target.shape[axis] for axis in back), tuple(home))


def _moved(tensor: StoredTensor, move: _Move, shape: tuple[int, ...]) -> Extent | HiddenValues:
    """Return values with axes changed by `move`: by strides if possible, else by a copy."""
    values = tensor.values
    if isinstance(values, Extent):
        found = move.strides(values.shape, values.strides or c_order(values.shape))
        if found is not None:  # no copy needed
            return replace(values, shape=shape, strides=None if found == c_order(shape) else found)
    load = _loading(tensor)
    return HiddenValues(lambda: move.of(load()), working_dtype(tensor).name, shape)


def _loading(tensor: StoredTensor) -> Callable[[], Array]:
    """Return a function that loads a whole tensor in its own shape."""
    values = tensor.values
    if isinstance(values, HiddenValues):
        return lambda: as_widened(values.load(), values.dtype)

    def load() -> Array:
        out = np.empty(values.elements, working_dtype(tensor))
        with OpenFiles() as files:
            read_stretch(files, tensor, 0, values.elements, out)
        return out.reshape(values.shape)

    return load


def _gate_order(
    wanted: tuple[str, ...], own: tuple[str, ...], target: Parameter
) -> tuple[int, ...] | None:
    """Return the permutation of gates to the order of `target`, None if it is not needed."""
    ours, theirs = ([NAMES.get(gate, gate) for gate in gates] for gates in (wanted, own))
    if ours == theirs or target.kind not in _RECURRENT or sorted(ours) != sorted(theirs):
        return None
    return tuple(theirs.index(gate) for gate in ours)


def _restacked(tensor: StoredTensor, axis: int, gates: tuple[int, ...]) -> HiddenValues:
    load = _loading(tensor)

    def restacked() -> Array:
        parts = np.split(load(), len(gates), axis=axis)
        return np.concatenate([parts[gate] for gate in gates], axis=axis)

    return HiddenValues(restacked, working_dtype(tensor).name, tensor.shape)

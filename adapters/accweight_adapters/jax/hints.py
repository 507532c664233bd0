"""Hints for Flax variables: kind of layer, role, and meaning of the axes of kernels.

Flax keeps outputs last, (..., inputs, outputs), also in transposed convolutions. Recurrent cells
have a small dense layer per gate; attention splits outputs into heads. Linen and nnx use the same
names; the rules hold for Orbax and msgpack files alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from accweight_adapters.head_axes import heads_by_axes
from accweight_core.schema import Axis, Hints, Kind, Role, StoredTensor

Shape = tuple[int, ...]

KERNEL: Final = "kernel"
EMBEDDING: Final = "embedding"
STATISTICS: Final = frozenset({"mean", "var"})

CELLS: Final = (
    (Kind.LSTM, frozenset({"ii", "if", "ig", "io", "hi", "hf", "hg", "ho"})),
    (Kind.GRU, frozenset({"ir", "iz", "in", "hr", "hz", "hn"})),
    (Kind.LSTM, frozenset({"ih", "hh"})),
    (Kind.LSTM, frozenset({"dense_i", "dense_h"})),
    (Kind.RNN, frozenset({"i", "h"})),
)
"""Names of the dense layers (or convolutions) of a recurrent cell."""

GATES: Final = {4: (Kind.LSTM, ("i", "f", "g", "o")), 3: (Kind.GRU, ("r", "z", "n"))}
"""Kind of the cell and its gates along the last axis, by their number."""

STACKED: Final = frozenset({"ih", "hh", "dense_i", "dense_h"})
PROJECTIONS: Final = frozenset({"query", "key", "value"})
ATTENTION = re.compile(r"(^|[._])\w*(attention|attn)\w*([._]|$)", re.IGNORECASE)
TRANSPOSED = re.compile(r"conv_?transpose|deconv|conv_?t(_|\d|$)|transpose", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Module:
    """The variables of one module: shapes by name, and the modules next to it."""

    name: str
    shapes: Mapping[str, Shape]
    siblings: frozenset[str]

    @property
    def last(self) -> str:
        """Last part of its name."""
        return self.name.rpartition(".")[2]

    @property
    def gate(self) -> str:
        """Last part of its name as a gate: nnx avoids Python keywords, as in `if_`."""
        return self.last.removesuffix("_")

    @property
    def cell(self) -> tuple[str, Kind] | None:
        """Name and kind of the recurrent cell that it is a gate of, or None."""
        kernel = self.shapes.get(KERNEL, ())
        gates = {name.removesuffix("_") for name in self.siblings}
        for kind, names in CELLS:
            if self.gate in names and names <= gates and len(kernel) > 1:
                counted = GATES.get(self._gates, (kind,))[0] if self.last in STACKED else kind
                return self.name.rpartition(".")[0] or "cell", counted
        return None

    @property
    def _gates(self) -> int:
        """Number of stacked gates according to its own kernel."""
        kernel = self.shapes.get(KERNEL, ())
        square = self.last in ("dense_h", "hh") and len(kernel) > 1 and kernel[-2] > 0
        return kernel[-1] // kernel[-2] if square else 0


def with_flax_hints(tensors: Iterable[StoredTensor]) -> tuple[StoredTensor, ...]:
    """Return tensors with hints for Flax names; existing hints are kept."""
    given = list(tensors)
    shapes: dict[str, dict[str, Shape]] = {}
    for tensor in given:
        name, _, leaf = tensor.name.rpartition(".")
        shapes.setdefault(name, {})[leaf] = tensor.shape
    inside: dict[str, set[str]] = {}
    for name in shapes:
        around, _, last = name.rpartition(".")
        inside.setdefault(around, set()).add(last)
    hints: dict[str, Hints] = {}
    for path, variables in shapes.items():
        module = _Module(path, variables, frozenset(inside[path.rpartition(".")[0]]))
        prefix = f"{path}." if path else ""
        hints |= {f"{prefix}{leaf}": _hints(module, leaf) for leaf in variables}
    cells = _cell_kinds(hints)
    return tuple(_merged(tensor, hints[tensor.name], cells) for tensor in given)


def _cell_kinds(hints: Mapping[str, Hints]) -> dict[str, Kind]:
    """Return the kind of each cell, which may follow from only some of its parts."""
    kinds: dict[str, Kind] = {}
    for name, hint in hints.items():
        is_square = name.rpartition(".")[0].rpartition(".")[2] in ("dense_h", "hh")
        if hint.layer and hint.kind and (is_square or hint.layer not in kinds):
            kinds[hint.layer] = hint.kind
    return kinds


def _merged(tensor: StoredTensor, hints: Hints, cells: Mapping[str, Kind]) -> StoredTensor:
    if hints.layer is not None and hints.layer in cells:
        kind = cells[hints.layer]
        gates = next((names for of, names in GATES.values() if of is kind), ())
        width = tensor.shape[-1] if tensor.shape else 0
        stacked = hints.sections is not None and gates and width % len(gates) == 0
        matrix = len(tensor.shape) == 2
        hints = replace(hints, kind=kind, sections=gates if stacked and matrix else None)
    return replace(tensor, hints=replace(hints, role=tensor.hints.role or hints.role))


def _hints(module: _Module, leaf: str) -> Hints:
    shape, kernel = module.shapes[leaf], module.shapes.get(KERNEL, ())
    if len(kernel) > 1:
        return _of_kernel(module, leaf, kernel)
    if leaf in (EMBEDDING, "pos_embedding", "embeddings") and len(shape) > 1:
        window = (Axis.OTHER,) * (len(shape) - 2)
        return Hints(
            module.name or None, Kind.EMBEDDING, Role.EMBEDDING, (*window, Axis.OUTPUT, Axis.INPUT)
        )
    if leaf.startswith("lora_") and len(shape) == 2:
        return Hints(module.name or None, None, Role.WEIGHT, (Axis.INPUT, Axis.OUTPUT))
    is_norm = "scale" in module.shapes or module.shapes.keys() >= STATISTICS
    if is_norm and all(len(each) <= 2 for each in module.shapes.values()):
        role = Role.BUFFER if leaf in STATISTICS else Role.NORM
        return Hints(module.name or None, Kind.NORM, role)
    return Hints(role=Role.BIAS if leaf == "bias" else None)


def _of_kernel(module: _Module, leaf: str, kernel: Shape) -> Hints:
    """Return the hints for a variable of a module with a kernel."""
    cell = module.cell
    kind = cell[1] if cell else _kind(module, kernel)
    layer = cell[0] if cell else module.name or None
    if leaf == KERNEL:
        stacked = ("",) if cell and module.last in STACKED else None
        axes = _axes(module, kind, kernel)
        split = heads_by_axes(module.last, kernel, axes, "shape of the layer")
        return Hints(layer, kind, Role.WEIGHT, axes, stacked, split)
    if leaf.startswith("lora_") and len(module.shapes[leaf]) == 2:
        return Hints(layer, kind, Role.WEIGHT, (Axis.INPUT, Axis.OUTPUT))
    return Hints(layer, kind, Role.BIAS if leaf == "bias" else None)


def _kind(module: _Module, kernel: Shape) -> Kind:
    bias = module.shapes.get("bias", ())
    if module.last in PROJECTIONS or _is_output(module) or ATTENTION.search(module.name):
        return Kind.ATTENTION
    if len(kernel) == 2 or len(bias) > 1 or re.search("dense|linear|einsum", module.last, re.I):
        return Kind.LINEAR
    return Kind.CONV_TRANSPOSE if TRANSPOSED.search(module.last) else Kind.CONV


def _is_output(module: _Module) -> bool:
    return module.last == "out" and module.siblings >= PROJECTIONS


def _axes(module: _Module, kind: Kind, kernel: Shape) -> tuple[Axis, ...]:
    """Return the meaning of the axes of a kernel: window or heads, inputs, outputs."""
    rank, bias = len(kernel), module.shapes.get("bias", ())
    if kind in (Kind.CONV, Kind.CONV_TRANSPOSE, Kind.LSTM) or rank == 2:
        return (*(Axis.KERNEL,) * (rank - 2), Axis.INPUT, Axis.OUTPUT)
    if kind is Kind.LINEAR and bias == (*kernel[: rank - 2], kernel[-1]):  # stacked by nn.scan
        return (*(Axis.OTHER,) * (rank - 2), Axis.INPUT, Axis.OUTPUT)
    outputs = 2 if module.last in PROJECTIONS else 1
    outputs = min(len(bias) or outputs, rank - 1)
    return (Axis.INPUT,) * (rank - outputs) + (Axis.OUTPUT,) * outputs

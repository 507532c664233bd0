"""Hints for variables with Keras names: kind of layer, role, meaning of the axes of kernels.

Such names occur in Keras files, TensorFlow checkpoints and arrays saved by scripts. They keep
outputs last, (..., inputs, outputs), where PyTorch keeps them first; the hints make pictures and
comparisons agree. Variables are recognised by name, and by shape where names are ambiguous: the
kernels of LSTM and GRU, of plain and depthwise convolutions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from accweight_adapters.head_axes import heads_by_axes
from accweight_core.naming import leaf_of, module_of
from accweight_core.schema import Axis, Hints, Kind, Role, StoredTensor

Shape = tuple[int, ...]
Axes = tuple[Axis, ...]

KERNELS: Final = ("kernel", "recurrent_kernel", "depthwise_kernel", "pointwise_kernel")
NORMS: Final = ("gamma", "beta", "scale")
STATISTICS: Final = ("moving_mean", "moving_variance", "vector_u", "seed_generator_state")
TELLING: Final = frozenset({*KERNELS, *STATISTICS, "gamma", "embeddings"})
"""Variable names that identify a layer with Keras conventions."""

GATES: Final = {Kind.LSTM: ("i", "f", "c", "o"), Kind.GRU: ("z", "r", "h")}
"""Order of gates in Keras, along the last axis."""

KINDS_BY_GATES: Final = {4: Kind.LSTM, 3: Kind.GRU, 1: Kind.RNN}

DEPTHWISE: Final = (Axis.OUTPUT, Axis.INPUT)
"""Axes of channels and multiplier: each channel is an output, as in PyTorch's pictures."""

ATTENTION = re.compile(r"(^|[._])(\w*attention\w*|query|key|value|mha|\w*attn\w*)([._\d]|$)")
CELL = re.compile(r"((conv_)?lstm|gru|simple_rnn)?_?cell(_\d+)?")
NORMALISER = re.compile(r"normalization(_\d+)?$")
PREPROCESSING: Final = frozenset({"normalization", "discretization"})
"""Classes with statistics of the data, which are not trained."""


@dataclass(frozen=True, slots=True)
class Module:
    """A Keras layer.

    Attributes:
        name: Its name, parts joined by dots.
        shapes: Shapes of its variables, by name.
        class_name: Its class in snake case, '' if unknown.
        equation: Equation of an EinsumDense, '' if unknown.
    """

    name: str
    shapes: Mapping[str, Shape]
    class_name: str = ""
    equation: str = ""

    @property
    def bias(self) -> Shape:
        """Shape of the bias, () if there is none."""
        return self.shapes.get("bias", ())


def with_keras_hints(tensors: Iterable[StoredTensor]) -> tuple[StoredTensor, ...]:
    """Return tensors with hints for Keras names; others are returned as they are."""
    given = list(tensors)
    groups: dict[str, dict[str, Shape]] = {}
    for tensor in given:
        module = module_of(tensor.name)
        groups.setdefault(module, {})[leaf_of(tensor.name, module)] = tensor.shape
    hints = {
        name: hints_of(Module(name, shapes))
        for name, shapes in groups.items()
        if not TELLING.isdisjoint(shapes)
    }
    found = []
    for tensor in given:
        module = module_of(tensor.name)
        known = hints.get(module, {}).get(leaf_of(tensor.name, module))
        found.append(replace(tensor, hints=known) if known else tensor)
    return tuple(found)


def dotted(names: Sequence[str]) -> list[str]:
    """Return names of TensorFlow's variables with dots for slashes, without the ``:0`` of outputs.

    They stay as they are if two would become equal.
    """
    found = [re.sub(r":0$", "", name).replace("/", ".").strip(".") for name in names]
    return list(names) if len(set(found)) < len(names) or "" in found else found


def with_hints_of_paths(tensors: Iterable[StoredTensor]) -> tuple[StoredTensor, ...]:
    """Return the variables of a model with hints, each named by its path: layers, then variable."""
    given = [(tensor, *tensor.name.rpartition(".")[::2]) for tensor in tensors]
    shapes: dict[str, dict[str, Shape]] = {}
    for tensor, path, leaf in given:
        shapes.setdefault(path, {})[leaf] = tensor.shape
    cells = cells_of([tuple(path.split(".")) for path in shapes])
    hints = {
        path: hints_of(Module(layer_name(path.split("."), cells), of_layer))
        for path, of_layer in shapes.items()
    }
    return tuple(replace(tensor, hints=hints[path][leaf]) for tensor, path, leaf in given)


def layer_name(path: Sequence[str], cells: Mapping[tuple[str, ...], int]) -> str:
    """Return the name of the layer of a path; a cell belongs to its recurrent layer."""
    path = tuple(path)
    if len(path) > 1 and CELL.fullmatch(path[-1]) and cells.get(path[:-1]) == 1:
        path = path[:-1]
    return ".".join(path)


def cells_of(paths: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
    """Return the number of cells of each layer; stacked cells are separate layers."""
    counts: dict[tuple[str, ...], int] = {}
    for path in paths:
        if CELL.fullmatch(path[-1]):
            counts[path[:-1]] = counts.get(path[:-1], 0) + 1
    return counts


def hints_of(module: Module) -> dict[str, Hints]:
    """Return the hints for the variables of a layer, by name."""
    kind = _kind(module)
    return {leaf: _hints(module, kind, leaf) for leaf in module.shapes}


def _kind(module: Module) -> Kind | None:
    """Return the kind of a layer, or None to infer it from names and shapes."""
    shapes = module.shapes
    recurrent = shapes.get("recurrent_kernel", ())
    if len(recurrent) >= 2:
        gates = recurrent[-1] / recurrent[-2] if recurrent[-2] else 0
        return KINDS_BY_GATES.get(int(gates), Kind.RNN)
    if "embeddings" in shapes:
        return Kind.EMBEDDING
    if "depthwise_kernel" in shapes or "pointwise_kernel" in shapes:
        return Kind.CONV
    if "kernel" in shapes:
        return _kernel_kind(module)
    if "moving_mean" in shapes or NORMALISER.search(module.class_name or module.name):
        return Kind.NORM
    vectors = all(len(shape) == 1 for shape in shapes.values())
    if vectors and set(shapes) <= {*NORMS, "bias"} and "gamma" in shapes:
        return Kind.NORM
    return Kind.OTHER if module.class_name else None


def _kernel_kind(module: Module) -> Kind:
    rank = len(module.shapes["kernel"])
    if rank < 3 or _is_einsum(module):
        return Kind.ATTENTION if ATTENTION.search(module.name) else Kind.LINEAR
    return Kind.CONV_TRANSPOSE if _is_transposed(module) else Kind.CONV


def _is_einsum(module: Module) -> bool:
    """Tell kernels of EinsumDense, which attention uses, from those of convolutions."""
    if module.class_name:
        return "dense" in module.class_name
    return len(module.bias) > 1 or ATTENTION.search(module.name) is not None


def _is_transposed(module: Module) -> bool:
    """Tell (..., outputs, inputs) from (..., inputs, outputs): by class, else by the bias."""
    if module.class_name.startswith(("conv", "depthwise")):
        return "transpose" in module.class_name
    kernel, bias = module.shapes["kernel"], module.bias
    if len(bias) == 1 and (bias[0] == kernel[-1]) != (bias[0] == kernel[-2]):
        return bias[0] == kernel[-2] and not _is_depthwise(module)
    return "transpose" in module.name


def _is_depthwise(module: Module) -> bool:
    """Tell (..., channels, multiplier) from (..., inputs, outputs)."""
    if module.class_name.startswith(("conv", "depthwise")):
        return module.class_name.startswith("depthwise")
    kernel, bias = module.shapes["kernel"], module.bias
    by_bias = kernel[-1] == 1 and bias == (kernel[-2],) and kernel[-2] > 1
    return by_bias or "depthwise" in module.name


def _hints(module: Module, kind: Kind | None, leaf: str) -> Hints:
    role = _role(module, kind, leaf)
    weighs = role in (Role.WEIGHT, Role.EMBEDDING)
    axes = _axes(module, kind, leaf) if weighs else None
    gates = GATES.get(kind) if kind and leaf in KERNELS else None
    stacked = gates and axes == (Axis.INPUT, Axis.OUTPUT)
    even = gates and module.shapes[leaf][-1] % len(gates) == 0
    last = module.name.rpartition(".")[2]
    split = heads_by_axes(last, module.shapes[leaf], axes, "shape of the layer")
    return Hints(module.name, kind, role, axes, gates if stacked and even else None, split)


def _role(module: Module, kind: Kind | None, leaf: str) -> Role | None:
    """Return the role of a variable, or None to infer it from its name and type."""
    if leaf in STATISTICS or module.class_name in PREPROCESSING:
        return Role.BUFFER
    if leaf == "embeddings":
        return Role.EMBEDDING
    if leaf in KERNELS:
        return Role.WEIGHT
    if kind is Kind.NORM and leaf in (*NORMS, "bias"):
        return Role.NORM
    if leaf == "bias" or leaf.endswith("_bias"):
        return Role.BIAS
    return None


def _axes(module: Module, kind: Kind | None, leaf: str) -> Axes | None:
    """Return the meaning of the axes of a kernel."""
    shape = module.shapes[leaf]
    rank = len(shape)
    if leaf == "embeddings" and rank == 2:
        return (Axis.OUTPUT, Axis.INPUT)
    if leaf not in KERNELS or rank < 2:
        return None
    window = (Axis.KERNEL,) * (rank - 2)
    if leaf == "depthwise_kernel":
        return (*window, *DEPTHWISE)
    if leaf == "kernel" and rank > 2:
        if kind is Kind.CONV_TRANSPOSE:
            return (*window, Axis.OUTPUT, Axis.INPUT)
        if kind is Kind.CONV and _is_depthwise(module):
            return (*window, *DEPTHWISE)
        if kind in (Kind.LINEAR, Kind.ATTENTION):
            return _einsum(module, rank)
    return (*window, Axis.INPUT, Axis.OUTPUT)


def _einsum(module: Module, rank: int) -> Axes:
    """Return the axes of an EinsumDense kernel: by its equation, else by the shape of its bias.

    Attention splits one side into heads and their width: (inputs, heads, width) or
    (heads, width, outputs).
    """
    terms = re.fullmatch(r"([^,]+),([^,]+)->(.+)", module.equation.replace(" ", ""))
    if terms and len(terms[2]) == rank:
        return tuple(Axis.OUTPUT if c in terms[3] else Axis.INPUT for c in terms[2])
    outputs = len(module.bias) or _outputs_by_name(module.name)
    return (Axis.INPUT,) * (rank - outputs) + (Axis.OUTPUT,) * min(outputs, rank)


def _outputs_by_name(name: str) -> int:
    return 2 if re.search(r"(^|[._])(query|key|value)(_dense)?(_\d+)?$", name) else 1

"""Group the parameters of a network into layers.

A layer is what one operator uses: its weight, the bias that a later Add adds, both matrices of an
LSTM. Its name is the module part of its parameters' names, or, if the exporter has renamed them
(`onnx::MatMul_215`), that of the operator's name. Two operators share a layer only if their
weights' names say that a framework keeps them in one module.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

from accweight_adapters.onnx import names
from accweight_adapters.onnx.extents import type_name
from accweight_adapters.onnx.graph import Constant, Network, Operator
from accweight_adapters.onnx.roles import SLOTS, Meaning, meaning_of
from accweight_adapters.onnx.trace import UNKNOWN_LENGTH, Ints, Use, uses_of
from accweight_core.dtypes import is_measurable
from accweight_core.naming import names_buffer
from accweight_core.schema import Axis, Hints, Kind, Role

CODES = frozenset(
    {"int8", "uint8", "int16", "uint16", "int32", "int4", "uint4", "int2", "uint2", "float4e2m1"}
)
"""Types of codes that may be weights; wider integers are shapes, indices and counters."""

WIDE_CODES = ("int16", "uint16", "int32")

QUANTISERS = (
    "DequantizeLinear",
    "QuantizeLinear",
    "QLinear",
    "QGemm",
    "DynamicQuantize",
    "MatMulN",
)
TORCH_GATES = {Kind.LSTM: ("i", "f", "g", "o"), Kind.GRU: ("r", "z", "n")}
"""Order of the gates in torch's weights; the exporter reorders them for ONNX."""

LAYER_ROLES = (Role.WEIGHT, Role.EMBEDDING, Role.NORM)
"""Roles that make a layer of their own; biases and buffers join one of these layers."""


BESIDE = ("Add", "Sub", "Concat", "Expand")
"""Operators that add a table to values, or put it among them."""


@dataclass(slots=True)
class Part:
    """One parameter: a constant, and the meaning of its first use.

    `elsewhere` is the module of another operator that uses the same constant.
    """

    constant: Constant
    use: Use
    meaning: Meaning
    role: Role
    elsewhere: str = ""

    @property
    def name(self) -> str:
        """The most informative name: its own, or the one after an Identity."""
        own = self.constant.name
        return own if names.is_meaningful(own) else self.use.alias

    @property
    def place(self) -> tuple[int, int]:
        """Position of its use in network order."""
        return self.use.operator.index, self.use.index


@dataclass(slots=True)
class Layer:
    """The parameters that belong together."""

    operator: Operator
    parts: list[Part] = field(default_factory=list)
    name: str = ""
    suffix: str = ""

    @property
    def weights(self) -> list[Part]:
        """Parts whose role makes a layer."""
        return [part for part in self.parts if part.role in LAYER_ROLES]

    @property
    def is_table(self) -> bool:
        """Whether it computes nothing: a table that is only added, or put among values."""
        weights = self.weights
        return bool(weights) and all(
            part.role is Role.EMBEDDING and not part.meaning.certain for part in weights
        )

    @property
    def kind(self) -> Kind:
        """Kind of the layer: that of its weight, if any."""
        kind = (self.weights or self.parts)[0].meaning.kind
        paths = (self.name, self.operator.name, *(part.name for part in self.parts))
        return Kind.ATTENTION if kind is Kind.LINEAR and names.in_attention(*paths) else kind


def layers_of(network: Network, ints: Ints) -> list[Layer]:
    """Return the layers in network order; `ints` reads small integer constants."""
    by_name = {constant.name for constant in network.constants}
    layers: dict[int, Layer] = {}
    for constant in network.constants:
        part = _part(constant, ints)
        if part is not None and not _serves_codes(constant.name, by_name):
            operator = part.meaning.operator
            key = id(operator) if operator.type else id(constant)
            layers.setdefault(key, Layer(operator)).parts.append(part)
    for layer in layers.values():
        layer.parts.sort(key=lambda part: part.place)
        layer.name, layer.suffix = _named(layer)
    ordered = sorted(layers.values(), key=lambda layer: layer.parts[0].place)
    return _apart(ordered)


def _serves_codes(name: str, by_name: set[str]) -> bool:
    """Tell whether a constant is the scale of a weight that a quantiser has renamed."""
    return name.endswith("_scale") and name.removesuffix("_scale") + "_quantized" in by_name


def _part(constant: Constant, ints: Ints) -> Part | None:
    """Return a constant as a parameter, or None if it is not one."""
    dtype, elements = type_name(constant.tensor), math.prod(constant.shape)
    unused = Use(Operator("", "", 1 << 62, [], [], {}), 0, None, constant.name)
    if not (is_measurable(dtype) or dtype in CODES):
        counts = names.COUNTER.fullmatch(names.split(constant.name)[1]) is not None
        return Part(constant, unused, Meaning(unused.operator), Role.BUFFER) if counts else None
    if elements == 0:
        return None
    rank = len(constant.shape)
    uses = [(use, meaning_of(use, elements, rank)) for use in uses_of(constant, ints)]
    if dtype in CODES:
        uses = [(use, meaning) for use, meaning in uses if _takes_codes(use, dtype)]
    placed = [(use, meaning) for use, meaning in uses if meaning.certain]
    if placed:
        return _placed(constant, placed)
    return None if dtype in CODES else _by_name(constant, elements, uses, unused)


def _takes_codes(use: Use, dtype: str) -> bool:
    """Tell whether integers at this input are codes of weights, not indices or sizes."""
    known = use.dequantiser is not None or use.operator.type in SLOTS
    return known or (not use.operator.standard and dtype not in WIDE_CODES)


def _placed(constant: Constant, uses: list[tuple[Use, Meaning]]) -> Part:
    """Return a constant with a parameter slot at an operator; its first use decides."""
    use, meaning = uses[0]
    role = Role.BUFFER if names.is_buffer(constant.name) else meaning.role
    modules = [_module(meaning.operator) for _, meaning in uses]
    elsewhere = next((module for module in modules if module != modules[0]), "")
    return Part(constant, use, meaning, role, elsewhere)


def _by_name(
    constant: Constant, elements: int, uses: list[tuple[Use, Meaning]], unused: Use
) -> Part | None:
    """Return a constant without a parameter slot; its name determines what it is."""
    scales = uses and all(use.operator.type.startswith(QUANTISERS) for use, _ in uses)
    use, meaning = uses[0] if uses else (unused, Meaning(unused.operator))
    named = names.is_meaningful(constant.name)
    argument = not named and use.operator.type in SLOTS  # such as the initial state of an LSTM
    if constant.from_node or elements == 1 or scales or argument:
        return None
    role = names.role_of(constant.name) if named else Role.BUFFER
    if role is Role.BUFFER and named and _is_table(constant, use):
        role = Role.EMBEDDING
    kind = Kind.EMBEDDING if role is Role.EMBEDDING else meaning.kind
    return Part(constant, use, Meaning(meaning.operator, role, kind), role)


def _is_table(constant: Constant, use: Use) -> bool:
    """Tell whether a constant is only added to values, or put among them, as positions are."""
    is_trained = not (names.is_buffer(constant.name) or names_buffer(constant.name))
    axes = (
        len(constant.shape)
        if use.operator.type in ("Concat", "Expand")
        else sum(
            length > 1
            for length in constant.shape  # a vector is a bias, or a mask
        )
    )
    return is_trained and axes > 1 and use.operator.type in BESIDE


def _named(layer: Layer) -> tuple[str, str]:
    """Return the name of a layer, and a suffix in case another layer has the same name."""
    operator = layer.operator
    for part in [*layer.weights, *layer.parts]:
        if names.is_meaningful(part.name):
            return names.split(part.name)
    if operator.module:
        return operator.module, operator.type
    path = names.path_of_node(operator.name, _output_name(operator))
    return _module(operator) or layer.parts[0].constant.name, path[-1]


def _module(operator: Operator) -> str:
    """Return the module of an operator, from its name or metadata."""
    return operator.module or names.module_of_node(operator.name, _output_name(operator))


def _output_name(operator: Operator) -> str:
    return operator.outputs[0].name if operator.outputs else ""


def _apart(layers: list[Layer]) -> list[Layer]:
    """Return the layers with unique names, merged if they belong to one module."""
    same: dict[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        same[layer.name].append(layer)
    kept: list[Layer] = []
    taken = {name for name, several in same.items() if len(several) == 1}
    for layer in layers:
        others = same[layer.name]
        if len(others) == 1:
            kept.append(layer)
        elif _is_one_module(others):
            if layer is others[0]:
                kept.append(_merged(others))
        else:
            suffix = f".{layer.suffix or layer.operator.type}" if layer.weights else ""
            layer.name = _free(layer.name + suffix, taken)
            kept.append(layer)
    return kept


def _is_one_module(layers: list[Layer]) -> bool:
    """Tell whether layers with the same name belong to one module."""
    with_weights = [layer for layer in layers if layer.weights]
    leaves = [names.split(p.name)[1] for layer in with_weights for p in layer.weights]
    return len(with_weights) < 2 or all(names.ONE_MODULE.fullmatch(leaf) for leaf in leaves)


def _merged(layers: list[Layer]) -> Layer:
    parts = sorted((p for layer in layers for p in layer.parts), key=lambda part: part.place)
    first = next((layer for layer in layers if layer.weights), layers[0])
    return Layer(first.operator, parts, first.name)


def _free(name: str, taken: set[str]) -> str:
    """Return the name, numbered if it is taken."""
    candidate, count = name, 0
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate


def hints_of(layer: Layer, part: Part) -> Hints:
    """Return the hints for a parameter; without a use, only its layer."""
    if not part.use.operator.type:
        return Hints(layer.name)
    axes = _stored_axes(part)
    return Hints(layer.name, layer.kind, part.role, axes, _sections(layer, part, axes))


def _stored_axes(part: Part) -> tuple[Axis, ...] | None:
    """Return the meaning of the stored axes, derived from that of the axes at the operator."""
    seen, view = part.meaning.axes, part.use.view
    rank = len(part.constant.shape)
    if seen is None or view is None or len(view) != len(seen):
        return None
    stored = [Axis.OTHER] * rank
    for dimension, meaning in zip(view, seen, strict=True):
        for axis in dimension.axes:
            stored[axis] = meaning
    return tuple(stored)


def _sections(layer: Layer, part: Part, axes: tuple[Axis, ...] | None) -> tuple[str, ...] | None:
    """Return the names of the parts stacked along the output axis, in storage order."""
    sections = part.meaning.sections
    if part.use.view is None or any(d.length == UNKNOWN_LENGTH for d in part.use.view):
        sections = None  # split and concatenated on the way: the order is unknown
    leaf = names.split(part.name)[1]
    if names.RECURRENT.fullmatch(leaf):
        sections = TORCH_GATES.get(layer.kind)
    elif layer.kind is Kind.ATTENTION and any(names.PACKED.search(p.name) for p in layer.parts):
        sections = ("q", "k", "v")
    sizes = part.meaning.operator.integers("qkv_hidden_sizes")
    if sections is None or axes is None or (sizes and len(set(sizes)) > 1):
        return None
    outputs = math.prod(
        n for n, a in zip(part.constant.shape, axes, strict=True) if a is Axis.OUTPUT
    )
    return sections if outputs % len(sections) == 0 else None

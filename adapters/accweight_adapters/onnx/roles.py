"""Role of a tensor at an operator (weight, bias, norm, table), and meaning of its axes.

`SLOTS` lists the operators with parameter inputs, one line each. Add and Mul have none; the role of
their constant follows from the other operand: if it is the output of a layer, the constant is that
layer's bias; if it is divided by a root, the constant belongs to a normalisation in elementary
operators.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from accweight_adapters.onnx.graph import Operator, Value
from accweight_adapters.onnx.trace import PASSING, Use, is_constant, maker
from accweight_core.schema import Axis, Kind, Role

Axes = tuple[Axis, ...]
AxisRule = Callable[[Operator, int], Axes]
"""Returns the meaning of the axes, given the operator and the rank at it."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A parameter input of an operator."""

    role: Role
    kind: Kind
    axes: AxisRule
    sections: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of a constant at one use.

    Attributes:
        operator: The operator of its layer.
        role: Its role.
        kind: Kind of the layer.
        axes: Meaning of the axes at the operator; None if unknown.
        sections: Names of the parts stacked along the output axis.
        certain: Whether the input is a parameter slot, which takes nothing but a parameter.
    """

    operator: Operator
    role: Role = Role.BUFFER
    kind: Kind = Kind.OTHER
    axes: Axes | None = None
    sections: tuple[str, ...] | None = None
    certain: bool = False


def _vector(operator: Operator, rank: int) -> Axes:
    return (Axis.OUTPUT,) * rank


def _conv(operator: Operator, rank: int) -> Axes:
    return (Axis.OUTPUT, Axis.INPUT, *(Axis.KERNEL,) * (rank - 2))[:rank]


def _conv_transpose(operator: Operator, rank: int) -> Axes:
    return (Axis.INPUT, Axis.OUTPUT, *(Axis.KERNEL,) * (rank - 2))[:rank]


def _right(operator: Operator, rank: int) -> Axes:
    """Return the axes of a right operand, x @ W: (..., input, output) unless transposed."""
    if rank < 2:
        return (Axis.INPUT,) * rank
    pair = (Axis.INPUT, Axis.OUTPUT)
    return (*(Axis.OTHER,) * (rank - 2), *(pair[::-1] if operator.integer("transB", 0) else pair))


def _left(operator: Operator, rank: int) -> Axes:
    """Return the axes of a left operand, W @ x: (..., output, input) unless transposed."""
    if rank < 2:
        return (Axis.INPUT,) * rank
    pair = (Axis.OUTPUT, Axis.INPUT)
    return (*(Axis.OTHER,) * (rank - 2), *(pair[::-1] if operator.integer("transA", 0) else pair))


def _table(operator: Operator, rank: int) -> Axes:
    """Return the axes of a lookup table; its entries count as outputs, as core has it for torch."""
    entries = operator.integer("axis", 0) % max(rank, 1)
    return tuple(Axis.OUTPUT if axis == entries else Axis.INPUT for axis in range(rank))


def _recurrent(operator: Operator, rank: int) -> Axes:
    return (Axis.DIRECTION, Axis.OUTPUT, Axis.INPUT)[:rank]


def _recurrent_transposed(operator: Operator, rank: int) -> Axes:
    return (Axis.DIRECTION, Axis.INPUT, Axis.OUTPUT)[:rank]


def _other(operator: Operator, rank: int) -> Axes:
    return (Axis.OTHER,) * rank


def _weight(kind: Kind, axes: AxisRule, sections: tuple[str, ...] | None = None) -> Slot:
    return Slot(Role.WEIGHT, kind, axes, sections)


def _bias(kind: Kind, axes: AxisRule = _vector, sections: tuple[str, ...] | None = None) -> Slot:
    return Slot(Role.BIAS, kind, axes, sections)


def _gates(kind: Kind, names: str, axes: AxisRule = _recurrent) -> dict[int, Slot]:
    """Return the slots W, R and B of a recurrent operator; B holds both biases."""
    gates, both = tuple(names), tuple(names) + tuple(f"r{name}" for name in names)
    single = len(gates) < 2
    return {
        1: _weight(kind, axes, None if single else gates),
        2: _weight(kind, axes, None if single else gates),
        3: _bias(kind, _recurrent, ("w", "r") if single else both),
    }


_NORM = Slot(Role.NORM, Kind.NORM, _vector)
_STATISTIC = Slot(Role.BUFFER, Kind.NORM, _vector)
_EMBEDDING = Slot(Role.EMBEDDING, Kind.EMBEDDING, _table)
_CONV = {1: _weight(Kind.CONV, _conv), 2: _bias(Kind.CONV)}
_MATMUL = {0: _weight(Kind.LINEAR, _left), 1: _weight(Kind.LINEAR, _right)}
_AFFINE = {1: _NORM, 2: _NORM}
_QKV = ("q", "k", "v")
_PACKED_ATTENTION = {
    1: _weight(Kind.ATTENTION, _right, _QKV),
    2: _bias(Kind.ATTENTION, _vector, _QKV),
}
_LSTM = _gates(Kind.LSTM, "iofc")

SLOTS: dict[str, dict[int, Slot]] = {
    "Conv": _CONV,
    "FusedConv": _CONV,
    "ConvInteger": {1: _CONV[1]},
    "QLinearConv": {3: _CONV[1], 8: _CONV[2]},
    "DeformConv": {1: _CONV[1], 3: _CONV[2]},
    "ConvTranspose": {
        1: _weight(Kind.CONV_TRANSPOSE, _conv_transpose),
        2: _bias(Kind.CONV_TRANSPOSE),
    },
    "Gemm": {**_MATMUL, 2: _bias(Kind.LINEAR)},
    "FusedGemm": {**_MATMUL, 2: _bias(Kind.LINEAR)},
    "QGemm": {0: _MATMUL[0], 3: _MATMUL[1], 6: _bias(Kind.LINEAR)},
    "MatMul": _MATMUL,
    "FusedMatMul": _MATMUL,
    "MatMulInteger": _MATMUL,
    "QLinearMatMul": {0: _MATMUL[0], 3: _MATMUL[1]},
    "DynamicQuantizeMatMul": {1: _MATMUL[1], 4: _bias(Kind.LINEAR)},
    "MatMulIntegerToFloat": {1: _MATMUL[1], 6: _bias(Kind.LINEAR)},
    "MatMulNBits": {1: _weight(Kind.LINEAR, _other), 5: _bias(Kind.LINEAR)},
    "MatMulBnb4": {1: _weight(Kind.LINEAR, _other)},
    "LSTM": {**_LSTM, 7: _weight(Kind.LSTM, _recurrent, tuple("iof"))},
    "DynamicQuantizeLSTM": {
        **_gates(Kind.LSTM, "iofc", _recurrent_transposed),
        3: _LSTM[3],
    },
    "GRU": _gates(Kind.GRU, "zrh"),
    "RNN": _gates(Kind.RNN, "h"),
    "BatchNormalization": {**_AFFINE, 3: _STATISTIC, 4: _STATISTIC},
    "InstanceNormalization": _AFFINE,
    "LayerNormalization": _AFFINE,
    "GroupNormalization": _AFFINE,
    "GroupNorm": _AFFINE,
    "RMSNormalization": {1: _NORM},
    "SimplifiedLayerNormalization": {1: _NORM},
    "SkipLayerNormalization": {2: _NORM, 3: _NORM, 4: _bias(Kind.NORM)},
    "SkipSimplifiedLayerNormalization": {2: _NORM, 3: _bias(Kind.NORM)},
    "SkipGroupNorm": {2: _NORM, 3: _NORM, 5: _bias(Kind.NORM)},
    "EmbedLayerNormalization": {2: _EMBEDDING, 3: _EMBEDDING, 4: _EMBEDDING, 5: _NORM, 6: _NORM},
    "Attention": {},  # the standard's own has no parameters; see `_slot`
    "QAttention": _PACKED_ATTENTION,
    "PackedAttention": _PACKED_ATTENTION,
    "DecoderMaskedSelfAttention": _PACKED_ATTENTION,
    "MultiHeadAttention": {3: _bias(Kind.ATTENTION, _vector, _QKV)},
    "PRelu": {1: _weight(Kind.OTHER, _other)},
}
"""Parameter inputs of the standard operators and of onnxruntime's own."""

EINSUM = {0: _MATMUL[0], 1: _MATMUL[1]}
BIASED = (Kind.CONV, Kind.CONV_TRANSPOSE, Kind.LINEAR)
"""Kinds of layers whose bias may be a separate Add."""

NORMS = frozenset(
    {"InstanceNormalization", "LayerNormalization", "GroupNormalization", "BatchNormalization",
     "RMSNormalization", "MeanVarianceNormalization", "LpNormalization"}
)  # fmt: skip
INVERSES = frozenset({"Reciprocal", "Div", "Pow", "Rsqrt"})
REDUCTIONS = ("Reduce", "GlobalAveragePool")
INTEGER_PRODUCTS = frozenset({"MatMulInteger", "ConvInteger"})


def meaning_of(use: Use, elements: int, rank: int) -> Meaning:
    """Return the meaning of a constant at one use, given its number of elements and axes."""
    operator, index = use.operator, use.index
    slot = _slot(operator, index)
    if slot is not None:
        return _at_slot(use, slot, rank)
    if operator.type == "Gather" and index == 0 and rank == 2 and elements > 1:
        return _at_slot(use, _EMBEDDING, rank)
    if operator.type == "Einsum":
        return _in_einsum(operator, index, rank)
    if operator.type in ("Add", "Sub"):
        return _added(operator, index, use) if rank else Meaning(operator)
    if operator.type == "Mul" and elements > 1:
        return _multiplied(operator, index, use)
    if not operator.standard and elements > 1 and rank > 1:
        return Meaning(operator, Role.WEIGHT, certain=True)
    return Meaning(operator)


def _slot(operator: Operator, index: int) -> Slot | None:
    if operator.type == "Attention" and not operator.standard:
        return _PACKED_ATTENTION.get(index)
    return SLOTS.get(operator.type, {}).get(index)


def _at_slot(use: Use, slot: Slot, rank: int) -> Meaning:
    operator = use.operator
    if operator.type == "InstanceNormalization" and _is_scaled_later(operator):
        return Meaning(operator)
    seen = len(use.view) if use.view is not None else rank
    flat = slot.axes is _vector and use.view is not None
    axes = _only_outputs(use) if flat else slot.axes(operator, seen)
    return Meaning(operator, slot.role, slot.kind, axes, slot.sections, certain=True)


def _is_scaled_later(operator: Operator) -> bool:
    """Tell whether a norm's own scale is a dummy, as in the export of group norm."""
    waiting = list(operator.outputs[:1])
    for _ in range(8):
        if not waiting:
            return False
        for user, index in waiting.pop().users:
            if user.type == "Mul":
                return any(is_constant(value) for value in user.inputs)
            if user.type in PASSING and index == 0:
                waiting += user.outputs[:1]
    return False


def _in_einsum(operator: Operator, index: int, rank: int) -> Meaning:
    """Return the meaning of an operand of an Einsum: letters that are summed over are inputs."""
    inputs, arrow, output = operator.text("equation").replace(" ", "").partition("->")
    terms = inputs.split(",")
    if not arrow or index >= len(terms) or len(terms[index]) != rank or rank < 2:
        return Meaning(operator, Role.WEIGHT, Kind.LINEAR, certain=rank > 1)
    others = "".join(term for i, term in enumerate(terms) if i != index)
    shared = {c for c in terms[index] if c in output and c in others}
    axes = tuple(
        Axis.OTHER if c in shared else Axis.OUTPUT if c in output else Axis.INPUT
        for c in terms[index]
    )
    return Meaning(operator, Role.WEIGHT, Kind.LINEAR, axes, certain=True)


def _added(operator: Operator, index: int, use: Use) -> Meaning:
    """Return the meaning of a constant in an Add: the bias of the other operand's layer."""
    other = operator.input(1 - index)
    if not _is_vector(use):
        return Meaning(operator)
    layer = layer_before(other)
    if layer is not None:
        return Meaning(layer, Role.BIAS, kind_of(layer), _only_outputs(use), certain=True)
    norm = _norm_before(other)
    if norm is not None:
        return Meaning(norm, Role.NORM, Kind.NORM, _only_outputs(use), certain=True)
    return Meaning(operator)


def _multiplied(operator: Operator, index: int, use: Use) -> Meaning:
    """Return the meaning of a constant in a Mul: the scale of the normalisation before it."""
    made = _normaliser(operator.input(1 - index)) if _is_vector(use) else None
    if made is None:
        return Meaning(operator)
    anchor = made if made.type in NORMS else operator
    return Meaning(anchor, Role.NORM, Kind.NORM, _only_outputs(use), certain=True)


def _only_outputs(use: Use) -> Axes | None:
    """Return the axes of a vector, possibly with axes of length one."""
    if use.view is None:
        return None
    return tuple(
        Axis.OTHER if d.length == 1 and len(use.view) > 1 else Axis.OUTPUT for d in use.view
    )


def _is_vector(use: Use) -> bool:
    """Tell whether at most one axis is longer than one, as far as lengths are known."""
    return use.view is not None and sum(d.length not in (1, -1) for d in use.view) <= 1


def layer_before(value: Value | None) -> Operator | None:
    """Return the operator with a weight that produced a value, or None."""
    operator = maker(value)
    if operator is not None and operator.type == "Mul":
        operator = _integer_product(operator)
    if operator is None or kind_of(operator) not in BIASED:
        return None
    slots = SLOTS.get(operator.type, EINSUM)
    weights = [i for i, slot in slots.items() if slot.role is Role.WEIGHT]
    return operator if any(is_constant(operator.input(i)) for i in weights) else None


def kind_of(operator: Operator) -> Kind:
    """Return the kind of an operator's layer."""
    slots = EINSUM if operator.type == "Einsum" else SLOTS.get(operator.type, {})
    return next((slot.kind for slot in slots.values()), Kind.OTHER)


def _integer_product(scaling: Operator) -> Operator | None:
    """Return the integer product that a Mul scales back to floats."""
    for value in scaling.inputs:
        made = maker(value, PASSING | {"Mul"})
        if made is not None and made.type in INTEGER_PRODUCTS:
            return made
    return None


def _norm_before(value: Value | None) -> Operator | None:
    """Return the operator of the normalisation whose scaled result a value is, or None."""
    scale = maker(value)
    if scale is None or scale.type in NORMS:
        return scale
    if scale.type != "Mul" or not any(is_constant(v) for v in scale.inputs):
        return None
    for operand in scale.inputs:
        made = _normaliser(operand)
        if made is not None:
            return made if made.type in NORMS else scale
    return None


def _normaliser(value: Value | None) -> Operator | None:
    """Return the operator that normalised a value: a norm, or a division by a root of a mean."""
    made = maker(value)
    if made is None or made.type in NORMS:
        return made
    if made.type == "Div":
        return made if _is_root(made.input(1)) else None
    if made.type == "Mul":
        inverse = (maker(operand) for operand in made.inputs)
        roots = (o for o in inverse if o is not None and o.type in INVERSES)
        return made if any(_is_root(v) for o in roots for v in (*o.inputs, *o.outputs)) else None
    return None


def _is_root(value: Value | None) -> bool:
    """Tell whether a value is the root, or a negative power, of a mean over the data."""
    root = maker(value)
    if root is None or root.type not in ("Sqrt", "Pow"):
        return root is not None and root.type == "ReduceL2"
    under = root.input(0)
    for _ in range(6):
        made = maker(under)
        if made is None:
            return False
        if made.type.startswith(REDUCTIONS):
            return True
        if made.type not in ("Add", "Max", "Clip", "Sub", "Abs"):
            return False
        under = next((v for v in made.inputs if not is_constant(v)), None)
    return False

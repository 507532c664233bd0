"""Attention heads of an ONNX graph: from operators for attention, and from its reshapes.

Operators for attention state their heads. Exported layers are a product, a sum with the bias, and a
reshape whose last two lengths are the heads and their width.
"""

from __future__ import annotations

import math
from typing import Final

from accweight_adapters.model_config.projections import LAYERS, OUT, QUERY
from accweight_adapters.onnx.graph import Operator, Value
from accweight_adapters.onnx.trace import Ints, is_constant
from accweight_core.schema import Axis, Part, Split

ORIGIN: Final = "ONNX graph"
FUSED: Final = ("Attention", "QAttention", "PackedAttention")
"""Operators of ONNX Runtime whose second input is the matrix of q, k and v."""

SEPARATE: Final = ("Attention", "MultiHeadAttention", "GroupQueryAttention")
"""Operators whose first inputs are queries, keys and values."""

PRODUCTS: Final = ("MatMul", "Gemm")
Shape = tuple[int, ...]


def heads_of(
    operator: Operator, layer: str, shape: Shape, axes: tuple[Axis, ...] | None, ints: Ints
) -> Split | None:
    """Return the heads of a weight; None if the graph does not say.

    Args:
        operator: The operator that uses it.
        layer: Name of its layer.
        shape: Its shape.
        axes: Meaning of its axes.
        ints: Reads small integer constants.
    """
    if axes is None or len(shape) != 2:
        return None
    outputs, inputs = (
        math.prod(n for n, axis in zip(shape, axes, strict=True) if axis is along)
        for along in (Axis.OUTPUT, Axis.INPUT)
    )
    if operator.type in FUSED and not operator.standard:
        return _fused(operator, outputs)
    if operator.type not in PRODUCTS or not operator.outputs:
        return None
    source = operator.input(0)
    if source is not None and source.producer is not None:
        asked = source.producer
        if asked.type in SEPARATE:
            return _split(Axis.INPUT, OUT, inputs, _count(asked, OUT))
    return _projection(operator.outputs[0], layer, outputs, ints)


def _fused(operator: Operator, outputs: int) -> Split | None:
    heads = operator.integer("num_heads", 0)
    sizes = operator.integers("qkv_hidden_sizes") or [outputs // 3] * 3
    if heads < 1 or len(sizes) != 3 or sum(sizes) != outputs or any(n % heads for n in sizes):
        return None
    parts = tuple(Part(name, size, heads) for name, size in zip("qkv", sizes, strict=True))
    return Split(Axis.OUTPUT, parts, origin=ORIGIN) if min(sizes) > 0 else None


def _projection(value: Value, layer: str, outputs: int, ints: Ints) -> Split | None:
    """Return the heads by what becomes of a product."""
    users = value.users
    if len(users) == 1 and users[0][0].type == "Add" and users[0][0].outputs:
        added = users[0][0]
        if any(is_constant(operand) for operand in added.inputs):
            users = added.outputs[0].users
    named = LAYERS.get(layer.rpartition(".")[2], "")
    for user, index in users:
        if user.type in SEPARATE and index < 3:
            kind = "qkv"[index]
            return _split(Axis.OUTPUT, kind, outputs, _count(user, kind))
        if user.type == "Reshape" and index == 0 and named in ("q", "k", "v"):
            lengths = _last_two(user.input(1), ints)
            if lengths and math.prod(lengths) == outputs:
                return _split(Axis.OUTPUT, named, outputs, lengths[0])
    return None


def _count(operator: Operator, kind: str) -> int:
    """Return the heads that an operator for attention states for a projection."""
    own = operator.integer("num_heads", 0) or operator.integer("q_num_heads", 0)
    return own if kind in (QUERY, OUT) else operator.integer("kv_num_heads", own)


def _last_two(shape: Value | None, ints: Ints) -> list[int] | None:
    """Return the last two lengths of a reshape, if they are positive constants."""
    found = ints(shape)
    if found is None and shape is not None and shape.producer is not None:
        parts = shape.producer.inputs[-2:] if shape.producer.type == "Concat" else []
        found = [n for part in parts for n in (ints(part) or [0])]
    return found[-2:] if found and len(found) > 1 and min(found[-2:]) > 0 else None


def _split(along: Axis, name: str, size: int, heads: int) -> Split | None:
    if heads < 1 or size < 1 or size % heads:
        return None
    return Split(along, (Part(name, size, heads),), origin=ORIGIN)

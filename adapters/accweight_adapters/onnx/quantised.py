"""Dequantise integer weights, where the graph has the parameters.

``weight = (code - zero_point) * scale``, in float32 as ONNX defines it. Scale and zero point are
inputs of the same operator (DequantizeLinear, the QLinear operators), or elsewhere: a Mul scales
the integer product afterwards, or the quantiser gave them a similar name. If they cannot be
determined, the weight is refused with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accweight_adapters.onnx.extents import StoredValues, Weights
from accweight_adapters.onnx.graph import Constant, Operator, Value
from accweight_adapters.onnx.trace import (
    LARGEST_CHAIN,
    Use,
    constant_behind,
    is_constant,
    maker,
)
from accweight_core.schema import HiddenValues

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Place:
    """Inputs of an operator that hold scale and zero point, and the axis of the scales."""

    scales: tuple[int, ...]
    zero_point: int | None
    axis: int


PLACES = {
    ("QLinearConv", 3): Place((4,), 5, 0),
    ("QLinearConv", 8): Place((1, 4), None, 0),
    ("QLinearMatMul", 0): Place((1,), 2, -2),
    ("QLinearMatMul", 3): Place((4,), 5, -1),
    ("QGemm", 0): Place((1,), 2, -2),
    ("QGemm", 3): Place((4,), 5, -1),
    ("QGemm", 6): Place((1, 4), None, -1),
    ("DynamicQuantizeMatMul", 1): Place((2,), 3, -1),
    ("MatMulIntegerToFloat", 1): Place((3,), 5, -1),
    ("QAttention", 1): Place((4,), 7, -1),
    ("DynamicQuantizeLSTM", 1): Place((8,), 9, 0),
    ("DynamicQuantizeLSTM", 2): Place((10,), 11, 0),
    ("MatMulInteger", 0): Place((), 2, -2),
    ("MatMulInteger", 1): Place((), 3, -1),
    ("ConvInteger", 1): Place((), 3, 0),
}
"""Scale and zero point inputs of operators on codes; no scale: it follows the product."""


class UnknownScaleError(ValueError):
    """Raised if scale or zero point cannot be determined; the message says why."""


@dataclass(frozen=True, slots=True)
class Dequantised:
    """Reads and dequantises codes; `axis` is the axis of the scales, `block` their spacing."""

    codes: StoredValues
    scales: tuple[StoredValues, ...]
    zero_point: StoredValues | None
    axis: int
    block: int = 0

    def __call__(self) -> Floats:
        """Return ``(code - zero_point) * scale`` as float32."""
        values = np.asarray(self.codes(), dtype=np.float32)
        if self.zero_point is not None:
            values = values - self._spread(self.zero_point)
        scale = np.ones((), dtype=np.float32)
        for factor in self.scales:
            scale = scale * self._spread(factor)
        with np.errstate(over="ignore", invalid="ignore"):  # core counts non-finite values
            return np.asarray(values * scale, dtype=np.float32)

    def _spread(self, stored: StoredValues) -> Floats:
        """Return scales or zero points in a shape that broadcasts over the codes."""
        values = np.asarray(stored(), dtype=np.float32)
        shape = self.codes.shape
        if values.size == 1:
            return values.reshape(())
        if self.block:
            return values.take(np.arange(shape[self.axis]) // self.block, self.axis)
        if values.ndim == 2 and len(shape) == 3:  # recurrent: one scale per direction and unit
            return values[:, None, :]
        return values.reshape([-1 if axis == self.axis else 1 for axis in range(len(shape))])


@dataclass(frozen=True, slots=True)
class Scheme:
    """Parameters of the dequantisation; `axis` is None if it is unknown."""

    scales: list[Constant]
    zero_point: Value | None
    axis: int | None
    block: int = 0


def dequantised(
    constant: Constant, use: Use, weights: Weights, by_name: Mapping[str, Constant]
) -> HiddenValues:
    """Return the values of a quantised constant as floats.

    Raises:
        UnknownScaleError: If scale or zero point cannot be determined.
    """
    found = _by_dequantiser(constant, use) or _by_place(constant, use, by_name)
    zero = None if found.zero_point is None else _stored(found.zero_point, "zero point")
    for part in (*found.scales, *([zero] if zero else [])):
        _check(part.shape, constant.shape, found.axis, found.block)
    load = Dequantised(
        weights.load(constant.tensor),
        tuple(weights.load(scale.tensor) for scale in found.scales),
        None if zero is None else weights.load(zero.tensor),
        found.axis or 0,
        found.block,
    )
    return HiddenValues(load, "float32", constant.shape)


def _by_dequantiser(constant: Constant, use: Use) -> Scheme | None:
    """Return the scheme of a DequantizeLinear; its axis is valid if it sees the codes as stored."""
    operator = use.dequantiser
    if operator is None:
        return None
    as_stored = constant_behind(operator.input(0)) is constant and constant.shape
    axis = operator.integer("axis", 1) % len(constant.shape) if as_stored else None
    scale = _stored(operator.input(1), "scale")
    return Scheme([scale], operator.input(2), axis, operator.integer("block_size", 0))


def _by_place(constant: Constant, use: Use, by_name: Mapping[str, Constant]) -> Scheme:
    """Return the scheme from the inputs of an operator on codes."""
    operator, place = use.operator, _place(use)
    scales = [_stored(operator.input(i), "scale") for i in place.scales]
    zero_point = None if place.zero_point is None else operator.input(place.zero_point)
    return Scheme(
        scales or [_scale_apart(constant, operator, by_name)],
        zero_point,
        _stored_axis(use, place.axis),
    )


def _place(use: Use) -> Place:
    place = PLACES.get((use.operator.type, use.index))
    if place is None:
        raise UnknownScaleError(
            f"integer codes go into {use.operator.type or 'nothing'}, and how it scales them is "
            "not known; export the model before quantisation"
        )
    return place


def _stored(value: Value | None, what: str) -> Constant:
    constant = constant_behind(value)
    if constant is None or constant.sparse_shape is not None:
        raise UnknownScaleError(
            f"the {what} of its codes is computed while the model runs, not stored"
        )
    return constant


def _stored_axis(use: Use, axis: int) -> int | None:
    """Return the stored axis of an axis at the operator, if it is a single one."""
    if use.operator.integer("transB", 0) and axis == -1 and use.index == 3:
        axis = -2
    if use.view is None or not -len(use.view) <= axis < len(use.view):
        return None
    axes = use.view[axis].axes
    return axes[0] if len(axes) == 1 else None


def _check(part: tuple[int, ...], shape: tuple[int, ...], axis: int | None, block: int) -> None:
    """Raise unless scales or zero points of shape `part` fit codes of that shape."""
    if math.prod(part) == 1:
        return
    if axis is not None:
        expected: set[tuple[int, ...]] = {(shape[axis],)}
        if len(shape) == 3:
            expected.add((shape[0], shape[2]))
        if block > 0:
            blocks = list(shape)
            blocks[axis] = -(-shape[axis] // block)
            expected = {tuple(blocks)}
        if part in expected:
            return
    raise UnknownScaleError(f"its scale or zero point has shape {part}, which does not fit {shape}")


def _scale_apart(
    constant: Constant, operator: Operator, by_name: Mapping[str, Constant]
) -> Constant:
    """Return the scale of the weight of an integer product, by name or from a later Mul."""
    named = by_name.get(constant.name.removesuffix("_quantized") + "_scale")
    if named is not None:
        return named
    factors = list(_factors(operator))
    constants = [c for value in factors if (c := constant_behind(value)) is not None]
    if len(constants) == 1 and len(factors) > 1:
        return constants[0]
    raise UnknownScaleError(
        f"no scale of its own can be told after {operator.type}: "
        + ("nothing multiplies the product" if not factors else "it is merged with the input's")
    )


def _factors(operator: Operator) -> Iterator[Value]:
    """Yield the factors that the result of an integer product is multiplied by."""
    value = operator.outputs[0] if operator.outputs else None
    for _ in range(LARGEST_CHAIN):
        if value is None or len(value.users) != 1:
            return
        user, index = value.users[0]
        if user.type == "Mul":
            yield from _leaves(user.input(1 - index))
        elif user.type not in ("Cast", "Identity"):
            return
        value = user.outputs[0] if user.outputs else None


def _leaves(value: Value | None, depth: int = 4) -> Iterator[Value]:
    """Yield the factors of a value that is itself a product."""
    producer = maker(value)
    if value is None:
        return
    if producer is None or producer.type != "Mul" or is_constant(value) or not depth:
        yield value
        return
    for operand in producer.inputs:
        yield from _leaves(operand, depth - 1)

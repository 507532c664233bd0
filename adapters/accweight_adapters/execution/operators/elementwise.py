"""Operators that work element by element: arithmetic, comparisons, logic, bits, rounding, types."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from accweight_adapters.execution.element_types import UNSIGNED, torch_type
from accweight_adapters.execution.operators.table import Call, Node, operator, plain
from accweight_core.errors import UnsupportedOperatorError


def signed(value: Tensor) -> Tensor:
    """Return numbers of unsigned types, for which torch has few operations, as int64.

    Raises:
        UnsupportedOperatorError: If one of them does not fit.
    """
    wide = value.to(torch.int64)
    if value.dtype == torch.uint64 and bool((wide < 0).any()):
        raise UnsupportedOperatorError("numbers of 2^63 and above cannot be computed with here")
    return wide


def _widened(function: Call, *, result: bool = True) -> Call:
    """Return a function of tensors that works for unsigned types too; `result`: of that type."""

    @functools.wraps(function)
    def widened(*values: Tensor) -> Tensor:
        if values[0].dtype not in UNSIGNED:
            return function(*values)  # type: ignore[no-any-return]
        made: Tensor = function(*(signed(v) if v.dtype in UNSIGNED else v for v in values))
        return made.to(values[0].dtype) if result else made

    return widened


plain(1, {"Not": torch.logical_not})
plain(7, {"And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor})
plain(
    13,
    {
        "Abs": _widened(torch.abs),
        "Ceil": torch.ceil,
        "Exp": torch.exp,
        "Erf": torch.erf,
        "Floor": torch.floor,
        "Greater": _widened(torch.gt, result=False),
        "Less": _widened(torch.lt, result=False),
        "Log": torch.log,
        "Neg": torch.neg,
        "Reciprocal": torch.reciprocal,
        "Sign": _widened(torch.sign),
        "Sqrt": torch.sqrt,
        "Tanh": torch.tanh,
    },
)
plain(
    14,
    {
        "Add": _widened(torch.add),
        "Mul": _widened(torch.mul),
        "Sub": _widened(torch.sub),
    },
)
plain(
    16,
    {
        "GreaterOrEqual": _widened(torch.ge, result=False),
        "LessOrEqual": _widened(torch.le, result=False),
    },
)
plain(
    18,
    {
        "BitwiseAnd": _widened(torch.bitwise_and),
        "BitwiseNot": _widened(torch.bitwise_not),
        "BitwiseOr": _widened(torch.bitwise_or),
        "BitwiseXor": _widened(torch.bitwise_xor),
    },
)
plain(19, {"Equal": _widened(torch.eq, result=False)})
plain(20, {"IsNaN": torch.isnan})
plain(
    22,
    {
        "Acos": torch.acos,
        "Acosh": torch.acosh,
        "Asin": torch.asin,
        "Asinh": torch.asinh,
        "Atan": torch.atan,
        "Atanh": torch.atanh,
        "Cos": torch.cos,
        "Cosh": torch.cosh,
        "Det": torch.linalg.det,
        "Round": torch.round,
        "Sin": torch.sin,
        "Sinh": torch.sinh,
        "Tan": torch.tan,
    },
)


@operator("Div", newest=14)
def _div(node: Node) -> Call:
    def divided(x: Tensor, y: Tensor) -> Tensor:
        if x.is_floating_point() or x.is_complex():
            return x / y
        return torch.div(x, y, rounding_mode="trunc")

    return _widened(divided)


@operator("Pow", newest=15)
def _pow(node: Node) -> Call:
    def power(x: Tensor, y: Tensor) -> Tensor:
        exponent = (
            y.to(x.dtype) if x.is_floating_point() else signed(y) if y.dtype in UNSIGNED else y
        )
        return torch.pow(x, exponent).to(x.dtype)

    return _widened(power)


@operator("Mod", newest=28)
def _mod(node: Node) -> Call:
    return _widened(torch.fmod if node.get("fmod", 0) else torch.remainder)


@operator("BitShift", newest=28)
def _bit_shift(node: Node) -> Call:
    left = node.needed("direction") == "LEFT"

    def shifted(x: Tensor, y: Tensor) -> Tensor:
        if x.dtype == torch.uint64:
            raise node.refused("shifts numbers of type uint64, which is not known here")
        bits = torch.iinfo(x.dtype).bits
        count = y.to(torch.int64)
        wide = x.to(torch.int64)
        if not left:
            return (wide >> count.clamp(max=62)).to(x.dtype)
        moved = wide << count.clamp(max=62)
        return torch.where(count < bits, moved, 0).to(x.dtype)

    return shifted


@operator("Max", "Min", newest=13)
def _extremes(node: Node) -> Call:
    function = torch.maximum if node.type == "Max" else torch.minimum
    return _widened(lambda *values: functools.reduce(function, values))


@operator("Sum", "Mean", newest=13)
def _sums(node: Node) -> Call:
    mean = node.type == "Mean"

    def summed(*values: Tensor) -> Tensor:
        total = functools.reduce(torch.add, values)
        return total / len(values) if mean else total

    return summed


@operator("Where", newest=16)
def _where(node: Node) -> Call:
    return torch.where


@operator("IsInf", newest=20)
def _is_inf(node: Node) -> Call:
    both = node.get("detect_positive", 1), node.get("detect_negative", 1)
    known = {(1, 1): torch.isinf, (1, 0): torch.isposinf, (0, 1): torch.isneginf}
    return known.get(both, lambda x: torch.zeros_like(x, dtype=torch.bool))


@operator("Clip", newest=13)
def _clip(node: Node) -> Call:
    lowest, highest = node.get("min"), node.get("max")

    def clipped(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
        least: Any = lowest if low is None else low.to(x.dtype)
        most: Any = highest if high is None else high.to(x.dtype)
        if least is None and most is None:
            return x
        return torch.clamp(x, least, most)

    return _widened_clip(clipped)


def _widened_clip(function: Call) -> Call:
    def clipped(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
        if x.dtype not in UNSIGNED:
            return function(x, low, high)  # type: ignore[no-any-return]
        bounds = (None if b is None else signed(b) for b in (low, high))
        made: Tensor = function(signed(x), *bounds)
        return made.to(x.dtype)

    return clipped


@operator("Identity", newest=25)
def _identity(node: Node) -> Call:
    return lambda x: x


@operator("Dropout", newest=22)
def _dropout(node: Node) -> Call:
    def kept(x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None) -> Any:
        if training is not None and bool(training):
            raise node.refused(
                "drops values at random (training_mode is true); export for inference"
            )
        return (x, torch.ones_like(x, dtype=torch.bool)) if node.gives(1) else x

    return kept


# ---------------------------------------------------------------- types


@operator("Cast", newest=28)
def _cast(node: Node) -> Call:
    dtype = torch_type(node.needed("to"))
    saturate = bool(node.get("saturate", 1))
    return lambda x: _converted(node, x, dtype, saturate)


@operator("CastLike", newest=25)
def _cast_like(node: Node) -> Call:
    saturate = bool(node.get("saturate", 1))
    return lambda x, like: _converted(node, x, like.dtype, saturate)


def _converted(node: Node, x: Tensor, dtype: torch.dtype, saturate: bool) -> Tensor:
    if dtype.is_floating_point and dtype.itemsize == 1:
        return _to_float8(node, x, dtype, saturate)
    if x.is_floating_point() and x.itemsize == 1:
        return x.float().to(dtype)
    return x.to(dtype)


def _to_float8(node: Node, x: Tensor, dtype: torch.dtype, saturate: bool) -> Tensor:
    if not saturate:
        raise node.refused("converts to 8-bit floats without saturation, which is not known here")
    most = torch.finfo(dtype).max
    wide = x.float()
    bounded = torch.where(wide.isnan(), wide, wide.clamp(-most, most))
    return bounded.to(dtype)


@operator("BitCast", newest=26)
def _bit_cast(node: Node) -> Call:
    dtype = torch_type(node.needed("to"))

    def viewed(x: Tensor) -> Tensor:
        if x.element_size() != dtype.itemsize:
            raise node.refused("changes the size of elements, which is not known here")
        return x.contiguous().view(dtype)

    return viewed

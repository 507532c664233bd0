"""Quantised arithmetic: codes, scales and zero points."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accweight_adapters.execution.element_types import torch_type
from accweight_adapters.execution.operators.convolution import convolution
from accweight_adapters.execution.operators.table import Call, Node, axis_in, operator


def _aligned(node: Node, values: Tensor, x: Tensor, axis: int) -> Tensor:
    """Return scales or zero points, shaped so that they apply along an axis of a tensor."""
    if values.numel() == 1 and values.dim() <= 1:
        return values.reshape(())
    if values.dim() != 1:
        raise node.refused("has scales per block, which are not known here")
    along = axis_in(axis, x.dim())
    return values.reshape([-1 if i == along else 1 for i in range(x.dim())])


def _check(node: Node) -> None:
    if node.get("block_size", 0):
        raise node.refused("has scales per block, which are not known here")


def _codes(node: Node, ratio: Tensor, zero: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Return codes: rounded half to even, shifted by the zero point, within the type."""
    if dtype.is_floating_point:
        if not node.get("saturate", 1):
            raise node.refused("quantises without saturation, which is not known here")
        most = torch.finfo(dtype).max
        shifted = ratio if zero is None else ratio + zero.to(ratio.dtype)
        return shifted.clamp(-most, most).to(dtype)
    bounds = torch.iinfo(dtype)
    rounded = torch.round(ratio)
    shifted = rounded if zero is None else rounded + zero.to(rounded.dtype)
    return shifted.clamp(bounds.min, bounds.max).to(dtype)


@operator("QuantizeLinear", newest=28)
def _quantize(node: Node) -> Call:
    _check(node)
    axis, number = node.get("axis", 1), node.get("output_dtype", 0)
    precision = node.get("precision", 0)
    wanted = torch_type(number) if number else torch.uint8

    def quantised(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        dtype = wanted if zero is None else zero.dtype
        work = torch_type(precision) if precision else scale.dtype
        ratio = x.to(work) / _aligned(node, scale.to(work), x, axis)
        shift = None if zero is None else _aligned(node, zero, x, axis)
        return _codes(node, ratio, shift, dtype)

    return quantised


@operator("DequantizeLinear", newest=28)
def _dequantize(node: Node) -> Call:
    _check(node)
    axis, number = node.get("axis", 1), node.get("output_dtype", 0)

    def dequantised(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        wide = x.to(torch.float32)
        if zero is not None:
            wide = wide - _aligned(node, zero, x, axis).to(torch.float32)
        made = wide * _aligned(node, scale, x, axis).to(torch.float32)
        return made.to(torch_type(number) if number else scale.dtype)

    return dequantised


@operator("DynamicQuantizeLinear", newest=11)
def _dynamic_quantize(node: Node) -> Call:
    def quantised(x: Tensor) -> Any:
        low, high = x.min().clamp(max=0), x.max().clamp(min=0)
        scale = (high - low) / 255
        zero = torch.round((-low / scale).clamp(0, 255)).to(torch.uint8)
        return _codes(node, x / scale, zero, torch.uint8), scale, zero

    return quantised


def _shifted(x: Tensor, zero: Tensor | None) -> Tensor:
    """Return codes minus their zero point, as float64, in which products of codes are exact."""
    wide = x.to(torch.float64)
    return wide if zero is None else wide - zero.to(torch.float64)


def _rows(zero: Tensor | None) -> Tensor | None:
    """Return zero points per row as a column."""
    return zero.unsqueeze(-1) if zero is not None and zero.dim() == 1 else zero


@operator("MatMulInteger", newest=10)
def _matmul_integer(node: Node) -> Call:
    def product(
        a: Tensor, b: Tensor, zero_a: Tensor | None = None, zero_b: Tensor | None = None
    ) -> Tensor:
        return (_shifted(a, _rows(zero_a)) @ _shifted(b, zero_b)).to(torch.int32)

    return product


@operator("ConvInteger", newest=10)
def _conv_integer(node: Node) -> Call:
    convolved = convolution(node)

    def product(
        x: Tensor, w: Tensor, zero_x: Tensor | None = None, zero_w: Tensor | None = None
    ) -> Tensor:
        made: Tensor = convolved(_shifted(x, zero_x), _shifted(w, _per_filter(zero_w, w)))
        return made.to(torch.int32)

    return product


def _per_filter(values: Tensor | None, weight: Tensor) -> Tensor | None:
    if values is None or values.numel() == 1:
        return values
    return values.reshape(-1, *(1,) * (weight.dim() - 1))


@operator("QLinearMatMul", newest=21)
def _qlinear_matmul(node: Node) -> Call:
    def product(
        a: Tensor,
        scale_a: Tensor,
        zero_a: Tensor,
        b: Tensor,
        scale_b: Tensor,
        zero_b: Tensor,
        scale_y: Tensor,
        zero_y: Tensor,
    ) -> Tensor:
        rows = scale_a.unsqueeze(-1) if scale_a.dim() == 1 and scale_a.numel() > 1 else scale_a
        shift = zero_a.unsqueeze(-1) if zero_a.dim() == 1 and zero_a.numel() > 1 else zero_a
        made = _shifted(a, shift) @ _shifted(b, zero_b)
        ratio = made * (rows.double() * scale_b.double() / scale_y.double())
        return _codes(node, ratio, zero_y, zero_y.dtype)

    return product


@operator("QLinearConv", newest=10)
def _qlinear_conv(node: Node) -> Call:
    convolved = convolution(node)

    def product(
        x: Tensor,
        scale_x: Tensor,
        zero_x: Tensor,
        w: Tensor,
        scale_w: Tensor,
        zero_w: Tensor,
        scale_y: Tensor,
        zero_y: Tensor,
        bias: Tensor | None = None,
    ) -> Tensor:
        whole = None if bias is None else bias.double()
        made: Tensor = convolved(_shifted(x, zero_x), _shifted(w, _per_filter(zero_w, w)), whole)
        scale = (scale_x.double() * scale_w.double() / scale_y.double()).reshape(
            -1, *(1,) * (x.dim() - 2)
        )
        return _codes(node, made * scale, zero_y, zero_y.dtype)

    return product

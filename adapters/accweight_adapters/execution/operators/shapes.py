"""Operators that arrange elements: shapes, axes, joining, splitting, repeating, padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from accweight_adapters.execution.element_types import as_tensor, stored_tensor, torch_type
from accweight_adapters.execution.limits import check_size
from accweight_adapters.execution.operators.table import (
    Call,
    Node,
    Numbers,
    axes_in,
    listed,
    operator,
    single,
)


@operator("Constant", newest=25)
def _constant(node: Node) -> Call:
    value = constant_of(node)
    return lambda: value


def constant_of(node: Node) -> Tensor:
    """Return the value of a Constant node.

    Raises:
        UnsupportedOperatorError: If it holds text, or is stored sparsely.
    """
    for name, value in node.attributes.items():
        if name == "value":
            return stored_tensor(value)
        if name in ("value_float", "value_floats"):
            return torch.tensor(value, dtype=torch.float32)
        if name in ("value_int", "value_ints"):
            return torch.tensor(value, dtype=torch.int64)
    raise node.refused("holds text or a sparse tensor, which is not known here")


@operator("ConstantOfShape", newest=25, on_cpu=True)
def _constant_of_shape(node: Node) -> Call:
    stored = node.get("value")
    value = torch.zeros(()) if stored is None else stored_tensor(stored).reshape(())

    def filled(shape: Tensor | Numbers) -> Tensor:
        lengths = listed(shape)
        check_size(node.type, lengths, value.element_size())
        return value.expand(lengths).clone()

    return filled


@operator("Shape", newest=25, on_cpu=True)
def _shape(node: Node) -> Call:
    start, end = node.get("start", 0), node.get("end")

    def lengths(x: Tensor) -> Tensor:
        rank = x.dim()
        first = max(0, start + rank if start < 0 else start)
        return torch.tensor(tuple(x.shape)[first:end], dtype=torch.int64)

    return lengths


@operator("Size", newest=25, on_cpu=True)
def _size(node: Node) -> Call:
    return lambda x: torch.tensor(x.numel(), dtype=torch.int64)


@operator("Reshape", newest=25)
def _reshape(node: Node) -> Call:
    copied = not node.get("allowzero", 0)

    def reshaped(x: Tensor, shape: Tensor | Numbers) -> Tensor:
        lengths = listed(shape)
        if copied and 0 in lengths:
            lengths = tuple(x.shape[i] if n == 0 else n for i, n in enumerate(lengths))
        return x.reshape(lengths)

    return reshaped


@operator("Flatten", newest=25)
def _flatten(node: Node) -> Call:
    axis = node.get("axis", 1)

    def flattened(x: Tensor) -> Tensor:
        start = axis + x.dim() if axis < 0 else axis
        return x.reshape(math.prod(x.shape[:start]), math.prod(x.shape[start:]))

    return flattened


@operator("Squeeze", newest=25)
def _squeeze(node: Node) -> Call:
    fixed = node.get("axes")

    def squeezed(x: Tensor, axes: Tensor | Numbers | None = None) -> Tensor:
        chosen = fixed if axes is None else listed(axes)
        if chosen is None:
            return x.squeeze()
        if any(x.shape[axis] != 1 for axis in axes_in(chosen, x.dim())):
            raise node.refused(f"takes away axes {list(chosen)} of a tensor {tuple(x.shape)}")
        return x.squeeze(tuple(chosen))

    return squeezed


@operator("Unsqueeze", newest=25)
def _unsqueeze(node: Node) -> Call:
    fixed = node.get("axes")

    def unsqueezed(x: Tensor, axes: Tensor | Numbers | None = None) -> Tensor:
        chosen = fixed if axes is None else listed(axes)
        for axis in sorted(axes_in(chosen, x.dim() + len(chosen))):
            x = x.unsqueeze(axis)
        return x

    return unsqueezed


@operator("Transpose", newest=25)
def _transpose(node: Node) -> Call:
    order = node.get("perm")
    return lambda x: x.permute(order if order is not None else tuple(range(x.dim()))[::-1])


@operator("Concat", newest=13)
def _concat(node: Node) -> Call:
    axis = node.needed("axis")
    return lambda *values: torch.cat(values, axis)


@operator("Split", newest=18)
def _split(node: Node) -> Call:
    axis, fixed = node.get("axis", 0), node.get("split")
    parts = node.get("num_outputs", len(node.outputs))

    def divided(x: Tensor, split: Tensor | Numbers | None = None) -> Any:
        lengths = fixed if split is None else listed(split)
        if lengths is None:
            whole = -(-x.shape[axis] // parts)
            lengths = [whole] * (parts - 1) + [x.shape[axis] - whole * (parts - 1)]
        made = torch.split(x, list(lengths), axis)
        return made if len(made) > 1 else made[0]

    return divided


@operator("Expand", newest=13)
def _expand(node: Node) -> Call:
    def expanded(x: Tensor, shape: Tensor | Numbers) -> Tensor:
        lengths = torch.broadcast_shapes(x.shape, listed(shape))  # type: ignore[no-untyped-call]
        check_size(node.type, lengths, x.element_size())
        return x.expand(lengths)

    return expanded


@operator("Tile", newest=13)
def _tile(node: Node) -> Call:
    def tiled(x: Tensor, repeats: Tensor | Numbers) -> Tensor:
        times = listed(repeats)
        check_size(node.type, (*times, x.numel()), x.element_size())
        return x.repeat(times)

    return tiled


@operator("Range", newest=27, free=True)
def _numbers_between(node: Node) -> Call:
    def numbers(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
        first, last, step = start.item(), limit.item(), delta.item()
        if step == 0:
            raise node.refused("counts in steps of 0")
        count = max(0, math.ceil((last - first) / step))
        check_size(node.type, (count,), start.element_size())
        places = torch.arange(count, device=start.device)
        if start.is_floating_point():
            wide = torch.float64 if start.dtype == torch.float64 else torch.float32
            return (first + places.to(wide) * step).to(start.dtype)
        return (first + places * step).to(start.dtype)

    return numbers


@operator("EyeLike", newest=22)
def _eye_like(node: Node) -> Call:
    offset, number = node.get("k", 0), node.get("dtype")
    dtype = None if number is None else torch_type(number)

    def eye(x: Tensor) -> Any:
        rows, columns = (torch.arange(n, device=x.device) for n in x.shape)
        return (columns - rows[:, None] == offset).to(dtype or x.dtype)

    return eye


@operator("Trilu", newest=14)
def _triangle(node: Node) -> Call:
    cut = torch.triu if node.get("upper", 1) else torch.tril
    return lambda x, diagonal=None: cut(x, 0 if diagonal is None else single(diagonal))


# ---------------------------------------------------------------- padding


@operator("Pad", newest=25)
def _pad(node: Node) -> Call:
    mode = node.only("mode", "constant", "reflect", "edge", "wrap", default="constant")
    fixed, number = node.get("pads", node.get("paddings")), node.get("value", 0.0)

    def padded(
        x: Tensor,
        pads: Tensor | Numbers | None = None,
        value: Tensor | Numbers | None = None,
        axes: Tensor | Numbers | None = None,
    ) -> Tensor:
        widths = fixed if pads is None else listed(pads)
        places = range(x.dim()) if axes is None else axes_in(listed(axes), x.dim())
        before = [0] * x.dim()
        after = [0] * x.dim()
        for index, axis in enumerate(places):
            before[axis], after[axis] = widths[index], widths[index + len(places)]
        lengths = [b + n + a for b, n, a in zip(before, x.shape, after, strict=True)]
        check_size(node.type, lengths, x.element_size())
        if mode == "constant":
            return with_margin(x, before, after, number if value is None else single(value))
        return _mirrored(x, before, after, mode)

    return padded


def with_margin(
    x: Tensor, before: Sequence[int], after: Sequence[int], value: float = 0.0
) -> Tensor:
    """Return a tensor with a constant margin along its last axes; negative widths cut."""
    flat = [width for pair in zip(reversed(before), reversed(after), strict=True) for width in pair]
    if x.dtype == torch.bool:
        return F.pad(x.to(torch.uint8), flat, value=value).bool()
    return F.pad(x, flat, value=value)


def _mirrored(x: Tensor, before: Sequence[int], after: Sequence[int], mode: Any) -> Tensor:
    for axis, (left, right) in enumerate(zip(before, after, strict=True)):
        if left or right:
            inside = np.arange(max(0, -left), x.shape[axis] - max(0, -right))
            places = np.pad(inside, (max(0, left), max(0, right)), mode=mode)
            x = x.index_select(axis, as_tensor(places).to(x.device))
    return x


@operator("CenterCropPad", newest=18)
def _center_crop_pad(node: Node) -> Call:
    fixed = node.get("axes")

    def centred(x: Tensor, shape: Tensor | Numbers) -> Tensor:
        axes = axes_in(fixed, x.dim()) if fixed is not None else range(x.dim())
        before, after = [0] * x.dim(), [0] * x.dim()
        for axis, length in zip(axes, listed(shape), strict=True):
            missing = length - x.shape[axis]
            # of an odd number, the larger half of the padding, and of the cut, is at the end
            half = missing // 2 if missing >= 0 else -(-missing // 2)
            before[axis], after[axis] = half, missing - half
        return with_margin(x, before, after)

    return centred


# ---------------------------------------------------------------- depth and space


@operator("DepthToSpace", newest=28)
def _depth_to_space(node: Node) -> Call:
    block, mode = node.needed("blocksize"), node.only("mode", "DCR", "CRD", default="DCR")

    def spread(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        depth = c // (block * block)
        if mode == "DCR":
            cut = x.reshape(n, block, block, depth, h, w).permute(0, 3, 4, 1, 5, 2)
        else:
            cut = x.reshape(n, depth, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
        return cut.reshape(n, depth, h * block, w * block)

    return spread


@operator("SpaceToDepth", newest=28)
def _space_to_depth(node: Node) -> Call:
    block, mode = node.needed("blocksize"), node.only("mode", "DCR", "CRD", default="DCR")

    def stacked(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        cut = x.reshape(n, c, h // block, block, w // block, block)
        order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
        return cut.permute(order).reshape(n, c * block * block, h // block, w // block)

    return stacked

"""Pooling over windows, whole images, and regions."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from accweight_adapters.execution.operators.table import Call, Node, Numbers, listed, operator
from accweight_adapters.execution.operators.windows import Window, spatial_margin, window_of

MAXIMA: tuple[Call, ...] = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
AVERAGES: tuple[Call, ...] = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


def _places(node: Node, window: Window, x: Tensor) -> tuple[list[int], list[int], list[int]]:
    """Return the number of places of a window per axis, and the margins that they need.

    With `ceil_mode` the last place may hang over the end, but must begin before it: within the
    input or the margin before it.
    """
    before, after = window.margins(x.shape[2:])
    ceil = bool(node.get("ceil_mode", 0)) and not window.auto.startswith("SAME")
    counts, ends = [], []
    for axis, length in enumerate(x.shape[2:]):
        room = length + before[axis] + after[axis] - window.reach[axis]
        stride = window.strides[axis]
        count = (-(-room // stride) if ceil else room // stride) + 1
        if ceil and (count - 1) * stride >= length + before[axis]:
            count -= 1
        if count < 1:
            raise node.refused(f"has a window longer than its input {tuple(x.shape)}")
        covered = (count - 1) * stride + window.reach[axis]
        counts.append(count)
        ends.append(max(after[axis], covered - length - before[axis]))
    return counts, list(before), ends


@operator("MaxPool", newest=22)
def _max_pool(node: Node) -> Call:
    window = window_of(node, node.needed("kernel_shape"))
    function = MAXIMA[window.axes - 1]
    column_major = node.get("storage_order", 0)
    regular = (
        window.auto in ("NOTSET", "VALID")
        and not node.get("ceil_mode", 0)
        and not node.gives(1)
        and window.pads[: window.axes] == window.pads[window.axes :]
        and all(2 * p <= k for p, k in zip(window.pads, window.kernel, strict=False))
    )
    fixed = window.pads[: window.axes]

    def largest(x: Tensor) -> Any:
        if regular and x.is_floating_point():
            return function(x, window.kernel, window.strides, fixed, window.dilations)
        values = x if x.is_floating_point() else x.to(torch.float64)
        _, before, after = _places(node, window, x)
        wide = spatial_margin(node, values, before, after, -math.inf)
        if not node.gives(1):
            made = function(wide, window.kernel, window.strides, 0, window.dilations)
            return made.to(x.dtype)
        made, places = function(
            wide, window.kernel, window.strides, 0, window.dilations, return_indices=True
        )
        return made.to(x.dtype), _indices_without(places, x, wide, before, column_major)

    return largest


def _indices_without(
    places: Tensor, x: Tensor, wide: Tensor, before: list[int], column_major: int
) -> Tensor:
    """Return flat indices into a whole tensor, from those into each padded image."""
    coordinates: list[Tensor] = []
    for axis in range(x.dim() - 1, 1, -1):
        coordinates.insert(0, places % wide.shape[axis] - before[axis - 2])
        places = torch.div(places, wide.shape[axis], rounding_mode="floor")
    order = list(range(x.dim() - 2))
    flat = torch.zeros_like(places)
    for axis in reversed(order) if column_major else order:
        flat = flat * x.shape[2 + axis] + coordinates[axis]
    image = torch.arange(x.shape[0] * x.shape[1], device=x.device).reshape(*x.shape[:2])
    return flat + image.reshape(*x.shape[:2], *(1,) * len(order)) * math.prod(x.shape[2:])


@operator("MaxUnpool", newest=22)
def _max_unpool(node: Node) -> Call:
    window = window_of(node, node.needed("kernel_shape"))

    def spread(x: Tensor, places: Tensor, shape: Tensor | Numbers | None = None) -> Tensor:
        before, after = window.margins(x.shape[2:])
        own = [
            (n - 1) * s + k - b - a
            for n, s, k, b, a in zip(
                x.shape[2:], window.strides, window.kernel, before, after, strict=True
            )
        ]
        flat = x.new_zeros(x.shape[0] * x.shape[1] * math.prod(own))
        made = flat.scatter(0, places.reshape(-1), x.reshape(-1)).reshape(*x.shape[:2], *own)
        if shape is None:
            return made
        wanted = listed(shape)[2:]
        return spatial_margin(
            node, made, [0] * len(own), [w - n for w, n in zip(wanted, own, strict=True)]
        )

    return spread


@operator("AveragePool", newest=22)
def _average_pool(node: Node) -> Call:
    window = window_of(node, node.needed("kernel_shape"))
    whole = bool(node.get("count_include_pad", 0))
    simple = (
        window.auto in ("NOTSET", "VALID")
        and not node.get("ceil_mode", 0)
        and set(window.dilations) == {1}
        and window.pads[: window.axes] == window.pads[window.axes :]
        and all(2 * p <= k for p, k in zip(window.pads, window.kernel, strict=False))
    )
    function, fixed = AVERAGES[window.axes - 1], window.pads[: window.axes]

    def averaged(x: Tensor) -> Any:
        if simple:
            return function(x, window.kernel, window.strides, fixed, count_include_pad=whole)
        _, before, after = _places(node, window, x)
        wide = spatial_margin(node, x, before, after)
        counted = torch.ones_like(x[:1, :1])
        if whole:
            stated = window.margins(x.shape[2:])
            counted = spatial_margin(node, counted, *stated, 1.0)
            rest = [a - s for a, s in zip(after, stated[1], strict=True)]
            counted = spatial_margin(node, counted, [0] * len(rest), rest)
        else:
            counted = spatial_margin(node, counted, before, after)
        return _window_sums(wide, window) / _window_sums(counted, window)

    return averaged


def _window_sums(x: Tensor, window: Window) -> Tensor:
    """Return sums over the window, which may have gaps."""
    spread = x
    for axis in range(window.axes):
        spread = spread.unfold(2 + axis, window.reach[axis], window.strides[axis])
        spread = spread[..., :: window.dilations[axis]]
    return spread.sum(tuple(range(-window.axes, 0)))


@operator("LpPool", newest=22)
def _lp_pool(node: Node) -> Call:
    window, power = window_of(node, node.needed("kernel_shape")), node.get("p", 2)

    def pooled(x: Tensor) -> Tensor:
        _, before, after = _places(node, window, x)
        wide = spatial_margin(node, x.abs() ** power, before, after)
        made: Tensor = _window_sums(wide, window) ** (1.0 / power)
        return made

    return pooled


@operator("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", newest=22)
def _global_pool(node: Node) -> Call:
    power = node.get("p", 2)

    def pooled(x: Tensor) -> Any:
        axes = tuple(range(2, x.dim()))
        if node.type == "GlobalAveragePool":
            return x.mean(axes, keepdim=True)
        if node.type == "GlobalMaxPool":
            return x.amax(axes, keepdim=True)
        return torch.linalg.vector_norm(x, power, axes, keepdim=True)

    return pooled

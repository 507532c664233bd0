"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from accweight_adapters.execution.limits import check_size
from accweight_adapters.execution.operators.table import Call, Node, Numbers, listed, operator
from accweight_adapters.execution.operators.windows import Window, spatial_margin, window_of

CONVOLUTIONS: tuple[Call, ...] = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED: tuple[Call, ...] = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


@operator("Conv", newest=22)
def _conv(node: Node) -> Call:
    return convolution(node)


def convolution(node: Node) -> Call:
    """Return the convolution of a node: of an input, a weight, and a bias or None."""
    group = node.get("group", 1)
    if node.get("kernel_shape") is not None:
        fast = _symmetric(node, window_of(node, node.get("kernel_shape")), group)
        if fast is not None:
            return fast

    def convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
        window = window_of(node, weight.shape[2:])
        before, after = window.margins(x.shape[2:])
        function = CONVOLUTIONS[window.axes - 1]
        if before == after:
            made: Tensor = function(
                x, weight, bias, window.strides, before, window.dilations, group
            )
            return made
        wide = spatial_margin(node, x, before, after)
        return function(wide, weight, bias, window.strides, 0, window.dilations, group)

    return convolved


def _symmetric(node: Node, window: Window, group: int) -> Call | None:
    """Return the convolution whose margin is known before and equal on both sides, else None."""
    before, after = window.margins(()) if not window.auto.startswith("SAME") else ((), (1,))
    if before != after:
        return None
    function, strides, dilations = CONVOLUTIONS[window.axes - 1], window.strides, window.dilations

    def convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
        return function(x, weight, bias, strides, before, dilations, group)

    return convolved


@operator("ConvTranspose", newest=22)
def _conv_transpose(node: Node) -> Call:
    group = node.get("group", 1)

    def spread(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        window = window_of(node, weight.shape[2:])
        extra = tuple(node.get("output_padding") or (0,) * window.axes)
        before, after = _cut_margins(node, window, x.shape[2:], extra)
        lengths = [
            s * (n - 1) + r + e
            for s, n, r, e in zip(window.strides, x.shape[2:], window.reach, extra, strict=True)
        ]
        check_size(node.type, (x.shape[0], weight.shape[1] * group, *lengths), x.element_size())
        function = TRANSPOSED[window.axes - 1]
        steps = zip(extra, window.strides, window.dilations, strict=True)
        regular = all(e < max(s, d) for e, s, d in steps) and min(before) >= 0
        if before == after and regular:
            made: Tensor = function(
                x, weight, bias, window.strides, before, extra, group, window.dilations
            )
            return made
        made = function(x, weight, None, window.strides, 0, 0, group, window.dilations)
        ends = [e - a for e, a in zip(extra, after, strict=True)]
        made = spatial_margin(node, made, [-b for b in before], ends)
        return made if bias is None else made + bias.reshape(-1, *(1,) * window.axes)

    return spread


def _cut_margins(
    node: Node, window: Window, lengths: Sequence[int], extra: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return what is cut off before and after each axis of a transposed convolution."""
    wanted = node.get("output_shape")
    if wanted is None and not window.auto.startswith("SAME"):
        return window.margins(lengths)
    if wanted is None:
        wanted = [n * s for n, s in zip(lengths, window.strides, strict=True)]
    totals = [
        s * (n - 1) + e + r - w
        for s, n, e, r, w in zip(
            window.strides, lengths, extra, window.reach, wanted[-window.axes :], strict=True
        )
    ]
    if window.auto == "SAME_UPPER":
        return tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
    return tuple(t - t // 2 for t in totals), tuple(t // 2 for t in totals)


@operator("DeformConv", newest=22)
def _deform_conv(node: Node) -> Call:
    group, offset_group = node.get("group", 1), node.get("offset_group", 1)

    def deformed(
        x: Tensor,
        weight: Tensor,
        offset: Tensor,
        bias: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        if x.dim() != 4:
            raise node.refused(f"works on {x.dim() - 2} spatial axes; 2 are known here")
        window = window_of(node, weight.shape[2:])
        taps = _sampled(x, offset, mask, window, offset_group)
        n, _, _, rows, columns = taps.shape
        parts = taps.reshape(n, group, -1, rows * columns)
        kernels = weight.reshape(group, weight.shape[0] // group, -1)
        made = torch.einsum("ngkp,gok->ngop", parts, kernels)
        made = made.reshape(n, weight.shape[0], rows, columns)
        return made if bias is None else made + bias[:, None, None]

    return deformed


def _sampled(x: Tensor, offset: Tensor, mask: Tensor | None, window: Window, groups: int) -> Tensor:
    """Return what every tap of the window sees: (samples, channels, taps, rows, columns)."""
    n, channels, height, width = x.shape
    taps, (rows, columns) = window.kernel[0] * window.kernel[1], offset.shape[2:]
    moved = offset.reshape(n, groups, taps, 2, rows, columns)
    before = window.margins((height, width))[0]
    grid = []
    for axis, count in enumerate((rows, columns)):
        place = torch.arange(count, device=x.device) * window.strides[axis] - before[axis]
        tap = torch.arange(window.kernel[axis], device=x.device) * window.dilations[axis]
        tap = tap[:, None] if axis == 0 else tap[None, :]
        tap = tap.expand(window.kernel).reshape(-1, 1, 1)
        grid.append(
            tap + (place[:, None] if axis == 0 else place[None, :]) + moved[..., axis, :, :]
        )
    # with aligned corners whole places stay whole; the margin is for lengths of 1, which have none
    images = F.pad(x, (0, 1, 0, 1)).reshape(n * groups, channels // groups, height + 1, width + 1)
    where = torch.stack((grid[1], grid[0]), -1) * 2 / x.new_tensor([width, height]) - 1
    flat = where.reshape(n * groups, taps * rows, columns, 2)
    seen = F.grid_sample(images, flat, "bilinear", "zeros", align_corners=True)
    seen = seen.reshape(n, groups, channels // groups, taps, rows, columns)
    if mask is not None:
        seen = seen * mask.reshape(n, groups, 1, taps, rows, columns)
    return seen.reshape(n, channels, taps, rows, columns)


@operator("Col2Im", newest=18)
def _columns_to_image(node: Node) -> Call:
    def image(x: Tensor, size: Tensor | Numbers, block: Tensor | Numbers) -> Tensor:
        lengths, kernel = listed(size), listed(block)
        window = window_of(node, kernel) if len(kernel) <= 2 else None
        if window is None:
            raise node.refused(f"works on {len(kernel)} spatial axes; 1 and 2 are known here")
        before, after = window.margins(lengths)
        wide = [n + b + a for n, b, a in zip(lengths, before, after, strict=True)]
        check_size(node.type, (x.shape[0], x.shape[1], *wide), x.element_size())
        pair = (1,) * (2 - window.axes)
        made = F.fold(
            x,
            (*pair, *wide),
            (*pair, *kernel),
            dilation=(*pair, *window.dilations),
            stride=(*pair, *window.strides),
        )
        made = made.reshape(*made.shape[:2], *wide)
        return spatial_margin(node, made, [-b for b in before], [-a for a in after])

    return image


@operator("CausalConvWithState", newest=27)
def _causal_conv(node: Node) -> Call:
    activation = node.only("activation", "none", "silu", "swish", default="none")

    def convolved(
        x: Tensor, weight: Tensor, bias: Tensor | None = None, state: Tensor | None = None
    ) -> Any:
        width = weight.shape[-1] - 1
        past = x.new_zeros(*x.shape[:-1], width) if state is None else state
        seen = torch.cat((past, x), -1)
        made = F.conv1d(seen, weight, bias, groups=x.shape[1])
        made = made if activation == "none" else F.silu(made)
        return made, seen[..., seen.shape[-1] - width :]

    return convolved

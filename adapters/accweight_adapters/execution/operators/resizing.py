"""Resizing and sampling of images.

Along each axis, a resized tensor is a matrix product: every output is a weighted sum of a few
inputs. So one function serves all modes, in any number of axes, with exact gradients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from accweight_adapters.execution.limits import check_size
from accweight_adapters.execution.operators.table import (
    Call,
    Node,
    Numbers,
    axes_in,
    listed,
    operator,
)

COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)
ROUNDINGS: dict[str, Call] = {
    "round_prefer_floor": lambda p: torch.ceil(p - 0.5),
    "round_prefer_ceil": lambda p: torch.floor(p + 0.5),
    "floor": torch.floor,
    "ceil": torch.ceil,
}
BEFORE_11 = "before operator set 11"
"""Rounding that had no name: down where an axis gets longer, up where it gets shorter."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How positions are computed and weighted."""

    mode: str
    coordinates: str
    rounding: str
    cubic: float
    antialias: bool
    exclude: bool
    outside: float


@dataclass(frozen=True, slots=True)
class Change:
    """The change of one axis: lengths before and after, the scale, and the region of a crop."""

    before: int
    after: int
    scale: float
    region: tuple[float, float] = (0.0, 1.0)

    @property
    def is_cut(self) -> bool:
        """Whether the scaled length was no whole number."""
        return self.after > 1 and abs(self.scale * self.before - self.after) > 1e-3


@operator("Upsample", newest=10)
def _upsample(node: Node) -> Call:
    mode = node.only("mode", "nearest", "linear", "bilinear", default="nearest")
    rule = Rule(mode.removeprefix("bi"), "asymmetric", BEFORE_11, -0.75, False, False, 0.0)
    fixed = node.get("scales")

    def upsampled(x: Tensor, scales: Tensor | Numbers | None = None) -> Tensor:
        factors = fixed if scales is None else listed(scales)
        return _resized(node, x, rule, range(x.dim()), _by_scale(x, range(x.dim()), factors))

    return upsampled


@operator("Resize", newest=19)
def _resize(node: Node) -> Call:
    if node.opset < 11:
        return _upsample(node)
    rule = Rule(
        node.only("mode", "nearest", "linear", "cubic", default="nearest"),
        node.only("coordinate_transformation_mode", *COORDINATES, default="half_pixel"),
        node.only("nearest_mode", *ROUNDINGS, default="round_prefer_floor"),
        node.get("cubic_coeff_a", -0.75),
        bool(node.get("antialias", 0)),
        bool(node.get("exclude_outside", 0)),
        node.get("extrapolation_value", 0.0),
    )
    policy, chosen = node.get("keep_aspect_ratio_policy", "stretch"), node.get("axes")

    def resized(
        x: Tensor,
        regions: Tensor | Numbers | None = None,
        scales: Tensor | Numbers | None = None,
        sizes: Tensor | Numbers | None = None,
    ) -> Tensor:
        axes = range(x.dim()) if chosen is None else axes_in(chosen, x.dim())
        if sizes is not None and len(listed(sizes)):
            changes = _by_size(x, axes, listed(sizes), policy)
        elif scales is not None:
            changes = _by_scale(x, axes, listed(scales))
        else:
            raise node.refused("says neither scales nor sizes")
        if rule.coordinates == "tf_crop_and_resize" and regions is not None:
            corners = listed(regions)
            changes = [
                Change(c.before, c.after, c.scale, (corners[i], corners[i + len(changes)]))
                for i, c in enumerate(changes)
            ]
        return _resized(node, x, rule, axes, changes)

    return resized


def _by_scale(x: Tensor, axes: Sequence[int], scales: Sequence[float]) -> list[Change]:
    """Return the changes; lengths are float32 numbers before they are rounded, as scales are.

    In float64, a third more of three would be 3.9999999 and so 3, and 4 for everyone else.
    """
    return [
        Change(x.shape[axis], math.floor(np.float32(x.shape[axis]) * np.float32(scale)), scale)
        for axis, scale in zip(axes, scales, strict=True)
    ]


def _by_size(x: Tensor, axes: Sequence[int], sizes: Sequence[int], policy: str) -> list[Change]:
    scales = [size / x.shape[axis] for axis, size in zip(axes, sizes, strict=True)]
    if policy != "stretch":
        scale = min(scales) if policy == "not_larger" else max(scales)
        scales = [scale] * len(scales)
        sizes = [math.floor(scale * x.shape[axis] + 0.5) for axis in axes]
    return [
        Change(x.shape[axis], size, scale)
        for axis, size, scale in zip(axes, sizes, scales, strict=True)
    ]


def _resized(
    node: Node, x: Tensor, rule: Rule, axes: Sequence[int], changes: Sequence[Change]
) -> Tensor:
    lengths = list(x.shape)
    for axis, change in zip(axes, changes, strict=True):
        lengths[axis] = change.after
    check_size(node.type, lengths, x.element_size())
    outside: list[tuple[int, Tensor]] = []
    for axis, change in zip(axes, changes, strict=True):
        cropped = rule.coordinates == "tf_crop_and_resize"
        if change.before == change.after and change.scale == 1 and not cropped:
            continue
        if rule.coordinates == "align_corners" and change.is_cut:
            raise node.refused(
                f"scales {change.before} values by {change.scale:g} with align_corners, where ONNX "
                "Runtime places them otherwise than the standard: export with sizes, or take the "
                "engine 'ort'"
            )
        places = _positions(change, rule)
        if cropped:
            outside.append((axis, (places < 0) | (places > change.before - 1)))
        if rule.mode == "nearest":
            x = x.index_select(axis, _nearest(places, change, rule.rounding).to(x.device))
            continue
        matrix = _weights(places, change, rule).to(x.dtype).to(x.device)
        x = torch.movedim(torch.movedim(x, axis, -1) @ matrix.T, -1, axis)
    for axis, mask in outside:
        shape = [-1 if i == axis else 1 for i in range(x.dim())]
        x = torch.where(mask.to(x.device).reshape(shape), rule.outside, x)
    return x


def _nearest(places: Tensor, change: Change, rounding: str) -> Tensor:
    """Return the input that each output takes."""
    if rounding == BEFORE_11:
        rounding = "ceil" if change.scale < 1 else "floor"
    found: Tensor = ROUNDINGS[rounding](places).clamp(0, change.before - 1).long()
    return found


def _positions(change: Change, rule: Rule) -> Tensor:
    """Return where each output lies on the input axis, float64.

    Positions that are rounded are float32, as scales are: what is whole stays whole.
    """
    before, after, scale = change.before, change.after, change.scale
    dtype = torch.float32 if rule.mode == "nearest" else torch.float64
    index, coordinates = torch.arange(after, dtype=dtype), rule.coordinates
    if coordinates == "align_corners":
        return index * (before - 1) / (after - 1) if after > 1 else index * 0
    if coordinates == "asymmetric":
        return index / scale
    if coordinates == "tf_half_pixel_for_nn":
        return (index + 0.5) / scale
    if coordinates == "tf_crop_and_resize":
        start, end = change.region
        if after == 1:
            return index + 0.5 * (start + end) * (before - 1)
        return start * (before - 1) + index * (end - start) * (before - 1) / (after - 1)
    if coordinates == "pytorch_half_pixel" and after <= 1:
        return index * 0
    half = (index + 0.5) / scale - 0.5
    if coordinates == "half_pixel_symmetric":
        return half + before / 2 * (1 - after / (scale * before))
    return half


def _kernel(distance: Tensor, rule: Rule) -> Tensor:
    """Return the weight of an input at a distance from the place of an output."""
    d = distance.abs()
    if rule.mode == "linear":
        return (1 - d).clamp(min=0)
    a = rule.cubic
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, 0))


def _weights(places: Tensor, change: Change, rule: Rule) -> Tensor:
    """Return the matrix (after, before) of weights."""
    stretch = min(change.scale, 1.0) if rule.antialias else 1.0
    reach = 1 if rule.mode == "linear" else 2
    count = math.ceil(reach / stretch)
    taps = places.floor()[:, None] + torch.arange(-count + 1, count + 1)
    weights = _kernel((taps - places[:, None]) * stretch, rule)
    inside = (taps >= 0) & (taps < change.before)
    if rule.exclude:
        weights = weights * inside
    if rule.exclude or rule.antialias:
        weights = weights / weights.sum(1, keepdim=True)
    matrix = torch.zeros(change.after, change.before, dtype=torch.float64)
    return matrix.scatter_add(1, taps.clamp(0, change.before - 1).long(), weights)


# ---------------------------------------------------------------- sampling


@operator("GridSample", newest=22)
def _grid_sample(node: Node) -> Call:
    names = {"linear": "bilinear", "cubic": "bicubic"}
    mode = node.only("mode", "linear", "bilinear", "nearest", "cubic", "bicubic", default="linear")
    padding = node.only("padding_mode", "zeros", "border", "reflection", default="zeros")
    aligned = bool(node.get("align_corners", 0))

    def sampled(x: Tensor, grid: Tensor) -> Any:
        if x.dim() not in (4, 5) or (x.dim() == 5 and "cubic" in mode):
            raise node.refused(f"samples {x.dim() - 2} axes by {mode}, which is not known here")
        return F.grid_sample(x, grid.to(x.dtype), names.get(mode, mode), padding, aligned)

    return sampled


@operator("AffineGrid", newest=20)
def _affine_grid(node: Node) -> Call:
    aligned = bool(node.get("align_corners", 0))

    def grid(theta: Tensor, size: Tensor | Numbers) -> Tensor:
        check_size(node.type, (*listed(size), 3), theta.element_size())
        return F.affine_grid(theta, list(listed(size)), align_corners=aligned)

    return grid

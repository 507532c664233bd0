"""Reductions over axes, running sums, and the search for extremes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accweight_adapters.execution.element_types import UNSIGNED
from accweight_adapters.execution.operators.elementwise import signed
from accweight_adapters.execution.operators.table import (
    Call,
    Node,
    Numbers,
    axes_in,
    axis_in,
    listed,
    operator,
    single,
)

Axes = tuple[int, ...]


def _prod(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep, dtype=x.dtype)
    return x


def _amax(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    if any(x.shape[axis] == 0 for axis in axes):
        return _of_nothing(x, axes, keep, lowest=True)
    return x.amax(axes, keep)


def _amin(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    if any(x.shape[axis] == 0 for axis in axes):
        return _of_nothing(x, axes, keep, lowest=False)
    return x.amin(axes, keep)


def _of_nothing(x: Tensor, axes: Axes, keep: bool, *, lowest: bool) -> Tensor:
    """Return the extreme of no numbers: the one that every number exceeds, or falls below."""
    shape = [1 if a in axes else n for a, n in enumerate(x.shape) if keep or a not in axes]
    if x.is_floating_point():
        return x.new_full(shape, float("-inf" if lowest else "inf"))
    if x.dtype == torch.bool:
        return x.new_full(shape, not lowest)
    bounds = torch.iinfo(x.dtype)
    return x.new_full(shape, bounds.min if lowest else bounds.max)


REDUCTIONS: dict[str, Call] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep, dtype=x.dtype),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keep),
    "ReduceMax": _amax,
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keep),
    "ReduceMin": _amin,
    "ReduceProd": _prod,
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep, dtype=x.dtype),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keep, dtype=x.dtype),
}


def _reduction(node: Node) -> Call:
    function = REDUCTIONS[node.type]
    fixed, keep = node.get("axes"), bool(node.get("keepdims", 1))
    none_is_all = not node.get("noop_with_empty_axes", 0)

    def reduced(x: Tensor, axes: Tensor | Numbers | None = None) -> Tensor:
        chosen = fixed if axes is None else listed(axes)
        if not chosen:
            # with no axes at all, an element is the reduction of itself alone
            over = tuple(range(x.dim())) if none_is_all else ()
            if not over:
                return _alone(function, x)
        else:
            over = axes_in(chosen, x.dim())
        if not x.dim():
            return _alone(function, x)
        if x.dtype in UNSIGNED:
            wide: Tensor = function(signed(x), over, keep)
            return wide.to(x.dtype)
        made: Tensor = function(x, over, keep)
        return made

    return reduced


def _alone(function: Call, x: Tensor) -> Tensor:
    """Return the reduction of every element by itself."""
    made: Tensor = function(x.unsqueeze(-1), (x.dim(),), False)
    return made


operator("ReduceSum", newest=13)(_reduction)
operator("ReduceL1", "ReduceL2", "ReduceMean", "ReduceProd", "ReduceSumSquare", newest=18)(
    _reduction
)
operator("ReduceMax", "ReduceMin", newest=20)(_reduction)
operator("ReduceLogSum", "ReduceLogSumExp", newest=28)(_reduction)


@operator("ArgMax", "ArgMin", newest=13)
def _argument(node: Node) -> Call:
    axis, keep = node.get("axis", 0), bool(node.get("keepdims", 1))
    find = torch.argmax if node.type == "ArgMax" else torch.argmin
    last = bool(node.get("select_last_index", 0))

    def found(x: Tensor) -> Any:
        if not last:
            return find(x, axis, keepdim=keep)
        return x.shape[axis] - 1 - find(x.flip(axis), axis, keepdim=keep)

    return found


@operator("CumSum", newest=14)
@operator("CumProd", newest=26)
def _cumulated(node: Node) -> Call:
    total = torch.cumsum if node.type == "CumSum" else torch.cumprod
    neutral = 0 if node.type == "CumSum" else 1
    exclusive, backwards = bool(node.get("exclusive", 0)), bool(node.get("reverse", 0))

    def cumulated(x: Tensor, along: Tensor | Numbers) -> Tensor:
        axis = axis_in(single(along), x.dim())
        values = x.flip(axis) if backwards else x
        if exclusive and x.shape[axis]:
            first = torch.full_like(values.narrow(axis, 0, 1), neutral)
            values = torch.cat((first, values.narrow(axis, 0, x.shape[axis] - 1)), axis)
        made = total(values, axis, dtype=x.dtype)
        return made.flip(axis) if backwards else made

    return cumulated


@operator("TopK", newest=24)
def _top_k(node: Node) -> Call:
    axis, largest = node.get("axis", -1), bool(node.get("largest", 1))
    fixed = node.get("k")

    def top(x: Tensor, count: Tensor | Numbers | None = None) -> Any:
        k = fixed if count is None else single(count)
        # stable, since the standard wants the lower index among equals
        wide = signed(x) if x.dtype in UNSIGNED else x
        values, places = torch.sort(wide, dim=axis, descending=largest, stable=True)
        return values.narrow(axis, 0, k).to(x.dtype), places.narrow(axis, 0, k)

    return top

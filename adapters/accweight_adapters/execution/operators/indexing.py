"""Operators that take or place elements by index."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from accweight_adapters.execution.limits import check_size
from accweight_adapters.execution.operators.table import (
    Call,
    Node,
    Numbers,
    axis_in,
    listed,
    operator,
    single,
)

REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
"""Names of what is done where an element is placed twice: ONNX's, and torch's."""


def _from_front(indices: Tensor, length: int) -> Tensor:
    """Return indices counted from the front, as int64."""
    places = indices.to(torch.int64)
    return torch.where(places < 0, places + length, places)


@operator("Slice", newest=13)
def _slice(node: Node) -> Call:
    fixed = node.get("starts"), node.get("ends"), node.get("axes")

    def cut(
        x: Tensor,
        starts: Tensor | Numbers | None = None,
        ends: Tensor | Numbers | None = None,
        axes: Tensor | Numbers | None = None,
        steps: Tensor | Numbers | None = None,
    ) -> Tensor:
        first = fixed[0] if starts is None else listed(starts)
        last = fixed[1] if ends is None else listed(ends)
        along = fixed[2] if axes is None else listed(axes)
        along = range(len(first)) if along is None else along
        stride = (1,) * len(first) if steps is None else listed(steps)
        for start, end, axis, step in zip(first, last, along, stride, strict=True):
            x = _cut_along(x, axis_in(axis, x.dim()), start, end, step)
        return x

    return cut


def _cut_along(x: Tensor, axis: int, start: int, end: int, step: int) -> Tensor:
    places = range(x.shape[axis])[_bounds(x.shape[axis], start, end, step)]
    if step > 0:
        if len(places) == x.shape[axis]:
            return x
        taken = slice(places.start, max(places.start, places.stop), step)
        return x[(slice(None),) * axis + (taken,)]
    if step == -1 and len(places) == x.shape[axis]:
        return x.flip(axis)
    return x.index_select(axis, torch.tensor(places, dtype=torch.int64, device=x.device))


def _bounds(length: int, start: int, end: int, step: int) -> slice:
    # an end below -length means, going backwards, past the first element
    return slice(start, None if step < 0 and end < -length else end, step)


@operator("Gather", newest=13)
def _gather(node: Node) -> Call:
    along = node.get("axis", 0)

    def gathered(x: Tensor, indices: Tensor) -> Tensor:
        axis = axis_in(along, x.dim())
        places = _from_front(indices, x.shape[axis])
        return _at(x, axis, places)

    return gathered


def _at(x: Tensor, axis: int, places: Tensor) -> Tensor:
    taken = x.index_select(axis, places.reshape(-1))
    return taken.reshape((*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]))


@operator("GatherElements", newest=13)
def _gather_elements(node: Node) -> Call:
    axis = node.get("axis", 0)
    return lambda x, indices: torch.gather(x, axis, _from_front(indices, x.shape[axis]))


@operator("GatherND", newest=13)
def _gather_nd(node: Node) -> Call:
    batch = node.get("batch_dims", 0)

    def gathered(x: Tensor, indices: Tensor) -> Tensor:
        return x[_coordinates(x, indices, batch)]

    return gathered


def _coordinates(x: Tensor, indices: Tensor, batch: int = 0) -> tuple[Tensor, ...]:
    """Return the index of every axis, from one tensor with the indices along its last axis."""
    chosen = [_from_front(part, x.shape[batch + i]) for i, part in enumerate(indices.unbind(-1))]
    rank = indices.dim() - 1
    grid = [
        torch.arange(x.shape[axis], device=x.device).reshape(
            [-1 if i == axis else 1 for i in range(rank)]
        )
        for axis in range(batch)
    ]
    return (*grid, *chosen)


@operator("Scatter", newest=11)
@operator("ScatterElements", newest=18)
def _scatter_elements(node: Node) -> Call:
    axis, reduction = node.get("axis", 0), node.get("reduction", "none")

    def placed(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        places = _from_front(indices, x.shape[axis])
        if reduction == "none":
            return x.scatter(axis, places, updates)
        return x.scatter_reduce(axis, places, updates, REDUCTIONS[reduction])

    return placed


@operator("ScatterND", newest=18)
def _scatter_nd(node: Node) -> Call:
    reduction = node.get("reduction", "none")

    def placed(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        depth = indices.shape[-1]
        if reduction in ("none", "add"):
            where = _coordinates(x, indices)
            return x.index_put(where, updates, accumulate=reduction == "add")
        rows = x.reshape(-1, math.prod(x.shape[depth:]))
        row = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=x.device)
        for axis, part in enumerate(_coordinates(x, indices)):
            row = row * x.shape[axis] + part
        new = updates.reshape(-1, rows.shape[1])
        places = row.reshape(-1, 1).expand_as(new)
        return rows.scatter_reduce(0, places, new, REDUCTIONS[reduction]).reshape(x.shape)

    return placed


@operator("TensorScatter", newest=24)
def _tensor_scatter(node: Node) -> Call:
    along, mode = node.get("axis", -2), node.only("mode", "linear", "circular", default="linear")

    def written(past: Tensor, update: Tensor, starts: Tensor | None = None) -> Tensor:
        axis = axis_in(along, past.dim())
        places = torch.arange(update.shape[axis], device=past.device)
        offsets = torch.zeros(past.shape[0], 1) if starts is None else starts.reshape(-1, 1)
        where = offsets.to(places) + places
        where = where % past.shape[axis] if mode == "circular" else where
        shape = [1] * past.dim()
        shape[0], shape[axis] = where.shape
        return past.scatter(axis, where.reshape(shape).expand_as(update), update)

    return written


@operator("OneHot", newest=28)
def _one_hot(node: Node) -> Call:
    axis = node.get("axis", -1)

    def marked(indices: Tensor, depth: Tensor | Numbers, values: Tensor) -> Tensor:
        classes = int(single(depth))
        check_size(node.type, (*indices.shape, classes), values.element_size())
        places = indices.to(torch.int64)
        there = (places >= -classes) & (places < classes)
        where = torch.where(places < 0, places + classes, places).unsqueeze(-1)
        hot = (where == torch.arange(classes, device=places.device)) & there.unsqueeze(-1)
        made = torch.where(hot, values[1], values[0])
        return made.movedim(-1, axis if axis >= 0 else made.dim() + axis)

    return marked


@operator("NonZero", newest=13, free=True)
def _non_zero(node: Node) -> Call:
    return lambda x: torch.nonzero(x).T


@operator("Compress", newest=28, free=True)
def _compress(node: Node) -> Call:
    axis = node.get("axis")

    def kept(x: Tensor, condition: Tensor) -> Tensor:
        values = x.reshape(-1) if axis is None else x
        places = torch.nonzero(condition).reshape(-1)
        return values.index_select(axis or 0, places.to(x.device))

    return kept


@operator("Unique", newest=28, free=True)
def _unique(node: Node) -> Call:
    axis, in_order = node.get("axis"), node.get("sorted", 1)

    def distinct(x: Tensor) -> Any:
        values, inverse, counts = torch.unique(x, return_inverse=True, return_counts=True, dim=axis)
        inverse = inverse.reshape(-1)
        places = torch.arange(inverse.numel(), device=x.device)
        first = torch.full_like(counts, inverse.numel()).scatter_reduce(0, inverse, places, "amin")
        if not in_order:
            order = torch.argsort(first)
            values = values.index_select(axis or 0, order)
            inverse, counts, first = torch.argsort(order)[inverse], counts[order], first[order]
        return values, first, inverse, counts

    return distinct


@operator("ReverseSequence", newest=28)
def _reverse_sequence(node: Node) -> Call:
    batch, time = node.get("batch_axis", 1), node.get("time_axis", 0)

    def reversed_(x: Tensor, lengths: Tensor) -> Tensor:
        values = x.movedim((time, batch), (0, 1))
        places = torch.arange(values.shape[0], device=x.device)[:, None]
        where = torch.where(places < lengths, lengths - 1 - places, places)
        samples = torch.arange(values.shape[1], device=x.device)
        return values[where, samples].movedim((0, 1), (time, batch))

    return reversed_

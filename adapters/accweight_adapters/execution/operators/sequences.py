"""Sequences and optional values: lists of tensors, and None."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accweight_adapters.execution.operators.table import (
    Call,
    Node,
    Numbers,
    axis_in,
    listed,
    operator,
    single,
)


@operator("SequenceEmpty", newest=11, free=True)
def _empty(node: Node) -> Call:
    return list


@operator("SequenceConstruct", newest=11, free=True)
def _construct(node: Node) -> Call:
    return lambda *values: list(values)


@operator("SequenceAt", newest=11, free=True)
def _at(node: Node) -> Call:
    return lambda sequence, place: sequence[single(place)]


@operator("SequenceLength", newest=11, free=True, on_cpu=True)
def _length(node: Node) -> Call:
    return lambda sequence: torch.tensor(len(sequence), dtype=torch.int64)


@operator("SequenceInsert", newest=11, free=True)
def _insert(node: Node) -> Call:
    def inserted(
        sequence: list[Tensor], value: Tensor, place: Tensor | Numbers | None = None
    ) -> list[Tensor]:
        index = len(sequence) if place is None else single(place)
        if not -len(sequence) <= index <= len(sequence):
            raise node.refused(f"inserts at {index} into a sequence of {len(sequence)}")
        made = list(sequence)
        made.insert(index, value)
        return made

    return inserted


@operator("SequenceErase", newest=11, free=True)
def _erase(node: Node) -> Call:
    def erased(sequence: list[Tensor], place: Tensor | Numbers | None = None) -> list[Tensor]:
        made = list(sequence)
        made.pop(-1 if place is None else single(place))
        return made

    return erased


@operator("ConcatFromSequence", newest=11, free=True)
def _joined(node: Node) -> Call:
    axis, new = node.needed("axis"), node.get("new_axis", 0)
    return lambda sequence: torch.stack(sequence, axis) if new else torch.cat(sequence, axis)


@operator("SplitToSequence", newest=24, free=True)
def _split(node: Node) -> Call:
    along, keep = node.get("axis", 0), bool(node.get("keepdims", 1))

    def divided(x: Tensor, split: Tensor | Numbers | None = None) -> list[Tensor]:
        axis = axis_in(along, x.dim())
        if split is None:
            parts = x.split(1, axis)  # type: ignore[no-untyped-call]
            return [part if keep else part.squeeze(axis) for part in parts]
        lengths = listed(split)
        scalar = isinstance(split, Tensor) and not split.dim()
        if len(lengths) == 1 and (scalar or lengths[0] != x.shape[axis]):
            return list(torch.split(x, lengths[0], axis))
        return list(torch.split(x, list(lengths), axis))

    return divided


@operator("Optional", newest=28, free=True)
def _optional(node: Node) -> Call:
    return lambda value=None: value


@operator("OptionalHasElement", newest=28, free=True, on_cpu=True)
def _has_element(node: Node) -> Call:
    return lambda value=None: torch.tensor(value is not None)


@operator("OptionalGetElement", newest=28, free=True)
def _get_element(node: Node) -> Call:
    def got(value: Any) -> Any:
        if value is None:
            raise node.refused("takes the element of an optional that has none")
        return value

    return got

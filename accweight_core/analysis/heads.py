"""Metrics per attention head, measured from the checkpoints.

A head is a part of a matrix: some outputs of queries, keys or values, some inputs of the layer that
joins the heads. The stored sums cover whole parameters, so heads are walked again, each as a small
parameter of its own; the same sums and formulas then apply. Where queries share keys and values,
there are fewer heads of those.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from accweight_core.accumulate.cutting import blocks_of
from accweight_core.accumulate.walk import BlockWalk, ParameterWalk
from accweight_core.analysis.summary import Measured
from accweight_core.dtypes import DTYPES
from accweight_core.errors import MismatchError
from accweight_core.io.reading import is_read_whole
from accweight_core.io.strided import c_order
from accweight_core.io.widening import as_widened
from accweight_core.metrics.totals import Totals, folded, metrics_of
from accweight_core.naming import layers_of, natural_key
from accweight_core.pictures.tiling import BLOCK_ELEMENTS
from accweight_core.schema import (
    Extent,
    HiddenValues,
    Parameter,
    Role,
    Run,
    Span,
    StoredTensor,
)


@dataclass(frozen=True)
class Piece:
    """The part of a parameter that belongs to one head.

    Attributes:
        parameter: The parameter.
        axis: The axis that is cut.
        first: First index.
        end: Index after the last one.
    """

    parameter: Parameter
    axis: int
    first: int
    end: int

    @property
    def name(self) -> str:
        """Name for messages, with the indices."""
        place = ", ".join([":"] * self.axis + [f"{self.first}:{self.end}"])
        return f"{self.parameter.name}[{place}]"

    def of(self, tensor: StoredTensor) -> StoredTensor:
        """Return the piece of a tensor; its values are read from where the tensor lies."""
        values = tensor.values
        shape = tuple(
            self.end - self.first if axis == self.axis else length
            for axis, length in enumerate(values.shape)
        )
        if isinstance(values, HiddenValues):
            cut = (slice(None),) * self.axis + (slice(self.first, self.end),)
            load = partial(_cut, values, cut)
            return replace(tensor, name=self.name, values=HiddenValues(load, values.dtype, shape))
        strides = values.strides or c_order(values.shape)
        moved = self.first * strides[self.axis] * DTYPES[values.dtype].size_bytes
        is_whole = math.prod(values.shape[: self.axis]) == 1 and values.strides is None
        extent = Extent(
            values.path,
            values.offset + moved,
            values.dtype,
            shape,
            None if is_whole else strides,
            values.big_endian,
        )
        return replace(tensor, name=self.name, values=extent)


def _cut(values: HiddenValues, cut: tuple[slice, ...]) -> Any:
    return as_widened(values.load(), values.dtype)[cut]


def measured_heads(
    run: Run, parameters: Sequence[Parameter], roles: Sequence[Role], metrics: Sequence[str]
) -> list[Measured]:
    """Return the metrics of every head of a run, in network order.

    Args:
        run: The run, with its checkpoints.
        parameters: The parameters that were measured.
        roles: Roles to include; with biases, a head has its part of them.
        metrics: Names of the metrics.

    Raises:
        MismatchError: If no heads are known.
        SourceError: If checkpoints are missing or have changed.
    """
    heads = heads_of(_informed(run, parameters), roles)
    if not heads:
        raise MismatchError(
            f"{run.source}: no attention heads are known; they are taken from config.json beside "
            "the checkpoints (num_attention_heads), from Keras and Flax layers, and from GGUF"
        )
    steps = len(run.checkpoints)
    totals: dict[Piece, Totals] = {}
    pieces = list(dict.fromkeys(piece for found in heads.values() for piece in found))
    walk = BlockWalk(run.checkpoints, threads=os.cpu_count() or 1)
    walk.run([_walk(piece, run, totals) for piece in pieces])
    rows = []
    for name, found in heads.items():
        together = folded((totals[piece] for piece in found), steps)
        series = metrics_of(together.elements, together.values, metrics)
        members = tuple(piece.parameter for piece in found)
        rows.append(Measured(name, members[0].kind, members, together, series))
    return rows


def heads_of(
    parameters: Sequence[Parameter], roles: Sequence[Role]
) -> dict[str, tuple[Piece, ...]]:
    """Return the pieces of every head, by a name such as ``h.0.attn.c_attn q3``."""
    found: dict[str, list[Piece]] = {}
    for parameter in parameters:
        if parameter.role in roles and parameter.split and parameter.elements:
            for head in parameter.split.heads():
                name = f"{parameter.layer} {head.part}{head.number}"
                found.setdefault(name, []).extend(_pieces(parameter, head))
    return {
        name: tuple(sorted(pieces, key=lambda piece: natural_key(piece.parameter.name)))
        for name, pieces in found.items()
        if pieces
    }


def _pieces(parameter: Parameter, head: Span) -> Iterator[Piece]:
    """Yield the piece of a head; none if it would be no range of one axis.

    Some frameworks have an axis of heads before an axis of their outputs.
    """
    axes = [0]
    if parameter.split and len(parameter.shape) > 1:
        axes = [a for a, axis in enumerate(parameter.axes) if axis is parameter.split.along]
    inner = math.prod(parameter.shape[axis] for axis in axes[1:])
    if axes and head.first % inner == 0 and head.end % inner == 0:
        yield Piece(parameter, axes[0], head.first // inner, head.end // inner)


def _informed(run: Run, parameters: Sequence[Parameter]) -> Sequence[Parameter]:
    """Return the parameters with the heads that are known today, for older analyses."""
    if any(parameter.split for parameter in parameters):
        return parameters
    tensors = run.checkpoints[0].tensors
    today = {p.name: p for layer in layers_of(tensors.values()) for p in layer.parameters}
    return [
        replace(parameter, split=today[parameter.name].split, axes=today[parameter.name].axes)
        if parameter.name in today and today[parameter.name].shape == parameter.shape
        else parameter
        for parameter in parameters
    ]


def _walk(piece: Piece, run: Run, totals: dict[Piece, Totals]) -> ParameterWalk:
    tensors = [piece.of(checkpoint.tensors[piece.parameter.name]) for checkpoint in run.checkpoints]
    elements = tensors[0].values.elements
    size = max(elements, 1) if any(map(is_read_whole, tensors)) else BLOCK_ELEMENTS

    def done(found: Totals) -> None:
        totals[piece] = found

    return ParameterWalk(piece.name, tensors, blocks_of(tensors[0].shape, size), done=done)

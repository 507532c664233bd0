"""What parameters, layers and axes mean, and how a matrix is divided into projections and heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Role(StrEnum):
    """What a parameter is for."""

    WEIGHT = "weight"
    BIAS = "bias"
    NORM = "norm"
    EMBEDDING = "embedding"
    BUFFER = "buffer"
    OPTIMIZER = "optimizer"


class Kind(StrEnum):
    """What a layer computes."""

    CONV = "conv"
    CONV_TRANSPOSE = "conv_transpose"
    LINEAR = "linear"
    EMBEDDING = "embedding"
    RNN = "rnn"
    LSTM = "lstm"
    GRU = "gru"
    ATTENTION = "attention"
    NORM = "norm"
    OTHER = "other"


class Axis(StrEnum):
    """Meaning of one axis of a parameter; frameworks order axes differently."""

    OUTPUT = "output"
    INPUT = "input"
    KERNEL = "kernel"
    DIRECTION = "direction"
    OTHER = "other"


DEFAULT_ROLES = (Role.WEIGHT, Role.EMBEDDING)
"""Roles in a layer's metrics and in rankings by default."""

MEASURED_ROLES = (Role.WEIGHT, Role.EMBEDDING, Role.BIAS, Role.NORM)
"""Roles that are measured and stored by default: everything that is trained."""


@dataclass(frozen=True, slots=True)
class Part:
    """One projection among those that share a matrix.

    Attributes:
        name: What it is: "q", "k", "v", "o", "gate", "up".
        size: Indices that it has in each group of the split.
        heads: Attention heads among them; 0 if they are not divided into heads.
    """

    name: str
    size: int
    heads: int = 0


class Span(NamedTuple):
    """Indices of one part, or of one head of it: from `first` up to `end`."""

    part: str
    number: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Split:
    """How the outputs or the inputs of a matrix are divided into projections and heads.

    The axis is a row of equal groups, and every group has all parts. GPT-2 stacks q, k and v of
    all heads (one group), GPT-NeoX has q, k and v of one head after the other (a group per head),
    and large Falcons have some heads of q for each of k and v.

    Attributes:
        along: `Axis.OUTPUT` or `Axis.INPUT`; a bias has outputs only.
        parts: The parts of one group, in the order of storage.
        groups: Number of groups.
        origin: What says so, in words ("config.json: gpt2").
    """

    along: Axis
    parts: tuple[Part, ...]
    groups: int = 1
    origin: str = ""

    @property
    def size(self) -> int:
        """Length of the axis."""
        return self.groups * sum(part.size for part in self.parts)

    def heads_of(self, name: str) -> int:
        """Return the number of heads of a part over all groups."""
        return self.groups * sum(part.heads for part in self.parts if part.name == name)

    def spans(self) -> Iterator[Span]:
        """Yield the indices of every part, group by group; numbers count the groups."""
        first = 0
        for group in range(self.groups):
            for part in self.parts:
                yield Span(part.name, group, first, first + part.size)
                first += part.size

    def heads(self) -> Iterator[Span]:
        """Yield the indices of every head, in the order of storage; numbers count per part."""
        counts: dict[str, int] = {}
        heads = {part.name: part.heads for part in self.parts}
        for name, _, first, end in self.spans():
            width = (end - first) // max(heads[name], 1)
            for start in range(first, end, width) if heads[name] else ():
                number = counts.get(name, 0)
                counts[name] = number + 1
                yield Span(name, number, start, start + width)

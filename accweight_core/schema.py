"""The vocabulary of accweight as types: checkpoint, parameter, layer, run.

This module knows no file format and no framework. A reader returns `StoredTensor`s that say *where*
the values lie (an `Extent`) without loading them; core then reads them in blocks, equally fast
for every format. Formats without plain bytes (compressed, packed, quantised) give a function
instead (`HiddenValues`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


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
class Extent:
    """Location of the values of one tensor in a file.

    Attributes:
        path: The file, or its URL without secrets.
        offset: Byte offset of element (0, ..., 0).
        dtype: Name of the element type, as in `accweight_core.dtypes`.
        shape: Shape of the tensor.
        strides: Stride of each axis in elements; None for contiguous C order.
        big_endian: Whether elements are stored most significant byte first.
    """

    path: str
    offset: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    big_endian: bool = False

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class HiddenValues:
    """Values that are not plain bytes in a file: compressed, packed, quantised or in memory.

    Attributes:
        load: Returns the whole tensor as a floating or complex array or a torch tensor; for a
            `dtype` that NumPy lacks (bfloat16, 8-bit floats) an array of its codes
            (`Dtype.code`) will do. Called once per walk over the parameter.
        dtype: Name of the element type that `load` returns.
        shape: Shape of the tensor.
    """

    load: Callable[[], Any]
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


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


@dataclass(frozen=True, slots=True)
class Hints:
    """What a reader knows about a tensor beyond its name; None for what the format does not say.

    Attributes:
        layer: Name of the module it belongs to.
        kind: What that module computes.
        role: What the tensor is for.
        axes: Meaning of each axis.
        sections: Names of equal parts stacked along the output axis (gates, q/k/v).
        split: Projections and heads along one axis.
        axes_from: What tells the axes, in words, if not the format itself.
    """

    layer: str | None = None
    kind: Kind | None = None
    role: Role | None = None
    axes: tuple[Axis, ...] | None = None
    sections: tuple[str, ...] | None = None
    split: Split | None = None
    axes_from: str = ""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One named tensor of one checkpoint: where its values lie, and the reader's hints.

    Attributes:
        name: Name in the checkpoint, wrapping prefixes removed.
        values: Where the values lie.
        hints: What the format says about its meaning.
        refusal: Why the values cannot be analysed (integer codes without a scale, for
            example); empty if they can.
    """

    name: str
    values: Extent | HiddenValues
    hints: Hints = Hints()
    refusal: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.values.shape

    @property
    def dtype(self) -> str:
        """Name of the element type."""
        return self.values.dtype


BESIDE_MODEL = "beside the model itself"
"""How the notes of readers end on averaged copies that they leave out."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a reader says about one checkpoint without reading its weights.

    Attributes:
        format: Format in words, as `inspect` shows it ("torch zip").
        tensors: Tensors, in network order if the format keeps it.
        step: Step stored inside the file, or None.
        step_key: Name under which the step is stored.
        files: Every file of the checkpoint (shards, external data).
        notes: Remarks for the user: what was left out, and why.
        measures: Finite training metrics stored with the weights (loss, accuracy), by name;
            nested names are joined with a dot.
        beside: Files of the run next to the checkpoint that are not checkpoints themselves,
            even if they look like one (the graph of the network).
        copies: Averaged copies of the model that were left out (ema), by their key in the
            checkpoint: their tensors, in the same order and by the same names as the model's.
        is_model: Whether the file itself says that all tensors are the model's, as a pickled module
            does; then layers called `optimizer` or `ema` stay.
    """

    format: str
    tensors: tuple[StoredTensor, ...]
    step: int | None = None
    step_key: str = ""
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    copies: Mapping[str, tuple[StoredTensor, ...]] = field(default_factory=dict)
    is_model: bool = False


class Stamp(NamedTuple):
    """Identity and state of a file at one moment, to tell whether it has changed.

    Attributes:
        device: Device of the file system.
        inode: Number of the file on it; a replaced file has another.
        size_bytes: Length.
        changed_ns: Modification time in ns; for a URL, a number made from the server's headers.
        status_ns: Time of the last change of contents or metadata in ns; 0 for a URL.
    """

    device: int
    inode: int
    size_bytes: int
    changed_ns: int
    status_ns: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The weights of one model at one step.

    Attributes:
        path: The file or folder, or a generated name for weights in memory.
        step: Integer that orders checkpoints.
        step_source: Where the step was found, in words.
        format: Format in words.
        tensors: Tensors by name.
        size_bytes: Total size of its files, 0 in memory.
        changed_ns: Latest modification time of its files, 0 in memory.
        measures: Finite training metrics stored in it (loss, accuracy), by name.
        stamps: Stamps of its files when it was described, by path; none in memory.
        copy: Key of the averaged copy (ema) whose tensors these are; empty for the model itself.
    """

    path: str
    step: int
    step_source: str
    format: str
    tensors: Mapping[str, StoredTensor]
    size_bytes: int = 0
    changed_ns: int = 0
    measures: Mapping[str, float] = field(default_factory=dict)
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    copy: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One named tensor of a run, the same in every checkpoint.

    Attributes:
        name: Its name.
        layer: Name of the layer it belongs to.
        kind: Kind of that layer.
        role: What it is for.
        shape: Its shape.
        dtype: Element type in the first checkpoint.
        axes: Meaning of each axis.
        sections: Names of equal parts stacked along the output axis.
        split: Projections and heads along one axis, if they are known.
        axes_from: What tells the axes, in words, where they are not in PyTorch's order and the
            format does not say so itself.
    """

    name: str
    layer: str
    kind: Kind
    role: Role
    shape: tuple[int, ...]
    dtype: str
    axes: tuple[Axis, ...]
    sections: tuple[str, ...] = ()
    split: Split | None = None
    axes_from: str = ""

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Layer:
    """A module: the parameters that belong together."""

    name: str
    kind: Kind
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True)
class TypeChange:
    """Parameters whose element type changed between two checkpoints.

    Attributes:
        step: The first step with the new type.
        before: The type until then.
        after: The type from then on.
        parameters: Names of the parameters.
    """

    step: int
    before: str
    after: str
    parameters: tuple[str, ...]

    def __str__(self) -> str:
        """Return the change in words."""
        shown = ", ".join(self.parameters[:3]) + (", ..." if len(self.parameters) > 3 else "")
        many = f"{len(self.parameters)} parameters: " if len(self.parameters) > 1 else ""
        return (
            f"the element type changes from {self.before} to {self.after} at step {self.step} "
            f"({many}{shown})"
        )


def type_changes(
    checkpoints: Sequence[Checkpoint], names: Sequence[str], earlier: Mapping[str, str] | None
) -> tuple[TypeChange, ...]:
    """Return where the element type of parameters changes along checkpoints, in step order.

    Args:
        checkpoints: In step order.
        names: The parameters; one that a checkpoint lacks is passed over.
        earlier: Types before the first of the checkpoints, by name; None to begin with it.
    """
    before, found = dict(earlier or {}), []
    for checkpoint in checkpoints:
        tensors = checkpoint.tensors
        now = {name: tensors[name].values.dtype for name in names if name in tensors}
        if now != before:
            changed: dict[tuple[str, str], list[str]] = {}
            for name, dtype in now.items():
                if before.get(name, dtype) != dtype:
                    changed.setdefault((before[name], dtype), []).append(name)
            found += [TypeChange(checkpoint.step, *k, tuple(v)) for k, v in changed.items()]
            before |= now
    return tuple(found)


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """The ordered checkpoints of one training run, with the same parameters in each.

    Attributes:
        source: The source as given by the user.
        reader: Name of the reader that described the files.
        checkpoints: In step order; the first one is the reference.
        layers: In network order.
        notes: Remarks for the user: files left out, order chosen.
        name_map: The map file as plain values; empty without one.
    """

    source: str
    reader: str
    checkpoints: tuple[Checkpoint, ...]
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = field(default=())
    name_map: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return a one-line summary."""
        return f"<Run of {self.source}: {in_short(self.steps, self.layers)}>"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters in network order."""
        return tuple(self._parameters())

    def _parameters(self) -> Iterator[Parameter]:
        for layer in self.layers:
            yield from layer.parameters

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """Steps of the checkpoints, ascending."""
        return np.array([checkpoint.step for checkpoint in self.checkpoints], dtype=np.int64)

    def checkpoint(self, step_index: int) -> Checkpoint:
        """Return one checkpoint, as `Analysis.checkpoint` does."""
        return self.checkpoints[step_index]


def in_short(steps: npt.NDArray[np.int64], layers: Sequence[Layer]) -> str:
    """Return the number of checkpoints, their steps and the network, in a phrase."""
    checkpoints = _counted(len(steps), "checkpoint")
    span = (
        f"step{'s' * (len(steps) > 1)} {' to '.join(str(s) for s in dict.fromkeys(steps[[0, -1]]))}"
    )
    parameters = [parameter for layer in layers for parameter in layer.parameters]
    weights = sum(parameter.elements for parameter in parameters)
    amounts = ((len(layers), "layer"), (len(parameters), "parameter"), (weights, "weight"))
    return ", ".join([checkpoints, span, *(_counted(n, noun) for n, noun in amounts)])


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"

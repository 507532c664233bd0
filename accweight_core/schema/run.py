"""A run: checkpoints in step order, and the layers and parameters that they all have."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.schema.meaning import Axis, Kind, Role, Split
from accweight_core.schema.measures import Word
from accweight_core.schema.stored import Stamp, StoredTensor


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
        nonfinite_measures: Those that are NaN or infinite, as "nan", "inf" or "-inf".
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
    nonfinite_measures: Mapping[str, Word] = field(default_factory=dict)


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
    before, found = dict(earlier or {}), list[TypeChange]()
    for checkpoint in checkpoints:
        tensors = checkpoint.tensors
        now = {name: tensors[name].values.dtype for name in names if name in tensors}
        if now != before:
            found += types_changed(checkpoint.step, before, now)
            before |= now
    return tuple(found)


def types_changed(
    step: int, before: Mapping[str, str], now: Mapping[str, str]
) -> tuple[TypeChange, ...]:
    """Return which element types change at one step.

    Args:
        step: The step.
        before: Types until then, by name of the parameter.
        now: Types from then on; a parameter that is in one of both alone is passed over.
    """
    changed: dict[tuple[str, str], list[str]] = {}
    for name, dtype in now.items():
        if before.get(name, dtype) != dtype:
            changed.setdefault((before[name], dtype), []).append(name)
    return tuple(TypeChange(step, *types, tuple(names)) for types, names in changed.items())


@dataclass(frozen=True, slots=True)
class Restart:
    """What a run follows whose job was started again from an earlier step.

    Attributes:
        after: Name of the analysis of what the job had done before, which lies beside this one.
        last_step: Its last step.
        last_changed_ns: When the checkpoint of that step was written. Only what was written later
            is of this run, apart from the checkpoint that the job went on from.
        first_step: The first step that was written after it.
    """

    after: str
    last_step: int
    last_changed_ns: int
    first_step: int


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
        restart: What it follows, if its job was started again from an earlier step.
    """

    source: str
    reader: str
    checkpoints: tuple[Checkpoint, ...]
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = field(default=())
    name_map: Mapping[str, Any] = field(default_factory=dict)
    restart: Restart | None = None

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

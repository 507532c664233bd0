"""Inspect a source: checkpoints, steps and their origin, layers, and whether it is one run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from accweight_core.dtypes import is_measurable
from accweight_core.gc_paused import gc_paused
from accweight_core.naming import layers_of
from accweight_core.orientation import BIAS, by_bias
from accweight_core.runs.grouping import Group, chosen_group
from accweight_core.runs.opening import Opened, grouped, named_by_model, survey
from accweight_core.runs.selection import ALL, Selection
from accweight_core.schema import (
    MEASURED_ROLES,
    Axis,
    Checkpoint,
    Layer,
    Parameter,
    Role,
    Split,
    StoredTensor,
)


@dataclass(frozen=True)
class Inspection:
    """The result of `inspect`.

    Attributes:
        opened: All checkpoints, in step order.
        groups: Checkpoints grouped by their parameters, largest group first.
        shown: The group whose layers are shown.
        layers: Layers of that group, in network order.
        refused: Reasons why tensors cannot be analysed, by name.
        told: Names of the parameters whose axes the format states.
    """

    opened: Opened
    groups: tuple[Group, ...]
    shown: Group
    layers: tuple[Layer, ...]
    refused: dict[str, str]
    told: frozenset[str] = frozenset()

    @property
    def format(self) -> str:
        """Names of the file formats, separated by commas."""
        return ", ".join(sorted({c.format for c in self.opened.checkpoints}))

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``inspect --json`` prints."""
        return {
            "format": self.format,
            "reader": self.opened.reader,
            "checkpoints": [_checkpoint(c) for c in self.opened.checkpoints],
            "groups": [
                {
                    "group": group.number,
                    "steps": [c.step for c in group.checkpoints],
                    "parameters": len(group.signature),
                }
                for group in self.groups
            ],
            "layers": [_layer(layer, self.told) for layer in self.layers],
            "refused": self.refused,
            "notes": list(self.opened.notes),
        }


def _checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "path": checkpoint.path,
        "step": checkpoint.step,
        "step_source": checkpoint.step_source,
        "size_bytes": checkpoint.size_bytes,
        "measures": dict(checkpoint.measures),
    }


def _layer(layer: Layer, told: frozenset[str]) -> dict[str, Any]:
    biases = [p.shape for p in layer.parameters if p.role is Role.BIAS]
    return {
        "name": layer.name,
        "kind": str(layer.kind),
        "parameters": [
            {
                "name": parameter.name,
                "shape": list(parameter.shape),
                "dtype": parameter.dtype,
                "role": str(parameter.role),
                "axes": [str(axis) for axis in parameter.axes],
                "axes_from": _axes_from(parameter, biases, told),
                "sections": list(parameter.sections),
                "split": _split(parameter.split),
            }
            for parameter in layer.parameters
        ],
    }


def _axes_from(
    parameter: Parameter, biases: list[tuple[int, ...]], told: frozenset[str]
) -> str | None:
    """Return what tells the axes of a matrix; None for what has no inputs and outputs."""
    if Axis.OUTPUT not in parameter.axes:
        return None
    if parameter.axes_from or parameter.name in told:
        return parameter.axes_from or "format"
    borne_out = any(by_bias(parameter.shape, bias) == parameter.axes for bias in biases)
    return BIAS if borne_out else "convention"


def _split(split: Split | None) -> dict[str, Any] | None:
    if split is None:
        return None
    return {
        "along": str(split.along),
        "groups": split.groups,
        "parts": [
            {"name": part.name, "size": part.size, "heads": part.heads} for part in split.parts
        ],
        "heads": {part.name: split.heads_of(part.name) for part in split.parts if part.heads},
        "from": split.origin,
    }


@gc_paused()
def inspected(source: str | os.PathLike[str] | list[str], selection: Selection = ALL) -> Inspection:
    """Inspect a source without reading weights; by default, the largest group is shown."""
    opened = survey(source, selection)
    groups = grouped(opened, selection)
    choice = "largest" if selection.group is None else selection.group
    shown = chosen_group(groups, choice, opened.source)
    model = selection.model
    tensors: list[StoredTensor] = list(named_by_model(shown.checkpoints[0], model))
    layers = shown.layers if model is None else layers_of(tensors)
    measured = {p.name for layer in layers for p in layer.parameters if p.role in MEASURED_ROLES}
    told = frozenset(t.name for t in tensors if t.hints.axes and not t.hints.axes_from)
    return Inspection(opened, groups, shown, layers, _refused(tensors, measured), told)


def _refused(tensors: Iterable[StoredTensor], measured: set[str]) -> dict[str, str]:
    """Return why tensors cannot be analysed, by name."""
    reasons = {}
    for tensor in tensors:
        if tensor.refusal:
            reasons[tensor.name] = tensor.refusal
        elif tensor.name in measured and not is_measurable(tensor.dtype):
            reasons[tensor.name] = f"{tensor.dtype} values have no known scale and zero point"
    return reasons

"""Inspect a source: checkpoints, steps and their origin, layers, and whether it is one run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from accweight_core.dtypes import is_measurable
from accweight_core.gc_paused import gc_paused
from accweight_core.naming import layers_of
from accweight_core.runs.grouping import Group, chosen_group
from accweight_core.runs.opening import Opened, grouped, named_by_model, survey
from accweight_core.runs.selection import ALL, Selection
from accweight_core.schema import (
    MEASURED_ROLES,
    Checkpoint,
    Layer,
    Parameter,
    Split,
    StoredTensor,
    type_changes,
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
    """

    opened: Opened
    groups: tuple[Group, ...]
    shown: Group
    layers: tuple[Layer, ...]
    refused: dict[str, str]

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
            "layers": [_layer(layer) for layer in self.layers],
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


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": str(layer.kind),
        "parameters": [_parameter(parameter) for parameter in layer.parameters],
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    """Return one parameter; what is inferred of few is left out of the others."""
    found: dict[str, Any] = {
        "name": parameter.name,
        "shape": list(parameter.shape),
        "dtype": parameter.dtype,
        "role": str(parameter.role),
        "axes": [str(axis) for axis in parameter.axes],
    }
    if parameter.axes_from:
        found["axes_from"] = parameter.axes_from
    if parameter.sections:
        found["sections"] = list(parameter.sections)
    if parameter.split:
        found["split"] = _split(parameter.split)
    return found


def _split(split: Split) -> dict[str, Any]:
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
    changes = type_changes(shown.checkpoints, [tensor.name for tensor in tensors], None)
    opened = replace(opened, notes=(*opened.notes, *map(str, changes)))
    return Inspection(opened, groups, shown, layers, _refused(tensors, measured))


def _refused(tensors: Iterable[StoredTensor], measured: set[str]) -> dict[str, str]:
    """Return why tensors cannot be analysed, by name."""
    reasons = {}
    for tensor in tensors:
        if tensor.refusal:
            reasons[tensor.name] = tensor.refusal
        elif tensor.name in measured and not is_measurable(tensor.dtype):
            reasons[tensor.name] = f"{tensor.dtype} values have no known scale and zero point"
    return reasons

"""Inspect a source: checkpoints, steps and their origin, layers, and whether it is one run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from accweight_core.dtypes import is_measurable
from accweight_core.errors import AccweightError, SeveralSeriesError
from accweight_core.gc_paused import gc_paused
from accweight_core.naming import layers_of
from accweight_core.remote.globbing import doubted
from accweight_core.runs.grouping import Group, chosen_group
from accweight_core.runs.hints import in_python
from accweight_core.runs.model_hints import named_by_model
from accweight_core.runs.opening import Opened, grouped, opened_series
from accweight_core.runs.search import LeftOut
from accweight_core.runs.selection import ALL, Selection
from accweight_core.runs.series import Series, check_order
from accweight_core.runs.surveying import chosen_series, left_out_of, surveyed
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
        series: All series of the source; empty for weights in memory.
        run: The one that `analyze` takes; None if the user has to choose.
        left_out: Files and folders left out, and why.
        stopped: Where the search of a folder stopped at a limit.
        opened: The checkpoints of the run in step order; of the largest series if there is none.
        groups: Checkpoints grouped by their parameters, largest group first.
        shown: The group whose layers are shown.
        layers: Layers of that group, in network order.
        refused: Reasons why tensors cannot be analysed, by name.
    """

    series: tuple[Series, ...]
    run: Series | None
    left_out: tuple[LeftOut, ...]
    stopped: tuple[str, ...]
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
        """Return the document that ``inspect --json`` prints.

        Checkpoints, groups and layers at the top are those of the run; where the user has to choose
        one, they are empty, and only `series` has them.
        """
        opened = self.opened if self.run is not None or not self.series else None
        return {
            "format": self.format if opened else "",
            "reader": opened.reader if opened else "",
            "checkpoints": [_checkpoint(c) for c in opened.checkpoints] if opened else [],
            "groups": [_group(group) for group in self.groups] if opened else [],
            "layers": [_layer(layer) for layer in self.layers] if opened else [],
            "refused": self.refused if opened else {},
            "notes": list(opened.notes if opened else self.stopped),
            "warnings": list(opened.warnings) if opened else [],
            "series": [
                _series(one, self.layers if one is self.run else one.layers) for one in self.series
            ],
            "run": self.run.name if self.run is not None else None,
            "left_out": [{"path": str(o.path), "reason": o.reason} for o in self.left_out],
        }


def _series(series: Series, layers: Sequence[Layer]) -> dict[str, Any]:
    return {
        "name": series.name,
        "files": series.pattern,
        "format": series.format,
        "copy_of": series.copy_of or None,
        "averaged_of": series.averaged_of or None,
        "checkpoints": [
            {"path": str(p.found.path), "step": p.step, "step_source": p.source}
            for p in series.placed
        ],
        "layers": [_layer(layer) for layer in layers],
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "group": group.number,
        "steps": [c.step for c in group.checkpoints],
        "parameters": len(group.signature),
    }


def _checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "path": checkpoint.path,
        "step": checkpoint.step,
        "step_source": checkpoint.step_source,
        "size_bytes": checkpoint.size_bytes,
        "measures": dict(checkpoint.measures),
        "nonfinite_measures": dict(checkpoint.nonfinite_measures),
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
@doubted()
def inspected(source: str | os.PathLike[str] | list[str], selection: Selection = ALL) -> Inspection:
    """Inspect a source without reading weights; by default, the largest group is shown.

    Where there are several series and none is plainly the run, all are listed, and the first of
    the largest is shown.
    """
    survey = surveyed(source, selection)
    run: Series | None
    try:
        run = chosen_series(survey, selection)
    except SeveralSeriesError:
        if selection.series is not None:
            raise
        run = None
    found = max(survey.series, key=lambda one: len(one.placed)) if run is None else run
    opened = opened_series(survey, found, is_only=run is not None and selection.series is None)
    groups = grouped(opened, selection)
    choice = "largest" if selection.group is None else selection.group
    shown = chosen_group(groups, choice, opened.source)
    model = selection.model
    tensors: list[StoredTensor] = list(named_by_model(shown.checkpoints[0], model))
    layers = shown.layers if model is None else layers_of(tensors)
    measured = {p.name for layer in layers for p in layer.parameters if p.role in MEASURED_ROLES}
    changes = type_changes(shown.checkpoints, [tensor.name for tensor in tensors], None)
    opened = replace(
        opened,
        notes=(*opened.notes, *map(str, changes)),
        warnings=(*opened.warnings, *([] if run is None else _refusal(run))),
    )
    return Inspection(
        series=survey.series if selection.series is None else (found,),
        run=run,
        left_out=tuple(left_out_of(survey, run)),
        stopped=survey.notes,
        opened=opened,
        groups=groups,
        shown=shown,
        layers=layers,
        refused=_refused(tensors, measured),
    )


def _refusal(run: Series) -> list[str]:
    """Return why `analyze` does not take a run; nothing if it does."""
    try:
        check_order(run)
    except AccweightError as error:
        return [f"analyze stops at this: {error}"]
    return []


def series_of(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], **options: Any
) -> tuple[Series, ...]:
    """Return the series of checkpoints that a source holds, without reading weights.

    Args:
        source: A file, a folder, a glob, or several of them, as paths or URLs.
        **options: As for `open_run`, which takes the name of one as `series`.

    Raises:
        SourceError: If the source does not exist or has no checkpoints.
    """
    selection = Selection.of(**options)
    with in_python():
        return surveyed(source, selection).series


def _refused(tensors: Iterable[StoredTensor], measured: set[str]) -> dict[str, str]:
    """Return why tensors cannot be analysed, by name."""
    reasons = {}
    for tensor in tensors:
        if tensor.refusal:
            reasons[tensor.name] = tensor.refusal
        elif tensor.name in measured and not is_measurable(tensor.dtype):
            reasons[tensor.name] = f"{tensor.dtype} values have no known scale and zero point"
    return reasons

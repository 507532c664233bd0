"""Open a run: find the checkpoints, order them, and check that they belong together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from accweight_core.arguments import checked_path
from accweight_core.errors import ArgumentTypeError, SourceError
from accweight_core.gc_paused import gc_paused
from accweight_core.io.memory import memory_told
from accweight_core.naming import layers_of
from accweight_core.remote.globbing import doubted
from accweight_core.runs.describing import size_and_change
from accweight_core.runs.found import Placed
from accweight_core.runs.grouping import Group, chosen_group, groups_of
from accweight_core.runs.hints import in_python
from accweight_core.runs.in_memory import in_memory
from accweight_core.runs.mlflow_metrics import logged_measures
from accweight_core.runs.model_hints import named_by_model
from accweight_core.runs.name_map import NameMap
from accweight_core.runs.selection import ALL, Selection
from accweight_core.runs.series import Series, check_order
from accweight_core.runs.surveying import (
    Like,
    Survey,
    chosen_series,
    left_out_of,
    like_none,
    note_on_others,
    notes_beside_all,
    notes_on,
    surveyed,
)
from accweight_core.schema import Checkpoint, Run, finite_and_not

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Sequence[Mapping[str, Any]]
WeightsByStep = Mapping[int, Mapping[str, Any]]


def open_run(
    source: Source | WeightsByStep,
    *,
    reader: str | None = None,
    model: str | os.PathLike[str] | None = None,
    skip: Iterable[str] = (),
    exclude: Iterable[str] = (),
    group: int | str | None = None,
    series: str | Series | None = None,
    revisions: str | None = None,
    in_given_order: bool = False,
    map: NameMap | str | os.PathLike[str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Run:
    """Open the checkpoints of one training run, without reading weights.

    Args:
        source: A file, a folder, a glob, or several of them, as paths or URLs; or weights in
            memory: a sequence of mappings of name to array or tensor, or such mappings by step.
        reader: Name of the reader; chosen by the content of the files if None.
        model: An ONNX model of the same network, which supplies kinds and network order.
        skip: Patterns of parameter names to leave out.
        exclude: Patterns of file names to leave out.
        group: Group of checkpoints to use if they have different parameters: its number in
            `inspect`, or "largest".
        series: The series to use if the source holds several, as `series_of` returns it, or its
            name, as `inspect` lists it.
        revisions: Pattern of the branches and tags of a repository (``hf://ORG/MODEL``,
            ``git:FOLDER``), each of which is a checkpoint.
        in_given_order: Whether to use the order of `source` instead of the steps in files or names.
        map: A map file with the names of parameters that differ between checkpoints. With a map,
            files of several formats can be one run.
        storage_options: Options for fsspec's file systems (keys, endpoints), in addition to
            fsspec's configuration. They are not stored.

    Raises:
        SourceError: If the source does not exist or has no checkpoints.
        FormatError: If a file is damaged, unsafe or of an unknown format.
        StepOrderError: If two different checkpoints have the same step.
        SeveralSeriesError: If the source holds several series, and none is plainly the run.
        MismatchError: If the checkpoints have different parameters.
        MissingLibraryError: If a URL needs a library that is not installed.
    """
    selection = Selection.of(
        reader=reader,
        model=model,
        skip=skip,
        exclude=exclude,
        group=group,
        series=series,
        revisions=revisions,
        in_given_order=in_given_order,
        map=map,
        storage_options=storage_options,
    )
    with in_python():
        return selected_run(source, selection)


def as_run(given: Run | Source | WeightsByStep, like: Like = like_none) -> Run:
    """Return a given run unchanged, or open it from its source; see `selected_run`."""
    with in_python():
        return given if isinstance(given, Run) else selected_run(given, ALL, like)


@gc_paused()
def selected_run(
    source: Source | WeightsByStep, selection: Selection, like: Like = like_none
) -> Run:
    """Open the run that a selection takes from a source; see `open_run`.

    Args:
        source: The source.
        selection: The options of `open_run`.
        like: Checkpoints analysed before: of several series, the one that they are of.
    """
    return run_of(survey(source, selection, like), selection)


@gc_paused()
def selected_runs(source: Source, selection: Selection) -> dict[str, Run]:
    """Open every complete series of a source as a run of its own, by name."""
    found = surveys(source, selection)
    return {name: run_of(opened, selection) for name, opened in found.items()}


def run_of(opened: Opened, selection: Selection) -> Run:
    """Return the run of the checkpoints of one series, after checking that they are one."""
    groups = grouped(opened, selection)
    picked = chosen_group(groups, selection.group, opened.source)
    kept, model, name_map = picked.checkpoints, selection.model, selection.map
    return Run(
        source=opened.source,
        reader=opened.reader,
        checkpoints=kept,
        layers=picked.layers if model is None else layers_of(named_by_model(kept[0], model)),
        notes=(*opened.notes, *_left_out(groups, picked), *_unused(name_map, opened)),
        name_map=name_map.document if name_map else {},
    )


def grouped(opened: Opened, selection: Selection) -> tuple[Group, ...]:
    """Group the checkpoints by parameters, after the name map and --skip of a selection."""
    checkpoints = as_mapped(opened.checkpoints, selection.map)
    return groups_of([without(checkpoint, selection.skip) for checkpoint in checkpoints])


def as_mapped(checkpoints: Sequence[Checkpoint], name_map: NameMap | None) -> Sequence[Checkpoint]:
    """Return checkpoints with the names of a map and axes in one order; unchanged without a map."""
    if name_map is None:
        return checkpoints
    from accweight_core.runs.renaming import conformed, renamed

    return conformed([renamed(checkpoint, name_map) for checkpoint in checkpoints])


def _unused(name_map: NameMap | None, opened: Opened) -> list[str]:
    """Return a note on names in a map that no checkpoint has, as they are probably misspelt."""
    if name_map is None:
        return []
    names = {name for checkpoint in opened.checkpoints for name in checkpoint.tensors}
    unused = [key for key in name_map.parameters if "*" not in key and key not in names]
    shown = ", ".join(map(repr, unused[:3])) + (", ..." if len(unused) > 3 else "")
    return [f"{name_map.source}: no checkpoint has a parameter {shown}"] if unused else []


@dataclass(frozen=True)
class Opened:
    """Checkpoints in step order, not yet checked for belonging to one run.

    Attributes:
        source: The source as the user gave it.
        reader: Names of the readers, separated by commas.
        checkpoints: The checkpoints, in step order.
        notes: Remarks for the user: what was left out, and why.
        warnings: What the user has to check, such as an order that only the alphabet gives.
        series: Name of their series, if the source holds several.
    """

    source: str
    reader: str
    checkpoints: tuple[Checkpoint, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    series: str = ""


@memory_told("opening the run")
@doubted()
def survey(
    source: Source | WeightsByStep, selection: Selection = ALL, like: Like = like_none
) -> Opened:
    """Return the checkpoints of a source in step order, whether or not they have one network.

    Raises:
        SourceError: If the source does not exist or has no checkpoints.
        FormatError: If a file of the run is damaged, unsafe or of an unknown format.
        StepOrderError: If two different checkpoints have the same step.
        SeveralSeriesError: If the source holds several series, and none is plainly the run.
    """
    held = in_memory(source)
    if held is not None:
        return Opened("memory", "memory", *held)
    found = surveyed(_files(source), selection)
    series = chosen_series(found, selection, like)
    check_order(series)
    return opened_series(found, series, is_only=selection.series is None)


@memory_told("opening the runs")
@doubted()
def surveys(source: Source, selection: Selection = ALL) -> dict[str, Opened]:
    """Return the checkpoints of every complete series of a source but copies, by name.

    Notes say which copies and single checkpoints are left out.

    Raises:
        SourceError: If the source does not exist, or has no series of two checkpoints or more.
        FormatError: If a file of a series is damaged, unsafe or of an unknown format.
        StepOrderError: If two different checkpoints of a series have the same step.
    """
    found = surveyed(_files(source), selection)
    wanted = found.series if selection.series is None else (chosen_series(found, selection),)
    complete = [series for series in wanted if series.is_complete and not series.copy_of]
    if not complete:
        raise SourceError(
            f"{found.source}: no series has two checkpoints at least, so nothing shows change"
        )
    for series in complete:
        check_order(series)
    opened = {series.name: opened_series(found, series, is_only=False) for series in complete}
    if selection.series is None:
        for name, notes in notes_beside_all(found, complete).items():
            opened[name] = replace(opened[name], notes=(*opened[name].notes, *notes))
    return opened


def opened_series(found: Survey, series: Series, *, is_only: bool = True) -> Opened:
    """Return the checkpoints of one series of a source.

    Args:
        found: What the source holds.
        series: The series.
        is_only: Whether the others are left out without being asked, which takes a note.
    """
    left_out = left_out_of(found, series)
    logged = logged_measures(series.placed)
    notes = [
        *notes_on(left_out),
        *(note_on_others(found, series) if is_only else ()),
        *found.notes,
        *_shared_notes(series.placed),
    ]
    return Opened(
        found.source,
        ", ".join(series.readers),
        tuple(_checkpoint(item, logged.get(item.step, {})) for item in series.placed),
        tuple(dict.fromkeys(notes)),
        series.order.warnings,
        series.name if len(found.series) > 1 else "",
    )


def _files(source: Any) -> Any:
    """Return a source of files after checking its type.

    Raises:
        ArgumentTypeError: If it is none.
    """
    if isinstance(source, (str, os.PathLike)):
        return source
    if not isinstance(source, Iterable):
        raise ArgumentTypeError(
            "expected a file, a folder, a glob, several of them, or weights in memory, "
            f"got {type(source).__name__}"
        )
    paths = list(source)
    for item in paths:
        checked_path(item, "a checkpoint")
    return paths


def _shared_notes(placed: Sequence[Placed]) -> list[str]:
    """Return the notes of readers, each once, with the files they apply to."""
    files: dict[str, list[str]] = {}
    for item in placed:
        for note in item.found.description.notes:
            files.setdefault(note, []).append(item.found.name)
    return [
        f"{names[0] if len(names) == 1 else f'{len(names)} checkpoints'}: {note}"
        for note, names in files.items()
    ]


def _checkpoint(item: Placed, logged: Mapping[str, float]) -> Checkpoint:
    description = item.found.description
    size, changed = size_and_change(item.found.stamps)
    measures, others = finite_and_not(
        {**logged, **item.found.measures_in_name, **description.measures}
    )
    return Checkpoint(
        path=str(item.found.path),
        step=item.step,
        step_source=item.source,
        format=description.format,
        tensors={tensor.name: tensor for tensor in description.tensors},
        size_bytes=size,
        changed_ns=changed,
        measures=measures,
        stamps=item.found.stamps,
        copy=item.found.copy,
        nonfinite_measures=others,
    )


def without(checkpoint: Checkpoint, patterns: tuple[str, ...]) -> Checkpoint:
    """Return the checkpoint without the parameters that match a pattern."""
    if not patterns:
        return checkpoint
    kept = {
        name: tensor
        for name, tensor in checkpoint.tensors.items()
        if not any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    return replace(checkpoint, tensors=kept)


def _left_out(groups: Sequence[Group], picked: Group) -> list[str]:
    return [
        f"group {group.number} left out: {group.summary}"
        for group in groups
        if group.number != picked.number
    ]

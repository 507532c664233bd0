"""Whether checkpoints are of the run that an analysis holds, where none of them is new.

Steps that come after the last one are compared as they are added. Where there are none, a script
that runs again and again has nothing to do, unless it was given another run: that is told here,
from parameters and files, without reading weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from accweight_core.errors import MismatchError
from accweight_core.naming import layers_of
from accweight_core.schema import Checkpoint, Run
from accweight_core.store.header import Header
from accweight_core.store.records import CheckpointRecord


def nothing_new(last: int) -> str:
    """Return what is said of a run without later checkpoints.

    Args:
        last: Last step of the analysis.
    """
    return f"nothing is new: no checkpoint comes after step {last}, the last one analysed"


def check_same_run(run: Run, header: Header, path: Path) -> None:
    """Check that a run whose checkpoints come no later is the one that was analysed.

    One of them has to lie where those that were analysed lie, or to have the size and time of one
    of them, if they were moved.

    Args:
        run: The run, with the names of the analysis.
        header: Header of the analysis.
        path: The analysis.

    Raises:
        MismatchError: If it has other parameters, or none of its checkpoints was analysed.
    """
    check_parameters(run, run.checkpoints, header, path)
    folder, files = folder_of(header), {_file(record) for record in header.checkpoints}
    now = [CheckpointRecord.of(checkpoint) for checkpoint in run.checkpoints]
    if not any(lies_in(folder, one) or _file(one) in files for one in now):
        last = header.checkpoints[-1]
        raise MismatchError(
            f"{run.source}: no checkpoint comes after step {last.step}, the last one analysed, and "
            f"none is of the run in {path} (its last one: {last.path}); give the checkpoints of "
            "that run, or another output"
        )


def check_parameters(
    run: Run, checkpoints: Sequence[Checkpoint], header: Header, path: Path
) -> None:
    """Check that checkpoints have the parameters of an analysis.

    Args:
        run: Their run.
        checkpoints: Those of its checkpoints that matter.
        header: Header of the analysis.
        path: The analysis.

    Raises:
        MismatchError: If a parameter is missing or has another shape, or they are other copies of
            the weights.
    """
    shapes = {p.name: p.shape for p in run.parameters}
    for parameter in header.parameters:
        if shapes.get(parameter.name) != parameter.shape:
            raise MismatchError(
                f"{run.source}: parameter {parameter.name!r} has shape "
                f"{shapes.get(parameter.name, 'missing')} but {parameter.shape} in {path}"
            )
    copy = header.checkpoints[0].copy
    if {one.copy for one in checkpoints} != {copy}:
        raise MismatchError(
            f"{run.source}: the analysis is of {_weights_of(copy)}, and "
            f"these are {_weights_of(checkpoints[0].copy)}; choose with --series"
        )


def with_names_of(run: Run, header: Header) -> Run:
    """Return a run read with a map, with its axes in the order of an analysis."""
    if not run.name_map:
        return run
    from accweight_core.runs.renaming import conformed

    reference = {parameter.name: parameter for parameter in header.parameters}
    checkpoints = tuple(conformed(run.checkpoints, reference))
    layers = layers_of(checkpoints[0].tensors.values())
    return replace(run, checkpoints=checkpoints, layers=layers)


def folder_of(header: Header) -> tuple[str, ...]:
    """Return the names of the folder that all checkpoints of an analysis lie in.

    Of those in memory, it is any.
    """
    places = [_parts(record)[:-1] for record in header.checkpoints]
    alike = takewhile(lambda names: len(set(names)) == 1, zip(*places, strict=False))
    return tuple(names[0] for names in alike)


def lies_in(folder: tuple[str, ...], record: CheckpointRecord) -> bool:
    """Tell whether a checkpoint lies in a folder, given as `folder_of` returns it."""
    return _parts(record)[: len(folder)] == folder


def _parts(record: CheckpointRecord) -> tuple[str, ...]:
    return Path(record.path).parts


def _file(record: CheckpointRecord) -> tuple[int, int, int]:
    """Return what of a file stays the same when it is moved."""
    return record.step, record.size_bytes, record.changed_ns


def _weights_of(copy: str) -> str:
    return f"the averaged copy {copy!r}" if copy else "the weights themselves"

"""Describe the checkpoints of a stored analysis again, and check that they are unchanged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from accweight_core.analysis.restart_notes import changed_since
from accweight_core.errors import FormatError, SourceError, StoreError
from accweight_core.readers import reader_for, reader_named
from accweight_core.remote import is_url, path_at
from accweight_core.runs.describing import described_at_once, size_and_change
from accweight_core.runs.name_map import NameMap
from accweight_core.schema import Checkpoint, Run
from accweight_core.store.header import Header
from accweight_core.store.records import LIVE


def reopened(header: Header, store: Path | None = None) -> Run:
    """Describe the checkpoints of an analysis again.

    Args:
        header: Header of the analysis, or of some of its steps.
        store: Its folder, beside which others may lie that go on from it.

    Raises:
        SourceError: If they were never on disk, are missing, or have changed.
    """
    is_mixed = ", " in header.reader
    reader = None if header.reader == "memory" or is_mixed else reader_named(header.reader)
    checkpoints = []
    for record in header.checkpoints:
        if record.format == LIVE:
            raise SourceError(
                f"step {record.step} was measured while training, without checkpoints, so what "
                "needs the weights cannot be computed (exact values, trace, probes, rewind); "
                "tables, rankings and pictures have every step. For the rest, save checkpoints "
                "and analyse them"
            )
        path = path_at(record.path, again=True)
        own = reader_for(path) if is_mixed and path.exists() else reader
        if own is None or not path.exists():
            secrets = "; if its URL was signed, open the run with it again" * is_url(record.path)
            raise SourceError(
                f"{record.path}: the checkpoint of step {record.step} is missing; "
                f"exact values need it, rankings and pictures do not{secrets}"
            )
        description, stamps = described_at_once(own, path)
        if size_and_change(stamps) != (record.size_bytes, record.changed_ns):
            raise SourceError(
                f"{record.path}: the checkpoint of step {record.step} has changed since the "
                f"analysis began, {changed_since(store)}"
            )
        if record.copy and record.copy not in description.copies:
            raise SourceError(f"{record.path}: the averaged copy {record.copy!r} is missing")
        tensors = description.copies[record.copy] if record.copy else description.tensors
        checkpoints.append(
            Checkpoint(
                record.path,
                record.step,
                record.step_source,
                record.format,
                {tensor.name: tensor for tensor in tensors},
                record.size_bytes,
                record.changed_ns,
                record.measures,
                stamps,
                record.copy,
                record.nonfinite_measures,
            )
        )
    if header.name_map:
        checkpoints = _as_analysed(checkpoints, header)
    return Run(header.source, header.reader, tuple(checkpoints), header.layers)


def reopened_checkpoint(header: Header, step_index: int, store: Path | None = None) -> Checkpoint:
    """Describe one checkpoint of an analysis again; the others may be missing.

    Args:
        header: Header of the analysis.
        step_index: Index of the step.
        store: As of `reopened`.

    Raises:
        SourceError: If it was never on disk, is missing, or has changed.
    """
    record = header.checkpoints[step_index]
    return reopened(replace(header, checkpoints=(record,)), store).checkpoints[0]


def _as_analysed(checkpoints: list[Checkpoint], header: Header) -> list[Checkpoint]:
    """Return checkpoints with the parameter names and axes of the analysis."""
    from accweight_core.runs.renaming import conformed, renamed

    try:
        name_map = NameMap.of_document(header.name_map, f"the map of {header.source}")
    except FormatError as error:
        raise StoreError(f"the header of the analysis is damaged: {error}") from error
    found = [renamed(checkpoint, name_map) for checkpoint in checkpoints]
    return conformed(found, {parameter.name: parameter for parameter in header.parameters})

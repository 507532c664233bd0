"""Store the numbers of an analysis, without pictures: they need the checkpoints."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from accweight_core.analysis.summary import metric_arrays
from accweight_core.errors import StoreError
from accweight_core.io.target import target_at
from accweight_core.metrics.table import Floats
from accweight_core.store.beginning import begin_beside, check_replaceable, create, is_taken
from accweight_core.store.header import Header
from accweight_core.store.lock import locked
from accweight_core.store.replacing import put_in_place, tidy


def saved(path: str | os.PathLike[str], header: Header, values: Floats, *, overwrite: bool) -> Path:
    """Store a header and its sums; return the folder.

    Args:
        path: Folder to store them in (NAME.accw).
        header: Header of a complete analysis.
        values: (steps, parameters, sums); read before an analysis at `path` is replaced.
        overwrite: Replace an analysis at `path`, which is kept until the new one is complete.

    Raises:
        StoreError: If the path exists and is not to be replaced or not an analysis.
    """
    target = target_at(path, "an analysis")
    with locked(target):
        tidy(target)
        replacing = overwrite and is_taken(target)
        if replacing:
            check_replaceable(target)
        elif target.exists():
            raise StoreError(
                f"{target}: exists already; nothing is overwritten without overwrite=True"
            )
        _write(target, header, values, replacing=replacing)
    return target


def _write(target: Path, header: Header, values: Floats, *, replacing: bool) -> None:
    header = replace(header, picture_bases=(), packs=(), complete=False)
    store = begin_beside(target, header) if replacing else create(target, header)
    store.finish_parameters(range(len(header.parameters)), values)
    metrics = metric_arrays(header, values)
    store.finish(header, {name: [found] for name, found in metrics.items()})
    if replacing:
        put_in_place(target)

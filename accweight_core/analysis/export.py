"""Export of all metrics of all layers and steps to csv, parquet and npz."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.summary import Per
from accweight_core.errors import MissingLibraryError, StoreError, UnknownNameError, reason_of

if TYPE_CHECKING:
    import pandas as pd


def export(
    analysis: Analysis,
    out: str | os.PathLike[str] | BinaryIO,
    to: str,
    *,
    per: Per = "layer",
    overwrite: bool = False,
) -> int:
    """Write the table of an analysis; return the number of rows.

    Args:
        analysis: The analysis.
        out: Path of a file, or an open binary stream.
        to: "csv" or "parquet": one row per layer and step; "npz": one (steps, layers) array
            per metric, with `steps`, the names, and `elements`.
        per: Whether rows are layers or parameters.
        overwrite: Replace an existing file.

    Raises:
        StoreError: If the file exists or cannot be written.
        MissingLibraryError: If the format needs a library that is not installed.
    """
    if to not in WRITERS:
        raise UnknownNameError(f"no format is called {to!r}; formats are {', '.join(WRITERS)}")
    if not isinstance(out, (str, os.PathLike)):
        return _written(out, analysis, to, per)
    path = Path(out)
    if path.exists() and not overwrite:
        raise StoreError(f"{path}: exists already; choose another name, or add --overwrite")
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("wb") as file:
            rows = _written(file, analysis, to, per)
        draft.replace(path)
    except MissingLibraryError:
        raise
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({reason_of(error)})") from error
    finally:
        draft.unlink(missing_ok=True)
    return rows


def _written(file: BinaryIO, analysis: Analysis, to: str, per: Per) -> int:
    """Write the table to a stream, which may be a pipe; return the number of rows."""
    table, content = analysis.table(per), io.BytesIO()
    WRITERS[to](content, table, analysis, per)
    file.write(content.getbuffer())
    file.flush()
    return len(table)


def _write_csv(file: BinaryIO, table: pd.DataFrame, analysis: Analysis, per: Per) -> None:
    table.to_csv(file, index=False, float_format="%.17g", encoding="utf-8")


def _write_parquet(file: BinaryIO, table: pd.DataFrame, analysis: Analysis, per: Per) -> None:
    try:
        table.to_parquet(file, index=False, engine="pyarrow")
    except ImportError:
        raise MissingLibraryError("pyarrow", "parquet", "writing Parquet") from None


def _write_npz(file: BinaryIO, table: pd.DataFrame, analysis: Analysis, per: Per) -> None:
    rows = analysis.measured(per)
    arrays: dict[str, Any] = {
        name: np.stack([row.metrics[name] for row in rows], axis=1)
        if rows
        else np.empty((len(analysis.steps), 0))
        for name in analysis.metrics
    }
    np.savez_compressed(
        file,
        steps=analysis.steps,
        names=np.array([row.name for row in rows], dtype=np.str_),
        kinds=np.array([str(row.kind) for row in rows], dtype=np.str_),
        elements=np.array([row.elements for row in rows], dtype=np.int64),
        **arrays,
    )


WRITERS: dict[str, Callable[[BinaryIO, pd.DataFrame, Analysis, Per], None]] = {
    "csv": _write_csv,
    "parquet": _write_parquet,
    "npz": _write_npz,
}
"""Writers by format. To add a format, add a function here and a choice to the command."""

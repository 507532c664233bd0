"""Export: every metric of every layer and step, in formats that other tools read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.summary import Per
from accweight_core.errors import MissingLibraryError, StoreError, UnknownNameError

if TYPE_CHECKING:
    import pandas as pd


def export(
    analysis: Analysis,
    out: str | os.PathLike[str],
    to: str,
    *,
    per: Per = "layer",
    overwrite: bool = False,
) -> int:
    """Write the table of an analysis; return its number of rows.

    Args:
        analysis: What to export.
        out: File to write.
        to: "csv" or "parquet": one row per layer and step; "npz": one (steps, layers) array
            per metric, with `steps`, the names, and `elements`.
        per: What a row stands for.
        overwrite: Replace the file if it exists.

    Raises:
        StoreError: If the file exists or cannot be written.
        MissingLibraryError: If the format needs a library that is not installed.
    """
    path = Path(out)
    if path.exists() and not overwrite:
        raise StoreError(f"{path}: exists already; choose another name, or add --overwrite")
    writers: dict[str, Callable[[Path, pd.DataFrame, Analysis, Per], None]] = {
        "csv": _write_csv,
        "parquet": _write_parquet,
        "npz": _write_npz,
    }
    if to not in writers:
        raise UnknownNameError(f"no format is called {to!r}; formats are {', '.join(writers)}")
    table = analysis.table(per)
    draft = path.with_name(f".{path.name}.draft")
    try:
        writers[to](draft, table, analysis, per)
        draft.replace(path)
    except MissingLibraryError:
        raise
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        draft.unlink(missing_ok=True)
    return len(table)


def _write_csv(path: Path, table: pd.DataFrame, analysis: Analysis, per: Per) -> None:
    table.to_csv(path, index=False, float_format="%.17g")


def _write_parquet(path: Path, table: pd.DataFrame, analysis: Analysis, per: Per) -> None:
    try:
        table.to_parquet(path, index=False, engine="pyarrow")
    except ImportError:
        raise MissingLibraryError("pyarrow", "parquet", "writing Parquet") from None


def _write_npz(path: Path, table: pd.DataFrame, analysis: Analysis, per: Per) -> None:
    rows = analysis.measured(per)
    arrays: dict[str, Any] = {
        name: np.stack([row.metrics[name] for row in rows], axis=1)
        if rows
        else np.empty((len(analysis.steps), 0))
        for name in analysis.metrics
    }
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            steps=analysis.steps,
            names=np.array([row.name for row in rows], dtype=np.str_),
            kinds=np.array([str(row.kind) for row in rows], dtype=np.str_),
            elements=np.array([row.elements for row in rows], dtype=np.int64),
            **arrays,
        )

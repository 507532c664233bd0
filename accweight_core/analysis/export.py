"""Export of all metrics of all layers and steps to csv, parquet and npz."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, get_args

import numpy as np

from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.summary import Measured, Per
from accweight_core.analysis.training_figures import figure_columns
from accweight_core.arguments import brief, checked_choice, checked_roles, is_one_of
from accweight_core.errors import (
    ArgumentTypeError,
    MissingLibraryError,
    StoreError,
    UnknownNameError,
    reason_of,
)
from accweight_core.io.target import replaced_whole, target_at
from accweight_core.schema import Role
from accweight_core.text import meant

if TYPE_CHECKING:
    import pandas as pd


def export(
    analysis: Analysis,
    out: str | os.PathLike[str] | BinaryIO,
    to: str,
    *,
    per: Per = "layer",
    overwrite: bool = False,
    roles: Iterable[Role | str] | None = None,
) -> int:
    """Write the table of an analysis; return the number of rows.

    Args:
        analysis: The analysis.
        out: Path of a file, or an open binary stream.
        to: "csv" or "parquet": one row per layer and step; "npz": one (steps, layers) array
            per metric, with `steps`, the names, and `elements`. Training figures are columns
            "training/NAME" with the number of the step in every row; in npz, arrays of (steps,).
            In CSV, names that spreadsheets would take for formulas have an apostrophe before them
            (`unescaped` takes it off).
        per: Whether rows are layers, parameters or attention heads.
        overwrite: Replace an existing file.
        roles: Roles to include; those of the analysis by default.

    Raises:
        MismatchError: If no parameter has one of the roles.
        StoreError: If the file exists or cannot be written.
        MissingLibraryError: If the format needs a library that is not installed.
    """
    checked_choice(per, get_args(Per), "per")
    if not is_one_of(to, WRITERS):
        raise UnknownNameError(
            f"no format is called {brief(to)}; {meant(to, WRITERS)}formats are {', '.join(WRITERS)}"
        )
    if not isinstance(analysis, Analysis):
        raise ArgumentTypeError(f"expected an analysis, got {type(analysis).__name__}")
    chosen = None if roles is None else checked_roles(roles)
    if not isinstance(out, (str, os.PathLike)):
        if not hasattr(out, "write"):
            raise ArgumentTypeError(
                f"expected a path or a stream of bytes to write to, got {type(out).__name__}"
            )
        try:
            return _written(out, analysis, to, per, chosen)
        except BrokenPipeError:
            raise  # whoever reads has seen enough
        except OSError as error:
            raise StoreError(f"the output cannot be written ({reason_of(error)})") from error
    path = target_at(out, "an export")
    with replaced_whole(path, overwrite=overwrite) as draft, draft.open("wb") as file:
        return _written(file, analysis, to, per, chosen)


FORMULA_BEGINS = tuple("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")
"""What spreadsheets take for the beginning of a formula, in either width; and the mark itself."""


def escaped(text: str) -> str:
    """Return text of a table as CSV holds it: what a spreadsheet would obey has a mark before it.

    Names of parameters come from files, and programs that show tables run what begins with ``=``.
    They show what begins with an apostrophe as the text behind it. What begins with one anyway gets
    another, so `unescaped` gives every text back.

    >>> escaped("=1+1"), escaped("fc.weight")
    ("'=1+1", 'fc.weight')
    """
    return f"'{text}" if text.startswith(FORMULA_BEGINS) else text


def unescaped(text: str) -> str:
    """Return the text that a cell of an exported CSV stands for: one apostrophe less.

    >>> unescaped("'=1+1"), unescaped("fc.weight")
    ('=1+1', 'fc.weight')
    """
    return text.removeprefix("'")


def _written(
    file: BinaryIO, analysis: Analysis, to: str, per: Per, roles: Sequence[Role] | None
) -> int:
    """Write the table to a stream, which may be a pipe; return the number of rows."""
    table, content = analysis.table(per, roles), io.BytesIO()
    WRITERS[to](content, table, analysis, analysis.measured(per, roles))
    file.write(content.getbuffer())
    file.flush()
    return len(table)


def _beside(table: pd.DataFrame, columns: dict[str, Any]) -> pd.DataFrame:
    """Return a table with further columns, which are added at once: one by one is slow for many."""
    import pandas as pd

    return pd.concat([table, pd.DataFrame(columns, index=table.index)], axis=1)


def _write_csv(
    file: BinaryIO, table: pd.DataFrame, analysis: Analysis, rows: Sequence[Measured]
) -> None:
    per = table.columns[0]
    texts = {name: [escaped(text) for text in table[name]] for name in (per, "kind")}
    figures = {
        name: ["" if value is None else f"{value:.17g}" for value in values] * len(rows)
        for name, values in figure_columns(analysis.header).items()
    }
    # a text is quoted for what ends a line alone, and readers take any CR for the end of one
    has_cr = any("\r" in text for text in (*texts[per], *figures))
    _beside(table.assign(**texts), figures).to_csv(
        file,
        index=False,
        float_format="%.17g",
        encoding="utf-8",
        lineterminator="\r\n" if has_cr else None,
    )


def _write_parquet(
    file: BinaryIO, table: pd.DataFrame, analysis: Analysis, rows: Sequence[Measured]
) -> None:
    figures = {
        name: np.array(values * len(rows), np.float64)
        for name, values in figure_columns(analysis.header).items()
    }
    try:
        _beside(table, figures).to_parquet(file, index=False, engine="pyarrow")
    except ImportError:
        raise MissingLibraryError("pyarrow", "parquet", "writing Parquet") from None


def _write_npz(
    file: BinaryIO, table: pd.DataFrame, analysis: Analysis, rows: Sequence[Measured]
) -> None:
    arrays: dict[str, Any] = {
        name: np.stack([row.metrics[name] for row in rows], axis=1)
        if rows
        else np.empty((len(analysis.steps), 0))
        for name in analysis.metrics
    }
    for name, values in figure_columns(analysis.header).items():
        arrays[name] = np.array(values, np.float64)
    np.savez_compressed(
        file,
        steps=analysis.steps,
        names=np.array([row.name for row in rows], dtype=np.str_),
        kinds=np.array([str(row.kind) for row in rows], dtype=np.str_),
        elements=np.array([row.elements for row in rows], dtype=np.int64),
        **arrays,
    )


WRITERS: dict[str, Callable[[BinaryIO, pd.DataFrame, Analysis, Sequence[Measured]], None]] = {
    "csv": _write_csv,
    "parquet": _write_parquet,
    "npz": _write_npz,
}
"""Writers by format. To add a format, add a function here and a choice to the command."""

"""Exported files hold the table, and nothing is lost by writing them."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from checkpoints import states

import accweight_core as aw
from accweight_core.analysis.export import export
from accweight_core.errors import MissingLibraryError, StoreError
from accweight_core.metrics.table import METRICS

Per = Literal["layer", "parameter"]


def read_csv(path: Path) -> pd.DataFrame:
    """Read a table with Python's own numbers, which are exact in every version of pandas."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    return pd.DataFrame(
        {
            name: cells
            if name in ("layer", "parameter", "kind")
            else [float(c or "nan") for c in cells]
            for name, cells in columns.items()
        }
    )


READ: dict[str, Callable[[Path], pd.DataFrame]] = {"csv": read_csv, "parquet": pd.read_parquet}


@pytest.fixture(scope="module")
def analysis() -> aw.Analysis:
    """Return an analysis with undefined numbers in it."""
    series: list[dict[str, Any]] = [dict(state) for state in states(4)]
    for number, state in enumerate(series):
        state['odd, "name"; 层.weight'] = np.full((3, 3), number / 3)
    return aw.analyze(aw.open_run(series))


@pytest.mark.parametrize("per", ["layer", "parameter"])
@pytest.mark.parametrize("to", ["csv", "parquet"])
def test_what_is_read_back_is_the_table_bit_for_bit(
    analysis: aw.Analysis, tmp_path: Path, to: str, per: Per
) -> None:
    path = tmp_path / f"table.{to}"

    rows = export(analysis, path, to, per=per)

    table = analysis.table(per)
    assert rows == len(table) == 4 * (7 if per == "layer" else 8)
    assert table["relative"].isna().any()
    pd.testing.assert_frame_equal(READ[to](path), table, check_exact=True, check_dtype=False)


@pytest.mark.parametrize("per", ["layer", "parameter"])
def test_the_arrays_of_npz_are_the_table(analysis: aw.Analysis, tmp_path: Path, per: Per) -> None:
    path = tmp_path / "table.npz"

    export(analysis, path, "npz", per=per)

    table = analysis.table(per)
    with np.load(path, allow_pickle=False) as arrays:
        assert set(arrays) == {"steps", "names", "kinds", "elements", *METRICS}
        assert arrays["steps"].tolist() == [0, 1, 2, 3]
        assert arrays["names"].tolist() == list(dict.fromkeys(table[per]))
        for name in METRICS:
            assert arrays[name].shape == (4, len(arrays["names"]))
            np.testing.assert_array_equal(arrays[name].T.reshape(-1), table[name].to_numpy())
        np.testing.assert_array_equal(
            np.repeat(arrays["elements"], 4), table["elements"].to_numpy()
        )


@pytest.fixture(scope="module")
def tracked() -> aw.Analysis:
    """Return an analysis with training figures."""
    tracker = aw.ChangeTracker(errors="raise")
    figures: list[dict[str, Any]] = [{"loss": 0.1}, {"loss": np.nan}, {"loss": -np.inf, "lr": 2}]
    for state, given in zip(states(3), figures, strict=True):
        tracker.update(state, **given)
    return tracker.analysis()


@pytest.mark.parametrize("to", ["csv", "parquet"])
def test_training_figures_are_columns_beside_the_metrics(
    tracked: aw.Analysis, tmp_path: Path, to: str
) -> None:
    layers = export(tracked, tmp_path / "table", to) // 3

    table = READ[to](tmp_path / "table")

    assert list(table.columns[-2:]) == ["training/loss", "training/lr"]
    np.testing.assert_array_equal(table["training/loss"], [0.1, np.nan, -np.inf] * layers)
    np.testing.assert_array_equal(table["training/lr"], [np.nan, np.nan, 2] * layers)
    assert layers > 1


def test_csv_tells_a_loss_that_is_nan_from_none(tracked: aw.Analysis, tmp_path: Path) -> None:
    export(tracked, tmp_path / "table.csv", "csv")

    rows = [line.split(",") for line in (tmp_path / "table.csv").read_text().splitlines()]

    assert [row[-2:] for row in rows[1:4]] == [
        ["0.10000000000000001", ""],
        ["nan", ""],
        ["-inf", "2"],
    ]


def test_training_figures_are_arrays_of_npz(tracked: aw.Analysis, tmp_path: Path) -> None:
    export(tracked, tmp_path / "table.npz", "npz")

    with np.load(tmp_path / "table.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["training/loss"], [0.1, np.nan, -np.inf])


@pytest.mark.parametrize("to", ["csv", "parquet", "npz"])
def test_a_file_that_exists_is_only_replaced_when_asked(
    analysis: aw.Analysis, tmp_path: Path, to: str
) -> None:
    path = tmp_path / "precious"
    path.write_text("years of work")

    with pytest.raises(StoreError) as caught:
        export(analysis, path, to)

    assert str(caught.value) == f"{path}: exists already; choose another name, or add --overwrite"
    assert path.read_text() == "years of work"
    export(analysis, path, to, overwrite=True)
    assert path.read_bytes() != b"years of work"


def test_a_folder_is_never_replaced(analysis: aw.Analysis, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("years of work")

    with pytest.raises(StoreError, match="cannot be written"):
        export(analysis, tmp_path / "folder", "csv", overwrite=True)

    assert (tmp_path / "folder" / "thesis.tex").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("to", ["csv", "parquet", "npz"])
def test_a_folder_that_is_not_there_is_named(
    analysis: aw.Analysis, tmp_path: Path, to: str
) -> None:
    path = tmp_path / "gone" / "table"

    with pytest.raises(StoreError) as caught:
        export(analysis, path, to)

    assert str(caught.value).startswith(f"{path}: cannot be written (")
    assert "\n" not in str(caught.value)


def test_an_export_that_fails_leaves_what_was_there(
    analysis: aw.Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("before")

    def disk_full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", disk_full)

    with pytest.raises(StoreError, match=r"cannot be written \(No space left on device\)"):
        export(analysis, path, "csv", overwrite=True)
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


def test_a_missing_library_names_the_extra_that_brings_it(
    analysis: aw.Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(MissingLibraryError) as caught:
        export(analysis, tmp_path / "table.parquet", "parquet")

    assert str(caught.value) == (
        "writing Parquet needs pyarrow, which is not installed; "
        "install it with: pip install 'accweight[parquet]'"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_is_not_there_is_answered_with_those_there_are(
    analysis: aw.Analysis, tmp_path: Path
) -> None:
    with pytest.raises(aw.AccweightError, match=r"xml.*csv.*parquet.*npz"):
        export(analysis, tmp_path / "table.xml", "xml")


@pytest.mark.parametrize("to", ["csv", "parquet", "npz"])
def test_an_analysis_without_rows_is_exported_empty(tmp_path: Path, to: str) -> None:
    empty = aw.analyze(aw.open_run([{"w.weight": np.zeros((0, 3))}] * 2))

    assert export(empty, tmp_path / "empty", to) == 0
    assert (tmp_path / "empty").exists()

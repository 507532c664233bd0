"""Analyses of older versions open, and grow as those of this one do.

`data/stores` has an analysis of the first three steps below by the code of each older format: 1 is
from before small pictures shared an array (f1e2918), 2 is that of version 0.1.0.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import accweight_core as aw

STORES = Path(__file__).parent / "data" / "stores"
SHAPES = {"conv.weight": (4, 3, 3, 3), "fc.weight": (80, 70), "fc.bias": (80,)}
KEPT, STEPS = 3, 6


def weights(step: int) -> dict[str, np.ndarray]:
    """Return the weights that the old versions analysed."""
    found = {}
    for number, (name, shape) in enumerate(SHAPES.items()):
        flat = np.arange(np.prod(shape)) * (7 + number + 3 * step) % 17
        found[name] = (flat.reshape(shape) / 8 - 1).astype(np.float32)
    return found


@pytest.fixture(params=[1, 2], ids=["format 1", "format 2"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return an analysis that an older version has stored."""
    with tarfile.open(STORES / f"format_{request.param}.tar.xz") as file:
        file.extractall(tmp_path, filter="data")
    path = tmp_path / f"format_{request.param}.accw"
    assert format_of(path) == request.param
    return path


def format_of(path: Path) -> int:
    document = json.loads((path / "zarr.json").read_text())
    return int(document["attributes"]["accweight"]["format"])


def assert_same(found: aw.Analysis, expected: aw.Analysis) -> None:
    """Check every number, and every level of every picture."""
    assert found.store is not None
    assert expected.store is not None
    pd.testing.assert_frame_equal(found.table(), expected.table(), check_exact=True)
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.maximum == expected.maximum
    for index in range(len(SHAPES)):
        for level in expected.header.plan(index).levels:
            for plane in ("mean", "max") if level else ("mean",):
                np.testing.assert_array_equal(
                    found.store.picture(index, level, plane, slice(None)),
                    expected.store.picture(index, level, plane, slice(None)),
                )


def test_an_old_analysis_has_the_numbers_and_pictures_of_a_new_one(
    old: Path, tmp_path: Path
) -> None:
    new = aw.analyze(aw.open_run([weights(t) for t in range(KEPT)]), tmp_path / "new.accw")

    assert_same(aw.open_analysis(old), new)


def test_an_old_analysis_grows_into_that_of_all_steps_in_one_go(old: Path, tmp_path: Path) -> None:
    run = aw.open_run([weights(t) for t in range(STEPS)])
    whole = aw.analyze(run, tmp_path / "whole.accw", keep_state=True)

    for count in (KEPT + 1, STEPS):
        grown = aw.append([weights(t) for t in range(count)], old)

    assert_same(grown, whole)
    assert_same(aw.open_analysis(old), whole)
    assert format_of(old) > 2, "older versions ask for an upgrade"


def test_an_old_analysis_shows_and_exports_itself(old: Path, tmp_path: Path) -> None:
    from accweight_core.analysis.export import export

    analysis = aw.append([weights(t) for t in range(STEPS)], old)

    assert export(analysis, tmp_path / "all.csv", "csv") == 2 * STEPS
    assert "fc" in analysis._repr_html_()

"""What is special about a run is said: nothing moved, replaced, order, what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from viewer_helpers import session_of, stored, walks
from window_driver import OpenWindow, settle

import accweight_core as aw
from accweight_viewer.model.folding import folded_rows
from accweight_viewer.model.notices import notices
from accweight_viewer.model.plate_choice import PlateChoices
from accweight_viewer.model.session import Session
from accweight_viewer.panes.layer_model import Column, LayerModel


def said(session: Session) -> list[str]:
    return [notice.text for notice in notices(session)]


def test_a_frozen_run_says_that_nothing_moved(tmp_path: Path) -> None:
    frozen = stored(tmp_path, "frozen", [walks(["a"], 1)[0]] * 3)

    assert said(session_of(frozen)) == ["nothing moved"]
    assert said(session_of(stored(tmp_path, "moving", walks(["a"], 3)))) == []


def test_parameters_that_are_not_shown_are_counted(tmp_path: Path) -> None:
    state = {"fc.weight": torch.ones(2, 2), "fc.bias": torch.ones(2), "bn.weight": torch.ones(1)}
    moved = {name: weight + 1 for name, weight in state.items()}

    session = session_of(stored(tmp_path, "run", [state, moved]))

    assert said(session) == ["1 bias and 1 norm are not shown"]


def test_a_parameter_of_one_element_is_shown(tmp_path: Path) -> None:
    series = [{"one": torch.tensor([float(at)]), "fc.weight": torch.eye(2)} for at in (1, 2)]

    session = session_of(stored(tmp_path, "run", series))

    assert session.layer_names == ["one", "fc"]
    assert session.runs[0].plates[0].size == (1, 1)


def test_a_format_without_order_says_that_names_tell_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for step in (0, 1):
        names = ["classifier", "encoder.layer.0.q", "encoder.layer.1.q", "word_embeddings"]
        state = {f"{name}.weight": torch.full((2, 2), float(step)) for name in names}
        save_file(state, folder / f"step_{step}.safetensors")
    aw.analyze(aw.open_run(folder), tmp_path / "run.accw")

    session = session_of(tmp_path / "run.accw")

    assert said(session) == ["order of layers from names"]
    assert session.layer_names[0] == "word_embeddings"
    assert session.layer_names[-1] == "classifier"


def test_a_run_in_the_place_of_another_is_told_as_such(tmp_path: Path) -> None:
    path = stored(tmp_path, "run", walks(["a", "b"], 3))
    session = session_of(path)
    choices = PlateChoices(session)
    chosen = choices.following(0)
    aw.analyze(
        aw.open_run(stored(tmp_path, "other", walks(["x", "y"], 2)).with_suffix("")),
        path,
        overwrite=True,
    )

    assert session.refresh()

    assert said(session) == ["run was replaced by another run"]
    assert PlateChoices(session).obstacle(chosen) == f"{chosen.parameter} is not in run"


@pytest.mark.gl
def test_pictures_of_a_replaced_run_show_what_is_there_now(
    opened: OpenWindow, tmp_path: Path, qtbot: Any
) -> None:
    path = stored(tmp_path, "run", walks(["a", "b"], 3))
    window = opened(path)
    other = stored(tmp_path, "other", walks(["x", "y"], 2)).with_suffix("")

    aw.analyze(aw.open_run(other), path, overwrite=True)
    qtbot.waitUntil(lambda: window.session.layer_names == ["x", "y"], timeout=20_000)
    settle(window)

    assert [flat.message for flat in window.windows] == ["", ""]
    assert [flat.plate.name for flat in window.windows if flat.plate] == ["y.weight", "x.weight"]


# --- runs of other networks -----------------------------------------------------------------


def test_unrelated_runs_each_have_their_own_rows_and_no_marks(tmp_path: Path) -> None:
    small = stored(tmp_path, "small", walks(["a", "b"], 2))
    large = stored(tmp_path, "large", walks([f"l{at}" for at in range(9)], 2))
    session = session_of(small, large)

    rows = [int(session.arrangement(source).rows.max()) + 1 for source in session.sources]

    model = LayerModel(session)
    assert not session.related
    assert session.layer_names[:2] == ["a", "b"]
    assert rows == [2, 9]
    assert model.cell(0, Column.LAYER).tone == "ink"
    assert (model.cell(0, Column.FIRST).text != "", session.only_in("a")) == (True, "")


@pytest.mark.gl
def test_unrelated_runs_are_each_framed_as_a_whole(opened: OpenWindow, tmp_path: Path) -> None:
    small = stored(tmp_path, "small", walks(["a"], 2))
    large = stored(tmp_path, "large", walks([f"l{at}" for at in range(9)], 2))

    window = opened(small, large, chosen={"labels": False})

    for scene in window.scenes:
        box = scene.places.box()
        points = scene.flight.camera.project(box, *scene.viewport_size())[:, :2]
        low, high = points.min(axis=0), points.max(axis=0)
        assert (low >= 0).all()
        assert (high <= scene.viewport_size()).all()
        assert max((high - low) / scene.viewport_size()) > 0.5, "it fills its part of the window"
    assert window.scenes[0].flight is not window.scenes[1].flight


def test_runs_of_one_network_keep_one_camera(tmp_path: Path) -> None:
    pair = [stored(tmp_path, name, walks(["a", "b", name], 2)) for name in ("c", "d")]

    assert session_of(*pair).related


# --- blocks of one layer ----------------------------------------------------------------------


def test_adapters_with_a_layer_per_block_are_arranged_in_rows() -> None:
    names = [f"layers.{at}.q_proj" for at in range(12)]

    rows = folded_rows(names)

    assert [len(row) for row in rows] == [3, 3, 3, 3]
    assert [name for row in rows for name in row] == names

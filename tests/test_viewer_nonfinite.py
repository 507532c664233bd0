"""Weights that are NaN or infinite are seen, marked, named, and told apart from frozen ones."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyqtgraph.Qt import QtCore
from viewer_helpers import session_of, stored, walks
from window_driver import (
    OpenWindow,
    alike,
    click,
    colour_at,
    go_to,
    move_mouse,
    picture,
    pixels,
    plate_called,
    rgb,
    settle,
    texel_colour,
)

import accweight_core as aw
from accweight_core.analysis.exact_client import ExactClient
from accweight_core.analysis.finiteness import unpacked
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.panes.layer_model import Column
from accweight_viewer.theme import DARK
from accweight_viewer.window import MainWindow

BROKEN, PAGE = rgb(DARK.broken), rgb(DARK.page)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layers that walk; one weight of `b` is infinite from step 5, all of `c` NaN from step 4."""
    series = walks(["a", "b", "c"], 7)
    for step in range(4, 7):
        series[step]["c.weight"] = torch.full((4, 4), math.nan)
    for step in (5, 6):
        series[step]["b.weight"] = series[step]["b.weight"].clone()
        series[step]["b.weight"][1, 2] = math.inf
    return stored(tmp_path_factory.mktemp("nonfinite"), "run", series)


def test_the_masks_are_those_of_the_checkpoints(analysis: Path) -> None:
    answers: list[Any] = []
    answered = threading.Semaphore(0)

    def take(answer: Any) -> None:
        answers.append(answer)
        answered.release()

    with ExactClient(analysis) as client:
        client.ask_nonfinite("b.weight", [4, 5], take)
        client.ask_nonfinite("b.weight", [99], take)
        client.ask("b.weight", (1, 2), take)
        for _ in range(3):
            answered.acquire()

    before, after = (unpacked(text, 16).reshape(4, 4) for text in answers[0]["masks"])
    assert not before.any()
    assert np.argwhere(after).tolist() == [[1, 2]]
    assert "position 99" in answers[1]["error"]
    assert answers[2]["named"] == {"5": "inf", "6": "inf"}


def test_the_first_layer_that_is_not_finite_is_named_with_its_step(analysis: Path) -> None:
    run = ShownRun(analysis)

    assert str(run.first_nonfinite) == "first non-finite: c, step 4 \N{MIDDLE DOT} 1 more layer"
    assert run.nonfinite.tolist() == [[0] * 7, [0] * 5 + [1] * 2, [0] * 4 + [16] * 3]


def test_a_run_of_numbers_says_nothing(tmp_path: Path) -> None:
    session = session_of(stored(tmp_path, "fine", walks(["a"], 3)))

    assert session.runs[0].first_nonfinite is None


# --- the window -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(analysis: Path, window_of: OpenWindow) -> MainWindow:
    window = window_of(analysis, chosen={"labels": False})
    go_to(window, "b")
    settle(window)
    return window


@pytest.fixture
def window(qtbot: Any, shared: MainWindow) -> Iterator[MainWindow]:
    yield shared
    shared.session.move_to(6)


def colours_of(window: MainWindow, parameter: str, step: int) -> list[tuple[int, int, int]]:
    """Return the colours of the 16 texels of a parameter in the scene at a step."""
    go_to(window, parameter.split(".")[0])
    window.session.move_to_step(step)
    settle(window)
    scene, plate = window.scenes[0], plate_called(window, parameter)
    seen = picture(scene)
    return [texel_colour(scene, seen, plate, row, col) for row in range(4) for col in range(4)]


def is_striped(colour: tuple[int, int, int]) -> bool:
    """Tell whether a colour is one of the two that stripes are drawn in."""
    return alike(colour, BROKEN) or alike(colour, PAGE)


@pytest.mark.gl
def test_a_layer_that_is_not_finite_is_striped_in_the_scene(window: MainWindow) -> None:
    before, after = (colours_of(window, "c.weight", step) for step in (3, 4))

    assert not any(map(is_striped, before))
    assert all(map(is_striped, after))


@pytest.mark.gl
def test_a_single_weight_that_is_not_finite_is_striped(window: MainWindow) -> None:
    before, after = (colours_of(window, "b.weight", step) for step in (4, 5))

    assert not any(map(is_striped, before))
    assert [at for at, colour in enumerate(after) if is_striped(colour)] == [1 * 4 + 2]


@pytest.mark.gl
def test_a_single_weight_is_striped_in_the_flat_picture_and_named(
    qtbot: Any, window: MainWindow
) -> None:
    go_to(window, "b")
    window.session.move_to_step(6)
    settle(window)
    view = window.windows[0].view
    place = view.position_of(1, 2).toPoint()

    seen = pixels(view.grab().toImage())
    click(view, place)
    move_mouse(view, place)
    settle(window)
    qtbot.waitUntil(lambda: window.readout.weight.value.text() != "\N{EN DASH}")

    box = [colour_at(seen, place.x() + x, place.y() + y) for x in (-6, 0, 6) for y in (-6, 0, 6)]
    assert sum(alike(colour, BROKEN) for colour in box) >= 5
    assert window.windows[0].footer.value.text() == "NaN or infinite"
    assert window.readout.weight.value.text() == "+\N{INFINITY}"


@pytest.mark.gl
def test_the_row_and_the_timeline_are_marked_from_there_on(window: MainWindow) -> None:
    model = window.table.model
    row = model.row_of("c")
    assert row is not None
    window.session.move_to_step(3)
    before = model.cell(row, Column.LAYER).tone

    window.session.move_to_step(4)

    plot = window.timeline.plot
    seen = pixels(plot.grab().toImage())
    y = round(plot.image.area.bottom()) - 3
    striped = [
        any(alike(colour_at(seen, plot.image.x_at(at) + x, y), BROKEN, 40) for x in (-4, -3, 3, 4))
        for at in (3.2, 4.5, 5.5)
    ]
    assert (before, model.cell(row, Column.LAYER).tone) == ("ink", "broken")
    assert striped == [False, True, True]
    tip = model.data(model.index(row, Column.LAYER), QtCore.Qt.ItemDataRole.ToolTipRole)
    assert "16 NaN or infinite" in tip


@pytest.mark.gl
def test_the_line_that_names_the_first_one_leads_there(window: MainWindow) -> None:
    window.session.select_layer("a")
    window.session.move_to_step(0)
    line = window.notices.buttons[0]

    click(line, line.rect().center())

    assert line.isVisible()
    assert line.text().startswith("first non-finite: c, step 4")
    assert (window.session.layer, window.session.step) == ("c", 4)


@pytest.mark.gl
def test_a_comparison_with_a_run_that_broke_is_striped(tmp_path: Path, analysis: Path) -> None:
    session = session_of(analysis, stored(tmp_path, "fine", walks(["a", "b", "c"], 7, seed=3)))
    session.compare_as("difference")
    source = session.sources[0]
    plate = next(plate for plate in source.plates if plate.name == "c.weight")

    texels = source.texels(plate, 0, "mean", slice(3, 5), slice(None), slice(None))

    assert np.isfinite(texels[0]).all()
    assert np.isinf(texels[1]).all()
    assert aw.open_analysis(analysis).steps[4] == 4

"""A window on an analysis that is still being written, and on one that grows by checkpoints."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyqtgraph.Qt import QtWidgets
from torch import Tensor
from viewer_helpers import run_of, stopped, stored
from window_driver import (
    OpenWindow,
    alike,
    click,
    go_to,
    middle_of,
    move_mouse,
    picture,
    plate_called,
    rgb,
    scale_colour,
    settle,
    some_texels,
    texel_colour,
    wrong_texels,
)

import accweight_core as aw
from accweight_viewer.panes.formatting import UNFINISHED
from accweight_viewer.panes.layer_model import Column
from accweight_viewer.theme import DARK
from accweight_viewer.window import MainWindow

pytestmark = pytest.mark.gl

NAMES = ["one", "two", "three", "four", "five", "six"]

STEP_BY_STEP = """
import sys
import accweight_core as aw
from accweight_core.pictures import packing as packs
from accweight_core.store import analysis_store as store
finish = store.Store.finish_parameters

def finish_when_told(self, *arguments):
    sys.stdin.readline()
    finish(self, *arguments)
    self.flush()

store.Store.finish_parameters = finish_when_told
packs.PACK_TEXELS = 0  # one parameter in each
aw.analyze(aw.open_run(sys.argv[1]), sys.argv[2])
"""


def walk(count: int, size: int = 12) -> list[dict[str, Tensor]]:
    """Return layers that walk on and on, the first ones the same however many steps there are."""
    chance = torch.Generator().manual_seed(7)
    paces = {name: torch.rand(size, size, generator=chance) for name in NAMES}
    return [{f"{n}.weight": paces[n] * t * (i + 1) for i, n in enumerate(NAMES)}
            for t in range(count)]  # fmt: skip


def analyzing(folder: Path, out: Path) -> subprocess.Popen[str]:
    """Have another process analyze a run; it finishes one parameter for each line it is given."""
    command = [sys.executable, "-c", STEP_BY_STEP, str(folder), str(out)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stderr=pipe, text=True)


def watch(window: MainWindow, until: Callable[[], bool], look: Callable[[], Any]) -> None:
    """Let the window live until something has happened, and look at every frame."""
    window.growth.timer.setInterval(30)
    stop = time.monotonic() + 60
    while not until():
        window.process()
        look()
        assert time.monotonic() < stop, "waited for a minute"


def ready(window: MainWindow) -> list[bool]:
    return [plate.ready for plate in window.scenes[0].source.plates]


# --- an analysis that is being made -----------------------------------------------------------


def test_an_unfinished_analysis_shows_what_is_finished(opened: OpenWindow, tmp_path: Path) -> None:
    path = stopped(run_of(tmp_path / "run", walk(4)), tmp_path / "run.accw", 2)

    window = opened(path, chosen={"labels": False})

    scene, model = window.scenes[0], window.table.model
    assert ready(window) == [True, True, False, False, False, False]
    assert "still growing" in window.windowTitle()
    for name, is_ready in zip(NAMES, ready(window), strict=True):
        go_to(window, name)
        plate = plate_called(window, f"{name}.weight")
        seen = picture(scene)
        if is_ready:
            assert wrong_texels(window, plate) == []
        else:
            each = {texel_colour(scene, seen, plate, *at) for at in np.ndindex(*plate.size)}
            assert each == {rgb(DARK.gap)}, "nothing shines through"
            at = middle_of(scene, plate, 5, 5)
            assert scene.pick_at(at.x(), at.y()) is None
            assert model.index(model.row_of(name), Column.FIRST).data() == UNFINISHED
            assert window.windows[0].message == "not analysed yet"


def test_a_window_follows_an_analysis_until_it_is_complete(
    opened: OpenWindow, tmp_path: Path
) -> None:
    folder, path = tmp_path / "run", tmp_path / "run.accw"
    stopped(run_of(folder, walk(5)), path, 1)
    window = opened(path, chosen={"labels": False})
    session, scene = window.session, window.scenes[0]
    go_to(window, "one")
    shown = plate_called(window, "one.weight")
    seen_ready, wrong = [], []
    other = analyzing(folder, path)

    def look() -> None:
        count = sum(ready(window))
        if count not in seen_ready:
            seen_ready.append(count)
            if count < len(NAMES):
                print("go on", file=other.stdin, flush=True)
        wrong.extend(wrong_texels(window, plate_called(window, "one.weight")))

    watch(window, lambda: not session.growing, look)
    _, said = other.communicate()
    settle(window)

    assert (other.returncode, said) == (0, "")
    assert wrong == [], "what is finished is right in every frame"
    assert seen_ready == [1, 2, 3, 4, 5, 6], "it was watched while it grew"
    assert all(ready(window))
    assert "growing" not in window.windowTitle()
    assert window.flight.focus_row == scene.content.places.rows[shown.number], "nobody moved"
    for name in NAMES:
        go_to(window, name)
        assert wrong_texels(window, plate_called(window, f"{name}.weight")) == []


def test_a_window_can_be_opened_on_an_analysis_that_has_just_begun(
    opened: OpenWindow, tmp_path: Path
) -> None:
    path = stopped(run_of(tmp_path / "run", walk(4)), tmp_path / "run.accw", 0)

    window = opened(path)
    aw.analyze(aw.open_run(tmp_path / "run"), path)
    watch(window, lambda: not window.session.growing, lambda: None)
    settle(window)
    go_to(window, "six")

    assert all(ready(window))
    assert wrong_texels(window, plate_called(window, "six.weight")) == []


def test_the_selection_outlives_growth(opened: OpenWindow, tmp_path: Path) -> None:
    path = stopped(run_of(tmp_path / "run", walk(4)), tmp_path / "run.accw", 2)
    window = opened(path, chosen={"labels": False})
    go_to(window, "two")
    plate = plate_called(window, "two.weight")
    click(window.scenes[0], middle_of(window.scenes[0], plate, 4, 7))

    aw.analyze(aw.open_run(tmp_path / "run"), path)
    watch(window, lambda: not window.session.growing, lambda: None)
    settle(window)

    session = window.session
    assert session.pick is not None
    assert (session.pick.plate.name, session.pick.row, session.pick.col) == ("two.weight", 4, 7)
    assert session.pick.plate is plate_called(window, "two.weight")
    assert window.windows[0].plate is session.pick.plate


def test_a_frame_right_after_a_plate_has_become_ready_is_right(
    opened: OpenWindow, tmp_path: Path
) -> None:
    path = stopped(run_of(tmp_path / "run", walk(4)), tmp_path / "run.accw", 2)
    window = opened(path, chosen={"labels": False, "scope": "global"})
    go_to(window, "two")
    window.growth.timer.stop()
    before = window.session.runs[0].largest
    aw.analyze(aw.open_run(tmp_path / "run"), path)

    window.session.refresh()

    assert window.session.runs[0].largest > before, "all that is shown becomes darker"
    assert wrong_texels(window, plate_called(window, "two.weight")) == []


# --- further checkpoints ----------------------------------------------------------------------


@pytest.fixture
def growing(tmp_path: Path) -> Path:
    """An analysis of three checkpoints to which more can be added."""
    path = tmp_path / "run.accw"
    aw.analyze(run_of(tmp_path / "run", walk(3)), path, keep_state=True)
    return path


def train_on(path: Path, count: int) -> None:
    """Add the checkpoints up to `count`."""
    folder = path.with_suffix("")
    known = len(list(folder.glob("step_*.pt")))
    aw.append(run_of(folder, walk(count)[known:], steps=range(known, count)), path)


def test_who_looks_at_the_last_step_goes_on_looking_at_the_last_step(
    opened: OpenWindow, growing: Path
) -> None:
    window = opened(growing, chosen={"labels": False})
    session = window.session
    go_to(window, "three")
    before = window.timeline.plot.image.x_at(1)

    train_on(growing, 6)
    watch(window, lambda: len(session.steps) == 6, lambda: None)
    settle(window)

    assert session.step == 5
    assert wrong_texels(window, plate_called(window, "three.weight")) == []
    assert window.timeline.step_label.text() == "step 5"
    assert window.timeline.plot.image.x_at(1) < before, "there are more steps to share the room"
    session.change(columns=("max",))
    value = aw.open_analysis(growing).table().query("step == 5 and layer == 'three'")["max"]
    assert session.rows()[2].values[0] == pytest.approx(float(value.iloc[0]))


def test_who_looks_at_an_earlier_step_stays_there(opened: OpenWindow, growing: Path) -> None:
    window = opened(growing, chosen={"labels": False})
    session = window.session
    session.move_to_step(1)
    go_to(window, "two")

    train_on(growing, 5)
    watch(window, lambda: len(session.steps) == 5, lambda: None)
    settle(window)

    assert session.step == 1
    assert wrong_texels(window, plate_called(window, "two.weight")) == []
    session.move_to_step(4)
    settle(window)
    assert wrong_texels(window, plate_called(window, "two.weight")) == []


def test_every_frame_is_right_or_still_empty_while_steps_are_added(
    opened: OpenWindow, growing: Path
) -> None:
    window = opened(growing, chosen={"labels": False, "speed": 60.0})
    session, scene = window.session, window.scenes[0]
    go_to(window, "four")
    shown = {count: threading.Event() for count in (3, 4, 5, 6, 7)}
    wrong = []
    weights = np.stack([state["four.weight"].numpy() for state in walk(7)])
    far = np.abs(np.diff(weights, axis=0, prepend=weights[:1])).cumsum(axis=0)

    def look() -> None:
        plate = plate_called(window, "four.weight")
        seen = picture(scene)
        unit = session.runs[0].scale(plate, "layer")
        for row, col in some_texels(plate):
            found = texel_colour(scene, seen, plate, row, col)
            wanted = scale_colour(session, float(far[session.step, row, col] / unit))
            if found != rgb(DARK.gap) and not alike(found, wanted):
                wrong.append((row, col, found, wanted))
        shown[len(session.steps)].set()

    def train() -> None:
        for count in (4, 5, 6, 7):
            assert shown[count - 1].wait(60)
            train_on(growing, count)

    trainer = threading.Thread(target=train)
    trainer.start()
    watch(window, shown[7].is_set, look)
    trainer.join()
    settle(window)

    assert wrong == []
    assert wrong_texels(window, plate_called(window, "four.weight")) == []


def test_a_frame_right_after_steps_were_added_is_empty_not_black(
    opened: OpenWindow, growing: Path
) -> None:
    window = opened(growing, chosen={"labels": False})
    scene, frames = window.scenes[0], []
    go_to(window, "four")
    scene.frame_drawn.connect(lambda: frames.append(1))
    train_on(growing, 4)

    window.session.refresh()
    window.clock.timer.stop()
    window.growth.timer.stop()
    QtWidgets.QApplication.processEvents()

    assert frames, "Qt has drawn before the tick that lays out what has changed"
    plate = plate_called(window, "four.weight")
    seen = picture(scene)
    found = {texel_colour(scene, seen, plate, *at) for at in some_texels(plate)}
    assert found == {rgb(DARK.gap)}
    settle(window)
    assert wrong_texels(window, plate) == []


def test_the_exact_weight_is_read_anew_when_there_are_more_steps(
    qtbot: Any, opened: OpenWindow, growing: Path
) -> None:
    window = opened(growing, chosen={"labels": False})
    session, readout = window.session, window.readout
    go_to(window, "five")
    plate = plate_called(window, "five.weight")
    click(window.scenes[0], middle_of(window.scenes[0], plate, 2, 3))
    qtbot.waitUntil(lambda: readout.current_weight is not None, timeout=60_000)

    train_on(growing, 5)
    watch(window, lambda: len(session.steps) == 5, lambda: None)
    qtbot.waitUntil(lambda: readout.current_weight is not None, timeout=60_000)

    exact = aw.open_analysis(growing).trace("five.weight", (2, 3))
    assert session.step == 4
    assert readout.step == 4
    assert readout.current_weight == exact.weights[-1]
    assert readout.cumulative == exact.cumulative[-1]


def test_an_analysis_that_is_replaced_by_another_is_shown(
    opened: OpenWindow, tmp_path: Path
) -> None:
    path = stored(tmp_path, "run", walk(4))
    window = opened(path, chosen={"labels": False})
    other = run_of(tmp_path / "other", walk(3, size=20))

    aw.analyze(other, path, overwrite=True)
    watch(window, lambda: len(window.session.steps) == 3, lambda: None)
    settle(window)
    go_to(window, "one")

    plate = plate_called(window, "one.weight")
    assert plate.size == (20, 20)
    assert wrong_texels(window, plate) == []


def test_an_analysis_that_is_taken_away_stays_on_the_screen(
    qtbot: Any, opened: OpenWindow, tmp_path: Path
) -> None:
    path = stored(tmp_path, "run", walk(4))
    window = opened(path, chosen={"labels": False})
    go_to(window, "one")
    scene = window.scenes[0]
    before, plate = picture(scene), plate_called(window, "one.weight")

    path.rename(tmp_path / "moved.accw")
    window.growth.timer.setInterval(20)
    qtbot.wait(150)
    move_mouse(scene, middle_of(scene, plate, 4, 4))
    window.session.move_to(0)
    qtbot.wait(100)
    window.session.move_to(3)
    qtbot.wait(100)

    assert (picture(scene) == before).all()
    told = window.status
    qtbot.waitUntil(lambda: "is missing" in told.text() or "no such" in told.text().lower())

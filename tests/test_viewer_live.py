"""A window on an analysis of a job that runs: watched from its first checkpoint, or tracked."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pyqtgraph.Qt import QtWidgets
from torch import Tensor
from viewer_helpers import run_of
from window_driver import (
    OpenWindow,
    go_to,
    picture,
    plate_called,
    rgb,
    settle,
    texel_colour,
    wrong_texels,
)

import accweight_core as aw
from accweight_core.jobs.watching import Watcher
from accweight_core.live.writing import BackgroundWriter, WaitingStep
from accweight_viewer.panes.picture_view import NO_PICTURE
from accweight_viewer.theme import DARK
from accweight_viewer.window import MainWindow

pytestmark = pytest.mark.gl

NAMES = ["one", "two", "three"]


def weights(step: int, size: int = 12) -> dict[str, Tensor]:
    """Return layers that walk on and on; the last one has a picture of its own."""
    chance = torch.Generator().manual_seed(7)
    sizes = (size, size, 80)
    paces = [torch.rand(side, side, generator=chance) for side in sizes]
    return {f"{name}.weight": pace * step for name, pace in zip(NAMES, paces, strict=True)}


def wrong(window: MainWindow) -> list[object]:
    """Return the texels of all layers that have not the colours of their values."""
    found: list[object] = []
    for name in NAMES:
        go_to(window, name)
        found += wrong_texels(window, plate_called(window, f"{name}.weight"))
    return found


def test_a_window_follows_a_watcher_from_the_first_checkpoint(
    opened: OpenWindow, tmp_path: Path
) -> None:
    job, out = tmp_path / "job", tmp_path / "run.accw"
    run_of(job, [weights(0)])
    watcher = Watcher(job, out, settle_s=0)
    watcher.look()
    window = opened(out, chosen={"labels": False})
    session = window.session
    assert session.steps.tolist() == [0]
    assert wrong(window) == []

    for step in (1, 2, 3):
        (job / f"step_{step - 1}.pt").unlink()
        run_of(job, [weights(step)], steps=[step])
        assert watcher.look().added == (step,)
        session.refresh()
        settle(window)

        assert window.timeline.step_label.text() == f"step {step}"
        assert wrong(window) == []

    assert session.runs[0].largest == pytest.approx(3.0, abs=0.1)


def test_a_step_whose_pictures_were_left_out_is_shown_as_unknown(
    opened: OpenWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = BackgroundWriter.put

    def put_thinned(writer: BackgroundWriter, step: WaitingStep) -> None:
        """Leave out what a slow disk has no time for, at one step."""
        put(writer, replace(step, draw=None, carry=None) if step.place == 2 else step)

    monkeypatch.setattr(BackgroundWriter, "put", put_thinned)
    with aw.ChangeTracker(tmp_path / "run.accw", errors="raise") as tracker:
        for step in range(4):
            tracker.update(weights(step), step=step)
            tracker.flush()
    window = opened(tmp_path / "run.accw", chosen={"labels": False})
    session, scene = window.session, window.scenes[0]

    for step, is_known in ((3, True), (2, False), (1, True)):
        session.move_to_step(step)
        settle(window)
        for name in NAMES:
            go_to(window, name)
            plate = plate_called(window, f"{name}.weight")
            assert window.windows[0].message == ("" if is_known else NO_PICTURE)
            if is_known:
                assert wrong_texels(window, plate) == []
            else:
                seen = picture(scene)
                middle = {texel_colour(scene, seen, plate, *at) for at in np.ndindex(4, 4)}
                assert middle == {rgb(DARK.gap)}


def test_a_restarted_job_is_said_and_what_goes_on_is_opened_beside(
    opened: OpenWindow, tmp_path: Path
) -> None:
    job, out = tmp_path / "job", tmp_path / "run.accw"
    run_of(job, [weights(step) for step in range(4)])
    for step in range(4):
        os.utime(job / f"step_{step}.pt", (1e9 + step, 1e9 + step))
    watcher = Watcher(job, out, settle_s=0)
    watcher.look()
    window = opened(out, chosen={"labels": False})
    session = window.session
    assert not session.refresh()

    run_of(job, [{name: 2 * weight for name, weight in weights(2).items()}], steps=[2])
    watcher.look()
    assert session.refresh()
    assert not session.refresh()

    (notice,) = window.notices.buttons
    assert notice.text() == "the job was probably restarted: it goes on in run-2"
    asked: list[tuple[Path, ...]] = []
    session.open_asked.connect(asked.append)
    notice.click()
    assert asked == [(out, tmp_path / "run-2.accw")]
    (other,) = [
        one
        for one in QtWidgets.QApplication.topLevelWidgets()
        if isinstance(one, MainWindow) and one is not window and one.isVisible()
    ]
    settle(other)
    assert other.windowTitle() == "run and run-2 (restarted) \N{EN DASH} accweight"
    assert [button.text() for button in other.notices.buttons] == [
        "run-2: probably restarted after step 3 of run"
    ]
    other.close()

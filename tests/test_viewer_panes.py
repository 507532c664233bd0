"""Panes: the window asks all of them alike, so that a new one is put up in one place."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from pyqtgraph.Qt import QtWidgets
from viewer_helpers import stored, walks
from window_driver import OpenWindow

from accweight_viewer import capture
from accweight_viewer.theme import LIGHT, Theme
from accweight_viewer.widgets.pane import Pane
from accweight_viewer.window import MainWindow

pytestmark = pytest.mark.gl


class NewPane(QtWidgets.QWidget, Pane):
    """A pane as somebody would add it: it is ready after some ticks, and notes what it hears."""

    def __init__(self, ticks: int = 0) -> None:
        super().__init__()
        self.ticks_left = ticks
        self.themes: list[Theme] = []
        self.closed = 0

    @property
    def settled(self) -> bool:
        return self.ticks_left <= 0

    def tick(self, now: float) -> bool:
        self.ticks_left -= 1
        return not self.settled

    def set_theme(self, theme: Theme) -> None:
        self.themes.append(theme)

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        self.closed += 1
        super().closeEvent(event)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("panes"), "run", walks(["a", "b"], 3))


@pytest.fixture
def window(opened: OpenWindow, analysis: Path) -> MainWindow:
    return opened(analysis, capturing=True)


def put_up(window: MainWindow, pane: NewPane) -> NewPane:
    """Add a pane where it can be seen."""
    window.statusBar().addWidget(window.add_pane(pane))
    pane.show()
    return pane


def test_a_picture_is_taken_when_a_new_pane_has_settled_too(
    window: MainWindow, tmp_path: Path
) -> None:
    assert window.settled
    pane = put_up(window, NewPane(ticks=5))
    assert not window.settled

    capture.screenshot(window, tmp_path / "all.png")

    assert pane.settled
    assert window.settled


def test_a_pane_that_is_not_shown_is_not_waited_for(window: MainWindow) -> None:
    pane = put_up(window, NewPane(ticks=5))

    pane.hide()
    window.process()

    assert window.settled
    assert pane.ticks_left == 5


def test_the_clock_runs_until_every_pane_has_nothing_more_to_come(
    qtbot: Any, opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis)
    qtbot.waitUntil(lambda: not window.clock.timer.isActive())

    pane = put_up(window, NewPane(ticks=5))
    window.clock.wake()
    qtbot.waitUntil(lambda: not window.clock.timer.isActive())

    assert pane.settled


def test_a_new_pane_takes_the_colours_of_the_theme(window: MainWindow) -> None:
    shown, hidden = put_up(window, NewPane()), put_up(window, NewPane())
    hidden.hide()

    window.session.change(speed=5.0)
    window.session.change(theme="light")

    assert shown.themes == hidden.themes == [LIGHT]


def test_a_new_pane_is_closed_with_the_window(window: MainWindow) -> None:
    shown, hidden = put_up(window, NewPane()), put_up(window, NewPane())
    hidden.hide()

    window.close()

    assert (shown.closed, hidden.closed) == (1, 1)


def test_closing_the_window_ends_all_that_reads(opened: OpenWindow, analysis: Path) -> None:
    before = _readers()
    window = opened(analysis)
    assert _readers() > before

    window.close()

    assert _readers() == before


def test_no_pane_of_the_window_is_left_out(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis, analysis)
    within = [w for w in window.findChildren(QtWidgets.QWidget) if isinstance(w, Pane)]

    outermost = {pane for pane in within if not _in_a_pane(pane)}

    assert outermost == set(window.panes)
    assert len(window.panes) == len(outermost) >= 8
    for pane in within:
        assert type(pane).set_theme is not Pane.set_theme


def test_a_bare_window_shows_scenes_with_their_title(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis, bare=True)

    shown = [pane for pane in window.panes if pane.isVisible()]
    assert set(shown) == {*window.scenes, window.caption, window.legend}


def _in_a_pane(widget: Any) -> bool:
    """Tell whether another pane takes care of this one."""
    above = widget.parentWidget()
    return above is not None and (isinstance(above, Pane) or _in_a_pane(above))


def _readers() -> int:
    """Return how many threads read in the background."""
    return sum(thread.name == "accweight loader" for thread in threading.enumerate())

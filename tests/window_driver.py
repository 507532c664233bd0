"""Hands and eyes for tests of the whole window: real events in, pixels out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pyqtgraph.Qt import QtCore, QtGui, QtTest, QtWidgets
from viewer_helpers import stored_value

from accweight_viewer.model.picking import Pick
from accweight_viewer.model.plates import Plate
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.session import Session
from accweight_viewer.scene.view import SceneView
from accweight_viewer.theme import theme_called
from accweight_viewer.window import MainWindow

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
OpenWindow = Callable[..., MainWindow]

KEY = QtCore.Qt.Key
BUTTON = QtCore.Qt.MouseButton
MODIFIER = QtCore.Qt.KeyboardModifier
LEFT, RIGHT, MIDDLE, NO_BUTTON = BUTTON.LeftButton, BUTTON.RightButton, BUTTON.MiddleButton, 0
NO_KEY, SHIFT = MODIFIER.NoModifier, MODIFIER.ShiftModifier

ROUNDED = 2
"""Half precision in the texture may move a texel to the next entry of the colour map."""


# --- time ---------------------------------------------------------------------------------


def settle(window: MainWindow, seconds: float = 20.0) -> None:
    """Let the window work until it has come to rest; the time it shows may run on."""
    stop = time.monotonic() + seconds
    window.process()
    while not window.settled or window.flight.camera.gliding:
        window.process()
        assert time.monotonic() < stop, f"not at rest after {seconds} s {window.failure}"
    window.process()


def go_to(window: MainWindow, layer: str) -> None:
    """Select a layer and be there at once."""
    window.session.select_layer(layer)
    plates = [plate.number for plate in shown_layer(window, layer)]
    window.flight.visit(plates, window.scenes[0].content.places, at_once=True)
    settle(window)


def shown_layer(window: MainWindow, layer: str, scene: int = 0) -> tuple[Plate, ...]:
    """Return the plates of a layer in a scene."""
    source = window.scenes[scene].source
    return next(found.plates for found in source.layers if found.name == layer)


def plate_called(window: MainWindow, parameter: str, scene: int = 0) -> Plate:
    """Return the plate of a parameter in a scene."""
    return next(p for p in window.scenes[scene].source.plates if p.name == parameter)


def shown_panes(window: MainWindow) -> list[str]:
    """Return the kinds of the panes below the scene that are shown."""
    return [type(pane).__name__ for pane in window.found.panes if pane.isVisibleTo(window)]


# --- eyes ---------------------------------------------------------------------------------


def pixels(image: QtGui.QImage) -> Pixels:
    """Return (rows, columns, 3); a null image would have a colour too."""
    assert not image.isNull()
    rgb = image.convertToFormat(QtGui.QImage.Format.Format_RGB888)
    bits = rgb.constBits()
    bits.setsize(rgb.sizeInBytes())
    lines = np.frombuffer(bits, np.uint8).reshape(rgb.height(), rgb.bytesPerLine())
    return lines[:, : 3 * rgb.width()].reshape(rgb.height(), rgb.width(), 3).copy()


def picture(scene: SceneView) -> Pixels:
    """Return what a scene shows."""
    return pixels(scene.grabFramebuffer())


def colour_at(seen: Pixels, x: float, y: float) -> Colour:
    """Return the colour of the pixel under a point."""
    assert 0 <= x < seen.shape[1], "the point must be on the screen"
    assert 0 <= y < seen.shape[0], "the point must be on the screen"
    red, green, blue = seen[int(y), int(x)].tolist()
    return red, green, blue


def texel_colour(scene: SceneView, seen: Pixels, plate: Plate, row: int, col: int) -> Colour:
    """Return the colour in the middle of a texel."""
    at = scene.point_of(Pick(0, plate, row, col))
    return colour_at(seen, at.x(), at.y())


def rgb(text: str) -> Colour:
    """Return a colour of a theme as bytes."""
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


def scale_colour(session: Session, normalised: float, *, signed: bool = False) -> Colour:
    """Return the colour that a normalised change should have."""
    if np.isnan(normalised):
        return rgb(theme_called(session.settings.theme).mat)
    scale = session.colour_scale(signed=signed)
    red, green, blue = scale.colours[int(scale.entries(normalised))].tolist()
    return red, green, blue


def run_colour(session: Session, run: ShownRun, plate: Plate, row: int, col: int) -> Colour:
    """Return the colour that a texel of a run should have at the step that is shown."""
    value = stored_value(run, plate, run.position_at(session.step), row, col)
    unit = run.scale(plate, session.settings.scope)
    return scale_colour(session, value / unit if unit else 0.0 * value)


def alike(found: Colour, wanted: Colour, by: int = ROUNDED) -> bool:
    """Tell whether two colours are the same but for rounding."""
    return max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= by


def some_texels(plate: Plate) -> list[tuple[int, int]]:
    """Return texels at the corners of a plate, in its middle, and off it."""
    rows, cols = plate.size
    at = {(0, 0), (0, cols - 1), (rows - 1, 0), (rows - 1, cols - 1)}
    return sorted(at | {(rows // 2, cols // 2), (rows // 3, 2 * cols // 3)})


def wrong_texels(
    window: MainWindow, plate: Plate, seen: Pixels | None = None, scene: int = 0
) -> list[tuple[int, int, Colour, Colour]]:
    """Return those of some texels whose colour is not that of their value."""
    view = window.scenes[scene]
    seen = picture(view) if seen is None else seen
    assert isinstance(view.source, ShownRun)
    wrong = []
    for row, col in some_texels(plate):
        found = texel_colour(view, seen, plate, row, col)
        wanted = run_colour(window.session, view.source, plate, row, col)
        if not alike(found, wanted):
            wrong.append((row, col, found, wanted))
    return wrong


def edge_colours(scene: SceneView, plate: Plate, reach: int = 6) -> set[Colour]:
    """Return the colours across the left edge of a plate, at some heights."""
    places = scene.content.places
    corner, high = places.corners[plate.number], places.sizes[plate.number][1]
    edge = np.array([corner - (0, high * share, 0) for share in np.linspace(0.1, 0.9, 9)])
    points = scene.flight.camera.project(edge, scene.width(), scene.height())[:, :2]
    seen = picture(scene)
    across = range(-reach, reach + 1)
    return {colour_at(seen, x + away, y) for x, y in points.tolist() for away in across}


# --- hands --------------------------------------------------------------------------------


def middle_of(scene: SceneView, plate: Plate, row: int, col: int) -> QtCore.QPoint:
    """Return the pixel in the middle of a texel."""
    at = scene.point_of(Pick(0, plate, row, col))
    return QtCore.QPoint(int(at.x()), int(at.y()))


def centre(widget: Any) -> QtCore.QPoint:
    """Return the middle of a widget."""
    return widget.rect().center()


def press_key(widget: Any, key: Any, modifier: Any = NO_KEY) -> None:
    """Press a key and hold it."""
    QtTest.QTest.keyPress(widget, key, modifier)


def release_key(widget: Any, key: Any, modifier: Any = NO_KEY) -> None:
    """Let a key go."""
    QtTest.QTest.keyRelease(widget, key, modifier)


def type_key(widget: Any, key: Any, modifier: Any = NO_KEY) -> None:
    """Press a key and let it go."""
    QtTest.QTest.keyClick(widget, key, modifier)


def click(widget: Any, place: QtCore.QPoint) -> None:
    """Click with the left button."""
    QtTest.QTest.mouseClick(widget, LEFT, NO_KEY, place)


def double_click(widget: Any, place: QtCore.QPoint) -> None:
    """Click twice with the left button, as a mouse does: the second press is another event."""
    click(widget, place)
    QtTest.QTest.mouseDClick(widget, LEFT, NO_KEY, place)
    QtTest.QTest.mouseRelease(widget, LEFT, NO_KEY, place)


def move_mouse(
    widget: Any, place: QtCore.QPoint, buttons: Any = NO_BUTTON, modifier: Any = NO_KEY
) -> None:
    """Move the mouse; QTest moves it without the button that is down."""
    event = QtGui.QMouseEvent(
        QtCore.QEvent.Type.MouseMove,
        QtCore.QPointF(place),
        QtCore.QPointF(widget.mapToGlobal(place)),
        BUTTON.NoButton,
        QtCore.Qt.MouseButtons(buttons),
        modifier,
    )
    QtWidgets.QApplication.sendEvent(widget, event)


def drag(
    widget: Any,
    start: QtCore.QPoint,
    right: int,
    down: int,
    button: Any = LEFT,
    modifier: Any = NO_KEY,
) -> None:
    """Drag the mouse by so many pixels, in four moves."""
    QtTest.QTest.mousePress(widget, button, modifier, start)
    for quarter in (1, 2, 3, 4):
        place = start + QtCore.QPoint(right * quarter // 4, down * quarter // 4)
        move_mouse(widget, place, button, modifier)
    QtTest.QTest.mouseRelease(widget, button, modifier, start + QtCore.QPoint(right, down))


def turn_wheel(widget: Any, place: QtCore.QPoint, notches: int) -> None:
    """Turn the wheel away from the user, or towards them."""
    event = QtGui.QWheelEvent(
        QtCore.QPointF(place),
        QtCore.QPointF(widget.mapToGlobal(place)),
        QtCore.QPoint(0, 0),
        QtCore.QPoint(0, 120 * notches),
        QtCore.Qt.MouseButtons(BUTTON.NoButton),
        NO_KEY,
        QtCore.Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QtWidgets.QApplication.sendEvent(widget, event)


# --- files --------------------------------------------------------------------------------


def travelled(folder: Path, parameter: str, index: tuple[int, ...], last: int) -> float:
    """Return A of one weight up to a checkpoint, from the files alone: sums of float32 steps."""
    files = sorted(folder.glob("step_*.pt"), key=lambda path: int(path.stem.split("_")[1]))
    states = [torch.load(path, weights_only=True)["state_dict"] for path in files[: last + 1]]
    weights = [state[parameter].numpy()[index] for state in states]
    steps = [np.abs(b - a) for a, b in pairwise(weights)]
    return float(np.sum(np.array(steps, dtype=np.float64)))


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return time and bytes of all files of a folder; folders have a time too."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in _everything(folder)
    }


def _everything(folder: Path) -> Iterator[Path]:
    yield folder
    yield from sorted(folder.rglob("*"))

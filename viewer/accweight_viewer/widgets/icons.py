"""Icons from SVG files in `svg/`, in the colours of the theme, sharp at any resolution.

A file is one icon on a square of 16 units, with `currentColor` as a placeholder. To add an icon,
add a file.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from pyqtgraph.Qt import QtCore, QtGui, QtSvg

SIDE = 16
"""Side of an icon in logical pixels."""


def icon(name: str, colour: str) -> Any:
    """Return the QIcon of a file in one colour, at one and two pixels per unit."""
    drawing = QtSvg.QSvgRenderer(_svg(name).replace("currentColor", colour).encode())
    made = QtGui.QIcon()
    for ratio in (1, 2):
        pixmap = QtGui.QPixmap(SIDE * ratio, SIDE * ratio)
        pixmap.setDevicePixelRatio(ratio)
        pixmap.fill(QtCore.Qt.GlobalColor.transparent)
        painter = QtGui.QPainter(pixmap)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        drawing.render(painter, QtCore.QRectF(0, 0, SIDE, SIDE))
        painter.end()
        made.addPixmap(pixmap)
    return made


@cache
def _svg(name: str) -> str:
    file = resources.files("accweight_viewer.widgets") / "svg" / f"{name}.svg"
    return file.read_text(encoding="utf-8")

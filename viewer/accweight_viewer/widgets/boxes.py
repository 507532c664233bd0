"""Containers: a column, and a splitter."""

from __future__ import annotations

from pyqtgraph.Qt import QtCore, QtWidgets


def column(*widgets: QtWidgets.QWidget) -> QtWidgets.QWidget:
    """Return widgets in a column; the last one takes the remaining space."""
    made = QtWidgets.QWidget()
    layout = QtWidgets.QVBoxLayout(made)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(0)
    for widget in widgets:
        layout.addWidget(widget)
    layout.setStretch(len(widgets) - 1, 1)
    return made


def splitter(
    orientation: QtCore.Qt.Orientation, *widgets: QtWidgets.QWidget
) -> QtWidgets.QSplitter:
    """Return widgets in a row or column with movable borders."""
    made = QtWidgets.QSplitter(orientation)
    made.setChildrenCollapsible(True)
    for widget in widgets:
        made.addWidget(widget)
    return made

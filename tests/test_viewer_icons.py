"""Icons: every file is drawn, in the colour that is asked for, as sharp as the screen."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib import resources
from typing import Any

import numpy as np
import pytest
from pyqtgraph.Qt import QtCore, QtGui

from accweight_viewer.widgets.icons import SIDE, icon

pytestmark = pytest.mark.gl

BUTTON = """
from accweight_viewer.display import application
from accweight_viewer.widgets.icons import icon
app = application()
from pyqtgraph.Qt import QtCore, QtWidgets
button = QtWidgets.QToolButton()
button.setStyleSheet("border: none; background: white")
button.setIconSize(QtCore.QSize(16, 16))
button.setIcon(icon("reset", "#000000"))
image = button.grab().toImage()
size = image.width(), image.height()
rows = [[image.pixelColor(x, y).red() for x in range(size[0])] for y in range(size[1])]
print(image.devicePixelRatio(), rows)
"""

FILES = {
    file.name.removesuffix(".svg"): file
    for file in (resources.files("accweight_viewer.widgets") / "svg").iterdir()
}


def pixels(name: str, colour: str, ratio: int) -> np.ndarray:
    """Return (rows, columns, RGBA) of what a screen of a pixel ratio shows of an icon."""
    made, size = icon(name, colour), SIDE * ratio
    assert QtCore.QSize(size, size) in made.availableSizes()
    image = made.pixmap(size, size).toImage().convertToFormat(QtGui.QImage.Format.Format_RGBA8888)
    assert (image.width(), image.height()) == (size, size)
    bits = image.constBits()
    bits.setsize(image.sizeInBytes())
    return np.frombuffer(bits, np.uint8).reshape(size, size, 4).copy()


@pytest.mark.parametrize("ratio", [1, 2])
@pytest.mark.parametrize("colour", ["#ffb454", "#1b222b"])
@pytest.mark.parametrize("name", sorted(FILES))
def test_an_icon_has_its_colour_and_no_other(qapp: Any, name: str, colour: str, ratio: int) -> None:
    seen = pixels(name, colour, ratio)

    alpha, inked = seen[:, :, 3], seen[seen[:, :, 3] > 100]
    wanted = tuple(bytes.fromhex(colour.removeprefix("#")))
    assert 0.05 < alpha.mean() / 255 < 0.5
    assert alpha.max() > 120
    assert np.abs(inked[:, :3].astype(int) - wanted).max() <= 3
    edges = alpha[[0, -1]], alpha[:, [0, -1]]
    assert max(edge.max() for edge in edges) < 100, "nothing is cut off"


@pytest.mark.parametrize("name", sorted(FILES))
def test_an_icon_is_drawn_anew_for_a_finer_screen(qapp: Any, name: str) -> None:
    coarse, fine = (pixels(name, "#000000", ratio)[:, :, 3] for ratio in (1, 2))

    assert (fine != np.kron(coarse, np.ones((2, 2)))).any()
    halved = fine.reshape(SIDE, 2, SIDE, 2).mean(axis=(1, 3))
    assert np.abs(halved - coarse).mean() < 8, "it is the same icon"


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_leaves_the_colour_to_the_theme(name: str) -> None:
    text = FILES[name].read_text(encoding="utf-8")

    assert "currentColor" in text
    assert "#" not in text


def test_a_button_on_a_fine_screen_shows_the_fine_icon(qapp: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUTTON],
        env={**os.environ, "QT_SCALE_FACTOR": "2"},
        capture_output=True,
        text=True,
        check=True,
    )

    ratio, rows = done.stdout.split(" ", 1)
    seen = np.array(ast.literal_eval(rows))
    enlarged = [
        (
            np.kron(seen[y::2, x::2], np.ones((2, 2), int))[: len(seen) - y, : len(seen[0]) - x]
            == seen[y:, x:]
        ).all()
        for y in (0, 1)
        for x in (0, 1)
    ]
    assert ratio == "2.0"
    assert seen.min() < 100 < seen.max(), "the icon is there"
    assert not any(enlarged)

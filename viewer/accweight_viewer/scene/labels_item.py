"""Labels as one item of the scene: texts in a texture atlas, drawn where they fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from OpenGL import GL
from pyqtgraph.opengl import GLGraphicsItem
from pyqtgraph.Qt import QtCore, QtGui

from accweight_viewer.model.camera import Camera
from accweight_viewer.model.label_places import PlacedLabels
from accweight_viewer.model.labels import Label
from accweight_viewer.scene.quads import Program, Quads
from accweight_viewer.scene.shaders import LABELS_FRAGMENT, LABELS_VERTEX
from accweight_viewer.theme import Theme

ATLAS_WIDTH = 2048
HALO = 2
"""Pixels of background colour around letters, for contrast on bright plates."""

UNIFORMS = ("u_window", "u_atlas", "u_inks", "u_page")

NAME_POINTS, DETAIL_POINTS = 13, 11

LABEL_DEPTH = 0.93
"""Factor of depth by which labels are drawn nearer than their object, which may overlap them."""


class LabelsItem(GLGraphicsItem.GLGraphicsItem):  # type: ignore[misc]
    """Draws labels placed by `model.labels`.

    Attributes:
        sizes: (n, 2) width and height of each label in pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setDepthValue(10)
        self.sizes: npt.NDArray[np.float64] = np.zeros((0, 2))
        self._inks = np.zeros((4, 3), np.float32)
        self._page = np.zeros(3, np.float32)
        self._tones = np.zeros(0, np.float32)
        self._corners = np.zeros((0, 2), np.float32)
        self._atlas = np.zeros((1, ATLAS_WIDTH, 2), np.uint8)
        self._instances = np.zeros((0, 8), np.float32)
        self._stale = True
        self._scale = 1.0

    def set_labels(self, labels: Sequence[Label], scale: float = 1.0) -> None:
        """Draw the texts into the atlas.

        Args:
            labels: All labels of the scene.
            scale: Device pixels per logical pixel.
        """
        self._scale = scale
        fonts = {bold: _font(bold, scale) for bold in (True, False)}
        metrics = {bold: QtGui.QFontMetrics(font) for bold, font in fonts.items()}
        sizes, corners = [], []
        x = y = 0
        line = max(m.height() for m in metrics.values()) + 2 * HALO
        for label in labels:
            width = min(
                metrics[label.bold].horizontalAdvance(label.text) + 2 * HALO + 2, ATLAS_WIDTH
            )
            if x + width > ATLAS_WIDTH:
                x, y = 0, y + line
            sizes.append((width, metrics[label.bold].height() + 2 * HALO))
            corners.append((x, y))
            x += width
        self._atlas = _with_halo(_drawn(labels, corners, fonts, metrics, y + line))
        self.sizes = np.array(sizes, float).reshape(-1, 2) / scale
        self._corners = np.array(corners, np.float32).reshape(-1, 2)
        self._tones = np.array([int(c.tone) for c in labels], np.float32)
        self._instances = np.zeros((0, 8), np.float32)
        self._stale = True
        self.update()

    def set_placed(self, placed: PlacedLabels, camera: Camera) -> None:
        """Show these labels at these positions."""
        chosen, at = placed.chosen, placed.at
        instances = np.zeros((len(chosen), 8), np.float32)
        instances[:, 0:2] = at[:, :2] * self._scale
        instances[:, 2:4] = self.sizes[chosen] * self._scale
        instances[:, 4:6], instances[:, 6] = self._corners[chosen], self._tones[chosen]
        near, far = camera.near, camera.far
        depth = np.maximum(at[:, 2] * LABEL_DEPTH, near)
        instances[:, 7] = (far / (far - near)) * (1 - near / depth)
        self._instances = instances[::-1].copy()  # the most important last, on top

    def set_colours(self, theme: Theme) -> None:
        """Set the colours."""
        inks = (theme.ink, theme.dim, theme.accent, theme.mark)
        self._inks = np.array([QtGui.QColor(ink).getRgbF()[:3] for ink in inks], np.float32)
        self._page = np.array(QtGui.QColor(theme.page).getRgbF()[:3], np.float32)
        self.update()

    def initializeGL(self) -> None:  # noqa: N802 - Qt's name
        """Create the program, the buffer and the texture."""
        self._program = Program.compiled(LABELS_VERTEX, LABELS_FRAGMENT, UNIFORMS)
        self._quads = Quads(2)
        self._texture = int(GL.glGenTextures(1))
        self._stale = True

    def paint(self) -> None:
        """Draw the placed labels."""
        GL.glActiveTexture(GL.GL_TEXTURE0)
        GL.glBindTexture(GL.GL_TEXTURE_2D, self._texture)
        if self._stale:
            self._upload()
        if not len(self._instances):
            return
        GL.glEnable(GL.GL_DEPTH_TEST)
        GL.glDepthMask(False)
        GL.glEnable(GL.GL_BLEND)
        GL.glBlendFuncSeparate(
            GL.GL_SRC_ALPHA, GL.GL_ONE_MINUS_SRC_ALPHA, GL.GL_ONE, GL.GL_ONE_MINUS_SRC_ALPHA
        )
        GL.glUseProgram(self._program.name)
        view = self.view()
        GL.glUniform2f(self._program.places["u_window"], view.deviceWidth(), view.deviceHeight())
        GL.glUniform1i(self._program.places["u_atlas"], 0)
        GL.glUniform3fv(self._program.places["u_inks"], 4, self._inks)
        GL.glUniform3fv(self._program.places["u_page"], 1, self._page)
        self._quads.upload(self._instances)
        self._quads.draw()
        GL.glBindTexture(GL.GL_TEXTURE_2D, 0)
        GL.glUseProgram(0)
        GL.glDepthMask(True)
        GL.glDisable(GL.GL_BLEND)

    def _upload(self) -> None:
        height, width = self._atlas.shape[:2]
        for name in (GL.GL_TEXTURE_MIN_FILTER, GL.GL_TEXTURE_MAG_FILTER):
            GL.glTexParameteri(GL.GL_TEXTURE_2D, name, GL.GL_NEAREST)
        GL.glPixelStorei(GL.GL_UNPACK_ALIGNMENT, 1)
        GL.glTexImage2D(
            GL.GL_TEXTURE_2D,
            0,
            GL.GL_RG8,
            width,
            height,
            0,
            GL.GL_RG,
            GL.GL_UNSIGNED_BYTE,
            self._atlas,
        )
        self._stale = False


def _font(bold: bool, scale: float) -> QtGui.QFont:
    font = QtGui.QFont()
    font.setPixelSize(round((NAME_POINTS if bold else DETAIL_POINTS) * scale))
    font.setWeight(QtGui.QFont.Weight.DemiBold if bold else QtGui.QFont.Weight.Normal)
    return font


def _drawn(
    labels: Sequence[Label],
    corners: Sequence[tuple[int, int]],
    fonts: dict[bool, QtGui.QFont],
    metrics: dict[bool, QtGui.QFontMetrics],
    height: int,
) -> npt.NDArray[np.uint8]:
    """Return the atlas: white text on black."""
    image = QtGui.QImage(ATLAS_WIDTH, height, QtGui.QImage.Format.Format_Grayscale8)
    image.fill(QtCore.Qt.GlobalColor.black)
    painter = QtGui.QPainter(image)
    painter.setPen(QtCore.Qt.GlobalColor.white)
    painter.setRenderHint(QtGui.QPainter.RenderHint.TextAntialiasing)
    for label, (x, y) in zip(labels, corners, strict=True):
        painter.setFont(fonts[label.bold])
        painter.drawText(x + HALO, y + HALO + metrics[label.bold].ascent(), label.text)
    painter.end()
    bits = image.constBits()
    if hasattr(bits, "setsize"):  # PyQt returns a pointer, PySide a buffer
        bits.setsize(image.sizeInBytes())
    lines = np.frombuffer(bits, np.uint8).reshape(height, image.bytesPerLine())
    return lines[:, :ATLAS_WIDTH].copy()


def _with_halo(text: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return (height, width, 2): the text, and the text widened by the halo."""
    halo = text.copy()
    for axis in (0, 1):
        widened = halo.copy()
        for shift in range(1, HALO + 1):
            for sign in (-shift, shift):
                np.maximum(widened, np.roll(halo, sign, axis=axis), out=widened)
        halo = widened
    return np.stack([text, halo], axis=-1)

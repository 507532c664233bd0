"""The line on the ground that leads from the input of a network to its output, as one item."""

from __future__ import annotations

import numpy as np
from OpenGL import GL
from pyqtgraph.opengl import GLGraphicsItem
from pyqtgraph.Qt import QtGui

from accweight_viewer.model.ground import Segments
from accweight_viewer.scene.quads import Program, Quads
from accweight_viewer.scene.shaders import GROUND_FRAGMENT, GROUND_VERTEX
from accweight_viewer.theme import Theme

WIDTH = 1.5
"""Width of the line in pixels."""

UNIFORMS = ("u_matrix", "u_window", "u_width", "u_ink")


class GroundItem(GLGraphicsItem.GLGraphicsItem):  # type: ignore[misc]
    """Draws the segments of `model.ground`."""

    def __init__(self) -> None:
        super().__init__()
        self.setDepthValue(-10)  # before the plates, which cover it
        self._segments = np.zeros((0, 8), np.float32)
        self._ink = np.zeros(3, np.float32)
        self._stale = True

    def set_segments(self, segments: Segments) -> None:
        """Show other segments, (n, 2, 3)."""
        self._segments = np.zeros((len(segments), 8), np.float32)
        self._segments[:, 0:3], self._segments[:, 4:7] = segments[:, 0], segments[:, 1]
        self._stale = True
        self.update()

    def set_colours(self, theme: Theme) -> None:
        """Set the colours."""
        self._ink = np.array(QtGui.QColor(theme.frame).getRgbF()[:3], np.float32)
        self.update()

    def initializeGL(self) -> None:  # noqa: N802 - Qt's name
        """Create the program and the buffer."""
        self._program = Program.compiled(GROUND_VERTEX, GROUND_FRAGMENT, UNIFORMS)
        self._quads = Quads(2)
        self._stale = True

    def paint(self) -> None:
        """Draw the segments."""
        if self._stale:
            self._quads.upload(self._segments)
            self._stale = False
        if not len(self._segments):
            return
        view, at = self.view(), self._program.places
        GL.glEnable(GL.GL_DEPTH_TEST)
        GL.glDisable(GL.GL_BLEND)
        GL.glDisable(GL.GL_CULL_FACE)
        GL.glUseProgram(self._program.name)
        matrix = np.array(self.mvpMatrix().data(), np.float32)
        GL.glUniformMatrix4fv(at["u_matrix"], 1, False, matrix)
        GL.glUniform2f(at["u_window"], view.deviceWidth(), view.deviceHeight())
        GL.glUniform1f(at["u_width"], WIDTH * view.devicePixelRatioF())
        GL.glUniform3fv(at["u_ink"], 1, self._ink)
        self._quads.draw()
        GL.glUseProgram(0)

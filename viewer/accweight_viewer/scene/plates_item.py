"""The plates as one item of the scene: one texture, one buffer, one draw call.

All tiles of all plates are in one array texture of half-precision changes, one layer per step.
Colours are looked up in the shader, so that another step, colour map or range needs no upload.
`model.content` decides what to draw.
"""

from __future__ import annotations

import math

import numpy as np
from OpenGL import GL
from pyqtgraph.opengl import GLGraphicsItem

from accweight_core.colours.scale import ColourScale
from accweight_viewer.model.camera import FIELD_OF_VIEW
from accweight_viewer.model.content import Instances, TextureBlock
from accweight_viewer.model.residency import Grid
from accweight_viewer.model.texture_tiles import TILE
from accweight_viewer.scene.quads import Program, Quads
from accweight_viewer.scene.shaders import PLATES_VERTEX, plates_fragment
from accweight_viewer.theme import Theme

BORDER_PIXELS = 1.0

UNIFORMS = (
    "u_matrix",
    "u_pixel",
    "u_border",
    "u_tiles",
    "u_colours",
    "u_scale",
    "u_phase",
    "u_tones",
    "u_gap",
    "u_broken",
    "u_page",
)


class PlatesItem(GLGraphicsItem.GLGraphicsItem):  # type: ignore[misc]
    """Draws instances of `model.content.Content`.

    Attributes:
        phase: Progress towards the next step, from 0 to 1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.phase = 0.0
        self._grid = Grid(1, 1)
        self._instances: Instances = np.zeros((0, 16), np.float32)
        self._waiting: list[TextureBlock] = []
        self._scale: ColourScale | None = None
        self._tones = np.zeros((5, 3), np.float32)
        self._gap = np.zeros(3, np.float32)
        self._broken = np.zeros((2, 3), np.float32)
        self._stale = {"grid", "instances", "colours"}

    def set_grid(self, grid: Grid) -> None:
        """Allocate another texture; all uploaded tiles are lost."""
        self._grid = grid
        self._waiting.clear()
        self._stale.add("grid")

    def upload(self, block: TextureBlock) -> None:
        """Queue texels for upload before the next frame."""
        self._waiting.append(block)

    def set_instances(self, instances: Instances) -> None:
        """Set the quads to draw."""
        self._instances = np.ascontiguousarray(instances, dtype=np.float32)
        self._stale.add("instances")

    def set_colours(self, scale: ColourScale, theme: Theme) -> None:
        """Set the colours."""
        self._scale = scale
        edges = (theme.frame, theme.accent, theme.mark, theme.gap, theme.ink)
        self._tones = np.array([_rgb(tone) for tone in edges], np.float32)
        self._gap = np.array(_rgb(theme.mat), np.float32)
        self._broken = np.array([_rgb(theme.broken), _rgb(theme.page)], np.float32)
        self._stale.add("colours")

    def initializeGL(self) -> None:  # noqa: N802 - Qt's name
        """Create the programs, the buffer and the textures."""
        self._programs: dict[tuple[bool, bool, bool], Program] = {}
        for moving in (False, True):  # compile both now, so that no frame waits
            self._program(moving)
        self._quads = Quads(4)
        self._tiles, self._colours = (int(name) for name in GL.glGenTextures(2))
        self._stale = {"grid", "instances", "colours"}

    def paint(self) -> None:
        """Upload queued texels, and draw."""
        self._refresh()
        if not len(self._instances) or self._scale is None:
            return
        GL.glEnable(GL.GL_DEPTH_TEST)
        GL.glDepthFunc(GL.GL_LEQUAL)
        GL.glDisable(GL.GL_BLEND)
        GL.glDisable(GL.GL_CULL_FACE)
        program = self._program(self.phase > 0)
        GL.glUseProgram(program.name)
        self._set_uniforms(program.places, self._scale)
        GL.glActiveTexture(GL.GL_TEXTURE1)
        GL.glBindTexture(GL.GL_TEXTURE_2D, self._colours)
        GL.glActiveTexture(GL.GL_TEXTURE0)
        GL.glBindTexture(GL.GL_TEXTURE_2D_ARRAY, self._tiles)
        self._quads.draw()
        GL.glBindTexture(GL.GL_TEXTURE_2D_ARRAY, 0)
        GL.glUseProgram(0)

    def _program(self, moving: bool) -> Program:
        """Return the shader program for the present settings."""
        scale = self._scale
        logarithmic, signed = (scale.logarithmic, scale.signed) if scale else (False, False)
        key = moving, logarithmic, signed
        if key not in self._programs:
            fragment = plates_fragment(moving=moving, logarithmic=logarithmic, signed=signed)
            self._programs[key] = Program.compiled(PLATES_VERTEX, fragment, UNIFORMS)
        return self._programs[key]

    def _set_uniforms(self, at: dict[str, int], scale: ColourScale) -> None:
        view = self.view()
        matrix = np.array(self.mvpMatrix().data(), np.float32)
        low, high = scale.floor, scale.high
        if scale.logarithmic:
            low, high = math.log(low), math.log(high)
        pixel = 2 * math.tan(FIELD_OF_VIEW / 2) / max(view.height(), 1)
        GL.glUniformMatrix4fv(at["u_matrix"], 1, False, matrix)
        GL.glUniform1f(at["u_pixel"], pixel)
        GL.glUniform1f(at["u_border"], BORDER_PIXELS)
        GL.glUniform1i(at["u_tiles"], 0)
        GL.glUniform1i(at["u_colours"], 1)
        GL.glUniform2f(at["u_scale"], low, high)
        GL.glUniform1f(at["u_phase"], self.phase)
        GL.glUniform3fv(at["u_tones"], 5, self._tones)
        GL.glUniform3fv(at["u_gap"], 1, self._gap)
        GL.glUniform3fv(at["u_broken"], 2, self._broken)
        GL.glUniform3fv(at["u_page"], 1, self._broken[1])

    def _refresh(self) -> None:
        """Upload everything that has changed since the last frame."""
        if "grid" in self._stale:
            self._allocate()
        if "colours" in self._stale and self._scale is not None:
            self._upload_colours(self._scale)
        if "instances" in self._stale:
            self._quads.upload(self._instances)
        self._stale.clear()
        if self._waiting:
            self._upload_tiles()

    def _allocate(self) -> None:
        side, frames = self._grid.side * TILE, self._grid.frames
        GL.glBindTexture(GL.GL_TEXTURE_2D_ARRAY, self._tiles)
        for name in (GL.GL_TEXTURE_MIN_FILTER, GL.GL_TEXTURE_MAG_FILTER):
            GL.glTexParameteri(GL.GL_TEXTURE_2D_ARRAY, name, GL.GL_NEAREST)
        GL.glTexImage3D(
            GL.GL_TEXTURE_2D_ARRAY,
            0,
            GL.GL_R16F,
            side,
            side,
            frames,
            0,
            GL.GL_RED,
            GL.GL_HALF_FLOAT,
            None,
        )

    def _upload_tiles(self) -> None:
        GL.glBindTexture(GL.GL_TEXTURE_2D_ARRAY, self._tiles)
        GL.glPixelStorei(GL.GL_UNPACK_ALIGNMENT, 1)
        for block in self._waiting:
            frames, rows, cols = block.texels.shape
            GL.glTexSubImage3D(
                GL.GL_TEXTURE_2D_ARRAY,
                0,
                block.x,
                block.y,
                block.frame,
                cols,
                rows,
                frames,
                GL.GL_RED,
                GL.GL_HALF_FLOAT,
                np.ascontiguousarray(block.texels),
            )
        self._waiting.clear()

    def _upload_colours(self, scale: ColourScale) -> None:
        GL.glBindTexture(GL.GL_TEXTURE_2D, self._colours)
        for name in (GL.GL_TEXTURE_MIN_FILTER, GL.GL_TEXTURE_MAG_FILTER):
            GL.glTexParameteri(GL.GL_TEXTURE_2D, name, GL.GL_NEAREST)
        GL.glPixelStorei(GL.GL_UNPACK_ALIGNMENT, 1)
        colours = np.ascontiguousarray(scale.colours)
        GL.glTexImage2D(
            GL.GL_TEXTURE_2D,
            0,
            GL.GL_RGB8,
            len(colours),
            1,
            0,
            GL.GL_RGB,
            GL.GL_UNSIGNED_BYTE,
            colours,
        )


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(byte / 255 for byte in bytes.fromhex(colour.removeprefix("#")))

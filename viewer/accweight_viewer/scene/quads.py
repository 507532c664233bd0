"""Shader programs and instanced quads, shared by the items of the scene."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from OpenGL import GL
from OpenGL.GL import shaders


class Program(NamedTuple):
    """A compiled program and the locations of its uniforms."""

    name: int
    places: dict[str, int]

    @classmethod
    def compiled(cls, vertex: str, fragment: str, uniforms: Sequence[str]) -> Program:
        """Compile a program; needs a current OpenGL context."""
        name = shaders.compileProgram(
            shaders.compileShader(vertex, GL.GL_VERTEX_SHADER),
            shaders.compileShader(fragment, GL.GL_FRAGMENT_SHADER),
            validate=False,
        )
        return cls(name, {uniform: GL.glGetUniformLocation(name, uniform) for uniform in uniforms})


class Quads:
    """A buffer of instances, each a quad described by some vectors of four numbers."""

    def __init__(self, vectors: int) -> None:
        """Create the buffer; needs a current OpenGL context.

        Args:
            vectors: Vectors per quad: the attributes 0, 1, ... of the vertex shader.
        """
        self._array = GL.glGenVertexArrays(1)
        self._buffer = GL.glGenBuffers(1)
        self._count = 0
        GL.glBindVertexArray(self._array)
        GL.glBindBuffer(GL.GL_ARRAY_BUFFER, self._buffer)
        for attribute in range(vectors):
            GL.glEnableVertexAttribArray(attribute)
            offset = ctypes.c_void_p(16 * attribute)
            GL.glVertexAttribPointer(attribute, 4, GL.GL_FLOAT, False, 16 * vectors, offset)
            GL.glVertexAttribDivisor(attribute, 1)
        GL.glBindVertexArray(0)

    def upload(self, instances: npt.NDArray[np.float32]) -> None:
        """Replace the quads, (n, 4 * vectors)."""
        self._count = len(instances)
        GL.glBindBuffer(GL.GL_ARRAY_BUFFER, self._buffer)
        GL.glBufferData(GL.GL_ARRAY_BUFFER, instances.nbytes, instances, GL.GL_DYNAMIC_DRAW)

    def draw(self) -> None:
        """Draw the quads with the current program."""
        GL.glBindVertexArray(self._array)
        GL.glDrawArraysInstanced(GL.GL_TRIANGLE_STRIP, 0, 4, self._count)
        GL.glBindVertexArray(0)

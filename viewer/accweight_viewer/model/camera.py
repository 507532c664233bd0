"""A camera that flies, orbits, and glides to a target.

World: x is right, y is up, and the network extends along -z. A camera has a position and a
direction (yaw to the right, pitch up); it never rolls. All motion is per second and independent of
the frame rate.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

FIELD_OF_VIEW = math.radians(34)
"""Vertical angle of view; at a wider one the last layers of a network are far too small."""

STEEPEST = math.radians(89)
GLIDE_SECONDS = 0.6
FAST = 4.0
"""Speed factor with Shift."""

DIRECTIONS = {
    "forward": (0, 0, 1),
    "back": (0, 0, -1),
    "right": (1, 0, 0),
    "left": (-1, 0, 0),
    "up": (0, 1, 0),
    "down": (0, -1, 0),
}


@dataclass(frozen=True)
class Pose:
    """Position and direction of a camera.

    Attributes:
        position: x, y, z.
        yaw: Rotation to the right from -z, in radians.
        pitch: Rotation upwards, in radians.
    """

    position: tuple[float, float, float] = (0.0, 0.0, 10.0)
    yaw: float = 0.0
    pitch: float = 0.0

    @property
    def axes(self) -> tuple[Vector, Vector, Vector]:
        """Unit vectors to the right, up and forward."""
        sin_yaw, cos_yaw = math.sin(self.yaw), math.cos(self.yaw)
        sin_pitch, cos_pitch = math.sin(self.pitch), math.cos(self.pitch)
        right = np.array([cos_yaw, 0.0, sin_yaw])
        forward = np.array([sin_yaw * cos_pitch, sin_pitch, -cos_yaw * cos_pitch])
        up = np.array([-sin_yaw * sin_pitch, cos_pitch, cos_yaw * sin_pitch])
        return right, up, forward

    def towards(self, target: Vector, distance: float) -> Pose:
        """Return the pose that looks at `target` from a distance, in the same direction."""
        x, y, z = np.asarray(target) - self.axes[2] * distance
        return replace(self, position=(float(x), float(y), float(z)))


@dataclass
class Camera:
    """A moving pose.

    Attributes:
        pose: Current pose.
        near: Near clipping depth.
        far: Far clipping depth.
        pace: Flight speed in units per second.
    """

    pose: Pose = field(default_factory=Pose)
    near: float = 0.01
    far: float = 1000.0
    pace: float = 4.0
    _glide: tuple[Pose, Pose, float] | None = None

    @property
    def gliding(self) -> bool:
        """Whether it is gliding to a target."""
        return self._glide is not None

    def jump(self, pose: Pose) -> None:
        """Move to a pose at once."""
        self.pose, self._glide = pose, None

    def glide(self, pose: Pose) -> None:
        """Glide to a pose within `GLIDE_SECONDS`."""
        turn = (pose.yaw - self.pose.yaw + math.pi) % math.tau - math.pi
        self._glide = self.pose, replace(pose, yaw=self.pose.yaw + turn), 0.0

    def advance(self, seconds: float, held: Collection[str] = (), *, fast: bool = False) -> bool:
        """Advance in time; return whether the camera moved.

        Args:
            seconds: Elapsed time.
            held: Directions of the keys that are held, from `DIRECTIONS`.
            fast: Whether Shift is held.
        """
        if held:
            self._glide = None
            return self._fly(seconds, held, fast)
        if self._glide is None:
            return False
        begin, end, passed = self._glide
        share = min(1.0, (passed + seconds) / GLIDE_SECONDS)
        self._glide = None if share >= 1 else (begin, end, passed + seconds)
        self.pose = _between(begin, end, share * share * (3 - 2 * share))
        return True

    def _fly(self, seconds: float, held: Collection[str], fast: bool) -> bool:
        along = np.sum([DIRECTIONS[name] for name in held], axis=0)
        length = float(np.linalg.norm(along))
        if not length:
            return False
        right, up, forward = self.pose.axes
        step = right * along[0] + up * along[1] + forward * along[2]
        self.shift(step / length * self.pace * seconds * (FAST if fast else 1.0))
        return True

    def shift(self, step: Vector) -> None:
        """Move by a vector in world coordinates."""
        self._glide = None
        x, y, z = np.asarray(self.pose.position) + step
        self.pose = replace(self.pose, position=(float(x), float(y), float(z)))

    def look(self, yaw: float, pitch: float) -> None:
        """Rotate in place, by angles in radians."""
        self._glide = None
        turned = min(max(self.pose.pitch + pitch, -STEEPEST), STEEPEST)
        self.pose = replace(self.pose, yaw=self.pose.yaw + yaw, pitch=turned)

    def orbit(self, centre: Vector, yaw: float, pitch: float) -> None:
        """Rotate around a point, by angles in radians; the point keeps its place on the screen."""
        away = np.asarray(self.pose.position) - centre
        before = self.pose
        seen = [float(away @ axis) for axis in before.axes]
        self.look(yaw, pitch)
        right, up, forward = self.pose.axes
        x, y, z = centre + right * seen[0] + up * seen[1] + forward * seen[2]
        self.pose = replace(self.pose, position=(float(x), float(y), float(z)))

    def approach(self, target: Vector, share: float) -> None:
        """Move towards a point by a share of the distance, or away if the share is negative."""
        self.shift((np.asarray(target) - np.asarray(self.pose.position)) * share)

    def view(self) -> Matrix:
        """Return the matrix from world to eye coordinates; the eye looks along -z."""
        right, up, forward = self.pose.axes
        matrix = np.eye(4)
        matrix[0, :3], matrix[1, :3], matrix[2, :3] = right, up, -forward
        matrix[:3, 3] = -matrix[:3, :3] @ np.asarray(self.pose.position)
        return matrix

    def projection(self, aspect: float) -> Matrix:
        """Return the projection matrix for a window `aspect` times as wide as high."""
        scale = 1 / math.tan(FIELD_OF_VIEW / 2)
        near, far = self.near, self.far
        matrix = np.zeros((4, 4))
        matrix[0, 0], matrix[1, 1] = scale / aspect, scale
        matrix[2, 2], matrix[2, 3] = (far + near) / (near - far), 2 * far * near / (near - far)
        matrix[3, 2] = -1
        return matrix

    def ray(self, x: float, y: float, width: float, height: float) -> Vector:
        """Return the direction of a pixel of a window, y downwards."""
        right, up, forward = self.pose.axes
        reach = math.tan(FIELD_OF_VIEW / 2)
        across = (2 * x / width - 1) * reach * width / height
        above = (1 - 2 * y / height) * reach
        direction: Vector = forward + right * across + up * above
        return direction / np.linalg.norm(direction)

    def project(self, points: Vector, width: float, height: float) -> Vector:
        """Return (n, 3): pixel x, y (downwards) and depth of points.

        Depth <= 0 is behind the camera; at depth 0, x and y are NaN.
        """
        right, up, forward = self.pose.axes
        away = np.asarray(points, float) - np.asarray(self.pose.position)
        depth = away @ forward
        ahead = np.where(np.abs(depth) < 1e-12, np.nan, depth)
        scale = height / 2 / math.tan(FIELD_OF_VIEW / 2) / ahead
        x, y = width / 2 + away @ right * scale, height / 2 - away @ up * scale
        return np.stack([x, y, depth], axis=1)


def framing(corners: Vector, yaw: float, pitch: float, aspect: float, margin: float = 0.12) -> Pose:
    """Return the pose from which all corners just fit the window, for a given direction.

    Each side of the window limits how close the camera may be. The tightest two limits,
    horizontally or vertically, determine the position, which centres the corners.

    Args:
        corners: (n, 3) points.
        yaw: Yaw of the direction.
        pitch: Pitch of the direction.
        aspect: Width of the window over its height.
        margin: Share of the window left free on each side.
    """
    turned = Pose(yaw=yaw, pitch=pitch)
    right, up, forward = turned.axes
    points = np.asarray(corners, float)
    reach = math.tan(FIELD_OF_VIEW / 2) * (1 - 2 * margin)
    places = []
    for axis, slope in ((right, reach * aspect), (up, reach)):
        across, deep = points @ axis, points @ forward
        low = float(np.min(across + slope * deep))
        high = float(np.max(across - slope * deep))
        places.append(((low + high) / 2, (low - high) / (2 * slope)))
    depth = min(places[0][1], places[1][1])
    x, y, z = right * places[0][0] + up * places[1][0] + forward * depth
    return replace(turned, position=(float(x), float(y), float(z)))


def _between(begin: Pose, end: Pose, share: float) -> Pose:
    mixed = [a + (b - a) * share for a, b in zip(begin.position, end.position, strict=True)]
    return Pose(
        (mixed[0], mixed[1], mixed[2]),
        begin.yaw + (end.yaw - begin.yaw) * share,
        begin.pitch + (end.pitch - begin.pitch) * share,
    )

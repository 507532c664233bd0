"""The camera control of a session: keys, centre of orbit, target layer.

Several scenes share one flight, so that two runs are seen from the same position.
"""

from __future__ import annotations

import math

import numpy as np

from accweight_viewer.model.arrangement import RANGE, Arrangement
from accweight_viewer.model.best_view import best_view
from accweight_viewer.model.camera import DIRECTIONS, FIELD_OF_VIEW, Camera, Pose, Vector, framing
from accweight_viewer.model.signal import Signal

ROWS_VIEW = -0.5, -0.72
"""(yaw, pitch) for folded rows."""

MARGIN, FRONT_MARGIN = 0.07, 0.1
"""Share of the window left free at each side of all plates, and of a single layer."""

TITLE_ROOM = 0.9
"""Space for the title of a row of one block, in world units."""

RADIANS_PER_PIXEL = 0.006
WHEEL_SHARE = 0.15
"""Share of the distance to the point under the mouse covered per notch of the wheel."""


class Flight:
    """A camera and what moves it.

    Attributes:
        camera: The camera.
        aspect: Width of a scene's window over its height.
        focus_row: Row of the target; nearer rows are hidden. 0 hides none.
        moved: Emitted when the camera has moved.
    """

    def __init__(self) -> None:
        self.camera = Camera()
        self.aspect = 1.5
        self.focus_row = 0
        self.moved: Signal[[]] = Signal()
        self.fast = False
        self._held: set[str] = set()
        self._centre: Vector = np.zeros(3)
        self._at_home = True
        self._before: tuple[Pose, int, bool] | None = None

    @property
    def moving(self) -> bool:
        """Whether the camera is moving by itself."""
        return bool(self._held) or self.camera.gliding

    @property
    def at_home(self) -> bool:
        """Whether the camera has not moved since `home`, and must refit after a resize."""
        return self._at_home

    def press(self, direction: str) -> None:
        """Start flying in one of `DIRECTIONS`."""
        if direction in DIRECTIONS:
            self._held.add(direction)

    def release(self, direction: str) -> None:
        """Stop flying in a direction."""
        self._held.discard(direction)

    def release_all(self) -> None:
        """Stop flying: key releases are lost while another window has the focus."""
        self._held.clear()
        self.fast = False

    def advance(self, seconds: float, places: Arrangement) -> None:
        """Advance in time."""
        if not self.moving:
            return
        if self._held:
            self._at_home, self.focus_row, self._before = False, 0, None
            self.camera.pace = min(max(self._distance(places), 0.6), 60.0)
        if self.camera.advance(seconds, self._held, fast=self.fast):
            self._changed(places)

    def home(self, places: Arrangement, *, at_once: bool = False) -> None:
        """Show all plates."""
        box = places.box()
        self._centre = (box.min(axis=0) + box.max(axis=0)) / 2
        self.focus_row = 0
        self._before = None
        self._go(self._overview(places), places, at_once)
        self._at_home = True

    def _overview(self, places: Arrangement) -> Pose:
        """Return the pose that shows all plates."""
        if not places.folded:
            return best_view(places, self.aspect, MARGIN)
        room = [
            [x + TITLE_ROOM * (1 + (RANGE in title)), y, z]
            for _, title, (x, y, z) in places.title_ends
        ]
        framed = np.concatenate([places.box(), np.array(room).reshape(-1, 3)])
        return framing(framed, *ROWS_VIEW, self.aspect, MARGIN)

    def visit(self, plates: list[int], places: Arrangement, *, at_once: bool = False) -> None:
        """Go in front of some plates, parallel to the screen; make them the centre of orbit."""
        if not plates:
            return
        if self._before is None:
            self._before = self.camera.pose, self.focus_row, self._at_home
        self.circle(plates, places)
        self.focus_row = int(places.rows[plates].min())
        pose = framing(places.box(plates), 0.0, 0.0, self.aspect, FRONT_MARGIN)
        self._go(pose, places, at_once)
        self._at_home = False

    def leave(self, places: Arrangement, *, at_once: bool = False) -> bool:
        """Go back to where the camera was before `visit`; return whether it was called."""
        if self._before is None:
            return False
        pose, self.focus_row, at_home = self._before
        self._before = None
        if at_home:
            self.home(places, at_once=at_once)
        else:
            self._go(pose, places, at_once)
        return True

    def circle(self, plates: list[int], places: Arrangement) -> None:
        """Set the centre of orbit to some plates, or to all for an empty list."""
        self._centre = places.centre(plates) if plates else places.centre(range(len(places.rows)))

    def orbit(self, right: float, down: float, places: Arrangement) -> None:
        """Orbit around the centre, by pixels of mouse movement."""
        self._at_home = False
        turn = RADIANS_PER_PIXEL
        self.camera.orbit(self._centre, -right * turn, -down * turn)
        self._changed(places)

    def look(self, right: float, down: float, places: Arrangement) -> None:
        """Rotate in place, by pixels of mouse movement."""
        self._at_home = False
        self.camera.look(right * RADIANS_PER_PIXEL / 2, -down * RADIANS_PER_PIXEL / 2)
        self._changed(places)

    def pan(self, right: float, down: float, height: float, places: Arrangement) -> None:
        """Move sideways, by pixels of mouse movement in a window of some height."""
        self._at_home = False
        across, up, _ = self.camera.pose.axes
        unit = self._distance(places) * 2 * math.tan(FIELD_OF_VIEW / 2) / max(height, 1.0)
        self.camera.shift(-across * right * unit + up * down * unit)
        self._changed(places)

    def approach(self, target: Vector, notches: float, places: Arrangement) -> None:
        """Move towards a point or away from it; the same notches back undo it."""
        self._at_home = False
        self.camera.approach(target, 1 - (1 - WHEEL_SHARE) ** notches)
        self._changed(places)

    def settle(self, places: Arrangement) -> None:
        """Adapt to changed positions of the plates."""
        if self._at_home:
            self.home(places, at_once=True)
        else:
            self._changed(places)

    def _go(self, pose: Pose, places: Arrangement, at_once: bool) -> None:
        if at_once:
            self.camera.jump(pose)
        else:
            self.camera.glide(pose)
        self._changed(places)

    def _changed(self, places: Arrangement) -> None:
        """Set the clipping planes so that everything in front is drawn."""
        box = places.box()
        position = np.asarray(self.camera.pose.position)
        self.camera.far = 2 * float(np.linalg.norm(box - position, axis=1).max()) + 1
        self.camera.near = min(max(0.2 * self._distance(places), 0.004), 1.0)
        self.moved.emit()

    def _distance(self, places: Arrangement) -> float:
        """Return the distance to the nearest plate."""
        if not len(places.sizes):
            return 1.0
        x, y, z = self.camera.pose.position
        left, top = places.corners[:, 0], places.corners[:, 1]
        gap_x = x - np.clip(x, left, left + places.sizes[:, 0])
        gap_y = y - np.clip(y, top - places.sizes[:, 1], top)
        gap_z = z - places.corners[:, 2]
        seen = places.rows >= self.focus_row
        apart = np.sqrt(gap_x * gap_x + gap_y * gap_y + gap_z * gap_z)
        return float(apart[seen].min()) if seen.any() else float(apart.min())

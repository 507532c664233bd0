"""The cameras of the scenes: one for runs of one network, one each for unrelated runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from accweight_viewer.model.flight import Flight

if TYPE_CHECKING:
    from accweight_viewer.scene.view import SceneView


class Cameras:
    """The flights of the scenes that are shown.

    Attributes:
        first: Flight of the first scene, and of all others of the same network.
        at_once: Whether cameras jump instead of gliding.
    """

    def __init__(self, *, at_once: bool) -> None:
        self.first = Flight()
        self.at_once = at_once
        self._scenes: Callable[[], Sequence[SceneView]] = list

    def follow(self, scenes: Callable[[], Sequence[SceneView]]) -> None:
        """Set what returns the scenes that are shown."""
        self._scenes = scenes

    def flight_of(self, number: int, *, related: bool) -> Flight:
        """Return the flight for a new scene.

        Args:
            number: Number of the scene.
            related: Whether it shows a network like the first one.
        """
        return self.first if number == 0 or related else Flight()

    @property
    def _leading(self) -> list[SceneView]:
        """The first scene of every flight."""
        found: dict[int, SceneView] = {}
        for scene in self._scenes():
            found.setdefault(id(scene.flight), scene)
        return list(found.values())

    @property
    def moving(self) -> bool:
        """Whether a camera is moving by itself."""
        return any(scene.flight.moving for scene in self._leading)

    def advance(self, seconds: float) -> None:
        """Advance in time."""
        for scene in self._leading:
            scene.flight.advance(seconds, scene.places)

    def home(self, *, at_once: bool | None = None) -> None:
        """Show everything."""
        for scene in self._leading:
            scene.flight.home(scene.places, at_once=self.at_once if at_once is None else at_once)

    def leave(self) -> bool:
        """Go back to where cameras were before they went to a layer; return whether any did."""
        return any(
            [scene.flight.leave(scene.places, at_once=self.at_once) for scene in self._leading]
        )

    def visit(self, scene: SceneView, layer: str) -> None:
        """Go to a layer of a scene."""
        scene.flight.visit(scene.plates_of(layer), scene.places, at_once=self.at_once)

    def settle(self) -> None:
        """Adapt to changed positions of the plates."""
        for scene in self._leading:
            scene.flight.settle(scene.places)

"""The scenes side by side, one per source, with the names of runs above."""

from __future__ import annotations

from collections.abc import Callable

from pyqtgraph.Qt import QtCore, QtWidgets

from accweight_core.text import plain
from accweight_viewer.model.session import Session
from accweight_viewer.scene.cameras import Cameras
from accweight_viewer.scene.view import SceneView
from accweight_viewer.widgets.boxes import column


class SceneRow(QtWidgets.QSplitter):  # type: ignore[misc]
    """All scenes.

    Attributes:
        scenes: One per source; those of an earlier comparison are kept, hidden.
        titles: The names above them.
    """

    def __init__(
        self,
        session: Session,
        cameras: Cameras,
        budget_bytes: int,
        made: Callable[[SceneView], object],
    ) -> None:
        """Create the row, which is empty until `renew`.

        Args:
            session: The session.
            cameras: The cameras.
            budget_bytes: Graphics memory for the textures of all scenes.
            made: Called with every new scene.
        """
        super().__init__(QtCore.Qt.Orientation.Horizontal)
        self.scenes: list[SceneView] = []
        self.titles: list[QtWidgets.QLabel] = []
        self._session = session
        self._cameras = cameras
        self._budget = budget_bytes
        self._made = made

    @property
    def shown(self) -> list[SceneView]:
        """One scene per source."""
        return self.scenes[: len(self._session.sources)]

    def first_with(self, layer: str | None) -> SceneView:
        """Return the first scene that shows a layer; the first of all if none does, or for None."""
        shown = self.shown
        return next((scene for scene in shown if scene.plates_of(layer)), shown[0])

    def circle_selected(self) -> None:
        """Orbit around the selected layer: in the scene of the picked weight, if one is picked."""
        shown, pick = self.shown, self._session.pick
        picked = shown[pick.run] if pick is not None and pick.run < len(shown) else None
        (picked or self.first_with(self._session.layer)).circle_selected()

    def renew(self) -> None:
        """Create the scenes for all sources; existing scenes are kept."""
        session, sources = self._session, self._session.sources
        while len(self.scenes) < len(sources):
            number = len(self.scenes)
            flight = self._cameras.flight_of(number, related=session.related)
            scene = SceneView(session, flight, number, self._budget // len(sources))
            title = QtWidgets.QLabel("")
            title.setTextFormat(QtCore.Qt.TextFormat.PlainText)
            title.setContentsMargins(10, 6, 10, 6)
            self.addWidget(column(title, scene))
            self.scenes.append(scene)
            self.titles.append(title)
            self._made(scene)
        for number, (scene, title) in enumerate(zip(self.scenes, self.titles, strict=True)):
            scene.parentWidget().setVisible(number < len(sources))
            title.setVisible(len(session.runs) > 1)
            if number < len(sources):
                title.setText(plain(sources[number].name))

"""One scene: the plates of a run or a difference, seen through the session's camera.

A tick updates the scene before it is drawn: loaded tiles, quads to draw, placement of labels.
Unchanged parts are skipped, so a still scene costs nothing. A click picks a texel, a double click
goes to its layer.
"""

from __future__ import annotations

import math

import numpy as np
from OpenGL import GL
from pyqtgraph.Qt import QtCore, QtGui

from accweight_viewer.model.arrangement import Arrangement
from accweight_viewer.model.content import Content
from accweight_viewer.model.flight import Flight
from accweight_viewer.model.ground import ground_segments
from accweight_viewer.model.label_places import placed
from accweight_viewer.model.labels import labels_of
from accweight_viewer.model.picking import Pick, met, texel_at
from accweight_viewer.model.plates import PlateSource
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.session import Session
from accweight_viewer.model.signal import Signal
from accweight_viewer.scene.fly_camera_view import FlyCameraView
from accweight_viewer.scene.ground_item import GroundItem
from accweight_viewer.scene.labels_item import LabelsItem
from accweight_viewer.scene.plates_item import PlatesItem
from accweight_viewer.theme import Theme, theme_called
from accweight_viewer.widgets.bridge import Bridge
from accweight_viewer.widgets.pane import Pane

PLAN_SECONDS = 0.06
"""Least time between two choices of tiles while the camera moves."""

RECOLOURING = frozenset(("colour_map", "logarithmic", "low", "high", "fitted", "scope"))
"""Settings that change only colours."""


DIFFERING = frozenset(("scope", "difference_scale"))
"""Settings that change a difference itself."""


class SceneView(FlyCameraView, Pane):
    """A scene in a window.

    Attributes:
        hovered: Emitted with the texel under the mouse, or None.
        frame_drawn: Emitted after each frame.
    """

    def __init__(self, session: Session, flight: Flight, number: int, budget_bytes: int) -> None:
        """Create the scene of a source.

        Args:
            session: The session.
            flight: The camera control.
            number: Index among the session's sources.
            budget_bytes: Graphics memory for textures.
        """
        super().__init__(flight)
        self.session = session
        self.number = number
        self.hovered: Signal[[Pick | None]] = Signal()
        self.frame_drawn: Signal[[]] = Signal()
        self._budget = budget_bytes
        self._theme = theme_called(session.settings.theme)
        self._ground = GroundItem()
        self._plates = PlatesItem()
        self._labels = LabelsItem()
        self.addItem(self._ground)
        self.addItem(self._plates)
        self.addItem(self._labels)
        self._limit = 256
        self._planned_at = -math.inf
        self._content: Content | None = None
        self._needs = {"plan", "instances", "labels"}
        self._bridge = Bridge(self._arrived)
        self._listen()
        self._renew()

    @property
    def places(self) -> Arrangement:
        """Positions of the plates."""
        return self.content.places

    @property
    def source(self) -> PlateSource:
        """The source shown."""
        return self.content.source

    @property
    def content(self) -> Content:
        """The tiles of the scene."""
        if self._content is None:
            raise RuntimeError("the scene is closed")
        return self._content

    @property
    def settled(self) -> bool:
        """Whether the picture has its final resolution."""
        return not self._needs and self.content.idle

    @property
    def _leads(self) -> bool:
        """Whether its shape and its plates decide where the camera goes."""
        return self.number == 0 or not self.session.related

    def _listen(self) -> None:
        session = self.session
        session.time_changed.connect(lambda: self._need("time", "instances"))
        session.selection_changed.connect(lambda: self._need("instances", "labels"))
        session.pointing_changed.connect(lambda: self._need("instances"))
        session.found_changed.connect(lambda: self._need("instances", "labels"))
        session.settings_changed.connect(self._settings_changed)
        session.data_changed.connect(self._data_changed)
        self.flight.moved.connect(lambda: self._need("plan", "instances", "labels"))

    def _need(self, *what: str) -> None:
        self._needs.update(what)
        self.woken.emit()

    def _arrived(self) -> None:
        """Request a tick for loaded tiles; called on the thread of the window."""
        self._need("tiles")

    def _settings_changed(self, names: frozenset[str]) -> None:
        renewing = {"plane", "plate_values"} | (DIFFERING if self.source.signed else set())
        if names & renewing:
            self._renew()
        elif names & {"arrangement", "true_scale"}:
            self.content.places = self.session.arrangement(self.source)
            self._rename()
            if self._leads:
                self.flight.settle(self.content.places)
        elif "labels" in names:
            self._rename()
        if names & RECOLOURING:
            self._recolour()
        self._need("plan", "instances", "labels")

    def _data_changed(self) -> None:
        """Continue with the new data if it only adds finished plates, else start again."""
        sources = self.session.sources
        if self.number < len(sources) and self.content.follow(sources[self.number]):
            self.content.places = self.session.arrangement(self.source)
            self._rename()
            self._recolour()
            self._need("plan", "instances", "labels")
        else:
            self._renew()

    def _renew(self) -> None:
        """Start again with the present state of the source."""
        sources = self.session.sources
        if self.number >= len(sources):
            return
        source = sources[self.number]
        if self._content is not None:
            self._content.close()
        self._content = Content(
            source,
            self.session.arrangement(source),
            plane=self.session.settings.plane,
            budget_bytes=self._budget,
            most_frames=self._limit,
            arrived=self._bridge.call,
        )
        self._plates.set_grid(self._content.residency.grid)
        self._rename()
        self._recolour()
        self._need("plan", "instances", "labels")

    def _rename(self) -> None:
        only_in = {
            layer.name: self.session.only_in(layer.name)
            for layer in self.source.layers
            if len(self.session.runs) > 1
        }
        self._texts = (
            labels_of(self.source.layers, self.content.places, only_in, self.session.short_names)
            if self.session.settings.labels
            else []
        )
        self._labels.set_labels(self._texts, self.devicePixelRatioF())
        self._ground.set_segments(ground_segments(self.content.places))

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self._theme = theme
        self._recolour()
        self._need("plan", "instances", "labels")

    def _recolour(self) -> None:
        scale = self.session.scene_scale()
        self.setBackgroundColor(self._theme.page)
        self._plates.set_colours(scale, self._theme)
        self._labels.set_colours(self._theme)
        self._ground.set_colours(self._theme)

    # --- frames ---------------------------------------------------------------------------

    def tick(self, now: float) -> bool:
        """Update before the next frame; return whether another tick is needed.

        Args:
            now: A clock in seconds.
        """
        content = self.content
        if "tiles" in self._needs:
            self._needs.discard("tiles")
            if content.take(self._plates.upload):
                self._needs |= {"plan", "instances", "tiles"}
        if not self._needs and not self._blending():
            return False
        position = self.session.source_position(self.source)
        if "plan" in self._needs and now - self._planned_at >= self._patience():
            content.replan(self.flight.camera, self.viewport_size(), position)
            self._planned_at = now
            self._needs -= {"plan", "time"}
            self._needs.add("instances")
        if "time" in self._needs:
            self._needs.discard("time")
            content.move_to(position)
        self._lay_out()
        self.update()
        return bool(self._needs)

    def _lay_out(self) -> None:
        """Update the items to the present state of the session, with the tiles in memory."""
        if "instances" in self._needs:
            self._needs.discard("instances")
            position = self.session.source_position(self.source)
            self._plates.set_instances(self._instances(position))
        if "labels" in self._needs:
            self._needs.discard("labels")
            self._place_labels()
        self._plates.phase = self.session.cursor.phase if self._blending() else 0.0

    def _patience(self) -> float:
        return PLAN_SECONDS if self.flight.moving or self.dragging else 0.0

    def _blending(self) -> bool:
        """Whether to blend with the next step: only if both runs have the same steps."""
        return (
            self.session.cursor.playing
            and self.session.settings.smooth
            and len(self.source.steps) == len(self.session.steps)
        )

    def _instances(self, position: int) -> np.ndarray:
        session = self.session
        names = {layer.name: layer for layer in self.source.layers}
        chosen, lit = names.get(session.layer or ""), names.get(session.pointed_at or "")
        marked = [p.number for n, la in names.items() if session.only_in(n) for p in la.plates]
        pick = session.pick
        mine = pick is not None and (self.source.signed or pick.run == self.number)
        return self.content.instances(
            position,
            scope=session.settings.scope,
            selected=frozenset(p.number for p in chosen.plates) if chosen else frozenset(),
            marked=frozenset(marked if len(session.runs) > 1 else ()),
            pointed_at=frozenset(p.number for p in lit.plates) if lit else frozenset(),
            pick=pick if mine else None,
            nearer_hidden=self.flight.focus_row,
            eye=self.flight.camera.pose.position[2],
            faint=self._plates_of(self._faint),
        )

    @property
    def _faint(self) -> frozenset[str]:
        """Layers that are not searched for."""
        found = self.session.found
        return frozenset() if found is None else frozenset(self.session.layer_names) - found

    def _plates_of(self, names: frozenset[str]) -> frozenset[int]:
        layers = [layer for layer in self.source.layers if layer.name in names] if names else []
        return frozenset(plate.number for layer in layers for plate in layer.plates)

    def _place_labels(self) -> None:
        camera = self.flight.camera
        shown = placed(
            self._texts,
            self._labels.sizes,
            camera,
            self.viewport_size(),
            self.content.places,
            self.session.layer,
            self.flight.focus_row,
            self._faint,
        )
        self._labels.set_placed(shown, camera)

    def initializeGL(self) -> None:  # noqa: N802 - Qt's name
        """Query the graphics card, then create the items."""
        limit = int(GL.glGetIntegerv(GL.GL_MAX_ARRAY_TEXTURE_LAYERS))
        if limit != self._limit:
            self._limit = limit
            self._renew()
        super().initializeGL()

    def resizeGL(self, width: int, height: int) -> None:  # noqa: N802 - Qt's name
        """Keep everything in view after a resize."""
        if self._leads:
            self.flight.aspect = width / max(height, 1)
            self.flight.settle(self.content.places)
        self._need("plan", "labels")

    def paintGL(self) -> None:  # noqa: N802 - Qt's name
        """Draw a frame of one consistent state: Qt may ask for it between a change and a tick.

        The old quads would be drawn from an empty texture, or with colours and units that do not
        match.
        """
        self._lay_out()
        super().paintGL()
        self.frame_drawn.emit()

    # --- picking --------------------------------------------------------------------------

    def pick_at(self, x: float, y: float) -> Pick | None:
        """Return the texel at a point of the window."""
        camera = self.flight.camera
        direction = camera.ray(x, y, *self.viewport_size())
        hit = met(
            np.asarray(camera.pose.position), direction, self.content.places, self.flight.focus_row
        )
        if hit is None:
            return None
        plate = self.source.plates[hit[0]]
        if not plate.ready:
            return None
        run = self.number if isinstance(self.source, ShownRun) else 0
        return Pick(run, plate, *texel_at(plate, hit[1], hit[2]))

    def point_of(self, pick: Pick) -> QtCore.QPointF:
        """Return the screen position of the centre of a texel."""
        rows, cols = pick.plate.size
        x, y, z = self.content.places.corners[pick.plate.number]
        width, height = self.content.places.sizes[pick.plate.number]
        point = [[x + width * (pick.col + 0.5) / cols, y - height * (pick.row + 0.5) / rows, z]]
        at = self.flight.camera.project(np.array(point), *self.viewport_size())[0]
        return QtCore.QPointF(at[0], at[1])

    def clicked(self, x: float, y: float) -> None:
        """Select the clicked texel; the camera then orbits its layer."""
        found, before = self.pick_at(x, y), (self.session.layer, self.session.pick)
        if found is None:
            self.session.select_layer(None)
        else:
            self.session.select_texel(found)
        if (self.session.layer, self.session.pick) == before:
            self.circle_selected()  # no signal if unchanged, but the camera may have moved

    def double_clicked(self, x: float, y: float) -> None:
        """Go to the clicked layer."""
        found = self.pick_at(x, y)
        if found is not None:
            self.session.jump_to(self.source.layers[found.plate.layer].name)

    def hovered_at(self, x: float, y: float) -> None:
        """Report the texel under the mouse."""
        self.hovered.emit(self.pick_at(x, y))

    def drag_ended(self) -> None:
        """Choose tiles for the final position of the camera."""
        self._need("plan")

    def left(self) -> None:
        """Report that no texel is under the mouse."""
        self.hovered.emit(None)

    def circle_selected(self) -> None:
        """Make the selected layer the centre of orbit, or everything."""
        self.flight.circle(self.plates_of(self.session.layer), self.content.places)

    def plates_of(self, name: str | None) -> list[int]:
        """Return the numbers of a layer's plates; none if the scene lacks the layer."""
        layer = next((layer for layer in self.source.layers if layer.name == name), None)
        return [plate.number for plate in layer.plates] if layer else []

    def closeEvent(self, event: QtGui.QCloseEvent) -> None:  # noqa: N802 - Qt's name
        """Stop loading; the scene cannot be used afterwards."""
        if self._content is not None:
            self._content.close()
        super().closeEvent(event)

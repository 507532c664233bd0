"""A picture window: the flat picture of one parameter, from the whole to a single weight.

Regions are read in the background, coarse first. If reading is slower than the playback, the window
shows the latest region, marked as loading; it never blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.errors import UnknownNameError
from accweight_viewer.model.picking import Pick
from accweight_viewer.model.picture_requests import Drawn, PictureRequest
from accweight_viewer.model.plate_choice import PlateChoice, PlateChoices, Which
from accweight_viewer.model.plates import Plate, PlateSource
from accweight_viewer.model.session import Session
from accweight_viewer.model.texels import AnyValue
from accweight_viewer.model.viewport2d import Region, Shares, seen_region, whole_region
from accweight_viewer.panes.colour_bar import ColourBar
from accweight_viewer.panes.formatting import step_text
from accweight_viewer.panes.picture_footer import PictureFooter
from accweight_viewer.panes.picture_header import PictureHeader
from accweight_viewer.panes.picture_loader import PictureLoader
from accweight_viewer.panes.picture_view import PictureView
from accweight_viewer.panes.texel_reader import TexelReader, TexelRequest
from accweight_viewer.panes.texel_text import (
    Description,
    element_text,
    plate_description,
    texel_description,
)
from accweight_viewer.theme import Theme, theme_called
from accweight_viewer.widgets.events import listen
from accweight_viewer.widgets.pane import Pane

PATIENCE_MS = 150
"""Reading longer than this is marked as loading; shorter marks would flicker."""

REREADING = {"plane", "logarithmic", "low", "high", "fitted"}
"""Settings that change the colour indices, so that regions must be read again."""


class PictureWindow(QtWidgets.QWidget, Pane):  # type: ignore[misc]
    """One plate, its legend, and the texel under the mouse.

    Attributes:
        view_changed: Emitted with the visible `Shares` when the user zooms or pans.
        number: 0 for the window that follows the selection, 1 for the other one.
        header: The row above, with the choice of the plate.
        view: The canvas.
        bar: The legend.
        footer: The two lines below.
    """

    view_changed = QtCore.Signal(object)

    def __init__(self, session: Session, number: int, parent: Any = None) -> None:
        super().__init__(parent)
        self.number = number
        self._session = session
        self._choices = PlateChoices(session)
        self._choice: PlateChoice | None = None
        self._plate: Plate | None = None
        self._texel: tuple[int, int] | None = None
        self._reader = TexelReader(self._describe)
        self._comparison = session.comparison
        self._scale = session.scale_of(signed=False)
        self._closed = False
        self._theme = theme_called(session.settings.theme)
        self.header = PictureHeader(self._theme)
        self.view = PictureView(self._theme)
        self.bar = ColourBar(session, signed=False, compact=True)
        self.footer = PictureFooter()
        self._patience = QtCore.QTimer(self)
        self._loader = PictureLoader(self._show_region, self._show_progress)
        self._build()
        self._connect()
        self.header.box.offer(self._choices.texts)
        self.header.follow.setChecked(number == 0 or len(session.runs) == 2)
        self.header.link.setChecked(session.settings.linked)
        self._show_choice(self._choices.initial(number))

    # --- building --------------------------------------------------------------------------

    def _build(self) -> None:
        whole = QtWidgets.QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addWidget(self.header)
        whole.addWidget(self.view, 1)
        whole.addWidget(self.bar)
        whole.addWidget(self.footer)
        self._patience.setSingleShot(True)
        self._patience.setInterval(PATIENCE_MS)

    def _connect(self) -> None:
        session, view, feed = self._session, self.view, self._loader
        self.header.box.chosen.connect(self._user_chose)
        self.header.follow.toggled.connect(self._follow_toggled)
        self.header.link.toggled.connect(lambda on: session.change(linked=bool(on)))
        self.header.fit.clicked.connect(lambda *_: view.fit())
        view.changed.connect(self._view_changed)
        view.view_changed.connect(self.view_changed)
        view.hovered.connect(self._hovered)
        view.clicked.connect(self._clicked)
        self._patience.timeout.connect(lambda: view.set_loading(feed.late))
        for loader in (feed, self._reader):
            self.destroyed.connect(lambda *_, loader=loader: loader.close())
        listen(self, session.time_changed, self._time_changed)
        listen(self, session.selection_changed, self._selection_changed)
        listen(self, session.settings_changed, self._settings_changed)
        listen(self, session.data_changed, self._data_changed)

    # --- what is shown ---------------------------------------------------------------------

    @property
    def source(self) -> PlateSource | None:
        """The run or the difference shown, or None."""
        return self._choices.source(self._choice.which) if self._choice else None

    @property
    def plate(self) -> Plate | None:
        """The plate shown, or None if the chosen one does not exist."""
        return self._plate

    @property
    def choice(self) -> PlateChoice | None:
        """The chosen plate, by name."""
        return self._choice

    @property
    def following(self) -> bool:
        """Whether it follows the selected layer."""
        return bool(self.header.follow.isChecked())

    @property
    def settled(self) -> bool:
        """Whether nothing is loading."""
        return self._loader.idle and self._reader.idle

    @property
    def hovered(self) -> AnyValue | None:
        """The stored value of the texel under the mouse."""
        return self._value(*self._texel) if self._texel is not None else None

    @property
    def message(self) -> str:
        """Why there is no picture, or ''."""
        return self.view.message

    def show_plate(self, which: Which, parameter: str) -> None:
        """Show a plate, whatever is selected.

        Args:
            which: Index of the run, or "difference".
            parameter: Name of the parameter.

        Raises:
            UnknownNameError: If there is no such plate.
        """
        choice = PlateChoice(which, parameter)
        if self._choices.plate(choice) is None:
            raise UnknownNameError(f"no plate of {which!r} is called {parameter!r}")
        self._user_chose(choice)

    def texel_at(self, place: Any) -> tuple[int, int] | None:
        """Return (row, column) of the texel at a point of the window; None outside the picture."""
        return self.view.texel_at(self.view.mapFrom(self, place))

    def position_of(self, row: int, col: int) -> Any:
        """Return the point of the window at the centre of a texel."""
        return self.view.position_of(row, col) + QtCore.QPointF(self.view.pos())

    @property
    def shares(self) -> Shares:
        """The visible part of the picture."""
        return self.view.viewport.shares

    def set_view(self, shares: Shares) -> None:
        """Show a part of the picture without emitting `view_changed`."""
        self.view.show_shares(shares)

    def closeEvent(self, event: QtGui.QCloseEvent) -> None:  # noqa: N802 - Qt's name
        """Stop reading; the window keeps its picture."""
        self._closed = True
        self._patience.stop()
        self._loader.close()
        self._reader.close()
        super().closeEvent(event)

    # --- choosing --------------------------------------------------------------------------

    def _user_chose(self, choice: PlateChoice) -> None:
        self.header.follow.setChecked(False)
        self._show_choice(choice)

    def _follow_toggled(self, on: bool) -> None:
        if on:
            self._show_choice(self._choices.following(self.number))

    def _show_choice(self, choice: PlateChoice | None) -> None:
        """Show a plate, or the present state of the one shown."""
        before = self._choice, self._plate
        self._choice = choice
        self._plate = plate = self._choices.plate(choice) if choice else None
        self.header.box.show_choice(choice)
        self.bar.show_signed(choice is not None and choice.which == "difference")
        self._recolour()
        same = choice == before[0] and plate and before[1] and plate.size == before[1].size
        if not same:
            self._texel = None
            self._loader.reset()
            size = plate.size if plate else (1, 1)
            keep = self._session.settings.linked and before[1] is not None
            layout = plate.layout if plate else None
            parts = (layout.sections, layout.marks) if layout else ((), ())
            self.view.show_picture(size, *parts, keep=keep)
        self.view.show_message(self._choices.obstacle(choice))
        self._mark()
        self._ask()
        self._describe()

    # --- reading ---------------------------------------------------------------------------

    def _ask(self) -> None:
        """Request the visible region."""
        plate, source = self._plate, self.source
        if self._closed or plate is None or source is None or not plate.ready:
            return
        position = self._session.source_position(source)
        seen = seen_region(self.view.viewport, plate.plan.levels, self.devicePixelRatioF())
        under = whole_region(plate.size, plate.coarsest)
        over = self._request(source, plate, seen, position)
        ahead = [self._request(source, plate, seen, at) for at in self._next(source, position)]
        self._loader.want(over, self._request(source, plate, under, position), ahead)
        self._show_progress()

    def _next(self, source: PlateSource, position: int) -> Iterator[int]:
        """Yield the checkpoint that playback shows next."""
        if self._session.cursor.playing and len(source.steps):
            yield (position + 1) % len(source.steps)

    def _request(
        self, source: PlateSource, plate: Plate, region: Region, position: int
    ) -> PictureRequest:
        settings = self._session.settings
        unit = source.unit(plate, settings.scope)
        return PictureRequest(source, plate, region, settings.plane, position, unit, self._scale)

    def _show_region(self, request: PictureRequest, drawn: Drawn, below: bool) -> None:
        self.view.show_region(request.region, drawn, below=below)

    def _show_progress(self) -> None:
        """Mark the picture as loading, or show an error."""
        problem = self._loader.problem
        if problem is not None:
            self.view.show_message(f"cannot be read: {problem}")
        if not self._loader.late or problem is not None:
            self._patience.stop()
            self.view.set_loading(False)
        elif not self._patience.isActive():
            self._patience.start()

    # --- texels ----------------------------------------------------------------------------

    def _view_changed(self) -> None:
        self._ask()
        self._describe()

    def _hovered(self, texel: tuple[int, int] | None) -> None:
        self._texel = texel
        self._describe()

    def _clicked(self, row: int, col: int) -> None:
        """Select a weight; without a picture, the layer."""
        if (pick := self._pick(row, col)) is None:
            return
        if pick.index is not None:
            self._session.select_texel(pick)
        elif not pick.plate.pictured:
            self._session.select_layer(self._session.runs[pick.run].layers[pick.plate.layer].name)

    def _pick(self, row: int, col: int) -> Pick | None:
        found = self._choices.run_plate(self._choice) if self._choice else None
        return Pick(*found, row, col) if found and self._plate and self._plate.ready else None

    def _selected(self) -> tuple[int, int] | None:
        """Return the selected texel if it is on this plate."""
        pick, choice, plate = self._session.pick, self._choice, self._plate
        if pick is None or choice is None or plate is None:
            return None
        here = choice.which in (pick.run, "difference") and pick.plate.name == choice.parameter
        return (pick.row, pick.col) if here and pick.plate.size == plate.size else None

    def _value(self, row: int, col: int) -> AnyValue | None:
        plate, source = self._plate, self.source
        if plate is None or not plate.ready or source is None:
            return None
        at, scope = self._session.source_position(source), self._session.settings.scope
        return self._reader.value(TexelRequest(source, plate, at, row, col, scope))

    def _mark(self) -> None:
        self.view.mark(self._selected())

    def _describe(self) -> None:
        """Describe the texel under the mouse, else the selected one, else the plate."""
        texel = self._texel or self._selected()
        value = self._value(*texel) if texel is not None else None
        self.footer.show_description(self._description(texel, value))
        self.bar.mark(value.normalised if value is not None else None)

    def _description(self, texel: tuple[int, int] | None, value: AnyValue | None) -> Description:
        plate, source = self._plate, self.source
        if plate is None or source is None:
            return Description("", "")
        steps, at = source.steps, self._session.source_position(source)
        step = f"step {step_text(int(steps[at]))}" if len(steps) else ""
        pick = self._pick(*texel) if texel is not None else None
        if pick is not None and value is not None:
            return texel_description(pick, value, step)
        if pick is not None and not self._reader.idle:  # its value is about to come
            waiting = "\N{HORIZONTAL ELLIPSIS}"
            return Description(element_text(pick), waiting, pick.described(), step)
        seen = seen_region(self.view.viewport, plate.plan.levels, self.devicePixelRatioF())
        plane = source.plane_of(plate, self._session.settings.plane)
        return plate_description(source, plate, seen.level, plane, step)

    # --- what others change ----------------------------------------------------------------

    def _time_changed(self) -> None:
        self._ask()
        self._describe()

    def _selection_changed(self) -> None:
        if self.following:
            self._show_choice(self._choices.following(self.number))
        else:
            self._mark()
            self._describe()

    def _settings_changed(self, names: frozenset[str]) -> None:
        settings = self._session.settings
        self.header.link.setChecked(settings.linked)
        if "colour_map" in names:
            self._recolour()
        if names & {"scope", "difference_scale", "plate_values"}:
            self._renew()
        elif names & REREADING:
            self._recolour()
            self._ask()
            self._describe()

    def _data_changed(self) -> None:
        before, self._comparison = self._comparison, self._session.comparison
        self._renew(anew=before != self._comparison and self.following)

    def _renew(self, *, anew: bool = False) -> None:
        """Take the present state of the runs.

        Args:
            anew: Whether to choose the plate again.
        """
        if not self._choices.current:
            self._choices = PlateChoices(self._session)
            self.header.box.offer(self._choices.texts)
        kept = self._choice if self._choice and self._choices.plate(self._choice) else None
        following = self._choices.following(self.number) if anew else kept
        self._show_choice(following or self._choices.initial(self.number))

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self._theme = theme
        self.header.set_theme(theme)
        self.bar.set_theme(theme)
        self._recolour()

    def _recolour(self) -> None:
        """Apply the colours of settings and theme."""
        signed = self._choice is not None and self._choice.which == "difference"
        self._scale = self._session.scale_of(signed=signed)
        red, green, blue = self._scale.colours.astype(int).T
        table: list[int] = (0xFF000000 | red << 16 | green << 8 | blue).tolist()
        gap = [int(QtGui.QColor(self._theme.mat).rgb())] * (256 - len(table))
        self.view.set_colours(table + gap, self._theme)

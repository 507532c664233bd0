"""The left pane: a table of all layers with search, sorting and selection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyqtgraph.Qt import QtCore, QtWidgets

from accweight_core.text import plain
from accweight_viewer.model.session import Session
from accweight_viewer.panes.column_widths import shared_out
from accweight_viewer.panes.formatting import tip_text
from accweight_viewer.panes.layer_header import LayerHeader
from accweight_viewer.panes.layer_model import Column, LayerModel, SortOrder
from accweight_viewer.panes.layer_paint import (
    BROKEN_ROOM,
    CLOSE,
    PADDING,
    WIDEST_NUMBER,
    LayerDelegate,
)
from accweight_viewer.panes.layer_view import LayerView
from accweight_viewer.theme import Theme, theme_called
from accweight_viewer.widgets.events import listen
from accweight_viewer.widgets.icons import icon
from accweight_viewer.widgets.pane import Pane
from accweight_viewer.widgets.search_field import SearchField

WIDEST_KIND = 96
"""Greatest width of a kind."""

ROW_PADDING = 11
"""Height of a row beyond the text."""

ORDER_ROOM = 300
"""Width from which the order can be chosen beside the filter."""


class LayerTable(QtWidgets.QWidget, Pane):  # type: ignore[misc]
    """All layers: filtered, sorted, with bars that change with time."""

    def __init__(self, session: Session, parent: Any = None) -> None:
        super().__init__(parent)
        self._session = session
        self._theme = theme_called(session.settings.theme)
        self._quiet = False
        self.model = LayerModel(session, self)
        self.search = self._search_field()
        self.count = QtWidgets.QLabel()
        self.count.setObjectName("dim")
        self.order_buttons = {name: self._order_button(name) for name in ("network", "ranking")}
        self.columns_button = self._columns_button()
        self.view = LayerView()
        self._delegate = LayerDelegate(self.model, self._theme, self.view)
        self.header = LayerHeader(session, self.model, self._theme, self.view)
        self._build()
        self.set_theme(self._theme)
        self._listen()
        self._show_order()
        self._show_count()
        self._show_selection()

    # --- building -------------------------------------------------------------------------

    def _search_field(self) -> SearchField:
        field = SearchField()
        field.setPlaceholderText("Filter   /")
        field.setToolTip(
            "Part of a name or kind, or a pattern such as *.attn.* (press / to come here)"
        )
        field.setAccessibleName("Filter layers")
        self._lens = field.addAction(
            icon("search", self._theme.dim), QtWidgets.QLineEdit.ActionPosition.LeadingPosition
        )
        self._clear = field.addAction(
            icon("clear", self._theme.dim), QtWidgets.QLineEdit.ActionPosition.TrailingPosition
        )
        self._clear.setToolTip("Show all layers (Esc)")
        self._clear.setVisible(False)
        self._clear.triggered.connect(field.clear)
        return field

    def _order_button(self, name: str) -> Any:
        button = QtWidgets.QToolButton()
        button.setText(name)
        button.setCheckable(True)
        button.setObjectName(name)
        words = {"network": "In network order", "ranking": "Most moved layers first"}
        button.setToolTip(words[name])
        button.setAccessibleName(words[name])
        button.clicked.connect(lambda *_: self._choose_order(name))
        return button

    def _columns_button(self) -> Any:
        """Return the button that chooses columns, and says how many do not fit."""
        button = QtWidgets.QToolButton()
        button.setObjectName("columns")
        button.setAccessibleName("Choose columns")
        button.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
        button.clicked.connect(lambda *_: self._choose_columns())
        return button

    def _build(self) -> None:
        switch = QtWidgets.QHBoxLayout()
        switch.setSpacing(0)
        for button in self.order_buttons.values():
            switch.addWidget(button)
        top = QtWidgets.QHBoxLayout()
        top.setContentsMargins(10, 10, 10, 8)
        top.setSpacing(8)
        top.addWidget(self.search, 1)
        top.addWidget(self.count)
        top.addLayout(switch)
        top.addWidget(self.columns_button)
        self._build_view()
        whole = QtWidgets.QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addLayout(top)
        whole.addWidget(self.view, 1)
        self.setMinimumWidth(240)

    def _build_view(self) -> None:
        view, table = self.view, QtWidgets.QTableView
        view.setModel(self.model)
        view.setItemDelegate(self._delegate)
        view.setHorizontalHeader(self.header)
        view.verticalHeader().hide()
        view.verticalHeader().setMinimumSectionSize(16)
        view.setShowGrid(False)
        view.setAccessibleName("Layers")
        view.setSelectionBehavior(table.SelectionBehavior.SelectRows)
        view.setSelectionMode(table.SelectionMode.SingleSelection)
        view.setEditTriggers(table.EditTrigger.NoEditTriggers)
        view.setVerticalScrollMode(table.ScrollMode.ScrollPerPixel)
        view.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        view.setTabKeyNavigation(False)
        view.setMouseTracking(True)
        self.header.setSectionResizeMode(QtWidgets.QHeaderView.ResizeMode.Fixed)
        self.header.setSectionResizeMode(Column.LAYER, QtWidgets.QHeaderView.ResizeMode.Stretch)

    def _listen(self) -> None:
        session = self._session
        self.search.textChanged.connect(self._filter)
        self.search.left.connect(self.view.setFocus)
        self.search.entered.connect(self._go_to_first)
        self.header.sectionClicked.connect(self._sort)
        self.view.selectionModel().selectionChanged.connect(self._row_chosen)
        self.view.doubleClicked.connect(lambda index: self._jump(index.row()))
        self.view.entered_row.connect(self._jump)
        self.view.pointed_at.connect(self._point_at)
        listen(self, session.time_changed, self.model.time_changed)
        listen(self, session.selection_changed, self._show_selection)
        listen(self, session.settings_changed, self._settings_changed)
        listen(self, session.data_changed, self._data_changed)

    # --- looks ----------------------------------------------------------------------------

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self._theme = theme
        self._delegate.set_theme(theme)
        self.header.set_theme(theme)
        self._lens.setIcon(icon("search", theme.dim))
        self._clear.setIcon(icon("clear", theme.dim))
        for name, button in self.order_buttons.items():
            button.setStyleSheet(_switch_style(theme, left=name == "network"))
        self.columns_button.setIcon(icon("columns", theme.dim))
        self.columns_button.setStyleSheet(
            f"QToolButton {{ background: transparent; border: 1px solid transparent; padding: 3px; "
            f"color: {theme.dim}; }} QToolButton:hover {{ border-color: {theme.line}; }}"
        )
        self.view.viewport().update()

    def sizeHint(self) -> Any:  # noqa: N802
        """Return a width that fits names and numbers."""
        return QtCore.QSize(460, 520)

    def showEvent(self, event: Any) -> None:  # noqa: N802
        """Fit the columns once the font of the style sheet is known."""
        super().showEvent(event)
        self._fit_columns()

    def resizeEvent(self, event: Any) -> None:  # noqa: N802
        """Fit the columns to the new width."""
        super().resizeEvent(event)
        for button in self.order_buttons.values():
            button.setVisible(self.width() >= ORDER_ROOM)
        self._fit_columns()

    def _fit_columns(self) -> None:
        """Share out the width; see `column_widths`."""
        measure, header, model = self.view.fontMetrics().horizontalAdvance, self.header, self.model
        self.view.verticalHeader().setDefaultSectionSize(
            self.view.fontMetrics().height() + ROW_PADDING
        )
        digits = max(len(str(len(model.names))), 2)
        place = measure("0" * digits) + 2 * PADDING + 3
        kinds = max(map(measure, (model.title(Column.KIND), "linear", *model.kinds)))
        longest = max((measure(name) + 2 * PADDING for name in model.short_names), default=0)
        longest = max(longest, measure(model.title(Column.LAYER)) + PADDING + CLOSE)
        longest += BROKEN_ROOM if model.may_break else 0
        widths = shared_out(
            self.view.viewport().width() - place,
            longest,
            min(kinds, WIDEST_KIND) + 2 * PADDING,
            measure(WIDEST_NUMBER) + 2 * CLOSE,
            [header.title_width(column) for column in model.values],
        )
        header.resizeSection(Column.PLACE, place)
        header.resizeSection(Column.KIND, widths.kind)
        header.setSectionHidden(Column.KIND, not widths.kind)
        for at, column in enumerate(model.values):
            header.setSectionHidden(column, at >= len(widths.metrics))
            if at < len(widths.metrics):
                header.resizeSection(column, widths.metrics[at])
        self._show_left_out()

    def _show_left_out(self) -> None:
        """Say how many columns do not fit, and which."""
        out = self.header.left_out
        style = QtCore.Qt.ToolButtonStyle
        beside = style.ToolButtonTextBesideIcon if out else style.ToolButtonIconOnly
        self.columns_button.setToolButtonStyle(beside)
        self.columns_button.setText(f"+{len(out)}" if out else "")
        told = ["Choose columns of numbers", *(["Without room:", *out] if out else [])]
        self.columns_button.setToolTip(tip_text(plain("\n".join(told))))

    def _choose_columns(self) -> None:
        """Show the menu of columns below its button."""
        button = self.columns_button
        self.header.column_menu().popup(button.mapToGlobal(button.rect().bottomLeft()))

    # --- filter and order -----------------------------------------------------------------

    def focus_search(self) -> None:
        """Move the keyboard focus to the search field."""
        self.search.setFocus(QtCore.Qt.FocusReason.ShortcutFocusReason)
        self.search.selectAll()

    def show_all(self) -> None:
        """Clear the filter."""
        self.search.clear()

    def _go_to_first(self) -> None:
        """Go to the selected layer if it is found, else to the first one that is."""
        self.view.setFocus()
        if self.model.rowCount():
            row = self.model.row_of(self._session.layer)
            self._jump(0 if row is None else row)

    def _filter(self, text: str) -> None:
        with_silence = self._quiet
        self._quiet = True
        self.model.show_only(text)
        self._quiet = with_silence
        self._clear.setVisible(bool(text))
        self._session.show_found(self.model.found)
        self._show_count()
        self._show_selection()

    def _show_count(self) -> None:
        shown, total = self.model.rowCount(), len(self.model.names)
        self.count.setText(f"{shown} of {total}")
        self.count.setVisible(bool(self.search.text().strip()))

    def _choose_order(self, name: str) -> None:
        self._session.change(order=name)
        self._sort_by(self.model.given_order)

    def _sort(self, column: int) -> None:
        """Sort by a column; a second time reverses the order."""
        now = self.model.order
        by_value = column in self.model.values
        descending = not now.descending if now.column == column else by_value
        self._sort_by(SortOrder(column, descending))

    def _sort_by(self, order: SortOrder) -> None:
        self.model.sort_by(order)
        self._show_order()
        self.view.scrollToTop()
        self._scroll_to_selection()

    def _show_order(self) -> None:
        orders = {
            "network": SortOrder(Column.PLACE, False),
            "ranking": SortOrder(Column.FIRST, True),
        }
        for name, button in self.order_buttons.items():
            button.setChecked(self.model.order == orders[name])
        self.header.viewport().update()

    # --- selection ------------------------------------------------------------------------

    def _row_chosen(self, *_: Any) -> None:
        if self._quiet:
            return
        rows = self.view.selectionModel().selectedRows()
        self._session.select_layer(self.model.name_at(rows[0].row()) if rows else None)

    def _point_at(self, row: int) -> None:
        self._session.point_at(self.model.name_at(row) if row >= 0 else None)

    def _jump(self, row: int) -> None:
        self._session.jump_to(self.model.name_at(row))

    def _show_selection(self) -> None:
        """Select the row of the session's layer, without emitting a signal."""
        before, self._quiet = self._quiet, True
        row = self.model.row_of(self._session.layer)
        if row is None:
            self.view.selectionModel().clear()
        elif self.view.currentIndex().row() != row or not self.view.selectedIndexes():
            self.view.selectRow(row)
        self._quiet = before
        self._scroll_to_selection()

    def _scroll_to_selection(self) -> None:
        row = self.model.row_of(self._session.layer)
        if row is not None:
            self.view.scrollTo(self.model.index(row, Column.LAYER))

    # --- what the session tells -----------------------------------------------------------

    def _settings_changed(self, names: frozenset[str]) -> None:
        if "columns" in names:
            self._show_anew(self.model.metrics_changed)
        if "order" in names:
            self._sort_by(self.model.given_order)

    def _data_changed(self) -> None:
        """Show the new layers."""
        self._show_anew(self.model.reload)
        self._session.show_found(self.model.found)
        self._show_count()

    def _show_anew(self, change: Callable[[], None]) -> None:
        """Let the model change as a whole, and keep selection and scroll position."""
        before, self._quiet = self._quiet, True
        bar = self.view.verticalScrollBar()
        place = bar.value()
        change()
        self._fit_columns()
        self._show_selection()
        self._show_order()
        bar.setValue(place)
        self._quiet = before


def _switch_style(theme: Theme, *, left: bool) -> str:
    """Return the style sheet of one half of a switch."""
    inner = "right" if left else "left"
    edge = "border-right-width: 0;" if left else ""
    return f"""
        QToolButton {{ background: transparent; color: {theme.dim}; padding: 3px 9px;
            border: 1px solid {theme.line}; {edge}
            border-top-{inner}-radius: 0; border-bottom-{inner}-radius: 0; }}
        QToolButton:hover {{ color: {theme.ink}; border-color: {theme.line}; }}
        QToolButton:checked {{ background: {theme.raised}; color: {theme.ink};
            border-color: {theme.line}; }}
        """

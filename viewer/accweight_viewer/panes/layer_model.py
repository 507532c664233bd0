"""The item model of the layer table: rows shown, their order, and contents of cells.

Metrics are looked up once per run and metric as (layers, steps); when the step changes, another
column is shown. Filter and order are one list of row numbers here: a proxy model would request
every number through Qt, which takes longer than a frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pyqtgraph.Qt import QtCore

from accweight_core.metrics.table import METRICS
from accweight_core.metrics.totals import Floats
from accweight_core.naming import natural_key
from accweight_core.text import plain
from accweight_viewer.model.session import Session
from accweight_viewer.panes.formatting import (
    UNFINISHED,
    evidence_text,
    layer_text,
    tip_text,
)
from accweight_viewer.panes.metric_column import Cell, CellTone, MetricColumn

RowNumbers = npt.NDArray[np.int64]

_DISPLAY = QtCore.Qt.ItemDataRole.DisplayRole
_TOOL_TIP = QtCore.Qt.ItemDataRole.ToolTipRole


class Column(IntEnum):
    """Columns from left to right; those of further metrics and runs follow."""

    PLACE = 0
    LAYER = 1
    KIND = 2
    FIRST = 3
    SECOND = 4


class SortOrder(NamedTuple):
    """The column that rows are sorted by."""

    column: int
    descending: bool


class LayerModel(QtCore.QAbstractTableModel):  # type: ignore[misc]
    """Layers as rows; updated by its owner when the session changes.

    Attributes:
        names: Names of all layers, in network order.
        short_names: What they are called in the table.
        kinds: Kind of each layer.
        order: Sort order of the rows.
        metrics: The metrics of the numeric columns.
    """

    def __init__(self, session: Session, parent: Any = None) -> None:
        super().__init__(parent)
        self._session = session
        self._pattern = ""
        self._load()
        self.order = self.given_order
        self._rows = self._arranged()

    # --- what the session has -------------------------------------------------------------

    def _load(self) -> None:
        session = self._session
        self.names = list(session.layer_names)
        self.short_names = [session.short_names[name] for name in self.names]
        self._layers = [session.layers_called(name) for name in self.names]
        self.kinds = [str(next(x for x in each if x is not None).kind) for each in self._layers]
        self.may_break = any(run.first_nonfinite is not None for run in session.runs)
        self._only = [session.only_in(name) for name in self.names]
        self._find()
        self._load_metrics()

    def _find(self) -> None:
        found = [layer for layer in range(len(self.names)) if self._matches(layer)]
        self._shown = np.array(found, dtype=np.int64)

    def _load_metrics(self) -> None:
        runs = range(len(self._session.runs))
        self.metrics = []
        for metric in self._session.columns:
            of_runs = [self._metric_column(run, metric) for run in runs]
            for column in of_runs:
                column.largest = max(other.largest for other in of_runs)
            self.metrics += of_runs
        self.follow_time()

    def _metric_column(self, run: int, metric: str) -> MetricColumn:
        shown = self._session.runs[run]
        known = shown.metric(metric)
        values = np.full((len(self.names), known.shape[1]), np.nan)
        texts, tones = [""] * len(self.names), list[CellTone](["dim"] * len(self.names))
        for row, layers in enumerate(self._layers):
            layer = layers[run]
            if layer is None:
                if self._only[row]:
                    texts[row], tones[row] = f"only in {self._only[row]}", "mark"
                continue
            values[row] = known[layer.position]
            if not all(plate.ready for plate in layer.plates):
                texts[row] = UNFINISHED
        at_end = values[:, -1]
        finite = at_end[np.isfinite(at_end)]
        name = shown.name if len(self._session.runs) > 1 else ""
        largest = float(finite.max()) if len(finite) else 0.0
        return MetricColumn(run, metric, name, values, largest, texts, tones)

    @property
    def metric_words(self) -> dict[str, str]:
        """What each metric is that can be chosen."""
        return self._session.probes.metric_words

    def _words(self, metric: str) -> str:
        """Return what a metric is, and of those of the table what it is evidence for."""
        words = plain(self.metric_words.get(metric, metric))
        return evidence_text(metric) if metric in METRICS else words

    # --- changes --------------------------------------------------------------------------

    def follow_time(self) -> None:
        """Show the numbers of the session's step."""
        for column in self.metrics:
            column.at = self._session.run_position(column.run)

    def time_changed(self) -> None:
        """Show the numbers of another step, and reorder the rows if they are sorted by them."""
        self.follow_time()
        self._rearrange()
        if len(self._rows):
            first = Column.LAYER if self.may_break else Column.FIRST
            self.dataChanged.emit(
                self.index(0, first), self.index(len(self._rows) - 1, self.values[-1])
            )

    def metrics_changed(self) -> None:
        """Show other metrics; the rows stay sorted by the same one if it is still there."""
        self.beginResetModel()
        with self._same_order():
            self._load_metrics()
        self._rows = self._arranged()
        self.endResetModel()

    @contextmanager
    def _same_order(self) -> Iterator[None]:
        """Let rows be sorted by the same metric after columns have changed."""
        ranked, by = self.order == self.given_order, self.order.column
        before = self.metrics[by - Column.FIRST] if by in self.values else None
        yield
        if before is None or ranked:
            return
        same = [
            column
            for column, one in zip(self.values, self.metrics, strict=True)
            if (one.run, one.metric) == (before.run, before.metric)
        ]
        self.order = self.order._replace(column=same[0]) if same else self.given_order

    def reload(self) -> None:
        """Show other runs, or other states of runs."""
        self.beginResetModel()
        with self._same_order():
            self._load()
        self._rows = self._arranged()
        self.endResetModel()

    def show_only(self, pattern: str) -> None:
        """Filter layers: name or kind contains, or matches, a pattern."""
        self.beginResetModel()
        self._pattern = pattern.strip().lower()
        self._find()
        self._rows = self._arranged()
        self.endResetModel()

    @property
    def values(self) -> range:
        """Columns with a metric."""
        return range(Column.FIRST, Column.FIRST + len(self.metrics))

    @property
    def found(self) -> list[str] | None:
        """Names of the layers that the filter leaves, None without a filter."""
        return [self.names[at] for at in self._shown] if self._pattern else None

    @property
    def given_order(self) -> SortOrder:
        """The order in the settings."""
        if self._session.settings.order == "ranking":
            return SortOrder(Column.FIRST, True)
        return SortOrder(Column.PLACE, False)

    def sort_by(self, order: SortOrder) -> None:
        """Sort the rows."""
        self.order = order
        self._rearrange()

    def _rearrange(self) -> None:
        rows = self._arranged()
        if np.array_equal(rows, self._rows):
            return
        self.layoutAboutToBeChanged.emit()
        old = self.persistentIndexList()
        at = {int(layer): row for row, layer in enumerate(rows)}
        new = [self.index(at[int(self._rows[i.row()])], i.column()) for i in old]
        self._rows = rows
        self.changePersistentIndexList(old, new)
        self.layoutChanged.emit()

    def _arranged(self) -> RowNumbers:
        """Return the layers to show, in order; those without a value last, ties unchanged."""
        column, descending = self.order
        by_metric = column in self.values
        keys = self.metrics[column - Column.FIRST].now if by_metric else self._places(column)
        keys = (-keys if descending else keys)[self._shown]
        rows: RowNumbers = self._shown[np.argsort(keys, kind="stable")]
        return rows

    def _places(self, column: int) -> Floats:
        """Return the sort position of every layer in a text column."""
        count = len(self.names)
        if column == Column.PLACE:
            return np.arange(count, dtype=np.float64)
        words = self.names if column == Column.LAYER else self.kinds
        place = {word: at for at, word in enumerate(sorted(set(words), key=natural_key))}
        return np.array([place[word] for word in words], dtype=np.float64)

    def _matches(self, layer: int) -> bool:
        pattern = self._pattern
        return any(
            pattern in word or fnmatchcase(word, pattern)
            for word in map(
                str.lower, (self.names[layer], self.short_names[layer], self.kinds[layer])
            )
        )

    # --- what the view asks for -----------------------------------------------------------

    def rowCount(self, parent: Any = None) -> int:  # noqa: N802
        """Return the number of rows."""
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def columnCount(self, parent: Any = None) -> int:  # noqa: N802
        """Return the number of columns."""
        return 0 if parent is not None and parent.isValid() else self.values.stop

    def name_at(self, row: int) -> str:
        """Return the layer in a row."""
        return self.names[int(self._rows[row])]

    def row_of(self, name: str | None) -> int | None:
        """Return the row of a layer, or None if it is not shown."""
        found = [row for row, layer in enumerate(self._rows) if self.names[layer] == name]
        return found[0] if found else None

    def cell(self, row: int, column: int) -> Cell:
        """Return the contents of a cell."""
        layer = int(self._rows[row])
        if column >= Column.FIRST:
            return self.metrics[column - Column.FIRST].cell(layer)
        if column == Column.PLACE:
            return Cell(str(layer + 1), "dim")
        if column == Column.KIND:
            return Cell(self.kinds[layer], "dim")
        if self.broken(layer):
            return Cell(self.short_names[layer], "broken")
        return Cell(self.short_names[layer], "mark" if self._only[layer] else "ink")

    def broken(self, layer: int) -> int:
        """Return how many weights of a layer are not finite at this step, over all runs."""
        count = 0
        for run, found in enumerate(self._layers[layer]):
            if found is not None:
                shown = self._session.runs[run]
                count += int(shown.nonfinite[found.position, self._session.run_position(run)])
        return count

    def title(self, column: int) -> str:
        """Return the title of a column."""
        titles = ("#", "layer", "kind", *(metric.title for metric in self.metrics))
        return str(titles[column])

    def data(self, index: Any, role: int = _DISPLAY) -> Any:
        """Return the text, tool tip or alignment of a cell."""
        if not index.isValid():
            return None
        if role == _DISPLAY:
            return self.cell(index.row(), index.column()).text
        if role == _TOOL_TIP:
            return tip_text(self._tool_tip(int(self._rows[index.row()]), index.column()))
        return None

    def _tool_tip(self, layer: int, column: int) -> str:
        if column in self.values:
            shown = self.metrics[column - Column.FIRST]
            exact = shown.texts[layer] or f"{shown.now[layer]:.9g}"
            return f"{self.names[layer]}\n{shown.title} = {exact}\n{self._words(shown.metric)}"
        told = layer_text(self.names[layer], self._layers[layer], self._only[layer])
        broken = self.broken(layer)
        return f"{told}\n{broken} NaN or infinite at this step" if broken else told

    def headerData(  # noqa: N802
        self, section: int, orientation: Any, role: int = _DISPLAY
    ) -> Any:
        """Return titles and tool tips of columns."""
        if orientation != QtCore.Qt.Orientation.Horizontal:
            return None
        if role == _DISPLAY:
            return self.title(section)
        if role == _TOOL_TIP and section in self.values:
            metric = self.metrics[section - Column.FIRST].metric
            return f"{self.title(section)}: {self._words(metric)}"
        return "place in network order" if role == _TOOL_TIP and section == 0 else None

"""The table of layers: what it shows, how it is filtered and sorted, and what it selects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets
from viewer_helpers import run_of, stopped, stored, walks
from viewer_helpers import session_of as default_session

import accweight_core as aw
from accweight_core.metrics.table import TABLE
from accweight_viewer.model.picking import Pick
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.session import Session
from accweight_viewer.panes.formatting import MISSING, UNFINISHED, number_text
from accweight_viewer.panes.layer_model import Column, LayerModel, SortOrder
from accweight_viewer.panes.layer_paint import BAR_MARGIN
from accweight_viewer.panes.layer_table import LayerTable
from accweight_viewer.theme import DARK, LIGHT

pytestmark = pytest.mark.gl

LEFT = QtCore.Qt.MouseButton.LeftButton
TOOL_TIP = QtCore.Qt.ItemDataRole.ToolTipRole
NET = ["conv1", "conv2", "fc1", "embed", "lstm", "fc2"]


def session_of(*paths: Path, **settings: Any) -> Session:
    """Return a session whose table shows metrics that layers have wherever they began."""
    return default_session(*paths, **({"columns": ("max", "mean")} | settings))


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("table"), "net")


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty layers, each of which moves more than the one before."""
    names = [f"block.{number}.fc" for number in range(40)]
    return stored(tmp_path_factory.mktemp("walked"), "walked", walks(names, 4))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs; each has a layer that the other lacks."""
    folder = tmp_path_factory.mktemp("pair")
    first = stored(folder, "first", walks(["a", "b", "shared"], 3))
    return first, stored(folder, "second", walks(["a", "shared", "z"], 4, seed=1))


def shown(qtbot: Any, session: Session, width: int = 480) -> LayerTable:
    table = LayerTable(session)
    qtbot.addWidget(table)
    table.resize(width, 420)
    with qtbot.waitExposed(table):
        table.show()
    return table


def counted(method: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    """Return a method that notes its name at every call."""

    def noting(*arguments: Any) -> Any:
        calls.append(method.__name__)
        return method(*arguments)

    return noting


def column(table: LayerTable, which: Column) -> list[str]:
    model = table.model
    return [model.index(row, which).data() for row in range(model.rowCount())]


def centre(table: LayerTable, row: int, which: Column = Column.LAYER) -> Any:
    return table.view.visualRect(table.model.index(row, which)).center()


def click(qtbot: Any, table: LayerTable, row: int) -> None:
    qtbot.mouseClick(table.view.viewport(), LEFT, pos=centre(table, row))


def click_header(qtbot: Any, table: LayerTable, which: Column) -> None:
    header = table.header
    place = QtCore.QPoint(header.sectionViewportPosition(which) + 12, header.height() // 2)
    qtbot.mouseClick(header.viewport(), LEFT, pos=place)


def colours(table: LayerTable, row: int, which: Column) -> list[str]:
    """Return the colours along a line above the number of a cell."""
    image = table.view.viewport().grab().toImage()
    assert not image.isNull()
    rect = table.view.visualRect(table.model.index(row, which))
    y = rect.top() + BAR_MARGIN[1] + 1
    return [image.pixelColor(x, y).name() for x in range(rect.left(), rect.right() + 1)]


# --- what it shows ------------------------------------------------------------------------


def test_every_layer_has_a_row_in_network_order(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)

    table = shown(qtbot, session)

    assert column(table, Column.LAYER) == NET
    assert column(table, Column.PLACE) == list("123456")
    assert column(table, Column.KIND)[:4] == ["conv", "conv", "linear", "embedding"]
    expected = [number_text(row.values[0]) for row in session.rows()]
    assert column(table, Column.FIRST) == expected


def test_numbers_follow_the_time(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    table = shown(qtbot, session)

    session.move_to(2)

    expected = [tuple(map(number_text, row.values)) for row in session.rows()]
    found = zip(column(table, Column.FIRST), column(table, Column.SECOND), strict=True)
    assert list(found) == expected


def test_a_step_redraws_the_columns_of_numbers_alone(
    qtbot: Any, analysis: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(analysis)
    table = shown(qtbot, session)
    QtWidgets.QApplication.processEvents()
    drawn: set[int] = set()
    cell = table.model.cell
    monkeypatch.setattr(table.model, "cell", lambda r, c: drawn.add(c) or cell(r, c))

    with qtbot.assertNotEmitted(table.model.modelReset):
        session.move_to(1)
    qtbot.waitUntil(lambda: bool(drawn))

    assert drawn == {Column.FIRST, Column.SECOND}


def test_bars_are_full_for_the_largest_value_of_the_last_step(qtbot: Any, walked: Path) -> None:
    session = session_of(walked, order="ranking")
    table = shown(qtbot, session)
    last = table.model.rowCount() - 1

    largest = colours(table, 0, Column.FIRST)
    table.view.scrollToBottom()
    smallest = colours(table, last, Column.FIRST)

    assert largest.count(DARK.bar) >= len(largest) - 2 * BAR_MARGIN[0] - 3
    assert smallest.count(DARK.bar) < len(smallest) / 8


def test_bars_grow_as_time_runs(qtbot: Any, walked: Path) -> None:
    session = session_of(walked, order="ranking")
    table = shown(qtbot, session)
    lengths = []

    for position in range(4):
        session.move_to(position)
        lengths.append(colours(table, 0, Column.FIRST).count(DARK.bar))

    assert lengths[0] == 0
    assert lengths == sorted(set(lengths))


def test_what_has_no_value_has_a_dash_and_no_bar(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis, columns=("update_ratio",))
    table = shown(qtbot, session)

    session.move_to(0)

    assert set(column(table, Column.FIRST)) == {MISSING}
    assert DARK.bar not in colours(table, 0, Column.FIRST)


def test_layers_that_are_not_finished_say_so_until_they_are(qtbot: Any, tmp_path: Path) -> None:
    run = run_of(tmp_path / "growing", walks(["a", "b"], 3))
    out = stopped(run, tmp_path / "growing.accw", after=1)
    session = session_of(out)
    table = shown(qtbot, session)
    before = column(table, Column.FIRST)
    session.select_layer("b")

    aw.analyze(run, out)
    assert session.refresh()

    assert sorted(text == UNFINISHED for text in before) == [False, True]
    assert UNFINISHED not in column(table, Column.FIRST)
    assert [index.row() for index in table.view.selectionModel().selectedRows()] == [1]


def test_kinds_give_way_to_names_where_there_is_little_room(qtbot: Any, walked: Path) -> None:
    table = shown(qtbot, session_of(walked), width=560)
    wide = table.header.isSectionHidden(Column.KIND)

    table.resize(290, 420)

    assert not wide
    assert table.header.isSectionHidden(Column.KIND)


def test_tool_tips_tell_all_there_is_to_say(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    table = shown(qtbot, session)

    words = table.model.index(1, Column.LAYER).data(TOOL_TIP)
    number = table.model.index(1, Column.FIRST).data(TOOL_TIP)

    assert words == ("conv2\nconv \N{MIDDLE DOT} 12x8x3x3 \N{MIDDLE DOT} 864 elements")
    assert f"max = {session.rows()[1].values[0]:.9g}" in number


def test_colours_follow_the_theme(qtbot: Any, walked: Path) -> None:
    session = session_of(walked, order="ranking")
    table = shown(qtbot, session)

    table.set_theme(LIGHT)

    assert LIGHT.bar in colours(table, 0, Column.FIRST)
    assert DARK.bar not in colours(table, 0, Column.FIRST)


# --- filter and order ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("CONV", ["conv1", "conv2"]),
        ("fc?", ["fc1", "fc2"]),
        ("*2", ["conv2", "fc2"]),
        ("linear", ["fc1", "fc2"]),
        ("embedding", ["embed"]),
        ("nothing", []),
        ("  ", NET),
    ],
)
def test_typing_filters_by_name_and_kind(
    qtbot: Any, analysis: Path, pattern: str, found: list[str]
) -> None:
    table = shown(qtbot, session_of(analysis))

    qtbot.keyClicks(table.search, pattern)

    assert column(table, Column.LAYER) == found


def test_the_number_of_layers_found_stands_beside_the_filter(qtbot: Any, analysis: Path) -> None:
    table = shown(qtbot, session_of(analysis))
    before = table.count.isVisible()

    qtbot.keyClicks(table.search, "conv")

    assert not before
    assert (table.count.isVisible(), table.count.text()) == (True, "2 of 6")


def test_escape_shows_all_layers_again(qtbot: Any, analysis: Path) -> None:
    table = shown(qtbot, session_of(analysis))
    table.focus_search()
    qtbot.keyClicks(table.search, "conv")

    qtbot.keyClick(table.search, QtCore.Qt.Key.Key_Escape)

    assert column(table, Column.LAYER) == NET
    assert table.search.text() == ""


def test_a_filter_keeps_the_selection_of_the_session(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    table = shown(qtbot, session)
    session.select_layer("fc1")

    table.search.setText("conv")
    hidden = table.view.selectionModel().selectedRows()
    table.search.setText("fc")

    assert (session.layer, hidden) == ("fc1", [])
    assert [i.row() for i in table.view.selectionModel().selectedRows()] == [0]


def test_headers_sort_and_sort_the_other_way_round(qtbot: Any, walked: Path) -> None:
    table = shown(qtbot, session_of(walked))

    click_header(qtbot, table, Column.SECOND)
    largest_first = [float(text) for text in column(table, Column.SECOND)]
    click_header(qtbot, table, Column.SECOND)
    smallest_first = [float(text) for text in column(table, Column.SECOND)]

    assert largest_first == sorted(largest_first, reverse=True)
    assert smallest_first == sorted(smallest_first)


def test_names_are_sorted_as_people_count(qtbot: Any, walked: Path) -> None:
    table = shown(qtbot, session_of(walked, order="ranking"))

    click_header(qtbot, table, Column.LAYER)

    assert column(table, Column.LAYER)[1:11:9] == ["block 1 · fc", "block 10 · fc"]


@pytest.mark.parametrize("descending", [True, False])
def test_layers_without_a_value_come_last_in_both_directions(
    qtbot: Any, pair: tuple[Path, Path], descending: bool
) -> None:
    table = shown(qtbot, session_of(*pair))

    table.model.sort_by(SortOrder(Column.FIRST, descending))

    assert column(table, Column.LAYER)[-1] == "z"


def test_the_switch_orders_by_network_and_by_rank(qtbot: Any, walked: Path) -> None:
    session = session_of(walked)
    table = shown(qtbot, session)

    qtbot.mouseClick(table.order_buttons["ranking"], LEFT)
    ranked = [float(text) for text in column(table, Column.FIRST)]
    order = session.settings.order
    qtbot.mouseClick(table.order_buttons["network"], LEFT)

    assert order == "ranking"
    assert ranked == sorted(ranked, reverse=True)
    assert column(table, Column.PLACE) == [str(place) for place in range(1, 41)]


def test_the_switch_shows_which_of_its_orders_is_in_force(qtbot: Any, walked: Path) -> None:
    table = shown(qtbot, session_of(walked, order="ranking"))

    def checked() -> list[str]:
        return [name for name, button in table.order_buttons.items() if button.isChecked()]

    at_first = checked()
    click_header(qtbot, table, Column.KIND)
    by_kind = checked()
    qtbot.mouseClick(table.order_buttons["ranking"], LEFT)

    assert (at_first, by_kind, checked()) == (["ranking"], [], ["ranking"])


def test_a_ranking_stays_one_while_time_moves(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis, order="ranking")
    table = shown(qtbot, session)
    session.select_layer("embed")

    for position in (0, 1, 3):
        session.move_to(position)
        values = table.model.metrics[0].now[[NET.index(n) for n in column(table, Column.LAYER)]]
        rows = table.view.selectionModel().selectedRows()

        assert values.tolist() == sorted(values.tolist(), reverse=True)
        assert [table.model.name_at(index.row()) for index in rows] == ["embed"]


def open_menu(qtbot: Any, table: LayerTable) -> Any:
    """Return the menu of columns, opened with its button."""
    qtbot.mouseClick(table.columns_button, LEFT)
    menu = table.header.findChild(QtWidgets.QMenu)
    qtbot.waitUntil(menu.isVisible)
    return menu


def tick(qtbot: Any, menu: Any, metric: str) -> None:
    """Click on a metric in the menu of columns."""
    qtbot.mouseClick(menu, LEFT, pos=menu.actionGeometry(menu.choices[metric]).center())


def titles(table: LayerTable) -> list[str]:
    return [table.model.title(column) for column in table.model.values]


def test_any_number_of_columns_is_chosen_in_a_menu_that_stays_open(
    qtbot: Any, analysis: Path
) -> None:
    session = session_of(analysis)
    table = shown(qtbot, session, width=900)
    menu = open_menu(qtbot, table)
    marked = [name for name, action in menu.choices.items() if action.isChecked()]

    for metric in ("rotation", "relative", "mean"):
        tick(qtbot, menu, metric)

    assert marked == ["mean", "max"]
    assert menu.isVisible()
    assert session.settings.columns == ("max", "rotation", "relative")
    assert titles(table) == ["max", "rotation", "relative"]
    expected = [tuple(map(number_text, row.values)) for row in session.rows()]
    cells = zip(*(column(table, which) for which in table.model.values), strict=True)
    assert list(cells) == expected
    assert not any(map(table.header.isSectionHidden, table.model.values))
    assert table.model.order == SortOrder(Column.PLACE, False)


def test_each_metric_in_the_menu_has_a_line_of_words(qtbot: Any, analysis: Path) -> None:
    menu = shown(qtbot, session_of(analysis)).header.column_menu()

    told = {name: action.text().partition("\t")[2] for name, action in menu.choices.items()}

    assert told == {name: metric.line for name, metric in TABLE.items()}


def test_the_last_column_of_numbers_cannot_be_taken_away(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis, columns=("mean",))
    table = shown(qtbot, session)

    tick(qtbot, open_menu(qtbot, table), "mean")

    assert session.settings.columns == ("mean",)
    assert titles(table) == ["mean"]


def test_marks_are_set_by_keys_as_well(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    menu = open_menu(qtbot, shown(qtbot, session))
    menu.setActiveAction(menu.choices["std"])

    qtbot.keyClick(menu, QtCore.Qt.Key.Key_Return)

    assert session.settings.columns == ("max", "mean", "std")
    assert menu.isVisible()


def test_a_right_click_on_a_title_can_put_its_column_first(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis, order="ranking")
    table = shown(qtbot, session)
    header = table.header
    place = QtCore.QPoint(header.sectionViewportPosition(Column.SECOND) + 12, 10)
    event = QtGui.QContextMenuEvent(
        QtGui.QContextMenuEvent.Reason.Mouse, place, header.viewport().mapToGlobal(place)
    )

    QtWidgets.QApplication.sendEvent(header.viewport(), event)
    menu = header.findChild(QtWidgets.QMenu)
    wanted = next(action for action in menu.actions() if action.text() == "Put mean first")
    qtbot.mouseClick(menu, LEFT, pos=menu.actionGeometry(wanted).center())

    assert session.settings.columns == ("mean", "max")
    ranked = [float(text) for text in column(table, Column.FIRST)]
    assert ranked == sorted(ranked, reverse=True), "what is first ranks"


def test_rows_stay_sorted_by_the_same_metric_when_columns_change(qtbot: Any, walked: Path) -> None:
    session = session_of(walked, columns=("max", "mean", "std"))
    table = shown(qtbot, session, width=900)
    click_header(qtbot, table, Column.SECOND)
    session.select_layer("block.7.fc")

    session.change(columns=("relative", "std", "mean"))
    order = table.model.order
    selected = [table.model.name_at(i.row()) for i in table.view.selectionModel().selectedRows()]
    session.change(columns=("relative", "std"))

    assert order == SortOrder(Column.FIRST + 2, True)
    assert selected == ["block.7.fc"]
    assert table.model.order == SortOrder(Column.PLACE, False), "its column is gone"


def test_columns_without_room_are_counted_on_the_button(qtbot: Any, walked: Path) -> None:
    table = shown(qtbot, session_of(walked, columns=("relative", "max", "mean", "std")), width=900)
    wide = table.columns_button.text()

    table.resize(300, 420)

    hidden = [c for c in table.model.values if table.header.isSectionHidden(c)]
    assert wide == ""
    assert hidden == list(table.model.values)[-len(hidden) :], "the last ones give way"
    assert table.columns_button.text() == f"+{len(hidden)}"
    assert table.columns_button.toolTip().endswith("std")
    assert not table.header.isSectionHidden(Column.FIRST)


@pytest.mark.parametrize("width", [241, 300, 360, 460, 700])
def test_no_column_of_numbers_is_narrower_than_a_number(
    qtbot: Any, walked: Path, width: int
) -> None:
    table = shown(qtbot, session_of(walked, columns=("relative", "max", "mean", "std")), width)
    header, measure = table.header, table.view.fontMetrics().horizontalAdvance

    seen = [c for c in table.model.values if not header.isSectionHidden(c)]

    assert all(header.sectionSize(c) >= measure("0.00000") for c in seen)
    ends = header.sectionViewportPosition(seen[-1]) + header.sectionSize(seen[-1])
    assert ends <= table.view.viewport().width(), "nothing is beyond the edge"
    assert header.sectionSize(Column.LAYER) > 60


def test_other_metrics_are_shown_and_ranked_at_once(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis, order="ranking")
    table = shown(qtbot, session)

    session.change(columns=("relative",))

    found = [float(text) for text in column(table, Column.FIRST)]
    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(max(row.values[0] for row in session.rows()), rel=1e-3)


# --- selection ----------------------------------------------------------------------------


def test_clicking_a_row_selects_its_layer(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    table = shown(qtbot, session)

    click(qtbot, table, 3)

    assert session.layer == "embed"


def test_a_selection_elsewhere_selects_and_shows_the_row_without_an_echo(
    qtbot: Any, walked: Path
) -> None:
    session = session_of(walked)
    table = shown(qtbot, session)
    plate = session.runs[0].plates[39]
    told: list[str | None] = []
    session.selection_changed.connect(lambda: told.append(session.layer))

    session.select_texel(Pick(0, plate, 0, 0))

    assert told == ["block.39.fc"]
    assert session.pick is not None
    assert [i.row() for i in table.view.selectionModel().selectedRows()] == [39]
    assert table.view.viewport().rect().contains(centre(table, 39))


def test_the_selected_row_is_marked_with_the_accent(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    table = shown(qtbot, session)

    session.select_layer("conv2")

    assert colours(table, 1, Column.PLACE)[0] == DARK.accent
    assert colours(table, 0, Column.PLACE)[0] != DARK.accent


def test_arrow_keys_walk_through_the_layers(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    table = shown(qtbot, session)
    click(qtbot, table, 0)

    qtbot.keyClick(table.view, QtCore.Qt.Key.Key_Down)

    assert session.layer == "conv2"


@pytest.mark.parametrize("way", ["double click", "enter"])
def test_a_double_click_or_enter_sends_the_camera_there_once(
    qtbot: Any, analysis: Path, way: str
) -> None:
    session = session_of(analysis)
    table = shown(qtbot, session)
    asked: list[str] = []
    session.jump_asked.connect(asked.append)
    click(qtbot, table, 2)

    if way == "enter":
        qtbot.keyClick(table.view, QtCore.Qt.Key.Key_Return)
    else:
        qtbot.mouseDClick(table.view.viewport(), LEFT, pos=centre(table, 2))

    assert asked == ["fc1"]


def test_growth_keeps_selection_and_scroll(qtbot: Any, walked: Path) -> None:
    session = session_of(walked)
    table = shown(qtbot, session)
    session.select_layer("block.2.fc")
    bar = table.view.verticalScrollBar()
    bar.setValue(bar.maximum() // 2)
    before = bar.value()

    session.data_changed.emit()

    assert (session.layer, bar.value()) == ("block.2.fc", before)
    assert before > 0
    assert [i.row() for i in table.view.selectionModel().selectedRows()] == [2]


# --- two runs -----------------------------------------------------------------------------


def test_two_runs_have_a_column_each_and_all_layers_of_both(
    qtbot: Any, pair: tuple[Path, Path]
) -> None:
    session = session_of(*pair)

    table = shown(qtbot, session)

    assert titles(table) == [
        f"{metric} \N{MIDDLE DOT} {run}"
        for metric in ("max", "mean")
        for run in ("first", "second")
    ]
    assert column(table, Column.LAYER) == ["a", "b", "shared", "z"]
    firsts = [number_text(float(v)) for v in session.runs[0].metric("max")[:, -1]]
    assert column(table, Column.FIRST) == [*firsts, "only in second"]
    assert column(table, Column.SECOND)[1] == "only in first"


def test_layers_of_one_run_are_marked(qtbot: Any, pair: tuple[Path, Path]) -> None:
    table = shown(qtbot, session_of(*pair))

    marked = [table.model.cell(row, Column.LAYER).tone == "mark" for row in range(4)]
    words = table.model.index(1, Column.LAYER).data(TOOL_TIP)

    assert marked == [False, True, False, True]
    assert words.endswith("only in first")


def test_bars_of_two_runs_share_one_scale(qtbot: Any, pair: tuple[Path, Path]) -> None:
    session = session_of(*pair)

    table = shown(qtbot, session)

    largest = max(run.metric("max")[:, -1].max() for run in session.runs)
    assert [metric.largest for metric in table.model.metrics[:2]] == [largest, largest]


def test_a_metric_that_is_chosen_has_a_column_for_each_run(
    qtbot: Any, pair: tuple[Path, Path]
) -> None:
    table = shown(qtbot, session_of(*pair, columns=("max",)))

    tick(qtbot, open_menu(qtbot, table), "std")

    assert [(one.metric, one.run) for one in table.model.metrics] == [
        ("max", 0),
        ("max", 1),
        ("std", 0),
        ("std", 1),
    ]


# --- many layers --------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "columns"), [("network", 2), ("ranking", len(Column))])
def test_a_step_of_three_hundred_layers_asks_for_the_cells_in_sight_alone(
    qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str, columns: int
) -> None:
    names = [f"h.{number}" for number in range(300)]
    session = session_of(stored(tmp_path, "wide", walks(names, 8, size=1)), order=order)
    table = shown(qtbot, session)
    QtWidgets.QApplication.processEvents()
    asked: list[str] = []
    for owner, name in ((LayerModel, "cell"), (LayerModel, "data"), (ShownRun, "metric")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name), asked))
    viewport = table.view.viewport()
    in_sight = viewport.height() // table.view.rowHeight(0) + 2

    for position in range(8):
        asked.clear()
        session.move_to(position)
        QtWidgets.QApplication.processEvents()

        assert 0 < asked.count("cell") <= columns * in_sight < 300
        assert set(asked) == {"cell"}, "no metric is computed anew, no number asked for unseen"


def test_a_table_that_is_gone_is_not_told_any_more(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    table = LayerTable(session)

    with qtbot.waitSignal(table.destroyed):
        table.deleteLater()
    session.move_to(0)
    session.change(columns=("std",))

    assert session.step == 0

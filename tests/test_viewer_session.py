"""Sessions: selection, settings and two runs; who listens hears of all changes and of no others."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_imports import run_python
from viewer_helpers import run_of, session_of, stored, walks

import accweight_core as aw
from accweight_core.colours.scale import colour_table
from accweight_core.errors import StoreError, UnknownNameError
from accweight_core.metrics.table import METRICS
from accweight_viewer.model.difference import Difference
from accweight_viewer.model.picking import Pick
from accweight_viewer.model.session import Session
from accweight_viewer.model.settings import ALLOWED, OF_A_RUN, RANGES, Settings
from accweight_viewer.model.signal import Signal


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("session")


@pytest.fixture(scope="module")
def first(folder: Path) -> Path:
    return stored(folder, "first", walks(["a", "b", "c", "d"], 4))


@pytest.fixture(scope="module")
def second(folder: Path) -> Path:
    """Another run that lacks b and d, and has two layers of its own."""
    return stored(folder, "second", walks(["x", "a", "c", "y"], 3, seed=1))


def heard_by(session: Session) -> list[Any]:
    """Return where a session notes what it tells."""
    heard: list[Any] = []
    for name in ("time_changed", "playing_changed", "selection_changed", "data_changed"):
        getattr(session, name).connect(lambda name=name: heard.append(name))
    session.settings_changed.connect(lambda names: heard.append(sorted(names)))
    session.jump_asked.connect(lambda name: heard.append(("jump", name)))
    return heard


# --- signals ------------------------------------------------------------------------------------


def test_listeners_are_called_in_the_order_in_which_they_came() -> None:
    signal, heard = Signal(), []
    for number in range(3):
        signal.connect(lambda value, number=number: heard.append((number, value)))

    signal.emit("x")

    assert heard == [(0, "x"), (1, "x"), (2, "x")]


def test_who_disconnects_hears_no_more_and_may_do_it_twice() -> None:
    signal, heard = Signal(), []
    listener = signal.connect(heard.append)

    signal.emit(1)
    signal.disconnect(listener)
    signal.disconnect(listener)
    signal.emit(2)

    assert heard == [1]


def test_listeners_may_come_and_go_while_they_are_told() -> None:
    signal, heard = Signal(), []

    def once(value: int) -> None:
        heard.append(("once", value))
        signal.disconnect(once)
        signal.connect(lambda value: heard.append(("late", value)))

    signal.connect(once)
    signal.connect(lambda value: heard.append(("last", value)))

    signal.emit(1)
    signal.emit(2)

    assert heard == [("once", 1), ("last", 1), ("last", 2), ("late", 2)]


# --- settings -----------------------------------------------------------------------------------


def test_defaults_fit_their_own_limits() -> None:
    settings_ = Settings()

    assert settings_.changed(**settings_.to_json()) == settings_


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("theme", "blue"),
        ("scope", None),
        ("columns", ("loss",)),
        ("columns", ()),
        ("columns", "mean"),
        ("columns", ("mean", "mean")),
        ("columns", (["mean"],)),
        ("low", -0.1),
        ("low", "0"),
        ("high", 0),
        ("high", math.nan),
        ("speed", True),
        ("speed", math.inf),
        ("labels", 1),
        ("loop", "yes"),
    ],
)
def test_values_that_do_not_fit_are_refused_when_set_and_left_out_when_read(
    name: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=f"setting '{name}' cannot be"):
        Settings().changed(**{name: value})

    assert Settings.from_json({name: value, "true_scale": True}) == Settings(true_scale=True)


@given(
    st.fixed_dictionaries(
        {},
        optional={name: st.sampled_from(values) for name, values in ALLOWED.items()}
        | {name: st.floats(*limits) for name, limits in RANGES.items() if name not in OF_A_RUN}
        | {name: st.booleans() for name in ("logarithmic", "labels", "smooth", "linked")},
    )
)
def test_settings_are_read_as_they_were_written(values: dict[str, Any]) -> None:
    written = Settings().changed(**values)

    kept = {name: getattr(Settings(), name) for name in OF_A_RUN}
    assert Settings.from_json(written.to_json()) == written.changed(**kept)


@pytest.mark.parametrize("document", [None, [], "text", {"unknown": True}, {"theme": ["dark"]}])
def test_files_of_other_programs_are_defaults(document: Any) -> None:
    assert Settings.from_json(document) == Settings()


def test_only_settings_that_are_others_are_told(first: Path) -> None:
    session = session_of(first)
    heard = heard_by(session)

    session.change(theme="light", labels=True, speed=3.0)
    session.change(theme="light")
    session.change(low=0.1, high=0.5)

    assert heard == [["theme"], ["high", "low"]]


def test_a_setting_that_is_refused_changes_nothing(first: Path) -> None:
    session = session_of(first)
    heard = heard_by(session)

    with pytest.raises(ValueError, match="setting 'speed' cannot be 0"):
        session.change(theme="light", speed=0)

    assert heard == []
    assert session.settings == Settings()


# --- selection ----------------------------------------------------------------------------------


def test_selecting_is_told_once(first: Path) -> None:
    session = session_of(first)
    heard = heard_by(session)

    for name in ("b", "b", None, None):
        session.select_layer(name)

    assert heard == ["selection_changed"] * 2


def test_a_texel_selects_its_layer(first: Path) -> None:
    session = session_of(first)
    pick = Pick(0, session.runs[0].plates[2], 1, 3)
    heard = heard_by(session)

    session.select_texel(pick)
    session.select_texel(Pick(0, session.runs[0].plates[2], 1, 3))

    assert (session.layer, session.pick) == ("c", pick)
    assert heard == ["selection_changed"]


def test_selecting_a_layer_forgets_the_texel_even_of_the_same_layer(first: Path) -> None:
    session = session_of(first)
    session.select_texel(Pick(0, session.runs[0].plates[2], 1, 3))
    heard = heard_by(session)

    session.select_layer("c")

    assert (session.layer, session.pick) == ("c", None)
    assert heard == ["selection_changed"]


def test_a_layer_that_is_not_there_is_told_with_those_that_are(first: Path) -> None:
    session = session_of(first)

    with pytest.raises(UnknownNameError) as caught:
        session.select_layer("e")

    assert str(caught.value) == "no layer is called 'e'; layers are a, b, c, d"
    assert session.layer is None


def test_jumping_selects_and_asks_the_camera(first: Path) -> None:
    session = session_of(first)
    heard = heard_by(session)

    session.jump_to("d")

    assert heard == ["selection_changed", ("jump", "d")]


def test_jumping_to_the_layer_of_a_selected_texel_keeps_the_texel(first: Path) -> None:
    session = session_of(first)
    texel = Pick(0, session.runs[0].plates[1], 0, 1)
    session.select_texel(texel)
    heard = heard_by(session)

    session.jump_to(session.runs[0].layers[texel.plate.layer].name)
    kept = session.pick
    session.jump_to("d")

    assert kept == texel
    assert session.pick is None
    assert heard == [("jump", "b"), "selection_changed", ("jump", "d")]


# --- tables and curves --------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_rows_hold_the_metrics_of_the_step(first: Path, metric: str) -> None:
    session = session_of(first, columns=tuple(dict.fromkeys((metric, "max"))))
    analysis = aw.open_analysis(first)

    for position in (0, 2, 3):
        session.move_to(position)
        rows = session.rows()

        expected = [row.metrics[metric][position] for row in analysis.measured()]
        np.testing.assert_array_equal([row.values[0] for row in rows], expected)
        assert [row.values[-1] for row in rows] == [
            row.metrics["max"][position] for row in analysis.measured()
        ]


def test_rows_are_in_network_order_and_name_their_kind(first: Path) -> None:
    rows = session_of(first).rows()

    assert [(row.layer, row.kind, row.position, row.only_in) for row in rows] == [
        ("a", "linear", 0, ""),
        ("b", "linear", 1, ""),
        ("c", "linear", 2, ""),
        ("d", "linear", 3, ""),
    ]


def test_curves_are_one_metric_over_all_steps(first: Path) -> None:
    session = session_of(first, curve_metric="step_max")

    curves = session.curves()

    expected = [row.metrics["step_max"] for row in aw.open_analysis(first).measured()]
    np.testing.assert_array_equal(curves, expected)


def test_a_run_of_nothing_that_counts_has_no_rows(tmp_path: Path) -> None:
    series = [{"empty.weight": torch.zeros(0, 4), "bn.running_mean": torch.ones(3)}] * 2
    aw.analyze(run_of(tmp_path / "run", series), tmp_path / "run.accw")

    session = session_of(tmp_path / "run.accw")

    assert (session.rows(), session.layer_names, session.runs[0].plates) == ([], [], ())
    assert session.curves().shape == (0, 2)
    assert session.fitted_high == 1.0
    assert session.arrangement(session.sources[0]).box().shape == (1, 3)


# --- two runs -----------------------------------------------------------------------------------


def test_layers_of_two_runs_are_one_list_in_network_order(first: Path, second: Path) -> None:
    session = session_of(first, second)

    assert session.layer_names == ["x", "a", "b", "c", "y", "d"]
    assert [layer and layer.position for layer in session.layers_called("c")] == [2, 2]
    assert [layer and layer.position for layer in session.layers_called("x")] == [None, 0]


def test_what_one_run_alone_has_is_named_by_that_run(first: Path, second: Path) -> None:
    session = session_of(first, second)

    only = {name: session.only_in(name) for name in [*session.layer_names, "nothing"]}

    assert only == {
        "x": "second",
        "a": "",
        "b": "first",
        "c": "",
        "y": "second",
        "d": "first",
        "nothing": "",
    }
    assert [row.only_in for row in session.rows(1)] == ["second", "", "", "second"]


def test_a_single_run_has_nothing_alone(first: Path) -> None:
    session = session_of(first)

    assert {session.only_in(name) for name in ("a", "nothing")} == {""}


def test_layers_of_the_second_run_can_be_selected_too(first: Path, second: Path) -> None:
    session = session_of(first, second)
    plate = session.runs[1].plates[3]

    session.select_texel(Pick(1, plate, 0, 0))

    assert session.layer == "y"


def test_matching_layers_stand_at_the_same_depth_in_both_scenes(first: Path, second: Path) -> None:
    session = session_of(first, second)

    depths = [
        {
            layer.name: float(session.arrangement(run).corners[layer.plates[0].number, 2])
            for layer in run.layers
        }
        for run in session.runs
    ]

    assert {name: depths[0][name] for name in "ac"} == {name: depths[1][name] for name in "ac"}
    assert len({*depths[0].values(), *depths[1].values()}) == 6


def test_settings_place_the_plates(first: Path) -> None:
    session = session_of(first)

    line = session.arrangement(session.runs[0])
    session.change(arrangement="rows")
    rows = session.arrangement(session.runs[0])

    assert (line.folded, rows.folded) == (False, True)


def test_the_scenes_show_each_run_or_their_difference(first: Path, second: Path) -> None:
    session = session_of(first, second)
    heard = heard_by(session)
    beside = session.sources

    session.compare_as("difference")
    session.compare_as("difference")

    (difference,) = session.sources
    assert beside == session.runs
    assert isinstance(difference, Difference)
    assert (difference.first, difference.second) == tuple(session.runs)
    assert [plate.ready for plate in difference.plates] == [True, False, True, False]
    assert heard == ["data_changed"]


def test_a_single_run_has_no_difference(first: Path) -> None:
    session = session_of(first)
    session.compare_as("difference")

    assert session.sources == session.runs


def test_an_analysis_that_is_not_there_is_told(first: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"gone\.accw: there is no such analysis"):
        session_of(first, tmp_path / "gone.accw")


# --- colours ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theme", "signed", "name"),
    [
        ("dark", False, "magma"),
        ("light", False, "magma"),
        ("dark", True, "difference"),
        ("light", True, "difference_light"),
    ],
)
def test_differences_have_a_map_of_their_own_for_each_theme(
    first: Path, theme: str, signed: bool, name: str
) -> None:
    session = session_of(first, theme=theme, colour_map="magma", low=0.1)

    scale = session.colour_scale(signed=signed)

    np.testing.assert_array_equal(scale.colours, colour_table(name))
    assert (scale.signed, scale.low) == (signed, 0.0 if signed else 0.1)


def test_the_bright_end_is_chosen_unless_it_is_fitted(first: Path) -> None:
    session = session_of(first, fitted=False, high=0.25, logarithmic=True)

    scale = session.colour_scale()

    assert (scale.high, scale.logarithmic) == (0.25, True)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_few_weights_that_moved_far_do_not_darken_all_others(tmp_path: Path, scope: str) -> None:
    moved = torch.rand(60, 60, generator=torch.Generator().manual_seed(0))
    moved[0, 0] = 500.0
    series = [{"a.weight": torch.zeros(60, 60)}, {"a.weight": moved}]
    aw.analyze(run_of(tmp_path / "run", series), tmp_path / "run.accw")

    session = session_of(tmp_path / "run.accw", scope=scope)

    mean, deviation = float(moved.mean()), float(moved.std())
    assert session.fitted_high == pytest.approx((mean + 3 * deviation) / 500, rel=0.05)
    assert session.colour_scale().high == session.fitted_high < 0.1


def test_the_bright_end_is_never_brighter_than_the_largest_change(first: Path) -> None:
    assert 0 < session_of(first).fitted_high <= 1


def test_a_dark_end_above_the_fitted_bright_end_is_no_error(first: Path) -> None:
    session = session_of(first, low=1.0)

    scale = session.colour_scale()

    assert scale.high > scale.low == 1.0
    assert np.isfinite(scale.positions([0.0, 1.0])).all()


# --- costs --------------------------------------------------------------------------------------


NOT_FOR_THE_MODEL = (
    "torch", "zarr", "pandas", "PyQt5", "PySide6", "pyqtgraph", "OpenGL", "numba", "matplotlib",
)  # fmt: skip


def test_a_session_needs_numpy_alone(first: Path, second: Path) -> None:
    loaded = run_python(
        "import sys\n"
        "from pathlib import Path\n"
        "from accweight_viewer.model.session import Session\n"
        f"session = Session([Path({str(first)!r}), Path({str(second)!r})])\n"
        "assert session.rows() and session.arrangement(session.sources[0])\n"
        "session.compare_as('difference')\n"
        "plate, every = session.sources[0].plates[0], slice(None)\n"
        "session.sources[0].texels(plate, 0, 'mean', every, every, every)\n"
        f"print('loaded:', *sorted(set({NOT_FOR_THE_MODEL!r}) & set(sys.modules)))"
    )

    assert loaded.splitlines()[-1].split() == ["loaded:"]


def test_no_part_of_the_model_needs_more() -> None:
    loaded = run_python(
        "import importlib, pkgutil, sys\n"
        "import accweight_viewer.model as model\n"
        "found = [module.name for module in pkgutil.iter_modules(model.__path__)]\n"
        "for name in found: importlib.import_module(model.__name__ + '.' + name)\n"
        "print('content' in found and len(found) > 15)\n"
        f"print('loaded:', *sorted(set({NOT_FOR_THE_MODEL!r}) & set(sys.modules)))"
    )

    assert loaded.splitlines() == ["True", "loaded:"]


def test_a_session_works_where_nothing_else_is_installed(first: Path) -> None:
    printed = run_python(
        "from pathlib import Path\n"
        "from accweight_viewer.model.session import Session\n"
        f"print(Session([Path({str(first)!r})]).layer_names)",
        without=NOT_FOR_THE_MODEL,
    )

    assert printed.strip() == "['a', 'b', 'c', 'd']"

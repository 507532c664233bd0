"""Several runs at once: differences on either scale, and more than two on one timeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from viewer_helpers import session_of, stored, walks
from window_driver import OpenWindow, alike, colour_at, pixels, rgb, settle

from accweight_core.errors import UnknownNameError
from accweight_viewer import command
from accweight_viewer.model.picking import pick_of
from accweight_viewer.panes.colour_bar import ColourBar
from accweight_viewer.panes.layer_model import Column
from accweight_viewer.theme import DARK

NAMES = ["a", "b"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return a run, the same ten times as far, and another one; each with a loss."""
    folder = tmp_path_factory.mktemp("runs")
    slow, other = (
        [
            {name: 1 + weight for name, weight in state.items()}
            for state in walks(NAMES, 5, seed=seed)
        ]
        for seed in (0, 1)
    )
    fast = [{name: 10 * weight for name, weight in state.items()} for state in slow]
    losses = {"slow": 1.0, "fast": 0.5, "other": 0.8}
    series = {"slow": slow, "fast": fast, "other": other}
    return [
        stored(folder, name, states, measures={"loss": [losses[name] / (1 + t) for t in range(5)]})
        for name, states in series.items()
    ]


def differences(session: Any) -> np.ndarray:
    source = session.sources[0]
    everything = slice(None)
    return source.texels(source.plates[0], 0, "mean", slice(4, 5), everything, everything)[0]


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_run_ten_times_as_far_stands_out_on_a_common_scale(runs: list[Path], scope: str) -> None:
    session = session_of(runs[1], runs[0], scope=scope)
    session.compare_as("difference")

    common = differences(session)
    session.change(difference_scale="own")
    own = differences(session)

    fast, slow = session.runs
    plate = fast.plates[0]
    largest = max(fast.scale(plate, scope), slow.scale(slow.plates[0], scope))
    moved = [
        run.values(run.plates[0], 0, "mean", slice(4, 5), slice(None), slice(None))[0]
        for run in session.runs
    ]
    np.testing.assert_allclose(common, (moved[0] - moved[1]) / largest, rtol=1e-5)
    assert session_of(*runs[:2]).settings.difference_scale == "common"
    assert common.min() > 0
    np.testing.assert_allclose(own, 0, atol=1e-6)


def test_the_legend_names_the_scale_of_a_difference(qtbot: Any, runs: list[Path]) -> None:
    session = session_of(*runs[:2])
    session.compare_as("difference")
    bar = ColourBar(session)
    qtbot.addWidget(bar)

    captions = []
    for scale in ("common", "own"):
        session.change(difference_scale=scale)
        captions.append(bar.caption)

    assert captions[0].endswith("share of each layer's largest in both")
    assert captions[1].endswith("share of each layer's largest in its own run")


@pytest.mark.gl
def test_three_runs_have_a_column_and_curves_each(opened: OpenWindow, runs: list[Path]) -> None:
    window = opened(*runs)
    model, plot = window.table.model, window.timeline.plot

    told = [(one.metric, one.run_name) for one in model.metrics]
    columns = model.values[:3]

    assert told[:3] == [("relative", name) for name in ("slow", "fast", "other")]
    assert told[3:] == [("rotation", name) for name in ("slow", "fast", "other")]
    assert not any(map(window.table.header.isSectionHidden, columns))
    cells = [[model.cell(row, column).text for column in columns] for row in range(2)]
    for row, layer in enumerate(NAMES):
        for at, run in enumerate(window.session.runs):
            value = run.metric("relative")[[la.name for la in run.layers].index(layer), -1]
            assert float(cells[row][at]) == pytest.approx(value, rel=1e-2)
    assert len(window.scene_row.shown) == 2, "plates are those of two"
    assert {stroke.run for stroke in plot.image.strokes} == {0, 1, 2}
    assert [(m.name, m.run) for m in plot._chart.measures] == [
        ("loss", 0),
        ("loss", 1),
        ("loss", 2),
    ]
    tip = plot.hover_text(plot.image.x_at(2), 50)
    assert all(f"loss \N{MIDDLE DOT} {name}" in tip for name in ("slow", "fast", "other"))
    model.sort_by(model.order._replace(column=Column.FIRST + 2, descending=True))
    shown = model.metrics[2].now
    assert [model.name_at(row) for row in range(2)] == [NAMES[at] for at in np.argsort(-shown)]


@pytest.mark.gl
def test_losses_of_both_runs_are_drawn(opened: OpenWindow, runs: list[Path]) -> None:
    window = opened(*runs[:2])
    plot = window.timeline.plot
    image, chart = plot.image, plot._chart
    settle(window)
    seen = pixels(plot.grab().toImage())

    drawn = []
    for measure in chart.measures:
        heights = image.area.bottom() - measure.values / (measure.high / 0.98) * image.area.height()
        across = np.linspace(image.x_at(0), image.x_at(1), 200)
        down = np.interp(across, [image.x_at(0), image.x_at(1)], heights[:2])
        colour = rgb(DARK.curves[-1])
        drawn.append(
            sum(alike(colour_at(seen, x, y), colour, 60) for x, y in zip(across, down, strict=True))
        )

    assert len(drawn) == 2
    assert min(drawn) > 20


# --- the command ----------------------------------------------------------------------------


def test_a_weight_is_found_by_its_parameter_and_index(runs: list[Path]) -> None:
    session = session_of(runs[0])

    pick = pick_of(session.runs, *command._parsed_weight("b.weight[1, 2]"))

    assert (pick.plate.name, pick.index) == ("b.weight", (1, 2))
    with pytest.raises(UnknownNameError, match="no parameter is called 'x'"):
        pick_of(session.runs, "x", (0,))
    with pytest.raises(UnknownNameError, match="no element"):
        pick_of(session.runs, "b.weight", (9, 9))
    with pytest.raises(click.BadParameter, match="expected NAME"):
        command._parsed_weight("b.weight 1 2")

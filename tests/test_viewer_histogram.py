"""The histogram under the legend: what it counts, and its ends that can be dragged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyqtgraph.Qt import QtCore, QtTest
from viewer_helpers import session_of, stored
from window_driver import OpenWindow, click, drag, plate_called, settle, wrong_texels

import accweight_core as aw
from accweight_viewer.model.distribution import BINS, change_at, distribution, place_of_change
from accweight_viewer.window import MainWindow


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("histogram"), "net")


@pytest.fixture(scope="module")
def shared(analysis: Path, window_of: OpenWindow) -> MainWindow:
    return window_of(analysis, chosen={"labels": False})


@pytest.fixture
def window(shared: MainWindow) -> Iterator[MainWindow]:
    yield shared
    shared.session.change(low=0.0, high=1.0, fitted=True, logarithmic=False, colour_map="magma")
    settle(shared)


def test_it_counts_every_weight_of_a_small_network(analysis: Path) -> None:
    run = session_of(analysis).runs[0]
    exact = aw.open_analysis(analysis)
    shares = np.concatenate(
        [exact.normalized(plate.name, None, "layer").ravel() for plate in run.plates]
    )

    found = distribution((run,), "layer")

    expected = np.histogram(shares, BINS, (0, 1))[0] / len(shares)
    np.testing.assert_allclose(found.linear, expected, atol=5e-3)
    assert found.linear.sum() == pytest.approx(1.0)
    assert found.logarithmic.sum() == pytest.approx(1.0)
    below, above = found.outside(0.1, 0.5)
    assert below == pytest.approx((shares < 0.1).mean(), abs=0.02)
    assert above == pytest.approx((shares > 0.5).mean(), abs=0.02)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_places_and_changes_are_each_others_inverse(logarithmic: bool) -> None:
    for place in (0.0, 0.3, 1.0):
        change = change_at(place, logarithmic=logarithmic)
        assert place_of_change(change, logarithmic=logarithmic) == pytest.approx(place)


@pytest.mark.gl
def test_dragging_an_end_changes_the_colours_and_says_what_it_clips(window: MainWindow) -> None:
    histogram, session = window.histogram, window.session
    high = session.colour_scale().high
    before = histogram.outside_text
    start = QtCore.QPoint(round(histogram.x_of(high)), 10)

    drag(histogram, start, round(histogram.x_of(0.05)) - start.x(), 0)
    settle(window)

    settings = session.settings
    assert (before, settings.fitted) == ("", False)
    assert settings.high == pytest.approx(0.05, abs=0.01)
    assert histogram.outside_text.endswith("brighter")
    assert window.controls.reset.isVisible()
    assert wrong_texels(window, plate_called(window, "conv1.weight")) == []


@pytest.mark.gl
def test_a_double_click_fits_the_ends_again(window: MainWindow) -> None:
    histogram, session = window.histogram, window.session
    fitted = session.colour_scale().high
    session.change(low=0.1, high=0.2, fitted=False)

    QtTest.QTest.mouseDClick(histogram, QtCore.Qt.MouseButton.LeftButton, pos=QtCore.QPoint(50, 9))

    assert session.colour_scale().high == fitted
    assert session.settings.low == 0.0


@pytest.mark.gl
def test_the_low_end_is_dragged_on_its_own(window: MainWindow) -> None:
    histogram, session = window.histogram, window.session
    high = session.colour_scale().high
    start = QtCore.QPoint(round(histogram.x_of(0.0)), 10)

    drag(histogram, start, round(histogram.x_of(0.1)) - start.x(), 0)

    assert session.settings.low == pytest.approx(0.1, abs=0.01)
    assert session.colour_scale().high == pytest.approx(high)


@pytest.mark.gl
def test_grey_as_published_is_one_click_away_and_back(window: MainWindow) -> None:
    button, session = window.controls.published, window.session
    session.change(colour_map="viridis")

    click(button, button.rect().center())
    published = session.settings.colour_map
    click(button, button.rect().center())

    assert (published, session.settings.colour_map) == ("grey", "viridis")


@pytest.mark.gl
def test_a_difference_and_a_bare_window_have_none(
    qtbot: Any, opened: OpenWindow, analysis: Path
) -> None:
    bare = opened(analysis, size=(500, 400), bare=True)
    difference = opened(analysis, analysis, difference=True)

    assert not bare.histogram.isVisible()
    assert not difference.histogram.isVisible()
    difference.session.compare_as("beside")
    assert difference.histogram.isVisible()

"""A network as unit pictures with links, in a real window: real mouse events in, pixels out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from probe_networks import Plain, steps_of, write_states
from torch import nn
from window_driver import (
    OpenWindow,
    alike,
    click,
    colour_at,
    move_mouse,
    pixels,
    rgb,
    settle,
    shown_panes,
)

import accweight_core as aw
from accweight_core.analysis.unit_network import ABOVE, BELOW

pytest.importorskip("pyqtgraph")
from pyqtgraph.Qt import QtCore, QtWidgets

from accweight_viewer.model.linked_units import SIDES, placed
from accweight_viewer.panes.linked_pane import LinkedPane
from accweight_viewer.panes.linked_view import INSET
from accweight_viewer.window import MainWindow

WEIGHTS = torch.tensor([[4.0, -1.0], [0.0, 2.0], [-4.0, 0.5]])
"""Of the first layer at the last step; link 2 * unit + input."""

gl = pytest.mark.gl


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an analysis of a network of 2, 3 and 2 units, with `decision_surface`.

    All weights are 1 at its first step.
    """
    home = tmp_path_factory.mktemp("linked")
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    states = steps_of(module, 2)
    for name in ("0.weight", "2.weight"):
        states[0][name] = torch.ones_like(states[0][name])
        states[1][name] = WEIGHTS if name[0] == "0" else WEIGHTS.T / 2
    x = np.random.default_rng(0).uniform(-1, 1, (30, 2)).astype(np.float32)
    run = aw.open_run(write_states(home / "run", states))
    aw.analyze(run, home / "run.accw")
    aw.probe(run, Plain(module), (x, np.arange(30) % 2), "decision_surface:cells=8",
             out=home / "run.accw")  # fmt: skip
    return home / "run.accw"


def pane_of(window: MainWindow) -> LinkedPane:
    pane = window.found.panes[1]
    assert isinstance(pane, LinkedPane)
    return pane


def end_of_link(pane: LinkedPane, link: int) -> tuple[float, float]:
    """Return a pixel near the end of a link, where others are no longer near."""
    curve, t = pane.view.places.links[link], 0.9
    x, y = curve.T @ np.array([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3])
    return float(x) + INSET, float(y) + INSET


def middle_of_unit(pane: LinkedPane, unit: int) -> QtCore.QPoint:
    left, top, side = pane.view.places.units[unit]
    return QtCore.QPoint(round(left + side / 2) + INSET, round(top + side / 2) + INSET)


def shown(pane: LinkedPane) -> npt.NDArray[np.uint8]:
    return pixels(pane.view.grab().toImage())


@gl
def test_links_have_the_colour_and_width_of_their_weights_at_every_step(
    analysed: Path, opened: OpenWindow
) -> None:
    window = opened(analysed, size=(1400, 900))
    pane = pane_of(window)
    assert shown_panes(window) == ["LinkedPane"], "its pictures are not shown twice"

    def widths() -> list[int]:
        """Return of each link of the first layer how many pixels below each other it takes."""
        seen, found = shown(pane), []
        for link in range(6):
            x, y = end_of_link(pane, link)
            column = [colour_at(seen, x, y + away) for away in range(-7, 8)]
            page = rgb(pane.view.theme.page)
            found.append(sum(not alike(colour, page, 40) for colour in column))
        return found

    def colours() -> list[tuple[int, int, int]]:
        seen = shown(pane)
        return [colour_at(seen, *end_of_link(pane, link)) for link in (0, 4)]

    last = widths()
    orange, blue = colours()
    window.session.move_to_step(0)
    settle(window)

    assert alike(orange, rgb(ABOVE), 40)
    assert alike(blue, rgb(BELOW), 40)
    assert last[0] > last[3] > 0, "4 and 2"
    assert all(alike(colour, rgb(ABOVE), 90) for colour in colours()), "1 at the first step"
    assert widths()[0] < last[0]


@gl
def test_the_link_under_the_mouse_is_named_with_its_weight_at_the_step(
    analysed: Path, opened: OpenWindow
) -> None:
    window = opened(analysed)
    pane = pane_of(window)
    place = QtCore.QPoint(*map(round, end_of_link(pane, 4)))

    move_mouse(pane.view, place)
    told = [QtWidgets.QToolTip.text()]
    window.session.move_to_step(0)
    settle(window)
    move_mouse(pane.view, place)
    told.append(QtWidgets.QToolTip.text())
    pointed = window.session.pointed_at
    click(pane.view, place)

    assert told == ["input 0 to 0/2: -4", "input 0 to 0/2: 1"]
    assert pointed == "0", "the layer whose weight it is"
    assert window.session.layer == "0"


@gl
def test_the_unit_under_the_mouse_is_shown_large_with_its_links(
    analysed: Path, opened: OpenWindow
) -> None:
    window = opened(analysed)
    pane = pane_of(window)
    result = len(pane.view.places.units) - 1
    before = shown(pane)

    move_mouse(pane.view, middle_of_unit(pane, 0))
    settle(window)
    after = shown(pane)

    left, top, side = (round(value) for value in pane.view.places.units[result])
    room = np.s_[
        top + INSET + 4 : top + INSET + side - 4, left + INSET + 4 : left + INSET + side - 4
    ]
    assert not np.array_equal(before[room], after[room])
    assert QtWidgets.QToolTip.text() == "input 0"
    other = end_of_link(pane, 3)  # of input 1
    assert alike(colour_at(before, *other), rgb(ABOVE), 90)
    assert alike(colour_at(after, *other), rgb(pane.view.theme.page), 60), "away"

    move_mouse(pane.view, QtCore.QPoint(pane.view.width() - 2, pane.view.height() - 2))
    settle(window)
    assert np.array_equal(shown(pane), before)


@gl
@pytest.mark.parametrize("size", [(1400, 900), (1000, 700)])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_click_on_a_unit_or_on_a_title_selects_the_layer(
    analysed: Path, opened: OpenWindow, size: tuple[int, int], theme: str
) -> None:
    window = opened(analysed, size=size, chosen={"theme": theme})
    pane = pane_of(window)

    click(pane.view, middle_of_unit(pane, 5))
    of_unit = window.session.layer
    left, _ = pane.view.places.titles[1]
    click(pane.view, QtCore.QPoint(round(left) + INSET + 2, INSET + 4))
    of_title = window.session.layer
    click(pane.view, middle_of_unit(pane, 0))

    assert (of_unit, of_title) == ("2", "0")
    assert window.session.layer == "0", "inputs are no layer"


def test_what_has_no_room_is_left_out_and_nothing_lies_outside() -> None:
    ends = tuple((a, 2 + b) for a in range(2) for b in range(40))

    for wide, high in ((700, 260), (250, 120), (1200, 900)):
        places = placed([2, 40], ends, wide, high)

        seen = places.units[np.isfinite(places.units[:, 0])]
        assert len(places.units) - len(seen) == places.hidden
        assert (seen[:, 2] >= SIDES[0]).all()
        assert (seen[:, 0] + seen[:, 2] <= wide + 1e-6).all()
        assert (seen[:, 1] + seen[:, 2] <= high + 1e-6).all()
        assert np.isfinite(places.links).all(axis=(1, 2)).sum() == 2 * (40 - places.hidden)
        number = places.unit_at(*(seen[2, :2] + 1))
        assert number == 2
        assert places.unit_at(-1, -1) is None

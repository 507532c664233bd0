"""A network of two inputs on the page of probes: links are as wide as its weights are large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser_pages import opened, width_that_fits
from probe_networks import probed, steps_of
from torch import nn

from accweight_core.reports.probe_page import probe_page

WEIGHTS = torch.tensor([[4.0, -1.0], [0.0, 2.0], [-4.0, 0.5]])


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Return the page of a network whose weights are known at its last step."""
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    states = steps_of(module, 2)
    for name in ("0.weight", "2.weight"):
        states[1][name] = WEIGHTS if name[0] == "0" else WEIGHTS.T / 2
    x = np.random.default_rng(0).uniform(-1, 1, (30, 2)).astype(np.float32)
    found = probed(tmp_path, module, states, (x, np.arange(30) % 2), "decision_surface:cells=8")
    return probe_page([found], tmp_path / "page.html")


def test_links_are_as_wide_as_weights_and_coloured_by_sign(browser: Any, written: Path) -> None:
    with opened(browser, written) as page:
        links = page.locator(".network path:not(.near)")
        widths, colours = (
            [one.get_attribute(name) for one in links.all()] for name in ("stroke-width", "stroke")
        )
        weights = torch.cat([WEIGHTS.reshape(-1), WEIGHTS.T.reshape(-1) / 2]).numpy()
        shares = np.array(widths, float) / max(map(float, widths))
        np.testing.assert_allclose(shares, np.abs(weights) / 4, atol=1e-4)
        above = {colour for colour, weight in zip(colours, weights, strict=True) if weight > 0}
        below = {colour for colour, weight in zip(colours, weights, strict=True) if weight < 0}
        assert len(above) == len(below) == 1
        assert above != below

        page.locator(".time .slide").focus()
        page.keyboard.press("Home")

        page.wait_for_selector(".of-links[data-shown='0']")
        assert [one.get_attribute("stroke-width") for one in links.all()] != widths


def test_a_unit_that_is_pointed_at_is_shown_large_with_its_links(
    browser: Any, written: Path
) -> None:
    with opened(browser, written) as page:
        page.wait_for_selector(".of-links[data-shown='1']")
        title = page.locator(".network .column").last

        page.locator(".network canvas[title='0/1']").hover()

        assert title.inner_text() == "0/1"
        drawn = "(one) => [...one.getContext('2d').getImageData(0, 0, 8, 8).data].join()"
        unit, large = (page.locator(f".network canvas{which}").first.evaluate(drawn)
                       for which in ("[title='0/1']", ".result"))  # fmt: skip
        assert unit == large
        assert page.locator(".network path.away").count() == 12 - 2 - 2
        page.mouse.move(0, 0)
        assert title.inner_text() == "predicted"


@pytest.mark.parametrize("width", [1280, 390])
def test_the_network_is_not_wider_than_the_window(browser: Any, written: Path, width: int) -> None:
    with opened(browser, written, width=width) as page:
        content, window = width_that_fits(page, width)

        assert content <= window == width

"""A report opens in a real browser without a network: charts are drawn, read and zoomed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_pages import opened, width_that_fits

import accweight_core as aw

LAYERS, STEPS = 40, 12
HOSTILE = "<img src=x onerror=document.title='owned'>.weight"


def weights_at(step: int) -> dict[str, Any]:
    """Return layers of which each moves farther than the one before."""
    names = [f"net.layer{number}.weight" for number in range(LAYERS - 1)] + [HOSTILE]
    start = np.random.default_rng(0).standard_normal((LAYERS, 6, 5)).astype("f4")
    return {name: start[at] * (1 + 0.01 * step * (at + 1)) for at, name in enumerate(names)}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a report on them."""
    run = aw.open_run({step: weights_at(step) for step in range(STEPS)})
    return aw.report(aw.analyze(run), out=tmp_path_factory.mktemp("browser") / "report.html")


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    """Open the report, offline; whatever it complains of fails the test."""
    with opened(browser, report, width=1200, height=900) as found:
        yield found


def test_a_curve_that_is_pointed_at_is_read(page: Any) -> None:
    over = page.locator(".curves .u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()

    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 2)

    first = page.locator("table.ranking tbody tr").first
    read = page.locator(".curves .readout").inner_text()
    named = page.locator(".curves .key span").all_inner_texts()
    assert read.split(":")[0] in named
    assert read.startswith(first.locator(".name").inner_text() + ": relative ")
    assert read.endswith(f"at step {STEPS - 1}")


def test_dragging_zooms_and_the_button_goes_back(page: Any) -> None:
    over = page.locator(".curves .u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    scale = "() => (({ min, max }) => [min, max])(document.querySelector('.curves').plot.scales.x)"
    whole = page.evaluate(scale)

    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 60, steps=4)
    page.mouse.up()
    zoomed = page.evaluate(scale)
    page.locator(".curves .reset").click()

    assert whole == [0, STEPS - 1]
    assert whole[0] < zoomed[0] < zoomed[1] < whole[1]
    assert page.evaluate(scale) == whole


def test_another_metric_and_a_logarithmic_axis(page: Any) -> None:
    page.locator(".curves .metric").select_option("step_mean")
    page.locator(".curves .log").check()

    assert "mean movement since the checkpoint before" in page.locator(".says").inner_text()
    assert page.evaluate("() => document.querySelector('.curves').plot.scales.y.distr") == 3


def test_the_table_is_sorted_by_a_click_and_shown_whole(page: Any) -> None:
    rows = page.locator("table.ranking tbody tr:visible")
    few = rows.count()
    page.locator("button.all").first.click()
    page.locator("table.ranking th", has_text="max").click()

    values = page.locator("table.ranking td:last-child").evaluate_all(
        "cells => cells.map((cell) => Number(cell.dataset.value))"
    )
    assert few < rows.count() == LAYERS
    assert values == sorted(values, reverse=True)


def test_a_hostile_name_does_nothing(page: Any) -> None:
    assert page.title() != "owned"
    assert page.locator("img[src='x']").count() == 0
    assert page.locator("td.name[title*='onerror=']").count() == 1


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_no_width_needs_scrolling_sideways(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})

    content, window = width_that_fits(page, width)

    assert content <= window == width


def test_it_is_dark_on_a_dark_screen_and_light_on_paper(page: Any) -> None:
    colour = "() => getComputedStyle(document.body).color"
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(colour)
    page.emulate_media(color_scheme="dark", media="print")

    assert dark != light
    assert page.evaluate(colour) == light
    assert page.locator("nav").is_hidden()
    assert page.locator(".curves canvas").is_visible()
    assert page.pdf().startswith(b"%PDF")

"""The page of probes opens in a real browser, offline: time moves pictures, points and maps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_pages import opened, width_that_fits
from probe_results import STEPS, field, stored_results

import accweight_core as aw
from accweight_core.analysis.probe_pictures import BELOW
from accweight_core.reports.probe_page import probe_page
from accweight_core.store.probe_store import FieldDocument, ProbeDocument, ProbeStore


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of results of every kind, under hostile names."""
    folder = tmp_path_factory.mktemp("browser")
    results = list(aw.open_analysis(stored_results(folder / "run.accw")).probes.values())
    return probe_page(results, folder / "page.html", command="accweight probe run.accw")


@pytest.fixture
def page(browser: Any, written: Path) -> Iterator[Any]:
    """Open the page, offline; whatever it complains of fails the test."""
    with opened(browser, written) as found:
        yield found


def first_pixel(page: Any, canvas: str) -> list[int]:
    script = "(one) => [...one.getContext('2d').getImageData(0, 0, 1, 1).data]"
    found: list[int] = page.locator(canvas).first.evaluate(script)
    return found[:3]


def test_hostile_names_do_nothing(page: Any) -> None:
    page.wait_for_timeout(50)

    assert page.title() == "run.accw"
    assert page.locator("img[src=x]").count() == 0
    assert "</script><img" in page.locator(".of-layers .key").inner_text()


def test_the_slider_moves_pictures_numbers_and_marks_to_the_step(page: Any) -> None:
    slide = page.locator(".time .slide")

    slide.focus()
    page.keyboard.press("Home")
    page.wait_for_selector(".of-pictures[data-shown='0']")

    assert page.locator(".time .now").inner_text() == "step 0"
    page.locator(".of-pictures .toggle input").uncheck()  # without the samples beneath
    page.wait_for_timeout(50)
    assert first_pixel(page, ".of-pictures canvas") == pytest.approx([*BELOW], abs=1)
    assert page.locator(".of-cells td").first.inner_text() == "1"
    page.keyboard.press("End")
    slide.focus()
    page.keyboard.press("End")
    page.wait_for_selector(".of-pictures[data-shown='40']")
    assert page.locator(".of-cells td").first.inner_text() == "3"
    left = page.locator(".of-numbers .cursor-now").first.evaluate("(mark) => mark.style.left")
    width = page.locator(".of-numbers .u-over").first.evaluate("(room) => room.clientWidth")
    assert float(left.removesuffix("px")) == pytest.approx(width, abs=1)


def test_a_point_that_is_pointed_at_is_named_and_pictured(page: Any) -> None:
    canvas = page.locator(".of-stages canvas.points-of")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()

    # at the last stage the points stand in a line, the first one at the left
    for down in range(10, int(box["height"]), 8):
        page.mouse.move(box["x"] + box["width"] * 0.055, box["y"] + down)
        if "sample 100" in page.locator(".of-stages .picked").inner_text():
            break

    assert page.locator(".of-stages .picked").inner_text() == "a\nsample 100"
    assert page.locator(".of-stages .picked canvas").count() == 1


def test_things_by_two_quantities_are_named_where_the_axes_say(page: Any) -> None:
    canvas = page.locator(".of-against canvas.points-of")
    canvas.scroll_into_view_if_needed()
    box, edge = canvas.bounding_box(), 20 + 0.04 / 1.08 * (canvas.bounding_box()["width"] - 40)

    page.mouse.move(box["x"] + box["width"] - edge, box["y"] + box["height"] - edge)

    assert page.locator(".of-against .picked").inner_text() == "unit 1"  # at (1, 0)


def test_playing_ends_at_the_last_step(page: Any) -> None:
    page.locator(".time .play").click()
    page.wait_for_selector(".time .play[aria-label=Pause]")

    page.wait_for_selector(".time .play[aria-label=Play]")

    assert page.locator(".time .now").inner_text() == "step 40"


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 720})

    content, window = width_that_fits(page, width)

    assert content <= window == width


def test_a_matrix_has_the_names_of_its_columns_and_its_scale(page: Any) -> None:
    heads = page.locator(".of-matrix .heads-of span").all_inner_texts()

    assert heads[::2] == ["a", "c"]
    assert "</script>" in heads[1]
    assert page.locator(".of-matrix .matrix-scale span").all_inner_texts() == ["0", "15"]


def test_the_steps_of_cosines_have_names_and_a_scale(page: Any) -> None:
    view = page.locator(".of-steps").first

    assert view.locator(".steps-across span").first.inner_text() == "0"
    assert view.locator(".steps-down span").count() == view.locator(".steps-across span").count()
    assert view.locator(".matrix-scale span").all_inner_texts() == ["\u22121", "1"]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of one tall map with groups of classes, and of five small charts."""
    folder = tmp_path_factory.mktemp("uneven")
    out, names = stored_results(folder / "run.accw"), ("one", "two", "three", "four", "five")
    fields = (
        field("confusion", "step class predicted", (0, 8, 8)),
        *(field(name, "step layer", (0, 2)) for name in names),
        FieldDocument("group", ("class",), (8,), "float64", "group", final=True),
    )
    document = ProbeDocument("uneven", 1, {}, STEPS, fields)
    store = ProbeStore.begun(out, "00112233aabb", document)
    for step in STEPS:
        numbers = {name: np.array([1.0, step]) for name in names}
        store.write_step(step, {"confusion": np.eye(8), **numbers})
    store.write_final({"group": np.array([0.0, 0, 0, 1, 1, 1, 1, 1])})
    return probe_page([aw.open_analysis(out).probes["uneven"]], folder / "page.html")


@pytest.mark.parametrize("width", [1600, 1000])
def test_small_charts_fill_the_room_beside_a_tall_map(
    browser: Any, uneven: Path, width: int
) -> None:
    with opened(browser, uneven, width=width) as page:
        whole = page.locator(".views").bounding_box()
        found = [one.bounding_box() for one in page.locator(".of-cells, .charts > div").all()]
        charts = page.locator(".charts > div").first.bounding_box()["height"]

    middle = whole["x"] + whole["width"] / 2
    ends = [
        max(one["y"] + one["height"] for one in found if (one["x"] > middle) == right)
        for right in (False, True)
    ]
    assert abs(ends[0] - ends[1]) < charts
    assert max(one["x"] + one["width"] for one in found) <= whole["x"] + whole["width"] + 1


def test_groups_of_classes_have_frames(browser: Any, uneven: Path) -> None:
    with opened(browser, uneven) as page:
        cell = page.locator(".map td").first.bounding_box()["width"]
        frames = [one.bounding_box() for one in page.locator(".map td i").all()]

    assert [round(frame["width"] / (cell + 1)) for frame in frames] == [3, 5]
    assert frames[1]["x"] > frames[0]["x"] + 2 * cell

"""The graph on a page in a real browser: it unfolds, its step recolours it, nothing is loaded."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from planted_graphs import TWELVE, run_of_twelve

import accweight_core as aw
from accweight_core.analysis.graph_colours import graph_scale, layer_numbers
from accweight_core.graphs.layer_graph import LayerGraph, Node
from accweight_core.reports.graph_page import graph_page
from accweight_core.store.graph_document import keep_graph

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = "<img src=x onerror=document.title='owned'>"

sync_api = pytest.importorskip("playwright.sync_api")
browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(browser_path is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> aw.Analysis:
    """Return an analysis with a graph, one of whose inputs has a hostile name."""
    path = run_of_twelve(tmp_path_factory.mktemp("browser"))
    graph = aw.open_analysis(path).graph
    nodes = (*graph.nodes, Node("input", HOSTILE))
    keep_graph(path, LayerGraph(nodes, (*graph.edges, (len(nodes) - 1, 1)), "net.onnx"))
    return aw.open_analysis(path)


@pytest.fixture(scope="module")
def report(analysis: aw.Analysis) -> Path:
    """Return the path of a report on it."""
    assert analysis.path is not None
    return aw.report(analysis, out=analysis.path.parent / "report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start a browser without a screen."""
    with sync_api.sync_playwright() as play:
        found = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    """Open the report, offline; whatever it complains of fails the test."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 720})
    opened, complaints = context.new_page(), []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text))
    opened.goto(report.as_uri())
    opened.wait_for_selector(".graph-of[data-ready]")
    yield opened
    context.close()
    assert complaints == []


def card(page: Any, name: str) -> Any:
    """Return the card of a layer."""
    title = page.locator(".graph-of g.card title", has_text=re.compile(rf"^{re.escape(name)}: "))
    return title.locator("xpath=..")


def colour(page: Any, name: str) -> tuple[int, ...]:
    text = card(page, name).locator(".stripe").evaluate("one => getComputedStyle(one).fill")
    return tuple(map(int, re.findall(r"\d+", text)))


def test_every_step_has_the_colours_of_the_scale(page: Any, analysis: aw.Analysis) -> None:
    page.locator(".graph-of .whole").check()
    page.locator(".graph-of .number").select_option("mean")
    _, values = layer_numbers(analysis.shown, analysis.probes, "mean")
    scale = graph_scale(values, "magma")

    for place in range(3):
        page.locator(".graph-of .slide").evaluate(
            "(one, at) => { one.value = at; one.dispatchEvent(new Event('input')); }", place
        )
        assert page.locator(".graph-of .now").inner_text() == f"step {place}"
        for row, name in enumerate(row.name for row in analysis.shown.rows):
            rounded = float(f"{values[row, place]:.4g}")
            assert colour(page, name) == tuple(scale.colours[scale.entries(rounded)].tolist())


def test_a_module_folds_and_unfolds(page: Any) -> None:
    cards, graph = page.locator(".graph-of g.card"), page.locator(".graph-of")
    graph.locator(".whole").check()
    whole = cards.count()

    head = graph.locator("text.head", has_text="left")
    head.click()
    folded = cards.count()
    graph.locator("g.card.module text", has_text="left").locator("xpath=..").click()

    assert whole == len(TWELVE) + 2 + 3  # layers, joins, inputs and outputs
    assert folded == whole - 3  # three layers, and the join between them, are one card
    assert cards.count() == whole


def test_a_layer_that_is_clicked_is_read(page: Any, analysis: aw.Analysis) -> None:
    page.locator(".graph-of .whole").check()
    card(page, "right.1").click()

    at = [row.name for row in analysis.shown.rows].index("right.1")
    value = analysis.shown.series("relative")[at, -1]
    read = page.locator(".graph-of .readout").inner_text()
    assert read.startswith(f"right.1: relative {value:.4g}")
    assert page.locator(".graph-of g.card.selected").count() == 1


def test_the_keyboard_does_what_the_mouse_does(page: Any) -> None:
    page.locator(".graph-of .whole").check()
    card(page, "stem").focus()
    page.keyboard.press("Enter")

    assert page.locator(".graph-of .readout").inner_text().startswith("stem: relative")


def test_names_are_text(page: Any) -> None:
    assert page.title() != "owned"
    assert page.locator("img[src='x']").count() == 0
    assert page.locator(".graph-of g.card title", has_text="onerror=").count() == 1


def test_a_page_with_the_graph_alone(browser: Any, analysis: aw.Analysis, tmp_path: Path) -> None:
    out = graph_page(analysis, analysis.graph, tmp_path / "graph.html", "mean", 1)
    opened, complaints = browser.new_page(), []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text))
    opened.goto(out.as_uri())
    opened.wait_for_selector(".graph-of[data-ready]")

    assert opened.locator(".now").inner_text() == "step 1"
    assert opened.locator(".number").input_value() == "mean"
    assert opened.locator("g.card").count() > 3
    opened.close()
    assert complaints == []

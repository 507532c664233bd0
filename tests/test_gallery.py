"""The gallery: what was planted in its networks is found, and its page is a tutorial that works."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from browser_pages import width_that_fits
from onnx.reference import ReferenceEvaluator
from test_cli import accweight
from test_imports import run_python
from test_probe_page import Tags, data_in
from torch import nn

from accweight_adapters.demo.gallery import building
from accweight_adapters.demo.gallery.building import Gallery, make_gallery
from accweight_adapters.demo.gallery.histograms import ridges
from accweight_adapters.demo.gallery.networks.brackets import LENGTH, Counter
from accweight_adapters.demo.gallery.networks.digits import DIGITS
from accweight_adapters.demo.gallery.networks.graphs import GraphWriter
from accweight_adapters.demo.gallery.networks.switches import Memory
from accweight_adapters.demo.gallery.page import write_page
from accweight_adapters.demo.gallery.system import System, Truth
from accweight_adapters.demo.gallery.systems import SYSTEMS
from accweight_adapters.demo.gallery.systems.rnnvis import RNNVIS
from accweight_adapters.demo.gallery.systems.shapeshop import SHAPESHOP
from accweight_core.cli.app import application
from accweight_core.errors import StoreError

SHARE = 0.4
"""Share of the usual epochs: enough for every truth to be found."""

sync_api = pytest.importorskip("playwright.sync_api")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
in_browser = pytest.mark.skipif(browser_path is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """Return the gallery, of networks that are trained for a shorter time."""
    return make_gallery(tmp_path_factory.mktemp("gallery") / "out", share=SHARE)


@pytest.fixture(scope="module")
def text(gallery: Gallery) -> str:
    return gallery.page.read_text("utf-8")


# What lessons say


def test_years_stand_in_the_order_of_the_systems_they_belong_to() -> None:
    (two,) = (system for system in SYSTEMS if "," in system.title)

    named = dict(zip(two.title.split(", "), two.year.split(", "), strict=True))
    assert named == {"TensorFlow Playground": "2017", "ConvNetJS": "2014"}


def test_a_step_is_a_checkpoint_and_a_row_is_a_unit_in_every_lesson() -> None:
    lessons = {system.name: " ".join(system.lesson.split()) for system in SYSTEMS}

    assert "picture of grey is changed little by little" in lessons["shapeshop"]
    assert "pixel 62, which lies at the lower edge" in lessons["activis"]


# What was planted


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_what_was_planted_is_found(gallery: Gallery, system: System) -> None:
    (numbers,) = (one for one in gallery.numbers if one["name"] == system.name)

    assert numbers["truths"]
    assert [truth for truth in numbers["truths"] if not truth["holds"]] == []


def test_weights_are_verified_in_all_networks(gallery: Gallery) -> None:
    proofs = {result.proof for result in gallery.made.results.values()}

    assert proofs == {"", "verified"}  # "" of weights alone


@pytest.mark.parametrize(
    ("module", "operator", "shape"), [(Counter, "LSTM", (LENGTH, 4)), (Memory, "GRU", (10, 6))]
)
def test_graphs_compute_what_their_modules_do(
    tmp_path: Path, module: type[nn.Module], operator: str, shape: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    net, x = module(), torch.randn(5, *shape)
    graph = GraphWriter(net, shape).recurrent(operator.lower(), operator)
    if operator == "LSTM":
        graph.linear_at_times("out").write(tmp_path / "net.onnx", (LENGTH, 5))
    else:
        graph.last_time().linear("out").write(tmp_path / "net.onnx", (8,))

    (found,) = ReferenceEvaluator(str(tmp_path / "net.onnx")).run(None, {"x": x.numpy()})

    with torch.no_grad():
        np.testing.assert_allclose(found, net(x).numpy(), atol=1e-5)


def test_the_same_seed_gives_the_same_numbers(gallery: Gallery, tmp_path: Path) -> None:
    before = torch.get_rng_state(), torch.get_num_threads()

    again = make_gallery(tmp_path / "again", share=SHARE, systems=(SHAPESHOP,))
    other = make_gallery(tmp_path / "other", share=SHARE, seed=1, systems=(SHAPESHOP,))

    made_by = f"accweight demo --gallery --out {tmp_path / 'other'} --seed 1"
    assert made_by in Tags(other.page.read_text("utf-8")).words
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]
    for question, result in again.made.results.items():
        first, second = gallery.made.results[question], other.made.results[question]
        name = next(name for name in result.arrays if result.fields[name].dtype != "uint8")
        np.testing.assert_array_equal(result.array(name), first.array(name))
        assert not np.array_equal(result.array(name), second.array(name))
    wanted = [one for one in gallery.numbers if one["name"] == "shapeshop"]
    assert [one["truths"] for one in again.numbers] == [one["truths"] for one in wanted]


def test_every_weight_is_in_a_bin_of_every_ridge(gallery: Gallery) -> None:
    view = ridges(gallery.made.analysis(DIGITS))

    assert [chart["name"] for chart in view["charts"]] == ["conv1", "conv2", "fc1", "fc2"]
    sums = [{sum(step) for step in chart["counts"]} for chart in view["charts"]]
    assert sums == [{8 * 9}, {16 * 8 * 9}, {64 * 32}, {32 * 10}]
    frozen = view["charts"][0]["counts"][gallery.made.of(DIGITS)["frozen_from"] :]
    assert all(step[0] == 8 * 9 for step in frozen)


def test_the_export_for_tensorboard_has_the_loss_of_the_training(gallery: Gallery) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(gallery.made.home / "tensorboard"))
    events.Reload()
    noted, found = (events.Scalars(tag) for tag in ("training/loss", "evaluate/loss"))

    np.testing.assert_allclose([e.value for e in noted], [e.value for e in found], rtol=1e-4)
    assert len(noted) == len(gallery.made.analysis(DIGITS).steps)


# What is on disk


def test_files_that_no_gallery_wrote_are_kept(tmp_path: Path) -> None:
    precious = tmp_path / "gallery" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("five years")

    with pytest.raises(StoreError, match="holds files that no gallery wrote; choose another --out"):
        make_gallery(tmp_path, systems=(SHAPESHOP,))

    assert precious.read_text() == "five years"


def test_another_gallery_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    first = make_gallery(tmp_path, share=SHARE, systems=(SHAPESHOP,))
    page = first.page.read_text()

    second = make_gallery(tmp_path, share=SHARE, systems=(RNNVIS,))

    assert second.page.read_text() != page
    assert [entry.name for entry in second.made.home.iterdir() if entry.is_dir()] == ["switches"]
    assert json.loads((second.made.home / "gallery.json").read_text()) == second.numbers


# Commands


def commands_of(page: str) -> list[list[str]]:
    """Return the commands on the page, as a shell would read them, but that of the gallery."""
    codes = re.findall(r"<pre><code>accweight.*?</code>", page)
    found = [shlex.split(Tags(code).words) for code in codes]
    return [words for words in found if words[1] != "demo"]


def kind_of(words: Sequence[str]) -> tuple[str, ...]:
    """Return what a command is called with: its options, and what an export is for."""
    options = dict.fromkeys(word for word in words if word.startswith("--"))
    return (words[1], *options, words[words.index("--to") + 1] if "--to" in words else "")


def written_results(gallery: Gallery) -> dict[Path, int]:
    """Return all results of probes, and when they were written."""
    found = gallery.made.home.glob("*/run.accw/probes/*/zarr.json")
    return {path: path.stat().st_mtime_ns for path in found}


def test_every_command_is_printed_and_one_of_each_kind_runs(gallery: Gallery, text: str) -> None:
    printed, app = commands_of(text), application()
    before = written_results(gallery)

    kinds: dict[tuple[str, ...], list[str]] = {}
    for words in printed:
        command = app.get_command(click.Context(app), words[1])
        assert command is not None
        command.make_context(words[1], list(words[2:]))
        kinds.setdefault(kind_of(words), words)

    assert printed == [words for one in gallery.numbers for words in one["commands"]]
    for words in kinds.values():
        answer = accweight(*words[1:], piped=True)
        assert answer.code == 0, (words, answer.err)
        written = [word for word in words if word.endswith((".html", ".gif"))]
        assert all(Path(word).stat().st_size > 1000 for word in written)
    assert written_results(gallery) == before  # what the commands show is there


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command make a small gallery."""
    monkeypatch.setattr(
        building, "make_gallery", partial(make_gallery, share=SHARE, systems=(SHAPESHOP,))
    )


@pytest.mark.usefixtures("small")
def test_the_command_says_what_was_found_and_where_the_page_is(tmp_path: Path) -> None:
    told = accweight("demo", "--gallery", "--out", tmp_path, piped=True)
    answer = accweight("demo", "--gallery", "--out", tmp_path, "--seed", 3, "--json")

    assert (told.code, answer.code) == (0, 0)
    assert "ShapeShop" in told.out
    assert "2 of 2" in told.out
    assert f"open in a browser, also offline: {tmp_path / 'gallery.html'}" in told.out
    document = answer.document
    assert document["page"] == str(tmp_path / "gallery.html")
    assert document["seed"] == 3
    (system,) = document["systems"]
    assert {"name", "title", "truths", "holds", "commands"} == set(system)
    assert set(system["truths"][0]) == {"what", "planted", "found", "holds"}
    assert system["holds"] is True


def test_a_line_per_system_is_there_before_the_next_is_begun(tmp_path: Path) -> None:
    said: list[str] = []

    make_gallery(
        tmp_path,
        share=SHARE,
        systems=(SHAPESHOP, RNNVIS),
        progress=lambda done, total: said.append(f"{done} of {total}"),
        on_system=lambda system, truths: said.append(f"{system.title}: {len(truths)}"),
    )

    assert said == ["1 of 4", "ShapeShop: 2", "2 of 4", "RNNVis: 2", "3 of 4", "4 of 4"]


@pytest.mark.parametrize("other", [["--data", "x"], ["--epochs", "3"], ["--view"]])
def test_options_of_the_other_demonstration_are_refused(tmp_path: Path, other: list[str]) -> None:
    answer = accweight("demo", "--gallery", "--out", tmp_path, *other)

    assert answer.code == 2
    assert f"--gallery takes no {other[0]}: it trains networks of its own" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_is_missing_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    printed = run_python(
        "import sys\n"
        "from accweight_core.cli.app import run\n"
        "sys.stderr = sys.stdout\n"
        f"print(run(['demo', '--gallery', '--out', {str(tmp_path / 'out')!r}]))",
        without=("jinja2",),
    )

    assert printed.splitlines() == [
        (
            "accweight: the gallery needs jinja2, which is not installed; "
            "install it with: pip install 'accweight[demo]'"
        ),
        "1",
    ]
    assert not (tmp_path / "out").exists()


# The page


def test_the_page_is_small_and_needs_nothing_from_elsewhere(text: str) -> None:
    tags = Tags(text).found

    assert len(text) < 15e6
    sources = [at["src"] for _, at in tags if "src" in at]
    assert all(str(source).startswith("data:") for source in sources)
    assert [tag for tag, _ in tags if tag in ("link", "iframe", "object", "embed")] == []


def test_every_system_has_all_its_parts_on_the_page(text: str) -> None:
    found = Tags(text)
    words = " ".join(found.words.split())
    linked = [at["href"] for tag, at in found.found if tag == "a"]

    assert len(SYSTEMS) == 14
    for system in SYSTEMS:
        assert f"#{system.name}" in linked
        assert {paper.url for paper in system.papers} <= set(linked)
        assert len(system.sentences) == 3
        for said in (system.title, system.year, system.question, *system.sentences):
            assert said in words
    probed = data_in(text)
    assert [len(parts) for parts in probed] == [len(system.parts) for system in SYSTEMS]
    assert all(
        part["views"] for parts in probed for part in parts if "The graph" not in part["title"]
    )
    assert '<div class="graph-of"' in text


def test_what_differs_from_what_was_planted_is_marked(gallery: Gallery, tmp_path: Path) -> None:
    truth = Truth("a <b>thing</b>", "fc1/3", 0.25, holds=False, is_share=True)
    system = replace(RNNVIS, truths=lambda made: (truth,))

    page = write_page((system,), gallery.made, [(truth,)], tmp_path / "page.html").read_text()

    words = " ".join(Tags(page).words.split())
    assert "a <b>thing</b>" in words
    assert "fc1/3" in words
    assert "25 %" in words
    assert words.count("✗") == 2  # in the index and beside what was found
    assert "✓" not in words


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start a browser without a screen."""
    with sync_api.sync_playwright() as play:
        found = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, gallery: Gallery) -> Iterator[Any]:
    """Open the page, offline and without motion; whatever it complains of fails the test."""
    context = browser.new_context(
        offline=True, viewport={"width": 1280, "height": 720}, reduced_motion="reduce"
    )
    opened, complaints, asked = context.new_page(), [], []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(gallery.page.as_uri())
    opened.wait_for_selector("html[data-probes]")
    yield opened
    context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


VARIED = """(views) => {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  return views.map((view) => [...view.querySelectorAll("canvas")].some((canvas) => {
    pen.canvas.width = pen.canvas.height = 64;
    pen.drawImage(canvas, 0, 0, 64, 64);
    const pixels = pen.getImageData(0, 0, 64, 64).data;
    return pixels.some((value, place) => value !== pixels[place % 4]);
  }) || view.querySelectorAll("td").length > 3);
}"""
"""Whether a view has a picture of more than one colour, or a table."""


@in_browser
def test_every_view_draws_something_at_the_first_and_at_the_last_step(page: Any) -> None:
    for key in ("Home", "End"):
        for slide in page.locator(".time .slide").all():
            slide.focus()
            page.keyboard.press(key)
        for _ in range(100):
            drawn = page.locator(".view").evaluate_all(VARIED)
            if all(drawn):
                break
            page.wait_for_timeout(50)

        names = page.locator(".view").evaluate_all(
            "(views) => views.map((view) => view.closest('section').id + ' ' + view.className)"
        )
        assert [name for name, is_drawn in zip(names, drawn, strict=True) if not is_drawn] == []


@in_browser
def test_a_lesson_begins_at_its_step_and_has_a_time_line_of_its_own(page: Any) -> None:
    assert page.locator("#blocks .now").inner_text() == "step 3"

    page.locator("#blocks .slide").focus()
    page.keyboard.press("Home")

    page.wait_for_selector("#blocks .now:text-is('step 0')")
    assert page.locator("#playground .now").inner_text() != "step 0"


@in_browser
def test_columns_have_their_names_and_those_selected_stand_out(page: Any) -> None:
    heads = page.locator("#lstmvis .heads-of span")

    assert "".join(heads.all_inner_texts()).startswith("(a(b(a)")
    assert page.locator("#lstmvis .heads-of .marked").all_inner_texts() == ["(", "a"]


@in_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 720})

    content, window = width_that_fits(page, width)

    assert content <= window == width


@in_browser
def test_the_graph_of_a_lesson_goes_with_its_time_line(page: Any) -> None:
    graph = page.locator("#tensorboard .graph-of")
    stripes = graph.locator(".stripe")
    last = [one.get_attribute("style") for one in stripes.all()]

    page.locator("#tensorboard .time .slide").focus()
    page.keyboard.press("Home")
    page.wait_for_selector("#tensorboard .time .now:text-is('step 0')")

    assert not graph.locator(".slide").is_visible(), "one time line per lesson"
    assert [one.get_attribute("style") for one in stripes.all()] != last
    graph.locator(".card.layer").first.click()
    assert "at step 0" in graph.locator(".readout").inner_text()


def test_what_stands_side_by_side_has_one_scale(text: str) -> None:
    (beside,) = (
        parts for system, parts in zip(SYSTEMS, data_in(text), strict=True)
        if system.name == "deep_view"
    )  # fmt: skip
    ranges = [[chart["range"] for chart in part["views"][0]["charts"]] for part in beside]

    assert ranges[0] == ranges[1]

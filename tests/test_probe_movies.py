"""Movies of probes: pictures are those of their step, points go straight from step to step."""

from __future__ import annotations

from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from probe_results import STEPS, field, stored_results

import accweight_core as aw
from accweight_core.analysis.figures import film
from accweight_core.analysis.figures.film import write_movie
from accweight_core.analysis.figures.of_probes.moving import movies_of
from accweight_core.analysis.figures.of_probes.sheets import sheet_figure
from accweight_core.analysis.figures.page import MARGIN, THEME, TITLE, text_width
from accweight_core.analysis.probe_pictures import (
    ABOVE,
    BELOW,
    as_seen,
    on_colour,
    pictures_at,
)
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.cli.probes import film_at, write_movies
from accweight_core.errors import StoreError, UnknownNameError
from accweight_core.store.probe_store import ProbeDocument, ProbeStore

RATE = 5


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> ProbeResult:
    """Return results of every kind."""
    path = stored_results(tmp_path_factory.mktemp("movie") / "run.accw")
    return aw.open_analysis(path).probes["everything"]


def frames_of(result: ProbeResult, name: str) -> list[np.ndarray[Any, Any]]:
    return [frame for frame, _ in movies_of(result)[name](RATE)]


def test_pictures_and_points_are_filmed_whatever_the_probe_is_called(result: ProbeResult) -> None:
    assert list(movies_of(result)) == ["images", "coordinates", "views", "path"]


def test_a_frame_shows_the_pictures_of_its_step(result: ProbeResult) -> None:
    frames = frames_of(result, "images")

    high, wide = frames[0].shape[:2]
    middles = [frame[high // 2 - 40 : high // 2, wide // 8 : wide // 4] for frame in frames]
    for middle, step in ((middles[0], result.steps[0]), (middles[-1], result.steps[-1])):
        pictures = pictures_at(result, "images", int(step))
        colours = on_colour(as_seen(result, "images", pictures)).reshape(-1, 3)
        found = np.unique(middle.reshape(-1, 3), axis=0)
        assert {tuple(one) for one in found.tolist()} <= {
            *map(tuple, colours.tolist()),
            *[tuple(int(THEME.panel[at : at + 2], 16) for at in (1, 3, 5))],
        }
    assert high % 2 == wide % 2 == 0


def test_points_go_from_step_to_step_and_rest_there(result: ProbeResult) -> None:
    frames = frames_of(result, "coordinates")

    changes = [int(np.any(a != b)) for a, b in pairwise(frames)]
    rest = round(1.2 * RATE)
    assert changes[-rest + 1 :] == [0] * (rest - 1)
    assert sum(changes) > len(changes) - rest - 1


def test_a_path_grows_on_axes_that_stay(result: ProbeResult) -> None:
    frames = frames_of(result, "path")

    first, last = frames[0].astype(int), frames[-1].astype(int)
    changed = (np.abs(last - first).sum(axis=2) > 60).mean()
    assert 0 < changed < 0.1  # the path, the step and the time; no axis
    assert {frame.shape for frame in frames} == {frames[0].shape}


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_a_movie_is_written_and_read_again(
    result: ProbeResult, tmp_path: Path, ending: str
) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / f"run:1{ending}"

    count = write_movie(path, movies_of(result)["images"](RATE))

    with av.open(str(path.absolute())) as container:
        assert len(list(container.decode(video=0))) == count or ending == ".gif"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with pytest.raises(StoreError, match="exists already"):
        write_movie(path, [])


def test_of_several_movies_each_has_its_name(
    result: ProbeResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(film.FRAMES_PER_SECOND, ".gif", 2)

    found = write_movies({"everything": result}, tmp_path / "run.gif")

    assert [path.name for path in found] == [
        "run-everything-images.gif",
        "run-everything-coordinates.gif",
        "run-everything-views.gif",
        "run-everything-path.gif",
    ]
    assert all(path.stat().st_size > 1000 for path in found)


def test_what_is_no_movie_is_said_before_any_work() -> None:
    with pytest.raises(UnknownNameError, match=r"found.png: a movie ends in .mp4 or .gif"):
        film_at("found.png")


def test_each_picture_of_a_movie_has_its_name_above_it(tmp_path: Path) -> None:
    out = stored_results(tmp_path / "run.accw")
    fields = (field("images", "step unit height width channel", (0, 2, 8, 8, 1), "uint8"),)
    found = []
    for digit, names in (("a", ("cat", "dog")), ("b", ("cat", "owl"))):
        document = ProbeDocument(
            "shapes", 1, {"of": digit}, STEPS, fields, labels={"unit": names}, asked="shapes"
        )
        store = ProbeStore.begun(out, digit * 12, document)
        for step in STEPS:
            store.write_step(step, {"images": np.zeros((2, 8, 8, 1), np.uint8)})
        frame, _ = next(movies_of(aw.open_analysis(out).probes[store.folder.name])["images"](4))
        found.append(frame.astype(int))

    differing = np.abs(found[0] - found[1]).sum(axis=2) > 0

    high, wide = differing.shape
    assert differing.any(), "another name is drawn otherwise"
    assert not differing[:, : wide // 2].any(), "the name of the first picture is the same"
    assert not differing[high // 2 :].any(), "names are above pictures"


def test_sequences_stand_in_lines_with_their_tokens(tmp_path: Path) -> None:
    out = stored_results(tmp_path / "run.accw")
    fields = (
        field("images", "step picture height width", (0, 2, 1, 8), "uint8"),
        field("scale", "step bound", (0, 2), "float64"),
    )
    found = []
    for digit, word in (("a", "cat"), ("b", "owl")):
        tokens = [["the"] * 8, ["the"] * 6 + [word, "the"]]
        document = ProbeDocument(
            "ratings", 1, {"of": digit}, STEPS, fields, attributes={"tokens": tokens}
        )
        store = ProbeStore.begun(out, digit * 12, document)
        for step in STEPS:
            images = np.full((2, 1, 8), 128, np.uint8)  # all are 0: as white as the page
            store.write_step(step, {"images": images, "scale": np.array([-1.0, 1.0])})
        frame, _ = next(movies_of(aw.open_analysis(out).probes[store.folder.name])["images"](4))
        found.append(frame.astype(int))

    differing = np.abs(found[0] - found[1]).sum(axis=2) > 0
    high, wide = differing.shape

    assert differing.any(), "another token is drawn otherwise"
    assert not differing[: high // 3].any(), "tokens of the first sequence are the same"
    assert not differing[:, : wide // 2].any(), "a token stands above its place"
    dark = (found[0] < 240).any(axis=2)
    assert sum(dark[:, wide // 10 : -wide // 10].all(axis=1)) >= 4, "each sequence has a frame"


def test_headings_are_not_cut_where_pictures_are_narrow(tmp_path: Path) -> None:
    out = stored_results(tmp_path / "run.accw")
    fields = (field("images", "step unit height width channel", (0, 1, 40, 2, 1), "uint8"),)
    asked = "shapes:" + ",".join(f"option{n}=1" for n in range(4))
    document = ProbeDocument("shapes", 1, {"of": 1}, STEPS, fields, asked=asked)
    store = ProbeStore.begun(out, "a" * 12, document)
    for step in STEPS:
        store.write_step(step, {"images": np.zeros((1, 40, 2, 1), np.uint8)})

    found = aw.open_analysis(out).probes[store.folder.name]
    frame, _ = next(movies_of(found)["images"](4))

    assert asked in {text.get_text() for text in sheet_figure(found, "images").texts}
    assert frame.shape[1] > 120 * (text_width(asked, TITLE, "bold") + 2 * MARGIN)


def test_ratings_have_the_colours_that_pages_have(result: ProbeResult) -> None:
    pixels = np.array([0, 1, 128, 255], np.uint8).reshape(1, 1, 4, 1)

    seen = as_seen(result, "images", pixels)[0, 0]

    assert seen[:, 3].tolist() == [0, 255, 0, 255]  # no value, the least, 0, the largest
    assert (tuple(seen[3, :3]), tuple(seen[1, :3])) == (ABOVE, BELOW)
    script = files("accweight_core.reports").joinpath("assets/probe_pictures.js").read_text()
    assert f"const ABOVE = {[*ABOVE]}, BELOW = {[*BELOW]};" in script

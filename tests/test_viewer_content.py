"""Content: what is drawn is what is stored, to the last bit, from wherever it is seen."""

from __future__ import annotations

import itertools
import math
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import states
from torch import Tensor
from viewer_helpers import run_of, stopped
from viewer_plates import WINDOW, camera_on, every_tile

import accweight_core as aw
from accweight_viewer.model.arrangement import Arrangement, arrange
from accweight_viewer.model.camera import Camera
from accweight_viewer.model.content import (
    EMPTY,
    FRAME,
    GAP,
    MARKED,
    PANEL_QUAD,
    SELECTED,
    TILE_QUAD,
    Content,
    TextureBlock,
)
from accweight_viewer.model.difference import Difference
from accweight_viewer.model.picking import Pick
from accweight_viewer.model.plates import Plate, PlateSource
from accweight_viewer.model.residency import (
    BATCH,
    CELL_BYTES,
    MOST_FRAMES,
    Grid,
    TileRequest,
)
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.texture_tiles import (
    TILE,
    TextureTile,
    level_size,
)

SECONDS = 20.0


class Texture:
    """What a graphics card holds: blocks go in, and instances say where to look."""

    def __init__(self, content: Content) -> None:
        grid = content.residency.grid
        side = grid.side * TILE
        self.layers = np.full((grid.frames, side, side), 77, np.float16)
        self.uploads = 0

    def upload(self, block: TextureBlock) -> None:
        """Take a block, as a graphics card does."""
        frames, rows, cols = block.texels.shape
        assert block.texels.dtype == np.float16
        assert 1 <= rows <= TILE
        assert 1 <= cols <= TILE
        assert block.frame + frames <= len(self.layers)
        here = slice(block.y, block.y + rows), slice(block.x, block.x + cols)
        self.layers[block.frame : block.frame + frames, *here] = block.texels
        self.uploads += 1

    def drawn(self, instance: np.ndarray, *, upcoming: bool = False) -> np.ndarray:
        """Return the texels that a quad shows."""
        cols, rows = (math.ceil(value - 0.001) for value in instance[6:8])
        x, y = (int(value) for value in instance[8:10])
        return self.layers[int(instance[11 if upcoming else 10]), y : y + rows, x : x + cols]


def settle(content: Content, texture: Texture, camera: Camera, position: int) -> None:
    """Do what a window does until the picture is as fine as it gets."""
    end = time.monotonic() + SECONDS
    content.replan(camera, WINDOW, position)
    while not content.idle:
        assert time.monotonic() < end, "never idle"
        content.take(texture.upload)
        content.replan(camera, WINDOW, position)
        time.sleep(0.0005)


def tile_quads(content: Content, position: int, **options: Any) -> np.ndarray:
    quads = content.instances(position, scope="layer", **options)
    return quads[quads[:, 13] == TILE_QUAD]


def stored_texels(source: PlateSource, plate: Plate, tile: TextureTile, plane: str) -> np.ndarray:
    """Return (steps, rows, columns) of a tile as they must be in the memory."""
    whole = slice(None)
    texels = source.texels(plate, tile.level, plane, whole, whole, whole)
    part = texels[whole, *tile.window(plate)]
    return np.where(np.isnan(part), GAP, part).astype(np.float16)


def plate_behind(quad: np.ndarray, places: Arrangement) -> int:
    """Return the plate that the middle of a quad lies on."""
    x, y = quad[0] + quad[4] / 2, quad[1] - quad[5] / 2
    left, top, z = places.corners.T
    on_it = (np.abs(z - quad[2]) < 1e-3) & (left < x) & (x < left + places.sizes[:, 0])
    on_it &= (y < top) & (y > top - places.sizes[:, 1])
    (number,) = np.flatnonzero(on_it)
    return int(number)


def check(content: Content, texture: Texture, position: int, plane: str = "mean") -> int:
    """Look at every tile that is drawn; return how many there are."""
    source, steps = content.source, len(content.source.steps)
    quads = tile_quads(content, position)
    places = content.places
    seen = 0
    for quad in quads:
        number = plate_behind(quad, places)
        plate = source.plates[number]
        (left, top, _), (width, height) = places.corners[number], places.sizes[number]
        level = plate.coarsest + 1 - int(quad[3])
        side = TILE << level
        rows, cols = level_size(plate, 0)
        tile = TextureTile(
            number,
            level,
            round((top - quad[1]) / height * rows / side),
            round((quad[0] - left) / width * cols / side),
        )
        expected = stored_texels(source, plate, tile, plane if level else "mean")
        np.testing.assert_array_equal(texture.drawn(quad), expected[position])
        following = min(position + 1, steps - 1)
        np.testing.assert_array_equal(texture.drawn(quad, upcoming=True), expected[following])
        assert quad[4] == pytest.approx(np.ptp(tile.extent(plate)[2:]) * width, rel=1e-5)
        assert quad[5] == pytest.approx(np.ptp(tile.extent(plate)[:2]) * height, rel=1e-5)
        assert quad[12] == pytest.approx(source.unit(plate, "layer"))
        seen += 1
    return seen


def many_steps(count: int) -> list[dict[str, Tensor]]:
    """Return a convolution and matrices of a few tiles, over many steps."""
    generator = torch.Generator().manual_seed(3)
    state = {
        "conv.weight": torch.zeros(40, 24, 3, 3),
        "wide.weight": torch.zeros(180, 150),
        "small.weight": torch.zeros(5, 7),
        "still.weight": torch.zeros(9, 9),
    }
    series = [dict(state)]
    for _ in range(count - 1):
        for name, value in state.items():
            if name != "still.weight":
                state[name] = value + torch.rand(value.shape, generator=generator)
        series.append(dict(state))
    return series


STEPS = 37


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiles")


@pytest.fixture(scope="module")
def path(folder: Path) -> Path:
    aw.analyze(run_of(folder / "run", many_steps(STEPS)), folder / "run.accw")
    return folder / "run.accw"


@pytest.fixture(scope="module")
def run(path: Path) -> ShownRun:
    return ShownRun(path)


Opened = Callable[..., tuple[Content, Texture]]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Return what makes the content of a source, closed at the end."""
    made: list[Content] = []

    def make(
        source: PlateSource, *, cells: int = 400, frames: int = MOST_FRAMES, plane: str = "mean"
    ) -> tuple[Content, Texture]:
        content = Content(
            source,
            arrange(source.layers, "line"),
            plane=plane,
            budget_bytes=cells * min(frames, len(source.steps)) * CELL_BYTES,
            most_frames=frames,
        )
        made.append(content)
        return content, Texture(content)

    yield make
    for content in made:
        content.close()


@pytest.mark.parametrize("plane", ["mean", "max"])
def test_what_is_drawn_is_what_is_stored(run: ShownRun, opened: Opened, plane: str) -> None:
    content, texture = opened(run, plane=plane)
    levels = set()

    for plate, distance in ((0, 3.0), (0, 0.6), (1, 0.4), (2, 1.0)):
        camera = camera_on(content.places, plate, distance)
        settle(content, texture, camera, STEPS - 1)

        for position in (0, 1, 18, STEPS - 1):
            assert check(content, texture, position, plane) >= 4
        levels |= set(tile_quads(content, 0)[:, 3])

    assert content.failure == ""
    assert len(levels) > 1


def test_once_loaded_no_step_and_no_place_is_read_again(run: ShownRun, opened: Opened) -> None:
    content, texture = opened(run)
    cameras = [camera_on(content.places, 0, distance) for distance in (0.5, 1.0, 5.0)]
    for camera in cameras:
        settle(content, texture, camera, 0)
    uploads = texture.uploads

    for camera in cameras:
        for position in range(STEPS):
            content.replan(camera, WINDOW, position)
            assert content.idle

    assert texture.uploads == uploads


@pytest.mark.parametrize("frames", [2, 5, 8, 20])
def test_with_few_frames_every_step_is_still_drawn_when_its_time_comes(
    run: ShownRun, opened: Opened, frames: int
) -> None:
    content, texture = opened(run, frames=frames)
    assert content.residency.grid.frames == frames
    camera = camera_on(content.places, 0)

    for position in (0, 1, 2, 3, 17, 16, 36, 35, 0, 20):
        settle(content, texture, camera, position)

        assert check(content, texture, position) >= 4


def test_until_a_step_has_been_read_the_nearest_one_is_drawn(run: ShownRun, opened: Opened) -> None:
    content, texture = opened(run, frames=4)
    settle(content, texture, camera_on(content.places, 0), 0)

    quads = tile_quads(content, 30)

    held = content.residency.window(0)[-1]
    assert set(quads[:, 10]) == {held % 4}


@pytest.mark.parametrize("cells", [1, 4, 9, 16])
def test_memory_that_is_too_small_ends_with_a_coarse_picture_and_not_in_endless_reading(
    run: ShownRun, opened: Opened, cells: int
) -> None:
    content, texture = opened(run, cells=cells, frames=2)
    assert content.residency.grid == Grid(math.isqrt(cells), 2)

    for plate, distance in ((0, 0.5), (1, 0.3), (0, 3.0)):
        before = texture.uploads
        settle(content, texture, camera_on(content.places, plate, distance), 3)

        drawn = check(content, texture, 3)
        assert min(cells, 4) <= drawn <= cells
        assert texture.uploads - before <= 4 * cells


def test_the_step_that_is_shown_is_read_first_of_all_tiles(run: ShownRun, opened: Opened) -> None:
    content, texture = opened(run)
    hand_over = content._loader.request
    handed: list[list[tuple[bool, bool]]] = []

    def noted(wishes: list[TileRequest]) -> None:
        there = content.residency
        handed.append([(wish.first <= 20 < wish.stop, wish.tile in there) for wish in wishes])
        hand_over(wishes)

    content._loader.request = noted
    settle(content, texture, camera_on(content.places, 0, 3.0), 20)

    assert handed[0] == [(True, False)] * 4
    assert any((False, True) in wishes for wishes in handed)
    for wishes in handed:
        assert wishes == sorted(wishes, key=lambda wish: not wish[0])
        assert (False, False) not in wishes  # other steps of a tile come after its first


def test_when_time_jumps_the_new_step_is_read_first_of_all_tiles(
    run: ShownRun, opened: Opened
) -> None:
    content, texture = opened(run, frames=8)
    camera = camera_on(content.places, 0, 3.0)
    settle(content, texture, camera, 0)
    handed: list[TileRequest] = []
    content._loader.request = handed.extend

    content.replan(camera, WINDOW, 30)

    urgent = [wish.first <= 30 < wish.stop for wish in handed]
    assert urgent == sorted(urgent, reverse=True)
    assert sum(urgent) == len(tile_quads(content, 30)) < len(urgent)


@pytest.mark.parametrize("cells", [4, 9, 16])
def test_no_plate_is_ever_empty_again_however_small_the_memory(
    run: ShownRun, opened: Opened, cells: int
) -> None:
    content, texture = opened(run, cells=cells, frames=2)
    settle(content, texture, camera_on(content.places, 0, 4.0), 3)

    for plate, distance in ((1, 0.3), (0, 0.3), (1, 1.0), (0, 0.1), (1, 0.2), (0, 3.0)):
        camera = camera_on(content.places, plate, distance)
        for _ in range(12):
            content.replan(camera, WINDOW, 3)
            content.take(texture.upload)
            drawn = {plate_behind(quad, content.places) for quad in tile_quads(content, 3)}
            assert drawn == {0, 1, 2, 3}
            time.sleep(0.0005)
        settle(content, texture, camera, 3)


def test_plates_without_pictures_are_drawn_in_the_colour_of_their_mean(
    folder: Path, path: Path, opened: Opened
) -> None:
    out = folder / "bare.accw"
    aw.analyze(aw.open_run(folder / "run"), out, picture_budget_bytes=0)
    bare = ShownRun(out)
    content, texture = opened(bare)

    settle(content, texture, camera_on(content.places, 0), STEPS - 1)

    quads = tile_quads(content, STEPS - 1)
    sizes = quads[np.argsort(-quads[:, 2]), 4:6]
    assert check(content, texture, STEPS - 1) == len(bare.plates) == 4
    np.testing.assert_allclose(sizes, content.places.sizes, rtol=1e-6)
    assert quads[:, 6:8].tolist() == [[1, 1]] * 4


def test_coarse_pictures_are_drawn_as_they_are_stored(
    folder: Path, path: Path, opened: Opened
) -> None:
    out = folder / "coarse.accw"
    aw.analyze(aw.open_run(folder / "run"), out, picture_budget_bytes=1_000_000)
    coarse = ShownRun(out)
    content, texture = opened(coarse, plane="max")

    settle(content, texture, camera_on(content.places, 0), 5)

    assert max(plate.finest for plate in coarse.plates) > 0
    assert check(content, texture, 5, "max") >= 4


def test_a_difference_is_drawn_with_both_signs_and_gaps(
    folder: Path, run: ShownRun, opened: Opened
) -> None:
    aw.analyze(run_of(folder / "other", list(reversed(many_steps(5)))), folder / "other.accw")
    difference = Difference(run, ShownRun(folder / "other.accw"), "layer")
    content, texture = opened(difference)

    settle(content, texture, camera_on(content.places, 0), 3)

    values = np.concatenate([texture.drawn(quad).ravel() for quad in tile_quads(content, 3)])
    assert check(content, texture, 3) >= 4
    assert {float(value) for value in values if value < -1} == {GAP}
    assert values[values > GAP].min() < 0


def test_a_growing_analysis_draws_what_is_ready(
    folder: Path, path: Path, run: ShownRun, opened: Opened
) -> None:
    half = ShownRun(stopped(aw.open_run(folder / "run"), folder / "half.accw", after=2))
    content, texture = opened(half)

    settle(content, texture, camera_on(content.places, 0, 2.0), 3)

    ready = [plate.number for plate in half.plates if plate.ready]
    assert ready == [0, 1]
    assert check(content, texture, 3) >= 2
    assert set(tile_quads(content, 3)[:, 2]) == set(content.places.corners[:2, 2].astype("f4"))


def test_what_cannot_be_read_is_told_and_the_rest_is_drawn(
    path: Path, tmp_path: Path, opened: Opened
) -> None:
    damaged = tmp_path / "run.accw"
    shutil.copytree(path, damaged)
    run = ShownRun(damaged)
    broken = next(plate for plate in run.plates if plate.name == "wide.weight")
    for chunk in (damaged / "pictures" / f"{broken.index:06d}").rglob("c.*"):
        chunk.write_bytes(b"torn")
    content, texture = opened(run)

    settle(content, texture, camera_on(content.places, 0, 2.0), 3)

    assert content.failure.startswith("wide.weight: ")
    assert "is damaged: expected" in content.failure
    drawn = {float(quad[2]) for quad in tile_quads(content, 3)}
    assert drawn == {
        float(np.float32(content.places.corners[plate.number, 2]))
        for plate in run.plates
        if plate.name != "wide.weight"
    }


def test_many_failures_do_not_stand_in_the_way(run: ShownRun, opened: Opened) -> None:
    content, texture = opened(run, frames=2)
    read = content._loader._read

    def failing(wish: TileRequest) -> Any:
        if wish.tile.plate == 1 and wish.tile.level == 0:
            raise OSError("gone")
        return read(wish)

    content._loader._read = failing
    for distance in (2.0, 0.2):
        for position in range(0, STEPS, 3):
            settle(content, texture, camera_on(content.places, 1, distance), position)

    assert content.failure == "wide.weight: gone"
    assert check(content, texture, 36) >= 4


def test_steps_that_cannot_be_read_are_not_waited_for(run: ShownRun, opened: Opened) -> None:
    content, texture = opened(run)
    read = content._loader._read

    def failing(wish: TileRequest) -> Any:
        if wish.first >= BATCH:
            raise OSError("gone")
        return read(wish)

    content._loader._read = failing
    settle(content, texture, camera_on(content.places, 0, 3.0), 0)

    assert content.failure.endswith(": gone")
    assert set(tile_quads(content, STEPS - 1)[:, 10]) == {BATCH - 1}


# --- what is drawn beside tiles -----------------------------------------------------------------


def panels(content: Content, **options: Any) -> np.ndarray:
    quads = content.instances(0, scope="layer", **options)
    return quads[quads[:, 13] == PANEL_QUAD]


def test_every_plate_has_an_edge_and_a_filling_before_it_is_loaded(
    run: ShownRun, opened: Opened
) -> None:
    content, _ = opened(run)

    quads = panels(content)

    edges, fillings = quads[quads[:, 15] == 0], quads[quads[:, 15] == 1]
    assert set(edges[:, 14]) == {FRAME}
    assert set(fillings[:, 14]) == {EMPTY}
    for some in (edges, fillings):
        found = some[np.argsort(-some[:, 2])]
        np.testing.assert_allclose(found[:, :3], content.places.corners, rtol=1e-6)
        np.testing.assert_allclose(found[:, 4:6], content.places.sizes, rtol=1e-6)
    assert edges[:, 3].max() < fillings[:, 3].min() < 1


def test_selected_plates_and_those_of_one_run_alone_have_edges_of_their_own(
    run: ShownRun, opened: Opened
) -> None:
    content, _ = opened(run)

    quads = panels(content, selected=frozenset([1]), marked=frozenset([1, 2]))

    edges = quads[quads[:, 15] == 0]
    tones = edges[np.argsort(-edges[:, 2]), 14]
    assert tones.tolist() == [FRAME, SELECTED, MARKED, FRAME]


def test_a_texel_is_outlined_by_four_lines_around_it(run: ShownRun, opened: Opened) -> None:
    content, _ = opened(run)
    plate = run.plates[1]
    bare = len(panels(content))

    quads = panels(content, pick=Pick(0, plate, 2, 3))

    lines = quads[quads[:, 3] > 1]
    (x, y, z), (width, height) = content.places.corners[1], content.places.sizes[1]
    rows, cols = plate.size
    assert len(quads) == bare + 4
    assert set(lines[:, 14]) == {SELECTED}
    assert set(lines[:, 2]) == {np.float32(z)}
    begin, end = lines[:, 0:2], lines[:, 0:2] + lines[:, 4:6] * [1, -1]
    both = np.concatenate([begin, end])
    np.testing.assert_allclose(
        both.min(axis=0), [x + 3 * width / cols, y - 3 * height / rows], 1e-5
    )
    np.testing.assert_allclose(
        both.max(axis=0), [x + 4 * width / cols, y - 2 * height / rows], 1e-5
    )
    assert (lines[:, 4:6] == 0).sum() == 4


def test_rows_before_the_one_that_is_looked_at_are_hidden(run: ShownRun, opened: Opened) -> None:
    content, texture = opened(run)
    settle(content, texture, camera_on(content.places, 0, 2.0), 0)

    quads = content.instances(0, scope="layer", nearer_hidden=2)

    assert set(quads[:, 2]) == set(content.places.corners[2:, 2].astype(np.float32))


def test_what_is_nearest_comes_first_for_it_hides_the_most(run: ShownRun, opened: Opened) -> None:
    content, texture = opened(run)
    settle(content, texture, camera_on(content.places, 0, 2.0), 0)

    for eye in (5.0, -2.0, -100.0):
        quads = content.instances(0, scope="layer", eye=eye)

        away = np.abs(quads[:, 2] - np.float32(eye))
        assert (np.diff(away) >= 0).all()
        for plate in np.unique(quads[:, 2]):
            assert (np.diff(quads[quads[:, 2] == plate, 3]) <= 0).all()


def test_scopes_change_units_and_no_texel(run: ShownRun, opened: Opened) -> None:
    content, texture = opened(run)
    settle(content, texture, camera_on(content.places, 0, 2.0), 0)

    quads = {scope: content.instances(0, scope=scope) for scope in ("layer", "global")}

    others = [column for column in range(16) if column != 12]
    np.testing.assert_array_equal(quads["layer"][:, others], quads["global"][:, others])
    units = {
        scope: set(q[q[:, 13] == TILE_QUAD, 12].astype(np.float32)) for scope, q in quads.items()
    }
    assert units["layer"] == {np.float32(0), np.float32(1)}
    assert units["global"] == {np.float32(run.unit(plate, "global")) for plate in run.plates}


def test_an_analysis_of_every_kind_of_layer_is_drawn_whole(folder: Path, opened: Opened) -> None:
    aw.analyze(run_of(folder / "net", states()), folder / "net.accw", roles=("weight", "bias"))
    net = ShownRun(folder / "net.accw")
    content, texture = opened(net)

    settle(content, texture, camera_on(content.places, 0, 4.0), 4)

    assert check(content, texture, 4) == len(net.plates)


def test_nothing_is_left_running(run: ShownRun) -> None:
    before = set(threading.enumerate())
    content = Content(run, arrange(run.layers), plane="mean", budget_bytes=1 << 24)
    reading = set(threading.enumerate()) - before

    content.close()

    assert {thread.name for thread in reading} == {"accweight loader"}
    assert not any(thread.is_alive() for thread in reading)


def tiles_of(plates: Iterable[Plate]) -> int:
    return sum(len(every_tile(plate)) for plate in plates)


def test_no_more_memory_is_taken_than_all_tiles_need(run: ShownRun, opened: Opened) -> None:
    content, _ = opened(run, cells=10_000)

    grid = content.residency.grid

    needed = tiles_of(run.plates)
    assert needed <= grid.cells < needed + 2 * grid.side
    assert grid.frames == STEPS
    assert list(itertools.islice(content.residency.window(0), 3)) == [0, 1, 2]

"""Memory of the graphics card: which tiles and steps are held, what is missing, how it comes."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from accweight_core.errors import StoreError
from accweight_viewer.model.loading import Loader
from accweight_viewer.model.residency import (
    BATCH,
    CELL_BYTES,
    LEAST_CELLS,
    MOST_FRAMES,
    MOST_SIDE,
    Grid,
    Residency,
    TileRequest,
    grid_for,
)
from accweight_viewer.model.texture_tiles import (
    TextureTile,
)

SECONDS = 20.0


# --- memory -------------------------------------------------------------------------------------


@given(st.integers(0, 4 << 30), st.integers(0, 200_000), st.integers(1, 6000), st.integers(1, 4096))
def test_the_memory_stays_within_its_budget(
    budget: int, tiles: int, steps: int, most_frames: int
) -> None:
    grid = grid_for(budget, tiles, steps, most_frames)

    assert 1 <= grid.side <= MOST_SIDE
    assert 1 <= grid.frames <= min(steps, most_frames)
    assert grid.size_bytes <= max(budget, 2 * CELL_BYTES)


@given(st.integers(0, 2000), st.integers(1, 3000))
def test_all_tiles_at_all_steps_are_held_where_there_is_room(tiles: int, steps: int) -> None:
    room = (math.isqrt(tiles) + 1) ** 2 * min(steps, MOST_FRAMES) * CELL_BYTES

    grid = grid_for(room, tiles, steps)

    assert grid.cells >= tiles
    if tiles <= LEAST_CELLS:
        assert grid.frames == min(steps, MOST_FRAMES)


@given(st.integers(1, LEAST_CELLS), st.integers(1, 5000), st.integers(2, 50))
def test_tiles_are_worth_more_than_steps(tiles: int, steps: int, frames: int) -> None:
    side = math.ceil(math.sqrt(tiles))

    grid = grid_for(side * side * frames * CELL_BYTES, tiles, steps)

    assert grid.cells >= tiles
    assert grid.frames == min(steps, frames)


def test_where_room_is_short_steps_go_before_tiles() -> None:
    grid = grid_for(256 << 20, 50_000, 500)

    assert (grid.cells, grid.frames) == (LEAST_CELLS, 32)


def tile(number: int) -> TextureTile:
    return TextureTile(number, 0, 0, 0)


def test_every_tile_has_a_cell_of_its_own() -> None:
    residency = Residency(Grid(3, 2), 2)

    cells = [residency.admit(tile(n)) for n in range(9)]

    assert sorted(cells) == list(range(9))
    assert [residency.admit(tile(n)) for n in range(9)] == cells
    places = [residency.place(cell) for cell in cells]
    assert sorted(places) == [(x, y) for x in (0, 64, 128) for y in (0, 64, 128)]


def test_what_is_needed_is_never_driven_out() -> None:
    residency = Residency(Grid(2, 1), 1)
    for n in range(4):
        residency.admit(tile(n))
    residency.keep([tile(0), tile(2)])

    cells = [residency.admit(tile(n)) for n in (10, 11, 12)]

    assert None not in cells[:2]
    assert cells[2] is None
    assert [tile(n) in residency for n in (0, 1, 2, 3, 10, 11, 12)] == [1, 0, 1, 0, 1, 1, 0]


def test_what_was_needed_last_stays_longest() -> None:
    residency = Residency(Grid(2, 1), 1)
    for n in range(4):
        residency.admit(tile(n))
    for n in (3, 1, 0, 2):
        residency.keep([tile(n)])
    residency.keep([])

    gone = []
    for n in range(10, 14):
        residency.admit(tile(n))
        gone.append([m for m in range(4) if tile(m) not in residency and m not in gone][0:])

    assert gone == [[3], [1, 3], [0, 1, 3], [0, 1, 2, 3]]


def test_a_tile_that_comes_back_holds_nothing_yet() -> None:
    residency = Residency(Grid(1, 4), 4)
    residency.hold(residency.admit(tile(0)), 0, 4)
    residency.keep([])
    residency.admit(tile(1))
    residency.keep([])

    residency.admit(tile(0))

    assert residency.missing(tile(0), 0) == [TileRequest(tile(0), 0, 4)]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("keep"), st.lists(st.integers(0, 12), max_size=6)),
            st.tuples(st.just("admit"), st.lists(st.integers(0, 12), max_size=6)),
        ),
        max_size=20,
    )
)
def test_cells_are_never_shared_whatever_comes_and_goes(
    actions: list[tuple[str, list[int]]],
) -> None:
    residency = Residency(Grid(2, 1), 1)
    kept: set[int] = set()

    for name, numbers in actions:
        if name == "keep":
            kept = {n for n in numbers if tile(n) in residency}
            residency.keep([tile(n) for n in numbers])
        else:
            new = [n for n in numbers if tile(n) not in residency]
            kept |= {n for n in new if residency.admit(tile(n)) is not None}

        cells = {n: residency.cell(tile(n)) for n in range(13) if tile(n) in residency}
        assert kept <= set(cells)
        assert len(set(cells.values())) == len(cells) <= 4


def test_with_frames_for_all_steps_all_steps_are_held() -> None:
    residency = Residency(Grid(1, 10), 10)

    windows = {position: residency.window(position) for position in range(10)}

    assert set(windows.values()) == {range(10)}


def test_with_fewer_frames_the_window_follows_the_time_and_looks_ahead() -> None:
    residency = Residency(Grid(1, 8), 100)

    windows = [residency.window(position) for position in (0, 1, 50, 99)]

    assert windows == [range(8), range(8), range(48, 56), range(92, 100)]


@given(
    st.integers(1, 40),
    st.integers(1, 60),
    st.data(),
)
def test_wishes_are_exactly_what_is_missing_in_loadable_stretches(
    frames: int, steps: int, data: st.DataObject
) -> None:
    assume(frames <= steps)
    residency = Residency(Grid(1, frames), steps)
    held = data.draw(st.lists(st.tuples(st.integers(0, steps - 1), st.integers(1, frames))))
    position = data.draw(st.integers(0, steps - 1))
    at: dict[int, int] = {}
    if held:
        cell = residency.admit(tile(0))
        for first, count in held:
            stop = min(first + count, steps)
            residency.hold(cell, first, stop)
            at |= {p % frames: p for p in range(first, stop)}

    wishes = residency.missing(tile(0), position)

    wished = [p for wish in wishes for p in range(wish.first, wish.stop)]
    window = residency.window(position)
    assert position in window
    assert sorted(wished) == [p for p in window if at.get(p % frames) != p]
    for wish in wishes:
        assert 1 <= wish.stop - wish.first <= BATCH
        assert wish.first % frames + (wish.stop - wish.first) <= frames
    if position in wished:
        assert wishes[0].first == position
    after = [wish.first for wish in wishes if wish.stop > position]
    assert after == sorted(after)
    assert [w.first for w in wishes[: len(after)]] == after


def test_what_is_held_is_not_wished_for() -> None:
    residency = Residency(Grid(1, 20), 20)
    cell = residency.admit(tile(0))
    residency.hold(cell, 0, 5)
    residency.hold(cell, 9, 20)

    assert residency.missing(tile(0), 7) == [TileRequest(tile(0), 7, 9), TileRequest(tile(0), 5, 7)]


def test_the_frame_of_a_step_is_drawn_or_the_nearest_that_is_held() -> None:
    residency = Residency(Grid(2, 8), 100)
    for n, first in ((0, 40), (1, 46)):
        residency.hold(residency.admit(tile(n)), first, first + 4)

    frames = {p: residency.frames_of([tile(0), tile(1)], p).tolist() for p in (0, 41, 45, 99)}

    assert frames == {0: [0, 6], 41: [1, 6], 45: [3, 6], 99: [3, 1]}
    assert residency.frames_of([], 5).tolist() == []


# --- reading in the background ------------------------------------------------------------------


def until(reached: Callable[[], bool]) -> None:
    """Wait for other threads, for a while."""
    end = time.monotonic() + SECONDS
    while not reached():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.001)


def taken(loader: Loader[int, int]) -> list[tuple[int, int]]:
    """Return all that a loader has read."""
    values = []
    while (value := loader.take()) is not None:
        values.append(value)
    return values


@pytest.fixture
def gate() -> Iterator[threading.Semaphore]:
    """A door before every reading, which opens once per release."""
    gate = threading.Semaphore(0)
    yield gate
    gate.release(1000)


@pytest.fixture
def loaders() -> Iterator[list[Loader[int, int]]]:
    """Loaders to close at the end."""
    made: list[Loader[int, int]] = []
    yield made
    for loader in made:
        loader.close()


def test_wishes_are_read_in_their_order(loaders: list[Loader[int, int]]) -> None:
    loader = Loader(lambda key: key * key)
    loaders.append(loader)

    loader.request([3, 1, 2])
    until(lambda: len(loader._values) == 3)

    assert not loader.idle
    assert taken(loader) == [(3, 9), (1, 1), (2, 4)]
    assert loader.idle


def test_new_wishes_replace_old_ones_and_nothing_is_read_twice(
    gate: threading.Semaphore, loaders: list[Loader[int, int]]
) -> None:
    began: list[int] = []

    def read(key: int) -> int:
        began.append(key)
        gate.acquire()
        return -key

    loader = Loader(read)
    loaders.append(loader)
    loader.request([1, 2, 3])
    until(lambda: began == [1])

    loader.request([5, 1, 4])
    gate.release(2)
    until(lambda: len(loader._values) == 2)
    loader.request([1, 5, 4])
    gate.release(1)
    until(lambda: len(loader._values) == 3)

    assert began == [1, 5, 4]
    assert taken(loader) == [(1, -1), (5, -5), (4, -4)]


def test_what_fails_is_remembered_and_not_tried_again(loaders: list[Loader[int, int]]) -> None:
    tried: list[int] = []

    def read(key: int) -> int:
        tried.append(key)
        if key == 2:
            raise StoreError("the disk is gone")
        return key

    loader = Loader(read)
    loaders.append(loader)
    loader.request([1, 2, 3])
    until(lambda: len(tried) == 3 and not loader._under_way)
    loader.request([2])

    assert taken(loader) == [(1, 1), (3, 3)]
    assert loader.idle
    assert tried == [1, 2, 3]
    assert {key: str(error) for key, error in loader.failures.items()} == {2: "the disk is gone"}


def test_arrivals_and_failures_are_told(loaders: list[Loader[int, int]]) -> None:
    told: list[str] = []

    loader = Loader(lambda key: 1 // key, lambda: told.append(threading.current_thread().name))
    loaders.append(loader)
    loader.request([1, 0])
    until(lambda: len(told) == 2)

    assert set(told) == {"accweight loader"}
    assert isinstance(loader.failures[0], ZeroDivisionError)


def test_reading_pauses_while_too_much_waits(loaders: list[Loader[int, int]]) -> None:
    read: list[int] = []
    loader = Loader(lambda key: read.append(key) or key, most_waiting=3)
    loaders.append(loader)

    loader.request(range(10))
    until(lambda: len(loader._values) == 3)
    time.sleep(0.02)
    paused = len(read)
    first = loader.take()
    until(lambda: len(read) == 4)

    assert paused == 3
    assert first == (0, 0)


def test_closing_ends_all_threads_and_forgets_what_nobody_waits_for(
    gate: threading.Semaphore,
) -> None:
    began: list[int] = []
    loader = Loader(lambda key: began.append(key) or gate.acquire(), threads=2)
    loader.request(range(10))
    until(lambda: len(began) == 2)

    threading.Timer(0.05, gate.release, [100]).start()  # while `close` waits
    loader.close()

    assert not any(thread.is_alive() for thread in loader._threads)
    assert len(began) < 10
    assert loader.take() is not None  # what had been read is still there

"""Streaming: the bits of a walk step by step, whatever the dtype, the shape and the steps."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import oracle
import pytest
import torch
from numpy.testing import assert_array_equal

import accweight_core as aw
from accweight_core.accumulate.block import MOST_STEPS, MOST_STEPS_DRAWN, walk_block
from accweight_core.accumulate.cutting import Block, blocks_of
from accweight_core.accumulate.streaming import STEPS, Stream
from accweight_core.accumulate.watching import Room, Squares
from accweight_core.errors import FormatError
from accweight_core.io import page_cache as storage
from accweight_core.io.reading import OpenFiles
from accweight_core.jit import tiers
from accweight_core.jit.pooling import pool
from accweight_core.jit.stream_loops import STRIP
from accweight_core.schema import Run

Stored = Callable[..., Run]
NAME = "layer.weight"
STREAMED = {*oracle.DTYPES} - {torch.complex64}
MANY = 2 * MOST_STEPS + 3


@pytest.fixture(autouse=True)
def compiled_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small work is streamed as well."""
    monkeypatch.setattr(tiers, "FREE_WORK", -1)


@dataclass
class Seen:
    """A watcher that keeps what it sees, pooled if it is asked to say how."""

    squares: Squares | None = None
    planes: list[np.ndarray] = field(default_factory=list)
    pools: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def __call__(self, step: int, plane: np.ndarray) -> None:
        self.steps.append(step)
        self.planes.append(plane.copy())
        if self.squares:
            side, height, width, counts, _, inputs = self.squares
            sums, tops = (np.empty_like(counts) for _ in "st")
            sheet = on_a_sheet(plane, inputs) if inputs else plane.reshape(height, width)
            pool(sheet, side, sums, tops)
            self.pools.append((sums / counts, tops))

    def pooled(self, first_step: int, means: np.ndarray, tops: np.ndarray) -> None:
        self.steps += range(first_step, first_step + len(means))
        self.pools += zip(means.copy(), tops.copy(), strict=True)


def on_a_sheet(plane: np.ndarray, inputs: int) -> np.ndarray:
    """Return kernels of 3 x 3 on a sheet, a texel apart: outputs across, inputs down."""
    kernels = plane.reshape(-1, inputs, 3, 3).transpose(1, 2, 0, 3)
    apart = np.pad(kernels, ((0, 0), (0, 1), (0, 0), (0, 1)))
    return apart.reshape(4 * inputs, -1)[:-1, :-1].copy()


def kernels_of(side: int, outputs: int, inputs: int) -> Squares:
    """Return the squares over kernels of 3 x 3."""
    sheet = on_a_sheet(np.ones(outputs * inputs * 9, np.float32), inputs)
    counts, tops = (np.empty([-(-n // side) for n in sheet.shape], np.float32) for _ in "ct")
    pool(sheet, side, counts, tops)
    return Squares(side, *sheet.shape, counts, inputs=inputs)


def squares_of(side: int, height: int, width: int) -> Squares:
    """Return the squares of a sheet without gaps."""
    lengths = [np.bincount(np.arange(n) // side) for n in (height, width)]
    return Squares(side, height, width, np.outer(*lengths).astype(np.float32))


def in_a_room(squares: Squares, steps: int) -> Squares:
    """Return the squares with a place in a larger array, filled with -1."""
    rows, cols = squares.counts.shape
    memory = np.full((2, steps, rows + 2, cols + 3), -1, np.float32)
    return squares._replace(room=Room.of(*memory[:, :, 1 : rows + 1, 2 : cols + 2]))


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Whether each stretch that was to be streamed could be."""
    found: list[bool] = []
    advance = Stream.advance

    def spied(self: Stream, *arguments: object) -> object:
        sums = advance(self, *arguments)  # type: ignore[arg-type]
        found.append(sums is not None)
        return sums

    monkeypatch.setattr(Stream, "advance", spied)
    return found


def run_of(stored: Stored, states: Sequence[torch.Tensor], form: str = "plain") -> Run:
    return stored([{NAME: state} for state in states], form)


def both(run: Run, block: Block, seen: tuple[Seen | None, Seen | None]) -> tuple[np.ndarray, ...]:
    """Walk a block in both ways; `keep` is what streaming cannot do."""
    tensors = [c.tensors[NAME] for c in run.checkpoints]
    with OpenFiles() as files:
        streamed = walk_block(files, tensors, block, watcher=seen[0])
        stepwise = walk_block(files, tensors, block, watcher=seen[1], keep=lambda carry: None)
    assert streamed.elements == stepwise.elements
    return streamed.values, stepwise.values


@pytest.mark.parametrize("dtype", sorted(STREAMED, key=str), ids=str)
@pytest.mark.parametrize("steps", [2, STEPS, STEPS + 2])
def test_streaming_gives_the_bits_of_a_walk_step_by_step(
    stored: Stored, outcomes: list[bool], dtype: torch.dtype, steps: int
) -> None:
    for number, shape in enumerate([(), (3,), (17, 33), (5, 40000), (3 * STRIP + 5,), (900, 70)]):
        run = run_of(stored, oracle.series(shape, dtype, steps, seed=number))
        for block in blocks_of(shape, 1 << 18):
            seen = Seen(), Seen()

            streamed, stepwise = both(run, block, seen)

            assert streamed.tobytes() == stepwise.tobytes()
            assert_array_equal(seen[0].planes, seen[1].planes)
    assert outcomes
    assert all(outcomes)


@pytest.mark.parametrize("side", [2, 4, 8, 64])
@pytest.mark.parametrize(("height", "width"), [(1, 7), (40, 1000), (333, 129), (8, 2048)])
def test_squares_are_pooled_to_the_bits_of_the_whole_sheet(
    stored: Stored, outcomes: list[bool], side: int, height: int, width: int
) -> None:
    run = run_of(stored, oracle.series((height, width), steps=STEPS + 3))
    squares = squares_of(side, height, width)
    seen = Seen(squares), Seen(squares)

    streamed, stepwise = both(run, Block(0, height * width), seen)

    assert streamed.tobytes() == stepwise.tobytes()
    assert not seen[0].planes
    assert seen[0].steps == seen[1].steps == list(range(STEPS + 3))
    for found, expected in zip(seen[0].pools, seen[1].pools, strict=True):
        assert_array_equal(found[0], expected[0])
        assert_array_equal(found[1], expected[1])
    total = oracle.cumulative(oracle.series((height, width), steps=STEPS + 3))
    weighed = seen[0].pools[-1][0] * squares.counts
    np.testing.assert_allclose(weighed.sum(), total.sum(), rtol=1e-5)
    np.testing.assert_allclose(seen[0].pools[-1][1].max(), total.max(), rtol=1e-6)
    assert all(outcomes)


@pytest.mark.parametrize("outputs", [1, 37])
@pytest.mark.parametrize(("side", "inputs"), [(4, 7), (4, 40), (8, 41), (16, 3), (16, 30), (32, 9)])
def test_kernels_are_pooled_to_the_bits_of_the_sheet_they_lie_on(
    stored: Stored, side: int, outputs: int, inputs: int
) -> None:
    run = run_of(stored, oracle.series((outputs, inputs, 3, 3), steps=3))
    squares = kernels_of(side, outputs, inputs)
    seen = Seen(squares), Seen(squares)

    both(run, Block(0, outputs * inputs * 9), seen)

    assert not seen[0].planes
    for found, expected in zip(seen[0].pools, seen[1].pools, strict=True):
        assert_array_equal(found[0], expected[0])
        assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("steps", [5, MANY])
@pytest.mark.parametrize(("side", "height", "width"), [(2, 40, 1000), (8, 333, 129)])
def test_squares_are_found_in_their_room_at_every_step_and_nothing_beside_it(
    stored: Stored, steps: int, side: int, height: int, width: int
) -> None:
    run = run_of(stored, oracle.series((height, width), steps=steps))
    squares = squares_of(side, height, width)
    seen = Seen(in_a_room(squares, steps)), Seen(squares)

    both(run, Block(0, height * width), seen)

    assert seen[0].squares
    room = seen[0].squares.room
    assert room is not None
    assert_array_equal(room.means, [means for means, _ in seen[1].pools])
    assert_array_equal(room.tops, [tops for _, tops in seen[1].pools])
    assert (room.memory == -1).sum() == room.memory.size - room.means.size - room.tops.size


def test_views_of_different_arrays_are_no_room() -> None:
    assert Room.of(np.ones((2, 3, 4), np.float32)[:, :2], np.ones((2, 3, 4), np.float32)) is None


@pytest.mark.parametrize("squares", [None, squares_of(4, 60, 700)])
def test_more_checkpoints_than_are_streamed_at_once_change_no_bit(
    stored: Stored, outcomes: list[bool], squares: Squares | None
) -> None:
    run = run_of(stored, oracle.series((60, 700), steps=MANY))
    seen = Seen(squares), Seen(squares)

    streamed, stepwise = both(run, Block(0, 42000), seen)

    assert streamed.tobytes() == stepwise.tobytes()
    assert seen[0].steps == list(range(MANY))
    for name in ("planes", "pools") if squares is None else ("pools",):
        for found, expected in zip(getattr(seen[0], name), getattr(seen[1], name), strict=True):
            assert_array_equal(found, expected)
    assert len(outcomes) > MANY // MOST_STEPS_DRAWN
    assert all(outcomes)


@pytest.mark.parametrize("odd", [math.nan, -math.inf, 1e30], ids=str)
@pytest.mark.parametrize("step", [0, 1, MOST_STEPS_DRAWN + 2])
@pytest.mark.parametrize("squares", [None, squares_of(2, 50, 700)])
def test_an_odd_weight_at_any_step_is_walked_with_the_same_bits_and_shown_once(
    stored: Stored, outcomes: list[bool], odd: float, step: int, squares: Squares | None
) -> None:
    states = oracle.series((50, 700), steps=MOST_STEPS_DRAWN + 4)
    states[step][49, 699] = odd
    seen = Seen(squares), Seen(squares)

    streamed, stepwise = both(run_of(stored, states), Block(0, 35000), seen)

    assert streamed.tobytes() == stepwise.tobytes()
    assert seen[0].steps == list(range(len(states)))
    if squares is None:
        assert_array_equal(seen[0].planes, seen[1].planes)
    else:
        assert_array_equal([p[0] for p in seen[0].pools], [p[0] for p in seen[1].pools])
    assert not all(outcomes)


def test_a_file_that_ends_early_is_named(stored: Stored) -> None:
    run = run_of(stored, oracle.series((5, 40000), steps=4))
    path = run.checkpoints[2].path
    os.truncate(path, 100_000)

    with pytest.raises(FormatError, match="the file ends at byte 100000") as caught:
        aw.analyze(run)

    assert caught.value.path == path


@pytest.mark.parametrize("form", sorted({*oracle.FORMS} - {"plain"}))
def test_what_does_not_lie_in_files_as_it_is_is_not_streamed(
    stored: Stored, outcomes: list[bool], form: str
) -> None:
    states = oracle.series((30, 40), steps=3)

    analysis = aw.analyze(run_of(stored, states, form))

    assert not outcomes
    np.testing.assert_allclose(
        analysis.cumulative(NAME).sum(), oracle.cumulative(states).sum(), rtol=1e-6
    )


def test_parameters_beside_each_other_are_streamed_as_one(
    stored: Stored, outcomes: list[bool]
) -> None:
    walks = [oracle.series((24,), steps=5, seed=number) for number in range(30)]
    run = stored([{f"p{n:02}.weight": walk[t] for n, walk in enumerate(walks)} for t in range(5)])

    analysis = aw.analyze(run)

    assert len(outcomes) < len(walks)
    found = [row.metrics["mean"][-1] for row in analysis.measured("parameter")]
    expected = [oracle.cumulative(walk).mean() for walk in walks]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_bytes_that_were_written_just_now_are_at_hand(stored: Stored) -> None:
    run = run_of(stored, oracle.series((50, 700), steps=4))

    assert storage.threads_for(run, run.parameters) == os.cpu_count()


def test_bytes_that_have_to_be_waited_for_get_more_threads(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(stored, oracle.series((50, 700), steps=4))
    for checkpoint in run.checkpoints:
        with open(checkpoint.path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            try:
                os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)
            except BlockingIOError:
                continue
            except OSError:
                pass
            pytest.skip("this file system keeps what it is told to drop, or cannot tell")

    assert storage.threads_for(run, run.parameters) == storage.COLD_THREADS * (os.cpu_count() or 1)

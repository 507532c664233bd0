"""Stored pictures: every level at every step against brute force, whatever the cut."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from thorough import pairs

import accweight_core as aw
from accweight_core.analysis.analysis import Analysis
from accweight_core.jit.array_pooling import halved_counts
from accweight_core.jit.pooling import pool
from accweight_core.jobs import walks, work
from accweight_core.pictures import layout
from accweight_core.pictures import plan as pictures
from accweight_core.pictures.layout import layout_of
from accweight_core.pictures.plan import PicturePlan, plan_pictures, segment_steps
from accweight_core.pictures.pyramid import coarsened as pooled
from accweight_core.pictures.texel_map import Layout
from accweight_core.pictures.tiling import tiling_of
from accweight_core.schema import Axis, Hints, Kind, Parameter, Role, Run

Stored = Callable[..., Run]
OUT, IN, K, OTHER = Axis.OUTPUT, Axis.INPUT, Axis.KERNEL, Axis.OTHER
SMALLEST = 1  # blocks as small as they can be: one sub-block, or one band of the picture

CASES: dict[str, tuple[tuple[int, ...], tuple[Axis, ...], tuple[str, ...]]] = {
    "conv": ((120, 16, 5, 4), (OUT, IN, K, K), ()),
    "conv, kernel first": ((5, 4, 16, 120), (K, K, IN, OUT), ()),
    "conv transpose": ((80, 40, 3, 3), (IN, OUT, K, K), ()),
    "depthwise": ((4000, 1, 3, 3), (OUT, IN, K, K), ()),
    "pointwise": ((200, 130, 1, 1), (OUT, IN, K, K), ()),
    "matrix": ((301, 97), (OUT, IN), ()),
    "matrix, inputs first": ((301, 97), (IN, OUT), ()),
    "tall": ((6001, 7), (OUT, IN), ()),
    "tall, inputs first": ((7, 6001), (IN, OUT), ()),
    "wide": ((11, 3203), (OUT, IN), ()),
    "wide, inputs first": ((3300, 10), (IN, OUT), ()),
    "rows longer than a sub-block": ((5, 20000), (OUT, IN), ()),
    "single row": ((1, 50000), (OUT, IN), ()),
    "vector": ((40001,), (OTHER,), ()),
    "lstm": ((512, 80), (OUT, IN), ("i", "f", "g", "o")),
    "experts": ((6, 90, 70), (OTHER, OUT, IN), ()),
    "few": ((3,), (OTHER,), ()),
    "scalar": ((), (), ()),
}


def elements_of(case: str) -> int:
    return math.prod(CASES[case][0])


def run_of(stored: Stored, case: tuple, steps: int = 5, form: str = "plain") -> Run:
    shape, axes, sections = case
    hints = Hints(kind=Kind.OTHER, role=Role.WEIGHT, axes=axes, sections=sections)
    states = oracle.series(shape, torch.float32, steps)
    return stored([{"a.weight": state} for state in states], form, hints)


def texels(shown: Layout) -> np.ndarray:
    """(elements, 2): row and column of every element, by the map for hovering."""
    places = [shown.texel(index) for index in np.ndindex(*shown.shape)]
    return np.array(places, dtype=np.int64).reshape(-1, 2)


def coarsened(picture: np.ndarray, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and maximum of squares of 2**level texels, gaps ignored, in float64."""
    side = 1 << level
    rows, cols = (-(-length // side) for length in picture.shape)
    padded = np.full((rows * side, cols * side), np.nan)
    padded[: picture.shape[0], : picture.shape[1]] = picture
    squares = padded.reshape(rows, side, cols, side).transpose(0, 2, 1, 3).reshape(rows, cols, -1)
    known = ~np.isnan(squares)
    count = known.sum(axis=2)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, squares, 0).sum(axis=2) / count
    return mean, np.where(count > 0, np.where(known, squares, -1).max(axis=2), np.nan)


def check(analysis: Analysis, run: Run) -> None:
    """Compare every stored level of every step with brute force."""
    store, index = analysis.store, 0
    assert store is not None
    plan = analysis.header.plan(index)
    paths = {step: analysis.cumulative("a.weight", int(step)) for step in analysis.steps}
    rows, cols = texels(plan.layout).T
    for at, step in enumerate(analysis.steps):
        finest = np.full(plan.size(0), np.nan, np.float32)
        finest[rows, cols] = paths[step].reshape(-1)
        for level in plan.levels:
            found = store.picture(index, level, "mean", at)
            mean, largest = coarsened(finest, level) if level else (finest, finest)
            assert found.shape == plan.size(level)
            if level:
                np.testing.assert_allclose(found, mean, rtol=2e-5, err_msg=f"{step} {level}")
                found = store.picture(index, level, "max", at)
            np.testing.assert_array_equal(found, largest, err_msg=f"{step} {level}")


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


# --- stored levels against brute force


@pytest.mark.parametrize(("case", "threads"), pairs(CASES, [1, 3]))
def test_every_texel_of_every_level_is_right(
    stored: Stored, tmp_path: Path, case: str, threads: int
) -> None:
    run = run_of(stored, CASES[case], steps=3)

    analysis = aw.analyze(run, tmp_path / "a.accw", threads=threads, block_elements=SMALLEST)

    assert analysis.header.picture_bases == (0,)
    check(analysis, run)


@pytest.mark.parametrize(("case", "levels"), pairs(CASES, [1, 3]))
def test_pictures_that_begin_coarser_are_right(
    stored: Stored, tmp_path: Path, case: str, levels: int
) -> None:
    run = run_of(stored, CASES[case], steps=3)
    budget = PicturePlan(layout_of(run.parameters[0]), levels, 3).size_bytes

    analysis = aw.analyze(
        run, tmp_path / "a.accw", threads=2, block_elements=SMALLEST, picture_budget_bytes=budget
    )

    if elements_of(case) > 100:
        assert analysis.header.picture_bases == (levels,)
    check(analysis, run)


@pytest.mark.parametrize(
    ("case", "form"),
    pairs(
        ["conv", "conv, kernel first", "tall", "wide, inputs first"],
        [form for form in oracle.FORMS if form != "plain"],
    ),
)
def test_pictures_of_bytes_in_any_form_are_right(
    stored: Stored, tmp_path: Path, case: str, form: str
) -> None:
    run = run_of(stored, CASES[case], steps=3, form=form)

    analysis = aw.analyze(run, tmp_path / "a.accw", threads=2, block_elements=SMALLEST)

    check(analysis, run)


@pytest.mark.parametrize(
    ("case", "segment_bytes"),
    pairs(["conv", "matrix", "vector", "wide"], [1, 100_000, 300_000]),
)
def test_steps_written_in_several_segments_are_right(
    stored: Stored,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    segment_bytes: int,
) -> None:
    monkeypatch.setattr(pictures, "SEGMENT_BYTES", segment_bytes)
    monkeypatch.setattr(pictures, "WHOLE_BYTES", 0)
    run = run_of(stored, CASES[case], steps=7)

    analysis = aw.analyze(run, tmp_path / "a.accw", threads=3, block_elements=SMALLEST)

    assert analysis.store is not None
    assert analysis.store.picture_array(0, 0).chunk[0] < 7
    check(analysis, run)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat parameters as if they were a thousand times larger: chunks are small, layouts large."""
    monkeypatch.setattr(pictures, "SEGMENT_BYTES", 100_000)
    monkeypatch.setattr(work, "BLOCK_ELEMENTS", SMALLEST)
    monkeypatch.setattr(layout, "LARGEST_WHOLE", 1000)


@pytest.mark.parametrize(("case", "levels"), pairs(CASES, [0, 2]))
def test_large_parameters_are_drawn_tile_by_tile(
    stored: Stored, tmp_path: Path, large: None, case: str, levels: int
) -> None:
    run = run_of(stored, CASES[case], steps=3)
    budget = PicturePlan(layout_of(run.parameters[0]), levels, 3).size_bytes

    analysis = aw.analyze(
        run, tmp_path / "a.accw", threads=2, block_elements=1, picture_budget_bytes=budget
    )

    if elements_of(case) > 100:
        assert analysis.header.picture_bases == (levels,)
    if levels == 0 and elements_of(case) > 50_000:
        first = next(tiling_of(analysis.header.layouts[0], 0, 1).tiles())
        assert first.elements < elements_of(case)  # or this has tested nothing
    check(analysis, run)


@pytest.mark.parametrize(("case", "levels"), pairs(CASES, [0, 1, 3]))
def test_blocks_of_any_size_change_no_byte_of_the_store(
    stored: Stored, tmp_path: Path, large: None, case: str, levels: int
) -> None:
    run = run_of(stored, CASES[case], steps=3)
    budget = PicturePlan(layout_of(run.parameters[0]), levels, 3).size_bytes
    trees = []

    for block_elements, threads in ((1, 1), (30_000, 3), (1 << 20, 2)):
        out = tmp_path / f"{block_elements}.accw"
        aw.analyze(
            run,
            out,
            threads=threads,
            block_elements=block_elements,
            picture_budget_bytes=budget,
            keep_state=True,
        )
        trees.append(files_of(out))

    assert trees[0] == trees[1] == trees[2]


@pytest.mark.parametrize("block_elements", [1, 30_000, 1 << 20])
def test_blocks_of_any_size_draw_the_same_picture(
    stored: Stored, tmp_path: Path, block_elements: int
) -> None:
    run = run_of(stored, CASES["conv transpose"], steps=3)

    analysis = aw.analyze(run, tmp_path / "a.accw", block_elements=block_elements)

    check(analysis, run)


# --- the same bytes


def test_threads_change_no_byte_of_the_store(stored: Stored, tmp_path: Path) -> None:
    checkpoints = [
        {f"p{i}.weight": state for i, state in enumerate(states)}
        for states in zip(
            *(oracle.series(CASES[c][0], steps=3, seed=i) for i, c in enumerate(CASES)), strict=True
        )
    ]
    run = stored(checkpoints)

    for threads in (1, 3):
        out = tmp_path / f"{threads}.accw"
        aw.analyze(
            run, out, threads=threads, block_elements=SMALLEST, picture_budget_bytes=3_000_000
        )

    assert files_of(tmp_path / "1.accw") == files_of(tmp_path / "3.accw")


def test_a_last_band_that_comes_first_changes_no_byte(
    stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(stored, ((200, 97), (OUT, IN), ()))  # 128 rows and 72
    aw.analyze(run, tmp_path / "plain.accw", threads=1, block_elements=SMALLEST)
    prompt = walks._Drawing.watch

    def dawdling(self: walks._Drawing, tile: walks.Tile) -> object:
        if tile.start == 0:
            time.sleep(0.2)
        return prompt(self, tile)

    monkeypatch.setattr(walks._Drawing, "watch", dawdling)
    analysis = aw.analyze(run, tmp_path / "late.accw", threads=2, block_elements=SMALLEST)

    check(analysis, run)
    assert files_of(tmp_path / "late.accw") == files_of(tmp_path / "plain.accw")


# --- budget and plan


def pictures_of(analysis: Analysis) -> int:
    assert analysis.path is not None
    return sum(f.stat().st_size for f in (analysis.path / "pictures").rglob("c/*/*/*"))


@pytest.mark.parametrize(
    ("shape", "steps", "budget"),
    [((301, 97), 7, 500_000), ((514, 512), 5, 9_000_000), ((40001,), 3, 100_000)],
)
def test_what_lies_on_disk_stays_below_the_budget(
    stored: Stored, tmp_path: Path, shape: tuple[int, ...], steps: int, budget: int
) -> None:
    run = run_of(stored, (shape, (OUT, IN)[: len(shape)], ()), steps)

    analysis = aw.analyze(run, tmp_path / "a.accw", picture_budget_bytes=budget)

    assert analysis.header.plan(0).size_bytes <= budget
    assert pictures_of(analysis) <= 1.25 * budget  # chunks reach a little beyond the picture


def test_a_budget_of_nothing_stores_no_pictures(stored: Stored, tmp_path: Path) -> None:
    analysis = aw.analyze(
        run_of(stored, CASES["conv"]), tmp_path / "a.accw", picture_budget_bytes=0
    )

    assert analysis.header.picture_bases == ()
    assert not (tmp_path / "a.accw" / "pictures").exists()


def layouts_of(shapes: Sequence[tuple[int, int]]) -> list[Layout]:
    return [
        layout_of(Parameter("p", "l", Kind.LINEAR, Role.WEIGHT, shape, "float32", (OUT, IN)))
        for shape in shapes
    ]


@given(
    shapes=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), max_size=8),
    steps=st.integers(1, 50),
    budget=st.integers(10_000, 1 << 30),
)
def test_plans_fit_the_budget_and_are_always_the_same(
    shapes: list[tuple[int, int]], steps: int, budget: int
) -> None:
    layouts = layouts_of(shapes)

    plans = plan_pictures(layouts, steps, budget)

    assert sum(plan.size_bytes for plan in plans) <= budget
    assert plans == plan_pictures(layouts, steps, budget)
    assert [plan.layout for plan in plans] == layouts


def test_the_largest_picture_gives_way_first() -> None:
    plans = plan_pictures(layouts_of([(8, 8), (1000, 1000), (500, 500)]), 1, 5_000_000)

    assert [plan.base for plan in plans] == [0, 1, 0]


def test_a_run_that_fits_keeps_every_weight() -> None:
    plans = plan_pictures(layouts_of([(8, 8), (1000, 1000)]), 3, 1 << 30)

    assert [plan.base for plan in plans] == [0, 0]


def test_the_size_of_a_plan_is_that_of_its_levels_by_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pictures, "COARSEST", 32)
    plan = PicturePlan(layouts_of([(100, 70)])[0], 0, 3)

    assert [plan.size(level) for level in plan.levels] == [(100, 70), (50, 35), (25, 18)]
    assert plan.size_bytes == 3 * 4 * (7000 + 2 * 50 * 35 + 2 * 25 * 18)


# --- pooling by hand


def test_a_square_is_pooled_to_its_mean_and_maximum_with_gaps_ignored() -> None:
    nan = np.nan
    mean = np.array([[1, 3, nan], [nan, 8, nan]], np.float32)
    largest = np.array([[1, 5, nan], [nan, 9, nan]], np.float32)
    counts = np.array([[1, 2, 0], [0, 1, 0]], np.float32)

    average, top = pooled(np.stack([mean, 2 * mean]), np.stack([largest] * 2), counts, 1)

    assert average[:, 0, 0].tolist() == [(1 + 3 * 2 + 8) / 4, (1 + 3 * 2 + 8) / 2]
    assert top[:, 0, 0].tolist() == [9, 9]
    assert halved_counts(counts).tolist() == [[4, 0]]
    assert np.isnan(average[:, 0, 1]).all()
    assert np.isnan(top[:, 0, 1]).all()


def test_sheets_are_pooled_over_squares_of_any_level() -> None:
    sheet = np.arange(64, dtype=np.float32).reshape(8, 8)

    for level, sums, tops in (
        (0, sheet.tolist(), sheet.tolist()),
        (2, [[216, 280], [728, 792]], [[27, 31], [59, 63]]),
        (3, [[2016]], [[63]]),
    ):
        total, top = (np.empty((8 >> level, 8 >> level), np.float32) for _ in range(2))
        pool(sheet, 1 << level, total, top)
        assert total.tolist() == sums
        assert top.tolist() == tops


def test_a_segment_holds_at_least_one_step_and_at_most_all() -> None:
    assert segment_steps(7, 1 << 30) == 1
    assert segment_steps(7, 1) == 7
    assert segment_steps(7, 0) == 7
    assert segment_steps(7, pictures.SEGMENT_BYTES // 8) in (1, 2)

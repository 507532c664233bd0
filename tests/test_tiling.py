"""Tiles put together are the whole picture, and the whole parameter, however they are cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thorough import up_to

from accweight_core.metrics.sub_blocks import partition
from accweight_core.pictures import large_layout, layout
from accweight_core.pictures.layout import layout_of
from accweight_core.pictures.plan import chunk_of
from accweight_core.pictures.texel_map import Layout
from accweight_core.pictures.tile import Tile
from accweight_core.pictures.tiling import BLOCK_ELEMENTS, Tiling, tiling_of, whole
from accweight_core.schema import Axis, Kind, Parameter, Role

OUT, IN, K, DIR, OTHER = Axis.OUTPUT, Axis.INPUT, Axis.KERNEL, Axis.DIRECTION, Axis.OTHER


def parameter(
    shape: tuple[int, ...], axes: tuple[Axis, ...], sections: tuple[str, ...] = ()
) -> Parameter:
    return Parameter("p", "l", Kind.OTHER, Role.WEIGHT, shape, "float32", axes, sections)


def texels(layout: Layout) -> np.ndarray:
    """(rows, columns) of every element in order, digit by digit as the map for hovering does."""
    index = np.indices(layout.shape).reshape(len(layout.shape), layout.elements)
    found = np.zeros((layout.elements, 2), np.int64)
    for digit in layout.digits:
        value = index[digit.axis] // digit.divisor % digit.base
        value = np.array(digit.order)[value] if digit.order else value
        found += value[:, None] * np.array([[digit.row_step, digit.col_step]])
    return found


def drawn(tiling: Tiling, tile: Tile, level: int) -> np.ndarray:
    """The sheet of a tile with the number of each element at its texel, -1 where there is none."""
    rows, cols = (length << level for length in tile.size(level))
    sheet = np.full((rows, cols), -1, np.float32)
    numbers = np.concatenate([np.arange(*stretch) for stretch in tile.stretches])
    view = tile.view(sheet, level)
    if view is not None:
        view[tile.order()] = numbers.reshape(view.shape)
    placed = np.full(rows * cols, -1, np.float32)
    placed[tile.places(level)] = numbers
    if view is not None:
        np.testing.assert_array_equal(placed.reshape(rows, cols), sheet)
    return placed.reshape(rows, cols)


def check(layout: Layout, level: int, block_elements: int) -> Tiling:
    """Draw all tiles and compare with the map, and with what storage and sums ask of tiles."""
    tiling, side, cut = (
        tiling_of(layout, level, block_elements),
        1 << level,
        partition(layout.shape),
    )
    picture = np.full((layout.rows, layout.cols), -1, np.int64)
    covered = np.zeros((-(-layout.rows // side), -(-layout.cols // side)), np.int64)
    seen = []
    for tile in tiling.all():
        sheet = drawn(tiling, tile, level) if tile.stretches else None
        for there, here in tile.windows(level):
            covered[there] += 1
            fine = tuple(
                slice(s.start * side, min(s.stop * side, n))
                for s, n in zip(there, picture.shape, strict=True)
            )
            if sheet is not None:
                top, left = here[0].start * side, here[1].start * side
                part = picture[fine]
                part[...] = sheet[top : top + part.shape[0], left : left + part.shape[1]]
        seen += tile.stretches
        for start, stop in tile.stretches:
            assert start % cut.segment % cut.sub_block == 0
            assert stop % cut.segment % cut.sub_block == 0 or stop % cut.segment == 0
        assert tile.elements <= tiling.first.elements

    assert (covered == 1).all()
    rows, cols = texels(layout).T
    expected = np.full_like(picture, -1)
    expected[rows, cols] = np.arange(layout.elements)
    np.testing.assert_array_equal(picture, expected)
    seen.sort()
    assert [start for start, _ in seen] == [0, *(stop for _, stop in seen[:-1])]
    assert seen[-1][1] == layout.elements
    return tiling


GATES = {2: ("q", "k"), 3: ("z", "r", "h"), 4: ("i", "o", "f", "c")}


@st.composite
def parameters(draw: st.DrawFn) -> Parameter:
    """Return parameters of any kind: long and short rows, stacks, gates, kernels, any order."""
    length = st.sampled_from([1, 2, 3, 5, 8, 12, 37, 64, 100, 131, 700, 4099, 16384, 30001])
    kind = draw(st.sampled_from(["vector", "matrix", "stack", "conv"]))
    if kind == "vector":
        shape, axes = (draw(length),), (OTHER,)
    elif kind == "matrix":
        shape, axes = (draw(length), draw(length)), draw(st.permutations([OUT, IN]))
    elif kind == "stack":
        shape = tuple(draw(st.tuples(st.integers(1, 9), length, length)))
        axes = (draw(st.sampled_from([DIR, OTHER])), *draw(st.permutations([OUT, IN])))
    else:
        sides = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
        channels = [(min(draw(length), 700), OUT), (min(draw(length), 700), IN)]
        every = [*channels, *((side, K) for side in sides)]
        if draw(st.booleans()):
            every = [*every[2:], every[1], every[0]]
        shape, axes = tuple(n for n, _ in every), tuple(a for _, a in every)
    while math.prod(shape) > 300_000:
        largest = shape.index(max(shape))
        shape = tuple(n // 7 + 1 if i == largest else n for i, n in enumerate(shape))
    gates: tuple[str, ...] = ()
    if kind != "conv" and OUT in axes and draw(st.booleans()):
        count = draw(st.sampled_from([2, 3, 4]))
        at = tuple(axes).index(OUT)
        gates = GATES[count]
        shape = tuple(n * count if i == at and n < 5000 else n for i, n in enumerate(shape))
    return parameter(shape, tuple(axes), gates)


@settings(max_examples=up_to(120))
@given(
    case=parameters(),
    level=st.integers(0, 4),
    block_elements=st.sampled_from([1, 5000, 70_000, 1 << 20]),
    large=st.booleans(),
)
def test_tiles_put_together_are_the_picture_and_the_parameter(
    case: Parameter, level: int, block_elements: int, large: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if large:  # as if it had a hundred times more
            patch.setattr(layout, "LARGEST_WHOLE", 0)
        picture = layout_of(case)
    check(picture, level, block_elements)


@settings(max_examples=up_to(60))
@given(case=parameters())
def test_the_way_back_from_texels_of_large_parameters_leads_to_their_elements(
    case: Parameter,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "LARGEST_WHOLE", 0)
        picture = layout_of(case)
    flat = np.linspace(0, picture.elements - 1, 40).astype(int)
    for index in zip(*np.unravel_index(flat, picture.shape), strict=True):
        place = tuple(int(i) for i in index)
        assert picture.element(*picture.texel(place)) == place


LARGE = {
    "matrix": ((4096, 4096), (OUT, IN)),
    "embedding": ((262144, 8192), (OTHER, OTHER)),
    "head": ((262144, 8192), (OUT, IN)),
    "head, inputs first": ((8192, 262144), (IN, OUT)),
    "small head, inputs first": ((768, 50257), (IN, OUT)),
    "wide": ((8192, 262144), (OUT, IN)),
    "wide, inputs first": ((262144, 8192), (IN, OUT)),
    "two rows": ((2, 80_000_000), (OUT, IN)),
    "two columns": ((80_000_000, 2), (OUT, IN)),
    "two columns, inputs first": ((2, 80_000_000), (IN, OUT)),
    "three rows": ((3, 5_000_000), (OUT, IN)),
    "single row": ((1, 50_000_000), (OUT, IN)),
    "vector": ((50_000_001,), (OTHER,)),
    "experts": ((8, 14336, 4096), (OTHER, OUT, IN)),
    "experts, inputs first": ((8, 4096, 14336), (OTHER, IN, OUT)),
    "odd experts": ((151, 4001, 3001), (OTHER, OUT, IN)),
    "conv": ((8192, 8192, 3, 3), (OUT, IN, K, K)),
    "conv, kernel first": ((3, 3, 8192, 8192), (K, K, IN, OUT)),
    "conv 3d": ((512, 256, 7, 7, 7), (OUT, IN, K, K, K)),
    "huge kernels": ((64, 64, 127, 127, 127), (OUT, IN, K, K, K)),
    "depthwise": ((8_000_000, 1, 3, 3), (OUT, IN, K, K)),
}


@pytest.mark.parametrize("case", LARGE.values(), ids=LARGE.keys())
def test_large_parameters_of_any_shape_have_small_tiles_and_little_that_waits(
    case: tuple[tuple[int, ...], tuple[Axis, ...]],
) -> None:
    shape, axes = case
    picture = layout_of(parameter(shape, axes))

    assert picture.rows * picture.cols < 2 * picture.elements  # gaps of kernels are the most
    for level in range(7):
        tiling = tiling_of(picture, level, BLOCK_ELEMENTS)
        assert tiling.first.elements <= max(BLOCK_ELEMENTS, 1 << 16 + level)
        for steps in (3, 100):
            assert 4 * math.prod(chunk_of(tiling, steps)) <= 16 << 20


@pytest.mark.parametrize(
    ("shape", "sections"),
    [
        ((4000, 600), ()),
        ((50257, 64), ()),
        ((64, 50257), ()),
        ((2, 800_000), ()),
        ((800_000, 2), ()),
        ((4096, 512), ("i", "f", "g", "o")),
        ((12288, 128), ("i", "f", "g", "o")),
    ],
)
def test_large_matrices_give_one_picture_in_either_order_of_storage(
    shape: tuple[int, int], sections: tuple[str, ...]
) -> None:
    ours = layout_of(parameter(shape, (OUT, IN), sections))
    theirs = layout_of(parameter(shape[::-1], (IN, OUT), sections))

    assert ours.elements > layout.LARGEST_WHOLE
    assert (ours.rows, ours.cols, ours.sections) == (theirs.rows, theirs.cols, theirs.sections)
    assert ours.sections or not sections
    row, col = texels(ours).T
    there = texels(theirs).reshape(*shape[::-1], 2).transpose(1, 0, 2).reshape(-1, 2)
    np.testing.assert_array_equal(np.stack([row, col], 1), there)


def test_gates_of_large_parameters_are_named_where_they_lie() -> None:
    stored = ("i", "o", "f", "c")
    for shape, axes, parts in [
        ((2, 16384, 64), (DIR, OUT, IN), 2),
        ((2, 4100, 300), (DIR, OUT, IN), 2),
        ((12004, 300), (OUT, IN), 1),
    ]:
        picture = layout_of(parameter(shape, axes, stored))

        height = shape[-2] // 4
        for part in range(parts):
            for gate, name in enumerate("ifgo"):
                section = picture.sections[4 * part + gate]
                at = stored.index({"g": "c"}.get(name, name)) * height
                index = (part, at, 0)[-len(shape) :]
                assert section.name == (f"{name} {part + 1}" if parts > 1 else name)
                assert picture.texel(index) == (section.row, section.col)


def test_a_single_tile_holds_all() -> None:
    picture = layout_of(parameter((301, 97), (OUT, IN)))

    (tile,) = whole(picture, 1).all()

    assert tile.stretches == ((0, 301 * 97),)
    assert tile.size(1) == (-(-picture.rows // 2), -(-picture.cols // 2))


def test_what_lies_side_by_side_is_spaced_by_powers_of_two_with_little_waste() -> None:
    assert large_layout.spaced(4096) == 4096
    for extent in (1, 6, 100, 2049, 14337):
        assert extent <= large_layout.spaced(extent) <= extent * 1.13

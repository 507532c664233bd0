"""Projections and heads in pictures: rectangles that cover exactly the weights of each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accweight_core.pictures.layout import layout_of
from accweight_core.pictures.parts import MOST_MARKS
from accweight_core.schema import Axis, Kind, Parameter, Part, Role, Split

OI, IO = (Axis.OUTPUT, Axis.INPUT), (Axis.INPUT, Axis.OUTPUT)


def fused(heads: int, key_heads: int, width: int, groups: int = 1) -> Split:
    numbers = {"q": heads, "k": key_heads, "v": key_heads}
    parts = tuple(Part(name, n * width, n) for name, n in numbers.items())
    return Split(Axis.OUTPUT, parts, groups)


def single(name: str, size: int, heads: int, along: Axis = Axis.OUTPUT) -> Split:
    return Split(along, (Part(name, size, heads),))


def parameter(
    shape: tuple[int, ...],
    axes: tuple[Axis, ...],
    split: Split | None,
    sections: tuple[str, ...] = (),
) -> Parameter:
    return Parameter("p", "p", Kind.ATTENTION, Role.WEIGHT, shape, "float32", axes, sections, split)


CASES = {
    "stacked": parameter((96, 32), OI, fused(4, 4, 8)),
    "stacked, inputs first": parameter((32, 96), IO, fused(4, 4, 8)),
    "by head": parameter((96, 32), OI, fused(1, 1, 8, 4)),
    "grouped": parameter((64, 32), OI, fused(4, 2, 8)),
    "in groups": parameter((64, 32), OI, fused(2, 1, 8, 2)),
    "tall and folded": parameter((512, 32), OI, fused(64, 32, 4)),
    "tall, folded within a head": parameter((400, 16), OI, single("k", 400, 10)),
    "broad and folded": parameter((16, 400), OI, single("k", 16, 2)),
    "inputs": parameter((32, 64), OI, single("o", 64, 4, Axis.INPUT)),
    "inputs, inputs first": parameter((64, 32), IO, single("o", 64, 4, Axis.INPUT)),
    "folded inputs": parameter((16, 400), OI, single("o", 400, 10, Axis.INPUT)),
    "inputs of a tall matrix": parameter((400, 16), OI, single("o", 16, 2, Axis.INPUT)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_marks_of_a_head_cover_its_weights_and_no_others(case: Parameter) -> None:
    layout, split = layout_of(case), case.split
    assert split is not None
    axis = case.axes.index(split.along)

    for head in split.heads():
        boxes = [mark for mark in layout.marks if mark.name == f"{head.part}{head.number}"]
        covered = {
            (row, col)
            for row in range(layout.rows)
            for col in range(layout.cols)
            if any(box.contains(row, col) for box in boxes) and layout.element(row, col)
        }
        own = {
            layout.texel((i, j))
            for i in range(case.shape[0])
            for j in range(case.shape[1])
            if head.first <= (i, j)[axis] < head.end
        }
        assert covered == own


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_knowing_the_heads_moves_no_texel(case: Parameter) -> None:
    plain = layout_of(replace(case, split=None))

    assert layout_of(case) == plain
    assert layout_of(case).digits == plain.digits
    assert plain.marks == ()


def test_a_large_matrix_is_marked_too() -> None:
    layout = layout_of(parameter((1536, 1024), OI, fused(8, 8, 64)))

    assert [(s.name, s.row, s.rows) for s in layout.sections] == [
        ("q", 0, 512),
        ("k", 512, 512),
        ("v", 1024, 512),
    ]
    assert [mark.row for mark in layout.marks] == list(range(0, 1536, 64))


def test_unequal_parts_are_named_beside_the_picture() -> None:
    sections = layout_of(CASES["grouped"]).sections

    assert [(s.name, s.row, s.rows) for s in sections] == [
        ("q", 0, 32),
        ("k", 32, 16),
        ("v", 48, 16),
    ]


def test_parts_of_every_head_are_named_with_its_number() -> None:
    names = [section.name for section in layout_of(CASES["by head"]).sections]

    assert names == [f"{part}{head}" for head in range(4) for part in "qkv"]


def test_named_sections_stay() -> None:
    layout = layout_of(parameter((96, 32), OI, fused(4, 4, 8), ("q", "k", "v")))

    assert [s.name for s in layout.sections] == ["q", "k", "v"]
    assert len(layout.marks) == 12


def test_gates_that_fill_no_rows_are_marked() -> None:
    split = Split(Axis.OUTPUT, (Part("gate", 64), Part("up", 64)))

    layout = layout_of(parameter((128, 8), OI, split))

    assert [s.name for s in layout.sections or layout.marks] == ["gate", "up"]


def test_vectors_have_no_marks() -> None:
    bias = replace(CASES["stacked"], shape=(96,), axes=(Axis.OTHER,))

    assert layout_of(bias).marks == ()


def test_more_heads_than_a_picture_can_show_are_not_marked() -> None:
    many = parameter((MOST_MARKS + 1, 2), OI, single("q", MOST_MARKS + 1, MOST_MARKS + 1))

    assert layout_of(many).marks == ()

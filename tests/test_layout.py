"""Pictures: every element has one texel, every texel at most one element, bands fit together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accweight_core.pictures.layout import layout_of
from accweight_core.pictures.texel_map import Layout
from accweight_core.schema import Axis, Kind, Parameter, Role

OUT, IN, K, DIR = Axis.OUTPUT, Axis.INPUT, Axis.KERNEL, Axis.DIRECTION


def parameter(
    shape: tuple[int, ...], axes: tuple[Axis, ...], sections: tuple[str, ...] = ()
) -> Parameter:
    return Parameter("p", "l", Kind.OTHER, Role.WEIGHT, shape, "float32", axes, sections)


CASES = {
    "scalar": parameter((), ()),
    "empty": parameter((0,), (OUT,)),
    "empty matrix": parameter((0, 5), (OUT, IN)),
    "one": parameter((1,), (OUT,)),
    "bias": parameter((10,), (OUT,)),
    "long bias": parameter((500,), (OUT,)),
    "matrix": parameter((6, 9), (OUT, IN)),
    "matrix, inputs first": parameter((9, 6), (IN, OUT)),
    "wide matrix": parameter((10, 320), (OUT, IN)),
    "wide prime matrix": parameter((3, 101), (OUT, IN)),
    "wide matrix, inputs first": parameter((320, 10), (IN, OUT)),
    "tall matrix": parameter((300, 7), (OUT, IN)),
    "tall matrix, inputs first": parameter((7, 300), (IN, OUT)),
    "single row": parameter((1, 400), (OUT, IN)),
    "conv": parameter((8, 3, 5, 5), (OUT, IN, K, K)),
    "conv, kernel first": parameter((5, 5, 3, 8), (K, K, IN, OUT)),
    "conv transpose": parameter((3, 8, 4, 4), (IN, OUT, K, K)),
    "depthwise": parameter((64, 1, 3, 3), (OUT, IN, K, K)),
    "to one channel": parameter((1, 64, 3, 3), (OUT, IN, K, K)),
    "pointwise": parameter((16, 8, 1, 1), (OUT, IN, K, K)),
    "conv 1d": parameter((12, 4, 7), (OUT, IN, K)),
    "conv 3d": parameter((4, 2, 3, 2, 5), (OUT, IN, K, K, K)),
    "lstm": parameter((64, 8), (OUT, IN), ("i", "f", "g", "o")),
    "lstm, two directions": parameter((2, 32, 8), (DIR, OUT, IN), ("i", "o", "f", "c")),
    "lstm of ONNX": parameter((1, 64, 8), (DIR, OUT, IN), ("i", "o", "f", "c")),
    "lstm of Keras": parameter((8, 64), (IN, OUT), ("i", "f", "c", "o")),
    "tall lstm, cut up anew": parameter((512, 3), (OUT, IN), ("i", "o", "f", "c")),
    "gru of ONNX": parameter((1, 48, 8), (DIR, OUT, IN), ("z", "r", "h")),
    "experts": parameter((4, 12, 6), (Axis.OTHER, OUT, IN)),
    "kernel alone": parameter((100, 2), (K, K)),
    "no inputs": parameter((1, 64, 1), (Axis.OTHER, K, K)),
    "q, k, v": parameter((48, 16), (OUT, IN), ("q", "k", "v")),
}


def element_picture(layout: Layout) -> np.ndarray:
    """The flat element number at each texel, -1 where there is none: by the inverse map."""
    picture = np.full((layout.rows, layout.cols), -1, dtype=np.int64)
    for row in range(layout.rows):
        for col in range(layout.cols):
            index = layout.element(row, col)
            if index is not None:
                picture[row, col] = np.ravel_multi_index(index, layout.shape) if index else 0
    return picture


def picture_of(layout: Layout, values: np.ndarray) -> np.ndarray:
    """Values at their texels, -1 where there is none."""
    picture = element_picture(layout)
    return np.where(picture < 0, -1, values.reshape(-1)[picture])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_element_has_one_texel_and_the_way_back_leads_to_it(case: Parameter) -> None:
    layout = layout_of(case)

    picture = element_picture(layout)

    shown = picture[picture >= 0]
    assert sorted(shown) == list(range(math.prod(case.shape)))
    for flat in range(math.prod(case.shape)):
        index = tuple(int(i) for i in np.unravel_index(flat, case.shape))
        assert picture[layout.texel(index)] == flat


def test_convolutions_show_outputs_across_and_inputs_down_with_a_gap_of_one() -> None:
    layout = layout_of(parameter((8, 3, 5, 5), (OUT, IN, K, K)))

    assert (layout.rows, layout.cols) == (3 * 6 - 1, 8 * 6 - 1)
    assert layout.texel((2, 1, 0, 4)) == (6, 2 * 6 + 4)
    assert layout.element(5, 0) is None
    assert layout.element(0, 5) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (((8, 3, 5, 4), (OUT, IN, K, K)), ((5, 4, 3, 8), (K, K, IN, OUT))),
        (((6, 9), (OUT, IN)), ((9, 6), (IN, OUT))),
        (((10, 320), (OUT, IN)), ((320, 10), (IN, OUT))),
        (((300, 7), (OUT, IN)), ((7, 300), (IN, OUT))),
    ],
)
def test_frameworks_that_order_axes_differently_give_the_same_picture(
    first: tuple[tuple[int, ...], tuple[Axis, ...]],
    second: tuple[tuple[int, ...], tuple[Axis, ...]],
) -> None:
    ours, theirs = (layout_of(parameter(*case)) for case in (first, second))
    values = np.arange(math.prod(first[0])).reshape(first[0])
    order = [first[1].index(axis) for axis in second[1]]
    if K in first[1]:
        order = [2, 3, 1, 0]
    moved = values.transpose(order)

    def drawn(layout: Layout, weights: np.ndarray) -> np.ndarray:
        picture = np.full((layout.rows, layout.cols), -1)
        for index in np.ndindex(*weights.shape):
            picture[layout.texel(index)] = weights[index]
        return picture

    np.testing.assert_array_equal(drawn(ours, values), drawn(theirs, moved))


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_folded_matrices_are_never_long_strips(rows: int, cols: int) -> None:
    layout = layout_of(parameter((rows, cols), (OUT, IN)))

    assert max(layout.rows, layout.cols) <= max(16, 8 * min(layout.rows, layout.cols))


def test_gates_are_named_where_they_lie() -> None:
    layout = layout_of(CASES["lstm"])

    assert [section.name for section in layout.sections] == ["i", "f", "g", "o"]
    for gate, section in enumerate(layout.sections):
        row, col = layout.texel((gate * 16, 0))
        assert (section.row, section.col) == (row, col)


@pytest.mark.parametrize(
    ("torch_gates", "others"),
    [("ifgo", ("iofc", "ifco", "ifgo")), ("rzn", ("zrh", "rzn"))],
    ids=["lstm", "gru"],
)
def test_gates_lie_alike_however_a_framework_stacks_them(
    torch_gates: str, others: tuple[str, ...]
) -> None:
    count, same = len(torch_gates), {"c": "g", "h": "n"}
    values = np.arange(count * 16 * 5).reshape(count, 16, 5)
    wanted = layout_of(parameter((count * 16, 5), (OUT, IN), tuple(torch_gates)))

    for gates in others:
        stacked = values[[torch_gates.index(same.get(gate, gate)) for gate in gates]]
        stacked = stacked.reshape(count * 16, 5)
        for array, axes in [
            (stacked, (OUT, IN)),
            (stacked[None], (DIR, OUT, IN)),
            (stacked.T, (IN, OUT)),
        ]:
            layout = layout_of(parameter(array.shape, axes, tuple(gates)))

            assert layout.sections == wanted.sections
            np.testing.assert_array_equal(
                picture_of(layout, array), picture_of(wanted, values.reshape(count * 16, 5))
            )


def test_both_directions_have_gates_of_their_own() -> None:
    layout = layout_of(CASES["lstm, two directions"])

    names = [section.name for section in layout.sections]
    assert names == ["i 1", "f 1", "g 1", "o 1", "i 2", "f 2", "g 2", "o 2"]
    assert layout.texel((1, 8, 0)) == (layout.sections[7].row, 0)  # o is stored second


def test_parts_of_unequal_length_or_unknown_names_stay_as_they_are() -> None:
    assert layout_of(parameter((10, 4), (OUT, IN), ("i", "o", "f", "c"))).sections == ()
    peepholes = layout_of(parameter((12, 4), (OUT, IN), ("i", "o", "f")))

    assert [section.name for section in peepholes.sections] == ["i", "o", "f"]


def test_asking_for_an_element_that_is_not_there_is_an_error() -> None:
    with pytest.raises(IndexError, match="no element"):
        layout_of(CASES["matrix"]).texel((6, 0))

"""What is read where axes lie in another order: all of a stretch, each element once."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from thorough import up_to

from accweight_core.io import strided
from accweight_core.io.strided import Box, boxes_of, parts_of


@settings(max_examples=up_to(200))
@given(
    axes=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 700)), max_size=4),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_parts_hold_each_element_of_a_stretch_once_whatever_the_strides(
    axes: list[tuple[int, int]], ends: tuple[float, float]
) -> None:
    shape, strides = (tuple(axis[part] for axis in axes) for part in (0, 1))
    start, stop = sorted(round(end * math.prod(shape)) for end in ends)
    index = np.indices(shape).reshape(len(shape), math.prod(shape))
    stored = (index * np.array(strides, np.int64)[:, None]).sum(axis=0)
    found: list[int] = []

    for box in boxes_of(shape, strides, start, stop) if start < stop else ():
        places = np.full(box.shape, -1)
        for part, where in parts_of(box, 4):
            steps = [np.arange(n) * s for n, s in zip(part.shape, part.strides, strict=True)]
            offsets = sum(np.meshgrid(*steps, indexing="ij")) if steps else 0
            assert (places[where] == -1).all()
            places[where] = part.first + offsets
        found += places.reshape(-1).tolist()

    assert found == stored[start:stop].tolist()


def test_rows_that_lie_within_each_other_are_read_in_parts_that_end() -> None:
    box = Box(0, (2, 10), (640, 100))

    parts = [part for part, _ in parts_of(box, 4)]

    assert sum(math.prod(part.shape) for part in parts) == 20
    assert all(part.span <= strided.MOST_GAPS * math.prod(part.shape) for part in parts)

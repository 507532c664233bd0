"""Gradient ascent of inputs, and what says since when it finds the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from probe_networks import Classifier, Plain, stack

from accweight_core.probes.ascent import Ascent, exciting_inputs, smoothed
from accweight_core.probes.known import median_of_known
from accweight_core.probes.patches import with_units
from accweight_core.probes.pixels import pictured_each, shown
from accweight_core.probes.since import held_since
from accweight_core.probes.units import Position, UnitAxes, by_node

Array = np.ndarray[Any, np.dtype[Any]]

ZERO = np.zeros((2, 3), np.float32)


def constant(x: Array) -> Array:
    """Return the gradient of a linear function."""
    return np.broadcast_to(np.float32([1, 2, -4]), x.shape)


# ---------------------------------------------------------------- ascent


def test_a_linear_function_is_climbed_on_a_straight_line() -> None:
    found = Ascent(iterations=5, rate=0.5).climbed(ZERO, constant)

    assert found.dtype == np.float32
    assert found.tolist() == [[2.5, 5, -10]] * 2


def test_decay_leads_to_where_it_takes_as_much_as_is_added() -> None:
    found = Ascent(iterations=200, decay=0.2).climbed(ZERO, constant)

    np.testing.assert_allclose(found[0], np.array([1, 2, -4]) * 0.8 / 0.2, rtol=1e-5)


def test_blur_spreads_a_pixel_and_leaves_what_is_even() -> None:
    dot = np.zeros((1, 1, 5, 5), np.float32)
    dot[..., 2, 2] = 16
    nothing = np.zeros_like(dot)

    found = Ascent(iterations=1, blur=1.0).climbed(dot, lambda x: nothing)

    assert found[0, 0, 1:4, 1:4].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert smoothed(np.ones((1, 1, 3, 3))).tolist() == np.ones((1, 1, 3, 3)).tolist()
    assert Ascent(1, blur=1.0).climbed(ZERO, constant).tolist() == constant(ZERO).tolist()


@pytest.mark.parametrize("at_once", [0, 3])
def test_every_unit_has_the_input_along_its_own_weights(at_once: int) -> None:
    torch.manual_seed(0)
    module = stack(4, 70, 2)
    bound = Plain(module).with_weights({})
    begin = np.float32([1, 0, 0, 0])

    found = exciting_inputs(
        bound, "0", UnitAxes(0, (1,), 70, ()), 70, begin, Ascent(3), at_once=at_once
    )

    weight = module[0].weight.detach().numpy()
    np.testing.assert_allclose(found.x, begin + 3 * weight, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.before, weight[:, 0] + module[0].bias.detach().numpy(),
                               rtol=1e-5)  # fmt: skip
    gained = 3 * (weight**2).sum(axis=1)
    np.testing.assert_allclose(found.value - found.before, gained, rtol=1e-4)


@pytest.mark.parametrize(
    ("position", "chosen"), [("centre", (1, 2)), ("last", (2, 4)), ("all", None)]
)
def test_a_unit_is_left_at_one_position_or_at_all(
    position: Position, chosen: tuple[int, int] | None
) -> None:
    axes = UnitAxes(0, (1,), 2, (3, 5))
    mask = np.zeros((2, 15))

    mask[:, axes.place(position)] = 1

    expected = np.ones((3, 5)) if chosen is None else np.zeros((3, 5))
    if chosen is not None:
        expected[chosen] = 1
    np.testing.assert_array_equal(mask[1].reshape(3, 5), expected)


def test_units_of_samples_are_left_and_all_others_are_0() -> None:
    bound, axes = Plain(Classifier()).with_weights({}), UnitAxes(0, (1,), 4, (6, 6))
    x = np.random.default_rng(0).random((2, 1, 8, 8), np.float32)

    plain = bound.run(x, ["conv"])["conv"]
    found = with_units(bound, "conv", axes, np.array([3, 1]), np.array([0, 7])).run(x, ["conv"])

    left = np.zeros_like(plain)
    left[0, 3, 0, 0], left[1, 1, 1, 1] = plain[0, 3, 0, 0], plain[1, 1, 1, 1]
    np.testing.assert_array_equal(found["conv"], left)


# ---------------------------------------------------------------- what is said of it


def test_what_holds_until_the_end_holds_since_it_last_began() -> None:
    holds = np.array([[1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 0, 0]]) > 0

    found = held_since(holds, [5, 10, 20])

    assert found[:2].tolist() == [20, 5]
    assert np.isnan(found[2:]).all()


def test_each_picture_has_its_own_scale_at_all_steps() -> None:
    values = np.zeros((2, 3, 1, 2, 2))
    values[0, 0, 0, 0, 0], values[1, 0, 0, 0, 0], values[1, 1] = 2, -4, 0.5

    found = pictured_each(values, shown)

    pixels = found["images"][..., 0]
    assert pixels[:, 0, 0, 0].tolist() == [round(128 + 127 / 2 + 1e-9), 1]
    assert (pixels[1, 1] == 255).all()
    assert (pixels[:, 2] == 128).all(), "what is 0 has no scale"
    assert found["scale"].tolist() == [[-1, 1], [-1, 1]]


def test_units_are_those_of_their_nodes() -> None:
    found = by_node(np.arange(10).reshape(2, 5), {"a": 2, "b": 3})

    assert {name: own.tolist() for name, own in found.items()} == {
        "a": [[0, 1], [5, 6]],
        "b": [[2, 3, 4], [7, 8, 9]],
    }


def test_the_median_is_that_of_what_is_known() -> None:
    assert median_of_known(np.array([1, np.nan, 5, 2, np.inf])) == 2
    assert np.isnan(median_of_known(np.array([np.nan])))

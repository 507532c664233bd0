"""The null beside a movement: its formulas against walks that were really walked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from test_cli import accweight

import accweight_core as aw
from accweight_core.metrics.random_walk import WALKED, random_walk, walk_shares

STEPS = np.array([1.0, 0.2, 0.7, 0.4, 0.05, 0.3, 0.9, 0.1])
"""Sizes of steps, as uneven as those of checkpoints at uneven distances."""


def walks(elements: int, seed: int, scale: npt.ArrayLike = 1.0) -> npt.NDArray[np.float64]:
    """Return the weights of a random walk: (steps, elements)."""
    chance = np.random.default_rng(seed)
    start = chance.normal(size=(1, elements))
    moved = chance.normal(size=(len(STEPS), elements)) * STEPS[:, None] * scale
    return np.concatenate([start, start + np.cumsum(moved, axis=0)])


@pytest.mark.parametrize("scale", ["alike", "different"])
def test_walks_lie_within_the_bands_as_often_as_they_say(scale: str) -> None:
    elements, layers = 400, 120
    sizes = 1.0 if scale == "alike" else np.random.default_rng(9).choice([0.5, 1.5], elements)
    each = [walks(elements, seed, sizes)[:, None] for seed in range(layers)]
    run = [{f"l{n}.weight": walk[t] for n, walk in enumerate(each)} for t in range(len(each[0]))]
    inside = dict.fromkeys(WALKED, 0)
    off = {name: list[float]() for name in WALKED}

    for row in aw.analyze(run, threads=1).measured():
        for name, expected in random_walk(row.totals, -1).items():
            inside[name] += expected.holds(row.metrics[name][-1])
            off[name].append(row.metrics[name][-1] / expected.value - 1)

    for name in WALKED:
        assert abs(np.mean(off[name])) < 0.01
        if scale == "alike":  # weights of different scales are fewer than they seem
            assert 0.88 <= inside[name] / layers <= 1


def test_two_checkpoints_are_a_straight_line_for_walks_too() -> None:
    (row,) = aw.analyze([{"a.weight": w[None]} for w in walks(50, 0)[:2]]).measured()

    expected = random_walk(row.totals, -1)["efficiency"]

    assert (expected.low, expected.value, expected.high) == pytest.approx((1, 1, 1))


def test_equal_steps_have_the_efficiency_of_the_root() -> None:
    steps = np.random.default_rng(0).normal(size=(16, 300)).cumsum(0)
    (row,) = aw.analyze([{"a.weight": w[None]} for w in steps]).measured()

    assert random_walk(row.totals, -1)["efficiency"].value == pytest.approx(15**-0.5, rel=0.02)


def test_what_stood_still_or_began_at_zero_has_no_null() -> None:
    states = [{"a.weight": np.ones((2, 2)), "b.weight": np.full((2, 2), float(t))} for t in (0, 1)]
    still, zero = aw.analyze(states).measured()

    assert all(np.isnan(expected.value) for expected in random_walk(still.totals, -1).values())
    found = random_walk(zero.totals, -1)
    assert np.isnan(found["relative"].value)
    assert found["efficiency"].value == 1


def test_components_of_a_walk_explain_what_was_found_of_them() -> None:
    points = 60
    walk = np.random.default_rng(1).normal(size=(points, 4000)).cumsum(0)
    walk -= walk.mean(axis=0)
    spectrum = np.linalg.eigvalsh(walk @ walk.T)[::-1]

    shares = walk_shares(points, 4)

    assert shares == pytest.approx((spectrum / spectrum.sum())[:4].tolist(), rel=0.05)
    assert walk_shares(5000) == pytest.approx([6 / (np.pi * k) ** 2 for k in (1, 2, 3)], rel=1e-3)
    assert walk_shares(1) == []


def test_rank_shows_the_null_beside_the_movement(tmp_path: Path) -> None:
    run = [{"a.weight": w.reshape(20, 20), "b.weight": np.ones((2, 2))} for w in walks(400, 3)]
    aw.analyze(run, tmp_path / "run.accw")

    text = accweight("rank", tmp_path / "run.accw").out
    document = accweight("rank", tmp_path / "run.accw", "--json").document

    walk = document["ranking"][0]["random_walk"]["efficiency"]
    assert walk["low"] < document["ranking"][0]["efficiency"] < walk["high"]
    assert "(~0." in text
    assert "relative is evidence for how much training this layer mattered" in text
    assert document["ranking"][1]["random_walk"]["rotation"]["value"] is None

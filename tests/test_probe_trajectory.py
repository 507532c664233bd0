"""The probe `trajectory`, on paths that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from probe_networks import write_states
from sklearn.decomposition import PCA

import accweight_core as aw

SHAPES = {"conv.weight": (4, 2, 3, 3), "conv.bias": (4,), "fc.weight": (6, 50)}


def run_of(tmp_path: Path, walks: np.ndarray, name: str = "run") -> Path:
    """Write (steps, elements) as the weights of a run."""
    sizes = np.cumsum([int(np.prod(s)) for s in SHAPES.values()])[:-1]
    states = []
    for row in walks:
        parts = zip(SHAPES.items(), np.split(row, sizes), strict=True)
        states.append({n: torch.from_numpy(part.reshape(s)).float() for (n, s), part in parts})
    return write_states(tmp_path / name, states)


ELEMENTS = sum(int(np.prod(shape)) for shape in SHAPES.values())


def random_walk(steps: int, seed: int = 0) -> np.ndarray:
    moves = np.random.default_rng(seed).standard_normal((steps, ELEMENTS))
    return moves.cumsum(axis=0).astype(np.float32)


def test_inner_products_give_the_components_of_scikit_learn(tmp_path: Path) -> None:
    walk = random_walk(9)

    found = aw.probe(run_of(tmp_path, walk), probes="trajectory", out=tmp_path / "a.accw")
    result = found["trajectory"]

    library = PCA(3).fit(walk.astype(np.float64))
    np.testing.assert_allclose(result.array("variance"), library.explained_variance_ratio_)
    theirs = np.abs(library.transform(walk.astype(np.float64)))
    np.testing.assert_allclose(np.abs(result.array("coordinates")), theirs, atol=1e-8)
    moved = walk.astype(np.float64) - walk[0]
    np.testing.assert_allclose(result.array("gram").sum(axis=0), moved @ moved.T, rtol=1e-12)
    layer = moved[:, -300:]
    expected = layer @ layer[-1] / np.linalg.norm(layer, axis=1)[1:].min()
    assert np.sign(result.array("layer_direction")[1:, 1] - 0) == pytest.approx(
        np.sign(expected[1:])
    )
    lengths = np.linalg.norm(layer, axis=1)
    np.testing.assert_allclose(result.array("layer_displacement")[:, 1], lengths)
    moves = np.linalg.norm(np.diff(layer, axis=0), axis=1)
    np.testing.assert_allclose(result.array("layer_step")[1:, 1], moves, rtol=1e-6)


def test_a_straight_walk_is_a_line_and_a_turn_is_seen_in_the_cosines(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    way, other = chance.standard_normal((2, ELEMENTS))
    straight = np.arange(6)[:, None] * way
    there_and_away = np.concatenate([straight, straight[-1] + np.arange(1, 4)[:, None] * other])

    line = aw.probe(run_of(tmp_path, straight), probes="trajectory", out=tmp_path / "a.accw")
    turn = aw.probe(
        run_of(tmp_path, there_and_away, "turn"), probes="trajectory", out=tmp_path / "b.accw"
    )

    assert line["trajectory"].array("variance")[0] == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(line["trajectory"].array("cosine")[1:, 1:], 1, atol=1e-6)
    cosine = turn["trajectory"].array("cosine")
    assert cosine[1, 5] == pytest.approx(1, abs=1e-6)
    assert cosine[1, 8] < 0.95
    assert turn["trajectory"].array("variance")[:2].sum() == pytest.approx(1, abs=1e-6)


def test_what_is_not_finite_is_left_out(tmp_path: Path) -> None:
    walk = random_walk(5)
    broken = walk.copy()
    broken[3, :7] = np.nan
    without = walk.copy()
    without[:, :7] = walk[0, :7]

    found = aw.probe(run_of(tmp_path, broken), probes="trajectory", out=tmp_path / "a.accw")
    clean = aw.probe(run_of(tmp_path, without, "b"), probes="trajectory", out=tmp_path / "b.accw")

    np.testing.assert_array_equal(
        found["trajectory"].array("gram"), clean["trajectory"].array("gram")
    )


def test_chosen_steps_are_held_against_the_first_of_the_run(tmp_path: Path) -> None:
    run = run_of(tmp_path, random_walk(9))
    whole = aw.probe(run, probes="trajectory", out=tmp_path / "a.accw")["trajectory"]

    some = aw.probe(run, probes="trajectory", steps=[4, 8], out=tmp_path / "b.accw")["trajectory"]

    gram = whole.array("gram")[:, [4, 8]][:, :, [4, 8]]
    np.testing.assert_allclose(some.array("gram"), gram, rtol=1e-12)
    assert some.steps.tolist() == [4, 8]
    assert np.isnan(some._store.array("displacement")[:]).sum() == 7

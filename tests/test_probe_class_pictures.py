"""What a class looks like to a network follows the pictures that it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from probe_networks import probed, stack, trained

Array = np.ndarray[Any, Any]


def shapes() -> Array:
    """Return a square, a disc and a cross of 8 x 8 pixels, of mean 0 and length 1, flat."""
    across, down = np.meshgrid(np.arange(8) - 3.5, np.arange(8) - 3.5)
    square = np.maximum(abs(across), abs(down)) == 2.5
    disc = across**2 + down**2 < 6
    cross = abs(abs(across) - abs(down)) < 0.6
    flat = np.stack([square, disc, cross]).reshape(3, 64).astype(np.float64)
    flat -= flat.mean(axis=0)
    return np.asarray(flat / np.linalg.norm(flat, axis=1, keepdims=True))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_class_looks_most_like_the_shape_it_was_trained_on(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    y, chance = np.arange(150) % 3, np.random.default_rng(0)
    x = shapes()[np.array(order)[y]] + 0.1 * chance.standard_normal((150, 64))
    module = stack(64, 12, 3)
    states = trained(module, x.astype(np.float32), y, epochs=3, rate=0.02)

    asked = "feature_visualization:layers=2,units=3,begin_at=mean"
    found = probed(tmp_path, stack(64, 12, 3), states, (x.astype(np.float32), y), asked)

    optima = found.array("optimum", 3).reshape(3, 64)
    alike = np.corrcoef(np.concatenate([optima, shapes()]))[:3, 3:]
    assert alike.argmax(axis=1).tolist() == list(order)
    assert alike.max(axis=1).min() > 0.5
    assert found.labels("picture") == ("2/0", "2/1", "2/2")

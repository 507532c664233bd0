"""Pictures of simple shapes in grey: lines and discs that are drawn by their distance."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from accweight_adapters.demo.gallery.networks.training import Array

Shape = Callable[[Array, Array], Array]
"""From x and y, -1 to 1 within the shape's box, to how far inside a point is (above 0)."""

LINE = 0.3
"""Half of the width of a line."""

SHAPES: Mapping[str, Shape] = {
    "square": lambda x, y: 1 - np.maximum(abs(x), abs(y)),
    "disc": lambda x, y: 1 - np.hypot(x, y),
    "cross": lambda x, y: np.minimum(LINE - abs(abs(x) - abs(y)) / np.sqrt(2), 1 - abs(x)),
    "plus": lambda x, y: np.maximum(np.minimum(LINE - abs(x), 1 - abs(y)),
                                    np.minimum(LINE - abs(y), 1 - abs(x))),
    "ring": lambda x, y: LINE - abs(np.hypot(x, y) - 0.75),
    "corner": lambda x, y: np.maximum(np.minimum(LINE - abs(x + 0.7), 1 - abs(y)),
                                      np.minimum(LINE - abs(y - 0.7), 1 - abs(x))),
}  # fmt: skip


def drawn(name: str, side: int, centre: tuple[float, float], radius: float) -> Array:
    """Return a picture of a shape, (side, side) from 0 to 1, with soft edges.

    Args:
        name: One of `SHAPES`.
        side: Pixels along a side.
        centre: (x, y) of the middle of the shape, in pixels.
        radius: Half of its size, in pixels.
    """
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    inside = SHAPES[name]((x - centre[0]) / radius, (y - centre[1]) / radius)
    return np.asarray(np.clip(0.5 + inside * radius, 0, 1), np.float32)


def scattered(name: str, side: int, chance: np.random.Generator) -> Array:
    """Return a shape of any size at any place, brighter or darker, on a noisy ground."""
    radius = chance.uniform(3.6, 4.6)
    centre = chance.uniform(radius, side - 1 - radius, 2)
    shape = drawn(name, side, (centre[0], centre[1]), radius)
    noise = chance.normal(0.1, 0.04, (side, side))
    return np.clip(noise + chance.uniform(0.65, 0.85) * shape, 0, 1).astype(np.float32)

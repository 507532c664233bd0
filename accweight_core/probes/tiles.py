"""Samples as tiles of one picture: dark what does not matter, orange what raises a unit."""

from __future__ import annotations

import numpy as np

from accweight_core.probes.pixels import folded, shown
from accweight_core.probes.probe import Array
from accweight_core.samples.pictures import scaled, smaller

ORANGE = np.array([255.0, 140.0, 40.0])
OUTSIDE, BASE = 0.3, 0.8
"""Brightness of what a unit does not depend on, and of what it does."""


def tiles(x: Array, gradient: Array | None = None) -> Array:
    """Return samples as (samples, height, width, 3) of bytes, with what raises a unit in orange."""
    plain = scaled(smaller(shown(x.astype(np.float32)))).astype(np.float64)
    colour = np.broadcast_to(plain, (*plain.shape[:3], 3))
    if gradient is None:
        return colour.astype(np.uint8)
    depends = _summed(np.abs(gradient)) > 0
    raises = np.maximum(_summed(gradient * x), 0)
    largest = raises.max(axis=(1, 2, 3), keepdims=True)
    share = np.sqrt(raises / np.where(largest > 0, largest, 1))
    lit = colour * np.where(depends, BASE, OUTSIDE)
    mixed: Array = lit + share * (ORANGE - lit)
    return np.rint(mixed).astype(np.uint8)


def _summed(ratings: Array) -> Array:
    """Return ratings as (samples, height, width, 1), added over channels."""
    return np.asarray(smaller(shown(ratings).sum(axis=-1, keepdims=True)), np.float64)


def montage(each: Array) -> Array:
    """Return (tiles, height, width, 3) as one picture, in lines, with a pixel between two."""
    down, across = folded(len(each))
    height, width = each.shape[1:3]
    found = np.full((down * (height + 1) - 1, across * (width + 1) - 1, 3), 255, np.uint8)
    for place, tile in enumerate(each):
        top, left = place // across * (height + 1), place % across * (width + 1)
        found[top : top + height, left : left + width] = tile
    return found

"""Samples as small pictures, to be shown beside what a network makes of them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from accweight_core.samples.samples import Data

SIDE = 32
"""Most pixels along a side; larger samples are averaged over squares."""

MOST_SAMPLES = 5000

LEAST_FLAT = 64
"""Numbers of a flat sample from which on it may be a picture, if they fill a square."""

Pictures = npt.NDArray[np.uint8]


def sample_pictures(data: Data, rows: npt.NDArray[np.int64], side: int = SIDE) -> Pictures | None:
    """Return some samples as pictures; None if there are too many, or they are no pictures.

    Pictures are samples of one input, of shape (channels, height, width), (height, width, channels)
    or (height, width), or flat ones whose numbers fill a square. They share one scale, from the
    smallest number to the largest; numbers of 8 bits are left as they are.

    Args:
        data: The samples.
        rows: Which of them.
        side: Most pixels along a side.

    Returns:
        (samples, height, width, channels), with 1 or 3 channels.
    """
    if len(data.inputs) != 1 or not 0 < len(rows) <= MOST_SAMPLES:
        return None
    whole = data.inputs[0]
    if whole.dtype.kind not in "uif":
        return None
    shape = _frame(whole.shape[1:])
    if shape is None:
        return None
    chosen = whole[rows]
    if shape == "flat":
        edge = math.isqrt(whole.shape[1])
        chosen = chosen.reshape(len(rows), edge, edge, 1)
    elif shape == "first":
        chosen = np.moveaxis(chosen, 1, -1)
    elif shape == "plain":
        chosen = chosen[..., None]
    return scaled(smaller(chosen[..., :3] if chosen.shape[-1] > 1 else chosen, side))


def _frame(shape: tuple[int, ...]) -> str | None:
    """Return where the channels of a sample are; None if it is no picture."""
    if len(shape) == 3 and shape[0] in (1, 3, 4) and min(shape[1:]) > 4:
        return "first"
    if len(shape) == 3 and shape[2] in (1, 3, 4) and min(shape[:2]) > 4:
        return "last"
    if len(shape) == 2 and min(shape) >= 8:
        return "plain"
    return "flat" if fills_square(shape) else None


def fills_square(shape: tuple[int, ...]) -> bool:
    """Tell whether the numbers of a flat sample may be a picture."""
    is_square = len(shape) == 1 and math.isqrt(shape[0]) ** 2 == shape[0]
    return is_square and shape[0] >= LEAST_FLAT


def smaller(pictures: npt.NDArray[np.generic], side: int = SIDE) -> npt.NDArray[np.generic]:
    """Return (pictures, height, width, channels), averaged over squares if they are larger."""
    count, high, wide, channels = pictures.shape
    factor = -(-max(high, wide) // side)
    if factor == 1:
        return pictures
    high, wide = max(high // factor, 1), max(wide // factor, 1)
    cut = pictures[:, : high * factor, : wide * factor]
    squares = cut.reshape(count, high, cut.shape[1] // high, wide, cut.shape[2] // wide, channels)
    found: npt.NDArray[np.generic] = squares.mean(axis=(2, 4), dtype=np.float32)
    return found if pictures.dtype != np.uint8 else np.rint(found).astype(np.uint8)


def scaled(pictures: npt.NDArray[np.generic]) -> Pictures:
    """Return pictures as bytes on one scale, from the smallest number to the largest."""
    if pictures.dtype == np.uint8:
        return pictures.astype(np.uint8)
    values = np.nan_to_num(pictures.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    scaled: Pictures = np.rint((values - low) * (255 / ((high - low) or 1.0))).astype(np.uint8)
    return scaled

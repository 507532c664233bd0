"""Signed values as pixels, on a scale that stays the same through time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from accweight_core.analysis.probe_pictures import OWN_SCALE
from accweight_core.probes.probe import Array, Field, Results, final

MIDDLE = 128
"""The pixel of the value 0; the largest and the smallest value are 255 and 1."""

LONGEST_ROW = 256
"""Values of a sequence that stand in one row."""


def as_pixels(values: Array, largest: float) -> Array:
    """Return values from -largest to largest as uint8, 0 in the middle; NaN is 0."""
    if largest <= 0:
        return np.full(values.shape, MIDDLE, np.uint8)
    scaled = np.clip(values / largest, -1, 1) * (MIDDLE - 1) + MIDDLE
    return np.where(np.isfinite(values), np.rint(scaled), 0).astype(np.uint8)


def largest_of(results: Results, name: str) -> Array:
    """Return the largest absolute value of an array at every finished step; 0 without any."""
    found = []
    for index in range(len(results.steps)):
        values = np.abs(results.at(name, index))
        finite = values[np.isfinite(values)]
        found.append(float(finite.max(initial=0.0)))
    return np.array(found)


PICTURE = "height width channel"
"""The axes of a picture."""


def picture_lengths(shape: Sequence[int]) -> dict[str, int]:
    """Return the lengths of the axes of pictures of some shape."""
    return dict(zip(PICTURE.split(), shape, strict=True))


def sample_lengths(shape: Sequence[int]) -> dict[str, int]:
    """Return axes for the values of a sample, and their lengths."""
    return {f"axis{at}": length for at, length in enumerate(shape)}


def picture_fields(axis: str, words: str, *, is_own: bool = False) -> tuple[Field, Field]:
    """Return the arrays that `pictured` and `pictured_each` make, as a probe stores them.

    Args:
        axis: The axis of the pictures of a step.
        words: What they show, in a phrase.
        is_own: Whether every picture has a scale of its own, as those of `pictured_each` have.
    """
    bound = OWN_SCALE if is_own else "the values that are black and white"
    return (
        final("images", f"step {axis} {PICTURE}", f"{words}: {MIDDLE} is 0", "uint8"),
        Field("scale", ("step", "bound"), (0, 2), bound, final=True),
    )


def drawn_lengths(drawn: Callable[[Array], Array], shape: Sequence[int]) -> dict[str, int]:
    """Return the lengths of the axes of pictures that a function makes of values of some shape.

    Args:
        drawn: Makes (pictures, height, width, channels) of (pictures, ...).
        shape: Shape of the values of one picture.
    """
    return picture_lengths(drawn(np.zeros((1, *shape), np.float32)).shape[1:])


def pictured(
    results: Results,
    name: str,
    drawn: Callable[[Array], Array] = lambda values: values,
    *,
    each_step: bool = False,
) -> dict[str, Array]:
    """Return `images`, an array at every finished step as pixels, and their `scale`.

    Args:
        results: What a probe has stored.
        name: The array.
        drawn: Makes pictures of its values.
        each_step: Whether every step has a scale of its own, and not all the same.
    """
    largest = largest_of(results, name)
    if not each_step:
        largest = np.full_like(largest, largest.max(initial=0.0))
    images = [
        as_pixels(drawn(results.at(name, index)), float(scale))
        for index, scale in enumerate(largest)
    ]
    return {"images": np.stack(images), "scale": bounds(largest)}


def pictured_each(values: Array, drawn: Callable[[Array], Array]) -> dict[str, Array]:
    """Return `images` as `pictured` does, each picture on a scale of its own through all steps.

    Args:
        values: (steps, pictures, ...).
        drawn: Makes (pictures, height, width, channels) of those of a step.
    """
    largest = np.max([np.abs(own).reshape(len(own), -1).max(axis=1) for own in values], axis=0)
    scale = np.where(largest > 0, largest, 1).reshape(-1, 1, 1, 1)
    images = [as_pixels(drawn(own) / scale, 1.0) for own in values]
    return {"images": np.stack(images), "scale": bounds(np.ones(len(values)))}


def bounds(largest: Array) -> Array:
    """Return (steps, 2): the values that are black and white."""
    return np.stack([-largest, largest], axis=1)


def folded(length: int) -> tuple[int, int]:
    """Return (height, width) of the nearly square picture that has room for so many values.

    >>> folded(9), folded(10)
    ((3, 3), (3, 4))
    """
    width = math.ceil(math.sqrt(length))
    return math.ceil(length / max(width, 1)), width


def as_picture(flat: Array) -> Array:
    """Return (..., n) as (..., height, width), filled up with NaN."""
    height, width = folded(flat.shape[-1])
    missing = height * width - flat.shape[-1]
    padding = [(0, 0)] * (flat.ndim - 1) + [(0, missing)]
    whole = np.pad(flat, padding, constant_values=np.nan)
    return whole.reshape(*flat.shape[:-1], height, width)


def in_rows(flat: Array) -> Array:
    """Return (..., n) as (..., 1, n); very long ones in equal rows, filled up with NaN.

    >>> in_rows(np.zeros((8, 10))).shape, in_rows(np.zeros((8, 600))).shape
    ((8, 1, 10), (8, 3, 200))
    """
    height = max(math.ceil(flat.shape[-1] / LONGEST_ROW), 1)
    width = math.ceil(flat.shape[-1] / height)
    padding = [(0, 0)] * (flat.ndim - 1) + [(0, height * width - flat.shape[-1])]
    whole = np.pad(flat.astype(np.float32), padding, constant_values=np.nan)
    return whole.reshape(*flat.shape[:-1], height, width)


def pictures_of(parts: Array) -> Array:
    """Return ratings as (samples, height, width); those of channels are added.

    Args:
        parts: (samples, channels, height, width), (samples, height, width) or (samples, numbers).
    """
    if parts.ndim == 4:
        summed: Array = parts.sum(axis=1)
        return summed
    if parts.ndim == 3:
        return parts
    return as_picture(parts.reshape(len(parts), -1).astype(np.float32))


def shown(inputs: Array) -> Array:
    """Return inputs as (pictures, height, width, channels), with three channels or one."""
    if inputs.ndim == 4 and inputs.shape[1] == 3:
        return inputs.transpose(0, 2, 3, 1)
    return pictures_of(inputs)[..., None]


def beside(pictures: Array, left: Array, right: Array, blank: int) -> Array:
    """Return pairs of pictures, side by side with a line between them.

    Args:
        pictures: (pictures, height, width, channels).
        left: (pairs,) which one is left; -1 for a pair that is not there.
        right: (pairs,) which one is right.
        blank: Value of lines, and of pairs that are not there.

    Returns:
        (pairs, height, 2 width + 1, channels).
    """
    height, width, channels = pictures.shape[1:]
    found = np.full((len(left), height, 2 * width + 1, channels), blank, pictures.dtype)
    there = left >= 0
    found[there, :, :width] = pictures[left[there]]
    found[there, :, width + 1 :] = pictures[right[there]]
    return found

"""The plane of two inputs in colours: values above and below 0, and classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accweight_core.colours.themes import LIGHT
from accweight_core.probes.probe import Array

ORANGE, BLUE = np.array([240.0, 130.0, 20.0]), np.array([20.0, 110.0, 220.0])


def signed_picture(values: Array) -> Array:
    """Return (height, width, 3): orange above 0, blue below, white at 0; dark where not finite."""
    largest = np.abs(values[np.isfinite(values)]).max(initial=0.0) or 1.0
    share = np.sqrt(np.clip(np.abs(np.nan_to_num(values)) / largest, 0, 1))[..., None]
    tone = np.where((np.nan_to_num(values) > 0)[..., None], ORANGE, BLUE)
    mixed = np.where(np.isfinite(values)[..., None], 255 + share * (tone - 255), 40)
    return np.rint(mixed).astype(np.uint8)


def palette() -> Array:
    """Return (classes, 3): the colours of classes, 0 to 255."""
    return np.array([[int(c[at : at + 2], 16) for at in (1, 3, 5)] for c in LIGHT.classes], float)


def decided(scores: Array) -> tuple[Array, Array]:
    """Return the class that points are given, and how sure that is.

    Args:
        scores: (..., classes), or (..., 1): of two classes, the second above 0; if all are
            probabilities, above one half.

    Returns:
        (...) classes, and how far the largest score is above the next one, 0 to 1.
    """
    if scores.shape[-1] > 1:
        predicted, ordered = scores.argmax(axis=-1), np.sort(scores, axis=-1)
        ahead = ordered[..., -1] - ordered[..., -2]
    else:
        middle = 0.5 if ((scores >= 0) & (scores <= 1)).all() else 0.0
        predicted = (scores[..., 0] > middle).astype(int)
        ahead = np.abs(scores[..., 0] - middle)
    return predicted, np.tanh(ahead / (np.median(ahead) or 1.0))


def class_picture(predicted: Array, sure: Array) -> Array:
    """Return (height, width, 3): the colours of classes, pale where the network is not sure."""
    tone = palette()[predicted % len(LIGHT.classes)]
    found: Array = np.rint(255 + (0.15 + 0.6 * sure[..., None]) * (tone - 255)).astype(np.uint8)
    return found


def with_dots(picture: Array, points: Array, labels: Sequence[int] | None) -> Array:
    """Return a square picture with a dot per sample, in the colour of its class.

    Args:
        picture: (side, side, 3).
        points: (samples, 2) across and upwards, from 0 to 1.
        labels: The classes; without them, there are no dots.
    """
    if labels is None:
        return picture
    last = len(picture) - 1
    across, up = np.rint(points * last).astype(int).T
    dotted = picture.copy()
    dotted[last - up, across] = 0.6 * palette()[np.array(labels) % len(LIGHT.classes)]
    return dotted

"""The pictures that a probe stored, one by one: their pixels, names and scale."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.probe_kinds import PIXELS
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.analysis.shown_names import shown_names
from accweight_core.colours.themes import LIGHT

Pixels = npt.NDArray[np.uint8]

GREY_AND_RGB = (1, 3)

ABOVE, BELOW = (255, 140, 40), (70, 150, 255)
"""Colours of ratings above and below 0, on pages as well; the stronger, the larger they are."""

MIDDLE, REACH = 128, 127
"""The pixel of the number 0, and how far the largest number is from it."""

OWN_SCALE = "the values that are black and white, as shares of the largest of each picture"
"""What is said of the scale where every picture has its own."""

STRIP = 4
"""Width of a picture, as a multiple of its height, from which on it is a sequence."""


def as_units(images: Pixels, has_channels: bool = True) -> Pixels:
    """Return (units, height, width, channels) with 1 or 3 channels, whatever axes were before."""
    whole = images if has_channels else images[..., None]
    units = whole.reshape(-1, *whole.shape[-3:])
    return units if units.shape[-1] in GREY_AND_RGB else units[..., :1]


def pictures_at(result: ProbeResult, name: str, step: int) -> Pixels:
    """Return the pictures of an array at a step.

    Args:
        result: The result.
        name: An array of pictures.
        step: A finished step.

    Returns:
        (units, height, width, channels), with 1 or 3 channels.

    Raises:
        StoreError: If they are damaged.
    """
    return as_units(result.array(name, step), result.fields[name].axes[-1] == PIXELS[-1])


def unit_names(result: ProbeResult, name: str, count: int) -> tuple[str, ...]:
    """Return the names of the pictures of an array: their numbers, if it does not name them all."""
    axes = result.fields[name].axes
    named = shown_names(result, axes[1]) if axes[1] not in PIXELS else ("",)
    return named if len(named) == count else tuple(map(str, range(count)))


def is_signed(result: ProbeResult) -> bool:
    """Tell whether the pictures of a result are of numbers on both sides of 0."""
    return "scale" in result.arrays and bool((result.array("scale")[:, 0] < 0).any())


def are_strips(result: ProbeResult, name: str, pictures: Pixels) -> bool:
    """Tell whether pictures are of samples that are sequences: each has a line to itself."""
    height, width = pictures.shape[1:3]
    return result.fields[name].axes[1] == "picture" and width >= STRIP * height


def token_rows(result: ProbeResult, name: str, pictures: Pixels) -> list[list[str]]:
    """Return the tokens of every sample, one for each pixel of its row; nothing if not known."""
    tokens = result.attributes.get("tokens") or []
    count, height, width = pictures.shape[:3]
    is_row = are_strips(result, name, pictures) or height == 1
    fits = len(tokens) == count and all(width <= len(one) <= height * width for one in tokens)
    return [list(map(str, one)) for one in tokens] if is_row and fits else []


def as_seen(result: ProbeResult, name: str, pictures: Pixels) -> Pixels:
    """Return (units, height, width, 3), or 4 where some of a picture is transparent.

    That is what has no value; and ratings, which have a colour by their sign and are transparent
    the more the nearer to 0 they are.

    Args:
        result: The result.
        name: The array.
        pictures: Pictures of it, of 1 or 3 channels.
    """
    if are_ratings(result, name, pictures):
        return _in_tones(pictures)
    rgb = pictures.repeat(3 // pictures.shape[-1], axis=-1)
    if name != "images" or not is_signed(result):
        return rgb
    there = (rgb > 0).any(axis=-1, keepdims=True)
    return rgb if there.all() else np.concatenate([rgb, 255 * there.astype(np.uint8)], axis=-1)


def are_ratings(result: ProbeResult, name: str, pictures: Pixels) -> bool:
    """Tell whether pictures are of numbers of samples, above and below 0, on one scale."""
    return (
        name == "images"
        and pictures.shape[-1] == 1
        and result.fields[name].axes[1] == "picture"
        and is_signed(result)
        and result.fields["scale"].words != OWN_SCALE
    )


def _in_tones(pictures: Pixels) -> Pixels:
    """Return ratings, (units, height, width, 1), in colours with their transparency."""
    ratings = (pictures.astype(np.int16) - MIDDLE) / REACH
    tones = np.where(ratings > 0, np.array(ABOVE), np.array(BELOW))
    shares = np.where(pictures > 0, np.minimum(np.abs(ratings), 1), 0)  # 0 is no value
    found: Pixels = np.rint(np.concatenate([tones, 255 * shares], axis=-1)).astype(np.uint8)
    return found


def on_colour(seen: Pixels, colour: tuple[int, int, int] = (255, 255, 255)) -> Pixels:
    """Return what `as_seen` returns on a background, without transparency."""
    if seen.shape[-1] == 3:
        return seen
    share = seen[..., 3:] / 255
    mixed = seen[..., :3] * share + np.array(colour) * (1 - share)
    found: Pixels = np.rint(mixed).astype(np.uint8)
    return found


def class_key(result: ProbeResult) -> list[tuple[str, str]]:
    """Return the classes that pictures have in colours, with their colours; none of others."""
    names = [str(one) for one in result.attributes.get("key") or []]
    return [(name, LIGHT.classes[at % len(LIGHT.classes)]) for at, name in enumerate(names)]


def scale_text(result: ProbeResult, name: str) -> str:
    """Return which values are black and white in pictures; empty if that is not known."""
    if "scale" not in result.arrays or name != "images":
        return ""
    if are_ratings(result, name, pictures_at(result, name, int(result.steps[-1]))):
        high = result.array("scale")[-1, 1]
        return f"orange above 0, blue below; full colour is {high:.3g} from 0 at all steps"
    if result.fields["scale"].words == OWN_SCALE:
        return "grey is 0; each picture has a scale of its own, the same at all steps"
    scale = result.array("scale")[:, 1]
    if len(set(scale.tolist())) > 1:
        return "grey is 0; black and white are the largest values of each step"
    return f"grey is 0; black to white is -{scale[0]:.3g} to {scale[0]:.3g} at all steps"

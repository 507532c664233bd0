"""Samples from a folder of images; sub-folders are the classes, in the order of their names.

Pillow reads the files. Pixels stay 8-bit in memory and are scaled batch by batch.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from accweight_core.errors import ArgumentValueError, FormatError, MissingLibraryError
from accweight_core.remote.local import check_not_special
from accweight_core.samples.samples import Array, Data, Input

ENDINGS: Final = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip

MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}
"""Modes of Pillow by the number of channels."""


def load_images(
    folder: Path, inputs: Sequence[Input], resize: tuple[int, int] | str | None
) -> Data:
    """Return the images in a folder as samples; of sub-folders, with their numbers as targets.

    Args:
        folder: Images, or a folder of images per class.
        inputs: Inputs of the network: one, (samples, channels, height, width) or with the channels
            last.
        resize: (height, width), or "input" for the size that the network takes. By default all
            images must have that size.

    Raises:
        MissingLibraryError: If Pillow is not installed.
        FormatError: If there are no images, or one cannot be read or does not fit.
        ArgumentValueError: If the network takes no images, or has no size to resize to.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingLibraryError("Pillow", "probe", f"{folder}: reading images") from None
    channels, size, is_last = _frame(inputs)
    if resize == "input" and 0 in size:
        raise ArgumentValueError("the network takes images of any size; say which: resize 224")
    wanted = size if resize == "input" else resize
    classes, files = _files_in(folder)
    shape: tuple[int, ...] = ()
    pixels: Array = np.empty(0, np.uint8)
    for number, (_, path) in enumerate(files):
        image = _read(Image, path, MODES[channels], wanted)  # type: ignore[arg-type]
        found = image.reshape(*image.shape[:2], channels)
        found = found if is_last else found.transpose(2, 0, 1)
        if not number:
            shape = found.shape
            pixels = np.empty((len(files), *shape), np.uint8)
        if found.shape != shape:
            raise FormatError(
                path, f"has pixels {_size(image)}, {files[0][1].name} others; give them one size "
                "with --resize"
            )  # fmt: skip
        pixels[number] = found
    high, wide = shape[:2] if is_last else shape[1:]
    if any(w not in (0, n) for w, n in zip(size, (high, wide), strict=True)):
        raise FormatError(
            folder, f"has images of {high}x{wide}, the network takes {size[0]}x{size[1]}; "
            "add --resize input"
        )  # fmt: skip
    targets = np.array([label for label, _ in files]) if classes else np.empty((len(files), 0))
    names = tuple(path.relative_to(folder).as_posix() for _, path in files)
    return Data((pixels,), targets, folder, classes=tuple(classes), names=names)


def _frame(inputs: Sequence[Input]) -> tuple[int, tuple[int, int], bool]:
    """Return channels, (height, width) and whether the channels are last; 0 for any length."""
    known = inputs[0].shape if len(inputs) == 1 else None
    if known is None and len(inputs) == 1:
        raise ArgumentValueError(
            "the network does not say which images it takes (a module has no shapes); read them "
            "yourself and give arrays"
        )
    if known is not None and len(known) == 4:
        _, *shape = known
        if shape[0] in MODES:
            return shape[0], (shape[1], shape[2]), False
        if shape[2] in MODES:
            return shape[2], (shape[0], shape[1]), True
    shown = "; ".join(f"{i.name!r} of shape {i.shape}" for i in inputs)
    raise ArgumentValueError(
        f"a folder of images is for networks with one input (samples, channels, height, width) of "
        f"1, 3 or 4 channels; this one takes {shown}"
    )


def _files_in(folder: Path) -> tuple[list[str], list[tuple[int, Path]]]:
    """Return the names of the classes, and the class and path of each image."""
    below = sorted((path for path in folder.iterdir() if path.is_dir()), key=_in_order)
    classes = [path for path in below if _images(path)]
    plain = _images(folder)
    if classes and plain:
        raise FormatError(
            folder, f"has images beside folders of images ({plain[0].name}, {classes[0].name}); "
            "put each in the folder of its class"
        )  # fmt: skip
    found = [(0, path) for path in plain]
    found += [(label, path) for label, home in enumerate(classes) for path in _images(home)]
    if not found:
        raise FormatError(folder, f"has no images (files ending in {', '.join(ENDINGS)})")
    return [home.name for home in classes], found


def _images(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    return sorted((p for p in found if not p.is_dir() and p.name[0] != "."), key=_in_order)


def _in_order(path: Path) -> list[tuple[int, int, str]]:
    """Return what sorts names, numbers in them by value: 2 before 10."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts if p]


def _read(pillow: Any, path: Path, mode: str, size: tuple[int, int] | None) -> Array:
    """Return the pixels of an image: (height, width) or (height, width, channels)."""
    check_not_special(path)
    try:
        with warnings.catch_warnings(), pillow.open(path) as image:
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            image = image.convert(mode)
            if size is not None and image.size != size[::-1]:
                image = image.resize(size[::-1], pillow.Resampling.BILINEAR)
            return np.asarray(image, np.uint8)
    except Exception as error:  # Pillow raises many types for damaged files
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise FormatError(path, f"is no image that can be read: {reason}") from None


def _size(image: Array) -> str:
    return f"{image.shape[0]}x{image.shape[1]}"

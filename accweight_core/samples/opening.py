"""Open samples of any form for a network: `.npz`, `.npy`, a folder of images, arrays in memory."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from accweight_core.arguments import brief
from accweight_core.errors import ArgumentTypeError, ArgumentValueError, FormatError, SourceError
from accweight_core.remote.local import check_not_special
from accweight_core.samples.arrays import ADVICE, data_of, load_data
from accweight_core.samples.images import load_images
from accweight_core.samples.samples import Array, Data, Input, Scaling, array_of

IN_MEMORY: Final = Path("data")
"""What arrays in memory are called in messages."""

KNOWN_SCALINGS: Final = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "mnist": ((0.1307,), (0.3081,)),
    "unit": ((0.0,), (1.0,)),
}
"""Means and standard deviations of pixels from 0 to 1 that go by a name."""

Given = str | Path | Data | Array | Mapping[str, Any] | tuple[Any, Any]
"""Samples as a user gives them: a path, arrays by name, samples, or (samples, targets)."""


def open_samples(
    given: Given,
    inputs: Sequence[Input],
    *,
    resize: tuple[int, int] | str | None = None,
    normalise: str | None = None,
) -> Data:
    """Return samples for a network with the given inputs, and targets if there are any.

    Args:
        given: Path of an `.npz`, an `.npy` or a folder of images, or arrays.
        inputs: Inputs of the network.
        resize: (height, width) of images in a folder, or "input" for those of the network.
        normalise: How pixels are scaled; see `scaling_of`. Images of a folder go from 0 to 1 by
            default.

    Raises:
        SourceError: If there is nothing at the path.
        FormatError: If something does not fit the network.
        ArgumentTypeError: If `given` is something else.
        ArgumentValueError: If `resize` or `normalise` cannot be understood, or has no images.
    """
    if isinstance(given, (str, Path)) and Path(given).is_dir():
        data = load_images(Path(given), inputs, resize)
        return _scaled(data, normalise or "unit")
    if resize is not None:
        raise ArgumentValueError("images of a folder alone can be resized; leave out resize")
    if isinstance(given, Data):
        data = given
    elif isinstance(given, (str, Path)):
        data = _from_file(Path(given), inputs)
    else:
        data = data_of(_named_arrays(given), inputs, IN_MEMORY, unlabelled=True)
    return data if normalise is None else _scaled(data, normalise)


def _from_file(path: Path, inputs: Sequence[Input]) -> Data:
    if path.suffix.lower() != ".npy":
        return load_data(path, inputs, unlabelled=True)
    if not path.exists():
        raise SourceError(f"{path}: there is no such file; {ADVICE}")
    check_not_special(path)
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError, SyntaxError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FormatError(path, f"not an array of NumPy, or damaged: {reason}") from None
    return data_of({"x": array}, inputs, path, unlabelled=True)


def _named_arrays(given: Any) -> dict[str, Array]:
    if isinstance(given, Mapping):
        return {str(name): array_of(value) for name, value in given.items()}
    if isinstance(given, tuple) and len(given) == 2:
        return {"x": array_of(given[0]), "y": array_of(given[1])}
    if hasattr(given, "shape"):
        return {"x": array_of(given)}
    raise ArgumentTypeError(
        "expected samples as a path, an array, (samples, targets) or a mapping of names to arrays, "
        f"got {type(given).__name__}"
    )


def _scaled(data: Data, normalise: str) -> Data:
    """Return data whose batches are scaled."""
    if len(data.inputs) != 1 or data.inputs[0].ndim < 2 or data.inputs[0].dtype.kind not in "fu":
        raise ArgumentValueError("normalise scales pixels of a single input; leave it out")
    pixels = data.inputs[0]
    scaling = scaling_of(normalise, is_8_bit=pixels.dtype == np.uint8)
    count = max(len(scaling.mean), len(scaling.std))
    axes = [axis for axis in (1, pixels.ndim - 1) if pixels.shape[axis] == count]
    if count > 1 and not axes:
        raise ArgumentValueError(
            f"normalise has {count} numbers, samples of shape {pixels.shape[1:]} have no such axis"
        )
    notes = tuple(note for note in data.notes if "unscaled" not in note)
    return replace(data, scaling=replace(scaling, channels=axes[0] if axes else 1), notes=notes)


def scaling_of(text: str, *, is_8_bit: bool) -> Scaling:
    """Return the scaling that a text says: a name, or MEAN/STD with a number per channel or one.

    >>> scaling_of("0.5/0.25", is_8_bit=False)
    Scaling(mean=(0.5,), std=(0.25,), factor=1.0, channels=1)

    Raises:
        ArgumentValueError: If it cannot be understood.
    """
    factor = 1 / 255 if is_8_bit else 1.0
    if text in KNOWN_SCALINGS:
        return Scaling(*KNOWN_SCALINGS[text], factor=factor)
    mean, _, std = text.partition("/")
    try:
        numbers = tuple(tuple(map(float, part.split(","))) for part in (mean, std))
    except ValueError:
        numbers = ()
    if len(numbers) != 2 or not all(value > 0 for value in numbers[1]):
        names = ", ".join(KNOWN_SCALINGS)
        raise ArgumentValueError(
            f"normalise is {brief(text)}; expected {names}, or MEAN/STD such as 0.5/0.25 "
            "(a number, or one per channel: 0.4,0.5,0.6/0.2,0.2,0.2), of pixels from 0 to 1"
        )
    return Scaling(*numbers, factor=factor)


def size_of(text: str) -> tuple[int, int] | str:
    """Return a size as (height, width): ``28``, ``28x32``, or "input".

    Raises:
        ArgumentValueError: If it is none.
    """
    if text == "input":
        return text
    match = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text.strip().lower())
    if match is None:
        raise ArgumentValueError(
            f"{brief(text)} is not a size; expected pixels such as 28, 28x32 (height x width), or "
            "input for the size that the network takes"
        )
    return int(match[1]), int(match[2] or match[1])

"""Samples and targets from an `.npz`, checked against the inputs of a network.

Nothing is unpickled. Whatever does not fit (a name, a shape, a type) is reported before any work,
with what was expected. Small differences (8-bit pixels, an axis of length one) are converted, with
a note.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from accweight_core.errors import FormatError, SourceError
from accweight_core.remote.local import check_not_special
from accweight_core.samples.samples import Array, Data, Input

SAMPLE_NAMES: Final = ("x", "images", "inputs", "input", "data", "features", "samples", "x_train")
TARGET_NAMES: Final = ("y", "labels", "targets", "label", "target", "y_train")
"""Names of samples and targets in files that do not use the model's input names."""

CLASS_NAMES: Final = "classes"
"""Name of an array of texts that says what the classes are called, if there is one."""

VOCABULARY: Final = "vocabulary"
"""Name of an array of texts that says what the numbers of tokens stand for, if there is one."""

ADVICE: Final = "save it with numpy.savez(PATH, x=samples, y=targets)"
LOOKED_AT: Final = 1 << 22
"""Elements checked for NaN at a time."""


def load_data(path: Path, inputs: Sequence[Input], *, unlabelled: bool = False) -> Data:
    """Return the samples and targets in an `.npz` for a model with the given inputs.

    Args:
        path: The file.
        inputs: Inputs of the model.
        unlabelled: Whether targets may be missing.

    Raises:
        SourceError: If there is no such file.
        FormatError: If it is not an `.npz`, or an array is missing, empty or of the wrong form.
    """
    return data_of(_arrays(path), inputs, path, unlabelled=unlabelled)


def data_of(
    arrays: Mapping[str, Array], inputs: Sequence[Input], path: Path, *, unlabelled: bool = False
) -> Data:
    """Return samples and targets from arrays by name, as `load_data` does.

    Args:
        arrays: The arrays.
        inputs: Inputs of the model.
        path: Where they came from, for messages.
        unlabelled: Whether targets may be missing.

    Raises:
        FormatError: If an array is missing, empty or of the wrong form.
    """
    notes: list[str] = []
    taken = []
    for index, wanted in enumerate(inputs):
        name = _named(arrays, (wanted.name, *(SAMPLE_NAMES if len(inputs) == 1 else ())))
        if name is None:
            also = f", or {', '.join(SAMPLE_NAMES[:3])}" if len(inputs) == 1 else ""
            raise _missing(
                path, f"samples: {wanted.name!r} (as input {index} is called){also}", arrays
            )
        taken.append(_fitted(arrays[name], name, wanted, path, notes))
    name = _named(arrays, TARGET_NAMES)
    if name is None and unlabelled:
        arrays, name = {"targets": np.empty((min(map(len, taken)), 0))}, "targets"
    if name is None:
        raise _missing(path, f"targets: {', '.join(TARGET_NAMES[:3])}", arrays)
    targets = arrays[name]
    _check_numbers(targets, name, path)
    counts = {wanted.name: len(a) for wanted, a in zip(inputs, taken, strict=True)}
    if targets.ndim == 0 or any(count != len(targets) for count in counts.values()):
        listed = ", ".join(f"{key!r} {count}" for key, count in counts.items())
        have = len(targets) if targets.ndim else "no axis of them"
        raise FormatError(path, f"samples and targets differ in number: {listed}, {name!r} {have}")
    if not len(targets):
        raise FormatError(path, "holds no samples: its arrays have length 0")
    classes, vocabulary = _texts(arrays, CLASS_NAMES), _texts(arrays, VOCABULARY)
    return Data(tuple(taken), targets, path, tuple(notes), classes=classes, vocabulary=vocabulary)


def _texts(arrays: Mapping[str, Array], name: str) -> tuple[str, ...]:
    """Return the texts of an array; nothing if there is none, or it holds something else."""
    found = arrays.get(name, np.empty(0))
    return tuple(found.tolist()) if found.ndim == 1 and found.dtype.kind == "U" else ()


def _arrays(path: Path) -> dict[str, Array]:
    if not path.exists():
        raise SourceError(f"{path}: there is no such file; {ADVICE}")
    check_not_special(path)
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise FormatError(path, f"not an .npz of NumPy; {ADVICE}")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except ValueError as error:
        if "pickle" in str(error):
            reason = "holds Python objects, which are never loaded; save plain arrays of numbers"
            raise FormatError(path, reason) from None
        raise FormatError(path, f"damaged: {' '.join(str(error).split())[:200]}") from None
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise FormatError(path, f"damaged, or too large for memory: {reason}") from None
    except (SyntaxError, NotImplementedError, TypeError, OverflowError, RuntimeError) as error:
        raise FormatError(path, f"damaged: {' '.join(str(error).split())[:200]}") from None


def _named(arrays: Mapping[str, Array], names: Sequence[str]) -> str | None:
    """Return the first of the names that exists, in any case."""
    lower = {name.lower(): name for name in arrays}
    return next((lower[n.lower()] for n in names if n.lower() in lower), None)


def _missing(path: Path, what: str, arrays: Mapping[str, Array]) -> FormatError:
    there = ", ".join(repr(name) for name in list(arrays)[:8]) or "nothing"
    return FormatError(path, f"holds no {what}; it holds {there}")


def _check_numbers(array: Array, name: str, path: Path) -> None:
    if array.dtype.kind not in "biuf":
        raise FormatError(path, f"array {name!r} is of type {array.dtype}, not numbers")
    if array.dtype.kind != "f":
        return
    flat = array.reshape(-1)
    for start in range(0, flat.size, LOOKED_AT):
        if not np.isfinite(flat[start : start + LOOKED_AT]).all():
            raise FormatError(
                path, f"array {name!r} holds NaN or infinity; remove such samples first"
            )


def _fitted(array: Array, name: str, wanted: Input, path: Path, notes: list[str]) -> Array:
    """Return samples in the shape of the model's input; types are converted batch by batch."""
    _check_numbers(array, name, path)
    kind = wanted.dtype.kind if wanted.dtype is not None else ""
    if kind and kind in "iu" and array.dtype.kind == "f":
        raise FormatError(
            path, f"array {name!r} is {array.dtype}, input {wanted.name!r} takes whole numbers"
        )
    lengths = array.shape[1:] if wanted.shape is None else wanted.shape[1:]
    if array.ndim == 0 or not _fits(array.shape[1:], lengths):
        squeezed = _with_single_axes(array, lengths)
        if squeezed is None:
            shown = ", ".join(str(n) if n else "any" for n in lengths)
            raise FormatError(
                path,
                f"array {name!r} has shape {array.shape}; input {wanted.name!r} takes samples of "
                f"shape ({shown})",
            )
        notes.append(f"{name!r} of shape {array.shape} is taken as {squeezed.shape}")
        array = squeezed
    if kind in ("f", "") and array.dtype.kind in "iu" and array.dtype.itemsize == 1:
        notes.append(f"{name!r} is {array.dtype} and is used unscaled, from 0 to 255")
    return array


def _fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(shape) == len(wanted) and all(
        w in (0, n) for n, w in zip(shape, wanted, strict=True)
    )


def _with_single_axes(array: Array, lengths: Sequence[int]) -> Array | None:
    """Return the array with axes of length one added or removed, or None if that does not fit."""
    if array.ndim == 0 or 0 in lengths:
        return None
    long = [n for n in array.shape[1:] if n != 1]
    if long != [n for n in lengths if n != 1]:
        return None
    return array.reshape(array.shape[0], *lengths)

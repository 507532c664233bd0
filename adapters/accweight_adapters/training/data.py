"""Samples and targets from an `.npz`, checked against the inputs and outputs of the model.

Nothing is unpickled. Whatever does not fit (a name, a shape, a type, a label that is not a class)
is reported before training, with what was expected. Small differences (8-bit pixels, an axis of
length one, one column per class) are converted, with a note.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from accweight_core.errors import FormatError, SourceError
from accweight_core.remote.local import check_not_special

Array = npt.NDArray[Any]

SAMPLE_NAMES: Final = ("x", "images", "inputs", "input", "data", "features", "samples", "x_train")
TARGET_NAMES: Final = ("y", "labels", "targets", "label", "target", "y_train")
"""Names of samples and targets in files that do not use the model's input names."""

ADVICE: Final = "save it with numpy.savez(PATH, x=samples, y=targets)"
LOOKED_AT: Final = 1 << 22
"""Elements checked for NaN at a time."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a model: its name, type, and axes (0 for a variable length)."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Data:
    """Samples and their targets, in the order of the file.

    Attributes:
        inputs: One array per input of the model, samples along the first axis.
        targets: The expected outputs.
        path: File they came from.
        notes: Conversions made, for the user.
    """

    inputs: tuple[Array, ...]
    targets: Array
    path: Path
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.targets)

    def taken(self, rows: Any) -> Data:
        """Return some of the samples."""
        return replace(self, inputs=tuple(a[rows] for a in self.inputs), targets=self.targets[rows])


def inputs_of(model: onnx.ModelProto, path: Path) -> tuple[Input, ...]:
    """Return the inputs of a model.

    Raises:
        FormatError: If one is not a tensor of numbers.
    """
    found = []
    for value in model.graph.input:
        tensor = value.type.tensor_type
        try:
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        except (KeyError, ValueError, TypeError):
            raise FormatError(path, f"input {value.name!r} is not a tensor of numbers") from None
        found.append(Input(value.name, dtype, tuple(d.dim_value for d in tensor.shape.dim)))
    if not found:
        raise FormatError(path, "the model has no input that its output depends on")
    return tuple(found)


def load_data(path: Path, inputs: Sequence[Input]) -> Data:
    """Return the samples and targets in an `.npz` for a model with the given inputs.

    Raises:
        SourceError: If there is no such file.
        FormatError: If it is not an `.npz`, or an array is missing, empty or of the wrong form.
    """
    arrays = _arrays(path)
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
    return Data(tuple(taken), targets, path, tuple(notes))


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
    if wanted.dtype.kind in "iu" and array.dtype.kind == "f":
        raise FormatError(
            path, f"array {name!r} is {array.dtype}, input {wanted.name!r} takes whole numbers"
        )
    if array.ndim == 0 or not _fits(array.shape[1:], wanted.shape[1:]):
        squeezed = _with_single_axes(array, wanted)
        if squeezed is None:
            shown = ", ".join(str(n) if n else "any" for n in wanted.shape[1:])
            raise FormatError(
                path,
                f"array {name!r} has shape {array.shape}; input {wanted.name!r} takes samples of "
                f"shape ({shown})",
            )
        notes.append(f"{name!r} of shape {array.shape} is taken as {squeezed.shape}")
        array = squeezed
    if wanted.dtype.kind == "f" and array.dtype.kind in "iu" and array.dtype.itemsize == 1:
        notes.append(f"{name!r} is {array.dtype} and is used unscaled, from 0 to 255")
    return array


def _fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(shape) == len(wanted) and all(
        w in (0, n) for n, w in zip(shape, wanted, strict=True)
    )


def _with_single_axes(array: Array, wanted: Input) -> Array | None:
    """Return the array with axes of length one added or removed, or None if that does not fit."""
    if array.ndim == 0 or 0 in wanted.shape[1:]:
        return None
    long = [n for n in array.shape[1:] if n != 1]
    if long != [n for n in wanted.shape[1:] if n != 1]:
        return None
    return array.reshape(array.shape[0], *wanted.shape[1:])


# ---------------------------------------------------------------- targets


def with_labels(data: Data, classes: int, shape: tuple[int, ...]) -> Data:
    """Return the data with class numbers as targets.

    Args:
        data: Samples and targets.
        classes: Number of classes of the model.
        shape: Shape of the labels of one sample.

    Raises:
        FormatError: If a target is not a class of the model, or their shape does not fit.
    """
    targets, notes = data.targets, list(data.notes)
    per_sample = math.prod(shape)
    if targets.shape[1:] == (classes, *shape) and classes > 1:
        if not (((targets == 0) | (targets == 1)).all() and (targets.sum(axis=1) == 1).all()):
            raise FormatError(data.path, "targets have a column per class, but are not one-hot")
        notes.append(f"targets are one-hot; the column of the 1 of {classes} is the class")
        targets = targets.argmax(axis=1)
    if targets.size != len(targets) * per_sample:
        raise FormatError(
            data.path,
            f"targets have shape {data.targets.shape}; expected one class per sample, "
            f"{(len(targets), *shape)}",
        )
    labels = targets.astype(np.int64)
    if (labels != targets).any():
        raise FormatError(data.path, "targets are not whole numbers; cross_entropy takes classes")
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= classes:
        raise FormatError(
            data.path,
            f"targets go from {lowest} to {highest}; the model has {classes} classes, "
            f"numbered from 0 to {classes - 1}",
        )
    return replace(data, targets=labels.reshape(len(labels), *shape), notes=tuple(notes))


def with_values(data: Data, shape: tuple[int, ...], *, between_0_and_1: bool) -> Data:
    """Return the data with float32 targets in the shape of the model's output.

    Raises:
        FormatError: If they have another shape, or are outside the range of the loss.
    """
    targets = data.targets
    if targets.size != len(targets) * math.prod(shape) or not _same_but_ones(
        targets.shape[1:], shape
    ):
        raise FormatError(
            data.path,
            f"targets have shape {targets.shape}; the model gives {(len(targets), *shape)}",
        )
    if between_0_and_1 and (targets.min() < 0 or targets.max() > 1):
        raise FormatError(
            data.path,
            f"targets go from {targets.min()} to {targets.max()}; bce_with_logits takes 0 to 1",
        )
    values = targets.astype(np.float32).reshape(len(targets), *shape)
    return replace(data, targets=values)


def _same_but_ones(shape: Sequence[int], other: Sequence[int]) -> bool:
    return [n for n in shape if n != 1] == [n for n in other if n != 1]


# ---------------------------------------------------------------- batches


def batches(
    data: Data, inputs: Sequence[Input], size: int, order: Array | None = None, *, whole: bool
) -> Iterator[list[Array]]:
    """Yield the samples in batches, as contiguous arrays of the model's input types.

    Args:
        data: Samples and targets.
        inputs: Inputs of the model.
        size: Samples per batch.
        order: Order of the rows; that of the file if None.
        whole: Leave out an incomplete last batch.
    """
    stop = len(data) - len(data) % size if whole else len(data)
    for start in range(0, stop, size):
        rows: Any = slice(start, min(start + size, stop))
        if order is not None:
            rows = order[rows]
        arrays = [
            np.ascontiguousarray(array[rows], wanted.dtype)
            for array, wanted in zip(data.inputs, inputs, strict=True)
        ]
        yield [*arrays, np.ascontiguousarray(data.targets[rows])]


def split(data: Data, share: float, seed: int) -> tuple[Data, Data]:
    """Split off a random share of the samples; return the rest and the share.

    Raises:
        FormatError: If one of them would be empty.
    """
    held = round(len(data) * share)
    if not 0 < held < len(data):
        raise FormatError(
            data.path,
            f"a share of {share:g} of its {len(data)} samples is {held}; both parts need one",
        )
    order = np.random.default_rng([seed, 0]).permutation(len(data))
    return data.taken(np.sort(order[held:])), data.taken(np.sort(order[:held]))

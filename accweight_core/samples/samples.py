"""Samples and their targets in memory, in the order of their file, and batches of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.errors import FormatError
from accweight_core.text import seen

Array = npt.NDArray[Any]

ROWS_HASHED = 4096
"""Samples whose bytes are hashed at a time."""


def array_of(value: Any) -> Array:
    """Return what a user gives as an array; a tensor of torch from whatever device it is on."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a model.

    Attributes:
        name: Its name.
        dtype: Its element type; None if the model takes any.
        shape: Its lengths, 0 for a variable one; None if the model does not say.
    """

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int, ...] | None

    def taken(self, array: Array) -> Array:
        """Return samples as a contiguous array of the input's type.

        Where that is not known, float64 becomes float32, in which networks have their weights, and
        so do 8-bit pixels.
        """
        dtype = self.dtype
        if dtype is None and array.dtype in (np.float64, np.uint8):
            dtype = np.dtype(np.float32)
        return np.ascontiguousarray(array, dtype)


@dataclass(frozen=True, slots=True)
class Scaling:
    """How pixels become the inputs that a network was trained on: ``(x * factor - mean) / std``.

    Attributes:
        mean: One number, or one per channel.
        std: Likewise.
        factor: 1/255 for 8-bit pixels, 1 for others.
        channels: Axis of the channels.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    factor: float = 1.0
    channels: int = 1

    def of(self, x: Array) -> Array:
        """Return scaled samples as float32."""
        shape = [1] * x.ndim
        if max(len(self.mean), len(self.std)) > 1:
            shape[self.channels] = -1
        mean, std = (np.array(v, np.float32).reshape(shape) for v in (self.mean, self.std))
        scaled: Array = (x.astype(np.float32) * np.float32(self.factor) - mean) / std
        return scaled


@dataclass(frozen=True, slots=True)
class Data:
    """Samples and their targets, in the order of the file.

    Attributes:
        inputs: One array per input of the model, samples along the first axis.
        targets: The expected outputs; an array without columns, (samples, 0), if there are none.
        path: File or folder they came from.
        notes: Conversions made, for the user.
        scaling: How pixels become inputs, batch by batch; None to leave them.
        classes: Names of the classes, if the file says them; `class_names` are those to show.
        names: Names of the samples, if each has a file of its own.
        vocabulary: Names of the whole numbers that samples consist of, if the file says them.
    """

    inputs: tuple[Array, ...]
    targets: Array
    path: Path
    notes: tuple[str, ...] = field(default=())
    scaling: Scaling | None = None
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.targets)

    @property
    def has_targets(self) -> bool:
        """Whether there are expected outputs."""
        return self.targets.size > 0

    @property
    def words(self) -> str:
        """Its name, how many samples it has, and whether they have targets."""
        targets = "labels" if self.targets.ndim == 1 else "targets"
        having = f"with {targets}" if self.has_targets else "without targets"
        return f"{self.path.name or 'data'}: {len(self)} sample{'s' * (len(self) != 1)} {having}"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes as they are shown: signs for what cannot be seen."""
        return tuple(map(seen, self.classes))

    @property
    def digest(self) -> str:
        """SHA-256 of samples, targets, scaling and names, if any, in hexadecimal digits."""
        found = hashlib.sha256(repr(self.scaling).encode())
        named = {"classes": self.classes, "names": self.names, "vocabulary": self.vocabulary}
        if any(named.values()):  # results say them
            found.update(repr(named).encode())
        for array in (*self.inputs, self.targets):
            found.update(f"{array.dtype.str}{array.shape}".encode())
            for start in range(0, len(array), ROWS_HASHED):
                found.update(np.ascontiguousarray(array[start : start + ROWS_HASHED]).data)
        return found.hexdigest()

    def taken(self, rows: Any) -> Data:
        """Return some of the samples."""
        names = tuple(np.array(self.names)[rows].tolist()) if self.names else ()
        inputs = tuple(a[rows] for a in self.inputs)
        return replace(self, inputs=inputs, targets=self.targets[rows], names=names)


def batches(
    data: Data, inputs: Sequence[Input], size: int, order: Array | None = None, *, whole: bool
) -> Iterator[list[Array]]:
    """Yield the samples in batches, as contiguous arrays of the model's input types.

    Args:
        data: Samples and targets.
        inputs: Inputs of the model.
        size: Samples per batch.
        order: The rows to take, in their order; all, in that of the file, if None.
        whole: Leave out an incomplete last batch.
    """
    count = len(data) if order is None else len(order)
    stop = count - count % size if whole else count
    for start in range(0, stop, size):
        rows: Any = slice(start, min(start + size, stop))
        if order is not None:
            rows = order[rows]
        arrays = [
            wanted.taken(_scaled(data, array[rows]))
            for array, wanted in zip(data.inputs, inputs, strict=True)
        ]
        yield [*arrays, np.ascontiguousarray(data.targets[rows])]


def _scaled(data: Data, rows: Array) -> Array:
    return rows if data.scaling is None else data.scaling.of(rows)


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

"""Weights as arrays: those of a checkpoint, read when asked for, and when two of them are equal.

Values are compared in the coarser of their two element types: a checkpoint in bfloat16 and a graph
in float32 are equal if the graph's values, rounded to bfloat16, are those of the checkpoint. Equal
means every bit: an exporter moves values, and what it computes (a folded norm) must not pass for
what it moves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.dtypes import DTYPES, is_measurable
from accweight_core.io.reading import OpenFiles, read_stretch
from accweight_core.io.stamp import held_to, stamps_of
from accweight_core.io.widening import working_dtype
from accweight_core.schema import Checkpoint

Array = npt.NDArray[Any]

ROUNDING = 1e-6
"""Largest difference, in parts of the largest element, that is rounding in float32."""

COARSE = ("bfloat16", "float16")
"""Element types that values are rounded to before they are compared, the coarsest first."""


class Weights(Mapping[str, Array]):
    """The floating-point tensors of one checkpoint, each read once; a context, for its files."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._read: dict[str, Array] = {}
        self._stack = ExitStack()
        self._files: OpenFiles | None = None

    def __enter__(self) -> Weights:
        """Hold the files to what they were when the checkpoint was described."""
        stamps = stamps_of((self.checkpoint,))
        self._stack.enter_context(held_to(stamps))
        self._files = self._stack.enter_context(OpenFiles(described=stamps))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files."""
        self._files = None
        self._stack.__exit__(kind, error, trace)

    def __getitem__(self, name: str) -> Array:
        """Return a tensor in its stored shape, widened to float32 or float64."""
        if name not in self._read:
            tensor = self.checkpoint.tensors[name]
            if self._files is None or name not in self:
                raise KeyError(name)
            out = np.empty(tensor.values.elements, working_dtype(tensor))
            read_stretch(self._files, tensor, 0, out.size, out)
            self._read[name] = out.reshape(tensor.shape)
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a floating-point tensor of that name, without reading it."""
        tensor = self.checkpoint.tensors.get(name) if isinstance(name, str) else None
        return tensor is not None and is_measurable(tensor.dtype) and not tensor.refusal

    def __iter__(self) -> Iterator[str]:
        """Yield the names of floating-point tensors."""
        return (name for name in self.checkpoint.tensors if name in self)

    def __len__(self) -> int:
        """Return how many there are."""
        return sum(1 for _ in self)

    def dtype(self, name: str) -> str:
        """Return the element type in which a tensor is stored."""
        return self.checkpoint.tensors[name].dtype


def coarser(*dtypes: str) -> str:
    """Return the type of fewest digits among these."""
    return next((name for name in COARSE if name in dtypes), "float32")


def rounded(values: Array, dtype: str) -> Array:
    """Return values as float32, rounded to the digits of a type."""
    with np.errstate(over="ignore"):  # what is infinite in a coarser type is so on both sides
        single = np.asarray(values, np.float32)
        if dtype == "float16":
            return single.astype(np.float16).astype(np.float32)
    if dtype != "bfloat16":
        return single
    bits = np.ascontiguousarray(single).view(np.uint32)
    even = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(single), single, even.view(np.float32))


def are_equal(left: Array, right: Array, dtype: str = "float32") -> bool:
    """Tell whether arrays have one shape and equal values in a type, NaN equal to NaN."""
    if left.shape != right.shape:
        return False
    return bool(np.array_equal(rounded(left, dtype), rounded(right, dtype), equal_nan=True))


def are_near(left: Array, right: Array) -> bool:
    """Tell whether arrays are equal up to the rounding of what an exporter computes."""
    if left.shape != right.shape:
        return False
    largest = float(np.abs(left).max(initial=0))
    return bool(np.allclose(left, right, rtol=0, atol=ROUNDING * largest, equal_nan=True))


def signature(values: Array, dtype: str = "float32") -> bytes:
    """Return a digest of the values that is the same for any order of axes and elements."""
    flat = np.sort(rounded(values, dtype).reshape(-1) + np.float32(0))  # -0 becomes 0
    return hashlib.blake2b(flat.tobytes(), digest_size=16).digest()


def is_uniform(values: Array) -> bool:
    """Tell whether all elements are equal."""
    flat = values.reshape(-1)
    return bool(flat.size and (flat == flat[0]).all())


def dtype_name(values: Array) -> str:
    """Return the name of an array's element type."""
    name = str(values.dtype)
    return name if name in DTYPES else "float32"

"""Reading: bytes of one stretch of one tensor, straight into a buffer that is used again.

`pread` into a reused buffer runs at the speed of the page cache; touching the same pages
through a memory map costs a page fault each and is about ten times slower.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from accweight_core.dtypes import DTYPES, is_measurable
from accweight_core.errors import FormatError, UnsupportedDtypeError
from accweight_core.kernels import widened_dtype
from accweight_core.schema import Extent, HiddenValues, StoredTensor

_OF_NUMPY = {
    name for name in DTYPES if not name.startswith(("bfloat", "float8"))
}  # fmt: skip

MOST_OPEN_FILES = 64
"""Files one worker keeps open; runs have more checkpoints than a process may open files."""

COMPARED_ELEMENTS = 1 << 20
"""Elements compared at a time when two checkpoints are checked for being copies."""


SPAN_BYTES = 4 << 20
"""Bytes that are read at a time where a tensor has gaps, or another order of axes."""

MOST_GAPS = 64
"""Elements that are read along for each one that is wanted, rather than with a call for each."""


class OpenFiles:
    """The files one worker reads from, kept open by last use."""

    def __init__(self, most: int = MOST_OPEN_FILES) -> None:
        self._descriptors: OrderedDict[str, int] = OrderedDict()
        self._most = most
        self._raw = np.empty(0, dtype=np.uint8)

    def __enter__(self) -> OpenFiles:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every file."""
        self.close()

    def close(self) -> None:
        """Close every file."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def read(self, path: str, offset: int, out: memoryview) -> None:
        """Fill `out` with the bytes at `offset`.

        Raises:
            FormatError: If the file is gone, or ends before.
        """
        descriptor = self._descriptor(path)
        done = 0
        while done < len(out):
            try:
                got = os.preadv(descriptor, [out[done:]], offset + done)
            except OSError as error:
                raise FormatError(path, f"cannot be read ({error.strerror})") from None
            if got == 0:
                raise FormatError(
                    path,
                    f"the file ends at byte {offset + done} but the tensor reaches to byte "
                    f"{offset + len(out)}; it is truncated, or changed since it was described",
                )
            done += got

    def raw(self, size_bytes: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        """Return a byte buffer of that size; the next call may hand out the same memory."""
        if self._raw.size < size_bytes:
            self._raw = np.empty(size_bytes, dtype=np.uint8)
        return self._raw[:size_bytes]

    def _descriptor(self, path: str) -> int:
        if path in self._descriptors:
            self._descriptors.move_to_end(path)
            return self._descriptors[path]
        if len(self._descriptors) >= self._most:
            os.close(self._descriptors.popitem(last=False)[1])
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise FormatError(path, f"cannot be read ({error.strerror})") from None
        self._descriptors[path] = descriptor
        return descriptor


def working_dtype(tensor: StoredTensor) -> torch.dtype:
    """Return the dtype in which a tensor is subtracted.

    Raises:
        UnsupportedDtypeError: If its values cannot be analysed; the message says why.
    """
    dtype = DTYPES.get(tensor.dtype)
    if tensor.refusal or dtype is None or not dtype.widened:
        reason = tensor.refusal or f"{tensor.dtype} values have no known scale and zero point"
        raise UnsupportedDtypeError(
            f"parameter {tensor.name!r} cannot be analysed: {reason}; "
            f"leave it out with --skip {tensor.name!r}"
        )
    widened: torch.dtype = getattr(torch, dtype.widened)
    return widened


def is_readable_in_blocks(tensor: StoredTensor) -> bool:
    """Tell whether any stretch of the tensor is one stretch of its file."""
    return isinstance(tensor.values, Extent) and tensor.values.strides is None


def read_stretch(
    files: OpenFiles, tensor: StoredTensor, start: int, stop: int, out: Tensor
) -> None:
    """Fill `out` with elements start..stop of a tensor (C order), widened.

    Args:
        files: Where to read through.
        tensor: The tensor; read whole if it is not readable in blocks.
        start: First element.
        stop: Element after the last.
        out: (stop - start,) in the working dtype.
    """
    values = tensor.values
    if start == stop:
        return
    if isinstance(values, HiddenValues):
        out.copy_(_loaded(tensor.name, values)[start:stop])
    elif values.strides is not None:
        _read_strided(files, values, start, stop, out)
    else:
        _read_run(files, values, start, stop, out)


def read_stretches(
    files: OpenFiles,
    tensor: StoredTensor,
    stretches: Sequence[tuple[int, int]],
    out: Tensor,
) -> None:
    """Fill `out` with several stretches, one after the other, as `read_stretch` reads each."""
    done = 0
    for start, stop in stretches:
        read_stretch(files, tensor, start, stop, out[done : done + stop - start])
        done += stop - start


def read_together(files: OpenFiles, tensors: Sequence[StoredTensor], out: Tensor) -> None:
    """Fill the rows of `out` with whole small tensors; neighbours in a file are read at once.

    Args:
        files: Where to read through.
        tensors: Of one size, all readable in blocks.
        out: (tensors, elements) in the working dtype.
    """
    extents = [tensor.values for tensor in tensors]
    first = 0
    for number, extent in enumerate(extents):
        following = extents[number + 1] if number + 1 < len(extents) else None
        if following is not None and _follows(extent, following):
            continue
        count = (number + 1 - first) * extent.elements
        read_stretch(files, tensors[first], 0, count, out[first : number + 1].view(-1))
        first = number + 1


def _follows(extent: Extent | HiddenValues, following: Extent | HiddenValues) -> bool:
    """Tell whether a tensor begins where another ends, and is stored alike."""
    return (
        isinstance(extent, Extent)
        and isinstance(following, Extent)
        and (extent.path, extent.dtype, extent.big_endian)
        == (following.path, following.dtype, following.big_endian)
        and following.offset == extent.offset + extent.elements * DTYPES[extent.dtype].size_bytes
    )


def _read_run(files: OpenFiles, extent: Extent, start: int, stop: int, out: Tensor) -> None:
    """Read a stretch that lies in the file as it is."""
    size = DTYPES[extent.dtype].size_bytes
    offset = extent.offset + start * size
    direct = out.is_contiguous() and out.dtype == getattr(torch, extent.dtype)
    if direct and not extent.big_endian:
        files.read(extent.path, offset, out.view(torch.uint8).numpy().data)
        return
    raw = files.raw((stop - start) * size)
    files.read(extent.path, offset, raw.data)
    out.copy_(_decoded(raw, extent))


class _Box(NamedTuple):
    """A part of a tensor: element of the file where it begins, lengths and strides of axes."""

    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def span(self) -> int:
        """Elements of the file from its first to its last one."""
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))

    def part(self, axis: int, start: int, stop: int) -> _Box:
        """Return the indices start..stop of one axis."""
        shape = tuple(stop - start if a == axis else n for a, n in enumerate(self.shape))
        return _Box(self.first + start * self.strides[axis], shape, self.strides)


def _read_strided(files: OpenFiles, extent: Extent, start: int, stop: int, out: Tensor) -> None:
    """Read a stretch of a tensor with gaps or another order of axes, without all of its file."""
    done = 0
    for box in _boxes(_Box(0, extent.shape, extent.strides or ()), start, stop):
        length = math.prod(box.shape)
        _read_box(files, extent, box, out[done : done + length].view(box.shape))
        done += length


def _boxes(box: _Box, start: int, stop: int, axis: int = 0) -> Iterator[_Box]:
    """Yield the boxes that the elements start..stop of a box make up, in their order."""
    inner = math.prod(box.shape[axis + 1 :])
    if start == 0 and stop == box.shape[axis] * inner if box.shape else True:
        yield box
        return
    first, last = -(-start // inner), stop // inner
    if first > last:  # within one index
        yield from _boxes(
            box.part(axis, last, last + 1), start - last * inner, stop - last * inner, axis + 1
        )
        return
    if start < first * inner:
        yield from _boxes(
            box.part(axis, first - 1, first), start - (first - 1) * inner, inner, axis + 1
        )
    if first < last:
        yield box.part(axis, first, last)
    if last * inner < stop:
        yield from _boxes(box.part(axis, last, last + 1), 0, stop - last * inner, axis + 1)


def _read_box(files: OpenFiles, extent: Extent, box: _Box, out: Tensor) -> None:
    """Read a box: in one go if it is not too large and its gaps are small, else in parts.

    Gaps are read along where that is faster than one call for every piece between them.
    """
    size, elements = DTYPES[extent.dtype].size_bytes, math.prod(box.shape)
    if box.span <= max(SPAN_BYTES // size, 1) and box.span <= MOST_GAPS * elements:
        _read_span(files, extent, box, out)
        return
    axis = max((a for a, n in enumerate(box.shape) if n > 1), key=lambda a: box.strides[a])
    stride, length = box.strides[axis], box.shape[axis]
    inner = box.part(axis, 0, 1)
    gapless = stride <= MOST_GAPS * math.prod(inner.shape)
    step = max(1, (SPAN_BYTES // size - inner.span) // max(stride, 1)) if gapless else 1
    for start in range(0, length, step):
        stop = min(start + step, length)
        _read_box(files, extent, box.part(axis, start, stop), out.narrow(axis, start, stop - start))


def _read_span(files: OpenFiles, extent: Extent, box: _Box, out: Tensor) -> None:
    """Read a box with the gaps in it."""
    size = DTYPES[extent.dtype].size_bytes
    raw = files.raw(box.span * size)
    files.read(extent.path, extent.offset + box.first * size, raw.data)
    stored = _decoded(raw, extent)
    if stored.element_size() == 1:  # strided copies of 8-bit floats want a plain integer type
        moved = stored.view(torch.uint8).as_strided(box.shape, box.strides)
        out.copy_(moved.contiguous().view(stored.dtype))
    else:
        out.copy_(stored.as_strided(box.shape, box.strides))


def _decoded(raw: np.ndarray[tuple[int], np.dtype[np.uint8]], extent: Extent) -> Tensor:
    """Return raw bytes as a flat tensor of the stored dtype."""
    if extent.big_endian:
        parts = 2 if DTYPES[extent.dtype].family == "complex" else 1
        width = DTYPES[extent.dtype].size_bytes // parts
        raw.reshape(-1, width)[:] = raw.reshape(-1, width)[:, ::-1].copy()
    dtype: torch.dtype = getattr(torch, extent.dtype)
    return torch.from_numpy(raw).view(dtype)


def _loaded(name: str, values: HiddenValues) -> Tensor:
    """Return values that a reader hands over, flat, checked against what it promised."""
    loaded = as_tensor(values.load())
    if tuple(loaded.shape) != values.shape:
        raise FormatError(
            name, f"the values have shape {tuple(loaded.shape)}, promised was {values.shape}"
        )
    return loaded.to("cpu", widened_dtype(loaded.dtype)).reshape(-1)


def as_tensor(value: Any) -> Tensor:
    """Return a tensor or array as a tensor, on its own device, without a copy where possible."""
    if isinstance(value, Tensor):
        return value.detach()
    array = np.asarray(value)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.name not in _OF_NUMPY:  # bfloat16 and 8-bit floats of ml_dtypes
        array = array.astype(np.float32)
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()  # torch warns of the one and refuses the other
    return torch.from_numpy(array)


def same_values(left: Sequence[StoredTensor], right: Sequence[StoredTensor]) -> bool:
    """Tell whether two checkpoints hold the same parameters with the same values."""
    others = {tensor.name: tensor for tensor in right}
    if {(t.name, t.shape, t.dtype) for t in left} != {(t.name, t.shape, t.dtype) for t in right}:
        return False
    with OpenFiles() as files:
        return all(_same_tensor(files, tensor, others[tensor.name]) for tensor in left)


def _same_tensor(files: OpenFiles, left: StoredTensor, right: StoredTensor) -> bool:
    """Compare two tensors of one shape, stretch by stretch; NaN equals NaN."""
    if not is_measurable(left.dtype) or left.refusal:
        return True  # counters and codes do not tell copies apart
    elements, dtype = left.values.elements, working_dtype(left)
    stretch = elements if not is_readable_in_blocks(left) else COMPARED_ELEMENTS
    for start in range(0, elements, max(stretch, 1)):
        stop = min(start + stretch, elements)
        ours, theirs = (torch.empty(stop - start, dtype=dtype) for _ in range(2))
        read_stretch(files, left, start, stop, ours)
        read_stretch(files, right, start, stop, theirs)
        if not torch.allclose(ours, theirs, rtol=0, atol=0, equal_nan=True):
            return False
    return True

"""Read element ranges of tensors from files into reused buffers.

`pread` into a reused buffer runs at the speed of the page cache; reading the same pages through a
memory map costs one page fault per page and is about ten times slower.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from accweight_core.dtypes import DTYPES, is_measurable
from accweight_core.errors import FormatError, reason_of
from accweight_core.io.descriptors import MOST_OPEN_FILES
from accweight_core.io.stamp import changed, stamp_of_open
from accweight_core.io.strided import Box, boxes_of, parts_of
from accweight_core.io.widening import as_widened, code_dtype, widen, working_dtype
from accweight_core.remote import is_url
from accweight_core.remote.local import descriptor_of
from accweight_core.schema import Extent, HiddenValues, Stamp, StoredTensor

if TYPE_CHECKING:
    from accweight_core.remote.prefetch import ReadAhead

Array = npt.NDArray[Any]

COMPARED_ELEMENTS = 1 << 20
"""Elements compared at a time to find out whether two checkpoints are copies."""

COMPARED_AHEAD = 8 << 20
"""Prefetched bytes of remote files in such a comparison: most pairs differ at their beginning."""

Stretch = tuple[StoredTensor, int, int]
"""A tensor, its first element to read, and the element after the last."""


class OpenFiles:
    """The open files of one worker, a least-recently-used cache; remote files go through `ahead`.

    Attributes:
        most: Limit of files open at a time.
    """

    def __init__(
        self,
        most: int = MOST_OPEN_FILES,
        *,
        ahead: ReadAhead | None = None,
        described: Mapping[str, Stamp] | None = None,
    ) -> None:
        """Create the cache without opening files.

        Args:
            most: Limit of files open at a time.
            ahead: Prefetcher for remote files, if any.
            described: Stamps of the files when they were described; a changed file is refused.
        """
        self._descriptors: OrderedDict[str, int] = OrderedDict()
        self.most = most
        self._ahead = ahead
        self._described = described or {}
        self._raw = np.empty(0, dtype=np.uint8)

    def __enter__(self) -> OpenFiles:
        """Return the object itself."""
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
            FormatError: If the file is missing or too short.
        """
        if "://" in path and is_url(path):
            self._read_remote(path, offset, out)
            return
        descriptor = self.descriptor(path)
        done = 0
        while done < len(out):
            try:
                got = os.preadv(descriptor, [out[done:]], offset + done)
            except OSError as error:
                raise FormatError(path, f"cannot be read ({reason_of(error)})") from None
            if got == 0:
                raise FormatError(
                    path,
                    f"the file ends at byte {offset + done} but the tensor reaches to byte "
                    f"{offset + len(out)}; it is truncated, or changed since it was described",
                )
            done += got

    def _read_remote(self, path: str, offset: int, out: memoryview) -> None:
        from accweight_core.remote.prefetch import ReadAhead  # needed for URLs only

        self._ahead = self._ahead or ReadAhead([])
        self._ahead.read(path, offset, out)

    def expect(self, stretches: Iterable[Stretch]) -> None:
        """Prefetch stretches of remote tensors in parallel; each must be read exactly once.

        Local files and tensors that a function loads are ignored.
        """
        ahead = ahead_of(stretches)
        if ahead is not None:
            if self._ahead is not None:
                self._ahead.close()
            self._ahead = ahead

    def raw(self, size_bytes: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        """Return a byte buffer of that size; the next call may return the same memory."""
        if self._raw.size < size_bytes:
            self._raw = np.empty(size_bytes, dtype=np.uint8)
        return self._raw[:size_bytes]

    def descriptor(self, path: str) -> int:
        """Return a descriptor of a local file; it may be closed after `most` other files are used.

        Raises:
            FormatError: If the file is missing, or has changed since it was described.
        """
        if path in self._descriptors:
            self._descriptors.move_to_end(path)
            return self._descriptors[path]
        if len(self._descriptors) >= self.most:
            os.close(self._descriptors.popitem(last=False)[1])
        try:
            descriptor = descriptor_of(path)
        except OSError as error:
            raise FormatError(path, f"cannot be read ({reason_of(error)})") from None
        self._descriptors[path] = descriptor
        described = self._described.get(path)
        if described is not None and (found := stamp_of_open(descriptor)) != described:
            raise changed(path, described, found)
        return descriptor


def ahead_of(stretches: Iterable[Stretch], memory_bytes: int | None = None) -> ReadAhead | None:
    """Return a prefetcher of remote stretches, in this order; None if all of them are local."""
    spans = [span for s in stretches if is_remote(s[0]) for span in spans_of(*s)]
    if not spans:
        return None
    from accweight_core.remote.prefetch import ReadAhead  # needed for URLs only

    return ReadAhead(spans, memory_bytes)


def spans_of(tensor: StoredTensor, start: int, stop: int) -> Iterator[tuple[str, int, int]]:
    """Yield path, start and stop of the byte ranges that `read_stretch` reads, in order.

    Yields nothing for tensors that a function loads.
    """
    values = tensor.values
    if not isinstance(values, Extent) or start >= stop:
        return
    size, runs = DTYPES[values.dtype].size_bytes, [(start, stop)]
    if values.strides is not None:
        boxes = boxes_of(values.shape, values.strides, start, stop)
        parts = (part for box in boxes for part, _ in parts_of(box, size))
        runs = [(part.first, part.first + part.span) for part in parts]
    for first, end in runs:
        yield values.path, values.offset + first * size, values.offset + end * size


def is_remote(tensor: StoredTensor) -> bool:
    """Tell whether a tensor is stored at a URL."""
    return isinstance(tensor.values, Extent) and is_url(tensor.values.path)


def is_readable_in_blocks(tensor: StoredTensor) -> bool:
    """Tell whether any range of elements is contiguous in the file."""
    return isinstance(tensor.values, Extent) and tensor.values.strides is None


def is_read_whole(tensor: StoredTensor) -> bool:
    """Tell whether a tensor must be read as a whole, however large it is.

    This is so if a function loads it, or if it is at a URL with reordered axes: blocks would need
    a request for every few bytes, or fetch the bytes in between again and again.
    """
    return isinstance(tensor.values, HiddenValues) or (
        is_remote(tensor) and not is_readable_in_blocks(tensor)
    )


def read_stretch(files: OpenFiles, tensor: StoredTensor, start: int, stop: int, out: Array) -> None:
    """Fill `out` with elements start..stop of a tensor (C order), widened.

    Args:
        files: The open files to read from.
        tensor: The tensor; loaded as a whole if a function loads it.
        start: First element.
        stop: Element after the last.
        out: (stop - start,) in the working dtype.
    """
    values = tensor.values
    if start == stop:
        return
    if isinstance(values, HiddenValues):
        out[...] = _loaded(tensor.name, values)[start:stop]
    elif values.strides is not None:
        _read_strided(files, values, start, stop, out)
    else:
        _read_run(files, values, start, stop, out)


def read_stretches(
    files: OpenFiles,
    tensor: StoredTensor,
    stretches: Sequence[tuple[int, int]],
    out: Array,
) -> None:
    """Fill `out` with several stretches of a tensor, one after the other, using `read_stretch`."""
    done = 0
    for start, stop in stretches:
        read_stretch(files, tensor, start, stop, out[done : done + stop - start])
        done += stop - start


def read_together(files: OpenFiles, tensors: Sequence[StoredTensor], out: Array) -> None:
    """Fill the rows of `out` with whole small tensors; adjacent ones are read with one call.

    Args:
        files: The open files to read from.
        tensors: Tensors of equal size, all readable in blocks.
        out: (tensors, elements) in the working dtype.
    """
    flat, done = out.reshape(-1), 0
    for tensor, start, stop in neighbours(tensors):
        read_stretch(files, tensor, start, stop, flat[done : done + stop - start])
        done += stop - start


def neighbours(tensors: Sequence[StoredTensor]) -> Iterator[Stretch]:
    """Yield the reads of `read_together`: each group of adjacent tensors as one stretch.

    A stretch starts in the first tensor of its group and extends to the end of the last.
    """
    elements, first, end, stored = tensors[0].values.elements, 0, -1, None
    for number, tensor in enumerate(tensors):
        extent = tensor.values
        if not isinstance(extent, Extent):
            raise TypeError(f"{tensor.name!r} lies in no file, and so beside no other tensor")
        alike = extent.path, extent.dtype, extent.big_endian
        if extent.offset != end or alike != stored:
            if number:
                yield tensors[first], 0, (number - first) * elements
            first, end, stored = number, extent.offset, alike
            size_bytes = elements * DTYPES[extent.dtype].size_bytes
        end += size_bytes
    yield tensors[first], 0, (len(tensors) - first) * elements


def _read_run(files: OpenFiles, extent: Extent, start: int, stop: int, out: Array) -> None:
    """Read a stretch that is contiguous in the file."""
    size = DTYPES[extent.dtype].size_bytes
    offset = extent.offset + start * size
    if out.flags.c_contiguous and out.dtype.name == extent.dtype and not extent.big_endian:
        files.read(extent.path, offset, out.view(np.uint8).data)
        return
    raw = files.raw((stop - start) * size)
    files.read(extent.path, offset, raw.data)
    widen(_decoded(raw, extent), extent.dtype, out)


def _read_strided(files: OpenFiles, extent: Extent, start: int, stop: int, out: Array) -> None:
    """Read a stretch of a tensor with gaps or reordered axes, in parts of bounded size."""
    size, done = DTYPES[extent.dtype].size_bytes, 0
    for box in boxes_of(extent.shape, extent.strides or (), start, stop):
        length = math.prod(box.shape)
        target = out[done : done + length].reshape(box.shape)
        for part, where in parts_of(box, size):
            place: Any = (*where, ...)  # the ellipsis makes it a view for tensors without axes too
            _read_part(files, extent, part, target[place])
        done += length


def _read_part(files: OpenFiles, extent: Extent, part: Box, out: Array) -> None:
    """Read a part together with its gaps."""
    size = DTYPES[extent.dtype].size_bytes
    raw = files.raw(part.span * size)
    files.read(extent.path, extent.offset + part.first * size, raw.data)
    stored = _decoded(raw, extent)
    strides = [stride * size for stride in part.strides]
    widen(as_strided(stored, part.shape, strides), extent.dtype, out)


def _decoded(raw: np.ndarray[tuple[int], np.dtype[np.uint8]], extent: Extent) -> Array:
    """Return raw bytes as elements of the stored dtype, or as their integer codes."""
    if extent.big_endian:
        parts = 2 if DTYPES[extent.dtype].family == "complex" else 1
        width = DTYPES[extent.dtype].size_bytes // parts
        raw.reshape(-1, width)[:] = raw.reshape(-1, width)[:, ::-1].copy()
    return raw.view(code_dtype(extent.dtype))


def _loaded(name: str, values: HiddenValues) -> Array:
    """Return the flat values that a reader loads, after checking their shape."""
    try:
        loaded = as_widened(values.load(), values.dtype)
    except OSError as error:
        reason = f"cannot be read ({reason_of(error)})"
        raise FormatError(error.filename or name, reason) from None
    if loaded.shape != values.shape:
        raise FormatError(
            name, f"the values have shape {loaded.shape}, promised was {values.shape}"
        )
    return loaded.reshape(-1)


def same_values(left: Sequence[StoredTensor], right: Sequence[StoredTensor]) -> bool:
    """Tell whether two checkpoints have the same parameters with the same values."""
    others = {tensor.name: tensor for tensor in right}
    if {(t.name, t.shape, t.dtype) for t in left} != {(t.name, t.shape, t.dtype) for t in right}:
        return False
    pairs = [(tensor, others[tensor.name]) for tensor in left if _is_compared(tensor)]
    stretches = ((t, *chunk) for pair in pairs for chunk in _compared(pair[0]) for t in pair)
    with OpenFiles(ahead=ahead_of(stretches, COMPARED_AHEAD)) as files:
        return all(_same_tensor(files, *pair) for pair in pairs)


def _is_compared(tensor: StoredTensor) -> bool:
    """Tell whether a tensor is compared to detect copies; counters and codes are not."""
    return is_measurable(tensor.dtype) and not tensor.refusal


def _compared(tensor: StoredTensor) -> Iterator[tuple[int, int]]:
    """Yield the stretches in which a tensor is compared."""
    elements = tensor.values.elements
    stretch = COMPARED_ELEMENTS if is_readable_in_blocks(tensor) else max(elements, 1)
    for start in range(0, elements, stretch):
        yield start, min(start + stretch, elements)


def _same_tensor(files: OpenFiles, left: StoredTensor, right: StoredTensor) -> bool:
    """Compare two tensors of one shape, stretch by stretch; NaN equals NaN."""
    dtype = working_dtype(left)
    for start, stop in _compared(left):
        ours, theirs = (np.empty(stop - start, dtype) for _ in range(2))
        read_stretch(files, left, start, stop, ours)
        read_stretch(files, right, start, stop, theirs)
        if not np.array_equal(ours, theirs, equal_nan=True):
            return False
    return True

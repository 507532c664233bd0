"""The values of an HDF5 dataset: element type, shape, and location.

Contiguous and compact values are one byte range. Chunked values are listed chunk by chunk and
assembled when they are read, undoing shuffle and deflate. Existing chunks must cover the shape, and
no chunk may inflate beyond deflate's ratio, so wrong sizes are refused before memory is allocated.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from accweight_adapters.bytes.source import FilePart, InflatedPart
from accweight_adapters.bytes.zip import MOST_EXPANSION, SLACK_BYTES
from accweight_adapters.hdf5.blocks import Blocks, Cursor
from accweight_adapters.hdf5.objects import (
    DATASPACE,
    DATATYPE,
    EXTERNAL_FILES,
    FILTERS,
    LAYOUT,
    Message,
    shape_in,
    tree_leaves,
)
from accweight_adapters.untrusted import ClaimError, checked_shape
from accweight_core.dtypes import DTYPES

FIXED, FLOAT, STRING, OPAQUE, COMPOUND, ENUM = 0, 1, 3, 5, 6, 8
DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3
COMPACT, CONTIGUOUS, CHUNKED = 0, 1, 2
SINGLE_CHUNK: Final = 1
CHUNK_TREE: Final = 1
REPACK: Final = "rewrite it: h5repack -l CONTI OLD NEW"

FLOATS: Final = {
    (2, 5, 10): "float16",
    (4, 8, 23): "float32",
    (8, 11, 52): "float64",
    (2, 8, 7): "bfloat16",
}
"""Floating dtypes by bytes, exponent bits and mantissa bits."""


@dataclass(frozen=True, slots=True)
class Element:
    """Element type of a dataset; no `dtype` if it is not a supported number."""

    dtype: str
    size_bytes: int
    big_endian: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk: location, stored bytes, mask of skipped filters, first index."""

    offset: int
    stored_bytes: int
    left_out: int
    corner: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Chunks:
    """Values in chunks.

    Attributes:
        shape: Shape of a chunk.
        filters: Codes of the filters, in the order applied.
        chunks: All chunks.
    """

    shape: tuple[int, ...]
    filters: tuple[int, ...]
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset.

    Attributes:
        shape: Its shape.
        element: Its element type.
        place: Offset of the values in the source, or the chunks.
        refusal: Why the values cannot be read; empty if they can.
    """

    shape: tuple[int, ...]
    element: Element
    place: int | Chunks = 0
    refusal: str = ""


def dataset_in(blocks: Blocks, messages: Sequence[Message]) -> Dataset | None:
    """Return the dataset that the messages describe, or None for another object.

    Raises:
        ClaimError: If it is damaged, or its values are in another file.
    """
    by_type = {message.type: message for message in messages}
    if LAYOUT not in by_type or DATATYPE not in by_type or DATASPACE not in by_type:
        return None
    if EXTERNAL_FILES in by_type:
        raise ClaimError("keeps values in another file (external storage), which is not followed")
    shape = shape_in(by_type[DATASPACE].opened())
    element = _element(by_type[DATATYPE].opened())
    if shape is None or not element.dtype:
        return Dataset(shape or (), element, refusal="its elements have an unsupported type")
    filters = _filters(by_type[FILTERS].opened()) if FILTERS in by_type else ()
    return _placed(blocks, shape, element, by_type[LAYOUT].opened(), filters)


def _element(body: Cursor) -> Element:
    head = body.take(8)
    family, bits = head[0] & 15, head[1]
    size, big_endian = int.from_bytes(head[4:8], "little"), bool(bits & 1)
    dtype = ""
    if family == FIXED:
        whole = body.number(2) == 0 and body.number(2) == 8 * size
        dtype = f"{'' if bits & 8 else 'u'}int{8 * size}" if whole else ""
    elif family == FLOAT:
        body.take(5)
        exponent, _, mantissa = body.number(1), body.number(1), body.number(1)
        dtype = FLOATS.get((size, exponent, mantissa), "")
    elif family == OPAQUE and size == 2:  # h5py's encoding of Keras bfloat16
        dtype, big_endian = "bfloat16", False
    elif family == ENUM and size == 1:
        dtype = "bool"
    known = dtype in DTYPES and DTYPES[dtype].size_bytes == size
    return Element(dtype if known else "", size, big_endian and size > 1)


def _filters(body: Cursor) -> tuple[int, ...]:
    """Return the codes of the filters, in the order applied."""
    version, count = body.number(1), body.number(1)
    body.take(6 if version == 1 else 0)
    codes = []
    for _ in range(count):
        code = body.number(2)
        name_bytes = body.number(2) if version == 1 or code >= 256 else 0
        body.take(2)
        values = body.number(2)
        body.take(name_bytes + 7 & ~7 if version == 1 else name_bytes)
        body.take(4 * values + (4 if version == 1 and values % 2 else 0))
        codes.append(code)
    return tuple(codes)


def _placed(
    blocks: Blocks, shape: tuple[int, ...], element: Element, body: Cursor, filters: tuple[int, ...]
) -> Dataset:
    """Return a dataset with its location, from its layout message."""
    version = body.number(1)
    rank = 0
    if version in (1, 2):
        rank, kind = body.number(1), body.number(1)
        body.take(5)
    else:
        kind = body.number(1)
    if kind > CHUNKED or version not in (1, 2, 3, 4):
        return Dataset(shape, element, refusal=f"has an unsupported layout; {REPACK}")
    needed = math.prod(shape) * element.size_bytes
    if kind == CHUNKED:
        return _chunked(blocks, shape, element, body, version, filters)
    if kind == COMPACT:
        body.take(4 * rank)
        size = body.number(2 if version > 2 else 4)
        place: int | None = body.address + body.place
    else:
        place = body.offset()
        body.take(4 * rank)
        size = body.length() if version > 2 else needed
    if place is None and needed:
        return Dataset(shape, element, refusal="its values were never written")
    if needed != size and needed:
        raise ClaimError(f"a dataset of shape {shape} needs {needed} bytes, it claims {size}")
    if needed and (place or 0) + needed > blocks.size_bytes:
        raise ClaimError(
            f"cut short: a dataset ends at byte {blocks.base + (place or 0) + needed}, "
            f"it has {blocks.base + blocks.size_bytes}"
        )
    return Dataset(shape, element, blocks.base + (place or 0) if needed else 0)


def _chunked(
    blocks: Blocks,
    shape: tuple[int, ...],
    element: Element,
    body: Cursor,
    version: int,
    filters: tuple[int, ...],
) -> Dataset:
    if set(filters) - {DEFLATE, SHUFFLE, FLETCHER32}:
        return Dataset(shape, element, refusal=f"has unsupported compression; {REPACK}")
    if version != 3:
        return Dataset(shape, element, refusal=f"has an unsupported chunk index; {REPACK}")
    rank = body.number(1)
    tree = body.offset()
    sizes = checked_shape([body.number(4) for _ in range(rank)])
    if rank != len(shape) + 1 or 0 in sizes or sizes[-1] != element.size_bytes:
        raise ClaimError(f"a dataset of shape {shape} has chunks of shape {sizes[:-1]}")
    found = [] if tree is None else list(_listed_chunks(blocks, tree, rank))
    chunks = Chunks(sizes[:-1], filters, tuple(found))
    return _covered(blocks, shape, element, chunks)


def _listed_chunks(blocks: Blocks, tree: int, rank: int) -> Iterator[Chunk]:
    for key, address in tree_leaves(blocks, tree, CHUNK_TREE, 8 + 8 * rank):
        numbers = [int.from_bytes(key[i : i + 8], "little") for i in range(8, len(key) - 8, 8)]
        stored, left_out = (int.from_bytes(key[i : i + 4], "little") for i in (0, 4))
        yield Chunk(blocks.base + address, stored, left_out, tuple(numbers))


def _covered(blocks: Blocks, shape: tuple[int, ...], element: Element, chunks: Chunks) -> Dataset:
    """Return the dataset after checking that its chunks cover it and lie in the file."""
    end = blocks.base + blocks.size_bytes
    chunk_bytes = math.prod(chunks.shape) * element.size_bytes
    total = 0
    for chunk in chunks.chunks:
        total += chunk.stored_bytes
        deflated = _passed(chunks.filters, DEFLATE, chunk)
        most = (MOST_EXPANSION if deflated else 1) * chunk.stored_bytes + SLACK_BYTES * deflated
        if chunk.offset + chunk.stored_bytes > end or total > end or chunk_bytes > most:
            raise ClaimError(
                f"a chunk of {chunk.stored_bytes} bytes at byte {chunk.offset} cannot hold "
                f"{chunk_bytes} bytes of a dataset of shape {shape}; it is damaged"
            )
    grid = [-(-length // size) for length, size in zip(shape, chunks.shape, strict=True)]
    corners = {chunk.corner for chunk in chunks.chunks}
    fits = all(
        place % size == 0 and place < length
        for corner in corners
        for place, size, length in zip(corner, chunks.shape, shape, strict=True)
    )
    if len(corners) < len(chunks.chunks) or not fits:
        raise ClaimError(f"a dataset of shape {shape} lists chunks twice, or outside of it")
    if len(corners) < math.prod(grid):
        missing = math.prod(grid) - len(corners)
        return Dataset(shape, element, refusal=f"{missing} of its chunks were never written")
    return Dataset(shape, element, chunks)


def _passed(filters: tuple[int, ...], code: int, chunk: Chunk) -> bool:
    """Tell whether a filter was applied to a chunk."""
    return any(f == code and not chunk.left_out >> i & 1 for i, f in enumerate(filters))


def numpy_dtype(element: Element) -> np.dtype[Any]:
    """Return the NumPy dtype for reading elements; bfloat16 as its bits."""
    name = "uint16" if element.dtype == "bfloat16" else element.dtype
    return np.dtype(name).newbyteorder(">" if element.big_endian else "<")


def chunked_values(source: FilePart | InflatedPart, dataset: Dataset) -> npt.NDArray[Any]:
    """Return the values of a chunked dataset.

    Raises:
        ClaimError: If a chunk is damaged.
    """
    chunks = dataset.place
    if isinstance(chunks, int):
        raise ClaimError("the values are not in chunks")
    dtype = numpy_dtype(dataset.element)
    values = np.empty(dataset.shape, dtype)
    for chunk in chunks.chunks:
        raw = _undone(
            source.values(chunk.offset, chunk.stored_bytes), chunk, chunks, dtype.itemsize
        )
        block = np.frombuffer(raw, dtype).reshape(chunks.shape)
        place = tuple(
            slice(first, first + size)
            for first, size in zip(chunk.corner, chunks.shape, strict=True)
        )
        target = values[place]
        target[...] = block[tuple(map(slice, target.shape))]
    return values


def _undone(raw: bytes, chunk: Chunk, chunks: Chunks, item_bytes: int) -> bytes:
    """Return the bytes of a chunk after undoing its filters."""
    expected = math.prod(chunks.shape) * item_bytes
    for number, code in reversed(list(enumerate(chunks.filters))):
        if chunk.left_out >> number & 1:
            continue
        if code == FLETCHER32:
            raw = raw[:-4]
        elif code == DEFLATE:
            try:
                raw = zlib.decompressobj().decompress(raw, expected + 5)
            except zlib.error as error:
                raise ClaimError(f"a chunk at byte {chunk.offset} is damaged ({error})") from None
        else:
            whole = len(raw) // item_bytes * item_bytes
            shuffled = np.frombuffer(raw[:whole], np.uint8).reshape(item_bytes, -1)
            raw = shuffled.T.tobytes() + raw[whole:]
    if len(raw) != expected:
        raise ClaimError(f"a chunk at byte {chunk.offset} is damaged: it has another size")
    return raw

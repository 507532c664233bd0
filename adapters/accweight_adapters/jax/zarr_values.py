"""Values of Zarr arrays: byte ranges of plain ones, and decoding of compressed chunks.

Before memory is allocated, the stored bytes are checked: they must be able to decompress to the
size of the array. Missing chunks count as zeros (some versions of Orbax omit them), and zstd
compresses zeros to almost nothing, so arrays with few stored bytes have a separate size limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from accweight_adapters.bytes.compressed import DECODERS, Stored, most_unpacked
from accweight_adapters.bytes.zip import MOST_EXPANSION
from accweight_adapters.jax.ocdbt import Piece
from accweight_adapters.jax.zarr_arrays import NO_CHUNK, ArrayPlan, Coding, Sharding, grid, places
from accweight_adapters.untrusted import (
    MAX_SIZE,
    ClaimError,
    c_strides,
    claims_of,
    is_c_order,
    quoted,
    refused,
)
from accweight_core.dtypes import DTYPES
from accweight_core.errors import MissingLibraryError
from accweight_core.schema import Extent, HiddenValues, StoredTensor

Values = npt.NDArray[Any]

LARGEST_FROM_LITTLE: Final = 1 << 28
"""Most bytes of an array with less than a thousandth of them stored, or none."""

MOST_UNWRITTEN: Final = 1 << 16
"""Most missing chunks of an array."""


def tensor_in(
    origin: Path, format_name: str, name: str, plan: ArrayPlan, chunks: Mapping[str, Piece]
) -> StoredTensor:
    """Return the values of an array: a byte range, or a function that decodes them.

    Args:
        origin: The checkpoint, for messages.
        format_name: Its format, for messages.
        name: Name of the tensor.
        plan: Storage of the array.
        chunks: Its stored chunks, by key.

    Raises:
        ClaimError: If the chunks cannot hold the size of the array.
    """
    if plan.problem:
        return refused(name, plan.dtype, plan.shape, plan.problem)
    count = math.prod(grid(plan.shape, plan.chunk))
    if count > len(chunks) + MOST_UNWRITTEN:
        return refused(name, plan.dtype, plan.shape, f"{count} chunks should be there; few are")
    wanted = [plan.key(place) for place in places(plan.shape, plan.chunk)]
    found = {key: chunks[key] for key in wanted if key in chunks}
    problem = _check_size(name, plan, found, has_gaps=len(found) < count)
    if problem:
        return refused(name, plan.dtype, plan.shape, problem)
    extent = _extent(plan, found)
    if extent is not None:
        return StoredTensor(name, extent)
    load = partial(_assembled, origin, format_name, name, plan, found)
    return StoredTensor(name, HiddenValues(load, plan.dtype, plan.shape))


def _check_size(name: str, plan: ArrayPlan, found: Mapping[str, Piece], *, has_gaps: bool) -> str:
    """Return why a possibly valid array is not read, or ''.

    Raises:
        ClaimError: If the chunks cannot decompress to the size of the array.
    """
    needed = max(math.prod(plan.shape) * plan.item_bytes, plan.chunk_bytes if found else 0)
    stored = most = sum(piece.size_bytes for piece in found.values())
    for codec in (plan.sharding.coding if plan.sharding else plan.coding).codecs:
        most = min(most_unpacked(codec, most), MAX_SIZE) if codec in DECODERS else most
    if needed > most and not has_gaps and not plan.sharding:
        raise ClaimError(
            f"tensor {quoted(name)} of shape {plan.shape} needs {needed} bytes; its chunks of "
            f"{stored} cannot make so many; it is cut short or damaged"
        )
    if needed > max(LARGEST_FROM_LITTLE, MOST_EXPANSION * stored):
        return f"it claims {needed} bytes, of which only {stored} are stored"
    return ""


def _extent(plan: ArrayPlan, found: Mapping[str, Piece]) -> Extent | None:
    """Return the byte range that holds exactly the values, or None."""
    if len(found) != 1 or plan.sharding or plan.coding.codecs or plan.chunk != plan.shape:
        return None
    (piece,) = found.values()
    if piece.content is not None or piece.size_bytes != plan.chunk_bytes:
        return None
    strides = _strides(plan.shape, plan.coding.order)
    return Extent(
        str(piece.path),
        piece.offset,
        plan.dtype,
        plan.shape,
        None if is_c_order(plan.shape, strides) else strides,
        plan.coding.big_endian and plan.item_bytes > 1,
    )


def _strides(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of a block whose axes are stored in `order`."""
    stored = c_strides([shape[axis] for axis in order])
    return tuple(stored[order.index(axis)] for axis in range(len(shape)))


# ---------------------------------------------------------------- chunks


def _assembled(
    origin: Path, format_name: str, name: str, plan: ArrayPlan, found: Mapping[str, Piece]
) -> Values:
    """Return the whole array, decoded: its elements, or their codes.

    Raises:
        FormatError: If a chunk is damaged or missing.
        MissingLibraryError: If the library for its compression is not installed.
    """
    dtype = _numpy_dtype(plan.dtype)
    with claims_of(origin, format_name):
        values = _blank(plan, len(found) < math.prod(grid(plan.shape, plan.chunk)))
        for place in places(plan.shape, plan.chunk):
            piece = found.get(plan.key(place))
            if piece is None:
                continue
            start = [n * size for n, size in zip(place, plan.chunk, strict=True)]
            try:
                for corner, block in _blocks(plan, piece, dtype):
                    _put(values, [a + b for a, b in zip(start, corner, strict=True)], block)
            except ClaimError as error:
                raise ClaimError(f"a chunk of tensor {quoted(name)}: {error}") from error
            except MissingLibraryError as error:
                purpose = f"{origin}: reading tensor {quoted(name)}"
                raise MissingLibraryError(error.library, error.extra, purpose) from error
    return values


def _blank(plan: ArrayPlan, has_gaps: bool) -> Values:
    dtype = _numpy_dtype(plan.dtype)
    if not has_gaps and not plan.sharding:
        return np.empty(plan.shape, dtype)
    if plan.fill and plan.dtype != dtype.name:
        raise ClaimError(f"elements of type {plan.dtype} that were never written are not zero")
    fill = plan.fill if DTYPES[plan.dtype].family == "complex" else plan.fill.real
    return np.full(plan.shape, fill, dtype) if fill else np.zeros(plan.shape, dtype)


def _put(values: Values, start: Sequence[int], block: Values) -> None:
    """Write a block to its position; what exceeds the array is cut off."""
    place = tuple(
        slice(first, first + size) for first, size in zip(start, block.shape, strict=True)
    )
    target = values[place]
    if target.size or not target.shape:
        values[place] = block[tuple(map(slice, target.shape))]


def _blocks(
    plan: ArrayPlan, piece: Piece, dtype: np.dtype[Any]
) -> Iterator[tuple[Sequence[int], Values]]:
    """Yield the blocks of a chunk with their first index in it."""
    if plan.sharding is None:
        yield [0] * len(plan.shape), _block(piece.read(), plan.chunk, plan.coding, dtype)
        return
    sharding = plan.sharding
    entries = _index(piece, sharding, plan.chunk)
    for place, (offset, count) in zip(places(plan.chunk, sharding.shape), entries, strict=True):
        if offset == count == NO_CHUNK:
            continue
        corner = [n * size for n, size in zip(place, sharding.shape, strict=True)]
        yield corner, _block(piece.read(offset, count), sharding.shape, sharding.coding, dtype)


def _index(piece: Piece, sharding: Sharding, chunk: Sequence[int]) -> list[tuple[int, int]]:
    """Return offset and length of each inner chunk."""
    size = sharding.index_bytes(chunk)
    raw = piece.read(piece.size_bytes - size if sharding.index_at_end else 0, size)
    if sharding.index_has_checksum:
        raw = _without_checksum(raw)
    numbers = np.frombuffer(raw, "<u8").tolist()
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _without_checksum(raw: Stored) -> bytes:
    import google_crc32c

    content = bytes(raw[:-4])
    if google_crc32c.value(content) != int.from_bytes(raw[-4:], "little"):
        raise ClaimError("it is damaged: its checksum differs")
    return content


def _block(raw: Stored, shape: Sequence[int], coding: Coding, dtype: np.dtype[Any]) -> Values:
    """Return the values of a block, decoded."""
    expected = math.prod(shape) * dtype.itemsize
    for number in reversed(range(len(coding.codecs))):
        codec = coding.codecs[number]
        inner = 4 * coding.codecs[:number].count("crc32c")
        if codec == "crc32c":
            raw = _without_checksum(raw)
        elif any(earlier != "crc32c" for earlier in coding.codecs[:number]):
            raise ClaimError("it is compressed twice, which is not supported")
        else:
            raw = DECODERS[codec][0](raw, expected + inner)
    if len(raw) != expected:
        raise ClaimError(f"it makes {len(raw)} bytes, {expected} are expected; it is damaged")
    stored = np.frombuffer(raw, dtype.newbyteorder(">" if coding.big_endian else "<"))
    block = stored.reshape([shape[axis] for axis in coding.order])
    return block.transpose([coding.order.index(axis) for axis in range(len(shape))])


def _numpy_dtype(name: str) -> np.dtype[Any]:
    """Return the NumPy dtype for reading elements; types that NumPy lacks as their bits."""
    return np.dtype(DTYPES[name].code)

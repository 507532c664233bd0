"""Locate the bytes of tensors in torch pickles, checked against the file.

It serves all containers of torch.save: files, shards, and archives inside other files. For formats
without plain bytes, it also makes arrays from raw bytes.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from accweight_adapters.pickles.places import Place, number_in, stored_array
from accweight_adapters.pickles.values import ArrayClaim, Claim, TensorClaim
from accweight_adapters.torch.container import Archive
from accweight_adapters.untrusted import ClaimError, c_strides, is_c_order, quoted, reach, refused
from accweight_core.dtypes import DTYPES
from accweight_core.schema import Extent, StoredTensor

if TYPE_CHECKING:
    import numpy.typing as npt

EXPANSION_ALLOWANCE_BYTES: Final = 1 << 20
"""Bytes by which a tensor may exceed the file: small expanded buffers are common."""

SCALAR_CODES: Final = {
    "float64": "d",
    "float32": "f",
    "float16": "e",
    "int64": "q",
    "int32": "i",
    "int16": "h",
    "int8": "b",
    "uint8": "B",
}
"""`struct` codes by element type, for losses that were saved as tensors."""


def stored(path: Path, archive: Archive, name: str, claim: Claim) -> StoredTensor:
    """Return the location of a tensor's values, or a refusal with the reason."""
    if isinstance(claim, ArrayClaim):
        return stored_array(name, claim, Place(path, archive.pickle_at))
    if claim.refusal:
        return refused(name, claim.dtype, claim.shape, claim.refusal)
    if claim.dtype not in DTYPES:
        reason = f"its element type {claim.dtype} has no exact meaning as a float here"
        return refused(name, claim.dtype, claim.shape, reason)
    extent = extent_of(path, archive, name, claim)
    size_bytes = math.prod(claim.shape) * DTYPES[claim.dtype].size_bytes
    if size_bytes > archive.size_bytes + EXPANSION_ALLOWANCE_BYTES:
        reason = f"an expanded tensor, {size_bytes} bytes from a few; save tensor.clone() instead"
        return refused(name, claim.dtype, claim.shape, reason)
    return StoredTensor(name, extent)


def extent_of(path: Path, archive: Archive, name: str, claim: TensorClaim) -> Extent:
    """Return the extent of a tensor, after checking that it lies within its storage.

    Raises:
        ClaimError: If the storage is missing, or shorter than the tensor needs.
    """
    offset = _checked_offset(archive, name, claim)
    strides = None if is_c_order(claim.shape, claim.strides) else claim.strides
    return Extent(str(path), offset, claim.dtype, claim.shape, strides, archive.big_endian)


def _checked_offset(archive: Archive, name: str, claim: TensorClaim) -> int:
    """Return the byte offset of a tensor's first element, after checking its storage."""
    storage = claim.storage
    stretch = archive.storages.get(storage.key) if storage else None
    if storage is None or stretch is None:
        key = storage.key if storage else ""
        raise ClaimError(f"tensor {quoted(name)} needs storage {quoted(key)}, which is missing")
    used = reach(claim.shape, claim.strides)
    if not used:
        return stretch.offset
    item_bytes = DTYPES[claim.dtype].size_bytes
    end = (claim.offset + used) * item_bytes
    if end > storage.size_bytes or storage.start_bytes + end > stretch.size_bytes:
        raise ClaimError(
            f"tensor {quoted(name)} needs {storage.start_bytes + end} bytes of storage "
            f"{quoted(storage.key)}, which claims {storage.size_bytes} and has {stretch.size_bytes}"
        )
    return stretch.offset + storage.start_bytes + claim.offset * item_bytes


def scalar(path: Path, archive: Archive, claim: Claim) -> int | float | None:
    """Return the value of a scalar tensor, or None if it is not a real number or unreadable."""
    if isinstance(claim, ArrayClaim):
        return number_in(claim) if claim.dtype else None
    is_brain = claim.dtype == "bfloat16"  # the upper half of a float32
    code = "f" if is_brain else SCALAR_CODES.get(claim.dtype)
    if claim.refusal or code is None:
        return None
    try:
        offset = _checked_offset(archive, "", claim)
    except ClaimError:  # the weights are still readable
        return None
    with path.open("rb") as file:
        file.seek(offset)
        raw = file.read(DTYPES[claim.dtype].size_bytes)
    if is_brain:
        raw = raw + bytes(2) if archive.big_endian else bytes(2) + raw
    number: int | float = struct.unpack((">" if archive.big_endian else "<") + code, raw)[0]
    return number


def span_bytes(extent: Extent) -> int:
    """Return the number of bytes from the first element of an extent to its last, inclusive."""
    strides = extent.strides or c_strides(extent.shape)
    return reach(extent.shape, strides) * DTYPES[extent.dtype].size_bytes


def array_of(raw: bytes, extent: Extent) -> npt.NDArray[Any]:
    """Return the array in the `span_bytes` of an extent: its elements, or their codes."""
    import numpy as np  # needed to load values, not to describe them
    from numpy.lib.stride_tricks import as_strided

    dtype = np.dtype(DTYPES[extent.dtype].code)
    if not extent.elements:
        return np.empty(extent.shape, dtype)
    stored = np.frombuffer(raw, dtype.newbyteorder(">" if extent.big_endian else "<"))
    steps = [step * dtype.itemsize for step in extent.strides or c_strides(extent.shape)]
    return as_strided(stored.astype(dtype, copy=False), extent.shape, steps)

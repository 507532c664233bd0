"""Where the values of arrays in pickles lie, and how to load those that are not plain bytes.

An array in an uncompressed pickle is a byte range. It is decoded when it is read if the pickle
stores bytes as text (protocols before 3), or is itself compressed.
"""

from __future__ import annotations

import codecs
import math
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from accweight_adapters.bytes.source import InflatedPart
from accweight_adapters.bytes.zip import Member
from accweight_adapters.pickles.values import ArrayClaim, BytesClaim
from accweight_adapters.untrusted import ClaimError, claims_of, is_c_order, quoted, refused
from accweight_core.dtypes import DTYPES
from accweight_core.schema import Extent, HiddenValues, StoredTensor

if TYPE_CHECKING:
    import numpy.typing as npt

FORMAT: Final = "pickle"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pickle is: at an offset of a file, or in something compressed inside it.

    Attributes:
        path: The file.
        base: Offset of the stream, in the file or in what is inflated.
        member: The compressed bytes, if it is inside some.
        wbits: How they are compressed, for `zlib`.
    """

    path: Path
    base: int = 0
    member: Member | None = None
    wbits: int = 0

    def read(self, claim: BytesClaim) -> bytes:
        """Return the bytes that a claim describes.

        Raises:
            ClaimError: If they are missing.
        """
        if claim.known is not None:
            return claim.known
        start = self.base + claim.offset
        if self.member is None:
            with self.path.open("rb") as file:
                file.seek(start)
                raw = file.read(claim.size_bytes)
        else:
            changed = self.path.stat().st_mtime
            part = inflated_at(self.path, self.member, self.wbits, changed)
            raw = part.values(start, claim.size_bytes)
        if len(raw) < claim.size_bytes:
            raise ClaimError("it has become shorter since it was described")
        return _decoded(raw, claim.encoding)


@lru_cache(maxsize=4)
def inflated_at(path: Path, member: Member, wbits: int, _changed: float) -> InflatedPart:
    """Return random access to compressed bytes; the last few are kept, as tensors share them."""
    return InflatedPart(path, member, wbits)


def _decoded(raw: bytes, encoding: str) -> bytes:
    if encoding == "escape":
        return codecs.escape_decode(raw)[0]
    return raw.decode(encoding).encode("latin1") if encoding else raw


def stored_array(name: str, claim: ArrayClaim, place: Place) -> StoredTensor:
    """Return the location of an array's values, or a function that loads them."""
    raw = claim.raw
    if claim.refusal or raw is None:
        return refused(name, claim.dtype, claim.shape, claim.refusal or "it has no values")
    shape = claim.shape
    if raw.offset >= 0 and not raw.encoding and place.member is None:
        strides = None if is_c_order(shape, claim.strides) else claim.strides
        offset = place.base + raw.offset
        extent = Extent(str(place.path), offset, claim.dtype, shape, strides, claim.big_endian)
        return StoredTensor(name, extent)
    load = partial(_loaded, name, claim, place)
    return StoredTensor(name, HiddenValues(load, claim.dtype, shape))


def _loaded(name: str, claim: ArrayClaim, place: Place) -> npt.NDArray[Any]:
    """Return the values of an array, or their codes."""
    with claims_of(place.path, FORMAT):
        raw = place.read(claim.raw) if claim.raw else b""
        return array_in(raw, name, claim)


def array_in(raw: bytes, name: str, claim: ArrayClaim) -> npt.NDArray[Any]:
    """Return the array that raw bytes hold; raise `ClaimError` if they are too few or too many."""
    import numpy as np  # needed to load values, not to describe them
    from numpy.lib.stride_tricks import as_strided

    dtype = np.dtype(DTYPES[claim.dtype].code)
    if len(raw) != math.prod(claim.shape) * dtype.itemsize:
        raise ClaimError(f"array {quoted(name)} of shape {claim.shape} has {len(raw)} bytes")
    stored = np.frombuffer(raw, dtype.newbyteorder(">" if claim.big_endian else "<"))
    values = stored.astype(dtype, copy=False)
    steps = [step * dtype.itemsize for step in claim.strides]
    return as_strided(values, claim.shape, steps, writeable=False)


def number_in(claim: ArrayClaim) -> int | float | None:
    """Return the value of a small array of one element, or None."""
    raw = claim.raw.known if claim.raw else None
    if raw is None or math.prod(claim.shape) != 1:
        return None
    if DTYPES[claim.dtype].family not in ("float", "integer") or claim.dtype == "bfloat16":
        return None
    number: int | float = array_in(raw, "", claim).item()
    return number

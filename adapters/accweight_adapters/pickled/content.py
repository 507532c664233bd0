"""The content of a plain pickle, and where the bytes of its tensors and arrays lie.

PyTorch pickles a tensor outside torch.save as a call of `torch.storage._load_from_bytes` on the
bytes of a small legacy file; its storage is a byte range of the pickle.
"""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

from accweight_adapters.bytes.stretch import Stretch, StretchFile
from accweight_adapters.pickled.inner import with_inner
from accweight_adapters.pickled.joblib_arrays import followed
from accweight_adapters.pickled.packing import inflated_file, is_deflated, refused_packing
from accweight_adapters.pickles.interpreter import Interpreter
from accweight_adapters.pickles.places import Place, stored_array
from accweight_adapters.pickles.stream import PickleStream, most_operations
from accweight_adapters.pickles.values import (
    ArrayClaim,
    BytesClaim,
    Claim,
    Entity,
    StorageClaim,
    TensorClaim,
)
from accweight_adapters.torch.container import Archive, read_archive
from accweight_adapters.torch.extents import array_of, span_bytes, stored
from accweight_adapters.untrusted import ClaimError, check_not_empty, claims_of
from accweight_core.schema import Extent, HiddenValues, StoredTensor

if TYPE_CHECKING:
    import numpy.typing as npt

FORMAT: Final = "pickle"
HEAD_BYTES: Final = 1 << 10
MOST_READ: Final = 1 << 25
"""Most bytes of a compressed pickle that are not tensors or arrays."""

WINDOW_BYTES: Final = 1 << 12


class Opened:
    """An open pickle, plain or compressed.

    Attributes:
        file: Its content.
        place: Where that is.
        stored_bytes: Bytes of the file.
        size_bytes: Bytes of the content.
        is_packed: Whether it is compressed.
        claims: Tensors and arrays found so far.
    """

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            ClaimError: If it is compressed in a way that is not read.
        """
        self.claims = 0
        self.file: IO[bytes] = path.open("rb")
        self.place = Place(path)
        stored_bytes = self.stored_bytes = self.file.seek(0, io.SEEK_END)
        try:
            check_not_empty(stored_bytes)
            self.file.seek(0)
            head = self.file.read(HEAD_BYTES)
            packing = refused_packing(head)
            if packing:
                raise ClaimError(
                    f"compressed by {packing[0]}, which is not read here; undo it: {packing[1]}"
                )
            self.is_packed = is_deflated(head)
            if self.is_packed:
                self.file.close()
                self.file, self.place = inflated_file(path, stored_bytes)
        except BaseException:
            self.file.close()
            raise
        self.size_bytes = self.file.seek(0, io.SEEK_END)
        self.file.seek(0)
        self.storages: dict[str, Stretch] = {}
        self.encoded: dict[str, BytesClaim] = {}
        self._loaded: dict[BytesClaim, object] = {}

    def loaded(self, claim: BytesClaim) -> object:
        """Return the storage in the bytes of a small torch.save file."""
        self.claims += 1
        if claim not in self._loaded:
            self._loaded[claim] = self._storage_in(claim)
        return self._loaded[claim]

    def _storage_in(self, claim: BytesClaim) -> object:
        is_plain = not claim.encoding and claim.offset >= 0
        stretch = Stretch(claim.offset, claim.size_bytes)
        if is_plain:
            window = io.BufferedReader(StretchFile(self.file, stretch), WINDOW_BYTES)
            archive = read_archive(cast("IO[bytes]", window))
        else:
            archive = read_archive(io.BytesIO(self.place.read(claim)))
        storage = archive.content
        if not isinstance(storage, StorageClaim) or storage.key not in archive.storages:
            return Entity("torch.storage._load_from_bytes")
        key = str(len(self.storages))
        inner = archive.storages[storage.key]
        start = stretch.offset if is_plain else 0
        self.storages[key] = Stretch(start + inner.offset, inner.size_bytes)
        if not is_plain:
            self.encoded[key] = claim
        return replace(storage, key=key)


def interpreted(opened: Opened, most_opcodes: int | None = None) -> object:
    """Return the content of an open pickle, and of pickles inside it; see `inner`.

    Raises:
        ClaimError: If it is damaged, or has more operations than `most_opcodes`, or than a
            compressed file of its size may have.
    """
    most_read = None
    if opened.is_packed:
        packed = most_operations(opened.stored_bytes)
        most_read, most_opcodes = MOST_READ, min(packed, most_opcodes or packed)
    unpickled = partial(_unpickled, opened, most_read, most_opcodes)
    content, _ = unpickled()
    return with_inner(content, opened.file, unpickled, has_arrays=opened.claims > 0)


def _unpickled(
    opened: Opened, most_read: int | None, most_opcodes: int | None
) -> tuple[object, int]:
    """Return the content of the pickle at the position of the file, and where it ends."""
    stream = PickleStream(opened.file, most_read, most_opcodes)
    interpreter = Interpreter(stream, loaded=opened.loaded, following=followed)
    try:
        return interpreter.load(), stream.position
    finally:
        opened.claims += interpreter.claims


def located(opened: Opened, name: str, claim: Claim) -> StoredTensor:
    """Return where the values of a tensor or array lie, or a function that loads them."""
    if isinstance(claim, ArrayClaim):
        return stored_array(name, claim, opened.place)
    sizes = opened.size_bytes
    archive = Archive(FORMAT, None, opened.storages, big_endian=False, size_bytes=sizes)
    tensor = stored(opened.place.path, archive, name, claim)
    key = _storage_key(claim)
    extent = tensor.values
    if not isinstance(extent, Extent) or (not opened.is_packed and key not in opened.encoded):
        return tensor
    load = partial(_loaded, opened.place, opened.encoded.get(key), extent)
    return replace(tensor, values=HiddenValues(load, extent.dtype, extent.shape))


def _storage_key(claim: TensorClaim) -> str:
    return claim.storage.key if claim.storage else ""


def _loaded(place: Place, encoded: BytesClaim | None, extent: Extent) -> npt.NDArray[Any]:
    """Return the values of a tensor in a compressed pickle, or in bytes that are stored as text."""
    count = span_bytes(extent)
    with claims_of(place.path, FORMAT):
        if encoded is None:
            raw = place.read(BytesClaim(extent.offset, count))
        else:
            raw = place.read(encoded)[extent.offset : extent.offset + count]
        return array_of(raw, extent)

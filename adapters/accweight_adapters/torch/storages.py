"""Storages: the references in torch's pickles to raw bytes that lie outside them."""

from __future__ import annotations

from typing import Any, Final

from accweight_adapters.pickles.interpreter import opaque_reference
from accweight_adapters.pickles.values import Global, StorageClaim
from accweight_adapters.untrusted import ClaimError, checked_size, quoted

STORAGE_DTYPES: Final = {
    "torch.DoubleStorage": ("float64", 8),
    "torch.FloatStorage": ("float32", 4),
    "torch.HalfStorage": ("float16", 2),
    "torch.BFloat16Storage": ("bfloat16", 2),
    "torch.ComplexDoubleStorage": ("complex128", 16),
    "torch.ComplexFloatStorage": ("complex64", 8),
    "torch.LongStorage": ("int64", 8),
    "torch.IntStorage": ("int32", 4),
    "torch.ShortStorage": ("int16", 2),
    "torch.CharStorage": ("int8", 1),
    "torch.ByteStorage": ("uint8", 1),
    "torch.BoolStorage": ("bool", 1),
    "torch.QInt32Storage": ("qint32", 4),
    "torch.QInt8Storage": ("qint8", 1),
    "torch.QUInt8Storage": ("quint8", 1),
    "torch.QUInt4x2Storage": ("quint4x2", 1),
    "torch.QUInt2x4Storage": ("quint2x4", 1),
    "torch.UntypedStorage": ("uint8", 1),
    "torch.storage.UntypedStorage": ("uint8", 1),
}
"""Element type and its size in bytes, by storage class."""


class Storages:
    """The storages that one pickle refers to.

    Attributes:
        item_bytes: Bytes per element of every storage, by key.
    """

    def __init__(self, prefix: str = "") -> None:
        """Begin with none; keys are given `prefix`."""
        self.item_bytes: dict[str, int] = {}
        self._prefix = prefix

    def claimed(self, claim: object) -> object:
        """Return the storage ``("storage", class, key, location, elements[, view])``.

        The legacy format refers to classes of modules as well: ``("module", class, file,
        source)``.

        Raises:
            ClaimError: If a storage is claimed in a way that torch does not.
        """
        if not isinstance(claim, tuple) or not claim or claim[0] not in ("module", "storage"):
            return opaque_reference(claim)
        if claim[0] == "module":
            return claim[1] if len(claim) == 4 else opaque_reference(claim)
        if len(claim) not in (5, 6):
            raise ClaimError("its pickle refers to something that is not a storage")
        _, kind, key, _, elements = claim[:5]
        if not isinstance(kind, Global) or kind.name not in STORAGE_DTYPES:
            raise ClaimError(f"its pickle names a storage of unknown type {quoted(kind)}")
        if not isinstance(key, str):
            raise ClaimError("its pickle names a storage by something that is not text")
        view = claim[5] if len(claim) == 6 else None
        return self._storage(kind.name, self._prefix + key, elements, view)

    def _storage(self, kind: str, key: str, elements: object, view: Any) -> StorageClaim:
        dtype, item_bytes = STORAGE_DTYPES[kind]
        if self.item_bytes.setdefault(key, item_bytes) != item_bytes:
            raise ClaimError(f"storage {quoted(key)} is claimed with two element sizes")
        size = checked_size(elements, "a storage size")
        start = 0
        if view is not None:
            start, part = (checked_size(value, "a storage view") for value in view[1:3])
            if start + part > size:
                raise ClaimError(f"a view of storage {quoted(key)} reaches past its end")
            size = part
        return StorageClaim(key, dtype, start * item_bytes, size * item_bytes)

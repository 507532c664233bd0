"""The two containers of torch.save: zip, and the legacy stream of pickles before torch 1.6.

Both hold one pickle, and raw bytes for each storage. A zip gives their offsets in its directory and
local headers (torch stores records uncompressed); a legacy file lists the storage keys after the
pickle, followed by an int64 length and the bytes of each storage.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, Final

from accweight_adapters.bytes.stretch import Stretch
from accweight_adapters.bytes.zip import ZIP_MAGIC, first_name, member_names
from accweight_adapters.pickles.interpreter import Interpreter, Referred, opaque_reference
from accweight_adapters.pickles.stream import PickleStream
from accweight_adapters.torch.exported import exported, is_export
from accweight_adapters.torch.records import (
    bytes_of,
    records_in,
    stored_stretch,
    unpickled_record,
)
from accweight_adapters.torch.scripted import is_script, scripted
from accweight_adapters.torch.storages import Storages
from accweight_adapters.untrusted import ClaimError, check_not_empty, quoted

MAGIC: Final = 0x1950A86A20F9469CFC6C
MAGIC_OPCODE: Final = b"\x8a\x0a" + MAGIC.to_bytes(10, "little")
LEGACY_PROTOCOL: Final = 1001

TORCH_RECORD = re.compile(r"[^/]+/(data\.pkl|constants\.pkl|data/\d+)")
"""First records of torch's zips, to recognise truncated ones."""

PICKLE_RECORD = re.compile(r"[^/]+/data\.pkl")


@dataclass(frozen=True, slots=True)
class Archive:
    """The contents of a torch.save file.

    Attributes:
        format: Container format, in words.
        content: Description of its pickle.
        storages: Byte range of each storage, by key.
        big_endian: Whether elements are stored most significant byte first.
        size_bytes: Size of the file.
        pickle_at: Offset of the pickle in the file; NumPy arrays lie inside it.
    """

    format: str
    content: object
    storages: Mapping[str, Stretch]
    big_endian: bool
    size_bytes: int
    pickle_at: int = 0


def is_zip(file: IO[bytes]) -> bool:
    """Tell whether `file` is a zip of torch.save, TorchScript or torch.export."""
    first = first_name(file)
    if TORCH_RECORD.fullmatch(first):
        return True
    names = member_names(file) if first else []
    return any(map(PICKLE_RECORD.fullmatch, names)) or is_export(names)


def is_legacy(file: IO[bytes]) -> bool:
    """Tell whether `file` starts with the pickled magic number of the legacy format."""
    file.seek(0)
    head = file.read(32)
    return head.startswith(b"\x80") and MAGIC_OPCODE in head


def read_archive(file: IO[bytes]) -> Archive:
    """Read everything but the weights from a torch.save file, in either format."""
    if is_legacy(file):
        return read_legacy(file)
    file.seek(0)
    head = file.read(len(ZIP_MAGIC))
    check_not_empty(len(head))
    if head != ZIP_MAGIC:
        raise ClaimError("neither a zip of torch.save nor its legacy format")
    return read_zip(file)


def read_zip(file: IO[bytes]) -> Archive:
    """Read everything but the weights from a torch.save zip."""
    size_bytes = file.seek(0, io.SEEK_END)
    records = records_in(file, size_bytes)
    if is_export(records):
        weights, stretches = exported(file, records, size_bytes)
        return Archive("torch.export archive", weights, stretches, False, size_bytes)
    pickles = [name for name in records if PICKLE_RECORD.fullmatch(name)]
    if len(pickles) != 1:
        raise ClaimError(f"a torch zip holds one data.pkl; this one has {len(pickles)}")
    folder = pickles[0].removesuffix("data.pkl")
    content, storages = unpickled_record(file, records, pickles[0], folder + "data/", size_bytes)
    form = "torch zip"
    if is_script(records, folder):
        form = "TorchScript archive"
        content, more = scripted(file, content, records, folder, size_bytes)
        storages |= more
    return Archive(
        format=form,
        content=content,
        storages=storages,
        big_endian=_is_big_endian(file, records.get(folder + "byteorder"), size_bytes),
        size_bytes=size_bytes,
        pickle_at=stored_stretch(file, records[pickles[0]], size_bytes).offset,
    )


def _is_big_endian(file: IO[bytes], info: zipfile.ZipInfo | None, size_bytes: int) -> bool:
    if info is None:
        return False
    order = bytes_of(file, info, size_bytes) if info.file_size < 16 else b""
    if order not in (b"little", b"big"):
        raise ClaimError(f"its byte order is {quoted(order.decode('latin1'))}, not little or big")
    return order == b"big"


def read_legacy(file: IO[bytes]) -> Archive:
    """Read everything but the weights from a legacy file.

    torch writes these files little-endian on every machine, whatever their ``sys_info`` says
    (torch/csrc/serialization.cpp, `THPStorage_writeFileRaw`).
    """
    size_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    stream = PickleStream(file)
    if unpickled(stream) != MAGIC or unpickled(stream) != LEGACY_PROTOCOL:
        raise ClaimError(f"a legacy torch file begins with {MAGIC:#x} and {LEGACY_PROTOCOL}")
    unpickled(stream)  # sys_info
    claims = Storages()
    content = unpickled(stream, claims.claimed)
    keys = unpickled(stream)
    file.seek(stream.position)
    storages = _legacy_storages(file, keys, claims.item_bytes, size_bytes)
    return Archive("torch legacy", content, storages, big_endian=False, size_bytes=size_bytes)


def unpickled(stream: PickleStream, referred: Referred = opaque_reference) -> Any:
    """Return the content of the next pickle in a stream."""
    return Interpreter(stream, referred=referred).load()


def _legacy_storages(
    file: IO[bytes], keys: object, item_bytes: Mapping[str, int], size_bytes: int
) -> dict[str, Stretch]:
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ClaimError("its list of storages is damaged")
    storages: dict[str, Stretch] = {}
    for key in keys:
        elements = int.from_bytes(file.read(8), "little", signed=True)
        if key not in item_bytes or key in storages:
            raise ClaimError(f"it lists storage {quoted(key)} twice, or no tensor uses it")
        stretch = Stretch(file.tell(), elements * item_bytes[key])
        if elements < 0 or stretch.end > size_bytes:
            raise ClaimError(
                f"its storage {quoted(key)} ends at byte {stretch.end}, but the file has "
                f"{size_bytes}; it is cut short or damaged"
            )
        storages[key] = stretch
        file.seek(stretch.end)
    return storages

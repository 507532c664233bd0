"""The two containers of torch.save: zip, and the legacy stream of pickles before torch 1.6.

Both hold one pickle, and raw bytes for each storage. A zip gives their offsets in its directory and
local headers (torch stores records uncompressed); a legacy file lists the storage keys after the
pickle, followed by an int64 length and the bytes of each storage.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, Final, cast

from accweight_adapters.bytes.stretch import Stretch
from accweight_adapters.bytes.zip import (
    LOCAL_HEADER_BYTES,
    ZIP_MAGIC,
    data_offset,
    directory_of,
    first_name,
    member_names,
)
from accweight_adapters.torch.pickle import WeightsPickle
from accweight_adapters.torch.pickle_globals import PLAIN, Vocabulary
from accweight_adapters.untrusted import ClaimError, check_not_empty, quoted
from accweight_core.remote import expect, is_remote

MAGIC: Final = 0x1950A86A20F9469CFC6C
MAGIC_OPCODE: Final = b"\x8a\x0a" + MAGIC.to_bytes(10, "little")
LEGACY_PROTOCOL: Final = 1001

TORCH_RECORD = re.compile(r"[^/]+/(data\.pkl|constants\.pkl|data/\d+)")
"""First records of torch's zips, to recognise truncated ones."""

ALIGNMENT: Final = 64
"""Alignment of the bytes of a record in torch's zips."""

HEADER_WITH_NAME_BYTES: Final = 128
SAMPLES: Final = 3
"""Local headers of a remote file that are checked."""

PICKLE_RECORD = re.compile(r"[^/]+/data\.pkl")

TORCHSCRIPT_ADVICE: Final = (
    "is a TorchScript archive, which holds code; only plain weights are read and nothing in the "
    "file is run. If you trust it, convert it in the environment that made it: "
    "torch.save(torch.jit.load(PATH).state_dict(), NEW)"
)


@dataclass(frozen=True, slots=True)
class Archive:
    """The contents of a torch.save file.

    Attributes:
        format: Container format, in words.
        content: Description of its pickle.
        storages: Byte range of each storage, by key.
        big_endian: Whether elements are stored most significant byte first.
        size_bytes: Size of the file.
    """

    format: str
    content: object
    storages: Mapping[str, Stretch]
    big_endian: bool
    size_bytes: int


class BoundedStream:
    """A file for the pickle reader, with reads limited to the size of the file.

    A plain file allocates the full length that a hostile opcode claims before it reads.
    """

    def __init__(self, file: IO[bytes], size_bytes: int) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self.tell = file.tell
        self.readline = file.readline

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer at the end of the file."""
        return self._file.read(min(count, max(0, self._size_bytes - self.tell())))


def is_zip(file: IO[bytes]) -> bool:
    """Tell whether `file` is a zip of torch.save or TorchScript, whole or truncated."""
    first = first_name(file)
    if TORCH_RECORD.fullmatch(first):
        return True
    return bool(first) and any(map(PICKLE_RECORD.fullmatch, member_names(file)))


def is_legacy(file: IO[bytes]) -> bool:
    """Tell whether `file` starts with the pickled magic number of the legacy format."""
    file.seek(0)
    head = file.read(32)
    return head.startswith(b"\x80") and MAGIC_OPCODE in head


def read_archive(file: IO[bytes], vocabulary: Vocabulary = PLAIN) -> Archive:
    """Read everything but the weights from a torch.save file, in either format."""
    if is_legacy(file):
        return read_legacy(file, vocabulary)
    file.seek(0)
    head = file.read(len(ZIP_MAGIC))
    check_not_empty(len(head))
    if head != ZIP_MAGIC:
        raise ClaimError("neither a zip of torch.save nor its legacy format")
    return read_zip(file, vocabulary)


def read_zip(file: IO[bytes], vocabulary: Vocabulary = PLAIN) -> Archive:
    """Read everything but the weights from a torch.save zip."""
    size_bytes = file.seek(0, io.SEEK_END)
    records = records_in(file, size_bytes)
    pickles = [name for name in records if PICKLE_RECORD.fullmatch(name)]
    if len(pickles) != 1:
        raise ClaimError(f"a torch zip holds one data.pkl; this one has {len(pickles)}")
    folder = pickles[0].removesuffix("data.pkl")
    if folder + "constants.pkl" in records or any(n.startswith(folder + "code/") for n in records):
        raise ClaimError(TORCHSCRIPT_ADVICE)
    prefix = folder + "data/"
    of_storages = {name: info for name, info in records.items() if name.startswith(prefix)}
    storages = {
        name.removeprefix(prefix): stretch
        for name, stretch in _stretches(file, records, of_storages, size_bytes).items()
    }
    pickled = _bytes_of(file, records[pickles[0]], size_bytes)
    content = WeightsPickle(io.BytesIO(pickled), vocabulary).load()
    return Archive(
        format="torch zip",
        content=content,
        storages=storages,
        big_endian=_is_big_endian(file, records.get(folder + "byteorder"), size_bytes),
        size_bytes=size_bytes,
    )


def records_in(file: IO[bytes], size_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """Return the records in the directory of a zip, by name."""
    return {info.filename: info for info in directory_of(file, size_bytes, "record")}


def _stretches(
    file: IO[bytes],
    records: Mapping[str, zipfile.ZipInfo],
    wanted: Mapping[str, zipfile.ZipInfo],
    size_bytes: int,
) -> dict[str, Stretch]:
    """Return the byte ranges of records.

    Each is given by the record's local header. In a remote file, reading one costs a request, so
    only a few are checked: if they confirm the offsets computed from the distances between records
    and torch's alignment, the computed offsets are used for all others.
    """
    if is_remote(file) and len(wanted) > SAMPLES:
        between = _between_headers(records, wanted)
        names = list(wanted)
        sample = [names[i * (len(names) - 1) // (SAMPLES - 1)] for i in range(SAMPLES)]
        expect(file, [(wanted[name].header_offset, HEADER_WITH_NAME_BYTES) for name in sample])
        if all(between.get(name) == _stretch(file, wanted[name], size_bytes) for name in sample):
            for name, info in wanted.items():
                _check_stored(info)
                if name not in between:
                    between[name] = _stretch(file, info, size_bytes)
            return {name: between[name] for name in wanted}
    expect(file, [(info.header_offset, HEADER_WITH_NAME_BYTES) for info in wanted.values()])
    return {name: _stretch(file, info, size_bytes) for name, info in wanted.items()}


def _between_headers(
    records: Mapping[str, zipfile.ZipInfo], wanted: Mapping[str, zipfile.ZipInfo]
) -> dict[str, Stretch]:
    """Return byte ranges computed from the start of the next record and torch's alignment.

    After its bytes, a record may have a data descriptor of 16 bytes, or 24 in large files; the
    alignment rules out two of the three cases.
    """
    found: dict[str, Stretch] = {}
    ordered = sorted(records.values(), key=lambda info: info.header_offset)
    for info, following in pairwise(ordered):
        earliest = info.header_offset + LOCAL_HEADER_BYTES + len(info.orig_filename.encode())
        ends = [following.header_offset - repeated for repeated in (0, 16, 24)]
        starts = [end - info.file_size for end in ends]
        fitting = [at for at in starts if at >= earliest and at % ALIGNMENT == 0]
        if info.filename in wanted and len(fitting) == 1:
            found[info.filename] = Stretch(fitting[0], info.file_size)
    return found


def _check_stored(info: zipfile.ZipInfo) -> None:
    """Raise `ClaimError` if a record is compressed, which torch never does."""
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise ClaimError(
            f"its record {quoted(info.filename)} is compressed, which torch.save never does; "
            "save it again: torch.save(torch.load(PATH), NEW)"
        )
    if info.flag_bits & 1:
        raise ClaimError(f"its record {quoted(info.filename)} is encrypted")


def _stretch(file: IO[bytes], info: zipfile.ZipInfo, size_bytes: int) -> Stretch:
    """Return the byte range of a record, which must be uncompressed."""
    _check_stored(info)
    return stretch_of(file, info, size_bytes)


def stretch_of(file: IO[bytes], info: zipfile.ZipInfo, size_bytes: int) -> Stretch:
    """Return the stored byte range of a record, from its local header."""
    if info.flag_bits & 1:
        raise ClaimError(f"its record {quoted(info.filename)} is encrypted")
    offset = data_offset(file, info, size_bytes, "record")
    return Stretch(offset, info.compress_size)


def _bytes_of(file: IO[bytes], info: zipfile.ZipInfo, size_bytes: int) -> bytes:
    """Return the bytes of a record; torch writes a checksum of 0 to omit it."""
    stretch = _stretch(file, info, size_bytes)
    file.seek(stretch.offset)
    content = file.read(stretch.size_bytes)
    if info.CRC and zlib.crc32(content) != info.CRC:
        raise ClaimError(f"its record {quoted(info.filename)} does not match its checksum")
    return content


def _is_big_endian(file: IO[bytes], info: zipfile.ZipInfo | None, size_bytes: int) -> bool:
    if info is None:
        return False
    order = _bytes_of(file, info, size_bytes) if info.file_size < 16 else b""
    if order not in (b"little", b"big"):
        raise ClaimError(f"its byte order is {quoted(order.decode('latin1'))}, not little or big")
    return order == b"big"


def read_legacy(file: IO[bytes], vocabulary: Vocabulary = PLAIN) -> Archive:
    """Read everything but the weights from a legacy file.

    torch writes these files little-endian on every machine, whatever their ``sys_info`` says
    (torch/csrc/serialization.cpp, `THPStorage_writeFileRaw`).
    """
    size_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    stream = cast("IO[bytes]", BoundedStream(file, size_bytes))
    if WeightsPickle(stream).load() != MAGIC or WeightsPickle(stream).load() != LEGACY_PROTOCOL:
        raise ClaimError(f"a legacy torch file begins with {MAGIC:#x} and {LEGACY_PROTOCOL}")
    WeightsPickle(stream).load()  # sys_info
    pickle = WeightsPickle(stream, vocabulary)
    content = pickle.load()
    keys = WeightsPickle(stream).load()
    storages = _legacy_storages(file, keys, pickle.item_bytes, size_bytes)
    return Archive("torch legacy", content, storages, big_endian=False, size_bytes=size_bytes)


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

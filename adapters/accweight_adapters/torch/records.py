"""Records of torch's zips: where they lie, and the pickles among them.

torch stores records uncompressed and aligned, so the bytes of a storage are a range of the file.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from itertools import pairwise
from typing import IO, Final

from accweight_adapters.bytes.stretch import Stretch
from accweight_adapters.bytes.zip import LOCAL_HEADER_BYTES, data_offset, directory_of
from accweight_adapters.pickles.interpreter import Interpreter
from accweight_adapters.pickles.stream import PickleStream
from accweight_adapters.torch.storages import Storages
from accweight_adapters.untrusted import ClaimError, quoted
from accweight_core.remote import expect, is_remote

ALIGNMENT: Final = 64
"""Alignment of the bytes of a record in torch's zips."""

HEADER_WITH_NAME_BYTES: Final = 128
SAMPLES: Final = 3
"""Local headers of a remote file that are checked."""


def unpickled_record(
    file: IO[bytes],
    records: Mapping[str, zipfile.ZipInfo],
    name: str,
    prefix: str,
    size_bytes: int,
    *,
    prefixed: bool = False,
) -> tuple[object, dict[str, Stretch]]:
    """Return the content of a pickle, and its storages by key.

    Args:
        file: The zip.
        records: Its directory.
        name: The record with the pickle.
        prefix: What the names of the records of its storages start with.
        size_bytes: Size of the zip.
        prefixed: Whether keys keep the prefix, to be told from those of another pickle.
    """
    of_storages = {n: info for n, info in records.items() if n.startswith(prefix)}
    storages = {
        key.removeprefix(prefix): stretch
        for key, stretch in _stretches(file, records, of_storages, size_bytes).items()
    }
    if prefixed:
        storages = {prefix + key: stretch for key, stretch in storages.items()}
    claims = Storages(prefix if prefixed else "")
    pickled = io.BytesIO(bytes_of(file, records[name], size_bytes))
    return Interpreter(PickleStream(pickled), referred=claims.claimed).load(), storages


def records_in(file: IO[bytes], size_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """Return the records in the directory of a zip, by name.

    Raises:
        ClaimError: If the directory is damaged, or is that of another zip inside this one, which
            is found where this one was cut off right behind it.
    """
    records = {info.filename: info for info in directory_of(file, size_bytes, "record")}
    if records and min(info.header_offset for info in records.values()):
        raise ClaimError("its zip directory does not list its first record; it is cut short")
    return records


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
        if all(
            between.get(name) == stored_stretch(file, wanted[name], size_bytes) for name in sample
        ):
            for name, info in wanted.items():
                _check_stored(info)
                if name not in between:
                    between[name] = stored_stretch(file, info, size_bytes)
            return {name: between[name] for name in wanted}
    expect(file, [(info.header_offset, HEADER_WITH_NAME_BYTES) for info in wanted.values()])
    return {name: stored_stretch(file, info, size_bytes) for name, info in wanted.items()}


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


def stored_stretch(file: IO[bytes], info: zipfile.ZipInfo, size_bytes: int) -> Stretch:
    """Return the byte range of a record, which must be uncompressed."""
    _check_stored(info)
    return stretch_of(file, info, size_bytes)


def stretch_of(file: IO[bytes], info: zipfile.ZipInfo, size_bytes: int) -> Stretch:
    """Return the stored byte range of a record, from its local header."""
    if info.flag_bits & 1:
        raise ClaimError(f"its record {quoted(info.filename)} is encrypted")
    offset = data_offset(file, info, size_bytes, "record")
    return Stretch(offset, info.compress_size)


def bytes_of(file: IO[bytes], info: zipfile.ZipInfo, size_bytes: int) -> bytes:
    """Return the bytes of a record; torch writes a checksum of 0 to omit it."""
    stretch = stored_stretch(file, info, size_bytes)
    file.seek(stretch.offset)
    content = file.read(stretch.size_bytes)
    if info.CRC and zlib.crc32(content) != info.CRC:
        raise ClaimError(f"its record {quoted(info.filename)} does not match its checksum")
    return content

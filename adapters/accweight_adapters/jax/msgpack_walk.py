"""Parse the tree in a Flax msgpack file, without the bytes of its arrays.

An array is an extension of type 1 with its shape, the name of its element type, and its bytes;
NumPy scalars are type 3. Large arrays are mappings of chunks. The parser goes from token to token
and skips array bytes, so a wrong length ends at the end of the file.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, Final

from accweight_adapters.bytes.cursor import Cursor, FileCursor
from accweight_adapters.untrusted import MAX_AXES, ClaimError, checked_shape, checked_text, quoted
from accweight_core.dtypes import DTYPES

ARRAY, COMPLEX, SCALAR = 1, 2, 3
CHUNKED: Final = "__msgpack_chunked_array__"
MOST_DEPTH: Final = 40
MOST_TOKENS: Final = 1 << 21
"""Most keys and values in a file; a model of a hundred thousand arrays has a tenth of that."""

LONGEST_TEXT: Final = 1 << 12
LONGEST_HEAD: Final = 1 << 10
"""Most bytes of an array's shape and element type."""

LONGEST_DTYPE: Final = 64

MAP_CODES: Final = {0xDE: 2, 0xDF: 4}
LIST_CODES: Final = {0xDC: 2, 0xDD: 4}
TEXT_CODES: Final = {0xD9: 1, 0xDA: 2, 0xDB: 4}
BYTES_CODES: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4}
SIZE_CODES: Final = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
EXTENSION_CODES: Final = {0xC7: 1, 0xC8: 2, 0xC9: 4}
FIXED_EXTENSIONS: Final = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
NUMBER_CODES: Final = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
CONSTANTS: Final = {0xC0: None, 0xC2: False, 0xC3: True}


@dataclass(frozen=True, slots=True)
class PackedArray:
    """An array: NumPy's name of its element type, its shape, and its byte range."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ChunkedArray:
    """An array in flat chunks, in order."""

    shape: tuple[int, ...]
    chunks: tuple[PackedArray, ...]

    @property
    def dtype(self) -> str:
        """Name of the element type, which all chunks share."""
        return self.chunks[0].dtype if self.chunks else "float32"


@dataclass(frozen=True, slots=True)
class Opaque:
    """Anything but an array, a number or a mapping."""


OPAQUE: Final = Opaque()


class FoundArray(Exception):  # noqa: N818 - it ends the walk of who only wants to know
    """Raised at the first array, if the caller needs no more than that."""


class Walk:
    """Parses a file once, from its first byte."""

    def __init__(self, file: IO[bytes], *, to_first: bool = False, most: int = MOST_TOKENS) -> None:
        self._file = file
        self._cursor = FileCursor(file)
        self._bytes = self._cursor.take
        self._to_first = to_first
        self._left = most

    def tree(self) -> dict[str, Any]:
        """Return the mapping that the file holds, with the locations of arrays.

        Raises:
            ClaimError: If the file is damaged or truncated, or holds anything else.
            FoundArray: At the first array, if requested.
        """
        code = self._byte()
        if not (0x80 <= code <= 0x8F or code in MAP_CODES):
            raise ClaimError("not a msgpack file of Flax: it does not begin with a mapping")
        content = self._mapping(self._count(code, 0x80, MAP_CODES), 0)
        if (end := self._cursor.place) != self._cursor.size_bytes:
            raise ClaimError(
                f"its tree ends at byte {end}, it has {self._cursor.size_bytes}; it is damaged, "
                "or something was appended"
            )
        if not isinstance(content, dict):
            raise ClaimError("holds one array without a name; save a mapping of names to arrays")
        return content

    # ------------------------------------------------------------ tokens

    def _byte(self) -> int:
        self._left -= 1
        if self._left < 0:
            raise ClaimError("holds more keys and values than any tree of weights")
        return self._bytes(1)[0]

    def _skip(self, count: int) -> int:
        """Skip bytes; return their position. A truncated file may still contain an array."""
        return self._cursor.skip(count, is_whole=not self._to_first)

    def _count(self, code: int, fixed: int, codes: Mapping[int, int]) -> int:
        """Return the length that follows a code, or is part of it."""
        return int.from_bytes(self._bytes(codes[code]), "big") if code in codes else code - fixed

    # ------------------------------------------------------------ values

    def _value(self, depth: int) -> Any:
        code = self._byte()
        if code <= 0x7F or code >= 0xE0:
            return code if code <= 0x7F else code - 256
        if code in NUMBER_CODES:
            form = NUMBER_CODES[code]
            return struct.unpack(form, self._bytes(struct.calcsize(form)))[0]
        if code in CONSTANTS:
            return CONSTANTS[code]
        if code <= 0x8F or code in MAP_CODES:
            return self._mapping(self._count(code, 0x80, MAP_CODES), depth)
        if code <= 0x9F or code in LIST_CODES:
            return self._list(self._count(code, 0x90, LIST_CODES), depth)
        if code in EXTENSION_CODES or code in FIXED_EXTENSIONS:
            size = self._count(code, 0, EXTENSION_CODES) if code in EXTENSION_CODES else 0
            return self._extension(size or FIXED_EXTENSIONS.get(code, 0))
        if code <= 0xBF or code in TEXT_CODES:
            self._skip(self._count(code, 0xA0, TEXT_CODES))
            return OPAQUE
        if code in BYTES_CODES:
            self._skip(self._count(code, 0, BYTES_CODES))
            return OPAQUE
        raise ClaimError(
            f"damaged: byte {self._cursor.place - 1} does not begin anything of msgpack"
        )

    def _mapping(self, count: int, depth: int) -> Any:
        self._check_depth(depth, 2 * count)
        found: dict[str, Any] = {}
        for _ in range(count):
            key = self._key()
            if key in found:
                raise ClaimError(f"holds two values that are both called {quoted(key)}")
            found[key] = self._value(depth + 1)
        return _chunked(found) if CHUNKED in found else found

    def _list(self, count: int, depth: int) -> Any:
        self._check_depth(depth, count)
        found = {str(index): self._value(depth + 1) for index in range(count)}
        holds_trees = any(isinstance(v, (dict, PackedArray, ChunkedArray)) for v in found.values())
        return found if holds_trees else OPAQUE

    def _check_depth(self, depth: int, count: int) -> None:
        if depth > MOST_DEPTH:
            raise ClaimError(f"nests its mappings more than {MOST_DEPTH} deep")
        self._cursor.check(self._cursor.place, count)

    def _key(self) -> str:
        code = self._byte()
        if code <= 0x7F:
            return str(code)
        if not (0xA0 <= code <= 0xBF or code in TEXT_CODES):
            raise ClaimError(f"damaged: byte {self._cursor.place - 1} should begin a name")
        size = self._count(code, 0xA0, TEXT_CODES)
        if size > LONGEST_TEXT:
            raise ClaimError(f"claims a name of {size} bytes; it is damaged")
        return checked_text(self._bytes(size))

    def _extension(self, size: int) -> Any:
        kind = self._bytes(1)[0]
        start = self._cursor.place
        if kind not in (ARRAY, SCALAR):
            self._skip(size)
            return OPAQUE
        array = self._array(start, size)
        if self._to_first:
            raise FoundArray
        self._skip(size)
        return array

    def _array(self, start: int, size: int) -> PackedArray:
        """Return the array in an extension: three values, of which the last fills the rest."""
        head = self._file.read(min(size, LONGEST_HEAD))
        shape, dtype, offset, count = _array_head(head, start)
        self._file.seek(start)
        if offset + count != start + size:
            raise ClaimError(f"the array at byte {start} does not end where it says; it is damaged")
        item_bytes = DTYPES[dtype].size_bytes if dtype in DTYPES else None
        if item_bytes is not None and math.prod(shape) * item_bytes != count:
            raise ClaimError(
                f"the array at byte {start} of shape {shape} and type {dtype} needs "
                f"{math.prod(shape) * item_bytes} bytes, it has {count}"
            )
        return PackedArray(dtype, shape, offset, count)


def _array_head(content: bytes, start: int) -> tuple[tuple[int, ...], str, int, int]:
    """Parse the first bytes of an array's extension.

    Returns:
        Shape, element type, offset of the bytes in the file, and their number.
    """
    head = Cursor(content, f"the array at byte {start}")

    def check(is_so: bool) -> None:
        if not is_so:
            raise ClaimError(f"{head.what} is damaged or cut short")

    check(head.byte() == 0x93)  # a list of three
    code = head.byte()
    rank = head.number(2, "big") if code == 0xDC else code - 0x90
    check(0 <= rank <= MAX_AXES)
    sizes = []
    for _ in range(rank):
        code = head.byte()
        check(code <= 0x7F or code in SIZE_CODES)
        sizes.append(code if code <= 0x7F else head.number(SIZE_CODES[code], "big"))
    shape = checked_shape(sizes)
    code = head.byte()
    length = head.byte() if code == 0xD9 else code - 0xA0
    check(0 < length <= LONGEST_DTYPE)
    name = head.take(length)
    code = head.byte()
    check(code in BYTES_CODES and name.isascii() and name.decode().isprintable())
    count = head.number(BYTES_CODES[code], "big")
    return shape, name.decode(), start + head.place, count


def _chunked(entries: Mapping[str, Any]) -> ChunkedArray:
    """Return an array in chunks, after checking that they make up its shape."""
    shape, chunks = _listed(entries.get("shape")), _listed(entries.get("chunks"))
    if not all(isinstance(chunk, PackedArray) for chunk in chunks):
        raise ClaimError("an array in chunks has something else among them; it is damaged")
    array = ChunkedArray(checked_shape(shape), tuple(chunks))
    elements = sum(math.prod(chunk.shape) for chunk in array.chunks)
    same = len({chunk.dtype for chunk in array.chunks}) <= 1
    if not same or elements != math.prod(array.shape):
        raise ClaimError(f"an array of shape {array.shape} has chunks of {elements} elements")
    return array


def _listed(entries: Any) -> list[Any]:
    """Return the values of a mapping with keys "0", "1", ..., as a list."""
    if entries is OPAQUE or not isinstance(entries, dict):
        raise ClaimError("an array in chunks does not say its shape, or its chunks; it is damaged")
    if not all(str(number) in entries for number in range(len(entries))):
        raise ClaimError("an array in chunks lacks one of them; it is damaged")
    return [entries[str(number)] for number in range(len(entries))]

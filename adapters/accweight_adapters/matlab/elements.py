"""The elements of a MAT-file: tags, and the arrays inside them, in structures and cells too.

The format (MATLAB's "MAT-File Format", Level 5) is read here and not with SciPy: `loadmat` loads
and builds everything a file claims to hold, at once, while a description needs a few bytes of each
array, and every size is a claim. Objects, function handles and Java objects are never built; they
are passed over by their size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from accweight_adapters.untrusted import ClaimError, checked_shape, checked_text, quoted
from accweight_core.dtypes import DTYPES

HEADER_BYTES: Final = 128
MATRIX, COMPRESSED = 14, 15
STORED: Final = {
    1: "int8", 2: "uint8", 3: "int16", 4: "uint16", 5: "int32", 6: "uint32", 7: "float32",
    9: "float64", 12: "int64", 13: "uint64",
}  # fmt: skip
"""Element types of stored numbers, which may be smaller than those of the array."""

CELL, STRUCT, OBJECT, CHAR, SPARSE, FUNCTION, OPAQUE = 1, 2, 3, 4, 5, 16, 17
CLASSES: Final = {
    6: "float64", 7: "float32", 8: "int8", 9: "uint8", 10: "int16", 11: "uint16", 12: "int32",
    13: "uint32", 14: "int64", 15: "uint64",
}  # fmt: skip
"""Element types of numeric arrays, by class."""

COMPLEX, LOGICAL = 0x0800, 0x0200
MOST_DEPTH: Final = 16
MOST_ARRAYS: Final = 1 << 18
MOST_AXES: Final = 32
MOST_NAMES_BYTES: Final = 1 << 20
PAD: Final = 8

Order = Literal["little", "big"]


VECTORS = re.compile(
    r"(.*[._])?(b|bias(es)?|beta|gamma|offset|shift|scale|mu|mean|sigma|var(iance)?"
    r"|(running|moving|trained)_?(mean|var(iance)?))_?\d*",
    re.IGNORECASE,
)
"""Names of what has one axis elsewhere: biases, and the parameters of norms."""


def axes_of(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an array: one axis for biases and norms, the others keep all they have.

    MATLAB has no arrays of fewer than two axes, so a bias is 1 x N or N x 1 there. So are the
    weights of a layer with one output, which are a matrix.
    """
    is_vector = len(shape) == 2 and 1 in shape and VECTORS.fullmatch(name) is not None
    return (math.prod(shape),) if is_vector else shape


class Source(Protocol):
    """Bytes by offset; of a compressed element, offsets only grow."""

    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset`."""
        ...


@dataclass(frozen=True, slots=True)
class Array:
    """One numeric array.

    Attributes:
        name: Path of names to it.
        shape: Its shape; the first axis is contiguous.
        dtype: Element type of the array.
        stored: Element type of the stored numbers.
        offset: Offset of the numbers in their source.
        problem: Why it cannot be analysed.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    stored: str
    offset: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Tag:
    """The head of an element: its type, and the range of its content."""

    kind: int
    start: int
    stop: int
    end: int
    """Start of the next element."""


@dataclass(slots=True)
class Elements:
    """Reads the elements of one source.

    Attributes:
        source: The bytes.
        order: Byte order.
        left: Number of arrays that may still be found.
    """

    source: Source
    order: Order
    left: int = MOST_ARRAYS

    def tag(self, place: int, stop: int) -> Tag:
        """Return the tag at `place`, whose element must end before `stop`."""
        if stop - place < 8:
            raise ClaimError("an element ends too early; it is damaged or cut short")
        raw = self.source.read(place, 8)
        first = int.from_bytes(raw[:4], self.order)
        if first >> 16:  # type, size and content in eight bytes
            kind, size, start, end = first & 0xFFFF, first >> 16, place + 4, place + 8
            if size > 4:
                raise ClaimError(f"an element at byte {place} is damaged")
        else:
            kind, size, start = first, int.from_bytes(raw[4:], self.order), place + 8
            end = start + size + (-size % PAD if kind != COMPRESSED else 0)
        if start + size > stop:
            raise ClaimError(f"an element at byte {place} claims {size} bytes, more than are left")
        return Tag(kind, start, start + size, min(end, stop))

    def content(self, tag: Tag, most: int) -> bytes:
        """Return the content of a small element."""
        if tag.stop - tag.start > most:
            raise ClaimError(f"an element claims {tag.stop - tag.start} bytes; it is damaged")
        return self.source.read(tag.start, tag.stop - tag.start)

    def numbers(self, tag: Tag, most: int) -> list[int]:
        """Return a list of 32-bit numbers."""
        raw = self.content(tag, 4 * most)
        return [
            int.from_bytes(raw[i : i + 4], self.order, signed=tag.kind == 5)
            for i in range(0, len(raw) // 4 * 4, 4)
        ]

    def arrays(self, tag: Tag, name: str, depth: int = 0) -> Iterator[Array]:
        """Yield the numeric arrays in a matrix element."""
        self.left -= 1
        if self.left < 0 or depth > MOST_DEPTH:
            raise ClaimError(f"holds more than {MOST_ARRAYS} arrays, or nests them too deep")
        if tag.kind != MATRIX or tag.start == tag.stop:  # an empty cell has no content
            return
        flags = self.tag(tag.start, tag.stop)
        (word, *_) = self.numbers(flags, 2) or [0]
        kind = word & 0xFF
        if kind == OPAQUE:
            return
        dims = self.tag(flags.end, tag.stop)
        shape = checked_shape(self.numbers(dims, MOST_AXES))
        label = self.tag(dims.end, tag.stop)
        own = checked_text(self.content(label, MOST_NAMES_BYTES))
        name = name or own
        if kind in CLASSES:
            yield self._array(tag, label.end, name, shape, word)
        elif kind == CELL:
            yield from self._cells(tag, label.end, name, math.prod(shape), depth)
        elif kind in (STRUCT, OBJECT):
            place = label.end
            if kind == OBJECT:
                place = self.tag(place, tag.stop).end  # the name of its class
            yield from self._fields(tag, place, name, math.prod(shape), depth)
        elif kind == SPARSE:
            yield Array(name, shape, "float64", "", 0, "it is sparse; save it with full(...)")

    def _array(self, tag: Tag, place: int, name: str, shape: tuple[int, ...], word: int) -> Array:
        dtype = CLASSES[word & 0xFF]
        if word & LOGICAL:
            dtype = "uint8"
        elements = math.prod(shape)
        if not elements and place == tag.stop:
            return Array(name, shape, dtype, dtype, place)
        real = self.tag(place, tag.stop)
        stored = STORED.get(real.kind)
        if stored is None:
            raise ClaimError(f"array {quoted(name)} has numbers of type {real.kind}")
        size = DTYPES[stored].size_bytes
        if size * elements != real.stop - real.start:
            raise ClaimError(
                f"array {quoted(name)} of shape {shape} needs {size * elements} bytes, "
                f"it has {real.stop - real.start}"
            )
        problem = "it is complex; save its real and imaginary parts" if word & COMPLEX else ""
        return Array(name, shape, dtype, stored, real.start, problem)

    def _cells(self, tag: Tag, place: int, name: str, count: int, depth: int) -> Iterator[Array]:
        for number in range(count):
            if place >= tag.stop:
                raise ClaimError(f"cell array {quoted(name)} claims {count} cells, it has {number}")
            inner = self.tag(place, tag.stop)
            yield from self.arrays(inner, f"{name}.{number + 1}", depth + 1)
            place = inner.end

    def _fields(self, tag: Tag, place: int, name: str, count: int, depth: int) -> Iterator[Array]:
        width_tag = self.tag(place, tag.stop)
        (width, *_) = self.numbers(width_tag, 1) or [0]
        names_tag = self.tag(width_tag.end, tag.stop)
        raw = self.content(names_tag, MOST_NAMES_BYTES)
        if width <= 0 or len(raw) % width:
            raise ClaimError(f"structure {quoted(name)} has damaged names of its fields")
        names = [
            checked_text(raw[i : i + width].split(b"\0")[0]) for i in range(0, len(raw), width)
        ]
        place = names_tag.end
        for number in range(count if names else 0):
            for field in names:
                if place >= tag.stop:
                    raise ClaimError(f"structure {quoted(name)} ends too early; it is damaged")
                inner = self.tag(place, tag.stop)
                index = f".{number + 1}" if count > 1 else ""
                yield from self.arrays(inner, f"{name}{index}.{field}", depth + 1)
                place = inner.end

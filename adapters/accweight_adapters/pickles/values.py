"""What a pickle describes, as plain values: classes by name, objects by their state, byte ranges.

An `Entity` stands for every object, of whatever class: it is a dict of the items that the pickle
sets on it (none for most objects), and remembers the arguments and the state that the class would
have been given. Long strings of bytes are not read; a `BytesClaim` tells where they are.
"""

from __future__ import annotations

import math
import struct
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

NUMBER_CODES: Final = {
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "u1": "B",
    "u2": "H",
    "u4": "I",
    "u8": "Q",
    "f2": "e",
    "f4": "f",
    "f8": "d",
}
"""`struct` codes by NumPy type code, for scalars that may be a step."""


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function named in the pickle; never looked up."""

    name: str


class Entity(dict[Any, Any]):
    """An object that is never built: its class by name, what made it, and what was put into it.

    Attributes:
        kind: Full name of the class or function; '' if it is not known by name.
        arguments: Positional arguments of the call that would have made it.
        state: The state that it would have been given: usually its attributes by name.
        listed: Elements that were appended or added to it, if any.
    """

    __slots__ = ("arguments", "kind", "listed", "state")

    def __init__(self, kind: str = "", arguments: tuple[object, ...] = ()) -> None:
        super().__init__()
        self.kind = kind
        self.arguments = arguments
        self.state: object = None
        self.listed: list[object] | None = None

    def __hash__(self) -> int:  # type: ignore[override]
        """Hash by identity: entities are keys in some pickles."""
        return id(self)

    def __eq__(self, other: object) -> bool:
        """Compare by identity: contents may be nested without end."""
        return self is other

    def __ne__(self, other: object) -> bool:
        """Compare by identity."""
        return self is not other

    @property
    def attributes(self) -> Mapping[Any, Any]:
        """Attributes by name, including those in slots; a view, as many objects may share them."""
        if isinstance(self.state, dict):
            return self.state
        is_pair = isinstance(self.state, tuple) and len(self.state) == 2
        parts: tuple[object, ...] = self.state if is_pair else ()  # type: ignore[assignment]
        return ChainMap(*(part for part in reversed(parts) if isinstance(part, dict)))

    def add(self, items: list[Any]) -> None:
        """Append elements, as a pickle does to lists and sets."""
        if self.listed is None:
            self.listed = []
        self.listed.extend(items)

    @property
    def elements(self) -> Sequence[object]:
        """Elements of a set or a list: those added, or those in its only argument."""
        if self.listed or len(self.arguments) != 1:
            return self.listed or []
        (only,) = self.arguments
        return only if isinstance(only, (list, tuple)) else []


@dataclass(frozen=True, slots=True)
class BytesClaim:
    """Bytes in the pickle, or in something beside it.

    Attributes:
        offset: Offset in the stream of the pickle; negative if it is not known.
        size_bytes: Number of stored bytes.
        content: The bytes themselves if they are few; or text whose characters they are, which is
            encoded when it is needed, as a pickle can refer to one text a thousand times.
        encoding: How they are stored, if not as they are: "utf-8" or "raw-unicode-escape" for text
            whose characters are the bytes, "escape" for a Python literal.
    """

    offset: int
    size_bytes: int
    content: bytes | str | None = None
    encoding: str = ""

    @property
    def known(self) -> bytes | None:
        """The bytes, if they are kept."""
        return self.content.encode("latin1") if isinstance(self.content, str) else self.content


@dataclass(frozen=True, slots=True)
class TextClaim:
    """Long text in the pickle, which is not read."""

    offset: int
    size_bytes: int
    encoding: str


@dataclass(frozen=True, slots=True)
class StorageClaim:
    """A byte range outside the pickle: `size_bytes` from `start_bytes` of record `key`."""

    key: str
    dtype: str
    start_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TensorClaim:
    """A tensor as the pickle describes it; offset and strides are in elements."""

    dtype: str
    shape: tuple[int, ...]
    storage: StorageClaim | None = None
    offset: int = 0
    strides: tuple[int, ...] = ()
    refusal: str = ""


@dataclass(slots=True)
class NumpyDtype:
    """A NumPy element type: pickles create it by code and then set the byte order."""

    code: str
    order: str = "<"

    def number(self, raw: bytes) -> int | float | Entity:
        """Return the number that `raw` encodes in this type, or an opaque object."""
        code = NUMBER_CODES.get(self.code)
        if code is None or struct.calcsize(code) != len(raw):
            return Entity("numpy.generic")
        number: int | float = struct.unpack(self.order + code, raw)[0]
        return number


@dataclass(eq=False, slots=True)
class ArrayClaim:
    """A NumPy array as the pickle describes it.

    Attributes:
        dtype: Name of the element type; '' if the elements are not numbers.
        shape: Its shape.
        raw: Where its elements are.
        is_fortran: Whether the first axis is contiguous.
        axes: Where each axis lies in the stored elements, if they are in another order than C or
            Fortran; else none.
        big_endian: Whether elements are stored most significant byte first.
        objects: Its elements, if they are objects.
        refusal: Why its values cannot be analysed.
    """

    dtype: str = ""
    shape: tuple[int, ...] = ()
    raw: BytesClaim | None = None
    is_fortran: bool = False
    axes: tuple[int, ...] = ()
    big_endian: bool = False
    objects: list[object] = field(default_factory=list)
    refusal: str = ""

    @property
    def strides(self) -> tuple[int, ...]:
        """Elements from one index to the next, per axis."""
        if not self.axes:
            ends = [self.shape[:a] if self.is_fortran else self.shape[a + 1 :]
                    for a in range(len(self.shape))]  # fmt: skip
            return tuple(map(math.prod, ends))
        stored = dict(zip(self.axes, self.shape, strict=True))
        return tuple(
            math.prod(stored[later] for later in range(axis + 1, len(stored))) for axis in self.axes
        )


Claim = TensorClaim | ArrayClaim
"""Anything that may be a weight."""

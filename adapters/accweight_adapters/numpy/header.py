"""Parse the header of a `.npy` array without evaluating it: element type, shape, order.

NumPy writes a Python dictionary as text, and evaluates it to read it. Arrays of numbers need only
three entries in known forms, which a pattern matches here; any other header is refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from accweight_adapters.untrusted import ClaimError, checked_shape, quoted
from accweight_core.dtypes import DTYPES

MAGIC: Final = b"\x93NUMPY"
SHORTEST_HEADER: Final = 12
MOST_HEADER_BYTES: Final = 16_384
"""NumPy itself limits headers of untrusted files to 10 000 characters."""

USUAL_HEADER_BYTES: Final = 256

ENTRY = re.compile(
    r"\s*(?P<quote>['\"])(?P<key>descr|fortran_order|shape)(?P=quote)\s*:\s*"
    r"(?:(?P<mark>['\"])(?P<descr>[^'\"]{1,40})(?P=mark)|(?P<order>True|False)"
    r"|\((?P<shape>[0-9L,\s]{0,2000})\))\s*(?:,|$)"
)
HEADER_KEYS: Final = {"descr", "fortran_order", "shape"}

KINDS: Final = {"f": "float", "i": "int", "u": "uint", "c": "complex", "b": "bool"}
"""Families of element types, by NumPy's letter."""

OBJECTS: Final = "Python objects without weights"
NOT_NUMBERS: Final = {
    "O": OBJECTS,
    "U": "text",
    "S": "text",
    "a": "text",
    "V": "records or raw bytes",
    "M": "dates",
    "m": "time spans",
}
STRUCTURED = re.compile(r"['\"]descr['\"]\s*:\s*[\[(]")

BFLOAT16: Final = "<V2"
"""NumPy's code for the bfloat16 of ml_dtypes and JAX; raw bytes are ``|V2``."""


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """A parsed header.

    Attributes:
        dtype: Name of the element type; '' if it is not a supported number.
        shape: Shape of the array.
        is_fortran: Whether the first axis is contiguous.
        big_endian: Whether elements are stored most significant byte first.
        size_bytes: Size of the header; the values follow it.
        problem: What the values are, if not numbers.
    """

    dtype: str
    shape: tuple[int, ...]
    is_fortran: bool
    big_endian: bool
    size_bytes: int
    problem: str = ""

    @property
    def is_objects(self) -> bool:
        """Whether the values are a pickle of Python objects."""
        return self.problem == OBJECTS

    @property
    def data_bytes(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * DTYPES[self.dtype].size_bytes if self.dtype else 0


def array_header(beginning: bytes) -> ArrayHeader:
    """Return the header of an array from its first `MOST_HEADER_BYTES` bytes.

    Raises:
        ClaimError: If it is not an array header.
    """
    if not beginning.startswith(MAGIC):
        raise ClaimError("not a .npy array: it does not begin with \\x93NUMPY")
    if len(beginning) < SHORTEST_HEADER:
        raise ClaimError(f"cut short: it has {len(beginning)} bytes, not even a whole header")
    end = header_end(beginning)
    length = end - 8 - _length_bytes(beginning)
    if end > MOST_HEADER_BYTES or beginning[6:7] not in (b"\x01", b"\x02", b"\x03"):
        raise ClaimError(f"its header claims {length} bytes in version {beginning[6:7].hex()}")
    if len(beginning) < end:
        raise ClaimError(f"cut short: its header needs {end} bytes, it has {len(beginning)}")
    text = beginning[8 + _length_bytes(beginning) : end].decode("utf-8", "replace").strip()
    if STRUCTURED.search(text):
        return ArrayHeader("", (), False, False, end, "records (a structured array)")
    return _parsed(text, end)


def header_end(beginning: bytes) -> int:
    """Return the end of a header, given its first bytes."""
    width = _length_bytes(beginning)
    return 8 + width + int.from_bytes(beginning[8 : 8 + width], "little")


def _length_bytes(beginning: bytes) -> int:
    return 2 if beginning[6:7] == b"\x01" else 4


def _parsed(text: str, end: int) -> ArrayHeader:
    entries: dict[str, re.Match[str]] = {}
    inner = text[1:-1].rstrip() if text[:1] == "{" and text[-1:] == "}" else ""
    place = 0
    while match := ENTRY.match(inner, place):
        entries[match["key"]] = match
        place = match.end()
    if place != len(inner) or entries.keys() != HEADER_KEYS:
        raise ClaimError(f"its header is damaged: {quoted(text)}")
    descr, order = entries["descr"]["descr"], entries["fortran_order"]["order"]
    numbers = entries["shape"]["shape"]
    if descr is None or order is None or numbers is None:
        raise ClaimError(f"its header is damaged: {quoted(text)}")
    shape = checked_shape([int(n[:20]) for n in re.findall(r"[0-9]+", numbers)])
    dtype, problem = _element_type(descr)
    return ArrayHeader(dtype, shape, order == "True", descr[0] == ">", end, problem)


def _element_type(descr: str) -> tuple[str, str]:
    """Return the name of an element type, or '' and a description of what it is instead."""
    match = re.fullmatch(r"[<>|=]?([a-zA-Z])([0-9]{0,4})(\[\w+\])?", descr)
    if descr == BFLOAT16:
        return "bfloat16", ""
    if match is None:
        return "", f"elements of type {quoted(descr)}"
    letter, size = match[1], int(match[2] or 1)
    name = KINDS.get(letter, "") + ("" if letter == "b" else str(8 * size))
    if name in DTYPES and DTYPES[name].size_bytes == size:
        return name, ""
    return "", NOT_NUMBERS.get(letter, f"elements of type {quoted(descr)}")

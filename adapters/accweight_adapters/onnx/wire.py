"""Protobuf wire format: an ONNX model without its weights, and where they lay.

Parsing a model with onnx pulls every weight into memory. So the message is copied field by
field, the payload of each tensor is left out, and a `Pointer` to it is put in its place; the
few kilobytes that remain parse as usual. One way for all tensors, large or small, so that
none can pass for another's external data.

The file is read through a small window, not mapped: when it is cut short while
we look, that is an error here, where touching a map would kill the process.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, NamedTuple, Self

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto

from accweight_core.errors import FormatError
from accweight_core.readers import LFS_MAGIC, unrecognised
from accweight_core.remote import is_remote

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
LARGEST_DEPTH = 90
"""Nested messages; onnx itself stops at 100, a real model needs four, plus three per subgraph."""

WINDOW_BYTES = 1 << 16
REMOTE_WINDOW_BYTES = 1 << 12
"""Weights lie between what is read; of a remote file, little is read along with it."""

LARGEST_TEXT_BYTES = 1 << 16
"""Text attributes beyond this are compiled engines and the like, not a mode or an equation."""

ATTRIBUTE_TEXT = ("attribute", 4)
ENDLESS = 1 << 62
RAW_DATA, FLOAT_DATA, DOUBLE_DATA = 9, 4, 10
ENCODED = 1
"""Stands for a field number in a `Pointer` whose values are not plain bytes."""

PAYLOADS = frozenset({4, 5, 6, 7, 9, 10, 11})
"""Fields of a TensorProto that hold values."""


class Pointer(NamedTuple):
    """Where the values of one tensor lie in the model file; packed, it stands in `raw_data`.

    Attributes:
        field: Number of the only field with values if its bytes are the values' bytes, 0 if
            there are none, `ENCODED` if the whole message has to be parsed to get at them.
        offset: First byte of the values.
        length: Bytes of values.
        message_offset: First byte of the TensorProto.
        message_length: Bytes of the TensorProto.
    """

    field: int
    offset: int
    length: int
    message_offset: int
    message_length: int

    def packed(self) -> bytes:
        """Return the pointer as bytes."""
        return struct.pack("<5Q", *self)

    @classmethod
    def unpacked(cls, data: bytes) -> Self:
        """Return the pointer that `packed` wrote."""
        return cls(*struct.unpack("<5Q", data))


class Field(NamedTuple):
    """One field of a message: its tag starts at `start`, its content at `body`."""

    number: int
    wire: int
    start: int
    body: int
    stop: int


class Message(NamedTuple):
    """What is copied of a message: text, other plain fields, and fields that are messages."""

    text: frozenset[int]
    plain: frozenset[int] = frozenset()
    children: Mapping[int, str] = MappingProxyType({})


MESSAGES = {
    "model": Message(
        text=frozenset({2, 3}),
        plain=frozenset({1, 8}),
        children={7: "graph", 14: "entry", 25: "function"},
    ),
    "graph": Message(
        text=frozenset({2}),
        children={1: "node", 5: "tensor", 11: "edge", 12: "edge", 15: "sparse", 16: "entry"},
    ),
    "function": Message(
        text=frozenset({1, 4, 5, 6, 10, 13}),
        plain=frozenset({9}),
        children={7: "node", 11: "attribute"},
    ),
    "node": Message(text=frozenset({1, 2, 3, 4, 7, 8}), children={5: "attribute", 9: "entry"}),
    "attribute": Message(
        text=frozenset({1, 21}),
        plain=frozenset({2, 3, 4, 7, 8, 20}),
        children={5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    ),
    "sparse": Message(text=frozenset(), plain=frozenset({3}), children={1: "tensor", 2: "tensor"}),
    "tensor": Message(text=frozenset({8}), plain=frozenset({1, 2, 3, 14}), children={13: "entry"}),
    "entry": Message(text=frozenset({1, 2})),
    "edge": Message(text=frozenset({1})),
}
"""Field numbers as in onnx.proto; what is not listed (documentation, types) is left out."""


class Window:
    """Random access to a file through one small buffer."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self.path = path
        self.size = file.seek(0, io.SEEK_END)
        self._file = file
        self._least = REMOTE_WINDOW_BYTES if is_remote(file) else WINDOW_BYTES
        self._base = 0
        self._block = b""

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`.

        Raises:
            FormatError: If the file ends before `stop`.
        """
        if start < self._base or stop > self._base + len(self._block):
            self._file.seek(start)
            self._block = self._read(max(self._least, stop - start))
            self._base = start
        data = self._block[start - self._base : stop - self._base]
        if len(data) < stop - start:
            raise self.damaged(start, "the file ends in the middle of a field")
        return data

    def _read(self, count: int) -> bytes:
        """Return what follows in the file; one without a buffer may give it in parts."""
        data = self._file.read(count)
        while 0 < len(data) < count and (more := self._file.read(count - len(data))):
            data += more
        return data

    def varint(self, start: int, stop: int) -> tuple[int, int]:
        """Return the variable-length integer at `start` and where it ends."""
        value = 0
        for index, byte in enumerate(self.read(start, min(stop, start + 10))):
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value, start + index + 1
        raise self.damaged(start, "a number does not end")

    def fields(self, start: int, stop: int) -> Iterator[Field]:
        """Yield the fields of the message between `start` and `stop`."""
        position = start
        while position < stop:
            tag, body = self.varint(position, stop)
            number, wire = tag >> 3, tag & 7
            end = body
            if wire == VARINT:
                _, end = self.varint(body, stop)
            elif wire == LENGTH:
                length, body = self.varint(body, stop)
                end = body + length
            elif wire in (FIXED32, FIXED64):
                end = body + (4 if wire == FIXED32 else 8)
            else:
                raise self.damaged(position, f"wire type {wire} does not occur in ONNX")
            if number == 0 or end > stop:
                raise self.damaged(position, self._overrun(end, stop) if number else "field 0")
            yield Field(number, wire, position, body, end)
            position = end

    def _overrun(self, end: int, stop: int) -> str:
        if stop == self.size:
            return f"a field ends at byte {end} but the file at byte {stop}: it was cut short"
        return f"a field ends at byte {end}, past the end of its message at {stop}"

    def damaged(self, position: int, problem: str) -> FormatError:
        """Return the error for damage at a byte of the file."""
        return FormatError(
            self.path, f"not a whole ONNX model: {problem} (byte {position}); export it again"
        )


TEXTS, SUBMESSAGES = (2, 3, 4, 6), (7, 8, 14, 20, 25, 26)
GRAPH, GRAPH_FIELDS = 7, frozenset({1, 2, 5, 10, 11, 12, 13, 14, 15, 16})


def looks_like_model(window: Window) -> bool:
    """Tell whether a file begins with the fields of a ModelProto, up to its graph.

    Only the head is looked at, so that a model cut short is still known as one.

    Raises:
        FormatError: If the head is no protobuf message at all.
    """
    if window.read(0, 1) != b"\x08":  # ir_version, which every writer puts first
        return False
    for field in window.fields(0, ENDLESS):
        if field.number == GRAPH and field.wire == LENGTH:
            return field.body == field.stop or _begins_graph(window, field)
        plausible = (
            (field.number in (1, 5) and field.wire == VARINT)
            or (field.number in TEXTS and field.wire == LENGTH and _is_text(window, field))
            or (field.number in SUBMESSAGES and field.wire == LENGTH)
        )
        if not plausible:
            return False
    return False


def _begins_graph(window: Window, field: Field) -> bool:
    tag, _ = window.varint(field.body, field.stop)
    return tag & 7 == LENGTH and tag >> 3 in GRAPH_FIELDS


def _is_text(window: Window, field: Field) -> bool:
    head = window.read(field.body, min(field.stop, field.body + 64))
    return all(byte >= 0x20 or byte in b"\t\n\r" for byte in head)


def read_model(path: Path) -> ModelProto:
    """Return the model with every tensor's values replaced by a packed `Pointer`.

    Raises:
        FormatError: If the file is empty, truncated, damaged, nested beyond all reason, or no
            ONNX model.
    """
    with path.open("rb", buffering=0) as file:
        window = Window(file, path)
        if window.size < len(LFS_MAGIC) or window.read(0, len(LFS_MAGIC)) == LFS_MAGIC:
            raise unrecognised(path)
        stripped = _copy(window, "model", 0, window.size, 0)
    try:
        model: ModelProto = ModelProto.FromString(bytes(stripped))
    except DecodeError as error:
        raise FormatError(path, f"not a valid ONNX model: {error}; export it again") from None
    if not model.HasField("graph"):
        raise FormatError(path, "the model holds no graph, so no weights; export it again")
    return model


def _copy(window: Window, kind: str, start: int, stop: int, depth: int) -> bytearray:
    """Return the message between `start` and `stop` without the values of its tensors."""
    if depth > LARGEST_DEPTH:
        raise window.damaged(start, f"messages are nested more than {LARGEST_DEPTH} deep")
    copied = bytearray()
    payloads: list[Field] = []
    message = MESSAGES[kind]
    for field in window.fields(start, stop):
        child = message.children.get(field.number)
        if child is not None and field.wire == LENGTH:
            body = _copy(window, child, field.body, field.stop, depth + 1)
            copied += _length_delimited(field.number, body)
        elif field.number in message.text:
            copied += _text(window, field)
        elif field.number in message.plain and not _is_blob(kind, field):
            copied += window.read(field.start, field.stop)
        elif kind == "tensor" and field.number in PAYLOADS and len(payloads) < 2:
            payloads.append(field)
    if kind == "tensor":
        copied += _length_delimited(RAW_DATA, _pointer(payloads, start, stop).packed())
    return copied


def _text(window: Window, field: Field) -> bytes:
    """Return a field of text, which must be UTF-8: names are compared and printed."""
    try:
        window.read(field.body, field.stop).decode()
    except UnicodeDecodeError:
        raise window.damaged(field.body, "a name is not text") from None
    return window.read(field.start, field.stop)


def _is_blob(kind: str, field: Field) -> bool:
    return (kind, field.number) == ATTRIBUTE_TEXT and field.stop - field.body > LARGEST_TEXT_BYTES


def _pointer(payloads: list[Field], start: int, stop: int) -> Pointer:
    """Return where the values of the tensor between `start` and `stop` lie."""
    if not payloads:
        return Pointer(0, 0, 0, start, stop - start)
    first = payloads[0]
    plain = first.wire == LENGTH and first.number in (RAW_DATA, FLOAT_DATA, DOUBLE_DATA)
    field = first.number if plain and len(payloads) == 1 else ENCODED
    return Pointer(field, first.body, first.stop - first.body, start, stop - start)


def _length_delimited(number: int, body: bytes | bytearray) -> bytes:
    return _varint(number << 3 | LENGTH) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)

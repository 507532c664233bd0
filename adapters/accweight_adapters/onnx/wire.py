"""Read an ONNX model without its weights, on the level of the protobuf wire format.

Parsing a model with onnx loads every weight into memory. So the message is copied field by field,
with the payload of each tensor replaced by a `Pointer` to it, and the remaining few kilobytes are
parsed as usual. All tensors are treated alike, small or large, so that none can pass for another's
external data.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, NamedTuple, Self

from accweight_adapters.bytes.protobuf import LENGTH, VARINT, Field, fields, length_delimited
from accweight_adapters.bytes.varint import MOST_BYTES, varint
from accweight_adapters.bytes.window import FileWindow
from accweight_adapters.untrusted import ClaimError
from accweight_core.errors import FormatError, reason_of
from accweight_core.readers import LFS_MAGIC, unrecognised
from accweight_core.remote import is_remote

if TYPE_CHECKING:
    from onnx import ModelProto

LARGEST_DEPTH = 90
"""Most nested messages; onnx stops at 100, real models need four, plus three per subgraph."""

WINDOW_BYTES = 1 << 16
REMOTE_WINDOW_BYTES = 1 << 12
"""Small buffer for remote files, because weights lie between the parts that are read."""

LARGEST_TEXT_BYTES = 1 << 16
"""Most bytes of a string attribute; longer ones are compiled engines and the like."""

ATTRIBUTE_TEXT = ("attribute", 4)
ENDLESS = 1 << 62
RAW_DATA, FLOAT_DATA, DOUBLE_DATA = 9, 4, 10
ENCODED = 1
"""Field number in a `Pointer` for values that are not plain bytes."""

PAYLOADS = frozenset({4, 5, 6, 7, 9, 10, 11})
"""Fields of a TensorProto that contain values."""


class Pointer(NamedTuple):
    """Location of the values of one tensor in the model file; it is stored, packed, in `raw_data`.

    Attributes:
        field: Number of the only field with values if it contains their plain bytes, 0 if there
            is none, `ENCODED` if the whole message must be parsed.
        offset: Offset of the values.
        length: Number of bytes.
        message_offset: Offset of the TensorProto.
        message_length: Size of the TensorProto.
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
        """Return a pointer from its packed form."""
        return cls(*struct.unpack("<5Q", data))


class Message(NamedTuple):
    """The fields of a message to copy: strings, other scalars, and nested messages."""

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
    "edge": Message(text=frozenset({1}), children={2: "type"}),
    "type": Message(text=frozenset(), children={1: "tensor_type"}),
    "tensor_type": Message(text=frozenset(), plain=frozenset({1})),
}
"""Field numbers in onnx.proto; unlisted fields (documentation, shapes) are left out."""


def window_on(file: IO[bytes]) -> FileWindow:
    """Return a window on a model file, with a small buffer for remote files."""
    return FileWindow(file, REMOTE_WINDOW_BYTES if is_remote(file) else WINDOW_BYTES)


TEXTS, SUBMESSAGES = (2, 3, 4, 6), (7, 8, 14, 20, 25, 26)
GRAPH, GRAPH_FIELDS = 7, frozenset({1, 2, 5, 10, 11, 12, 13, 14, 15, 16})


def recognised(path: Path) -> bool:
    """Tell whether a file starts like an ONNX model, whatever its name."""
    try:
        with path.open("rb", buffering=0) as file:
            return _looks_like_model(file)
    except (OSError, ClaimError):
        return False


def _looks_like_model(file: IO[bytes]) -> bool:
    """Tell whether a file starts with the fields of a ModelProto, up to its graph.

    Only the start is read, so that a truncated model is recognised too.

    Raises:
        ClaimError: If the head is not a protobuf message at all.
    """
    window = window_on(file)
    if window.read(0, 1) != b"\x08":  # ir_version is first in every file
        return False
    for field in fields(window, 0, ENDLESS):
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


def _begins_graph(window: FileWindow, field: Field) -> bool:
    head = window.read(field.body, min(field.stop - field.body, MOST_BYTES))
    tag, _ = varint(head, 0, len(head))
    return tag & 7 == LENGTH and tag >> 3 in GRAPH_FIELDS


def _is_text(window: FileWindow, field: Field) -> bool:
    head = window.read(field.body, min(field.stop - field.body, 64))
    return all(byte >= 0x20 or byte in b"\t\n\r" for byte in head)


def read_model(path: Path) -> ModelProto:
    """Return the model with every tensor's values replaced by a packed `Pointer`.

    Raises:
        FormatError: If the file is empty, truncated, damaged, nested too deeply, or not an ONNX
        model.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import ModelProto

    try:
        stripped = _stripped(path)
    except ClaimError as error:
        problem = f"not a whole ONNX model: {error}; export it again"
        raise FormatError(path, problem) from None
    except OSError as error:
        raise FormatError(path, f"cannot be read ({reason_of(error)})") from None
    try:
        model: ModelProto = ModelProto.FromString(bytes(stripped))
    except DecodeError as error:
        raise FormatError(path, f"not a valid ONNX model: {error}; export it again") from None
    if not model.HasField("graph"):
        raise FormatError(path, "the model holds no graph, so no weights; export it again")
    return model


def _stripped(path: Path) -> bytearray:
    """Return a model file without the values of its tensors."""
    with path.open("rb", buffering=0) as file:
        window = window_on(file)
        if window.size_bytes < len(LFS_MAGIC) or window.read(0, len(LFS_MAGIC)) == LFS_MAGIC:
            raise unrecognised(path)
        return _copy(window, "model", 0, window.size_bytes, 0)


def _copy(window: FileWindow, kind: str, start: int, stop: int, depth: int) -> bytearray:
    """Return the message between `start` and `stop` without the values of its tensors."""
    if depth > LARGEST_DEPTH:
        raise window.fault(start, f"messages are nested more than {LARGEST_DEPTH} deep")
    copied = bytearray()
    payloads: list[Field] = []
    message = MESSAGES[kind]
    for field in fields(window, start, stop):
        child = message.children.get(field.number)
        if child is not None and field.wire == LENGTH:
            body = _copy(window, child, field.body, field.stop, depth + 1)
            copied += length_delimited(field.number, body)
        elif field.number in message.text:
            copied += _text(window, field)
        elif field.number in message.plain and not _is_blob(kind, field):
            copied += window.read(field.start, field.stop - field.start)
        elif kind == "tensor" and field.number in PAYLOADS and len(payloads) < 2:
            payloads.append(field)
    if kind == "tensor":
        copied += length_delimited(RAW_DATA, _pointer(payloads, start, stop).packed())
    return copied


def _text(window: FileWindow, field: Field) -> bytes:
    """Return a string field, which must be UTF-8: names are compared and printed."""
    try:
        window.read(field.body, field.stop - field.body).decode()
    except UnicodeDecodeError:
        raise window.fault(field.body, "a name is not text") from None
    return window.read(field.start, field.stop - field.start)


def _is_blob(kind: str, field: Field) -> bool:
    return (kind, field.number) == ATTRIBUTE_TEXT and field.stop - field.body > LARGEST_TEXT_BYTES


def _pointer(payloads: list[Field], start: int, stop: int) -> Pointer:
    """Return the location of the values of the tensor between `start` and `stop`."""
    if not payloads:
        return Pointer(0, 0, 0, start, stop - start)
    first = payloads[0]
    plain = first.wire == LENGTH and first.number in (RAW_DATA, FLOAT_DATA, DOUBLE_DATA)
    field = first.number if plain and len(payloads) == 1 else ENCODED
    return Pointer(field, first.body, first.stop - first.body, start, stop - start)

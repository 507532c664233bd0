"""Objects of HDF5: header messages, the links of a group, attributes.

A header is a list of typed messages, in one block or several. Groups list their members in one of
three ways: in a symbol table (all that Keras has ever written), in link messages, or, for many
links, in a heap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from accweight_adapters.hdf5.blocks import Blocks, Cursor, checked
from accweight_adapters.hdf5.heaps import (
    MOST_RECORDS,
    FractalHeap,
    GlobalHeap,
    LocalHeap,
    tree_records,
)
from accweight_adapters.untrusted import MAX_AXES, ClaimError, checked_shape, quoted

DATASPACE: Final = 0x01
LINK_INFO: Final = 0x02
DATATYPE: Final = 0x03
LINK: Final = 0x06
EXTERNAL_FILES: Final = 0x07
LAYOUT: Final = 0x08
FILTERS: Final = 0x0B
ATTRIBUTE: Final = 0x0C
CONTINUATION: Final = 0x10
SYMBOL_TABLE: Final = 0x11
ATTRIBUTE_INFO: Final = 0x15

IS_SHARED: Final = 2
MOST_BLOCKS: Final = 4096
"""Most blocks of one header; a header of a few kilobytes with more of them is cyclic."""

MOST_DEPTH: Final = 16
SOFT, EXTERNAL = 1, 64
STRING_CLASS, VARIABLE_CLASS = 3, 9
LINKS_INDEX, ATTRIBUTES_INDEX = 5, 8


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an object header."""

    type: int
    flags: int
    body: Cursor

    def opened(self) -> Cursor:
        """Return a new cursor at the start of its content."""
        if self.flags & IS_SHARED:
            raise ClaimError("shares parts of headers between objects; rewrite it with h5repack")
        self.body.place = 0
        return self.body


@dataclass(frozen=True, slots=True)
class SoftLink:
    """A link by path, within the file."""

    path: str


@dataclass(frozen=True, slots=True)
class ForeignLink:
    """A link into another file."""


Target = int | SoftLink | ForeignLink
"""The target of a link: the address of an object, a path, or another file."""


def messages_of(blocks: Blocks, address: int) -> list[Message]:
    """Return the messages of the object at an address."""
    is_new = blocks.cursor(address, 4).data == b"OHDR"
    waiting = [_first_new(blocks, address) if is_new else _first_old(blocks, address)]
    found: list[Message] = []
    for _ in range(MOST_BLOCKS):
        if not waiting:
            return found
        block, header_bytes = waiting.pop(0)
        for message in _split(block, header_bytes):
            if message.type == CONTINUATION:
                place, size = message.body.some_offset(), message.body.length()
                waiting.append(_continued(blocks, place, size, header_bytes))
            else:
                found.append(message)
    raise ClaimError("damaged: the header of an object continues without end")


def _first_old(blocks: Blocks, address: int) -> tuple[Cursor, int]:
    head = blocks.cursor(address, 16)
    if head.number(1) != 1:
        raise ClaimError(f"damaged: there is no object at byte {blocks.base + address}")
    head.take(7)
    return blocks.cursor(address + 16, head.number(4)), 8


def _first_new(blocks: Blocks, address: int) -> tuple[Cursor, int]:
    """Return a cursor over the first block of a newer header, and the size of message headers."""
    head = blocks.cursor(address, 6)
    flags = head.data[5]
    before = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    size = int.from_bytes(blocks.cursor(address + before, width).data, "little")
    whole = blocks.around(checked(blocks.cursor(address, before + width + size + 4).data), address)
    whole.take(before + width)
    return whole.part(size), 6 if flags & 4 else 4


def _continued(blocks: Blocks, address: int, size: int, header_bytes: int) -> tuple[Cursor, int]:
    if header_bytes == 8:
        return blocks.cursor(address, size), header_bytes
    block = blocks.around(checked(blocks.cursor(address, size).data), address)
    if block.take(4) != b"OCHK":
        raise ClaimError("damaged: the header of an object does not go on where it says")
    return block.part(block.left), header_bytes


def _split(block: Cursor, header_bytes: int) -> Iterator[Message]:
    """Yield the messages in a block; `header_bytes` is 8 for old headers."""
    while block.left >= header_bytes:
        kind = block.number(2 if header_bytes == 8 else 1)
        size, flags = block.number(2), block.number(1)
        block.take(header_bytes - (5 if header_bytes == 8 else 4))
        yield Message(kind, flags, block.part(size))


# ---------------------------------------------------------------- links


def links_of(blocks: Blocks, messages: list[Message]) -> dict[str, Target]:
    """Return the links of a group by name; none for other objects."""
    found: dict[str, Target] = {}
    for message in messages:
        for name, target in _links_in(blocks, message):
            if name in found:
                raise ClaimError(f"damaged: a group has two links named {quoted(name)}")
            found[name] = target
    return found


def _links_in(blocks: Blocks, message: Message) -> Iterator[tuple[str, Target]]:
    if message.type == SYMBOL_TABLE:
        body = message.opened()
        tree, heap = body.some_offset(), LocalHeap(blocks, body.some_offset())
        for leaf in tree_leaves(blocks, tree, 0, blocks.length_bytes):
            yield from _symbols(blocks, leaf, heap)
    elif message.type == LINK:
        yield _link(message.opened())
    elif message.type == LINK_INFO:
        body = message.opened()
        body.take(1)
        body.take(8 if body.number(1) & 1 else 0)
        for item in _heaped(blocks, body, 4):
            yield _link(item)


def tree_leaves(
    blocks: Blocks, address: int, node_type: int, key_bytes: int, depth: int = 0
) -> Iterator[tuple[bytes, int]]:
    """Yield the keys and children of the leaves of a version 1 B-tree."""
    overhead = 8 + 2 * blocks.offset_bytes
    head = blocks.signed(address, overhead, b"TREE")
    kind, level, used = head.number(1), head.number(1), head.number(2)
    if kind != node_type or level + depth > MOST_DEPTH:
        raise ClaimError("damaged: an index is of the wrong kind, or too deep")
    node = blocks.cursor(address + overhead, used * (key_bytes + blocks.offset_bytes))
    for _ in range(used):
        key, child = node.take(key_bytes), node.some_offset()
        if level:
            yield from tree_leaves(blocks, child, node_type, key_bytes, depth + 1)
        else:
            yield key, child


def _symbols(
    blocks: Blocks, leaf: tuple[bytes, int], heap: LocalHeap
) -> Iterator[tuple[str, Target]]:
    head = blocks.signed(leaf[1], 8, b"SNOD")
    head.take(2)
    count, size = head.number(2), 24 + 2 * blocks.offset_bytes
    node = blocks.cursor(leaf[1] + 8, count * size)
    for _ in range(count):
        entry = node.part(size)
        name, address = heap.text(entry.number(blocks.offset_bytes)), entry.offset()
        cache = entry.number(4)
        entry.take(4)
        if cache == 2:
            yield name, SoftLink(heap.text(entry.number(4)))
        elif address is not None:
            yield name, address


def _link(body: Cursor) -> tuple[str, Target]:
    body.take(1)
    flags = body.number(1)
    kind = body.number(1) if flags & 8 else 0
    body.take((8 if flags & 4 else 0) + (1 if flags & 16 else 0))
    name = body.take(body.number(1 << (flags & 3))).decode()
    if kind == 0:
        return name, body.some_offset()
    if kind == SOFT:
        return name, SoftLink(body.take(body.number(2)).decode())
    return name, ForeignLink()


def _heaped(blocks: Blocks, body: Cursor, id_place: int) -> Iterator[Cursor]:
    """Yield the objects of a heap in index order; `id_place` locates the id in a record."""
    heap_address, index = body.offset(), body.offset()
    if heap_address is None or index is None:
        return
    heap = FractalHeap(blocks, heap_address)
    for record in tree_records(blocks, index):
        yield heap.managed(record[id_place : id_place + heap.id_bytes])


# ---------------------------------------------------------------- attributes


def texts_of(blocks: Blocks, heap: GlobalHeap, messages: list[Message]) -> dict[str, list[str]]:
    """Return the attributes of an object that are strings or lists of strings, by name."""
    found: dict[str, list[str]] = {}
    for message in messages:
        bodies: Iterator[Cursor] | list[Cursor] = []
        if message.type == ATTRIBUTE:
            bodies = [message.opened()]
        elif message.type == ATTRIBUTE_INFO:
            info = message.opened()
            info.take(1)
            info.take(2 if info.number(1) & 1 else 0)
            bodies = _heaped(blocks, info, 0)
        for body in bodies:
            name, texts = _attribute(blocks, heap, body)
            if texts is not None:
                found[name] = texts
    return found


def _attribute(blocks: Blocks, heap: GlobalHeap, body: Cursor) -> tuple[str, list[str] | None]:
    """Return the name of an attribute and its strings, or None for other attributes."""
    version, flags = body.number(1), body.number(1)
    if version > 3 or (version > 1 and flags & 3):
        raise ClaimError("an attribute of an unknown form; rewrite the file with h5repack")
    sizes = [body.number(2) for _ in range(3)]
    body.take(1 if version == 3 else 0)
    padded = [size + 7 & ~7 for size in sizes] if version == 1 else sizes
    name, kind, space = (
        body.part(length).take(size) for length, size in zip(padded, sizes, strict=True)
    )
    shape = shape_in(blocks.around(space, 0))
    count = 0 if shape is None else math.prod(shape)
    return name.rstrip(b"\0").decode(), _texts(heap, kind, body, count)


def _texts(heap: GlobalHeap, kind: bytes, body: Cursor, count: int) -> list[str] | None:
    """Return `count` strings, of fixed length or from a heap."""
    if len(kind) < 8:
        raise ClaimError("damaged: an attribute has no type")
    family, size = kind[0] & 15, int.from_bytes(kind[4:8], "little")
    if count * size > body.left or count > MOST_RECORDS:
        raise ClaimError("damaged: an attribute claims more values than it has")
    if family == STRING_CLASS:
        values = [body.take(size) for _ in range(count)]
    elif family == VARIABLE_CLASS and kind[1] & 15 == 1:
        values = [_variable(heap, body.part(size)) for _ in range(count)]
    else:
        return None
    return [value.rstrip(b"\0").decode() for value in values]


def _variable(heap: GlobalHeap, pointer: Cursor) -> bytes:
    length, address, index = pointer.number(4), pointer.offset(), pointer.number(4)
    return heap.content(address, index)[:length] if address and length else b""


def shape_in(body: Cursor) -> tuple[int, ...] | None:
    """Return the shape in a dataspace message, or None for a null dataspace."""
    version, rank, _ = body.number(1), body.number(1), body.number(1)
    if version not in (1, 2) or rank > MAX_AXES:
        raise ClaimError(f"claims a shape of {rank} axes in version {version}")
    kind = body.number(1)
    body.take(4 if version == 1 else 0)
    if version == 2 and kind == 2:
        return None
    return checked_shape([body.length() for _ in range(rank)])

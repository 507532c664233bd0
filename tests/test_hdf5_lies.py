"""HDF5 files of a few hundred bytes that are made to hang a parser, or to fill its memory.

Random damage hardly ever makes these: structures that continue into themselves, trees whose
nodes share their children, counts that nothing stands behind. Each is written by hand here, and
has to end in one line before anything is allocated for it.
"""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from accweight_adapters.hdf5.blocks import SIGNATURE, lookup3
from accweight_adapters.hdf5.file import FORMAT, Hdf5File, Node, Place, values_in
from accweight_adapters.hdf5.objects import (
    ATTRIBUTE,
    CONTINUATION,
    DATASPACE,
    DATATYPE,
    FILTERS,
    LAYOUT,
    LINK,
    SYMBOL_TABLE,
)
from accweight_adapters.untrusted import claims_of
from accweight_core.errors import FormatError

NOWHERE = 2**64 - 1
SUPERBLOCK_BYTES = 48
MOST_BYTES = 16 << 20
"""Memory that none of these files may need."""

BOMB_BYTES = 64 << 20
"""What the deflated chunk would inflate to."""

FLOAT32 = struct.pack("<4BI12B", 0x11, 0x20, 31, 0, 4, 0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0)
TEXT = struct.pack("<4BI", 0x19, 1, 0, 0, 16) + struct.pack("<4BI4x", 0x13, 0, 0, 0, 1)

Message = tuple[int, bytes]


def numbers(*values: int) -> bytes:
    """Return numbers of 64 bits."""
    return struct.pack(f"<{len(values)}Q", *values)


def shape(*lengths: int) -> bytes:
    """Return the dataspace of a shape."""
    return struct.pack("<BBBBI", 1, len(lengths), 0, 0, 0) + numbers(*lengths)


def with_checksum(block: bytes) -> bytes:
    """Return a block with its checksum behind it."""
    return block + struct.pack("<I", lookup3(block))


class Lie:
    """A file that is put together block by block."""

    def __init__(self) -> None:
        self._blocks = bytearray(SUPERBLOCK_BYTES)

    @property
    def end(self) -> int:
        """Where the next block will lie."""
        return len(self._blocks)

    def put(self, block: bytes) -> int:
        """Append a block; return its address."""
        address = self.end
        self._blocks += block + bytes(-len(block) % 8)
        return address

    def old_object(self, *messages: Message, claimed: int = 0) -> int:
        """Append an object header of version 1, which may claim more messages than it has."""
        body = b""
        for kind, content in messages:
            content += bytes(-len(content) % 8)
            body += struct.pack("<HHB3x", kind, len(content), 0) + content
        head = struct.pack("<BBHIII", 1, 0, claimed or len(messages), 1, len(body), 0)
        return self.put(head + body)

    def new_object(self, kind: int, content: bytes) -> int:
        """Append an object header of version 2 with one message."""
        body = struct.pack("<BHB", kind, len(content), 0) + content
        return self.put(with_checksum(b"OHDR\2\0" + bytes([len(body)]) + body))

    def group_with(self, *messages: Message) -> int:
        """Append a dataset of these messages, and a group in which it is called ``w``."""
        link = b"\1\0\1w" + numbers(self.old_object(*messages))
        return self.old_object((LINK, link))

    def tree(self, kind: int, levels: int, leaf: int, key: bytes) -> int:
        """Append a B-tree of version 1 in which both children of every node are the same."""
        below = leaf
        for level in range(levels):
            head = b"TREE" + struct.pack("<BBH", kind, level, 2) + numbers(NOWHERE, NOWHERE)
            below = self.put(head + 2 * (key + numbers(below)) + key)
        return below

    def written(self, path: Path, root: int) -> Path:
        """Write the file with its superblock."""
        head = SIGNATURE + bytes([3, 8, 8, 0]) + numbers(0, NOWHERE, self.end, root)
        self._blocks[:SUPERBLOCK_BYTES] = with_checksum(head)
        path.write_bytes(self._blocks)
        return path


def old_header_into_itself(lie: Lie) -> int:
    """Continue a header of version 1 in a message that continues into itself."""
    again = numbers(lie.end, 24)
    lie.put(struct.pack("<HHB3x", CONTINUATION, 16, 0) + again)
    return lie.old_object((CONTINUATION, again), claimed=65535)


def new_header_into_itself(lie: Lie) -> int:
    """Continue a header of version 2 in a block that continues into itself."""
    again = numbers(lie.end, 28)
    message = struct.pack("<BHB", CONTINUATION, 16, 0) + again
    lie.put(with_checksum(b"OCHK" + message))
    return lie.new_object(CONTINUATION, again)


def header_into_the_whole_file(lie: Lie) -> int:
    """Continue a header again and again in one stretch that is nearly all of the file."""
    stretch = numbers(lie.put(bytes(1 << 18)), 1 << 18)
    return lie.old_object(*[(CONTINUATION, stretch)] * 1000)


def tree_of_names(lie: Lie) -> int:
    """List the names of a group in a tree of 60 levels, which would be 2**60 nodes."""
    heap = lie.put(b"HEAP\0\0\0\0" + numbers(16, NOWHERE, lie.end + 32) + bytes(16))
    symbols = lie.put(b"SNOD\1\0\0\0")
    tree = lie.tree(0, 60, symbols, numbers(0))
    return lie.old_object((SYMBOL_TABLE, numbers(tree, heap)))


def tree_of_chunks(lie: Lie) -> int:
    """List the chunks of a dataset in such a tree."""
    key = struct.pack("<II", 16, 0) + numbers(0, 0)
    return lie.group_with(*chunked(lie.tree(1, 60, SUPERBLOCK_BYTES, key), 1000))


def chunked(tree: int, length: int) -> list[Message]:
    """Return the messages of a dataset in chunks of four."""
    layout = struct.pack("<BBB", 3, 2, 2) + numbers(tree) + struct.pack("<II", 4, 4)
    return [(DATASPACE, shape(length)), (DATATYPE, FLOAT32), (LAYOUT, layout)]


def texts(count: int, content: bytes) -> Message:
    """Return an attribute that claims so many texts."""
    sizes = struct.pack("<BBHHH", 1, 0, 2, len(TEXT), 16)
    parts = (b"a", TEXT, shape(count))  # each at a multiple of eight bytes
    return ATTRIBUTE, sizes + b"".join(part + bytes(-len(part) % 8) for part in parts) + content


def many_texts(lie: Lie) -> int:
    """Claim a hundred million texts, where four would fit."""
    return lie.old_object(texts(10**8, bytes(64)))


def heap_of_a_terabyte(lie: Lie) -> int:
    """Keep a text in a heap that claims a terabyte."""
    heap = lie.put(b"GCOL\1\0\0\0" + numbers(2**40) + bytes(64))
    return lie.old_object(texts(1, struct.pack("<IQI", 8, heap, 1)))


def bomb(lie: Lie) -> int:
    """Keep four numbers in a chunk that inflates to far more."""
    deflated = zlib.compress(bytes(BOMB_BYTES), 9)
    key = struct.pack("<II", len(deflated), 0) + numbers(0, 0)
    head = b"TREE" + struct.pack("<BBH", 1, 0, 1) + numbers(NOWHERE, NOWHERE)
    tree = lie.put(head + key + numbers(lie.put(deflated)) + key)
    filters = struct.pack("<BB6xHHHHII", 1, 1, 1, 0, 0, 1, 9, 0)
    return lie.group_with(*chunked(tree, 4), (FILTERS, filters))


LIES: dict[str, tuple[Callable[[Lie], int], str]] = {
    "an old header that continues into itself": (old_header_into_itself, "without end"),
    "a new header that continues into itself": (new_header_into_itself, "without end"),
    "a header that continues in the whole file": (header_into_the_whole_file, "form a cycle"),
    "names in a tree of shared children": (tree_of_names, "or too deep"),
    "chunks in a tree of shared children": (tree_of_chunks, "or too deep"),
    "a hundred million texts": (many_texts, "claims more values than it has"),
    "a heap of a terabyte": (heap_of_a_terabyte, "should reach to byte 1099511627"),
    "a deflated chunk that is a bomb": (bomb, "it has another size"),
}
"""Per lie: what writes it and returns its root, and what is said of it."""


@pytest.mark.parametrize("name", LIES)
def test_a_file_made_to_hang_or_to_fill_memory_is_refused(tmp_path: Path, name: str) -> None:
    write, reason = LIES[name]
    lie = Lie()
    path = lie.written(tmp_path / "a.h5", write(lie))

    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=reason) as refusal:
            read_through(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert "\n" not in str(refusal.value)
    assert peak < MOST_BYTES


def read_through(path: Path) -> None:
    """Read the texts of the root, and all values in it."""
    place = Place(path, 0, path.stat().st_size)
    with claims_of(path, FORMAT), place.opened() as source:
        root: Node = Hdf5File(place, source).root
        root.texts()
        for member in root.members().values():
            dataset = member.dataset()
            if dataset is not None:
                values_in(source, dataset)

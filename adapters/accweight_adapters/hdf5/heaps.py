"""Heaps and B-trees of HDF5: storage of names, links and variable-length strings.

Old files keep the names of a group in a local heap; newer ones keep whole links in a fractal heap,
indexed by a version 2 B-tree. Variable-length strings are in global heap collections.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from accweight_adapters.hdf5.blocks import Blocks, Cursor, checked
from accweight_adapters.untrusted import ClaimError

CHECKSUM_BYTES: Final = 4
NODE_OVERHEAD: Final = 10
"""Bytes of a version 2 B-tree node besides its records: signature, version, type, checksum."""

HAS_CHECKSUMS: Final = 2
MOST_DEPTH: Final = 16
MOST_RECORDS: Final = 1 << 20
"""Most records of one tree; no model has a group of a million links."""


class LocalHeap:
    """The link names of an old group, each terminated by a zero byte."""

    def __init__(self, blocks: Blocks, address: int) -> None:
        head = blocks.signed(address, 8 + 2 * blocks.length_bytes + blocks.offset_bytes, b"HEAP")
        head.take(4)
        size = head.length()
        head.skip_lengths(1)
        self._data = blocks.cursor(head.some_offset(), size).data

    def text(self, offset: int) -> str:
        """Return the string at an offset."""
        end = self._data.find(b"\0", offset)
        if offset > len(self._data) or end < 0:
            raise ClaimError("damaged: a name lies outside the heap of its group")
        return self._data[offset:end].decode()


class GlobalHeap:
    """The variable-length strings of attributes, in collections."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._collections: dict[int, dict[int, bytes]] = {}

    def content(self, address: int, index: int) -> bytes:
        """Return one object of the collection at an address."""
        if address not in self._collections:
            self._collections[address] = dict(self._objects(address))
        if index not in self._collections[address]:
            raise ClaimError("damaged: a text is missing in its heap")
        return self._collections[address][index]

    def _objects(self, address: int) -> Iterator[tuple[int, bytes]]:
        overhead = 8 + self._blocks.length_bytes
        head = self._blocks.signed(address, overhead, b"GCOL")
        head.take(4)
        block = self._blocks.cursor(address, head.length())
        block.take(overhead)
        while block.left >= overhead:
            index = block.number(2)
            block.take(6)
            size = block.length()
            if index == 0:  # free space at the end
                return
            yield index, block.take(size)
            block.take(min(-size % 8, block.left))


class FractalHeap:
    """A heap of objects in blocks whose size doubles from row to row of a table."""

    def __init__(self, blocks: Blocks, address: int) -> None:
        self._blocks = blocks
        size = 22 + 12 * blocks.length_bytes + 3 * blocks.offset_bytes + CHECKSUM_BYTES
        head = blocks.around(checked(blocks.cursor(address, size).data), address)
        if head.take(4) != b"FRHP" or head.number(1) != 0:
            raise ClaimError("damaged: a heap of links has no valid header")
        self.id_bytes = head.number(2)
        filter_bytes, self._flags = head.number(2), head.number(1)
        most_object = head.number(4)
        head.skip_lengths(1)
        head.skip_offsets(1)
        head.skip_lengths(1)
        head.skip_offsets(1)
        head.skip_lengths(8)
        self._width, self._start = head.number(2), head.length()
        self._most_direct, heap_bits = head.length(), head.number(2)
        head.number(2)
        self._root, self._root_rows = head.offset(), head.number(2)
        if filter_bytes or not self._width or not _is_power(self._start, self._most_direct):
            raise ClaimError("keeps its links in a compressed heap; rewrite it with h5repack")
        self._offset_width = -(-heap_bits // 8)
        direct_width = (self._most_direct.bit_length() + 6) // 8
        self._length_width = min(direct_width, _width_of(most_object))
        self._direct: dict[int, bytes] = {}

    def managed(self, identifier: bytes) -> Cursor:
        """Return the object with an identifier."""
        if identifier[0] >> 4:
            raise ClaimError("keeps a link longer than its heap allows; rewrite it with h5repack")
        end = 1 + self._offset_width
        offset = int.from_bytes(identifier[1:end], "little")
        length = int.from_bytes(identifier[end : end + self._length_width], "little")
        address, rows, size = self._root, self._root_rows, self._start
        for _ in range(MOST_DEPTH):
            if address is None:
                break
            if not rows:
                return self._within(address, size, offset, length)
            address, rows, size, offset = self._child(address, rows, offset)
        raise ClaimError("damaged: a link lies outside its heap")

    def _within(self, address: int, size: int, offset: int, length: int) -> Cursor:
        """Return a range of a direct block, after verifying its checksum."""
        if address not in self._direct:
            data = self._blocks.signed(address, size, b"FHDB").data
            if self._flags & HAS_CHECKSUMS:
                place = 5 + self._blocks.offset_bytes + self._offset_width
                blank = data[:place] + bytes(CHECKSUM_BYTES) + data[place + CHECKSUM_BYTES :]
                checked(blank + data[place : place + CHECKSUM_BYTES])
            self._direct[address] = data
        block = self._blocks.around(self._direct[address], address)
        block.take(offset)
        return block.part(length)

    def _child(self, address: int, rows: int, offset: int) -> tuple[int | None, int, int, int]:
        """Return the block below an indirect block that contains an offset.

        Returns:
            Its address, its rows (0 for a direct block), its size, and the offset in it.
        """
        first, row, size = 0, 0, self._start
        while row < rows and offset >= first + self._width * size:
            first += self._width * size
            row += 1
            size = self._start << max(0, row - 1)
        if row == rows:
            return None, 0, 0, 0
        column, inner = divmod(offset - first, size)
        entries = row * self._width + column
        overhead = 5 + self._blocks.offset_bytes + self._offset_width
        block = self._blocks.signed(
            address, overhead + (entries + 1) * self._blocks.offset_bytes, b"FHIB"
        )
        block.take(overhead - len(b"FHIB"))
        block.skip_offsets(entries)
        below = (size // (self._start * self._width)).bit_length()
        return block.offset(), below if size > self._most_direct else 0, size, inner


def _is_power(start: int, most: int) -> bool:
    return 0 < start <= most and start & start - 1 == 0 and most & most - 1 == 0


def _width_of(limit: int) -> int:
    """Return the number of bytes for numbers up to `limit`."""
    return max(1, -(-limit.bit_length() // 8))


def tree_records(blocks: Blocks, address: int) -> Iterator[bytes]:
    """Yield the records of a version 2 B-tree, in order."""
    size = 16 + blocks.offset_bytes + 2 + blocks.length_bytes + CHECKSUM_BYTES
    head = blocks.around(checked(blocks.cursor(address, size).data), address)
    if head.take(4) != b"BTHD":
        raise ClaimError("damaged: an index of links has no valid header")
    head.take(2)
    node_bytes, record_bytes, depth = head.number(4), head.number(2), head.number(2)
    head.take(2)
    root, records, total = head.offset(), head.number(2), head.length()
    if root is None or not total:
        return
    if depth > MOST_DEPTH or total > MOST_RECORDS or not 0 < record_bytes < node_bytes:
        raise ClaimError("damaged: an index of links is too large")
    tree = _Tree(blocks, node_bytes, record_bytes, depth)
    yield from tree.records(root, records, depth)


class _Tree:
    """The nodes of a version 2 B-tree; counts are as wide as the largest node requires."""

    def __init__(self, blocks: Blocks, node_bytes: int, record_bytes: int, depth: int) -> None:
        self._blocks = blocks
        self._node_bytes, self._record_bytes = node_bytes, record_bytes
        most = (node_bytes - NODE_OVERHEAD) // record_bytes
        self._count_width = _width_of(most)
        self._total_widths = [0]
        below = most
        for _ in range(depth):
            pointer = blocks.offset_bytes + self._count_width + self._total_widths[-1]
            here = max(0, node_bytes - NODE_OVERHEAD - pointer) // (record_bytes + pointer)
            below = (here + 1) * below + here
            self._total_widths.append(_width_of(below))

    def records(self, address: int, count: int, level: int) -> Iterator[bytes]:
        """Yield the records of a node and of its children, in order."""
        size = self._record_bytes
        used = NODE_OVERHEAD + count * size
        total_width = self._total_widths[level - 1] if level else 0
        pointer = self._blocks.offset_bytes + self._count_width + total_width
        used += (count + 1) * pointer if level else 0
        if used > self._node_bytes:
            raise ClaimError("damaged: an index of links holds more than a node can")
        node = self._blocks.around(checked(self._blocks.cursor(address, used).data), address)
        if node.take(4) != (b"BTIN" if level else b"BTLF"):
            raise ClaimError("damaged: an index of links is broken")
        node.take(2)
        own = [node.take(size) for _ in range(count)]
        if not level:
            yield from own
            return
        for number in range(count + 1):
            child, below = node.some_offset(), node.number(self._count_width)
            node.take(total_width)
            yield from self.records(child, below, level - 1)
            yield from own[number : number + 1]

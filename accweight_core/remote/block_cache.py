"""A cache of blocks of remote files, and helpers for byte ranges.

Headers and directories are read repeatedly in tiny pieces; blocks are small, because often only a
few scattered bytes of a file are needed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from accweight_core.remote.settings import settings

BLOCK_BYTES = 1 << 10

Item = TypeVar("Item")
Made = TypeVar("Made")


class HasBlocks(Protocol):
    """A file with a unique number."""

    number: int


class Blocks:
    """A least-recently-used cache of blocks of many files."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes // BLOCK_BYTES
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, file: HasBlocks, start: int, content: bytes) -> None:
        """Cache bytes that start at a block boundary, and end at one or at the end of the file."""
        with self._lock:
            for at in range(0, len(content), BLOCK_BYTES):
                number = (start + at) // BLOCK_BYTES
                self._kept[file.number, number] = content[at : at + BLOCK_BYTES]
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def find(self, file: HasBlocks, start: int, stop: int) -> bytes:
        """Return the cached bytes from `start` on, up to `stop` or the first missing block."""
        first, last = start // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES
        found: list[bytes] = []
        with self._lock:
            for number in range(first, last + 1):
                block = self._kept.get((file.number, number))
                if block is None:
                    break
                self._kept.move_to_end((file.number, number))
                found.append(block)
        return b"".join(found)[start - first * BLOCK_BYTES : stop - first * BLOCK_BYTES]

    def drop(self, file: HasBlocks) -> None:
        """Remove all blocks of a file."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == file.number]:
                del self._kept[key]


def down(offset: int) -> int:
    """Return an offset rounded down to a block boundary."""
    return offset // BLOCK_BYTES * BLOCK_BYTES


def up(offset: int) -> int:
    """Return an offset rounded up to a block boundary."""
    return -(-offset // BLOCK_BYTES) * BLOCK_BYTES


def joined(ranges: Iterable[tuple[int, int]], near: int) -> list[tuple[int, int]]:
    """Return sorted (start, stop) ranges, merging those with gaps of at most `near` bytes."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if found and start <= found[-1][1] + near:
            found[-1] = found[-1][0], max(found[-1][1], stop)
        else:
            found.append((start, stop))
    return found


def side_by_side(work: Callable[[Item], Made], items: Iterable[Item]) -> list[Made]:
    """Return the results of `work` for all items, computed in parallel threads."""
    waiting = list(items)
    if len(waiting) < 2:
        return [work(item) for item in waiting]
    with ThreadPoolExecutor(min(settings().requests, len(waiting)), "remote") as pool:
        futures = [pool.submit(work, item) for item in waiting]
        try:
            return [future.result() for future in futures]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

"""Blocks of remote files that are kept for reading them again, and ranges of bytes.

Headers and directories are read in tiny pieces, again and again; a block is small, because a few
bytes here and there are often all that is wanted of a file.
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
    """A file that has a number which no other has."""

    number: int


class Blocks:
    """Blocks of many files, those used last."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes // BLOCK_BYTES
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, file: HasBlocks, start: int, content: bytes) -> None:
        """Keep bytes that begin with a block, and end with one or with the file."""
        with self._lock:
            for at in range(0, len(content), BLOCK_BYTES):
                number = (start + at) // BLOCK_BYTES
                self._kept[file.number, number] = content[at : at + BLOCK_BYTES]
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def find(self, file: HasBlocks, start: int, stop: int) -> bytes:
        """Return the bytes from `start` on, at most to `stop`, as far as they are kept."""
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
        """Keep nothing of a file any more."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == file.number]:
                del self._kept[key]


def down(offset: int) -> int:
    """Return where the block of an offset begins."""
    return offset // BLOCK_BYTES * BLOCK_BYTES


def up(offset: int) -> int:
    """Return where the first block at or behind an offset begins."""
    return -(-offset // BLOCK_BYTES) * BLOCK_BYTES


def joined(ranges: Iterable[tuple[int, int]], near: int) -> list[tuple[int, int]]:
    """Return (start, stop) ranges in order, those that touch or nearly touch made one."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if found and start <= found[-1][1] + near:
            found[-1] = found[-1][0], max(found[-1][1], stop)
        else:
            found.append((start, stop))
    return found


def side_by_side(work: Callable[[Item], Made], items: Iterable[Item]) -> list[Made]:
    """Return what `work` makes of each item, as many at a time as requests may be."""
    waiting = list(items)
    if len(waiting) < 2:
        return [work(item) for item in waiting]
    with ThreadPoolExecutor(min(settings().requests, len(waiting)), "remote") as pool:
        futures = [pool.submit(work, item) for item in waiting]
        try:
            return [future.result() for future in futures]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

"""Raw reads: the baseline that no analysis of files can beat.

A loop of reads into a buffer that is used again, with as many threads as what it is compared
with. The best size of that buffer differs between machines, so it is looked for first.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from rounds import in_turn, median

BUFFERS = tuple(1 << shift for shift in range(16, 21))
"""Sizes that are tried: 64 KiB to 1 MiB."""

STRETCH = 16 << 20
"""Bytes that one thread reads at a time, so that threads end together."""

PROBES = 16


def size_of(files: Iterable[str]) -> int:
    """Return the bytes of all files together."""
    return sum(Path(file).stat().st_size for file in files)


def read_all(
    files: Sequence[str], threads: int, buffer_bytes: int, stretch: int = STRETCH
) -> float:
    """Read all files in their order; return the seconds it took."""
    work: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
    for file in files:
        for offset in range(0, Path(file).stat().st_size, stretch):
            work.put((file, offset))
    workers = [
        threading.Thread(target=_read, args=(work, np.empty(buffer_bytes, np.uint8), stretch))
        for _ in range(threads)
    ]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - began


def _read(work: queue.SimpleQueue[tuple[str, int]], buffer: np.ndarray, stretch: int) -> None:
    """Read stretches until none is left."""
    while True:
        try:
            file, start = work.get_nowait()
        except queue.Empty:
            return
        descriptor = os.open(file, os.O_RDONLY)
        for offset in range(start, start + stretch, len(buffer)):
            if not os.preadv(descriptor, [buffer.data], offset):
                break
        os.close(descriptor)


def best_buffer(files: Sequence[str], threads: int, rounds: int = 3) -> int:
    """Return the size of the buffer with which reading is fastest; warms the page cache."""
    ways = {str(size): lambda size=size: read_all(files, threads, size) for size in BUFFERS}
    in_turn(ways, 1)
    found = in_turn(ways, rounds)
    return int(min(found, key=lambda size: median(found[size])))


def evict(files: Sequence[str]) -> float:
    """Take files out of the page cache; return the share of what was probed that stayed in it."""
    _drop(files)
    stayed = _resident(files)
    _drop(files)  # probing may have brought pages back
    return stayed


def _drop(files: Sequence[str]) -> None:
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _resident(files: Sequence[str]) -> float:
    """Return the share of some pages of each file that are in the page cache."""
    found, page = [], bytearray(4096)
    for file in files:
        descriptor, size = os.open(file, os.O_RDONLY), Path(file).stat().st_size
        for probe in range(PROBES):
            try:
                os.preadv(descriptor, [page], size * probe // PROBES, os.RWF_NOWAIT)
                found.append(True)
            except BlockingIOError:
                found.append(False)
        os.close(descriptor)
    return sum(found) / max(1, len(found))

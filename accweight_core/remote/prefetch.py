"""Prefetch the weights of remote files, with few requests and in bounded memory.

The caller gives all byte ranges that it will read, in order. Adjacent ranges of a file are merged,
even across tensors, and divided into pieces of a good size for a request. Pieces are fetched in the
order of reading, several at a time, and each is freed after its last use. So every byte is fetched
once.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from accweight_core.errors import FormatError, reason_of
from accweight_core.remote.block_cache import joined, side_by_side
from accweight_core.remote.errors import RemoteError
from accweight_core.remote.files import described
from accweight_core.remote.settings import settings

Span = tuple[str, int, int]
"""A URL without secrets, the first byte, and the byte after the last."""

LARGEST_PIECE = 4 << 20
LEAST_PIECE = 1 << 17
NEAR_BYTES = 1 << 13
"""A gap of at most so many bytes is fetched too: it costs less than another request."""

ROWS = 8
"""Pieces of every file that fit into memory at a time."""


class ReadAhead:
    """Prefetches planned byte ranges of remote files; other ranges are fetched on demand."""

    def __init__(self, spans: Sequence[Span], memory_bytes: int | None = None) -> None:
        limits = settings()
        self._memory_bytes = memory_bytes or limits.memory_bytes
        self._pieces = _pieces_of(spans, self._memory_bytes)
        self._starts = {
            path: [start for start, _ in pieces] for path, pieces in self._pieces.items()
        }
        self._uses: Counter[Span] = Counter()
        for span in spans:
            self._uses.update(self._holding(*span))
        self._todo = deque(self._uses)  # in the order of their first use
        self._futures: dict[Span, Future[bytes]] = {}
        self._held_bytes = 0
        self._closed = False
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(limits.requests, "read-ahead") if spans else None
        self._fill()

    def close(self) -> None:
        """Stop prefetching and free the fetched pieces."""
        with self._lock:
            self._closed = True
            self._todo.clear()
            self._futures.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def check(self) -> None:
        """Check that the files have not changed since they were described.

        Raises:
            FormatError: If a file has changed, as far as the server tells.
        """
        check_files(self._pieces)

    def read(self, path: str, offset: int, out: memoryview) -> None:
        """Fill `out` with the bytes at `offset`.

        Raises:
            FormatError: If the file cannot be read, is too short, or has changed.
        """
        stop = offset + len(out)
        try:
            size = described(path).size_bytes
            if stop > size:
                raise FormatError(
                    path,
                    f"the file ends at byte {size} but the tensor reaches to byte {stop}; "
                    "it is truncated, or changed since it was described",
                )
            self._read(path, offset, stop, out)
        except RemoteError as error:
            raise FormatError(path, f"cannot be read ({reason_of(error)})") from None

    def _read(self, path: str, offset: int, stop: int, out: memoryview) -> None:
        position = offset
        for piece in self._holding(path, offset, stop):
            begin, end = max(offset, piece[1]), min(stop, piece[2])
            if begin > position:  # between two pieces
                out[position - offset : begin - offset] = _fetched((path, position, begin))
            content = self._content(piece)
            if content is None:
                out[begin - offset : end - offset] = _fetched((path, begin, end))
            else:
                first = begin - piece[1]
                out[begin - offset : end - offset] = content[first : first + end - begin]
            self._used(piece)
            position = end
        if position < stop:
            out[position - offset :] = _fetched((path, position, stop))

    def _holding(self, path: str, start: int, stop: int) -> list[Span]:
        """Return the pieces that overlap a byte range."""
        pieces = self._pieces.get(path, [])
        found = []
        for at in range(max(0, bisect_right(self._starts.get(path, []), start) - 1), len(pieces)):
            if pieces[at][0] >= stop:
                break
            if pieces[at][1] > start:
                found.append((path, *pieces[at]))
        return found

    def _content(self, piece: Span) -> memoryview | None:
        """Return the bytes of a piece, waiting for its fetch; None if there is no memory for it."""
        with self._lock:
            future = self._futures.get(piece)
            if future is None:
                if self._closed or self._held_bytes >= self._memory_bytes:
                    return None
                future = self._begun(piece)
        return memoryview(future.result()) if future else None

    def _begun(self, piece: Span) -> Future[bytes] | None:
        if self._pool is None or not self._uses[piece]:
            return None
        future = self._futures[piece] = self._pool.submit(_fetched, piece)
        self._held_bytes += piece[2] - piece[1]
        return future

    def _used(self, piece: Span) -> None:
        """Count a use of a piece; free it after its last use."""
        with self._lock:
            self._uses[piece] -= 1
            if self._uses[piece] <= 0 and self._futures.pop(piece, None) is not None:
                self._held_bytes -= piece[2] - piece[1]
        self._fill()

    def _fill(self) -> None:
        """Start fetching the next pieces, as far as memory allows."""
        with self._lock:
            while self._todo and not self._closed:
                piece = self._todo[0]
                known = piece in self._futures or self._uses[piece] <= 0
                if not known and self._held_bytes + piece[2] - piece[1] > self._memory_bytes:
                    return
                self._todo.popleft()
                if not known:
                    self._begun(piece)


def check_files(paths: Iterable[str]) -> None:
    """Check that files have not changed since they were described.

    Raises:
        FormatError: If a file has changed, as far as the server tells.
    """
    side_by_side(_checked, paths)


def _checked(path: str) -> None:
    try:
        described(path).check()
    except RemoteError as error:
        raise FormatError(path, f"cannot be relied on ({error.strerror})") from None


def _fetched(piece: Span) -> bytes:
    path, start, stop = piece
    return described(path).fetch(start, stop)


def _pieces_of(spans: Iterable[Span], memory_bytes: int) -> dict[str, list[tuple[int, int]]]:
    """Return the pieces of every file: the byte ranges to fetch, in order."""
    wanted: dict[str, list[tuple[int, int]]] = {}
    for path, start, stop in spans:
        wanted.setdefault(path, []).append((start, stop))
    share = memory_bytes // (ROWS * max(len(wanted), 1))
    most = min(max(share, LEAST_PIECE), LARGEST_PIECE)
    return {
        path: [
            (at, min(at + most, stop))
            for start, stop in joined(ranges, NEAR_BYTES)
            for at in range(start, stop, most)
        ]
        for path, ranges in wanted.items()
    }

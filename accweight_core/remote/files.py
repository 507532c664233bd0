"""Remote files with cached metadata and cached blocks.

A `Site` caches the metadata of all names at a server that it has looked up, so that readers may
call `is_file` and `stat` often. Bytes that readers read are cached in blocks; weights bypass the
cache (`accweight_core.remote.prefetch`). Files are registered under their URL without secrets, as
extents have no more than that.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

from accweight_core.remote.block_cache import Blocks, down, joined, side_by_side, up
from accweight_core.remote.choose import transport_for
from accweight_core.remote.errors import AbsentError, RemoteError, UnreachableError
from accweight_core.remote.revision import Revision
from accweight_core.remote.transport import Seen, Transport
from accweight_core.remote.urls import Url

LEAST_FETCH = 1 << 13
"""Minimum of bytes that a read in the middle of a file fetches."""

FIRST_FETCH = 1 << 16
"""Bytes that the first read at either end of a file fetches: headers, directories of zips."""

LARGEST_KEPT = 1 << 20
"""Larger reads are weights, and are not cached."""

KEPT_BYTES = 64 << 20
"""Size of the block cache of all remote files."""

NEAR_BYTES = 1 << 12
"""Ranges with a gap of at most so many bytes are fetched with one request."""

TROUBLE_S = 20.0
"""Seconds without new requests for a file that could not be reached: each of eight readers would
wait for it again."""


class Site:
    """A server or store with cached metadata, which is never refreshed.

    Attributes:
        transport: What makes the requests.
        options: Options of its file system.
        revision: The revision of a repository whose files these are; None elsewhere.
    """

    def __init__(
        self, transport: Transport, options: Mapping[str, Any], revision: Revision | None = None
    ) -> None:
        self.transport = transport
        self.options = options
        self.revision = revision
        self._seen: dict[str, Seen | RemoteError] = {}
        self._files: dict[str, RemoteFile] = {}
        self._folders: dict[str, Mapping[str, Seen]] = {}
        self._unreachable: UnreachableError | None = None
        self._lock = threading.Lock()

    def kind(self, url: Url) -> Seen | None:
        """Return the metadata of a URL, possibly from a listing; None if it does not exist.

        Raises:
            RemoteError: If the request fails.
        """
        with self._lock:
            known = self._seen.get(str(url))
        try:
            return known if isinstance(known, Seen) else self.look(url)
        except AbsentError:
            return None

    def look(self, url: Url) -> Seen:
        """Return the complete metadata of a URL.

        Raises:
            AbsentError: If it does not exist.
            RemoteError: If the request fails.
        """
        with self._lock:
            known = self._seen.get(str(url))
        if isinstance(known, RemoteError):
            raise known
        if known and (known.is_folder or known.size_bytes is not None):
            return known
        try:
            with self._asking():
                seen: Seen | RemoteError = self.transport.look(url)
        except RemoteError as error:
            seen = error
        with self._lock:
            self._seen[str(url)] = seen
        if isinstance(seen, RemoteError):
            raise seen
        return seen

    def is_known_folder(self, url: Url) -> None:
        """Register a URL as a folder, because it was given with a slash at its end."""
        self._seen[str(url)] = Seen(is_folder=True)

    def entries(self, url: Url) -> Mapping[str, Seen]:
        """Return the entries of a folder, by name."""
        text = str(url)
        if text not in self._folders:
            with self._asking():
                found = self.transport.entries(url)
            with self._lock:
                self._folders[text] = found
                for name, seen in found.items():
                    self._seen.setdefault(str(url.child(name)), seen)
        return self._folders[text]

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Make no more requests after an `UnreachableError`: each would wait for the time-out."""
        if self._unreachable:
            raise self._unreachable
        try:
            yield
        except UnreachableError as error:
            self._unreachable = error
            raise

    def file(self, url: Url) -> RemoteFile:
        """Return the file at a URL.

        Raises:
            RemoteError: If it is not a file, or cannot be reached.
        """
        text = str(url)
        if text not in self._files:
            seen = self.look(url)
            if seen.is_folder:
                raise RemoteError(url, "is a folder")
            file = RemoteFile(url, seen, self)
            with self._lock:
                file = self._files.setdefault(text, file)
            _remember(file)
        return self._files[text]


class RemoteFile:
    """A remote file with cached metadata and cached blocks.

    Attributes:
        url: URL of the file.
        number: Unique number of the file in this process.
        size_bytes: Size of the file.
    """

    def __init__(self, url: Url, seen: Seen, site: Site) -> None:
        self.url = url
        self.number = next(_NUMBERS)
        self.site = site
        self.size_bytes = seen.size_bytes or 0
        self._seen = seen
        self._trouble: tuple[float, RemoteError] | None = None
        if len(seen.head) < self.size_bytes:
            _BLOCKS.keep(self, 0, seen.head)

    def state(self) -> os.stat_result:
        """Return the metadata as an `os.stat` result."""
        return state_of_seen(self._seen)

    def fetch(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`, without the block cache.

        Raises:
            RemoteError: If it cannot be read, or the file has changed.
        """
        if len(self._seen.head) == self.size_bytes:
            return self._seen.head[start:stop]
        if self._trouble and time.monotonic() - self._trouble[0] < TROUBLE_S:
            raise self._trouble[1]
        try:
            return self.site.transport.fetch(self.url, start, stop, self._seen)
        except RemoteError as error:
            self._trouble = time.monotonic(), error
            raise

    def check(self) -> None:
        """Raise if the file has changed, as far as the server tells."""
        self.site.transport.check(self.url, self._seen)

    def read(self, offset: int, most: int, ahead: int = 0) -> bytes:
        """Return up to `most` bytes from `offset` on; an empty result only at the end of the file.

        If the first bytes are cached, only the cached ones are returned. Otherwise a fetch may read
        `ahead` bytes further.
        """
        stop = min(offset + most, self.size_bytes)
        if offset >= stop:
            return b""
        if len(self._seen.head) == self.size_bytes:
            return self._seen.head[offset:stop]
        kept = _BLOCKS.find(self, offset, stop)
        if kept:
            return kept
        if stop - offset > LARGEST_KEPT:
            return self.fetch(offset, stop)
        start, end = self._around(offset, stop, ahead)
        content = self.fetch(start, end)
        _BLOCKS.keep(self, start, content)
        return content[offset - start : stop - start]

    def expect(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch (offset, length) ranges that will be read next, in parallel."""
        wanted = [(max(0, at), min(at + length, self.size_bytes)) for at, length in ranges]
        spans = [
            (start, stop)
            for start, stop in joined([w for w in wanted if w[0] < w[1]], NEAR_BYTES)
            if len(_BLOCKS.find(self, start, stop)) < stop - start
        ]
        aligned = [(down(start), min(up(stop), self.size_bytes)) for start, stop in spans]
        for (start, _), content in zip(aligned, side_by_side(self._fetch, aligned), strict=True):
            _BLOCKS.keep(self, start, content)

    def _fetch(self, span: tuple[int, int]) -> bytes:
        return self.fetch(*span)

    def _around(self, offset: int, stop: int, ahead: int) -> tuple[int, int]:
        """Return the aligned byte range to fetch for a read from `offset` to `stop`."""
        is_end = stop + FIRST_FETCH > self.size_bytes or offset < FIRST_FETCH
        least = FIRST_FETCH if is_end else LEAST_FETCH
        end = max(stop + ahead, offset + least)
        start = offset if end < self.size_bytes else min(offset, self.size_bytes - least)
        return max(0, down(start)), min(up(end), self.size_bytes)


_BLOCKS = Blocks(KEPT_BYTES)
_NUMBERS = count()
_KNOWN: dict[str, RemoteFile] = {}
_ACCESS: dict[str, tuple[Url, Mapping[str, Any]]] = {}


def _remember(file: RemoteFile) -> None:
    """Register a file with its secrets and options, replacing an earlier entry for its URL."""
    earlier = _KNOWN.get(str(file.url))
    _KNOWN[str(file.url)] = file
    _ACCESS[str(file.url)] = file.url, file.site.options
    if earlier is not None:
        _BLOCKS.drop(earlier)


def described(text: str) -> RemoteFile:
    """Return the file of a URL without secrets, as last seen.

    Raises:
        RemoteError: If it was never seen and cannot be reached.
    """
    known = _KNOWN.get(text)
    if known is not None:
        return known
    site, url = site_of(text, {}, again=True)
    return site.file(url)


def options_before(text: str) -> Mapping[str, Any]:
    """Return the options with which a URL was read before in this process."""
    return _ACCESS[text][1] if text in _ACCESS else {}


def answers_all(text: str) -> bool:
    """Tell whether the server of a known URL answers every name with success."""
    file = _KNOWN.get(text)
    return file is not None and file.site.transport.answers_all(file.url)


def site_of(text: str, options: Mapping[str, Any], *, again: bool = False) -> tuple[Site, Url]:
    """Return a new site, with empty caches, and the parsed URL.

    Args:
        text: The URL.
        options: Options for its file system.
        again: Whether to use the secrets and options with which that URL was read before.

    Raises:
        MissingLibraryError: If a library is not installed.
        SourceError: If it is not a URL, or no file system supports it.
    """
    url = Url.parsed(text)
    if again:
        url, options = _ACCESS.get(str(url), (url, options))
    site = Site(transport_for(url, options), options)
    if text.partition("?")[0].endswith("/") and url.is_web:
        site.is_known_folder(url)
    return site, url


def state_of_seen(seen: Seen) -> os.stat_result:
    """Return metadata as an `os.stat` result: a plain file with one link, or a folder."""
    mode = (stat.S_IFDIR | 0o555) if seen.is_folder else (stat.S_IFREG | 0o444)
    seconds = seen.changed_ns // 10**9
    size = seen.size_bytes or 0
    times = {f"st_{name}time_ns": seen.changed_ns for name in "amc"}
    return os.stat_result((mode, 0, 0, 1, 0, 0, size, seconds, seconds, seconds), times)

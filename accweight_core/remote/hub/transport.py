"""The files of one commit on the hub, as a transport."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from accweight_core.remote.errors import AbsentError, RemoteError
from accweight_core.remote.transport import Seen, changed_by
from accweight_core.remote.urls import Url
from accweight_core.remote.web import HEAD_BYTES, Web

KEPT_BYTES = 32 << 20
"""Size of the cache of first bytes, shared by all revisions of all repositories."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder in a listing of the hub.

    Attributes:
        is_folder: Whether it is a folder.
        size_bytes: Size of a file.
        tag: Id of its content: SHA-256 of a large file, or the id of the object in git.
    """

    is_folder: bool
    size_bytes: int | None
    tag: str

    @property
    def seen(self) -> Seen:
        """It as metadata."""
        if self.is_folder:
            return Seen(is_folder=True)
        return Seen(False, self.size_bytes, changed_by(self.tag), self.tag)


class Hub(Protocol):
    """A repository on the hub."""

    web: Web
    """What reads byte ranges, with the headers of the client."""

    elsewhere: Web
    """What reads byte ranges at the servers to which the hub redirects, without these."""

    def address(self, commit: str, file: str) -> Url:
        """Return the address of the bytes of a file at a commit."""
        ...

    def listed(self, commit: str, folder: str, url: Url) -> tuple[dict[str, Entry], bool]:
        """Return the files and folders in a folder, and whether all those below are there."""
        ...

    def entry(self, commit: str, file: str, url: Url) -> Entry | None:
        """Return the file or folder of a name at a commit; None if there is none."""
        ...


class _Heads:
    """The first bytes of files by their content: a configuration is the same at each revision."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._size_bytes = 0
        self._lock = threading.Lock()

    def find(self, tag: str) -> bytes:
        with self._lock:
            return self._kept.get(tag, b"")

    def keep(self, tag: str, head: bytes) -> None:
        with self._lock:
            self._size_bytes += len(head) - len(self._kept.pop(tag, b""))
            self._kept[tag] = head
            while self._size_bytes > KEPT_BYTES:
                self._size_bytes -= len(self._kept.popitem(last=False)[1])


_HEADS = _Heads()


class HubTree:
    """The files of one commit, which never change."""

    def __init__(self, hub: Hub, commit: str, depth: int) -> None:
        """Create the transport.

        Args:
            hub: The repository.
            commit: Id of the commit.
            depth: Number of segments of the URL of the repository.
        """
        self._hub = hub
        self._commit = commit
        self._depth = depth
        self._known: dict[str, Entry] = {"": Entry(True, None, "")}
        self._listed: dict[str, bool] = {}
        self._lock = threading.RLock()

    def _name(self, url: Url) -> str:
        return "/".join(url.segments[self._depth :])

    def look(self, url: Url) -> Seen:
        """Return the metadata of a URL."""
        name = self._name(url)
        with self._lock:
            entry = self._known.get(name)
            if entry is None and not self._is_listed(name.rpartition("/")[0]):
                entry = self._hub.entry(self._commit, name, url)
                if entry is not None:
                    self._known[name] = entry
        if entry is None:
            raise AbsentError(url)
        return entry.seen

    def _is_listed(self, folder: str) -> bool:
        """Tell whether the entries of a folder are known, by its own listing or one above it."""
        if folder in self._listed:
            return True
        above = folder
        while above:
            above = above.rpartition("/")[0]
            if self._listed.get(above):
                return True
        return False

    def entries(self, url: Url) -> Mapping[str, Seen]:
        """Return the entries of a folder, by name."""
        name = self._name(url)
        with self._lock:
            if not self._is_listed(name):
                found, is_deep = self._hub.listed(self._commit, name, url)
                self._known |= found
                self._listed[name] = is_deep
            start = f"{name}/" if name else ""
            below = {
                path.removeprefix(start): entry.seen
                for path, entry in self._known.items()
                if path and path.startswith(start)
            }
        return {path: seen for path, seen in below.items() if "/" not in path}

    def fetch(self, url: Url, start: int, stop: int, seen: Seen) -> bytes:
        """Return the bytes from `start` to `stop` of a file.

        The first bytes are requested once for all revisions that have the same content.
        """
        size = seen.size_bytes or 0
        address = self._hub.address(self._commit, self._name(url))
        if stop > HEAD_BYTES:
            return self._fetched(address, start, stop, replace(seen, tag=""))
        head = _HEADS.find(seen.tag)
        if not head:
            got = self._hub.web.look(address)
            if got.size_bytes != size:
                raise RemoteError(
                    url, f"the hub lists {size} bytes, and its file has {got.size_bytes}"
                )
            head = got.head[:HEAD_BYTES]
            _HEADS.keep(seen.tag, head)
        return head[start:stop]

    def _fetched(self, address: Url, start: int, stop: int, seen: Seen) -> bytes:
        """Return bytes from where the hub redirected before, as it limits the requests to itself.

        Signed places expire; the hub is then asked again.
        """
        place = self._hub.web.places.get(str(address))
        if place is not None:
            try:
                return self._hub.elsewhere.fetch(Url.parsed(place), start, stop, seen)
            except RemoteError:
                self._hub.web.places.pop(str(address), None)
        return self._hub.web.fetch(address, start, stop, seen)

    def answers_all(self, url: Url) -> bool:
        """Return False: the hub lists only names that exist."""
        return False

    def check(self, url: Url, seen: Seen) -> None:
        """Do nothing, as a commit never changes."""

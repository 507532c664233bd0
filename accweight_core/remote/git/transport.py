"""The files of one commit, as a transport."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from accweight_core.remote.errors import AbsentError, RemoteError
from accweight_core.remote.git.contents import Content, Entry
from accweight_core.remote.transport import Seen, changed_by
from accweight_core.remote.urls import Url


class Trees(Protocol):
    """The trees and files of a repository."""

    def entry(self, commit: str, file: str) -> Entry | None:
        """Return the file or folder of a name at a commit; None if there is none."""
        ...

    def entries(self, tree: str) -> Mapping[str, Entry]:
        """Return the files and folders in a tree."""
        ...

    def content(self, id: str, url: object) -> Content:
        """Return the content of a file by the id of its object."""
        ...

    def read(self, id: str, start: int, stop: int, url: object) -> bytes:
        """Return the bytes from `start` to `stop` of a file."""
        ...


class GitTree:
    """The files of one commit, which never change."""

    def __init__(self, repository: Trees, commit: str, depth: int) -> None:
        """Create the transport.

        Args:
            repository: The repository.
            commit: Id of the commit.
            depth: Number of segments of the URL of the repository.
        """
        self._repository = repository
        self._commit = commit
        self._depth = depth

    def _entry(self, url: Url) -> Entry:
        entry = self._repository.entry(self._commit, "/".join(url.segments[self._depth :]))
        if entry is None:
            raise AbsentError(url)
        return entry

    def look(self, url: Url) -> Seen:
        """Return the metadata of a URL; a file is unpacked for it."""
        entry = self._entry(url)
        if entry.is_folder:
            return Seen(is_folder=True)
        content = self._repository.content(entry.id, url)
        return Seen(False, content.size_bytes, changed_by(content.tag), content.tag)

    def entries(self, url: Url) -> Mapping[str, Seen]:
        """Return the entries of a folder, by name."""
        entry = self._entry(url)
        if not entry.is_folder:
            raise RemoteError(url, "is a file, not a folder")
        below = self._repository.entries(entry.id)
        return {name: Seen(is_folder=one.is_folder) for name, one in below.items()}

    def fetch(self, url: Url, start: int, stop: int, seen: Seen) -> bytes:
        """Return the bytes from `start` to `stop` of a file."""
        content = self._repository.read(self._entry(url).id, start, stop, url)
        if len(content) < stop - start:
            raise RemoteError(url, f"ends before byte {stop}: it was cut off meanwhile")
        return content

    def answers_all(self, url: Url) -> bool:
        """Return False: there are only the names in the trees."""
        return False

    def check(self, url: Url, seen: Seen) -> None:
        """Do nothing, as a commit never changes."""

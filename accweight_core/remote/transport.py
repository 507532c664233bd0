"""The protocol of a transport, and the metadata that it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from accweight_core.remote.urls import Url


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Seen:
    """Metadata of a remote name.

    Attributes:
        is_folder: Whether it is a folder.
        size_bytes: Size of a file; None if a listing does not tell.
        changed_ns: Time of the last change in ns since 1970; derived from the tag if only that is
            known, 0 if neither is.
        tag: A version tag, such as an ETag, that changes with the file.
        head: The first bytes, if they came with the metadata.
    """

    is_folder: bool
    size_bytes: int | None = None
    changed_ns: int = 0
    tag: str = ""
    head: bytes = b""


class Transport(Protocol):
    """Reads metadata, listings and bytes of remote files. All errors are `RemoteError`."""

    def look(self, url: Url) -> Seen:
        """Return the metadata of a URL; raise `AbsentError` if it is missing or not readable."""
        ...

    def entries(self, url: Url) -> Mapping[str, Seen]:
        """Return the entries of a folder, by name."""
        ...

    def fetch(self, url: Url, start: int, stop: int, seen: Seen) -> bytes:
        """Return the bytes from `start` to `stop` of the version in `seen`."""
        ...

    def answers_all(self, url: Url) -> bool:
        """Tell whether the server answers any name in the same folder with success."""
        ...

    def check(self, url: Url, seen: Seen) -> None:
        """Raise if the file is known to have changed since `seen`."""
        ...


def changed_by(tag: str) -> int:
    """Return a number derived from a tag, used as the time of change if that is unknown."""
    return int.from_bytes(sha256(tag.encode()).digest()[:7], "big") if tag else 0

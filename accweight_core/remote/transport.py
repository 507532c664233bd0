"""What a kind of remote place must be able to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from accweight_core.remote.urls import Url


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Seen:
    """What one look at a remote name showed.

    Attributes:
        is_folder: Whether it is a folder.
        size_bytes: Size of a file; None where a listing does not say.
        changed_ns: When it was written, in ns since 1970; made of the tag where only that is
            known, 0 where nothing is.
        tag: What changes whenever the file does, as far as the place knows.
        head: The first bytes, where the look brought them along.
    """

    is_folder: bool
    size_bytes: int | None = None
    changed_ns: int = 0
    tag: str = ""
    head: bytes = b""


class Transport(Protocol):
    """Looks at, lists and reads remote names. All errors are `RemoteError`."""

    def look(self, url: Url) -> Seen:
        """Return what is there; raise `AbsentError` if nothing is, or nothing may be seen."""
        ...

    def entries(self, url: Url) -> Mapping[str, Seen]:
        """Return what is in a folder, by name."""
        ...

    def fetch(self, url: Url, start: int, stop: int, seen: Seen) -> bytes:
        """Return the bytes from `start` to `stop` of the file that was seen."""
        ...

    def answers_all(self, url: Url) -> bool:
        """Tell whether the place has an answer for any name beside this one."""
        ...

    def check(self, url: Url, seen: Seen) -> None:
        """Raise if the file is another one than was seen, as far as that is known."""
        ...


def changed_by(tag: str) -> int:
    """Return a number that stands for the time of a change where only a tag is known."""
    return int.from_bytes(sha256(tag.encode()).digest()[:7], "big") if tag else 0

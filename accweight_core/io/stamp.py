"""What tells whether a file is still the one that was read: a stamp that changes when it does."""

from __future__ import annotations

import os
from typing import NamedTuple

from accweight_core.remote import state_of


class Stamp(NamedTuple):
    """A file as it was at one moment.

    Attributes:
        device: Where it lies.
        inode: Which one it is there: another file that took its name is another one.
        size_bytes: How long it is.
        changed_ns: When it was written, in ns; of a URL, a number made of what its place says.
    """

    device: int
    inode: int
    size_bytes: int
    changed_ns: int

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Stamp:
        """Return the stamp of a file, or of a URL as it was last looked at.

        Raises:
            OSError: If it is not there.
        """
        state = state_of(os.fspath(path))
        return cls(state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)

    @classmethod
    def if_there(cls, path: str | os.PathLike[str]) -> Stamp | None:
        """Return the stamp of a file, None if it is not there."""
        try:
            return cls.of(path)
        except OSError:
            return None

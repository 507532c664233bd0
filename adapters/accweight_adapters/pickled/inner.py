"""Pickles inside a pickle: in RLlib's checkpoints before 2.0, `worker` is the bytes of another.

The inner pickle is interpreted where it lies, so its arrays are byte ranges of the same file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Final

from accweight_adapters.pickles.tree import mapping_of
from accweight_adapters.pickles.values import BytesClaim
from accweight_adapters.untrusted import ClaimError, quoted

BEGINNINGS: Final = frozenset(bytes((0x80, protocol)) for protocol in (2, 3, 4, 5))

Unpickled = Callable[[], tuple[object, int]]
"""Returns the content of the pickle at the position of the file, and where it ends."""


def with_inner(content: object, file: IO[bytes], unpickled: Unpickled) -> object:
    """Return the content of a pickle, with what is pickled in its entries in place of the bytes.

    Args:
        content: What the pickle holds.
        file: The pickle.
        unpickled: Interprets the pickle at the position of `file`.

    Raises:
        ClaimError: If an inner pickle is damaged or cut short.
    """
    entries = mapping_of(content, attributes=False)
    known: dict[BytesClaim, object] = {}
    for key, value in entries.items():
        if not isinstance(value, BytesClaim) or value.encoding or value.offset < 0:
            continue
        if value not in known:
            file.seek(value.offset)
            if file.read(2) not in BEGINNINGS:
                continue
            file.seek(value.offset)
            known[value], end = unpickled()
            if end > value.offset + value.size_bytes:
                raise ClaimError(f"the pickle in its entry {quoted(key)} is cut short")
    if not known:
        return content
    return {
        key: known.get(value, value) if isinstance(value, BytesClaim) else value
        for key, value in entries.items()
    }

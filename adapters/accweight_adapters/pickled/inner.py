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

WORKER: Final = "worker"
"""Entry with the pickle of RLlib's policies."""

Unpickled = Callable[[], tuple[object, int]]
"""Returns the content of the pickle at the position of the file, and where it ends."""


def with_inner(
    content: object, file: IO[bytes], unpickled: Unpickled, *, has_arrays: bool
) -> object:
    """Return the content of a pickle, with what is pickled in its entries in place of the bytes.

    Args:
        content: What the pickle holds.
        file: The pickle.
        unpickled: Interprets the pickle at the position of `file`.
        has_arrays: Whether the pickle has tensors or arrays itself. Then only `worker` is opened,
            and replay buffers and the like beside it are left out.

    Raises:
        ClaimError: If an inner pickle is damaged or cut short.
    """
    entries = mapping_of(content, attributes=False)
    wanted = {WORKER: entries[WORKER]} if has_arrays and WORKER in entries else {}
    known: dict[BytesClaim, object] = {}
    for key, value in (wanted if has_arrays else entries).items():
        if isinstance(value, BytesClaim) and value not in known and _is_pickle(value, file):
            file.seek(value.offset)
            known[value], end = unpickled()
            if end > value.offset + value.size_bytes:
                raise ClaimError(f"the pickle in its entry {quoted(key)} is cut short")
    if not known:
        return content
    return {
        key: known.get(value, value) if isinstance(value, BytesClaim) else value
        for key, value in (wanted or entries).items()
    }


def _is_pickle(claim: BytesClaim, file: IO[bytes]) -> bool:
    """Tell whether bytes that are stored as they are begin like a pickle."""
    if claim.encoding or claim.offset < 0:
        return False
    file.seek(claim.offset)
    return file.read(2) in BEGINNINGS

"""Keys of mappings in pickles, as parts of names.

Only keys that are safe to hash and can be part of a name are kept: nested tuples, for one, hash
recursively, and a hostile file nests them without end.
"""

from __future__ import annotations

from typing import Final

from accweight_adapters.pickles.values import BytesClaim, Entity
from accweight_adapters.untrusted import MAX_NAME

LONGEST_PATH: Final = 32
"""Most parts of a key that is a tuple, as in flattened trees of parameters."""


def key_of(key: object) -> str | int | Entity | None:
    """Return a key as it is kept, or None if it cannot be part of a name.

    Strings of bytes are text of Python 2; a tuple of names is a path in a tree.
    """
    if isinstance(key, (str, int, Entity)):
        return key
    if isinstance(key, BytesClaim) and key.known is not None:
        return key.known.decode("utf-8", "replace")
    if isinstance(key, tuple) and 0 < len(key) <= LONGEST_PATH:
        parts = [key_of(part) if isinstance(part, (str, int, BytesClaim)) else None for part in key]
        if None not in parts and sum(len(str(part)) for part in parts) < MAX_NAME:
            return ".".join(map(str, parts))
    return None

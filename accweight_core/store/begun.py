"""Stamps of the checkpoint files of an unfinished analysis.

The header has only the size and date of each file, and a rewritten file may keep both. To continue
after an interruption, the whole stamps must match. They are of no use once the analysis is
finished, so they are in a separate file, which is removed then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from accweight_core.schema import Stamp
from accweight_core.store.documents import checked, read
from accweight_core.store.files import write_new
from accweight_core.store.header import Header

NAME = "begun.json"

Stamps = Mapping[str, Stamp]


def remember(store: Path, files: Stamps) -> None:
    """Write the stamps of the files of a new analysis."""
    write_new(store / NAME, json.dumps(files).encode())


def forget(store: Path) -> None:
    """Remove the stamps of a finished analysis."""
    (store / NAME).unlink(missing_ok=True)


def rewritten(store: Path, begun: Header, header: Header, files: Stamps) -> str:
    """Return the path of a file that changed since an analysis started; empty if none did.

    Args:
        store: Folder of the unfinished analysis.
        begun: Its header.
        header: Header of the new work; only sizes and dates of files may differ.
        files: Current stamps of the files.
    """
    try:
        known = checked(read(store / NAME), dict[str, Stamp])
    except (OSError, ValueError):
        known = {}  # of an older version, or damaged: compare sizes and dates only
    for path, now in files.items():
        if path in known and known[path][1:] != now[1:]:
            return path  # the device number, left out here, may change when a disk is mounted
    for record, found in zip(begun.checkpoints, header.checkpoints, strict=True):
        if (record.size_bytes, record.changed_ns) != (found.size_bytes, found.changed_ns):
            return found.path
    return ""

"""What an unfinished analysis remembers of the files that it was begun on.

Its header tells them by size and date, which a copy keeps and a rewritten file may keep. Whether
numbers of before and after an interruption are of the same files takes their whole stamps, which
are of no use once it is finished: they lie in a file that goes then.
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
    """Note the files of an analysis that is being begun."""
    write_new(store / NAME, json.dumps(files).encode())


def forget(store: Path) -> None:
    """Remove the note: every parameter is finished."""
    (store / NAME).unlink(missing_ok=True)


def rewritten(store: Path, begun: Header, header: Header, files: Stamps) -> str:
    """Return a file that is not what it was when an analysis was begun; empty if none is known.

    Args:
        store: The unfinished analysis.
        begun: Its header.
        header: What is to be measured now: the same work, but for sizes and dates of files.
        files: The stamps of the files now.
    """
    try:
        known = checked(read(store / NAME), dict[str, Stamp])
    except (OSError, ValueError):
        known = {}  # of an older program, or damaged: sizes and dates have to do
    for path, now in files.items():
        if path in known and known[path][1:] != now[1:]:
            return path  # the number of a disk changes when it is mounted
    for record, found in zip(begun.checkpoints, header.checkpoints, strict=True):
        if (record.size_bytes, record.changed_ns) != (found.size_bytes, found.changed_ns):
            return found.path
    return ""

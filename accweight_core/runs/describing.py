"""Describe a checkpoint at one moment, with the stamps of its files."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from accweight_core.errors import FormatError, reason_of
from accweight_core.io.stamp import settle, stamp_of
from accweight_core.readers import Reader
from accweight_core.remote import is_url
from accweight_core.runs.training_state import weights_alone
from accweight_core.schema import Description, Stamp

TRIES = 3
"""Attempts to describe a file that is being written."""

LONG_AGO_NS = 60 * 10**9
"""A part written longer ago than this did not change during the description, even if the clock of
the file system differs from ours."""


def described_at_once(reader: Reader, path: Path) -> tuple[Description, dict[str, Stamp]]:
    """Return the description of a checkpoint, and the stamps of its files at that moment.

    What is not the model (optimizer state, losses, averaged copies) is left out, with a note.

    The file itself is stamped before and after. Its parts (shards, external data) are known only
    after the description; if a part was written recently, the checkpoint is described again.

    Raises:
        FormatError: If the file is damaged, or changed during every attempt.
    """
    known = _stamps([path] if path.is_file() else [])
    for _ in range(TRIES):
        settle(known.values())
        begun_ns = time.time_ns()
        description = weights_alone(reader.describe(path))
        found = _stamps({*known, *description.files})
        if all(found[file] == stamp for file, stamp in known.items()):
            parts = [found[file] for file in found if file not in known and not is_url(file)]
            if all(begun_ns - max(s.changed_ns, s.status_ns) > LONG_AGO_NS for s in parts):
                return description, found
        known = found
    raise FormatError(
        path, "is being written: it changed whenever it was described; wait until it is saved"
    )


def size_and_change(stamps: Mapping[str, Stamp]) -> tuple[int, int]:
    """Return the total bytes of the files of a checkpoint and the newest change in ns."""
    sizes = sum(stamp.size_bytes for stamp in stamps.values())
    return sizes, max(stamp.changed_ns for stamp in stamps.values())


def _stamps(files: Iterable[str | Path]) -> dict[str, Stamp]:
    """Return the stamps of files, by path.

    Raises:
        FormatError: If a file no longer exists.
    """
    found = {}
    for file in files:
        try:
            found[str(file)] = stamp_of(str(file))
        except OSError as error:
            raise FormatError(file, f"cannot be read ({reason_of(error)})") from None
    return found

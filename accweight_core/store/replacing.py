"""Replace an analysis: write the new one beside the old one, and rename it when it is complete.

`--overwrite` does so. If it is interrupted, the old analysis is unchanged, and the same command
continues the new one. Leftover folders are removed by the next writer, never by a reader.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from accweight_core.errors import StoreError, reason_of
from accweight_core.store.beside import beside, real_place

_CURRENT_FOLDER, _EXCHANGE = -100, 2
"""AT_FDCWD and RENAME_EXCHANGE of Linux."""


def is_aside(path: Path) -> bool:
    """Tell whether a replacement was interrupted after the old analysis was moved aside."""
    return not os.path.lexists(path) and is_folder(beside(path, "replaced"))


def recover(path: Path) -> None:
    """Move an analysis back to its path if its replacement was interrupted."""
    if is_aside(path):
        beside(path, "replaced").rename(real_place(path))


def tidy(path: Path) -> None:
    """Move back an analysis that was moved aside, and remove leftovers of interrupted writers.

    The unfinished new analysis stays: the same command continues it.
    """
    recover(path)
    for what in ("draft", "replaced", "doomed", "appended"):
        _remove(beside(path, what))


def discard(path: Path, folder: Path) -> None:
    """Rename a folder that belongs to an analysis, then remove it.

    Without the rename, an interrupted removal would look like an analysis that can be continued.

    Args:
        path: The analysis.
        folder: The folder to remove: the analysis itself, or one beside it.
    """
    if os.path.lexists(folder):
        doomed = beside(path, "doomed")
        _remove(doomed)
        os.rename(folder, doomed)
        _remove(doomed)


def put_in_place(path: Path) -> None:
    """Move the new analysis to the path of the old one.

    One of the two exists at any moment; on Linux, always at `path`.

    Raises:
        StoreError: If it cannot be moved.
    """
    place, following, aside = real_place(path), beside(path, "next"), beside(path, "replaced")
    try:
        if not os.path.lexists(place):
            following.rename(place)
        elif _have_changed_places(following, place):
            discard(path, following)
        else:
            place.rename(aside)
            following.rename(place)
            discard(path, aside)
    except OSError as error:
        with suppress(OSError):
            recover(path)
        raise StoreError(
            f"{path}: cannot be replaced ({reason_of(error)}); the new analysis is complete, and "
            "the same command puts it there"
        ) from error


def _have_changed_places(one: Path, other: Path) -> bool:
    """Exchange the names of two folders atomically; return False if the system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):  # not on this system
        return False
    names = os.fsencode(one), os.fsencode(other)
    done: int = rename(_CURRENT_FOLDER, names[0], _CURRENT_FOLDER, names[1], _EXCHANGE)
    return done == 0


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder and not a link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _remove(path: Path) -> None:
    """Remove a folder or a file; of a link, only the link itself."""
    if is_folder(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            os.unlink(path)

"""Replacing an analysis: the new one is made beside it, and takes its name once it is complete.

`--overwrite` and `append` both do so. Whatever stops them, the old analysis stays and opens, and
the same command goes on with the one beside it. What is left over is removed by who writes there
next, and never by who reads.
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
    """Tell whether an analysis has lost its name to one that has not taken it yet."""
    return not os.path.lexists(path) and is_folder(beside(path, "replaced"))


def recover(path: Path) -> None:
    """Bring back an analysis whose replacement was interrupted halfway."""
    if is_aside(path):
        beside(path, "replaced").rename(real_place(path))


def tidy(path: Path) -> None:
    """Bring back what was put aside, and remove what interrupted writers have left for nothing.

    The analysis that will take its place stays: the same command goes on with it.
    """
    recover(path)
    for what in ("draft", "replaced", "doomed", "appended"):
        _remove(beside(path, what))


def discard(path: Path, folder: Path) -> None:
    """Remove a folder that belongs to an analysis; it loses its name before it loses its files.

    Half of one would look like one that can be continued.

    Args:
        path: The analysis.
        folder: What to remove: itself, or something beside it.
    """
    if os.path.lexists(folder):
        doomed = beside(path, "doomed")
        _remove(doomed)
        os.rename(folder, doomed)
        _remove(doomed)


def put_in_place(path: Path) -> None:
    """Give the analysis that was made beside another its name.

    One of the two is there at any moment, on Linux under that name.

    Raises:
        StoreError: If that cannot be done.
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
    """Exchange the names of two folders at once, and tell whether this system could."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):  # not on this system
        return False
    names = os.fsencode(one), os.fsencode(other)
    done: int = rename(_CURRENT_FOLDER, names[0], _CURRENT_FOLDER, names[1], _EXCHANGE)
    return done == 0


def is_folder(path: Path) -> bool:
    """Tell whether a folder is there, and not a link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _remove(path: Path) -> None:
    """Remove what lies beside an analysis; of a link the link alone."""
    if is_folder(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            os.unlink(path)

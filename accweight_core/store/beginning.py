"""Create or continue an analysis on disk, and remove the partial files of a killed process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from accweight_core.errors import StoreError, reason_of
from accweight_core.store import begun
from accweight_core.store.analysis_store import Store
from accweight_core.store.arrays import ATTRIBUTE
from accweight_core.store.begun_differently import difference
from accweight_core.store.beside import beside, real_place
from accweight_core.store.files import PARTIAL, files_in
from accweight_core.store.groups import create_group
from accweight_core.store.header import Header
from accweight_core.store.replacing import discard, is_folder
from accweight_core.store.stored_pictures import PACKED, pack_name
from accweight_core.text import some

_NO_FILES: begun.Stamps = {}

Tell = Callable[[str], None]
"""Called with a line for the user."""


def _silent(line: str) -> None:
    pass


def create(
    path: Path, header: Header, files: begun.Stamps = _NO_FILES, *, draft: Path | None = None
) -> Store:
    """Create an empty store as a draft, and rename it once its header is written.

    Args:
        path: Folder of the store.
        header: Header of the new analysis.
        files: Stamps of the checkpoint files, stored until the analysis is finished.
        draft: Folder of the draft.

    Raises:
        StoreError: If `path` exists; nothing is ever overwritten.
    """
    draft = draft or beside(path, "draft")
    discard(path, draft)
    try:
        draft.mkdir(parents=True)
    except OSError as error:
        raise StoreError(f"{path}: cannot be created ({reason_of(error)})") from error
    create_group(draft, {ATTRIBUTE: header.to_json()})
    begun.remember(draft, files)
    Store(draft, header).create_totals()
    if header.picture_bases:
        create_group(draft / "pictures")
    if header.packed:
        create_group(draft / "pictures" / PACKED)
    try:
        draft.rename(real_place(path))
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise StoreError(f"{path}: cannot be created ({reason_of(error)})") from error
    return Store(path, header)


def create_or_continue(
    path: Path, header: Header, files: begun.Stamps = _NO_FILES, notice: Tell = _silent
) -> Store:
    """Create a store, or open the existing one of the same checkpoints and options.

    If the checkpoint files of an unfinished analysis were rewritten, it starts again from the
    beginning, so that all numbers come from the same files.

    Args:
        path: Folder of the store.
        header: Header of the analysis.
        files: Stamps of the checkpoint files.
        notice: Called with a line for the user.

    Raises:
        StoreError: If `path` is not an analysis, or one of other checkpoints or options.
    """
    if not is_taken(path):
        if path.exists():
            path.rmdir()
        return create(path, header, files)
    _check_is_not_foreign(path)
    store = Store.begun_at(path)
    if _is_rewritten(store, header, files, notice):
        discard(path, real_place(path))
        return create(path, header, files)
    if not store.header.same_work(header):
        raise StoreError(
            f"{path}: holds the analysis {difference(store.header, header)}; "
            "choose another output, or replace the analysis with --overwrite"
        )
    if not store.header.complete:
        store.check_can_go_on()
    sweep(store)
    return store


def begin_beside(
    path: Path, header: Header, files: begun.Stamps = _NO_FILES, notice: Tell = _silent
) -> Store:
    """Create or continue the store that will replace the one at `path`.

    Args:
        path: Folder of the existing store.
        header: Header of the new analysis.
        files: Stamps of the checkpoint files.
        notice: Called with a line for the user.
    """
    following = beside(path, "next")
    try:
        store = Store.begun_at(following)
        goes_on = (
            is_folder(following)
            and not _is_rewritten(store, header, files, notice)
            and store.header.same_work(header)
            and not _has_been_replaced(path, store.header)
        )
        if goes_on:
            store.check_can_go_on()
            sweep(store)
            return store
    except StoreError:
        pass  # another analysis, or damaged
    discard(path, following)
    return create(following, header, files, draft=beside(path, "draft"))


def is_taken(path: Path) -> bool:
    """Tell whether `path` exists and is not an empty folder."""
    return path.is_symlink() or (path.exists() and not (path.is_dir() and not os.listdir(path)))


def check_replaceable(path: Path) -> None:
    """Raise unless `path` is an analysis, which may be damaged.

    Raises:
        StoreError: If it is not an analysis.
    """
    if path.is_symlink():
        raise StoreError(f"{path}: is a link; name the folder it leads to")
    _check_is_not_foreign(path)


def _check_is_not_foreign(path: Path) -> None:
    """Raise a StoreError, which says where else to write, unless there is an analysis at `path`."""
    if Store.document_at(path) is not None:
        return
    what, where = "", "choose another output, such as NAME.accw"
    if path.is_dir():
        what = f" but a folder with other files ({some(sorted(os.listdir(path)), 2)}),"
        where = f"choose another output, such as {path}/run.accw"
    raise StoreError(
        f"{path}: this is not an accweight analysis,{what} and is never overwritten; {where}"
    )


def _is_rewritten(store: Store, header: Header, files: begun.Stamps, notice: Tell) -> bool:
    """Tell whether the files of an unfinished analysis were rewritten since it started."""
    if store.header.complete or not store.header.same_work(header, rewritten=True):
        return False
    changed = begun.rewritten(store.path, store.header, header, files)
    if changed:
        notice(
            f"{changed} was written again since this analysis was begun, so that all of it is "
            "measured anew"
        )
    return bool(changed)


def _has_been_replaced(path: Path, following: Header) -> bool:
    """Tell whether the analysis beside `path` may be the old one, already replaced.

    A process that was killed right after it exchanged the two names leaves two complete analyses;
    if they have the same checkpoints and options, they cannot be told apart.
    """
    try:
        now = Store.begun_at(path).header
    except StoreError:
        return False
    return following.complete and now.complete and now.same_work(following)


def sweep(store: Store) -> None:
    """Remove the partial files of a killed process.

    Raises:
        StoreError: If the store contains a link or a special file; then nothing is removed.
    """
    leftovers = [file for file in files_in(store.path) if file.name.endswith(PARTIAL)]
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    finished = store.finished()
    for index, done in enumerate(finished):
        for part in ("pictures", "state") if not done else ():
            shutil.rmtree(store.path / part / f"{index:06d}", ignore_errors=True)
    for number, members in enumerate(store.header.packs):
        if not finished[members[0]]:
            shutil.rmtree(store.path / pack_name(number), ignore_errors=True)

"""Beginning an analysis on disk, going on with one, clearing away what a killed process left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from accweight_core.errors import StoreError, reason_of
from accweight_core.store import begun
from accweight_core.store.analysis_store import Store
from accweight_core.store.arrays import ATTRIBUTE
from accweight_core.store.beside import beside, real_place
from accweight_core.store.files import PARTIAL, files_in
from accweight_core.store.header import Header
from accweight_core.store.replacing import discard, is_folder
from accweight_core.store.stored_pictures import PACKED, pack_name
from accweight_core.store.zarr_chunks import create_group

_NO_FILES: begun.Stamps = {}

Tell = Callable[[str], None]
"""Called with a line worth telling."""


def _silent(line: str) -> None:
    pass


def create(
    path: Path, header: Header, files: begun.Stamps = _NO_FILES, *, draft: Path | None = None
) -> Store:
    """Make an empty store; it appears under its name complete with its header.

    Args:
        path: Its folder.
        header: What it will be the analysis of.
        files: The stamps of its checkpoints' files, which it keeps until it is finished.
        draft: Where it lies until then.

    Raises:
        StoreError: If something else is there; nothing is ever overwritten.
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
    """Make a store, or open the unfinished or finished one of the same work.

    An unfinished one of files that were written again since it was begun is begun anew: every
    number is of all checkpoints.

    Args:
        path: Its folder.
        header: What it is, or will be, the analysis of.
        files: The stamps of its checkpoints' files.
        notice: Called with a line worth telling.

    Raises:
        StoreError: If `path` is something else, or an analysis of something else.
    """
    if not is_taken(path):
        if path.exists():
            path.rmdir()
        return create(path, header, files)
    store = Store.begun_at(path)
    if _is_rewritten(store, header, files, notice):
        discard(path, real_place(path))
        return create(path, header, files)
    if not store.header.same_work(header):
        raise StoreError(
            f"{path}: holds the analysis of other checkpoints or with other options; "
            "choose another output, or replace it with --overwrite"
        )
    if not store.header.complete:
        store.check_can_go_on()
    sweep(store)
    return store


def begin_beside(
    path: Path, header: Header, files: begun.Stamps = _NO_FILES, notice: Tell = _silent
) -> Store:
    """Make the store that will take the place of the one at `path`, or go on with it.

    Args:
        path: The one that is there.
        header: What the new one is, or will be, the analysis of.
        files: The stamps of its checkpoints' files.
        notice: Called with a line worth telling.
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
        pass  # of something else, or damaged
    discard(path, following)
    return create(following, header, files, draft=beside(path, "draft"))


def is_taken(path: Path) -> bool:
    """Tell whether something is there: an empty folder is nothing."""
    return path.is_symlink() or (path.exists() and not (path.is_dir() and not os.listdir(path)))


def check_replaceable(path: Path) -> None:
    """Raise unless what is there is an analysis, which may be damaged.

    Raises:
        StoreError: If it is not.
    """
    if path.is_symlink():
        raise StoreError(f"{path}: is a link; name the folder it leads to")
    Store.check_is_analysis(path)


def _is_rewritten(store: Store, header: Header, files: begun.Stamps, notice: Tell) -> bool:
    """Tell whether an unfinished analysis was begun on files that were written again since."""
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
    """Tell whether a complete analysis beside another may be the one that was there before.

    Who was stopped right after both changed names leaves two that cannot be told apart if they
    are of the same work.
    """
    try:
        now = Store.begun_at(path).header
    except StoreError:
        return False
    return following.complete and now.complete and now.same_work(following)


def sweep(store: Store) -> None:
    """Remove what a killed process left half written.

    Raises:
        StoreError: If something in it leads elsewhere; nothing is removed then.
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

"""Check the path of a result before any work is done; put it in place when it is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from accweight_core.arguments import checked_path
from accweight_core.errors import StoreError, reason_of
from accweight_core.remote import is_url, shown
from accweight_core.remote.local import special_kind

LONGEST_ADDED = "." + "x" * 8 + ".draft"
"""Longest text that the names of drafts and locks add to a name."""


def target_at(name: str | os.PathLike[str], what: str) -> Path:
    """Return the path of a result, checked.

    Raises:
        StoreError: If it is a URL, has no file name (`.` and `/`), or is not valid on this system.
        ArgumentTypeError: If it is not a path.
    """
    checked_path(name, what)
    if is_url(name):
        raise StoreError(f"{shown(name)}: {what} is stored locally; give a folder and upload it")
    path = Path(name)
    if not str(name).strip() or path.name in ("", ".."):
        raise StoreError(
            f"{str(name)!r} cannot be what {what} is called; give it a name of its own, in a "
            "folder that is there or can be made"
        )
    try:
        path.with_name(path.name + LONGEST_ADDED).lstat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StoreError(f"{_brief(path)}: cannot be written ({reason_of(error)})") from None
    except ValueError as error:
        raise StoreError(f"{_brief(path)}: cannot be written ({error})") from None
    kind = special_kind(path)
    if kind:
        raise StoreError(f"{path}: is {kind}; give a name at which there is none")
    return path


@contextmanager
def replaced_whole(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield the path of a draft, which becomes the file once it is written without an error.

    Args:
        path: The file, as of `target_at`.
        overwrite: Replace an existing file.

    Raises:
        StoreError: If the file exists, or an `OSError` says that it cannot be written.
    """
    if path.exists() and not overwrite:
        raise StoreError(f"{path}: exists already; choose another name, or add --overwrite")
    draft = path.with_name(f".{path.name}.draft")
    try:
        yield draft
        draft.replace(path)
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({reason_of(error)})") from error
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def replaced_folder(
    path: Path, *, overwrite: bool, foreign: Callable[[Path], Sequence[str]]
) -> Iterator[Path]:
    """Yield a new folder, which takes its place once it is filled without an error.

    Args:
        path: The folder, as of `target_at`.
        overwrite: Replace an existing folder.
        foreign: Returns what is in a folder that must not be replaced with it.

    Raises:
        StoreError: If the folder exists, holds something foreign, or an `OSError` says that it
            cannot be written.
    """
    draft = path.with_name(f".{path.name}.draft")
    try:
        if path.exists():
            if not overwrite:
                raise StoreError(f"{path}: exists already; choose another name, or add --overwrite")
            others = foreign(path)
            if others:
                raise StoreError(
                    f"{path}: holds {others[0]!r}, which no such export has written, so it is not "
                    "replaced; choose another name"
                )
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        yield draft
        if path.exists():
            shutil.rmtree(path)
        draft.rename(path)
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({reason_of(error)})") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _brief(path: Path) -> str:
    text = str(path)
    return text if len(text) < 200 else f"{text[:200]}..."

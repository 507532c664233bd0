"""Expand patterns and run work on paths that may be remote, for the search of checkpoints."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from accweight_core.errors import FormatError, SourceError
from accweight_core.remote import as_remote, is_url, path_at

Made = TypeVar("Made")
Item = TypeVar("Item")


def is_pattern(path: Path) -> bool:
    """Tell whether a path is a glob pattern."""
    remote = as_remote(path)
    return any(map(glob.has_magic, remote.parts[1:])) if remote else glob.has_magic(str(path))


def matches(pattern: Path) -> list[Path]:
    """Return the paths that match a glob pattern."""
    remote = as_remote(pattern)
    if remote is not None:
        return [path_at(match) for match in remote.matches()]
    return [path_at(match) for match in glob.glob(str(pattern), recursive=True)]


def absence(path: Path) -> str:
    """Return why a path does not exist; for a URL, the reason of the server."""
    if as_remote(path) is not None:
        try:
            path.stat()
        except OSError as error:
            return str(error.strerror)
    return "there is no such file or folder"


@contextmanager
def doubted() -> Iterator[None]:
    """Add to errors of remote files that the server answers every name with success, if it does.

    Such a server sends some page even for files that do not exist beside a checkpoint.

    Raises:
        FormatError: The error raised in the context, with that remark.
    """
    try:
        yield
    except FormatError as error:
        if not is_url(error.path):
            raise
        from accweight_core.remote.files import answers_all
        from accweight_core.remote.web import ANSWERS_ALL

        if not answers_all(error.path):
            raise
        raise FormatError(
            error.path, f"{str(error).removeprefix(f'{error.path}: ')} ({ANSWERS_ALL})"
        ) from None


def check_told_apart(paths: Iterable[Path]) -> None:
    """Raise if two URLs differ only in their secrets, as they would count as one file.

    Raises:
        SourceError: If they do.
    """
    first: dict[str, str] = {}
    for path in paths:
        remote = as_remote(path)
        if remote is not None and first.setdefault(str(path), remote.url.full) != remote.url.full:
            raise SourceError(
                f"{path}: two URLs differ only behind the '?' or in their password, which is "
                "never shown or stored, so they cannot be told apart; download the files"
            )


def of_all(work: Callable[[Path, Item], Made], items: Sequence[tuple[Path, Item]]) -> list[Made]:
    """Return the results of `work` for all pairs; in parallel if any path is remote."""
    if not any(as_remote(path) is not None for path, _ in items):
        return [work(*item) for item in items]
    from accweight_core.remote.block_cache import side_by_side

    return side_by_side(lambda item: work(*item), items)

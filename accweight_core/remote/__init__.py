"""Read checkpoints at URLs in byte ranges, through fsspec.

`path_at` is the entry point: it turns a name into a local path or a `RemotePath`; `revisions_at`
gives one path for each revision of a repository. `open_file` and `state_of` take the path texts in
extents and descriptions. `local` opens local files, `urls` hides secrets, `git` and `hub` read
repositories at any commit, `transport`, `web` and `stores` make requests, `files` caches metadata
and blocks, `path` has the paths for readers, and `prefetch` fetches weights before they are read.

Why not `universal_pathlib`: its paths are not `pathlib.Path` objects either (0.3), it treats the
query of an HTTP URL as part of the file name and shows it in every message, and it does not detect
that a file has changed between two reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from accweight_core.errors import SourceError
from accweight_core.remote.local import LocalPath, open_local
from accweight_core.remote.urls import LOCAL, is_revised, is_url, without_secrets

if TYPE_CHECKING:
    from accweight_core.remote.path import RemotePath
    from accweight_core.remote.revision import Revision

__all__ = [
    "as_remote",
    "by_age",
    "expect",
    "is_remote",
    "is_revised",
    "is_url",
    "open_file",
    "path_at",
    "revision_of",
    "revisions_at",
    "shown",
    "state_of",
    "without_secrets",
]


def path_at(
    name: str | os.PathLike[str],
    storage_options: Mapping[str, Any] | None = None,
    *,
    again: bool = False,
) -> Path:
    """Return the path of a name: a local path, or a `RemotePath` for a URL.

    Args:
        name: A path or a URL; ``file://`` is a local path.
        storage_options: Options for fsspec's file system, in addition to its configuration.
        again: Whether the name is a URL without secrets of a file that was read before; then the
            secrets and options of that time are used again.

    Raises:
        MissingLibraryError: If a library that the URL needs is not installed.
        SourceError: If the URL is not valid.
    """
    remote = as_remote(name)
    if remote is not None:
        return cast("Path", remote)
    text = str(name) if isinstance(name, Path) else os.fspath(name)
    if is_revised(text):
        from accweight_core.remote.files import options_before
        from accweight_core.remote.revised import pinned

        return cast("Path", pinned(text, options_before(text) if again else storage_options or {}))
    if not is_url(text):
        return LocalPath(name)
    if text.partition("://")[0].lower() in LOCAL:
        return _local(text)
    from accweight_core.remote.files import site_of
    from accweight_core.remote.path import RemotePath

    return cast("Path", RemotePath(*site_of(text, storage_options or {}, again=again)))


def revisions_at(
    name: str, pattern: str | None, storage_options: Mapping[str, Any] | None = None
) -> list[Path]:
    """Return the paths of all revisions of a repository that are checkpoints of their own.

    Args:
        name: The repository, or a folder or file in it; see `is_revised`.
        pattern: Pattern of names of branches and tags. Without one, a file of a git repository
            stands for all commits that changed it, and anything else for itself.
        storage_options: Options for the client of the hub.

    Raises:
        MissingLibraryError: If a library is not installed.
        SourceError: If there is no such repository or revision.
    """
    from accweight_core.remote.revised import revisions

    return cast("list[Path]", revisions(name, pattern, storage_options or {}))


def revision_of(path: Path) -> Revision | None:
    """Return the revision of a repository that a path is read at; None elsewhere."""
    remote = as_remote(path)
    return remote.revision if remote is not None else None


def by_age(paths: Iterable[Path]) -> list[Path]:
    """Return paths at revisions by the time at which the commits were made, oldest first.

    Raises:
        RemoteError: If the repository cannot be read.
    """
    from accweight_core.remote import revised

    return cast("list[Path]", revised.by_age([cast("RemotePath", path) for path in paths]))


def _local(text: str) -> Path:
    """Return the path of a ``file://`` URL, escaped or not."""
    host, slash, rest = text.partition("://")[2].partition("/")
    if host not in ("", "localhost") or not slash:
        raise SourceError(f"{text}: expected file:///folder/name, without a host")
    plain = LocalPath(slash + rest)
    return plain if plain.exists() else LocalPath(unquote(slash + rest))


def as_remote(path: str | os.PathLike[str]) -> RemotePath | None:
    """Return a path typed as a `RemotePath`, None if it is local."""
    if type(path).__name__ != "RemotePath":  # without importing anything for local ones
        return None
    return cast("RemotePath", path)


def shown(name: str | os.PathLike[str]) -> str:
    """Return a name without secrets, as it may be shown and stored."""
    text = str(name)
    return without_secrets(text) if is_url(text) else text


def open_file(path: str) -> IO[bytes]:
    """Open a file by the path text of an extent or a description, for reading bytes.

    Raises:
        OSError: If it cannot be opened, or is not a file.
    """
    if not is_url(path):
        return open_local(path)
    from accweight_core.remote.path import open_known

    return open_known(path)


def state_of(path: str) -> os.stat_result:
    """Return the `os.stat` result of a file, or that of a URL as last seen."""
    if not is_url(path):
        return os.stat(path)
    from accweight_core.remote.files import described

    return described(path).state()


def is_remote(file: IO[bytes]) -> bool:
    """Tell whether reads of an open file may need requests: it has `is_remote` set then."""
    return bool(getattr(_raw(file), "is_remote", False))


def expect(file: IO[bytes], ranges: Iterable[tuple[int, int]]) -> None:
    """Tell a file which (offset, length) ranges will be read next.

    A remote file fetches them in parallel, adjacent ones in one request; a local file ignores
    them. For formats whose headers are spread over the file.
    """
    if is_remote(file):
        _raw(file).expect(ranges)


def _raw(file: IO[bytes]) -> Any:
    """Return the raw file behind a buffered file."""
    return getattr(file, "raw", file)

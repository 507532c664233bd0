"""Remote files: checkpoints at URLs, through fsspec, read in ranges.

`path_at` is the door: a name in, a `pathlib.Path` or what stands for one out. `open_file` and
`state_of` take the text that extents and descriptions hold. `local` is for what is no URL. `urls`
says what may be shown, `transport` with `web` and `stores` ask servers, `files` keeps what was
seen, `path` is what readers get, `prefetch` brings weights before they are asked for.

Why not `universal_pathlib`: its paths are no `pathlib.Path` either (0.3), the query of an HTTP
URL counts as part of a file's name and shows in every message, and nothing notices that a file
has changed between two reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from accweight_core.errors import SourceError
from accweight_core.remote.local import LocalPath, open_local
from accweight_core.remote.urls import LOCAL, is_url, without_secrets

if TYPE_CHECKING:
    from accweight_core.remote.path import RemotePath

__all__ = [
    "as_remote",
    "expect",
    "is_remote",
    "is_url",
    "open_file",
    "path_at",
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
    """Return the path that a name stands for: a local one, or one that reads from a URL.

    Args:
        name: A path or a URL; ``file://`` is a local path.
        storage_options: What fsspec's file system is opened with, beyond its configuration.
        again: Whether the name is one that was shown, of a file that was read before: what
            was hidden of it then is used again.

    Raises:
        MissingLibraryError: If a library that the URL needs is not installed.
        SourceError: If the URL cannot be one.
    """
    remote = as_remote(name)
    if remote is not None:
        return cast("Path", remote)
    text = str(name) if isinstance(name, Path) else os.fspath(name)
    if not is_url(text):
        return LocalPath(name)
    if text.partition("://")[0].lower() in LOCAL:
        return _local(text)
    from accweight_core.remote.files import site_of
    from accweight_core.remote.path import RemotePath

    return cast("Path", RemotePath(*site_of(text, storage_options or {}, again=again)))


def _local(text: str) -> Path:
    """Return the path of a ``file://`` URL, escaped or not."""
    host, slash, rest = text.partition("://")[2].partition("/")
    if host not in ("", "localhost") or not slash:
        raise SourceError(f"{text}: expected file:///folder/name, without a host")
    plain = LocalPath(slash + rest)
    return plain if plain.exists() else LocalPath(unquote(slash + rest))


def as_remote(path: str | os.PathLike[str]) -> RemotePath | None:
    """Return a path as the remote one that it is, None for a local one."""
    if type(path).__name__ != "RemotePath":  # without importing anything for local ones
        return None
    return cast("RemotePath", path)


def shown(name: str | os.PathLike[str]) -> str:
    """Return a name as it may be shown and stored."""
    text = str(name)
    return without_secrets(text) if is_url(text) else text


def open_file(path: str) -> IO[bytes]:
    """Open the file that an extent or a description names, for reading bytes.

    Raises:
        OSError: If it cannot be opened, or is no file.
    """
    if not is_url(path):
        return open_local(path)
    from accweight_core.remote.path import open_known

    return open_known(path)


def state_of(path: str) -> os.stat_result:
    """Return what `os.stat` says of a file, or of a URL as it was last looked at."""
    if not is_url(path):
        return os.stat(path)
    from accweight_core.remote.files import described

    return described(path).state()


def is_remote(file: IO[bytes]) -> bool:
    """Tell whether every read of an open file may cost a request: it says `is_remote` then."""
    return bool(getattr(_raw(file), "is_remote", False))


def expect(file: IO[bytes], ranges: Iterable[tuple[int, int]]) -> None:
    """Tell a file which (offset, length) ranges of it will be read next.

    A remote one fetches them side by side, near ones in one request; a local one has no use
    for it. For readers whose files have their headers in many places.
    """
    if is_remote(file):
        _raw(file).expect(ranges)


def _raw(file: IO[bytes]) -> Any:
    """Return what is behind the buffer of a file."""
    return getattr(file, "raw", file)

"""`RemotePath`: the part of `pathlib.Path` that readers need, for URLs.

Readers look at names, list neighbours of a file, and open it; other methods of `Path` are missing.
`RemotePath` is not a subclass of `Path`, so that a missing method raises a clear error instead of
opening a local file of the same name. `path_at` returns it typed as a `Path`, so readers of other
packages work with URLs unchanged, as long as they open files with `path.open("rb")`.
"""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import IO, Any, NoReturn, cast

from accweight_core.errors import FormatError
from accweight_core.remote.errors import AbsentError, RemoteError
from accweight_core.remote.files import LEAST_FETCH, Site, described, state_of_seen
from accweight_core.remote.reader import RemoteReader
from accweight_core.remote.revision import Revision
from accweight_core.remote.transport import Seen
from accweight_core.remote.urls import Url


class RemotePath:
    """A file or folder at a URL, displayed without passwords and signatures."""

    def __init__(self, site: Site, url: Url) -> None:
        self._site = site
        self.url = url
        self._text = str(url)

    @property
    def revision(self) -> Revision | None:
        """The revision of a repository that it is read at; None elsewhere."""
        return self._site.revision

    @property
    def options(self) -> Mapping[str, Any]:
        """Options of its file system, which may hold credentials."""
        return self._site.options

    # --- names

    def __str__(self) -> str:
        """Return the URL without secrets."""
        return self._text

    def __repr__(self) -> str:
        """Return the URL without secrets, with the class name."""
        return f"RemotePath({self._text!r})"

    def __fspath__(self) -> NoReturn:
        """Raise RemoteError, as functions for local files cannot open a URL."""
        raise RemoteError(
            self._text, "is not a local file; open it with path.open('rb'), or download it"
        )

    def __eq__(self, other: object) -> bool:
        """Tell whether both URLs are equal without their secrets."""
        return isinstance(other, RemotePath) and self._text == other._text

    def __hash__(self) -> int:
        """Return a hash consistent with `==`."""
        return hash(self._text)

    def __lt__(self, other: RemotePath) -> bool:
        """Compare by the parts of the path."""
        return self.parts < other.parts

    @property
    def parts(self) -> tuple[str, ...]:
        """The root (scheme and host), followed by all names."""
        root = f"{self.url.wrappers}{self.url.scheme}://{self.url.host}{self.url.archive}"
        return root, *self.url.names

    @property
    def name(self) -> str:
        """The last name, unescaped."""
        return self.url.names[-1] if self.url.segments else ""

    @property
    def suffix(self) -> str:
        """The last suffix of the name, with the dot."""
        return PurePosixPath(self.name).suffix

    @property
    def suffixes(self) -> list[str]:
        """All suffixes of the name."""
        return PurePosixPath(self.name).suffixes

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return PurePosixPath(self.name).stem

    @property
    def parent(self) -> RemotePath:
        """The folder that contains it."""
        return RemotePath(self._site, self.url.parent())

    @property
    def parents(self) -> tuple[RemotePath, ...]:
        """All folders that contain it, innermost first."""
        found, here = [], self
        while here.url.segments:
            here = here.parent
            found.append(here)
        return tuple(found)

    def is_relative_to(self, other: object) -> bool:
        """Tell whether it is `other`, or is inside it."""
        return self == other or other in self.parents

    def as_posix(self) -> str:
        """Return the URL without secrets."""
        return self._text

    def is_absolute(self) -> bool:
        """Return True."""
        return True

    def absolute(self) -> RemotePath:
        """Return itself."""
        return self

    def resolve(self, strict: bool = False) -> RemotePath:
        """Return itself, as there are no links."""
        if strict and not self.exists():
            raise AbsentError(self._text)
        return self

    # --- other names

    def joinpath(self, *names: str | os.PathLike[str]) -> RemotePath:
        """Return the path of names below this one; the names may come from a file.

        Raises:
            FormatError: If the names lead outside.
        """
        url = self.url
        for name in names:
            try:
                url = url.child(str(name))
            except ValueError as error:
                raise FormatError(self._text, f"names a file elsewhere: {error}") from None
        return RemotePath(self._site, url)

    def __truediv__(self, name: str | os.PathLike[str]) -> RemotePath:
        """Return the path of a name below this one."""
        return self.joinpath(name)

    def with_name(self, name: str) -> RemotePath:
        """Return the path with another name."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> RemotePath:
        """Return the path with another suffix."""
        return self.with_name(self.stem + suffix)

    # --- metadata and listings

    def _kind(self) -> Seen | None:
        return self._site.kind(self.url)

    def exists(self) -> bool:
        """Tell whether the URL exists and may be read."""
        return self._kind() is not None

    def is_file(self) -> bool:
        """Tell whether it is a file."""
        seen = self._kind()
        return seen is not None and not seen.is_folder

    def is_dir(self) -> bool:
        """Tell whether it is a folder."""
        seen = self._kind()
        return seen is not None and seen.is_folder

    def is_symlink(self) -> bool:
        """Return False."""
        return False

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return size and time as an `os.stat` result.

        Raises:
            AbsentError: If it does not exist.
        """
        seen = self._site.look(self.url)
        return state_of_seen(seen)

    def lstat(self) -> os.stat_result:
        """Return the same as `stat`."""
        return self.stat()

    def iterdir(self) -> Iterator[RemotePath]:
        """Yield the entries of the folder.

        Raises:
            RemoteError: If the folder cannot be listed.
        """
        for name in self._site.entries(self.url):
            yield self / name

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """Yield the paths below this one that match a pattern; `**` matches any folders."""
        names = [name for name in pattern.split("/") if name not in ("", ".")]
        yield from dict.fromkeys(_matches(self, names))

    def rglob(self, pattern: str) -> Iterator[RemotePath]:
        """Yield the paths at any depth below this one that match a pattern."""
        yield from self.glob(f"**/{pattern}")

    def matches(self) -> list[RemotePath]:
        """Return the paths that match this path as a pattern."""
        names = self.url.names
        first = next((i for i, name in enumerate(names) if has_magic(name)), len(names))
        root = RemotePath(self._site, replace(self.url, segments=self.url.segments[:first]))
        return list(dict.fromkeys(_matches(root, list(names[first:]))))

    # --- content

    def open(self, mode: str = "rb", buffering: int = -1) -> IO[bytes]:
        """Open the file for reading bytes.

        Raises:
            RemoteError: If it does not exist, is a folder, or the mode is not "rb".
        """
        if mode not in ("rb", "br"):
            problem = f"cannot be opened as {mode!r}: remote files are only read, as bytes"
            raise RemoteError(self._text, problem, errno.EROFS)
        return opened_reader(RemoteReader(self._site.file(self.url)), buffering)

    def read_bytes(self) -> bytes:
        """Return the content of the file."""
        with self.open() as file:
            return file.read()

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the content of the file as text."""
        return self.read_bytes().decode(encoding, errors)


def opened_reader(raw: RemoteReader, buffering: int = -1) -> IO[bytes]:
    """Return a reader with a small buffer, or the reader itself if `buffering` is 0."""
    if buffering == 0:
        return cast("IO[bytes]", raw)
    return cast("IO[bytes]", io.BufferedReader(raw, LEAST_FETCH))


def open_known(text: str) -> IO[bytes]:
    """Open the file of a URL without secrets, as last seen."""
    return opened_reader(RemoteReader(described(text)))


def _matches(folder: RemotePath, names: list[str]) -> Iterator[RemotePath]:
    if not names:
        yield folder
        return
    first, rest = names[0], names[1:]
    if first == "**":
        yield from _matches(folder, rest)
        for entry in _sorted_entries(folder):
            if entry.is_dir() and not entry.name.startswith("."):
                yield from _matches(entry, names)
    elif has_magic(first):
        for entry in _sorted_entries(folder):
            hidden = entry.name.startswith(".") and not first.startswith(".")
            fits = fnmatchcase(entry.name, first) and not hidden
            if fits and (not rest or entry.is_dir()):
                yield from _matches(entry, rest)
    elif (folder / first).exists():
        yield from _matches(folder / first, rest)


def _sorted_entries(folder: RemotePath) -> list[RemotePath]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def has_magic(name: str) -> bool:
    """Tell whether a name is a glob pattern."""
    return re.search(r"[*?\[]", name) is not None

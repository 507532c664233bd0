"""One git repository as dulwich reads it: references, commits, trees and the contents of files."""

from __future__ import annotations

import stat
import threading
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from accweight_core.errors import MissingLibraryError, SourceError
from accweight_core.remote.errors import RemoteError
from accweight_core.remote.git.contents import (
    POINTER_BYTES,
    Content,
    Entry,
    Unpacked,
    large_file,
    part_of_file,
    pointer_in,
)
from accweight_core.remote.git.transport import GitTree
from accweight_core.remote.revision import COMMIT
from accweight_core.remote.transport import Transport
from accweight_core.remote.urls import GIT, Url, is_plain_name

EXTRA = "git"

TAGS, BRANCHES, COPIES = "refs/tags/", "refs/heads/", "refs/remotes/"


class GitRepository:
    """A repository on this machine; threads may share it.

    Attributes:
        root: Absolute path of its folder.
        default: The revision that is read if none is named.
    """

    default = "HEAD"

    def __init__(self, root: str) -> None:
        try:
            from dulwich.errors import NotGitRepository
            from dulwich.repo import Repo
        except ImportError:
            raise MissingLibraryError("dulwich", EXTRA, "reading git repositories") from None
        self.root = root
        try:
            self._repo: Any = Repo(root)
        except (NotGitRepository, OSError, ValueError) as error:
            raise SourceError(f"{root}: this git repository cannot be opened ({error})") from None
        weakref.finalize(self, self._repo.close)  # left open, packs print warnings at exit
        self._lfs = Path(self._repo.commondir()) / "lfs"
        self._unpacked = Unpacked()
        self._contents: dict[str, Content] = {}
        self._lock = threading.RLock()

    # --- references and commits

    def refs(self) -> Mapping[str, str]:
        """Return the commits of all branches and tags, by name.

        A branch of another repository, as a clone has them, counts where no branch or tag here has
        its name.
        """
        named: dict[str, str] = {}
        with self._lock:
            for name, ref in sorted(self._ref_names().items()):
                commit = self._peeled(ref)
                if commit is not None:
                    named[name] = commit
        return named

    def _ref_names(self) -> dict[str, bytes]:
        """Return the references of branches and tags by the names that people use for them."""
        found: dict[str, bytes] = {}
        refs = sorted(self._repo.refs.allkeys())
        for start in (TAGS, BRANCHES, COPIES):
            for ref in refs:
                whole = ref.decode("utf-8", "replace")
                name = whole.removeprefix(start)
                name = name.partition("/")[2] if start == COPIES else name
                if whole.startswith(start) and name and (start, name) != (COPIES, "HEAD"):
                    found.setdefault(name, ref)
        return found

    def _peeled(self, ref: bytes) -> str | None:
        """Return the commit that a reference leads to; None if it leads to something else."""
        from dulwich.objectspec import parse_commit

        try:
            return str(parse_commit(self._repo, self._repo.refs[ref]).id.decode())
        except Exception:  # dulwich raises errors of many types for damaged objects
            return None

    def knows(self, name: str) -> bool:
        """Tell whether a name is that of a revision."""
        try:
            self.commit_of(name)
        except SourceError:
            return False
        return True

    def commit_of(self, name: str) -> str:
        """Return the commit of a branch, a tag, a commit's id or its beginning.

        Raises:
            SourceError: If there is none.
        """
        from dulwich.objectspec import parse_commit

        with self._lock:
            ref = None if COMMIT.fullmatch(name) else self._ref_names().get(name)
            if ref is not None and (commit := self._peeled(ref)):
                return commit
            try:
                return str(parse_commit(self._repo, name.encode()).id.decode())
            except Exception:  # dulwich raises errors of many types
                problem = f"there is no revision {name!r} with a commit"
                raise SourceError(f"{self.root}: {problem}") from None

    def ages(self, commits: Iterable[str]) -> Mapping[str, tuple[int, int]]:
        """Return sort keys of commits: time, and for those of one second length of history."""
        with self._lock, self._told(self.root):
            times = {commit: int(self._repo[commit.encode()].commit_time) for commit in commits}
            count = Counter(times.values())
            return {c: (s, len(self._line(c)) if count[s] > 1 else 0) for c, s in times.items()}

    def _line(self, commit: str) -> list[str]:
        """Return a commit and its ancestors along the first parents, as far as they are here."""
        line, known = [commit], {commit}
        while True:
            try:
                parents = self._repo[line[-1].encode()].parents
            except KeyError:  # a shallow clone ends here
                return line[:-1] or line
            if not parents or parents[0].decode() in known:
                return line
            line.append(parents[0].decode())
            known.add(line[-1])

    def history(self, file: str) -> list[str] | None:
        """Return the commits that changed a file, oldest first; None if it never was a file.

        The history goes from HEAD along the first parents, so that it is one line.
        """
        found: list[str] = []
        earlier: str | None = None
        with self._lock:
            for commit in reversed(self._line(self.commit_of(self.default))):
                entry = self.entry(commit, file)
                now = None if entry is None or entry.is_folder else entry.id
                if now is not None and now != earlier:
                    found.append(commit)
                earlier = now
        return found or None

    # --- trees and files

    def url_at(self, commit: str) -> Url:
        """Return the URL of all files at a commit."""
        names = tuple(name for name in self.root.split("/") if name)
        return Url("", GIT, "", (*names[:-1], f"{names[-1]}@{commit}"))

    def transport_at(self, commit: str) -> Transport:
        """Return what reads the files at a commit."""
        return GitTree(self, commit, len(self.url_at(commit).segments))

    def entry(self, commit: str, file: str) -> Entry | None:
        """Return the file or folder of a name at a commit; None if there is none."""
        with self._lock, self._told(file):
            if commit.encode() not in self._repo.object_store:
                return None
            here = Entry(self._repo[commit.encode()].tree.decode(), is_folder=True)
            for name in filter(None, file.split("/")):
                below = self.entries(here.id) if here.is_folder else {}
                if name not in below:
                    return None
                here = below[name]
            return here

    def entries(self, tree: str) -> Mapping[str, Entry]:
        """Return the files and folders in a tree; links and submodules are left out."""
        with self._lock, self._told(tree):
            return self._entries(tree)

    @lru_cache(maxsize=4096)  # noqa: B019 - repositories are kept for ever
    def _entries(self, tree: str) -> Mapping[str, Entry]:
        found: dict[str, Entry] = {}
        for entry in self._repo[tree.encode()].items():
            name = entry.path.decode("utf-8", "replace")
            is_folder = stat.S_ISDIR(entry.mode)
            if (is_folder or stat.S_ISREG(entry.mode)) and is_plain_name(name):
                found[name] = Entry(entry.sha.decode(), is_folder)
        return found

    def content(self, id: str, url: object) -> Content:
        """Return the content of a file by the id of its object.

        Raises:
            RemoteError: If it is damaged, or a large file that was not fetched.
        """
        with self._lock:
            if id not in self._contents:
                self._contents[id] = self._unpacked_content(id, url)
            return self._contents[id]

    def _unpacked_content(self, id: str, url: object) -> Content:
        with self._told(url):
            size = self._unpacked.size_of(id, lambda: self._repo[id.encode()].as_raw_string())
        small = self._unpacked.read(id, 0, size) if size < POINTER_BYTES else b""
        pointer = pointer_in(small)
        if pointer is None:
            return Content(id, size)
        path = large_file(pointer, self._lfs, url)
        return Content(f"sha256:{pointer.oid}", pointer.size_bytes, path)

    def read(self, id: str, start: int, stop: int, url: object) -> bytes:
        """Return the bytes from `start` to `stop` of a file."""
        content = self.content(id, url)
        if content.path is not None:
            return part_of_file(content.path, start, stop, url)
        return self._unpacked.read(id, start, stop)

    @contextmanager
    def _told(self, url: object) -> Iterator[None]:
        """Turn the errors of dulwich for missing and damaged objects into RemoteError."""
        try:
            yield
        except OSError as error:
            raise RemoteError(url, error.strerror or str(error)) from None
        except MemoryError:
            raise
        except Exception as error:  # dulwich raises errors of many types
            what = " ".join(f"{type(error).__name__}: {error}".split())[:120]
            raise RemoteError(
                url, f"git cannot read it ({what}); git fsck tells what is damaged or missing"
            ) from None


@lru_cache(maxsize=64)
def repository_at(root: str) -> GitRepository:
    """Return the repository in a folder; the same one for all that asks for it."""
    return GitRepository(root)

"""A revision of a repository: the name it was found by, and the commit that it named then."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from accweight_core.remote.transport import Transport
from accweight_core.remote.urls import Url

COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
"""The full id of a commit, SHA-1 or SHA-256."""

SHORT = 7
"""Characters of a commit's id in messages."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision of a repository.

    Attributes:
        name: The branch or tag, or the short id of a commit.
        commit: Full id of the commit, which is what files are read of.
        depth: Number of segments of the URL of the repository.
        is_named: Whether it is a branch or tag; otherwise a commit of the history of a file.
    """

    name: str
    commit: str
    depth: int
    is_named: bool = True


class Repository(Protocol):
    """A repository of which files are read at any commit."""

    default: str
    """The revision that is read if none is named."""

    def refs(self) -> Mapping[str, str]:
        """Return the commits of all branches and tags, by name."""
        ...

    def commit_of(self, name: str) -> str:
        """Return the commit of a branch, a tag or an id; raise `SourceError` if there is none."""
        ...

    def url_at(self, commit: str) -> Url:
        """Return the URL of all files at a commit."""
        ...

    def transport_at(self, commit: str) -> Transport:
        """Return what reads the files at a commit."""
        ...

    def history(self, file: str) -> list[str] | None:
        """Return the commits that changed a file, oldest first; None if it is no such file."""
        ...

    def ages(self, commits: Iterable[str]) -> Mapping[str, tuple[int, int]]:
        """Return sort keys of commits, by time: seconds since 1970, and what tells ties apart."""
        ...


@dataclass(frozen=True)
class Place:
    """What a source names: a file or folder of a repository, and a revision if it names one."""

    repository: Repository
    revision: str | None
    file: str


def short(commit: str) -> str:
    """Return the first characters of a commit's id."""
    return commit[:SHORT]

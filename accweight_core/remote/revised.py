"""Repositories with revisions as sources of files: local git repositories, and the hub.

A name such as ``git:run@v1`` or ``hf://org/model@step1000`` becomes the path of the files at the
commit that the revision names now: the path says the commit, so that it leads to the same files for
ever, and knows the name of the revision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from accweight_core.errors import SourceError
from accweight_core.remote.files import Site
from accweight_core.remote.path import RemotePath
from accweight_core.remote.repositories import place_of
from accweight_core.remote.revision import COMMIT, Place, Revision, short
from accweight_core.remote.urls import without_secrets
from accweight_core.text import plain, some

MOST_REVISIONS = 5_000
"""Limit of revisions taken as the checkpoints of one run."""


def pinned(name: str, options: Mapping[str, Any]) -> RemotePath:
    """Return the path of a source at the commit that its revision names now.

    Raises:
        SourceError: If there is no such repository or revision.
        MissingLibraryError: If a library is not installed.
    """
    place = place_of(name, options)
    told = place.revision or place.repository.default
    is_commit = COMMIT.fullmatch(told) is not None
    commit = told if is_commit else place.repository.commit_of(told)
    shown = short(told) if is_commit else plain(told)
    return _path(place, commit, shown, options, is_named=not is_commit)


def revisions(name: str, pattern: str | None, options: Mapping[str, Any]) -> list[RemotePath]:
    """Return the paths of all revisions of a source that are checkpoints of their own.

    Args:
        name: The source.
        pattern: Pattern of names of branches and tags. Without one, a file of a git repository
            stands for all commits that changed it, and anything else for itself.
        options: Options for the client of the hub.

    Raises:
        SourceError: If there is none.
        MissingLibraryError: If a library is not installed.
    """
    place = place_of(name, options)
    if pattern is not None:
        return _matching(name, place, pattern, options)
    history = place.repository.history(place.file) if place.file and not place.revision else None
    if history is None:
        return [pinned(name, options)]
    _check_count(name, len(history), "commits changed this file")
    return [_path(place, commit, short(commit), options, is_named=False) for commit in history]


def by_age(paths: Sequence[RemotePath]) -> list[RemotePath]:
    """Return paths at revisions by the time at which the commits were made, oldest first."""
    by_repository: dict[str, list[RemotePath]] = {}
    for path in paths:
        by_repository.setdefault(str(path).partition(f"@{_commit(path)}")[0], []).append(path)
    ages: dict[RemotePath, tuple[int, int]] = {}
    for members in by_repository.values():
        place = place_of(str(members[0]), members[0].options)
        found = place.repository.ages({_commit(path) for path in members})
        ages |= {path: found[_commit(path)] for path in members}
    return sorted(paths, key=lambda path: ages[path])


def _commit(path: RemotePath) -> str:
    return path.revision.commit if path.revision else ""


def _matching(
    name: str, place: Place, pattern: str, options: Mapping[str, Any]
) -> list[RemotePath]:
    if place.revision is not None:
        problem = f"names a revision, {place.revision!r}, and --revisions names others"
        raise SourceError(f"{without_secrets(name)}: {problem}; leave out one of them")
    refs = place.repository.refs()
    found = [(ref, commit) for ref, commit in refs.items() if fnmatchcase(ref, pattern)]
    if not found:
        known = some([plain(ref) for ref in refs], 5) or "none"
        raise SourceError(f"{name}: no branch or tag is called {pattern!r}; there are {known}")
    _check_count(name, len(found), "revisions match")
    return [_path(place, commit, plain(ref), options) for ref, commit in found]


def _check_count(name: str, count: int, what: str) -> None:
    if count > MOST_REVISIONS:
        raise SourceError(
            f"{name}: {count:,} {what}, more than {MOST_REVISIONS:,}; take fewer with --revisions"
        )


def _path(
    place: Place, commit: str, label: str, options: Mapping[str, Any], *, is_named: bool = True
) -> RemotePath:
    url = place.repository.url_at(commit)
    revision = Revision(label, commit, len(url.segments), is_named)
    site = Site(place.repository.transport_at(commit), options, revision)
    try:
        return RemotePath(site, url.child(place.file))
    except ValueError as error:
        raise SourceError(f"names a file elsewhere: {error}") from None

"""Find the repository, the revision and the file that a source such as ``git:run@v1:a.pt`` names.

``git:FOLDER[@REVISION][:FILE]`` is what people write. Analyses store ``git:///FOLDER@COMMIT/FILE``,
which is read the same way. Names of folders and branches may hold ``@`` and ``/``, so the text is
cut where a repository is found, and then where a revision is.
"""

from __future__ import annotations

import os
import re

from accweight_core.errors import SourceError
from accweight_core.remote.git.repository import GitRepository, repository_at
from accweight_core.remote.revision import COMMIT, Place
from accweight_core.remote.urls import without_secrets

PREFIX = "git:"


def git_place(text: str) -> Place:
    """Return what a source names.

    Raises:
        SourceError: If there is no repository, or the file's name leads out of it.
        MissingLibraryError: If dulwich is not installed.
    """
    told = text.removeprefix(PREFIX)
    told = told.removeprefix("//") if told.startswith("///") else os.path.expanduser(told)
    if re.match(r"[a-z+]+://", told):
        problem = "git: reads repositories on this machine; clone that one first"
        raise SourceError(f"{without_secrets(text)}: {problem}")
    whole = os.path.join(os.getcwd(), told)
    cuts = [len(whole), *(m.start() for m in reversed([*re.finditer("[@:/]", whole)]))]
    root = next((whole[:cut] for cut in cuts if cut and is_repository(whole[:cut])), None)
    if root is None:
        raise SourceError(f"{text}: there is no git repository")
    repository = repository_at(os.path.abspath(root))
    revision, file = _told(whole[len(root) :], repository)
    names = [name for name in file.split("/") if name not in ("", ".")]
    if ".." in names or "\0" in file:
        raise SourceError(f"{text}: the name of the file leads out of the repository")
    return Place(repository, revision, "/".join(names))


def is_repository(folder: str) -> bool:
    """Tell whether a folder holds a git repository, with or without a working tree."""
    try:
        if os.path.exists(os.path.join(folder, ".git")):
            return True
        inside = [os.path.join(folder, name) for name in ("HEAD", "objects", "refs")]
        return os.path.isfile(inside[0]) and all(map(os.path.isdir, inside[1:]))
    except ValueError:  # a zero byte in the name
        return False


def _told(rest: str, repository: GitRepository) -> tuple[str | None, str]:
    """Return the revision and the file in the text behind the repository."""
    if not rest.startswith("@"):
        return None, rest[1:]
    revision, colon, file = rest[1:].partition(":")
    if colon:
        return revision, file
    names = revision.split("/")
    if COMMIT.fullmatch(names[0]):  # it may be gone
        return names[0], "/".join(names[1:])
    for cut in range(len(names), 0, -1):  # branches may be called `feature/new`
        if repository.knows("/".join(names[:cut])):
            return "/".join(names[:cut]), "/".join(names[cut:])
    return revision, ""

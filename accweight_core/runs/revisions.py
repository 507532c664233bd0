"""From repositories that the user named to the paths that are searched, one for each revision."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from accweight_core.errors import SourceError, reason_of
from accweight_core.remote import is_revised, path_at, revision_of, revisions_at, shown
from accweight_core.remote.globbing import is_pattern, of_all
from accweight_core.remote.revision import COMMIT, short
from accweight_core.runs.name_parts import parts_of
from accweight_core.runs.search import LeftOut
from accweight_core.runs.selection import Selection

NARROWER = "take other revisions with a narrower --revisions"

_AT_COMMIT = re.compile(rf"@{COMMIT.pattern}(?=/|$)")


@dataclass
class Roots:
    """What the user named, as paths.

    Attributes:
        paths: The paths to search.
        left_out: Revisions that are not searched, and why.
        are_revisions: Whether each of several paths is a checkpoint, at a revision of its own.
    """

    paths: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    are_revisions: bool = False


def roots_of(names: Sequence[str | os.PathLike[str]], selection: Selection) -> Roots:
    """Return the paths of what the user named; a repository may stand for many revisions.

    Raises:
        SourceError: If a repository or revision does not exist, or revisions are asked of files
            that have none.
        MissingLibraryError: If a library is not installed.
    """
    roots = Roots()
    for name in names:
        if is_revised(name):
            roots.paths += revisions_at(str(name), selection.revisions, selection.storage_options)
        elif selection.revisions is not None:
            raise SourceError(
                f"{shown(name)}: --revisions needs a repository: hf://NAME or git:FOLDER"
            )
        else:
            roots.paths.append(path_at(name, selection.storage_options))
    if len({one.commit for path in roots.paths if (one := revision_of(path))}) > 1:
        roots.are_revisions = all(revision_of(path) is not None for path in roots.paths)
    if roots.are_revisions:
        _take_apart(roots)
    return roots


def _take_apart(roots: Roots) -> None:
    """Leave out revisions of one commit but one, and those that lack the file."""
    kept: dict[Path, str] = {}
    for path in sorted(roots.paths, key=lambda path: not parts_of(name_of(path)).counts):
        name = name_of(path)
        if kept.setdefault(path, name) != name:
            roots.left_out.append(LeftOut(path, f"the same commit as {kept[path]}", name))
    unique = {path: path for path in roots.paths if kept[path] == name_of(path)}
    told = of_all(lambda path, _: _lacks(path), [(path, None) for path in unique])
    lacking = [path for path, lacks in zip(unique, told, strict=True) if lacks]
    if len(lacking) == len(unique):
        raise SourceError(f"{lacking[0]}: there is no such file or folder, nor at other revisions")
    roots.left_out += [
        LeftOut(path, "there is no such file or folder at this revision", name_of(path))
        for path in lacking
    ]
    roots.paths = [path for path, lacks in zip(unique, told, strict=True) if not lacks]


def _lacks(path: Path) -> bool:
    """Tell whether a path does not exist at its revision; folders are listed, for the search."""
    try:
        if path.is_dir():
            list(path.iterdir())
            return False
        return not path.exists() and not is_pattern(path)
    except OSError as error:
        problem = f"revision {name_of(path)} cannot be read ({reason_of(error)}); {NARROWER}"
        raise SourceError(f"{path}: {problem}") from None


def name_of(path: Path) -> str:
    """Return the name of the revision that a path is read at; empty if there is none."""
    revision = revision_of(path)
    return revision.name if revision else ""


def inner(path: Path) -> str:
    """Return the path of a file inside its repository."""
    revision = revision_of(path)
    return "/".join(path.parts[1 + (revision.depth if revision else 0) :])


def moved_since(earlier: Iterable[tuple[str, str]], now: Mapping[str, str]) -> list[str]:
    """Return a note on every branch and tag that has moved since an analysis.

    Args:
        earlier: Sources of the steps of the analysis, with their paths; gone through only if there
            are revisions now.
        now: Paths of the checkpoints now, by the sources of their steps.
    """
    revisions = {source: path for source, path in now.items() if source.startswith("revision ")}
    notes = []
    for source, path in dict(earlier).items() if revisions else ():
        there, here = (_AT_COMMIT.search(text) for text in (path, revisions.get(source, "")))
        if there and here and there[0] != here[0]:
            was, is_now = (short(found[0].removeprefix("@")) for found in (there, here))
            notes.append(
                f"{source.partition(',')[0]} has moved from {was} to {is_now} since it was "
                f"analysed; the analysis keeps {was}"
            )
    return notes

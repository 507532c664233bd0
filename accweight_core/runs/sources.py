"""From what the user named to the checkpoints there: found, recognised, described.

A folder is searched (`search`); files named one by one and patterns are taken as they are. What
cannot be read is an error if the user named it, and is kept aside if it was found in a folder: it
matters only to the series that it belongs to.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from accweight_core.endings import described_endings
from accweight_core.errors import AccweightError, FormatError, SourceError, reason_of
from accweight_core.naming import natural_key
from accweight_core.readers import Reader, reader_for, reader_named, readers, unrecognised
from accweight_core.remote import as_remote, is_url, shown
from accweight_core.remote.globbing import (
    absence,
    check_told_apart,
    is_pattern,
    matches,
    of_all,
)
from accweight_core.remote.local import check_not_special
from accweight_core.runs.candidates import SHARD, index_of, is_excluded, suffixes_of
from accweight_core.runs.describing import described_at_once
from accweight_core.runs.found import Found
from accweight_core.runs.mlflow_models import models_of
from accweight_core.runs.model_parallel import parts_of_models
from accweight_core.runs.name_parts import shared_folder
from accweight_core.runs.revisions import name_of, roots_of
from accweight_core.runs.search import Broken, LeftOut, lost_folders, names_in, searched
from accweight_core.runs.selection import Selection

MOST_NAMES = 2000
"""Most names that are looked at to say what a folder without checkpoints holds."""

PREFIXED = ".index"
"""Suffix that users may omit: TensorFlow names checkpoints by the text before it."""

LOST = "no weights there; was a save or a removal interrupted?"


@dataclass
class Gathered:
    """The checkpoints found, and what is not one.

    Attributes:
        root: Parts of the path of the folder that holds them all.
        found: The checkpoints, folders in natural order, files in the order given.
        broken: Files found in folders that cannot be read.
        left_out: Files and folders left out, and why.
        notes: Where the search stopped at a limit.
        runs: Folders that are those of runs, by what else is in them.
        are_revisions: Whether what was searched are several revisions of repositories, each a
            checkpoint.
    """

    root: tuple[str, ...] = ()
    found: list[Found] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    runs: list[Path] = field(default_factory=list)
    are_revisions: bool = False


@dataclass(frozen=True)
class _Candidate:
    path: Path
    is_named: bool


def gather(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], selection: Selection
) -> Gathered:
    """Find and describe the checkpoints of a source.

    Args:
        source: A file, a folder, a glob, or several of them, as paths, URLs or repositories.
        selection: Options such as the reader and the files to leave out.

    Raises:
        SourceError: If the source does not exist or has no checkpoints.
        FormatError: If a file that the user named is damaged or of an unknown format, or no file
            in a folder can be read.
    """
    named = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    chosen = reader_named(selection.reader) if selection.reader else None
    roots = roots_of([name for name in named if str(name)], selection)
    given = roots.paths
    check_told_apart(given)
    result = Gathered(left_out=roots.left_out, are_revisions=roots.are_revisions)
    candidates = _candidates(given, chosen, selection.exclude, result)
    _describe(candidates, chosen, result)
    _put_aside(parts_of_models(result.found), result)
    if not result.found:
        if result.broken:
            raise result.broken[0].error
        check_no_analysis(given)
        asked = [chosen] if chosen else list(readers().values())
        raise SourceError(
            f"{', '.join(map(shown, named)) or 'nothing named'}: no checkpoints found; "
            f"files looked for: {' '.join(sorted({s for r in asked for s in r.suffixes if s}))}"
            + _what_there_is(given)
        )
    result.root = _root(given, result.found)
    if result.are_revisions:
        result.left_out += _without_checkpoints(given, result)
        return result
    suffixes = suffixes_of([chosen] if chosen else list(readers().values()))
    kept = [item.path for item in result.found] + [bad.path for bad in result.broken]
    for folder in given:
        if folder.is_dir():
            lost = lost_folders(folder, kept, suffixes)
            result.left_out += [LeftOut(path, LOST) for path in lost]
    return result


def check_no_analysis(given: Sequence[Path]) -> None:
    """Raise if a folder is what was measured of checkpoints, in place of the checkpoints.

    Raises:
        SourceError: If one is an analysis.
    """
    for path in given:
        if _exists(path) and (path / "zarr.json").is_file() and (path / "totals").is_dir():
            raise SourceError(
                f"{path}: is an analysis, not checkpoints; accweight rank, layers, view and report "
                "show it"
            )


def _without_checkpoints(given: Sequence[Path], result: Gathered) -> list[LeftOut]:
    """Return the revisions at which there is no checkpoint, not even a broken one."""
    paths = [item.path for item in result.found] + [bad.path for bad in result.broken]
    names = set(map(name_of, paths))
    return [
        LeftOut(path, "no checkpoints at this revision", name_of(path))
        for path in given
        if name_of(path) not in names
    ]


def _root(given: Sequence[Path], found: Sequence[Found]) -> tuple[str, ...]:
    """Return the parts of the path of the only folder named, or else of what all files share."""
    paths = [item.path for item in found]
    if len(given) == 1 and given[0].is_dir() and all(given[0] in path.parents for path in paths):
        return given[0].parts
    return shared_folder([item.path.parts for item in found])


def _what_there_is(given: Sequence[Path]) -> str:
    """Return what lies in folders without checkpoints, by the endings of the names."""
    folders = [path for path in given if _exists(path) and path.is_dir()]
    names = names_in(folders, MOST_NAMES)
    if folders and not names:
        return "; there are no files there"
    return f"; found: {described_endings(names)}" if names else ""


def _candidates(
    named: list[Path], chosen: Reader | None, exclude: tuple[str, ...], result: Gathered
) -> list[_Candidate]:
    """Expand globs and folders; keep the order of files given one by one."""
    paths: list[_Candidate] = []
    for path in named:
        if _exists(path):
            paths += _at(path, chosen, exclude, result)
        elif _exists(index := path.with_name(path.name + PREFIXED)):
            paths += _at(index, chosen, exclude, result)
        elif is_pattern(path):
            for match in sorted(matches(path), key=lambda match: natural_key(str(match))):
                paths += _at(match, chosen, exclude, result)
        else:
            raise SourceError(f"{path}: {absence(path)}")
    return _without_links(paths, result)


def _without_links(paths: list[_Candidate], result: Gathered) -> list[_Candidate]:
    """Leave out links to other candidates, and files that are named twice."""
    unique: dict[Path, _Candidate] = {}
    for one in sorted(paths, key=lambda one: one.path.is_symlink()):
        twin = unique.setdefault(one.path.resolve(), one)
        if twin.path != one.path:
            result.left_out.append(LeftOut(one.path, f"a link to {twin.path.name}"))
    kept = {one.path: one for one in unique.values()}
    return [kept.pop(one.path) for one in paths if one.path in kept]


def _at(
    path: Path, chosen: Reader | None, exclude: tuple[str, ...], result: Gathered
) -> list[_Candidate]:
    if path.is_dir():
        asked = [chosen] if chosen else list(readers().values())
        files: list[Path] = []
        for folder in (path, *models_of(path)):
            search = searched(folder, asked, chosen, exclude)
            files += search.files
            result.left_out += search.left_out
            result.broken += search.broken
            result.notes += [search.stopped] if search.stopped else []
            result.runs += search.runs
        return [_Candidate(file, is_named=False) for file in files]
    check_not_special(path)
    return [] if is_excluded(path, exclude) else [_Candidate(path, is_named=True)]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a name that is not valid on this system
        if as_remote(path) is not None and not is_pattern(path):
            raise SourceError(f"{path}: {reason_of(error)}") from None
        return False
    except ValueError:  # a name with a zero byte
        return False


def _describe(candidates: list[_Candidate], chosen: Reader | None, result: Gathered) -> None:
    """Recognise and describe candidates; drop the files that belong to another checkpoint."""
    told = of_all(
        lambda path, candidate: _described(candidate, chosen), [(c.path, c) for c in candidates]
    )
    found = [one for one in told if isinstance(one, Found)]
    companions: set[str] = set()
    for one in found:
        files = {*one.description.files, *one.description.beside}
        companions |= {_place_of(file) for file in files} - {_place_of(one.path)}
    parts: set[str] = set()
    for one in found:
        parts |= {_place_of(file) for file in one.description.files} - {_place_of(one.path)}
    is_plain = len(found) == len(told) and len({one.reader for one in found}) == 1
    beside = parts if is_plain else companions
    for candidate, answer in zip(candidates, told, strict=True):
        if _place_of(candidate.path) in beside:
            continue
        if isinstance(answer, Found):
            result.found.append(answer)
        elif candidate.is_named and not result.are_revisions:
            raise answer
        else:
            result.broken.append(Broken(candidate.path, answer))


def _put_aside(broken: list[Broken], result: Gathered) -> None:
    """Take checkpoints for broken; raise if the user named one."""
    paths = {bad.path: bad for bad in broken}
    for one in result.found:
        if one.is_named and one.path in paths:
            raise paths[one.path].error
    result.found = [one for one in result.found if one.path not in paths]
    result.broken += broken


def _described(candidate: _Candidate, chosen: Reader | None) -> Found | AccweightError:
    """Return the checkpoint at a path, or why it cannot be read."""
    path = candidate.path
    reader = chosen or reader_for(path)
    if reader is None:
        return unrecognised(path)
    try:
        description, stamps = described_at_once(reader, path)
    except AccweightError as error:
        return error
    if SHARD.search(path.name) and len(description.files) < 2:
        return FormatError(
            path,
            "a part of a checkpoint in several files; name its index, "
            f"{index_of(path)}, or the first part where there is none",
        )
    return Found(path, description, stamps, reader.name, candidate.is_named)


def _place_of(file: str | Path) -> str:
    """Return the absolute path of a file with links resolved, or its URL."""
    return str(file) if is_url(file) else str(Path(file).resolve())

"""Search a folder for checkpoint files, at any depth within stated limits.

The search goes level by level, so that the nearest folders come first and a limit cuts off the
deepest. Files are candidates by their suffix and are recognised by content later; shards are read
through their index; training state beside the weights, unfinished saves and special files are left
out with a reason. Analyses, hidden folders and installed packages are not searched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from accweight_core.errors import AccweightError, SourceError, reason_of
from accweight_core.naming import natural_key
from accweight_core.readers import Reader, reader_for
from accweight_core.remote import as_remote
from accweight_core.remote.local import special_kind
from accweight_core.runs.array_folders import with_array_folders
from accweight_core.runs.candidates import (
    UNFINISHED,
    is_excluded,
    is_never_searched,
    is_of_a_run,
    is_of_other_kind,
    is_recognised,
    is_state_beside,
    is_training_state,
    is_whole,
    may_be_other,
    shown_name,
    suffixes_of,
    with_broken,
    without_numbers,
    without_shards,
)

MOST_OTHERS = 200
"""Files with other endings, opened where none has one of a checkpoint: `net.pyth`, `net.0001`."""

DEEPEST = 12
"""Levels searched below a folder."""

MOST_FOLDERS = 5_000, 500
"""Folders listed in one search, of local files and at URLs, where each takes a request."""

MOST_ENTRIES = 200_000
"""Files and folders looked at in one search."""

MOST_OPENED = 5_000, 500
"""Files with a suffix that other programs use too, opened to see whether they are checkpoints."""

NOT_WEIGHTS = "training state, not weights"
UNFINISHED_SAVE = "the save was not finished"


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that is not taken, and why."""

    path: Path
    reason: str
    label: str = ""

    @property
    def name(self) -> str:
        """Its name as in notes: by default that of the file, or of its folder if it marks one."""
        return self.label or shown_name(self.path)


@dataclass(frozen=True)
class Broken:
    """A file that is named like a checkpoint and cannot be read."""

    path: Path
    error: AccweightError

    @property
    def reason(self) -> str:
        """What is wrong with it, without its name."""
        return str(self.error).removeprefix(f"{self.path}: ")


@dataclass
class Search:
    """What a search has found so far.

    Attributes:
        files: Candidate files, and folders that are checkpoints, in natural order.
        left_out: What was left out, and why.
        broken: Candidates that cannot be opened.
        stopped: Where the search stopped at a limit; empty if it did not.
        runs: Folders that are those of runs, by what else is in them.
    """

    files: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    stopped: str = ""
    runs: list[Path] = field(default_factory=list)


def searched(
    folder: Path, asked: Sequence[Reader], chosen: Reader | None, exclude: tuple[str, ...]
) -> Search:
    """Search a folder for candidates.

    Args:
        folder: The folder.
        asked: The readers whose files are looked for.
        chosen: The only reader that counts, if the user named one.
        exclude: Patterns of files to leave out.

    Raises:
        SourceError: If the folder itself cannot be read.
    """
    result = Search()
    walk = _Walk(folder, suffixes_of(asked), exclude, result)
    files = walk.candidates() or walk.others
    files.sort(key=lambda f: natural_key(str(f)))
    beside = [file for file in files if is_training_state(file)]
    state = set(beside)
    looked_at = _looked_at(walk, [file for file in files if file not in state], chosen)
    known = set(looked_at)
    beside += [file for file in looked_at if is_state_beside(file, known)]
    state = set(beside)
    looked_at = [file for file in looked_at if file not in state]
    kept = with_broken(without_shards(looked_at), [file for file in files if file not in state])
    result.files = with_array_folders(kept, folder)
    if kept:
        result.left_out += [LeftOut(file, NOT_WEIGHTS) for file in beside]
    return result


def _looked_at(walk: _Walk, files: Sequence[Path], chosen: Reader | None) -> list[Path]:
    """Return the candidates without the files of other programs, which are opened to be told."""
    most, opened, kept = MOST_OPENED[walk.is_remote], 0, list[Path]()
    for file in files:
        if file in walk.unsure:
            opened += 1
            if opened > most:
                walk.result.stopped = walk.result.stopped or (
                    f"{walk.folder} holds more than {most:,} files that may be something else, so "
                    f"{file} and others were not looked at; name a folder below it"
                )
                continue
            if not is_recognised(file, chosen):
                continue
        kept.append(file)
    return kept


class _Walk:
    """The walk through a folder, level by level."""

    def __init__(
        self, folder: Path, suffixes: tuple[str, ...], exclude: tuple[str, ...], result: Search
    ) -> None:
        self.folder = folder
        self.is_remote = as_remote(folder) is not None
        self.unsure: set[Path] = set()
        self.others: list[Path] = []
        self._suffixes = suffixes
        self._endings = tuple(filter(None, suffixes))
        self._patterns = tuple(name for name in suffixes if "*" in name)
        self._exclude = exclude
        self.result = result
        self._entries = 0
        self._root = folder.resolve()
        self._linked: set[Path] = set()

    def candidates(self) -> list[Path]:
        """Return the files with suffixes of checkpoints, and mark files."""
        found: list[Path] = []
        level, folders = [self.folder], 0
        for depth in range(DEEPEST + 1):
            below: list[Path] = []
            for folder in level:
                folders += 1
                if folders > MOST_FOLDERS[self.is_remote] or self._entries > MOST_ENTRIES:
                    self.result.stopped = (
                        f"the search stopped before {folder}, after {folders - 1:,} folders with "
                        f"{self._entries:,} entries; name a folder below {self.folder}"
                    )
                    return found
                files, folders_below = self._listed(folder)
                found += files
                below += folders_below
            level = below
            if not level:
                break
            if depth == DEEPEST:
                self.result.stopped = (
                    f"folders more than {DEEPEST} levels deep were not searched, such as {level[0]}"
                )
        return found

    def _listed(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Return the candidates of a folder, and the folders below that are to be searched."""
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            if folder == self.folder:
                raise SourceError(f"{folder}: cannot be read ({reason_of(error)})") from None
            self.result.left_out.append(LeftOut(folder, f"cannot be read ({reason_of(error)})"))
            return [], []
        self._entries += len(entries)
        if any(is_of_a_run(entry.name) for entry in entries):
            self.result.runs.append(folder)
        files, whole = self._files(entries)
        kept = [file for file in files if not is_excluded(file, self._exclude)]
        if whole and kept:
            return kept, []
        return kept, [entry for entry in entries if self._is_searched(entry)]

    def _files(self, entries: Iterable[Path]) -> tuple[list[Path], bool]:
        """Return candidates; only the mark, and True, if one makes its folder a checkpoint."""
        found = []
        for entry in entries:
            is_mark = entry.name in self._suffixes or is_whole(entry.name, self._patterns)
            if entry.name.startswith((".", "~")) and not is_mark:
                continue
            is_named = is_mark or entry.name.lower().endswith(self._endings)
            if not is_named and not ("" in self._suffixes and not entry.suffix):
                self._note_other(entry)
                continue
            if not self._is_file(entry, is_named=is_named):
                continue
            if is_mark:
                if reader_for(entry):
                    return [entry], True
                continue
            if may_be_other(entry):
                self.unsure.add(entry)
            found.append(entry)
        return found, False

    def _note_other(self, entry: Path) -> None:
        """Keep a file with another ending for a look at its content, if there is nothing else."""
        if is_of_other_kind(entry) or is_excluded(entry, self._exclude):
            return
        if len(self.others) >= MOST_OTHERS:
            return
        if entry.is_file():
            self.others.append(entry)
            self.unsure.add(entry)

    def _is_file(self, entry: Path, *, is_named: bool) -> bool:
        if is_named and entry.is_symlink() and not entry.exists():
            if not is_excluded(entry, self._exclude):
                problem = (
                    f"{entry}: a link to a file that is not there; restore it, or leave it out "
                    f"with --exclude '{entry.name}'"
                )
                self.result.broken.append(Broken(entry, SourceError(problem)))
            return False
        if entry.is_file():
            return True
        kind = special_kind(entry) if is_named else ""
        if kind:
            self.result.left_out.append(LeftOut(entry, f"it is {kind}, not a file"))
        return False

    def _is_searched(self, entry: Path) -> bool:
        if is_never_searched(entry.name) or not entry.is_dir():
            return False
        if entry.name == "blobs" and (entry.parent / "snapshots").is_dir():
            return False  # the cache of the Hugging Face Hub, whose snapshots link there
        if UNFINISHED.search(entry.name):
            self.result.left_out.append(LeftOut(entry, UNFINISHED_SAVE))
            return False
        if not entry.is_symlink():
            return True
        target = entry.resolve()  # what is below the folder is found there
        is_inside = target == self._root or self._root in target.parents
        if is_inside or target in self._root.parents or target in self._linked:
            return False
        self._linked.add(target)
        return True


def lost_folders(folder: Path, kept: Sequence[Path], suffixes: tuple[str, ...]) -> list[Path]:
    """Return the folders without weights that are named like those of checkpoints.

    Names are compared without their numbers. Experiments of MLflow have numbers for names, and
    may be empty.
    """
    homes = {home for file in kept for home in file.parents if folder in home.parents}
    homes |= {file for file in kept if file.is_dir()}
    families = {
        (home.parent, without_numbers(home)) for home in homes if re.search(r"\d", home.name)
    }
    lost = [
        other
        for parent, family in families
        for other in _folders(parent)
        if other not in homes
        and without_numbers(other) == family
        and not _holds_weights(other, suffixes)
    ]
    lost = [
        other
        for other in lost
        if not UNFINISHED.search(other.name) and not (other / "meta.yaml").is_file()
    ]
    return sorted(lost, key=lambda other: natural_key(other.name))


def names_in(folders: Sequence[Path], most: int) -> list[str]:
    """Return the names of files in folders and below, as far as `most` are reached."""
    names: list[str] = []
    level = list(folders)
    for _ in range(DEEPEST):
        for folder in level:
            try:
                entries = sorted(folder.iterdir())
            except OSError:
                continue
            names += [e.name for e in entries if not e.name.startswith(".") and e.is_file()]
            if len(names) > most:
                return names
        level = [inner for folder in level for inner in _folders(folder)][:most]
    return names


def _holds_weights(folder: Path, suffixes: tuple[str, ...]) -> bool:
    walk = _Walk(folder, suffixes, (), Search())
    files = [f for d in (folder, *_folders(folder)) for f in walk._listed(d)[0]]
    return any(
        not is_training_state(f) and (f not in walk.unsure or is_recognised(f, None)) for f in files
    )


def _folders(folder: Path) -> list[Path]:
    try:
        return [d for d in sorted(folder.iterdir()) if d.is_dir() and not d.name.startswith(".")]
    except OSError:
        return []

"""From what the user typed to the files that hold checkpoints.

A folder is searched two levels deep for files that a reader recognises by content. What
trainers write beside the weights (optimizer states, random states) is passed over with a
note, and shards are reached through their index alone.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from accweight_core.errors import FormatError, MismatchError, SourceError
from accweight_core.naming import natural_key
from accweight_core.readers import Reader, reader_for, reader_named, readers, unrecognised
from accweight_core.schema import Description
from accweight_core.steps import Found

_BESIDE = re.compile(
    r"^(.*_)?(optim|optimizer|scheduler|scaler|rng_state|training_args|random_states?)"
    r"(_?states?)?([._-]\d+)*\.",
    re.IGNORECASE,
)
SHARD = re.compile(r"-\d{5}-of-\d{5}\.\w+$")
DEEPEST = 2
"""Levels of folders below the one named that are searched."""


@dataclass
class Gathered:
    """The checkpoints found, and remarks on what was passed over."""

    reader: Reader
    found: list[Found]
    notes: list[str] = field(default_factory=list)


def gather(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    reader: str | None = None,
    exclude: Iterable[str] = (),
) -> Gathered:
    """Find and describe the checkpoints that a source names.

    Args:
        source: A file, a folder, a glob, or several of them.
        reader: Name of the reader to use instead of looking at contents.
        exclude: Patterns of file names to leave out.

    Raises:
        SourceError: If nothing is there.
        FormatError: If a file is damaged or of no known format.
        MismatchError: If files of several formats lie together.
    """
    named = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    chosen = reader_named(reader) if reader else None
    notes: list[str] = []
    paths = _candidates(
        [Path(name) for name in named if str(name)], chosen, as_patterns(exclude), notes
    )
    if not paths:
        asked = [chosen] if chosen else list(readers().values())
        raise SourceError(
            f"{', '.join(map(str, named)) or 'nothing named'}: no checkpoints found; "
            f"files looked for: {' '.join(sorted({s for r in asked for s in r.suffixes}))}"
        )
    pairs = [(path, chosen or _reader_of(path)) for path in paths]
    used = {r.name for _, r in pairs}
    if len(used) > 1:
        by_reader = {name: [p.name for p, r in pairs if r.name == name] for name in sorted(used)}
        listed = "; ".join(f"{name}: {_some(files)}" for name, files in by_reader.items())
        raise MismatchError(
            f"{', '.join(map(str, named))}: files of several formats ({listed}); "
            "choose one with --reader"
        )
    described = {path: r.describe(path) for path, r in pairs}
    parts = _parts_of_others(described)
    found = [Found(path, d) for path, d in described.items() if path.resolve() not in parts]
    for item in found:
        if SHARD.search(item.path.name):
            index = SHARD.sub(item.path.suffix + ".index.json", item.path.name)
            raise FormatError(
                item.path, f"a part of a checkpoint in several files; name its index, {index}"
            )
    return Gathered(pairs[0][1], found, notes)


def as_patterns(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return patterns as a tuple; one pattern may be given as plain text."""
    return (patterns,) if isinstance(patterns, str) else tuple(patterns)


def _candidates(
    named: list[Path], chosen: Reader | None, exclude: tuple[str, ...], notes: list[str]
) -> list[Path]:
    """Expand globs and folders; keep the order of files named one by one."""
    paths: list[Path] = []
    for path in named:
        if _exists(path):
            paths += _at(path, chosen, exclude, notes)
        elif glob.has_magic(str(path)):
            for match in sorted(glob.glob(str(path), recursive=True), key=natural_key):
                paths += _at(Path(match), chosen, exclude, notes)
        else:
            raise SourceError(f"{path}: there is no such file or folder")
    unique: dict[Path, Path] = {}
    for path in paths:
        twin = unique.setdefault(path.resolve(), path)
        if twin != path:
            notes.append(f"{path.name} left out: a link to {twin.name}")
    return list(unique.values())


def _at(
    path: Path, chosen: Reader | None, exclude: tuple[str, ...], notes: list[str]
) -> list[Path]:
    if path.is_dir():
        return _in_folder(path, chosen, exclude, notes)
    return [] if _is_excluded(path, exclude) else [path]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that the system cannot hold
        return False


def _is_excluded(path: Path, patterns: tuple[str, ...]) -> bool:
    """Tell whether a pattern fits the file's name, or the end of its path."""
    text = path.as_posix()
    return any(
        fnmatch(path.name, pattern) or fnmatch(text, pattern) or fnmatch(text, f"*/{pattern}")
        for pattern in patterns
    )


def _in_folder(
    folder: Path, chosen: Reader | None, exclude: tuple[str, ...], notes: list[str]
) -> list[Path]:
    """Return the checkpoint files in a folder, level by level, the first level that has a series.

    A single file above folders with more is what trainers leave at the end (Hugging Face's
    final model above its checkpoints).
    """
    asked = [chosen] if chosen else list(readers().values())
    suffixes = tuple(suffix for reader in asked for suffix in reader.suffixes)
    level, above = [folder], list[Path]()
    for _ in range(DEEPEST + 1):
        files = [f for d in level for f in _files(d, suffixes) if not _is_excluded(f, exclude)]
        files.sort(key=lambda f: natural_key(str(f)))
        beside = [f for f in files if _BESIDE.match(f.name)]
        kept = [f for f in files if f not in beside and (chosen or _worth(f))]
        if beside and kept:
            notes.append(f"left out, not weights: {_some([f.name for f in beside])}")
        if len(kept) > 1 and above:
            notes.append(f"{above[0].name} left out: it lies above the folders of the checkpoints")
        if len(kept) > 1 or (kept and above):
            return kept if len(kept) > 1 else above
        above = above or kept
        level = [sub for d in level for sub in _folders(d)]
    return above


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    found = []
    for entry in _entries(folder):
        if entry.name.lower().endswith(suffixes) and not entry.name.startswith((".", "~")):
            if entry.is_symlink() and not entry.exists():
                raise SourceError(
                    f"{entry}: a link to a file that is not there; restore it, or leave it out "
                    f"with --exclude '{entry.name}'"
                )
            found += [entry] if entry.is_file() else []
    return found


def _folders(folder: Path) -> list[Path]:
    return [d for d in _entries(folder) if d.is_dir() and not d.name.startswith(".")]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read ({error.strerror})") from None


def _worth(path: Path) -> bool:
    """Tell whether a file found in a folder is a checkpoint, or should have been one.

    A JSON file that no reader knows is some configuration; a broken .pt is a broken
    checkpoint, and passing over it in silence would hide a lost step.
    """
    return path.suffix.lower() != ".json" or reader_for(path) is not None


def _reader_of(path: Path) -> Reader:
    reader = reader_for(path)
    if reader is None:
        raise unrecognised(path)
    return reader


def _parts_of_others(described: dict[Path, Description]) -> set[Path]:
    """Return the files that are shards of another checkpoint among those described."""
    parts: set[Path] = set()
    for path, description in described.items():
        parts |= {Path(f).resolve() for f in description.files} - {path.resolve()}
    return parts


def size_and_change(path: Path, description: Description) -> tuple[int, int]:
    """Return the bytes of all files of a checkpoint and the newest modification time in ns.

    Raises:
        FormatError: If a file has gone since it was described.
    """
    try:
        states = [os.stat(file) for file in {str(path), *description.files}]
    except OSError as error:
        raise FormatError(error.filename or path, f"cannot be read ({error.strerror})") from None
    return sum(s.st_size for s in states), max(s.st_mtime_ns for s in states)


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

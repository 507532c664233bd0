"""Find the checkpoint files of a source.

A folder is searched three levels deep for files that a reader recognises by content. Training state
beside the weights (optimizer, random numbers) is left out with a note, and shards are read through
their index only. A folder that is named like a checkpoint but has no weights is reported in a note,
as a step is probably missing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from accweight_core.endings import described_endings
from accweight_core.errors import FormatError, MismatchError, SourceError, reason_of
from accweight_core.naming import natural_key
from accweight_core.readers import (
    Reader,
    marks_of,
    reader_for,
    reader_named,
    readers,
    unrecognised,
)
from accweight_core.remote import as_remote, is_url, path_at, shown
from accweight_core.remote.globbing import (
    absence,
    check_told_apart,
    doubted,
    is_pattern,
    matches,
    of_all,
)
from accweight_core.remote.local import check_not_special, special_kind
from accweight_core.runs.describing import described_at_once
from accweight_core.runs.selection import Selection
from accweight_core.runs.step_order import Found

_BESIDE = re.compile(
    r"^(.*_)?(optim|optimizer|scheduler|scaler|rng_state|training_args|random_states?)"
    r"(_?states?)?([._-]\d+)*\.|^evaluations\.npz$",
    re.IGNORECASE,
)
_UNFINISHED = re.compile(r"^tmp-checkpoint-\d+$|orbax-checkpoint-tmp")
"""Folders of incomplete saves, which trainers rename at the end."""

SHARD = re.compile(r"-\d{5}-of-\d{5}\.\w+$")
MOST_NAMES = 2000
"""Most names that are looked at to say what a folder without checkpoints holds."""

DEEPEST = 3
"""Levels searched below the given folder: `lightning_logs/version_0/checkpoints`."""

UNSURE = (".json", ".metadata", ".index")
"""Suffixes that other files use too: such files must be opened to see if they are checkpoints."""

PREFIXED = ".index"
"""Suffix that users may omit: TensorFlow names checkpoints by the text before it."""

_NUMBERED = re.compile(r"[^.]*\d")
"""Names without a suffix that may be checkpoints, as in flax: `checkpoint_100`."""

ZIP_MAGIC = b"PK\x03\x04"


@dataclass
class Gathered:
    """The checkpoints found, and notes on files that were left out."""

    reader: str
    found: list[Found]
    notes: list[str] = field(default_factory=list)


@doubted()
def gather(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], selection: Selection
) -> Gathered:
    """Find and describe the checkpoints of a source.

    Args:
        source: A file, a folder, a glob, or several of them, as paths or URLs.
        selection: Options such as the reader and the files to leave out.

    Raises:
        SourceError: If the source does not exist or has no checkpoints.
        FormatError: If a file is damaged or of an unknown format.
        MismatchError: If there are files of several formats, unless `selection.mixed` is set.
    """
    named = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    chosen = reader_named(selection.reader) if selection.reader else None
    notes: list[str] = []
    given = [path_at(name, selection.storage_options) for name in named if str(name)]
    named = [shown(name) for name in named]
    check_told_apart(given)
    paths = _candidates(given, chosen, selection.exclude, notes)
    if not paths:
        asked = [chosen] if chosen else list(readers().values())
        raise SourceError(
            f"{', '.join(map(str, named)) or 'nothing named'}: no checkpoints found; "
            f"files looked for: {' '.join(sorted({s for r in asked for s in r.suffixes if s}))}"
            + _what_there_is(given)
        )
    found_by = of_all(lambda path, _: chosen or reader_for(path), [(path, None) for path in paths])
    known = [(path, reader) for path, reader in zip(paths, found_by, strict=True) if reader]
    strange = [path for path, reader in zip(paths, found_by, strict=True) if not reader]
    if strange or len({r.name for _, r in known}) > 1:
        companions = _companions_of(known)
        strange = [path for path in strange if _place_of(path) not in companions]
        known = [pair for pair in known if _place_of(pair[0]) not in companions]
    if strange:
        raise unrecognised(strange[0])
    pairs = known
    used = {r.name for _, r in pairs}
    if len(used) > 1 and not selection.mixed:
        raise _of_several_formats(named, pairs)
    described = of_all(lambda path, reader: described_at_once(reader, path), pairs)
    found = [Found(path, *one) for (path, _), one in zip(pairs, described, strict=True)]
    parts = _parts_of_others(found)
    found = [item for item in found if _place_of(item.path) not in parts]
    for item in found:
        if SHARD.search(item.path.name) and len(item.description.files) < 2:
            raise FormatError(
                item.path,
                "a part of a checkpoint in several files; name its index, "
                f"{_index_of(item.path)}, or the first part where there is none",
            )
    return Gathered(", ".join(sorted(used)), found, notes)


def _what_there_is(given: Sequence[Path]) -> str:
    """Return what lies in folders without checkpoints, by the endings of the names."""
    names: list[str] = []
    level = [path for path in given if _exists(path) and path.is_dir()]
    for _ in range(DEEPEST + 1):
        for folder in level:
            names += [
                e.name for e in _entries(folder) if not e.name.startswith(".") and e.is_file()
            ]
            if len(names) > MOST_NAMES:
                return f"; found: {described_endings(names)}"
        level = [inner for folder in level for inner in _folders(folder)]
    return f"; found: {described_endings(names)}" if names else ""


def _of_several_formats(
    named: Sequence[object], pairs: Sequence[tuple[Path, Reader]]
) -> MismatchError:
    by_reader: dict[str, list[str]] = {}
    for path, reader in pairs:
        by_reader.setdefault(reader.name, []).append(path.name)
    listed = "; ".join(f"{name}: {_some(files)}" for name, files in sorted(by_reader.items()))
    return MismatchError(
        f"{', '.join(map(str, named))}: files of several formats ({listed}); "
        "choose one with --reader, or make one run of them with --map FILE "
        "(accweight inspect SOURCE --write-map FILE proposes one)"
    )


def _candidates(
    named: list[Path], chosen: Reader | None, exclude: tuple[str, ...], notes: list[str]
) -> list[Path]:
    """Expand globs and folders; keep the order of files given one by one."""
    paths: list[Path] = []
    for path in named:
        if _exists(path):
            paths += _at(path, chosen, exclude, notes)
        elif _exists(index := path.with_name(path.name + PREFIXED)):
            paths += _at(index, chosen, exclude, notes)
        elif is_pattern(path):
            for match in sorted(matches(path), key=lambda match: natural_key(str(match))):
                paths += _at(match, chosen, exclude, notes)
        else:
            raise SourceError(f"{path}: {absence(path)}")
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
    check_not_special(path)
    return [] if _is_excluded(path, exclude) else [path]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a name that is not valid on this system
        if as_remote(path) is not None and not is_pattern(path):
            raise SourceError(f"{path}: {reason_of(error)}") from None
        return False
    except ValueError:  # a name with a zero byte
        return False


def _is_excluded(path: Path, patterns: tuple[str, ...]) -> bool:
    """Tell whether a pattern matches the file's name, or the end of its path."""
    text = path.as_posix()
    return any(
        fnmatch(path.name, pattern) or fnmatch(text, pattern) or fnmatch(text, f"*/{pattern}")
        for pattern in patterns
    )


def _in_folder(
    folder: Path, chosen: Reader | None, exclude: tuple[str, ...], notes: list[str]
) -> list[Path]:
    """Return the checkpoint files of the first level of a folder that has several.

    A single file above such a level is left out, as trainers write the final model there (Hugging
    Face, above its checkpoints).
    """
    asked = [chosen] if chosen else list(readers().values())
    suffixes = tuple(name for reader in asked for name in (*reader.suffixes, *marks_of(reader)))
    level, above = [folder], list[Path]()
    for _ in range(DEEPEST + 1):
        files = [f for d in level for f in _files(d, suffixes, notes)]
        files = [f for f in files if not _is_excluded(f, exclude)]
        files.sort(key=lambda f: natural_key(str(f)))
        beside = [f for f in files if _is_training_state(f)]
        kept = _with_broken(
            _without_shards([f for f in files if f not in beside and _is_candidate(f, chosen)]),
            files,
        )
        if beside and kept:
            notes.append(f"left out, not weights: {_some([_shown(f) for f in beside])}")
        if kept and above:
            reader = chosen or reader_for(above[0])
            companions = _companions_of([(above[0], reader)] if reader else [])
            kept = [file for file in kept if _place_of(file) not in companions]
        if len(kept) > 1 or (kept and above):
            if not above:
                return _with_note_on_lost(kept, folder, suffixes, notes)
            if len(kept) == 1 and not re.search(r"\d", kept[0].parent.name):
                return above
            notes.append(
                f"{_shown(above[0])} left out: it lies above the folders of the checkpoints"
            )
            return _with_note_on_lost(kept, folder, suffixes, notes)
        above = above or kept
        whole = {file.parent for file in files if is_mark(file)}
        level = [sub for d in level if d not in whole for sub in _folders(d)]
        level = _finished(level, notes)
    return _with_note_on_lost(above, folder, suffixes, notes)


def _with_broken(kept: list[Path], files: list[Path]) -> list[Path]:
    """Return `kept` and the unrecognised files with names like theirs, but for the number.

    This is for names without a suffix. Such a name alone means nothing, but beside
    `checkpoint_100` an empty `checkpoint_200` is a damaged step that must be reported.
    """
    families = {(f.parent, _family(f)) for f in kept if _NUMBERED.fullmatch(f.name)}
    return [
        f
        for f in files
        if f in kept or (_NUMBERED.fullmatch(f.name) and (f.parent, _family(f)) in families)
    ]


def _is_training_state(file: Path) -> bool:
    """Tell whether a file, or the folder of a mark file, is named like training state."""
    return _BESIDE.match(_shown(file) + "." * is_mark(file)) is not None


def is_mark(file: Path) -> bool:
    """Tell whether a file makes its folder a checkpoint, as a reader has its whole name listed."""
    return any(file.name in (*r.suffixes, *marks_of(r)) for r in readers().values())


def _shown(file: Path) -> str:
    """Return the name of a file, or of its folder if it makes that a checkpoint."""
    return file.parent.name if is_mark(file) else file.name


def _without_shards(files: list[Path]) -> list[Path]:
    """Leave out shards whose index is in the same folder, as the index is read instead."""
    found = set(files)
    return [f for f in files if not (SHARD.search(f.name) and f.with_name(_index_of(f)) in found)]


def _index_of(shard: Path) -> str:
    return SHARD.sub(shard.suffix + ".index.json", shard.name)


def _finished(folders: list[Path], notes: list[str]) -> list[Path]:
    unfinished = [d.name for d in folders if _UNFINISHED.search(d.name)]
    if unfinished:
        notes.append(f"{_some(unfinished)} left out: the save was not finished")
    return [d for d in folders if d.name not in unfinished]


def _with_note_on_lost(
    kept: list[Path], folder: Path, suffixes: tuple[str, ...], notes: list[str]
) -> list[Path]:
    """Return `kept`; add a note on folders without weights that are named like theirs.

    Names are compared without their numbers.
    """
    homes = {home for file in kept for home in file.parents if folder in home.parents}
    families = {(home.parent, _family(home)) for home in homes if re.search(r"\d", home.name)}
    lost = [
        other.name
        for parent, family in families
        for other in _folders(parent)
        if other not in homes and _family(other) == family and not _holds_weights(other, suffixes)
    ]
    lost = [name for name in lost if not _UNFINISHED.search(name)]
    if lost:
        listed = _some(sorted(lost, key=natural_key))
        notes.append(f"{listed} left out: no weights there; was a save or a removal interrupted?")
    return kept


def _family(folder: Path) -> str:
    return re.sub(r"\d+", "#", folder.name)


def _holds_weights(folder: Path, suffixes: tuple[str, ...]) -> bool:
    files = [f for d in (folder, *_folders(folder)) for f in _files(d, suffixes)]
    return any(not _is_training_state(f) and _is_candidate(f, None) for f in files)


def _files(folder: Path, suffixes: tuple[str, ...], notes: list[str] | None = None) -> list[Path]:
    """Return the candidate files of a folder; only the mark if one makes it a checkpoint.

    A FIFO or a device with the name of a checkpoint is left out with a note.
    """
    found = []
    endings = tuple(filter(None, suffixes))
    for entry in _entries(folder):
        is_whole = entry.name in suffixes
        if entry.name.startswith((".", "~")) and not is_whole:
            continue
        is_named = is_whole or entry.name.lower().endswith(endings)
        if is_named or ("" in suffixes and not entry.suffix):
            if is_named and entry.is_symlink() and not entry.exists():
                raise SourceError(
                    f"{entry}: a link to a file that is not there; restore it, or leave it out "
                    f"with --exclude '{entry.name}'"
                )
            if not entry.is_file():
                kind = special_kind(entry) if is_named and notes is not None else ""
                if notes is not None and kind:
                    notes.append(f"{entry.name} left out: it is {kind}, not a file")
                continue
            if is_whole and reader_for(entry):
                return [entry]
            found += [] if is_whole else [entry]
    return found


def _folders(folder: Path) -> list[Path]:
    return [d for d in _entries(folder) if d.is_dir() and not d.name.startswith(".")]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read ({reason_of(error)})") from None


def _is_candidate(path: Path, chosen: Reader | None) -> bool:
    """Tell whether a file found in a folder is a checkpoint, or a damaged one.

    A JSON file, zip or file without suffix that no reader recognises is something else, such as a
    configuration or a licence. A .pt file is a checkpoint even if no reader recognises it: leaving
    it out silently would hide a damaged step.
    """
    name = path.name.lower()
    is_unsure = not path.suffix or name.endswith(UNSURE)
    if is_unsure or (name.endswith(".zip") and _begins_as_zip(path)):
        return chosen.recognises(path) if chosen else reader_for(path) is not None
    return True


def _begins_as_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    except OSError:
        return False


def _companions_of(pairs: Sequence[tuple[Path, Reader]]) -> set[str]:
    """Return the files that checkpoints list as their parts or companions."""
    companions: set[str] = set()
    for path, reader in pairs:
        with suppress(FormatError):  # reported later if this is a checkpoint of the run
            description = reader.describe(path)
            files = {*description.files, *description.beside}
            companions |= {_place_of(file) for file in files} - {_place_of(path)}
    return companions


def _place_of(file: str | Path) -> str:
    """Return the absolute path of a file with links resolved, or its URL."""
    return str(file) if is_url(file) else str(Path(file).resolve())


def _parts_of_others(found: Sequence[Found]) -> set[str]:
    """Return the files that are parts of another of these checkpoints."""
    parts: set[str] = set()
    for item in found:
        parts |= {_place_of(f) for f in item.description.files} - {_place_of(item.path)}
    return parts


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

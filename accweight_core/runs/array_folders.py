"""Tell folders of arrays that are one checkpoint each: `step_1/W1.npy`, `step_1/b1.npy`, `step_2/`.

Some scripts save every parameter as a file. A folder of such files is one checkpoint if its name
has the number of a step and a folder beside it holds files of the same names; or, for the folder
that the user named, if the files do not differ in numbers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from accweight_core.readers import pieces_of, readers
from accweight_core.runs.name_parts import parts_of


def with_array_folders(files: Sequence[Path], root: Path) -> list[Path]:
    """Return the candidates, with folders of arrays in place of their files."""
    endings = tuple(piece for reader in readers().values() for piece in pieces_of(reader))
    arrays = [file for file in files if endings and file.name.lower().endswith(endings)]
    if len(arrays) < 2:
        return list(files)
    held: dict[Path, list[str]] = {}
    for file in arrays:
        for folder in _between(file, root):
            held.setdefault(folder, []).append(_below(file, folder))
    whole = {folder for folder in held if folder != root and _is_checkpoint(folder, held, root)}
    if not whole and set(held) == {root} and _are_parameters(root, held[root]):
        whole = {root}
    found: dict[Path, None] = {}
    taken = set(arrays)
    for file in files:
        home = next((d for d in reversed(_between(file, root)) if d in whole), None)
        found[home if home is not None and file in taken else file] = None
    return list(found)


def _between(file: Path, root: Path) -> list[Path]:
    """Return the folders that contain a file, from its own to the root."""
    folders = []
    for folder in file.parents:
        folders.append(folder)
        if folder == root:
            break
    return folders


def _below(file: Path, folder: Path) -> str:
    return "/".join(file.parts[len(folder.parts) :])


def _is_checkpoint(folder: Path, held: dict[Path, list[str]], root: Path) -> bool:
    """Tell whether a folder of a step holds several arrays named as in a folder beside it."""
    parts = parts_of(folder.name)
    if len(held[folder]) < 2 or not parts.counts or parts.counts[-1].tells_runs_apart:
        return False
    names = set(held[folder])
    return any(
        other != folder
        and other.parent == folder.parent
        and parts_of(other.name).pattern == parts.pattern
        and 2 * len(names & set(others)) >= len(names)
        for other, others in held.items()
    )


def _are_parameters(folder: Path, names: Sequence[str]) -> bool:
    """Tell whether the arrays of one folder are the parameters of one checkpoint.

    Files that differ in a number alone are the steps of one array.
    """
    counts = parts_of(folder.name).counts
    is_step = any(number.step_word for number in counts)
    patterns = [parts_of(name).pattern for name in names]
    return is_step and len(set(patterns)) > 1

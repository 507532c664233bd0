"""Describe Orbax checkpoints: folders with ``_CHECKPOINT_METADATA`` or ``_METADATA``.

A checkpoint is one tree of arrays, or several items in folders of their own (`params/`,
`opt_state/`). Arrays are in Zarr format, in a folder each or together in an OCDBT store. All of it
is parsed here, without JAX, Orbax or TensorStore, and no file outside the checkpoint's folder is
read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from accweight_adapters.jax.hints import with_flax_hints
from accweight_adapters.jax.marks import CHECKPOINT_MARK, MANIFEST, MARKS, TREE_MARK
from accweight_adapters.jax.ocdbt import path_below
from accweight_adapters.jax.orbax_tree import MAX_MARK_BYTES, Item, item_at
from accweight_adapters.jax.tree import Chosen, Keys, choose, is_training_state
from accweight_adapters.jax.zarr_arrays import V2_METADATA, ArrayPlan
from accweight_adapters.jax.zarr_values import tensor_in
from accweight_adapters.measures import measures_in
from accweight_adapters.shard_index import parsed
from accweight_adapters.untrusted import (
    MAX_SIZE,
    STEP_KEYS,
    ClaimError,
    check_not_empty,
    claims_of,
    quoted,
    step_among,
)
from accweight_core.schema import Description, HiddenValues, Hints, Role, StoredTensor

FORMAT: Final = "Orbax checkpoint"
TELLING: Final = {
    CHECKPOINT_MARK: (b'"item_handlers"', b'"init_timestamp_nsecs"'),
    TREE_MARK: (b'"tree_metadata"',),
}
"""Keys that identify Orbax files, whatever their names."""

MANIFEST_START: Final = b"\x0c\xdb\x3a\x2a"
UNFINISHED: Final = "orbax-checkpoint-tmp"
JSON_FILES: Final = ("metadata", "metrics")
"""Names of the files in items that contain plain JSON."""

LARGEST_JSON: Final = 1 << 20
MOST_FIGURES: Final = 64


def recognised(path: Path) -> bool:
    """Tell whether `path` is one of the files that mark a checkpoint, or a folder with one."""
    try:
        path = mark_of(path)
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError:
        return False
    if head.startswith(MANIFEST_START):
        return True
    return head.lstrip().startswith(b"{") and any(
        all(key in head for key in keys) for keys in TELLING.values()
    )


def described(path: Path) -> Description:
    """Describe the weights of the checkpoint, in network order as far as names reveal it.

    Raises:
        FormatError: If something in it is damaged, inconsistent or missing.
    """
    path = mark_of(path)
    with claims_of(path, FORMAT):
        return _described(path)


def mark_of(path: Path) -> Path:
    """Return the file that marks a checkpoint; `path` may be its folder."""
    if not path.is_dir():
        return path
    return next((path / mark for mark in MARKS if (path / mark).is_file()), path / TREE_MARK)


def _described(path: Path) -> Description:
    check_not_empty(path.stat().st_size)
    folder = path.resolve().parent if path.is_symlink() else path.parent
    _check_mark(path)
    notes: list[str] = []
    items = {name: item_at(each) for name, each in _folders(folder, notes).items()}
    leaves = {
        (*((name,) if name else ()), *keys): (item, stored)
        for name, item in items.items()
        for keys, stored in item.leaves.items()
    }
    if not leaves:
        raise ClaimError("holds no arrays: neither its folder nor one in it has a tree of them")
    choice = choose({keys: bool(_plan(*leaf).shape) for keys, leaf in leaves.items()})
    tensors = [_stored(path, leaf, *leaves[leaf.keys]) for leaf in choice.model]
    figures = _figures(path, {name: leaves[keys] for name, keys in choice.beside.items()})
    told = _told(folder)
    step, key = step_among(figures) or (None, "")
    return Description(
        format=_format(items),
        tensors=with_flax_hints(tensors),
        step=step,
        step_key=key,
        files=(str(path), *sorted(_files(path, items.values(), choice.model, leaves))),
        notes=(*notes, *choice.notes),
        measures=measures_in({**told, **{k: v for k, v in figures.items() if k != key}}),
    )


def _check_mark(path: Path) -> None:
    """Check that the given file is what its name says, where possible."""
    if path.stat().st_size > MAX_MARK_BYTES:
        raise ClaimError(f"it has {path.stat().st_size} bytes, too many for a file of that kind")
    text = path.read_bytes()
    if text.startswith(MANIFEST_START):
        return
    content = parsed(text)
    if not {"item_handlers", "tree_metadata"} & content.keys():
        raise ClaimError("not the metadata of a checkpoint of Orbax")


def _folders(folder: Path, notes: list[str]) -> dict[str, Path]:
    """Return the folders with a tree of arrays, by item; '' for a checkpoint of one tree."""
    if _holds_tree(folder):
        return {"": folder}
    found, unfinished = {}, []
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink() or not entry.is_dir() or entry.name.startswith("."):
            continue
        if UNFINISHED in entry.name:
            unfinished.append(entry.name)
        elif _holds_tree(entry):
            found[entry.name] = entry
    if unfinished:
        notes.append(f"left out {quoted(unfinished[0])}: the save was not finished")
    models = {name: each for name, each in found.items() if not is_training_state(name)}
    for name in sorted(found.keys() - models.keys() if models else ()):
        notes.append(f"left out {quoted(name)}: training state, not weights")
    return models or found


def _holds_tree(folder: Path) -> bool:
    return any((folder / mark).is_file() for mark in (TREE_MARK, MANIFEST)) or any(
        (entry / V2_METADATA).is_file() for entry in folder.iterdir() if entry.is_dir()
    )


def _files(
    path: Path,
    items: Iterable[Item],
    model: Iterable[Chosen],
    leaves: Mapping[Keys, tuple[Item, str]],
) -> set[str]:
    """Return the files of the weights and their metadata, except the given one."""
    marks = [item.folder / mark for item in items for mark in (TREE_MARK, MANIFEST)]
    found = {str(mark) for mark in marks if mark.is_file()}
    for item, stored in (leaves[leaf.keys] for leaf in model):
        found |= {str(piece.path) for piece in item.chunks.get(stored, {}).values()}
    return found - {str(path)}


# ---------------------------------------------------------------- leaves as tensors


def _plan(item: Item, stored: str) -> ArrayPlan:
    return item.plans[stored]


def _stored(path: Path, leaf: Chosen, item: Item, stored: str) -> StoredTensor:
    chunks = item.chunks.get(stored, {})
    tensor = tensor_in(path, FORMAT, leaf.name, item.plans[stored], chunks)
    return replace(tensor, hints=Hints(role=Role.BUFFER)) if leaf.is_state else tensor


def _figures(path: Path, beside: Mapping[str, tuple[Item, str]]) -> dict[str, Any]:
    """Return the numbers next to the model: a step, a loss."""
    found: dict[str, Any] = {}
    wanted = [name for name in beside if name in STEP_KEYS or measures_in({name: 0.5})]
    for name in wanted[:MOST_FIGURES]:
        item, stored = beside[name]
        tensor = tensor_in(path, FORMAT, name, item.plans[stored], item.chunks.get(stored, {}))
        if tensor.refusal or tensor.shape:
            continue
        found[name] = _number(tensor)
    return found


def _number(tensor: StoredTensor) -> int | float | None:
    if isinstance(tensor.values, HiddenValues):
        value = tensor.values.load().item()
    else:
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and abs(value) < MAX_SIZE else None


def _told(folder: Path) -> dict[str, Any]:
    """Return the contents of plain JSON items: metrics of the manager, settings of the user."""
    told: dict[str, Any] = {}
    for entry in sorted(folder.iterdir()):
        for name in JSON_FILES:
            file = entry / name
            if entry.is_dir() and file.is_file() and file.stat().st_size <= LARGEST_JSON:
                try:
                    content = json.loads(path_below(folder, f"{entry.name}/{name}").read_bytes())
                except (ValueError, RecursionError):  # the weights are still readable
                    continue
                told |= content if isinstance(content, dict) else {}
    return told


def _format(items: Mapping[str, Item]) -> str:
    in_stores = any((item.folder / MANIFEST).is_file() for item in items.values())
    names = [name for name in items if re.fullmatch(r"[\w-]+", name) and name != "default"]
    where = "OCDBT" if in_stores else "Zarr"
    return f"{FORMAT}, {where}" + (f", {len(names)} items" if len(names) > 1 else "")

"""One tree of arrays as Orbax saves it: the keys of each leaf, and its stored data.

`_METADATA` lists the leaves. Their arrays are in an OCDBT store, or in a folder each; older
versions of Orbax wrote no list, so the names of the arrays serve as keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from accweight_adapters.jax.marks import MANIFEST, TREE_MARK
from accweight_adapters.jax.ocdbt import Piece, path_below, stored_values
from accweight_adapters.jax.tree import Keys
from accweight_adapters.jax.zarr_arrays import V2_METADATA, V3_METADATA, ArrayPlan, plan_of
from accweight_adapters.shard_index import parsed
from accweight_adapters.untrusted import ClaimError, quoted

MAX_MARK_BYTES: Final = 100_000_000
MOST_FILES: Final = 1 << 20
MOST_LEVELS: Final = 24
IS_NOTHING: Final = frozenset({"None", "Dict", "List", "Tuple", "string"})
"""Types of leaves without an array."""


@dataclass(slots=True)
class Item:
    """One tree of arrays.

    Attributes:
        folder: Its folder.
        leaves: Storage name of each leaf, by its keys.
        plans: Storage of each array, by storage name.
        chunks: Stored chunks of each array, by chunk key.
    """

    folder: Path
    leaves: dict[Keys, str] = field(default_factory=dict)
    plans: dict[str, ArrayPlan] = field(default_factory=dict)
    chunks: dict[str, dict[str, Piece]] = field(default_factory=dict)


def item_at(folder: Path) -> Item:
    """Return the tree at `folder`.

    Raises:
        ClaimError: If its metadata or its store is damaged, or an array is missing.
    """
    item = Item(folder)
    in_store = (folder / MANIFEST).is_file()
    pieces = stored_values(folder) if in_store else dict(_files_below(folder))
    _group(item, pieces)
    mark = folder / TREE_MARK
    if mark.is_file():
        path_below(folder, TREE_MARK)
        item.leaves = _leaves(mark, item)
    else:
        item.leaves = {tuple(name.split(".")): name for name in item.plans}
    return item


def _group(item: Item, pieces: Mapping[str, Piece]) -> None:
    """Group stored data by array: metadata is parsed, chunks are kept by key."""
    for key, piece in pieces.items():
        name, _, last = key.rpartition("/")
        if last in (V2_METADATA, V3_METADATA) and name:
            try:
                item.plans[name] = plan_of(piece.read())
            except ClaimError as error:
                raise ClaimError(f"array {quoted(name)}: {error}") from error
    for key, piece in pieces.items():
        parts = key.split("/")
        for depth in range(1, len(parts)):
            name = "/".join(parts[:depth])
            if name in item.plans:
                item.chunks.setdefault(name, {})["/".join(parts[depth:])] = piece
                break


def _files_below(folder: Path) -> Iterator[tuple[str, Piece]]:
    """Yield the files of arrays with folders of their own, by path."""
    count, waiting = 0, [(entry.name, 1) for entry in folder.iterdir() if entry.is_dir()]
    while waiting:
        name, depth = waiting.pop()
        for entry in (folder / name).iterdir():
            count += 1
            if count > MOST_FILES or depth > MOST_LEVELS:
                raise ClaimError("holds more files, or deeper, than any checkpoint does")
            path = f"{name}/{entry.name}"
            if entry.is_dir() and not entry.is_symlink():
                waiting.append((path, depth + 1))
            else:
                yield path, Piece(path_below(folder, path), 0, entry.stat().st_size)


def _leaves(mark: Path, item: Item) -> dict[Keys, str]:
    """Return the leaves of a tree, in the order of its metadata."""
    if mark.stat().st_size > MAX_MARK_BYTES:
        raise ClaimError(f"its {TREE_MARK} has {mark.stat().st_size} bytes; it is damaged")
    tree = parsed(mark.read_bytes()).get("tree_metadata")
    if not isinstance(tree, dict):
        raise ClaimError(f"its {TREE_MARK} does not describe a tree; it is damaged")
    found: dict[Keys, str] = {}
    for entry in tree.values():
        keys, value = _leaf(entry)
        if not keys or value in IS_NOTHING:
            continue
        name = ".".join(keys)
        if name not in item.plans:
            raise ClaimError(f"its array {quoted(name)} is listed, but stored nowhere")
        found[keys] = name
    return found


def _leaf(entry: Any) -> tuple[Keys, str]:
    """Return the keys of a leaf and its type; the recorded shape may be that of one shard."""
    steps = entry.get("key_metadata") if isinstance(entry, dict) else None
    value = entry.get("value_metadata") if isinstance(entry, dict) else None
    if not isinstance(steps, list) or not isinstance(value, dict):
        raise ClaimError(f"its {TREE_MARK} lists a leaf without its keys; it is damaged")
    keys = [step.get("key") if isinstance(step, dict) else None for step in steps]
    if not all(isinstance(key, (str, int)) for key in keys):
        raise ClaimError(f"its {TREE_MARK} lists a leaf by keys that are not names")
    return tuple(map(str, keys)), str(value.get("value_type"))[:32]

"""Describe TensorFlow checkpoints without TensorFlow: `ckpt-12.index` and its shards.

Values are byte ranges of the shards. The text file `checkpoint` in the folder is ignored: it lists
what a checkpoint manager would keep.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from accweight_adapters.bytes.stretch import Stretch
from accweight_adapters.bytes.varint import varint
from accweight_adapters.measures import measures_in
from accweight_adapters.model_keys import left_out_numbers
from accweight_adapters.shard_index import shard_path
from accweight_adapters.tensorflow.bundle import (
    STRING,
    Bundle,
    Entry,
    bundle_in,
    covered,
    slice_key,
)
from accweight_adapters.tensorflow.hints import with_tensorflow_hints
from accweight_adapters.tensorflow.names import (
    ATTRIBUTE,
    COUNTER,
    Named,
    named_by_graph,
    named_by_keys,
    nodes_in,
)
from accweight_adapters.tensorflow.sstable import is_table
from accweight_adapters.untrusted import ClaimError, claims_of, quoted, refused, step_among
from accweight_core.dtypes import DTYPES
from accweight_core.schema import Description, Extent, HiddenValues, StoredTensor

FORMAT: Final = "TensorFlow checkpoint"
SUFFIX: Final = ".index"
GRAPH_KEY: Final = "_CHECKPOINTABLE_OBJECT_GRAPH"
LARGEST_GRAPH: Final = 1 << 26
CLOCKS: Final = ("iterations", "iteration", "iter")
"""Counters of optimizers, for checkpoints without any other step."""


def recognised(path: Path) -> bool:
    """Tell whether `path` is a table of keys, or a damaged one with its shards next to it."""
    try:
        with path.open("rb") as file:
            is_whole = is_table(file)
        return is_whole or (path.name.endswith(SUFFIX) and _has_shards(path))
    except OSError:
        return False


def described(path: Path) -> Description:
    """Describe the variables of the model, in network order if the file keeps it.

    Raises:
        FormatError: If the index is damaged, or a shard is missing or too short.
    """
    with claims_of(path, FORMAT):
        return _described(path)


def _has_shards(index: Path) -> bool:
    """Tell whether files of values lie beside an index; this reads the names in its folder."""
    return any(index.parent.glob(f"{_escaped(index)}.data-*-of-*"))


def _prefix(path: Path) -> str:
    return path.name.removesuffix(SUFFIX)


def _escaped(path: Path) -> str:
    return re.sub(r"([*?\[])", r"[\1]", _prefix(path))


def _described(path: Path) -> Description:
    with path.open("rb") as file:
        bundle = bundle_in(file)
    shards = _Shards(path, bundle)
    keys = {key: bool(entry.shape) for key, entry in bundle.entries.items() if key != GRAPH_KEY}
    graph = bundle.entries.get(GRAPH_KEY)
    numbers = {key: has for key, has in keys.items() if bundle.entries[key].type_code != STRING}
    if graph is not None:
        named = named_by_graph(nodes_in(shards.text(graph)), numbers)
    else:
        named = named_by_keys(numbers)
    if not named.model:
        beside = f"; {named.notes[0]}" if named.notes else ""
        raise ClaimError(f"holds no variables of a model{beside}")
    tensors = [_stored(shards, name, key) for key, name in named.model.items()]
    step, key, measures = _figures(shards, named)
    return Description(
        format=f"{FORMAT}, {'objects' if graph is not None else 'names'}",
        tensors=with_tensorflow_hints(tensors),
        step=step,
        step_key=key,
        files=(str(path), *shards.used()),
        notes=(*named.notes, *_strays(bundle, named, (key, *measures))),
        measures=measures,
    )


class _Shards:
    """The shards of a checkpoint."""

    def __init__(self, path: Path, bundle: Bundle) -> None:
        self.path = path
        self.bundle = bundle
        self._found: dict[int, tuple[Path, int]] = {}

    def used(self) -> list[str]:
        """Return the files that contain the entries found so far."""
        return [str(self._found[number][0]) for number in sorted(self._found)]

    def place(self, entry: Entry, what: str) -> Path:
        """Return the shard of an entry, after checking its bounds.

        Raises:
            ClaimError: If the shard is missing, outside the folder, or too short.
        """
        if entry.shard >= self.bundle.shards:
            raise ClaimError(f"{what} should be in shard {entry.shard} of {self.bundle.shards}")
        if entry.shard not in self._found:
            name = f"{_prefix(self.path)}.data-{entry.shard:05}-of-{self.bundle.shards:05}"
            shard = shard_path(self.path, name, "file of values")
            self._found[entry.shard] = shard, shard.stat().st_size
        shard, size_bytes = self._found[entry.shard]
        if entry.offset + entry.size_bytes > size_bytes:
            raise ClaimError(
                f"{what} reaches to byte {entry.offset + entry.size_bytes} of "
                f"{quoted(shard.name)}, which has {size_bytes}; it is cut short or damaged"
            )
        return shard

    def content(self, entry: Entry, what: str) -> bytes:
        """Return the bytes of an entry."""
        with self.place(entry, what).open("rb") as file:
            return Stretch(entry.offset, entry.size_bytes).read(file, what)

    def text(self, entry: Entry) -> bytes:
        """Return a string entry, which starts with its length and the checksum of that."""
        if entry.size_bytes > LARGEST_GRAPH or entry.type_code != STRING or entry.shape:
            raise ClaimError("its graph of objects is damaged")
        content = self.content(entry, "its graph of objects")
        size, place = varint(content, 0, len(content))
        if place + 4 + size != len(content):
            raise ClaimError("its graph of objects is damaged")
        return content[place + 4 :]


# ---------------------------------------------------------------- values


def _stored(shards: _Shards, name: str, key: str) -> StoredTensor:
    entry = shards.bundle.entries[key]
    what = f"tensor {quoted(name)}"
    if not entry.dtype:
        reason = f"its element type, number {entry.type_code} of TensorFlow, is not supported"
        return refused(name, f"tensorflow type {entry.type_code}", entry.shape, reason)
    big_endian = shards.bundle.big_endian and DTYPES[entry.dtype].size_bytes > 1
    if entry.slices:
        load = partial(_assembled, shards, name, entry, _slices(shards, key, entry))
        return StoredTensor(name, HiddenValues(load, entry.dtype, entry.shape))
    _check_size(entry, what)
    path = shards.place(entry, what)
    extent = Extent(str(path), entry.offset, entry.dtype, entry.shape, big_endian=big_endian)
    return StoredTensor(name, extent)


def _check_size(entry: Entry, what: str) -> None:
    needed = math.prod(entry.shape) * DTYPES[entry.dtype].size_bytes
    if needed != entry.size_bytes:
        raise ClaimError(
            f"{what} of shape {entry.shape} and type {entry.dtype} needs {needed} bytes, "
            f"it has {entry.size_bytes}"
        )


Slices = Sequence[tuple[Entry, Sequence[tuple[int, int]]]]
"""The entries of slices, with first index and length along each axis."""


def _slices(shards: _Shards, key: str, entry: Entry) -> Slices:
    """Return the slices of a tensor, after checking that all exist within their shards."""
    found = []
    for bounds, place in zip(entry.slices, covered(entry), strict=True):
        piece = shards.bundle.pieces.get(slice_key(key, bounds))
        if piece is None or piece.type_code != entry.type_code:
            raise ClaimError(f"a slice of tensor {quoted(key)} is not where it should be")
        if piece.shape != tuple(size for _, size in place) or piece.slices:
            raise ClaimError(f"a slice of tensor {quoted(key)} has shape {piece.shape}")
        _check_size(piece, f"a slice of tensor {quoted(key)}")
        shards.place(piece, f"a slice of tensor {quoted(key)}")
        found.append((piece, place))
    return found


def _assembled(shards: _Shards, name: str, entry: Entry, slices: Slices) -> npt.NDArray[Any]:
    """Return a tensor assembled from its slices: its elements, or their codes.

    Raises:
        FormatError: If two of them overlap, or a shard has become shorter.
    """
    size = DTYPES[entry.dtype].size_bytes
    plain = np.dtype(f"{'>' if shards.bundle.big_endian else '<'}u{size}") if size <= 8 else None
    whole = np.empty(entry.shape, plain.newbyteorder("=") if plain else np.complex128)
    written = np.zeros(entry.shape, np.bool_)
    with claims_of(shards.path, FORMAT):
        for piece, place in slices:
            block = tuple(slice(first, first + length) for first, length in place)
            if written[block].any():
                raise ClaimError(f"two slices of tensor {quoted(name)} overlap")
            written[block] = True
            content = shards.content(piece, f"a slice of tensor {quoted(name)}")
            whole[block] = np.frombuffer(content, plain or np.complex128).reshape(piece.shape)
    return whole.view(DTYPES[entry.dtype].code)


# ---------------------------------------------------------------- figures


def _figures(shards: _Shards, named: Named) -> tuple[int | None, str, dict[str, float]]:
    """Return the step, its key, and the measures next to the model."""
    beside = {name: _number(shards, key) for key, name in named.beside.items()}
    told = {name: _number(shards, key) for name, key in named.optimizer.items()}
    step, key = step_among(beside) or (None, "")
    if step is None:
        counts = {COUNTER: beside.get(COUNTER)} | {name: told.get(name) for name in CLOCKS}
        found = [(name, n) for name, n in counts.items() if isinstance(n, int) and n >= 0]
        key, step = found[0] if found else ("", None)
    paces = {"learning_rate": told.get("learning_rate")}
    return step, key, measures_in({**{k: v for k, v in beside.items() if k != key}, **paces})


def _strays(bundle: Bundle, named: Named, taken: Sequence[str]) -> list[str]:
    """Return a note on single floats at the top level that are neither a step nor a measure."""
    floats = [
        name
        for key, name in named.beside.items()
        if name not in (*taken, COUNTER)
        and (known := DTYPES.get(bundle.entries[key].dtype)) is not None
        and known.family == "float"
    ]
    return [left_out_numbers(floats)] if floats else []


def _number(shards: _Shards, key: str) -> Any:
    """Return the value of a scalar variable, or None if it is not a number."""
    entry = shards.bundle.entries[key]
    known = DTYPES.get(entry.dtype)
    if known is None or entry.shape or known.size_bytes != entry.size_bytes or entry.slices:
        return None
    if known.family not in ("integer", "float") or not hasattr(np, entry.dtype):
        return None
    order = ">" if shards.bundle.big_endian else "<"
    content = shards.content(entry, f"the number {quoted(key.split(ATTRIBUTE)[0])}")
    return np.frombuffer(content, order + np.dtype(entry.dtype).str[1:]).item()

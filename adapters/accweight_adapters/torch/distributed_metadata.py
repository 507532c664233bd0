"""Parse the ``.metadata`` of torch.distributed.checkpoint: the files and chunks of each tensor.

It is a pickle of a few plain data classes, interpreted like that of any other checkpoint: objects
keep the names of their classes and their fields, and torch is not imported, so files of all
versions are read alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, Final

from accweight_adapters.bytes.stretch import Stretch
from accweight_adapters.pickles.interpreter import Interpreter
from accweight_adapters.pickles.stream import PickleStream
from accweight_adapters.pickles.values import Entity, Global
from accweight_adapters.untrusted import (
    ClaimError,
    checked_shape,
    checked_size,
    checked_sizes,
    quoted,
)

MAX_PATH: Final = 16
"""Most keys on the path to a value; real state dicts have four."""

CLASS = re.compile(
    r"torch\.distributed\.(_shard\.)?(checkpoint\.(metadata|filesystem|storage)"
    r"|sharded_tensor\.metadata)\."
    r"(?P<kind>Metadata|MetadataIndex|TensorStorageMetadata|BytesStorageMetadata"
    r"|ChunkStorageMetadata|TensorProperties|StorageMeta|_StorageInfo|_?MEM_FORMAT_ENCODING)"
)
"""Plain data classes, in the modules of torch 1.13 to 2.13."""

HEAD = re.compile(rb"torch\.distributed\.(_shard\.)?checkpoint\.metadata")
HEAD_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class Part:
    """One stored byte range: a block of a tensor, or a pickled value.

    Attributes:
        file: Name of the file, in the folder of the metadata.
        stretch: Byte range in the file.
        start: First index of the block along each axis.
        shape: Shape of the block.
        packing: Names of its transforms (compression), if any.
    """

    file: str
    stretch: Stretch
    start: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    packing: str = ""


@dataclass(frozen=True, slots=True)
class Sharded:
    """One tensor, as blocks that cover it."""

    dtype: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The contents of a distributed checkpoint, by full name.

    Attributes:
        tensors: The tensors.
        values: Pickled values: counters, learning rates.
        paths: Keys of each entry in the saved state dict.
    """

    tensors: Mapping[str, Sharded]
    values: Mapping[str, Part]
    paths: Mapping[str, tuple[str | int, ...]]


def is_metadata(file: IO[bytes]) -> bool:
    """Tell whether `file` starts like the metadata of a distributed checkpoint."""
    head = file.read(HEAD_BYTES)
    return head.startswith(b"\x80") and HEAD.search(head) is not None


def catalogue_in(file: IO[bytes]) -> Catalogue:
    """Return the parsed metadata; raise `ClaimError` if they are inconsistent."""
    fields = _fields(Interpreter(PickleStream(file)).load(), "Metadata")
    entries = fields.get("state_dict_metadata")
    if not isinstance(entries, dict):
        raise ClaimError("its metadata does not list what was saved")
    parts = _stored_parts(fields.get("storage_data"))
    tensors, values = {}, {}
    for name, entry in entries.items():
        if not isinstance(name, str) or not _kind(entry):
            raise ClaimError(
                f"its metadata lists {quoted(name)}, which is neither a tensor nor a value"
            )
        if _kind(entry) == "TensorStorageMetadata":
            tensors[name] = _sharded(name, _fields(entry, "TensorStorageMetadata"), parts)
        elif _kind(entry) == "BytesStorageMetadata" and (name, ()) in parts:
            values[name] = parts[name, ()]
    return Catalogue(tensors, values, _paths(fields.get("planner_data"), entries))


def _fields(record: Any, kind: str) -> Mapping[object, object]:
    """Return the fields of a record, after checking its kind."""
    if _kind(record) != kind or not isinstance(record.state, dict):
        raise ClaimError(f"its metadata holds something else where a {kind} should be")
    return record.state


def _kind(record: object) -> str:
    """Return the name of a known data class without its module; '' for anything else."""
    match = CLASS.fullmatch(record.kind) if isinstance(record, Entity) else None
    return match["kind"] if match else ""


def _stored_parts(storage: object) -> dict[tuple[str, tuple[int, ...]], Part]:
    """Return the stored parts, by name and first index along each axis."""
    if not isinstance(storage, dict):
        raise ClaimError("its metadata does not say where values are stored")
    parts = {}
    for key, value in storage.items():
        index, info = _fields(key, "MetadataIndex"), _fields(value, "_StorageInfo")
        name, start, file = index.get("fqn"), index.get("offset"), info.get("relative_path")
        if not isinstance(name, str) or not isinstance(file, str):
            raise ClaimError("its metadata names a stored part by something that is not text")
        start = () if start is None else checked_sizes(start, "an index")
        stretch = Stretch(
            checked_size(info.get("offset"), "an offset"),
            checked_size(info.get("length"), "a length"),
        )
        packing = info.get("transform_descriptors")
        packed = ", ".join(quoted(p) for p in packing) if isinstance(packing, (list, tuple)) else ""
        parts[name, start] = Part(file, stretch, start, packing=packed)
    return parts


def _sharded(
    name: str,
    fields: Mapping[object, object],
    parts: Mapping[tuple[str, tuple[int, ...]], Part],
) -> Sharded:
    shape, chunks = checked_shape(fields.get("size")), fields.get("chunks")
    if not isinstance(chunks, list):
        raise ClaimError(f"tensor {quoted(name)} has no list of chunks")
    blocks: dict[tuple[int, ...], Part] = {}
    for chunk in chunks:
        block = _fields(chunk, "ChunkStorageMetadata")
        start = checked_sizes(block.get("offsets"), "an index")
        extent = checked_shape(block.get("sizes"))
        part = parts.get((name, start))
        if part is None:
            raise ClaimError(f"a chunk of tensor {quoted(name)} is listed, but stored nowhere")
        _check_inside(name, shape, start, extent)
        blocks[start] = Part(part.file, part.stretch, start, extent, part.packing)
    if sum(math.prod(block.shape) for block in blocks.values()) != math.prod(shape):
        raise ClaimError(f"the chunks of tensor {quoted(name)} do not add up to its shape {shape}")
    return Sharded(_dtype(name, fields.get("properties")), shape, tuple(blocks.values()))


def _check_inside(
    name: str, shape: tuple[int, ...], start: tuple[int, ...], extent: tuple[int, ...]
) -> None:
    is_inside = len(start) == len(extent) == len(shape) and all(
        first + length <= size for first, length, size in zip(start, extent, shape, strict=True)
    )
    if not is_inside:
        raise ClaimError(f"a chunk of tensor {quoted(name)} reaches beyond its shape {shape}")


def _dtype(name: str, properties: object) -> str:
    """Return the element type; the properties are pickled as a tuple, or field by field."""
    state = properties.state if isinstance(properties, Entity) else None
    dtype = state.get("dtype") if isinstance(state, dict) else None
    if isinstance(state, tuple) and state:
        dtype = state[0]
    if not isinstance(dtype, Global) or not dtype.name.startswith("torch."):
        raise ClaimError(f"tensor {quoted(name)} has no element type")
    return dtype.name.removeprefix("torch.")


def _paths(planned: object, entries: Mapping[str, object]) -> dict[str, tuple[str | int, ...]]:
    """Return the keys of every entry in the state dict; by default its name."""
    known = planned if isinstance(planned, dict) else {}
    paths: dict[str, tuple[str | int, ...]] = {}
    for name in entries:
        keys = known.get(name)
        if not isinstance(keys, (tuple, list)) or not 0 < len(keys) <= MAX_PATH:
            keys = (name,)
        if not all(isinstance(key, (str, int)) for key in keys):
            raise ClaimError(f"the keys that lead to {quoted(name)} are not names")
        paths[name] = tuple(keys)
    return paths

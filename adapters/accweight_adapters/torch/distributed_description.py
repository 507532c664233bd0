"""Describe torch.distributed.checkpoint folders: ``.metadata`` and ``*.distcp`` files.

Every chunk of a tensor is a small torch.save archive inside one of the files. A tensor with one
chunk is a byte range of that file; one that is sharded over ranks is assembled when its values are
read. The checkpoint is identified by its metadata file, as shards are by their index.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from accweight_adapters.hf_trainer_state import with_state_of
from accweight_adapters.lora import with_lora_layers
from accweight_adapters.measures import measures_in, plain_number
from accweight_adapters.model_keys import TRAINING_STATE
from accweight_adapters.pickles.values import TensorClaim
from accweight_adapters.pickles.weights import find_step, find_weights
from accweight_adapters.shard_index import in_natural_order, shard_path
from accweight_adapters.torch.container import Archive
from accweight_adapters.torch.distributed_metadata import (
    Catalogue,
    Part,
    Sharded,
    catalogue_in,
    is_metadata,
)
from accweight_adapters.torch.extents import array_of, extent_of, span_bytes, stored
from accweight_adapters.torch.nested_archive import BUFFER_BYTES, archive_within
from accweight_adapters.untrusted import ClaimError, check_not_empty, claims_of, quoted, refused
from accweight_core.dtypes import DTYPES
from accweight_core.remote import expect
from accweight_core.schema import Description, Extent, HiddenValues, StoredTensor

Values = npt.NDArray[Any]

FORMAT: Final = "torch distributed checkpoint"
METADATA_FILE: Final = ".metadata"
MAX_VALUE_BYTES: Final = 1 << 16
"""Most bytes of a pickled value; a counter takes about a kilobyte."""

MAX_VALUES: Final = 64
"""Most pickled values that are read: counters and training metrics."""


def recognised(path: Path) -> bool:
    """Tell whether `path` starts like such metadata, or is a folder with one."""
    try:
        with metadata_of(path).open("rb") as file:
            return is_metadata(file)
    except OSError:
        return False


def described(path: Path) -> Description:
    """Describe the weights of the checkpoint.

    Raises:
        FormatError: If the metadata is damaged, unsafe or inconsistent, or a file is missing.
    """
    path = metadata_of(path)
    with claims_of(path, FORMAT):
        description = _described(path)
    folder = path.resolve().parent
    return with_state_of(description, folder.parent) if _is_of_trainer(folder) else description


def metadata_of(path: Path) -> Path:
    """Return the metadata file of a checkpoint; `path` may be its folder."""
    return path / METADATA_FILE if path.is_dir() else path


def _is_of_trainer(folder: Path) -> bool:
    """Tell whether Hugging Face's Trainer wrote this folder next to its own files."""
    return folder.name.startswith("pytorch_model_fsdp")


def _described(path: Path) -> Description:
    catalogue = _catalogue_at(path)
    content, names = _content(path, catalogue)
    weights = find_weights(content)
    wanted = {name: catalogue.tensors[names[id(t)]] for name, t in weights.tensors.items()}
    files = {
        file: shard_path(path, file, "file", "the metadata")
        for file in dict.fromkeys(part.file for tensor in wanted.values() for part in tensor.parts)
    }
    _expect_parts(wanted, files)
    tensors = {name: _stored(path, name, tensor, files) for name, tensor in wanted.items()}
    ranks = {file.rpartition("_")[0] for file in files}  # `__3_0.distcp` belongs to rank 3
    step, key = find_step(content) or (None, "")
    return Description(
        format=FORMAT,
        tensors=with_lora_layers(tensors.values() if len(ranks) < 2 else in_natural_order(tensors)),
        step=step,
        step_key=key,
        files=(str(path), *map(str, files.values())),
        notes=tuple(weights.notes),
        measures=measures_in(content),
    )


def _expect_parts(wanted: Mapping[str, Sharded], files: Mapping[str, Path]) -> None:
    """Announce to remote files that both ends of single-chunk archives will be read."""
    ends: dict[str, list[tuple[int, int]]] = {}
    for tensor in wanted.values():
        for part in tensor.parts if len(tensor.parts) == 1 else ():
            first, stop = part.stretch.offset, part.stretch.end
            ends.setdefault(part.file, []).append((first, BUFFER_BYTES))
            ends[part.file].append((stop - BUFFER_BYTES, BUFFER_BYTES))
    for name, ranges in ends.items():
        with files[name].open("rb") as file:
            expect(file, ranges)


def _catalogue_at(path: Path) -> Catalogue:
    with path.open("rb") as file:
        size_bytes = file.seek(0, io.SEEK_END)
        check_not_empty(size_bytes)
        file.seek(0)
        if not is_metadata(file):
            raise ClaimError("not the metadata of a distributed checkpoint")
        file.seek(0)
        return catalogue_in(file)


def _content(path: Path, catalogue: Catalogue) -> tuple[dict[str | int, Any], dict[int, str]]:
    """Return the saved state dict, and the full names of its tensors by identity.

    Its tensors are claims without a storage; of the pickled values, only numbers next to the model
    are included.
    """
    content: dict[str | int, Any] = {}
    names: dict[int, str] = {}
    values_left = MAX_VALUES
    for name, keys in catalogue.paths.items():
        leaf: object = None
        if name in catalogue.tensors:
            leaf = TensorClaim(catalogue.tensors[name].dtype, catalogue.tensors[name].shape)
            names[id(leaf)] = name
        elif name in catalogue.values and _is_beside_model(keys) and values_left:
            values_left -= 1
            leaf = _number_at(path, catalogue.values[name])
        if leaf is not None:
            _put(content, keys, leaf)
    return content, names


def _put(content: dict[str | int, Any], keys: tuple[str | int, ...], leaf: object) -> None:
    node: Any = content
    for key in keys[:-1]:
        node = node.setdefault(key, {}) if isinstance(node, dict) else None
    if not isinstance(node, dict) or keys[-1] in node:
        raise ClaimError(f"holds two values that would both be called {quoted(str(keys[-1]))}")
    node[keys[-1]] = leaf


def _is_beside_model(keys: tuple[str | int, ...]) -> bool:
    return len(keys) <= 2 and TRAINING_STATE.search(str(keys[0]).lower()) is None


def _number_at(path: Path, part: Part) -> int | float | None:
    """Return a pickled number, or None for anything else or unreadable."""
    if part.stretch.size_bytes > MAX_VALUE_BYTES or part.packing:
        return None
    try:
        with shard_path(path, part.file).open("rb") as file:
            return plain_number((), archive_within(file, part.stretch).content)
    except Exception:  # the weights are readable without it
        return None


def _stored(path: Path, name: str, tensor: Sharded, files: Mapping[str, Path]) -> StoredTensor:
    """Return the location of a tensor's values, or a function that assembles them."""
    packings = sorted({part.packing for part in tensor.parts if part.packing})
    if packings or tensor.dtype not in DTYPES:
        reason = f"its element type {tensor.dtype} has no exact meaning as a float here"
        packed = f"packed by {', '.join(packings)}; save it without extensions"
        return refused(name, tensor.dtype, tensor.shape, packed if packings else reason)
    if not tensor.parts:
        return StoredTensor(name, Extent(str(path), 0, tensor.dtype, tensor.shape))
    if len(tensor.parts) == 1:
        (part,) = tensor.parts
        archive, claim = _archive_at(files[part.file], part, tensor.dtype)
        return stored(files[part.file], archive, name, claim)
    _check_sizes(name, tensor, files)
    load = partial(_assembled, path, name, tensor, files)
    return StoredTensor(name, HiddenValues(load, tensor.dtype, tensor.shape))


def _archive_at(path: Path, part: Part, dtype: str) -> tuple[Archive, TensorClaim]:
    """Return the archive of one chunk and its tensor, after comparing it with the metadata."""
    try:
        with path.open("rb") as file:
            archive = archive_within(file, part.stretch)
    except ClaimError as error:
        raise ClaimError(f"in {quoted(part.file)}, byte {part.stretch.offset}: {error}") from error
    claim = archive.content
    if not isinstance(claim, TensorClaim) or (claim.dtype, claim.shape) != (dtype, part.shape):
        raise ClaimError(
            f"in {quoted(part.file)}, byte {part.stretch.offset}: expected a tensor of {dtype} "
            f"and shape {part.shape}, got another"
        )
    return archive, claim


def _check_sizes(name: str, tensor: Sharded, files: Mapping[str, Path]) -> None:
    """Check that chunks are inside their files, and the files large enough for the tensor."""
    item_bytes = DTYPES[tensor.dtype].size_bytes
    sizes = {file: files[file].stat().st_size for file in {part.file for part in tensor.parts}}
    for part in tensor.parts:
        end = part.stretch.end
        needed = math.prod(part.shape) * item_bytes
        if end > sizes[part.file] or needed > part.stretch.size_bytes:
            raise ClaimError(
                f"a chunk of tensor {quoted(name)} needs {needed} bytes up to byte {end} of "
                f"{quoted(part.file)}, which has {sizes[part.file]}; it is cut short or damaged"
            )
    if math.prod(tensor.shape) * item_bytes > sum(sizes.values()):
        raise ClaimError(f"tensor {quoted(name)} needs more bytes than its files have")


def _assembled(path: Path, name: str, tensor: Sharded, files: Mapping[str, Path]) -> Values:
    """Return the whole tensor, assembled from its chunks: its elements, or their codes."""
    whole = np.empty(tensor.shape, DTYPES[tensor.dtype].code)
    covered = np.zeros(tensor.shape, np.bool_)
    with claims_of(path, FORMAT):
        for part in tensor.parts:
            block = tuple(
                slice(first, first + length)
                for first, length in zip(part.start, part.shape, strict=True)
            )
            if covered[block].any():
                raise ClaimError(f"two chunks of tensor {quoted(name)} overlap")
            covered[block] = True
            whole[block] = _chunk(name, files[part.file], part, tensor.dtype)
    return whole


def _chunk(name: str, path: Path, part: Part, dtype: str) -> Values:
    archive, claim = _archive_at(path, part, dtype)
    if claim.refusal:
        raise ClaimError(f"a chunk of tensor {quoted(name)} cannot be analysed: {claim.refusal}")
    extent = extent_of(path, archive, name, claim)
    with path.open("rb") as file:
        file.seek(extent.offset)
        return array_of(file.read(span_bytes(extent)), extent)

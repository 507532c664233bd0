"""Reads what torch.save wrote: `.pt`, `.pth`, `.bin`, `.ckpt`, as zip or in the legacy format.

Only plain weights, and never by running the file's pickle: `torch_pickle` follows it
symbolically (and says why not through torch.load), `torch_container` knows where the bytes of
each storage lie, `state_dicts` finds the weights among all else. So a checkpoint of any torch
version and device is described in milliseconds, without importing torch.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

from accweight_adapters.claims import (
    ClaimError,
    claims_of,
    is_c_order,
    quoted,
    reach,
    refused,
)
from accweight_adapters.measures import Keys, Numbers, measures_in, plain_number
from accweight_adapters.state_dicts import Weights, find_step, find_weights, names_model
from accweight_adapters.torch_container import (
    ZIP_MAGIC,
    Archive,
    is_legacy,
    is_zip,
    read_legacy,
    read_zip,
)
from accweight_adapters.torch_globals import TensorClaim
from accweight_core.dtypes import DTYPES
from accweight_core.schema import Description, Extent, StoredTensor

FORMAT = "torch checkpoint"
EXPANSION_ALLOWANCE_BYTES = 1 << 20
"""A tensor may be this much larger than the file: small expanded buffers are common."""

SCALAR_CODES = {
    "float64": "d",
    "float32": "f",
    "float16": "e",
    "int64": "q",
    "int32": "i",
    "int16": "h",
    "int8": "b",
    "uint8": "B",
}
"""Codes of `struct` by element type, for losses that were saved as tensors."""


class TorchReader:
    """Describes checkpoints of torch.save without running or loading anything in them."""

    name = "torch"
    suffixes: tuple[str, ...] = (".pt", ".pth", ".bin", ".ckpt", ".pth.tar")

    def recognises(self, path: Path) -> bool:
        """Tell whether torch.save or torch.jit.save wrote `path`; the latter is refused later."""
        try:
            with path.open("rb") as file:
                return is_legacy(file) or is_zip(file)
        except Exception:  # damaged zips raise nearly anything, and all of it means no
            return False

    def describe(self, path: Path) -> Description:
        """Describe the weights in `path`.

        Raises:
            FormatError: If the file is damaged, or needs more than plain weights need; the
                message then says how to convert it.
        """
        with claims_of(path, FORMAT):
            archive = _opened(path)
            weights = find_weights(archive.content)
            step, key = find_step(archive.content) or (None, "")
            return Description(
                format=archive.format,
                tensors=tuple(
                    _stored(path, archive, name, claim) for name, claim in weights.tensors.items()
                ),
                step=step,
                step_key=key,
                files=(str(path),),
                notes=tuple(weights.notes),
                measures=measures_in(archive.content, _numbers(path, archive, weights)),
            )


def _opened(path: Path) -> Archive:
    with path.open("rb") as file:
        if is_legacy(file):
            return read_legacy(file)
        file.seek(0)
        head = file.read(len(ZIP_MAGIC))
        if not head:
            raise ClaimError("the file is empty (0 bytes); was the save interrupted?")
        if head != ZIP_MAGIC:
            raise ClaimError("neither a zip of torch.save nor its legacy format")
        return read_zip(file)


def _numbers(path: Path, archive: Archive, weights: Weights) -> Numbers:
    """Return what tells numbers beside the weights: also tensors without axes, if not of a model.

    Only a tensor that is taken for a measure is read, a few bytes each.
    """
    own = {id(claim) for claim in weights.tensors.values()}

    def number(keys: Keys, value: object) -> int | float | None:
        if not isinstance(value, TensorClaim):
            return plain_number(keys, value)
        if value.shape or id(value) in own or (len(keys) > 1 and names_model(keys[0])):
            return None
        return _scalar(path, archive, value)

    return number


def _scalar(path: Path, archive: Archive, claim: TensorClaim) -> int | float | None:
    """Return the value of a tensor without axes; None if it is no real number, or not there."""
    is_brain = claim.dtype == "bfloat16"  # the upper half of a float32
    code = "f" if is_brain else SCALAR_CODES.get(claim.dtype)
    if claim.refusal or code is None:
        return None
    try:
        offset = _checked_offset(archive, "", claim)
    except ClaimError:  # no reason to refuse the weights
        return None
    with path.open("rb") as file:
        file.seek(offset)
        raw = file.read(DTYPES[claim.dtype].size_bytes)
    if is_brain:
        raw = raw + bytes(2) if archive.big_endian else bytes(2) + raw
    number: int | float = struct.unpack((">" if archive.big_endian else "<") + code, raw)[0]
    return number


def _stored(path: Path, archive: Archive, name: str, claim: TensorClaim) -> StoredTensor:
    if claim.refusal:
        return refused(name, claim.dtype, claim.shape, claim.refusal)
    if claim.dtype not in DTYPES:
        reason = f"its element type {claim.dtype} has no exact meaning as a float here"
        return refused(name, claim.dtype, claim.shape, reason)
    offset = _checked_offset(archive, name, claim)
    size_bytes = math.prod(claim.shape) * DTYPES[claim.dtype].size_bytes
    if size_bytes > archive.size_bytes + EXPANSION_ALLOWANCE_BYTES:
        reason = f"an expanded tensor, {size_bytes} bytes from a few; save tensor.clone() instead"
        return refused(name, claim.dtype, claim.shape, reason)
    strides = None if is_c_order(claim.shape, claim.strides) else claim.strides
    extent = Extent(str(path), offset, claim.dtype, claim.shape, strides, archive.big_endian)
    return StoredTensor(name, extent)


def _checked_offset(archive: Archive, name: str, claim: TensorClaim) -> int:
    """Return the byte offset of a tensor's first element, all of it being inside its storage."""
    storage = claim.storage
    stretch = archive.storages.get(storage.key) if storage else None
    if storage is None or stretch is None:
        key = storage.key if storage else ""
        raise ClaimError(f"tensor {quoted(name)} needs storage {quoted(key)}, which is missing")
    used = reach(claim.shape, claim.strides)
    if not used:
        return stretch.offset
    item_bytes = DTYPES[claim.dtype].size_bytes
    end = (claim.offset + used) * item_bytes
    if end > storage.size_bytes or storage.start_bytes + end > stretch.size_bytes:
        raise ClaimError(
            f"tensor {quoted(name)} needs {storage.start_bytes + end} bytes of storage "
            f"{quoted(storage.key)}, which claims {storage.size_bytes} and has {stretch.size_bytes}"
        )
    return stretch.offset + storage.start_bytes + claim.offset * item_bytes

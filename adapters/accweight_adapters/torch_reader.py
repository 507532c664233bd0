"""Reads what torch.save wrote: `.pt`, `.pth`, `.bin`, `.ckpt`, as zip or in the legacy format.

Only plain weights, and never by running the file's pickle: `torch_pickle` follows it
symbolically (and says why not through torch.load), `torch_container` knows where the bytes of
each storage lie, `state_dicts` finds the weights among all else. So a checkpoint of any torch
version and device is described in milliseconds, without importing torch.
"""

from __future__ import annotations

import math
from pathlib import Path

from accweight_adapters.claims import (
    ClaimError,
    claims_of,
    is_c_order,
    quoted,
    reach,
    refused,
)
from accweight_adapters.state_dicts import find_step, find_weights
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

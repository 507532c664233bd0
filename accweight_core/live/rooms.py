"""Where the state of weights on a CPU is kept: in memory, or in files that are mapped into it.

A file is removed as soon as it is open, so that nothing stays behind, and its bytes are reserved
before they are used: a full disk is an error here, not a signal that ends training.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from accweight_core.live.reports import Reports

StateIn = Literal["auto", "memory", "files"]

STATE_BYTES = 16
"""Bytes of state per float32 weight."""

MAPPED_BYTES = 64 << 20
"""State up to this size is kept in memory unless asked otherwise."""

Part = Literal["reference", "previous", "total"]


class Room(Protocol):
    """Provides tensors for the state."""

    def empty(self, part: Part, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a tensor on the CPU with any values."""


class Memory:
    """Tensors in memory."""

    def empty(self, part: Part, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a tensor on the CPU with any values."""
        return torch.empty(shape, dtype=dtype)


class MappedFile:
    """Tensors in a file without a name, which the system writes out when memory is short."""

    def __init__(self, folder: Path, parts: Container[str]) -> None:
        """Create the file.

        Args:
            folder: Where to create it.
            parts: Which parts of the state it takes; the others are in memory.

        Raises:
            OSError: If it cannot be created.
        """
        self._parts = parts
        self._file, name = tempfile.mkstemp(dir=folder, prefix=".accweight-state-")
        os.unlink(name)
        weakref.finalize(self, os.close, self._file)
        self._end = 0

    def empty(self, part: Part, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a tensor on the CPU with any values; in memory if there is no room on the disk."""
        size_bytes = math.prod(shape) * dtype.itemsize
        if part not in self._parts or not size_bytes or not hasattr(os, "posix_fallocate"):
            return torch.empty(shape, dtype=dtype)
        start = -(-self._end // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        try:
            os.posix_fallocate(self._file, start, size_bytes)
        except OSError:
            return torch.empty(shape, dtype=dtype)
        self._end = start + size_bytes
        mapped = mmap.mmap(self._file, size_bytes, offset=start)
        return torch.frombuffer(mapped, dtype=dtype).view(shape)


def room_for(
    state_in: StateIn, folder: Path | None, reports: Reports, weights: Mapping[str, Tensor]
) -> Room:
    """Return where the state of weights on a CPU is kept.

    Args:
        state_in: ``"files"`` for all of it; ``"auto"`` for W_0 and W_(t-1) if it is large.
        folder: Where files may be created; None if there is no such place.
        reports: Takes what goes wrong; the state is then kept in memory.
        weights: The weights, by name.
    """
    size_bytes = sum(tensor.numel() for tensor in weights.values()) * STATE_BYTES
    is_mapped = state_in == "files" or (state_in == "auto" and size_bytes > MAPPED_BYTES)
    if folder is None or not is_mapped:
        return Memory()
    parts = ("reference", "previous", "total")[: 3 if state_in == "files" else 2]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return MappedFile(folder, parts)
    except OSError as error:
        reports.take(error, "the state is kept in memory")
        return Memory()

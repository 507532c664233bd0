"""The state of a walk after its last step: what later checkpoints are appended to.

Per parameter: the reference, the last weights, and A_t, flat. The reference changes no more once
all its elements have been finite, so it is written once; the other two after every walk.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from accweight_core.dtypes import DTYPES
from accweight_core.store.arrays import array_in, damaged
from accweight_core.store.documents import METADATA
from accweight_core.store.files import Write
from accweight_core.store.header import Header
from accweight_core.store.zarr_chunks import ChunkedArray

if TYPE_CHECKING:
    from accweight_core.accumulate.cutting import Stretches
    from accweight_core.accumulate.stepwise import Carry

FIRST_STATE = "state"
"""Folder of the state that `analyze` leaves; its references serve all later states."""

STATE = ("reference", "previous", "total")

LATEST = ("previous", "total")
"""What every step changes."""

STATE_CHUNK = 1 << 20
"""Elements per chunk of state. Blocks write parts of chunks; if the process is killed, all state
of an unfinished parameter is removed."""


class State:
    """The state after one step."""

    def __init__(self, store: Path, header: Header, write: Write, place: str = FIRST_STATE) -> None:
        """Create the object without reading files.

        Args:
            store: Folder of the analysis.
            header: Its header.
            write: Function that writes the metadata of arrays.
            place: Folder of the state within the analysis.
        """
        self._store = store
        self._header = header
        self._write = write
        self._place = place
        self._created: set[Path] = set()
        self._lock = Lock()

    def write(
        self, index: int, block: Stretches, carry: Carry, names: Sequence[str] = STATE
    ) -> None:
        """Write the state of a block of a parameter.

        Args:
            index: Index of the parameter.
            block: The block.
            carry: Its state.
            names: Which of `STATE` to write.
        """
        for name, part in zip(STATE, carry, strict=True):
            if name in names:
                self._write_part(index, name, block, part)

    def _write_part(
        self, index: int, name: str, block: Stretches, part: np.ndarray[tuple[int, ...], np.dtype]
    ) -> None:
        flat = part.view(part.real.dtype)
        width = flat.size // part.size
        elements = self._header.parameters[index].elements
        array = ChunkedArray(
            self._store / self._place / f"{index:06d}" / name,
            (elements * width,),
            (min(elements, STATE_CHUNK) * width,),
            flat.dtype.name,
        )
        with self._lock:  # blocks finish in any order
            if array.path not in self._created:
                array.create(self._write)
                self._created.add(array.path)
        done = 0
        for start, stop in block.stretches:
            length = (stop - start) * width
            array.write_part(start * width, flat[done : done + length])
            done += length

    def read(self, index: int, block: Stretches) -> Carry:
        """Return the state of a block of a parameter."""
        complex_weights = DTYPES[self._header.parameters[index].dtype].family == "complex"
        parts = []
        for name in STATE:
            width = 2 if complex_weights and name != "total" else 1
            where = self._where(index, name)
            array = array_in(self._store, where, is_complete=self._header.complete)
            expected = (self._header.parameters[index].elements * width,)
            if array.shape != expected:
                raise damaged(self._store, where, expected, array.shape)
            stretches = [array[start * width : stop * width] for start, stop in block.stretches]
            flat = np.concatenate(stretches)
            parts.append(flat.view(np.result_type(flat, np.complex64)) if width == 2 else flat)
        reference, previous, total = parts
        return reference, previous, total

    def is_there(self) -> bool:
        """Tell whether the state of the parameters was stored."""
        sizes = enumerate(parameter.elements for parameter in self._header.parameters)
        first = next((index for index, size in sizes if size), None)
        return first is None or (self._store / self._where(first, "total") / METADATA).exists()

    def _where(self, index: int, name: str) -> str:
        where = f"{self._place}/{index:06d}/{name}"
        if name == "reference" and not (self._store / where / METADATA).exists():
            return f"{FIRST_STATE}/{index:06d}/{name}"
        return where

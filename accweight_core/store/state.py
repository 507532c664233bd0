"""The state of a walk after its last step: what later checkpoints are appended to.

Per parameter: the reference, the last weights, and A_t, flat. The reference changes no more once
all its elements have been finite, so it is written once; the other two after every walk.

Small parameters share an array of each, one after the other: a folder and two files for each cost
much more than its numbers. They are read ahead and written together, as opening a file does, too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence, Set
from contextlib import suppress
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from threading import RLock, local
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from accweight_core.dtypes import DTYPES
from accweight_core.store.arrays import array_in, damaged
from accweight_core.store.documents import METADATA
from accweight_core.store.files import Write
from accweight_core.store.foreign_array import ForeignArray
from accweight_core.store.header import Header
from accweight_core.store.zarr_chunks import ChunkedArray

if TYPE_CHECKING:
    from accweight_core.accumulate.cutting import Stretches
    from accweight_core.accumulate.stepwise import Carry

Numbers = npt.NDArray[np.floating[Any]]

NOTHING: Numbers = np.empty(0)

FIRST_STATE = "state"
"""Folder of the state that `analyze` leaves; its references serve all later states."""

STATE = ("reference", "previous", "total")

LATEST = ("previous", "total")
"""What every step changes."""

PACKED = "packed"
"""Folder of the arrays that small parameters share."""

MOST_PACKED = 1 << 16
"""Numbers of the largest parameter that is packed."""

PACKED_TYPES = {"reference": "float32", "previous": "float32", "total": "float64"}
"""Types of packed numbers; parameters of another type have arrays of their own."""

TOGETHER = 1 << 17
"""Packed numbers that are read ahead, or written together: half a megabyte or one."""

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
        self._created: dict[Path, ChunkedArray] = {}
        self._opened: dict[str, ChunkedArray | ForeignArray] = {}
        self._listed: dict[str, Set[str]] = {}
        self._unwritten: dict[str, list[tuple[int, Numbers]]] = {}
        self._unwritten_size = 0
        self._ahead = local()  # each thread reads a pack of its own
        self._lock = RLock()

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

    def _write_part(self, index: int, name: str, block: Stretches, part: npt.NDArray[Any]) -> None:
        flat = part.view(part.real.dtype)
        width = flat.size // part.size
        if flat.dtype == PACKED_TYPES[name] and index in self._packed_here(name):
            self._write_packed(name, self._places[index], block, flat)
            return
        elements = self._header.parameters[index].elements
        size, chunk = elements * width, min(elements, STATE_CHUNK) * width
        array = self._array(f"{index:06d}/{name}", size, chunk, flat.dtype.name)
        done = 0
        for start, stop in block.stretches:
            length = (stop - start) * width
            array.write_part(start * width, flat[done : done + length])
            done += length

    def _packed_here(self, name: str) -> Set[int]:
        """Return the parameters whose numbers are packed: no single references of later steps."""
        is_later = bool(self._header.follows)
        return set() if is_later and name == "reference" else self._places.keys()

    def _write_packed(self, name: str, first: int, block: Stretches, flat: Numbers) -> None:
        """Keep numbers of a small parameter until there are many to be written."""
        with self._lock:
            waiting, done = self._unwritten.setdefault(name, []), 0
            self._unwritten_size += len(flat)
            for start, stop in block.stretches:
                length = stop - start
                waiting.append((first + start, flat[done : done + length].copy()))
                done += length
            if self._unwritten_size >= TOGETHER:
                self.flush()

    def flush(self) -> None:
        """Write what is kept of small parameters; a parameter is whole only after that."""
        with self._lock:
            for name, waiting in self._unwritten.items():
                size = self._packed_size
                chunks = -(-size // STATE_CHUNK)
                chunk = -(-size // chunks)  # equal, so that little is padded
                array = self._array(f"{PACKED}/{name}", size, chunk, PACKED_TYPES[name])
                array.write_parts(waiting)
            self._unwritten.clear()
            self._unwritten_size = 0

    def _array(self, name: str, size: int, chunk: int, dtype: str) -> ChunkedArray:
        """Return an array to write to, which is created at the first call."""
        path = self._store / self._place / name
        with self._lock:  # blocks finish in any order
            if path not in self._created:
                array = ChunkedArray(path, (size,), (chunk,), dtype)
                self._created[path] = array.create(self._write)
            return self._created[path]

    def read(self, index: int, block: Stretches) -> Carry:
        """Return the state of a block of a parameter.

        Raises:
            StoreError: If it is missing or damaged.
        """
        parts = []
        for name in STATE:
            flat = self._read_part(index, name, block)
            is_pair = name != "total" and self._width(index) == 2
            parts.append(flat.view(np.result_type(flat, np.complex64)) if is_pair else flat)
        reference, previous, total = parts
        return reference, previous, total

    def _read_part(self, index: int, name: str, block: Stretches) -> Numbers:
        folder = self._folder(index, name) or f"{self._place}/{index:06d}"
        where = f"{folder}/{name}"
        width = 1 if name == "total" else self._width(index)
        if folder.endswith(PACKED):
            first = self._places[index]
            stretches = [self._read_ahead(where, first + a, first + b) for a, b in block.stretches]
        else:
            array = self._array_in(where, self._header.parameters[index].elements * width)
            stretches = [array[start * width : stop * width] for start, stop in block.stretches]
        return np.concatenate(stretches)

    def _read_ahead(self, where: str, start: int, stop: int) -> Numbers:
        """Return packed numbers; those of the parameters behind are read with them."""
        windows: dict[str, tuple[int, Numbers]] = self._ahead.__dict__
        begin, numbers = windows.get(where, (0, NOTHING))
        if not begin <= start <= stop <= begin + len(numbers):
            if where not in self._opened:
                self._opened[where] = self._array_in(where, self._packed_size)
            begin, end = start, min(max(stop, start + TOGETHER), self._packed_size)
            numbers = self._opened[where][begin:end]
            windows[where] = begin, numbers
        return numbers[start - begin : stop - begin]

    def _array_in(self, where: str, size: int) -> ChunkedArray | ForeignArray:
        """Return an array that must have a size."""
        array = array_in(self._store, where, is_complete=self._header.complete)
        if array.shape != (size,):
            raise damaged(self._store, where, (size,), array.shape)
        return array

    def is_there(self) -> bool:
        """Tell whether the state of the parameters was stored."""
        sizes = enumerate(parameter.elements for parameter in self._header.parameters)
        first = next((index for index, size in sizes if size), None)
        return first is None or self._folder(first, "total") is not None

    def _folder(self, index: int, name: str) -> str | None:
        """Return the folder of an array that holds numbers of a parameter, if there is one."""
        places = (self._place, FIRST_STATE) if name == "reference" else (self._place,)
        for place in places:
            folder = f"{place}/{index:06d}"
            if f"{index:06d}" in self._folders_in(place) and self._is_array(f"{folder}/{name}"):
                return folder
            packed = f"{place}/{PACKED}"
            if index in self._places and self._is_packed(f"{packed}/{name}"):
                return packed
        return None

    def _is_packed(self, where: str) -> bool:
        return where in self._opened or self._is_array(where)

    def _is_array(self, where: str) -> bool:
        return (self._store / where / METADATA).exists()

    def _folders_in(self, place: str) -> Set[str]:
        """Return the names of what is in the folder of a state, listed once if it is complete."""
        found = self._listed.get(place)
        if found is None:
            with suppress(FileNotFoundError):
                found = frozenset(os.listdir(self._store / place))
        if found and self._header.complete:
            self._listed[place] = found
        return found or frozenset()

    def _width(self, index: int) -> int:
        """Return the numbers of an element: two if it is complex."""
        return 2 if DTYPES[self._header.parameters[index].dtype].family == "complex" else 1

    @cached_property
    def _places(self) -> dict[int, int]:
        """First number of each small parameter in the arrays that they share."""
        sizes = {
            index: parameter.elements
            for index, parameter in enumerate(self._header.parameters)
            if 0 < parameter.elements <= MOST_PACKED and DTYPES[parameter.dtype].family != "complex"
        }
        return dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))

    @cached_property
    def _packed_size(self) -> int:
        return sum(self._header.parameters[index].elements for index in self._places)

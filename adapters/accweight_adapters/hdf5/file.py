"""An HDF5 file as groups, strings and tensors, for the readers of formats based on it.

Hard and soft links inside the file are followed, soft ones up to a limit; a link to another file is
an error, because it could point anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from accweight_adapters.bytes.source import FilePart, InflatedPart
from accweight_adapters.hdf5.blocks import Blocks
from accweight_adapters.hdf5.heaps import GlobalHeap
from accweight_adapters.hdf5.objects import (
    ForeignLink,
    Message,
    SoftLink,
    Target,
    links_of,
    messages_of,
    texts_of,
)
from accweight_adapters.hdf5.values import Dataset, chunked_values, dataset_in, numpy_dtype
from accweight_adapters.untrusted import ClaimError, checked_name, claims_of, quoted, refused
from accweight_core.schema import Extent, HiddenValues, Hints, StoredTensor

FORMAT: Final = "HDF5"
MOST_HOPS: Final = 16
"""Most consecutive soft links."""


@dataclass(frozen=True, slots=True)
class Place:
    """The location of HDF5 data: a file, a range of one, or a compressed member of a zip."""

    path: Path
    start: int
    size_bytes: int
    inflated: InflatedPart | None = None

    @contextmanager
    def opened(self) -> Iterator[FilePart | InflatedPart]:
        """Open the bytes for reading."""
        if self.inflated is not None:
            yield self.inflated
            return
        with self.path.open("rb") as file:
            yield FilePart(file, self.start, self.size_bytes)


class Hdf5File:
    """An HDF5 file opened for description."""

    def __init__(self, place: Place, source: FilePart | InflatedPart) -> None:
        self.place = place
        self.source = source
        self._blocks = Blocks(source)
        self._heap = GlobalHeap(self._blocks)
        self._messages: dict[int, list[Message]] = {}
        self._links: dict[int, dict[str, Target]] = {}

    @property
    def root(self) -> Node:
        """The root group."""
        return Node(self, self._blocks.root)

    def messages(self, address: int) -> list[Message]:
        """Return the header messages of an object."""
        if address not in self._messages:
            self._messages[address] = messages_of(self._blocks, address)
        return self._messages[address]

    def links(self, address: int) -> dict[str, Target]:
        """Return the links of a group."""
        if address not in self._links:
            self._links[address] = links_of(self._blocks, self.messages(address))
        return self._links[address]

    def texts(self, address: int) -> dict[str, list[str]]:
        """Return the string attributes of an object."""
        return texts_of(self._blocks, self._heap, self.messages(address))

    def dataset(self, address: int) -> Dataset | None:
        """Return the dataset at an address, or None for another object."""
        return dataset_in(self._blocks, self.messages(address))

    def child(self, address: int, name: str, hops: int = 0) -> int | None:
        """Return the address that a link points to, or None if it is dangling."""
        target = self.links(address).get(name)
        if isinstance(target, ForeignLink):
            raise ClaimError(f"has a link {quoted(name)} into another file, which is not followed")
        if isinstance(target, SoftLink):
            start = self._blocks.root if target.path.startswith("/") else address
            return self.at(start, target.path, hops + 1) if hops < MOST_HOPS else None
        return target

    def at(self, address: int, path: str, hops: int = 0) -> int | None:
        """Return the address of the object at a path below a group, or None."""
        found: int | None = address
        for part in path.split("/"):
            if part not in ("", ".") and found is not None:
                found = self.child(found, part, hops)
        return found


@dataclass(frozen=True, slots=True)
class Node:
    """A group or dataset of a file."""

    file: Hdf5File
    address: int

    def members(self) -> dict[str, Node]:
        """Return the members of a group by name; none for a dataset."""
        found = {
            name: self.file.child(self.address, name) for name in self.file.links(self.address)
        }
        return {name: Node(self.file, at) for name, at in found.items() if at is not None}

    def at(self, path: str) -> Node | None:
        """Return the node at a path below, or None."""
        address = self.file.at(self.address, path)
        return None if address is None else Node(self.file, address)

    def texts(self) -> dict[str, list[str]]:
        """Return the string attributes."""
        return self.file.texts(self.address)

    def dataset(self) -> Dataset | None:
        """Return the dataset, or None for a group."""
        return self.file.dataset(self.address)


def tensor_of(file: Hdf5File, name: str, dataset: Dataset, hints: Hints) -> StoredTensor:
    """Return a dataset as a tensor of that name."""
    place, element = file.place, dataset.element
    if dataset.refusal:
        kept = refused(
            checked_name(name), element.dtype or "unknown", dataset.shape, dataset.refusal
        )
        return StoredTensor(kept.name, kept.values, hints, kept.refusal)
    if isinstance(dataset.place, int) and place.inflated is None:
        values: Extent | HiddenValues = Extent(
            str(place.path),
            place.start + dataset.place,
            element.dtype,
            dataset.shape,
            big_endian=element.big_endian,
        )
    else:
        load = partial(_loaded, place, dataset)
        dtype = "float32" if element.dtype == "bfloat16" else element.dtype
        values = HiddenValues(load, dtype, dataset.shape)
    return StoredTensor(checked_name(name), values, hints)


def _loaded(place: Place, dataset: Dataset) -> npt.NDArray[Any]:
    """Return the values of a dataset that is not one byte range.

    Raises:
        FormatError: If they are damaged, or have changed since they were described.
    """
    with claims_of(place.path, FORMAT), place.opened() as source:
        return values_in(source, dataset)


def values_in(source: FilePart | InflatedPart, dataset: Dataset) -> npt.NDArray[Any]:
    """Return the values of a dataset, bfloat16 widened to float32.

    Raises:
        ClaimError: If they are damaged.
    """
    if isinstance(dataset.place, int):
        dtype = numpy_dtype(dataset.element)
        size_bytes = int(np.prod(dataset.shape, dtype=object)) * dtype.itemsize
        raw = source.values(dataset.place, size_bytes)
        values = np.frombuffer(raw, dtype).reshape(dataset.shape)
    else:
        values = chunked_values(source, dataset)
    if dataset.element.dtype == "bfloat16":  # the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values

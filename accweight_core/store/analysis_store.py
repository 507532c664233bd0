"""The analysis on disk: a Zarr v3 group that any Zarr reader can open.

    NAME.accw/            attributes: the header
      totals              (steps, parameters, sums); the sums of a parameter are written last and
                          atomically: once they are there, the parameter is finished
      metrics/METRIC      (steps, parameters) float64, written when all parameters are finished
      pictures/000012/0       (steps, rows, cols) float32: every element of parameter 12
      pictures/000012/1_mean  (steps, rows, cols): pooled levels hold mean and maximum
      pictures/000012/1_max
      pictures/packed/000003  (steps, texels) float32: several small pictures, one after the other,
                          each row by row; the attributes list them. A pack is written when all
                          of its parameters are complete, and these are finished together
      begun.json          stamps of the checkpoint files while the analysis is unfinished
      state/000012/reference  also previous and total: the flat state after the last step, stored
                          only on request, so that checkpoints can be appended

Pictures are not compressed: on a real run zstd saved only a quarter, at 0.4 to 0.8 GB/s.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from msgspec import Struct

from accweight_core.dtypes import DTYPES
from accweight_core.errors import StoreError, reason_of
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.table import Floats
from accweight_core.metrics.totals import are_known
from accweight_core.pictures.packing import Pack
from accweight_core.pictures.plan import Picture
from accweight_core.store import begun, files
from accweight_core.store.arrays import ATTRIBUTE, array_in, check_shape, damaged, whole_array
from accweight_core.store.documents import METADATA, checked, read
from accweight_core.store.files import Write
from accweight_core.store.foreign_array import ForeignArray
from accweight_core.store.header import Header
from accweight_core.store.lock import locked
from accweight_core.store.replacing import is_aside, recover
from accweight_core.store.stored_pictures import StoredPictures, pack_name
from accweight_core.store.zarr_chunks import ChunkedArray, StoredArray, create_group

if TYPE_CHECKING:
    from accweight_core.accumulate.cutting import Stretches
    from accweight_core.accumulate.stepwise import Carry

STATE = ("reference", "previous", "total")
SECONDS_BETWEEN_WRITES = 0.5
"""Interval at which finished parameters are written, many at a time; the interval grows if writing
takes more than a tenth of it."""

STATE_CHUNK = 1 << 20
"""Elements per chunk of state. Blocks write parts of chunks; if the process is killed, all state
of an unfinished parameter is removed."""


class _Group(Struct, frozen=True):
    zarr_format: Literal[3]
    node_type: Literal["group"]
    attributes: dict[str, Any]


class Store:
    """One analysis on disk, read lazily and written parameter by parameter."""

    def __init__(self, path: Path, header: Header, write: Write | None = None) -> None:
        """Create the object for an existing store.

        Args:
            path: Folder of the store.
            header: Header of the store.
            write: Function that writes the files of unfinished parameters.
        """
        self.path = path
        self.header = header
        self.write = write or files.write_new
        self._waiting: dict[int, Floats] = {}
        self._created: set[Path] = set()
        self._pictures = StoredPictures(path, header)
        self._lock = Lock()
        self._written = time.monotonic()
        self._writing = 0.0

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open an analysis for reading.

        Raises:
            StoreError: If it does not exist, cannot be read, is damaged, or has a newer format.
        """
        if is_aside(path):
            with locked(path):  # a writer that holds the lock will finish its renames itself
                recover(path)
        if not path.exists():
            raise StoreError(
                f"{path}: there is no such analysis; make one with: "
                "accweight analyze SOURCE -o NAME.accw"
            )
        try:
            return cls.begun_at(path)
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(f"{path}: cannot be read ({reason_of(error)})") from error

    @classmethod
    def begun_at(cls, path: Path) -> Store:
        """Return the finished or unfinished analysis at `path`.

        Raises:
            StoreError: If it is not an analysis, is damaged, or has a newer format.
        """
        store = cls(path, Header.from_json(cls.check_is_analysis(path), str(path)))
        check_shape(path, "totals", store._totals_array.shape)  # reads metadata only
        return store

    @staticmethod
    def check_is_analysis(path: Path) -> Any:
        """Return the header of the analysis at `path` as unchecked JSON values.

        Raises:
            StoreError: If `path` is not an analysis.
        """
        try:
            if path.is_dir():
                return checked(read(path / METADATA), _Group).attributes[ATTRIBUTE]
        except (FileNotFoundError, KeyError, ValueError):
            pass  # not an analysis
        raise StoreError(
            f"{path}: this is not an accweight analysis (a folder made by accweight analyze "
            "SOURCE -o NAME.accw)"
        )

    @property
    def totals(self) -> Floats:
        """(steps, parameters, sums); NaN for parameters that are not finished."""
        array = whole_array(self.path, "totals", self._totals_array.shape)
        held: Floats
        if self.header.complete or isinstance(array, ForeignArray) or array.holds((0, 0, 0)):
            held = np.asarray(array[:], dtype=np.float64)
        else:
            held = np.full(array.shape, np.nan)
        values = self._in_our_order(held)
        if self.header.complete and not are_known(values).all():
            raise StoreError(f"{self.path}: totals is damaged: numbers are missing")
        self._check_maximum(values)
        return values

    def _check_maximum(self, values: Floats) -> None:
        """Raise if the maximum in the header differs from that of the totals."""
        largest = self.header.maximum
        if largest is None or not self.header.complete or "path_max" not in self.header.sums:
            return
        index = self.header.parameter_index(largest.parameter)
        found = float(values[-1, index, SUMS.index("path_max")])
        if found != largest.value:
            raise StoreError(
                f"{self.path}: is damaged: the header says that the largest change is "
                f"{largest.value}, the numbers that it is {found}"
            )

    def _in_our_order(self, held: Floats) -> Floats:
        """Return sums with the columns of `SUMS`; NaN for sums that the store does not have."""
        if self.header.sums == SUMS:
            return held
        values = np.full((*held.shape[:-1], len(SUMS)), np.nan)
        for column, name in enumerate(self.header.sums):
            if name in SUMS:  # a newer version may store other sums
                values[..., SUMS.index(name)] = held[..., column]
        return values

    def check_can_go_on(self) -> None:
        """Raise if the store has sums that this version cannot compute.

        Raises:
            StoreError: If it has.
        """
        unknown = [name for name in self.header.sums if name not in SUMS]
        if unknown:
            raise StoreError(
                f"{self.path}: holds sums of a newer accweight ({', '.join(unknown)}), which this "
                "one cannot go on with; upgrade accweight, or analyse into another output"
            )

    def finished(self) -> list[bool]:
        """Tell, per parameter, whether its numbers and pictures are complete.

        The members of a pack are complete together.
        """
        done = are_known(self.totals)
        for members in self.header.packs:
            done[list(members)] = done[list(members)].all()
        return [bool(one) for one in done]

    def metric(self, name: str) -> Floats:
        """(steps, parameters) of one metric."""
        shape = self._totals_array.shape[:2]
        array = whole_array(self.path, f"metrics/{name}", shape, is_complete=self.header.complete)
        return np.asarray(array[:], dtype=np.float64)

    def picture(self, index: int, level: int, plane: str, steps: slice | int) -> Picture:
        """Return a stored level of the picture of a parameter at some steps."""
        array = self.picture_array(index, level, plane)
        values: Picture = np.asarray(array[steps], dtype=np.float32)
        return values

    def picture_array(self, index: int, level: int, plane: str = "mean") -> StoredArray:
        """Return the array of a stored level, to be read in parts."""
        return self._pictures.array(index, level, plane)

    def write_pack(self, pack: Pack, texels: Picture) -> None:
        """Write the pictures of a pack, (steps, texels); they are removed if the process dies."""
        names = [self.header.parameters[index].name for index in pack.members]
        path, shape = self.path / pack_name(pack.number), (len(texels), pack.texels)
        array = ChunkedArray(path, shape, shape)
        array.create(self.write, {ATTRIBUTE: pack.attributes(names)})
        array.write((0, 0), texels, self.write)

    def write_state(self, index: int, block: Stretches, carry: Carry) -> None:
        """Write the state of a block after the last step."""
        for name, part in zip(STATE, carry, strict=True):
            flat = part.view(part.real.dtype)
            width = flat.size // part.size
            elements = self.header.parameters[index].elements
            array = ChunkedArray(
                self.path / "state" / f"{index:06d}" / name,
                (elements * width,),
                (min(elements, STATE_CHUNK) * width,),
                flat.dtype.name,
            )
            with self._lock:  # blocks finish in any order
                if array.path not in self._created:
                    array.create(self.write)
                    self._created.add(array.path)
            done = 0
            for start, stop in block.stretches:
                length = (stop - start) * width
                array.write_part(start * width, flat[done : done + length])
                done += length

    def read_state(self, index: int, block: Stretches) -> Carry:
        """Return the stored state of a block after the last step."""
        complex_weights = DTYPES[self.header.parameters[index].dtype].family == "complex"
        parts = []
        for name in STATE:
            width = 2 if complex_weights and name != "total" else 1
            where = f"state/{index:06d}/{name}"
            array = array_in(self.path, where, is_complete=self.header.complete)
            expected = (self.header.parameters[index].elements * width,)
            if array.shape != expected:
                raise damaged(self.path, where, expected, array.shape)
            stretches = [array[start * width : stop * width] for start, stop in block.stretches]
            flat = np.concatenate(stretches)
            parts.append(flat.view(np.result_type(flat, np.complex64)) if width == 2 else flat)
        reference, previous, total = parts
        return reference, previous, total

    def finish_parameters(self, members: Sequence[int], totals: Floats) -> None:
        """Buffer the totals of parameters; the parameters are finished once these are written.

        Args:
            members: Index of one parameter, or of all parameters of a pack.
            totals: (steps, parameters, sums).
        """
        self._waiting.update(zip(members, totals.transpose(1, 0, 2), strict=True))
        if time.monotonic() - self._written > max(SECONDS_BETWEEN_WRITES, 10 * self._writing):
            self.flush()

    def flush(self) -> None:
        """Write the buffered totals."""
        began = time.monotonic()
        if self._waiting:
            values = self.totals
            for index, totals in self._waiting.items():
                values[:, index] = totals
            columns = [SUMS.index(name) for name in self.header.sums]
            self._totals_array.write((0, 0, 0), np.ascontiguousarray(values[..., columns]))
            self._waiting.clear()
        self._written = time.monotonic()
        self._writing = self._written - began

    def create_totals(self) -> None:
        """Create the array of totals, with no parameter finished."""
        self._totals_array.create()

    @property
    def _totals_array(self) -> ChunkedArray:
        shape = (len(self.header.checkpoints), len(self.header.parameters), len(self.header.sums))
        return ChunkedArray(self.path / "totals", shape, shape, "float64")

    def finish(self, header: Header, metrics: dict[str, Floats]) -> None:
        """Write the metric arrays and mark the analysis as complete.

        Args:
            header: The header with the maximum and the warnings filled in.
            metrics: (steps, parameters) per metric.
        """
        self.flush()
        create_group(self.path / "metrics")
        for name, values in metrics.items():
            shape = values.shape
            array = ChunkedArray(self.path / "metrics" / name, shape, shape, "float64").create()
            array.write((0, 0), values)
        begun.forget(self.path)
        self.header = replace(header, complete=True)
        create_group(self.path, {ATTRIBUTE: self.header.to_json()})

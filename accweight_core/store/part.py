"""Consecutive steps of an analysis in one folder: read lazily, written parameter by parameter.

`analyze` writes one part. Steps that are added later are parts of the same form, segments (see
`analysis_store` for both).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from accweight_core.errors import StoreError
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.table import Floats
from accweight_core.metrics.totals import are_known
from accweight_core.pictures.packing import Pack
from accweight_core.pictures.plan import Picture
from accweight_core.store import begun, files
from accweight_core.store.array_part import StoredArray
from accweight_core.store.arrays import ATTRIBUTE, whole_array
from accweight_core.store.files import Write
from accweight_core.store.foreign_array import ForeignArray
from accweight_core.store.groups import create_group
from accweight_core.store.header import Header
from accweight_core.store.state import STATE, State
from accweight_core.store.stored_pictures import StoredPictures, pack_name
from accweight_core.store.write_queue import WriteQueue
from accweight_core.store.zarr_chunks import ChunkedArray

if TYPE_CHECKING:
    from accweight_core.accumulate.cutting import Stretches
    from accweight_core.accumulate.stepwise import Carry

SECONDS_BETWEEN_WRITES = 0.5
"""Interval at which finished parameters are written, many at a time; the interval grows if writing
takes more than a tenth of it."""


MOST_WAITING_BYTES = 32 << 20
"""Totals that are held until they are written."""

STEPS_BYTES = 8 << 20
"""Totals that are read at a time where all steps are gone through."""


class Part:
    """The steps of one folder."""

    def __init__(self, path: Path, header: Header, write: Write | None = None) -> None:
        """Create the object for an existing folder.

        Args:
            path: The folder.
            header: Header of its steps.
            write: Function that writes the files of unfinished parameters.
        """
        self.path = path
        self.header = header
        self.write = write or files.write_new
        self._waiting: dict[int, Floats] = {}
        self._waiting_bytes = 0
        self._queue: WriteQueue | None = None
        self._pictures = StoredPictures(path, header)
        self._state = State(path, header, self.write)
        self._written = time.monotonic()
        self._writing = 0.0

    @property
    def totals(self) -> Floats:
        """(steps, parameters, sums); NaN for parameters that are not finished."""
        return self.totals_at(slice(None))

    @property
    def totals_bytes(self) -> int:
        """Bytes of the totals in memory."""
        return 8 * len(self.header.checkpoints) * len(self.header.parameters) * len(SUMS)

    def totals_at(self, steps: slice) -> Floats:
        """(steps, parameters, sums) of some steps; reads no other steps."""
        values = self._in_our_order(self._held_at(steps))
        if self.header.complete and len(values) and not are_known(values).all():
            raise StoreError(f"{self.path}: totals is damaged: numbers are missing")
        self._check_maximum(steps, values)
        return values

    def _held_at(self, steps: slice) -> Floats:
        """Return the totals of some steps with the columns of the store."""
        array = whole_array(self.path, "totals", self._totals_array.shape)
        if self.header.complete or isinstance(array, ForeignArray) or array.holds((0, 0, 0)):
            return np.asarray(array[steps], dtype=np.float64)
        return np.full((len(range(array.shape[0])[steps]), *array.shape[1:]), np.nan)

    def _check_maximum(self, steps: slice, values: Floats) -> None:
        """Raise if the maximum in the header differs from that of the last step, if it is there."""
        count, largest = len(self.header.checkpoints), self.header.maximum
        if count - 1 not in range(count)[steps]:
            return
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
        return self.metric_at(name, slice(None))

    def metric_at(self, name: str, steps: slice) -> Floats:
        """(steps, parameters) of one metric at some steps."""
        shape = self._totals_array.shape[:2]
        array = whole_array(self.path, f"metrics/{name}", shape, is_complete=self.header.complete)
        return np.asarray(array[steps], dtype=np.float64)

    def picture(self, index: int, level: int, plane: str, steps: slice | int) -> Picture:
        """Return a stored level of the picture of a parameter at some steps."""
        array = self.picture_array(index, level, plane)
        values: Picture = np.asarray(array[steps], dtype=np.float32)
        return values

    def picture_array(self, index: int, level: int, plane: str = "mean") -> StoredArray:
        """Return the array of a stored level, to be read in parts."""
        return self._pictures.array(index, level, plane)

    @contextmanager
    def writing_meanwhile(self) -> Iterator[None]:
        """Write pictures in a thread of their own within the context.

        Raises:
            Exception: In the end, what writing them has raised, unless that was raised before.
        """
        if not self.header.picture_bases:
            yield
            return
        self._queue = queue = WriteQueue()
        try:
            yield
            queue.wait()
        finally:
            queue.close()
            self._queue = None

    def write_later(self, size_bytes: int, write: Callable[[], object]) -> None:
        """Write something now, or within `writing_meanwhile` when its thread comes to it.

        Args:
            size_bytes: Memory that is held until it is written.
            write: Writes it; what it writes must not be changed any more.
        """
        if self._queue is None:
            write()
        else:
            self._queue.put(size_bytes, write)

    def wait_for_writes(self) -> None:
        """Wait until all that was given to `write_later` is written."""
        if self._queue is not None:
            self._queue.wait()

    def write_pack(self, pack: Pack, texels: Picture) -> None:
        """Write the pictures of a pack, (steps, texels); they are removed if the process dies."""
        self.write_later(texels.nbytes, partial(self._write_pack, pack, texels))

    def _write_pack(self, pack: Pack, texels: Picture) -> None:
        names = [self.header.parameters[index].name for index in pack.members]
        path, shape = self.path / pack_name(pack.number), (len(texels), pack.texels)
        array = ChunkedArray(path, shape, shape)
        array.create(self.write, {ATTRIBUTE: pack.attributes(names)})
        array.write((0, 0), texels, self.write)

    def write_state(
        self, index: int, block: Stretches, carry: Carry, names: Sequence[str] = STATE
    ) -> None:
        """Write the state of a block after the last step; see `State.write`."""
        self._state.write(index, block, carry, names)

    def flush_state(self) -> None:
        """Write what `write_state` has kept of small parameters; `flush` does so, too."""
        self._state.flush()

    @property
    def holds_state(self) -> bool:
        """Whether the state after the last step is stored, so that further ones can follow."""
        return self.header.keeps_state and self._state.is_there()

    def read_state(self, index: int, block: Stretches) -> Carry:
        """Return the stored state of a block after the last step."""
        return self._state.read(index, block)

    def finish_parameters(self, members: Sequence[int], totals: Floats) -> None:
        """Buffer the totals of parameters; the parameters are finished once these are written.

        Args:
            members: Index of one parameter, or of all parameters of a pack.
            totals: (steps, parameters, sums).
        """
        found = dict(zip(members, totals.transpose(1, 0, 2), strict=True))
        if self._queue is None:
            self._waiting.update(found)
        else:
            self._queue.then(partial(self._waiting.update, found))  # their pictures come first
        self._waiting_bytes += totals.nbytes
        is_due = time.monotonic() - self._written > max(SECONDS_BETWEEN_WRITES, 10 * self._writing)
        if is_due or self._waiting_bytes > MOST_WAITING_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the buffered totals, after the pictures and the state of their parameters."""
        self.wait_for_writes()
        began = time.monotonic()
        self.flush_state()
        if self._waiting:
            self._totals_array.write_rows(self._with_waiting(), replace=True)
            self._waiting.clear()
            self._waiting_bytes = 0
        self._written = time.monotonic()
        self._writing = self._written - began

    def _with_waiting(self) -> Iterator[Floats]:
        """Yield the totals of some steps at a time, the buffered ones among them."""
        columns = [SUMS.index(name) for name in self.header.sums]
        members = list(self._waiting)
        for steps in self.blocks_of_steps():
            values = self._held_at(steps)
            waiting = [totals[steps] for totals in self._waiting.values()]
            values[:, members] = np.stack(waiting, axis=1)[..., columns]
            yield values

    def blocks_of_steps(self) -> Iterator[slice]:
        """Yield all steps, as many at a time as take little memory."""
        count, parameters = len(self.header.checkpoints), len(self.header.parameters)
        length = max(1, STEPS_BYTES // (8 * len(SUMS) * max(1, parameters)))
        for first in range(0, count, length):
            yield slice(first, min(first + length, count))

    def create_totals(self) -> None:
        """Create the array of totals, with no parameter finished."""
        self._totals_array.create()

    @property
    def _totals_array(self) -> ChunkedArray:
        shape = (len(self.header.checkpoints), len(self.header.parameters), len(self.header.sums))
        return ChunkedArray(self.path / "totals", shape, shape, "float64")

    def finish(self, header: Header, metrics: Mapping[str, Iterable[Floats]]) -> None:
        """Write the metric arrays and mark the analysis as complete.

        Args:
            header: The header with the maximum and the warnings filled in.
            metrics: (some steps, parameters) at a time, per metric.
        """
        self.flush()
        self.write_metrics(metrics)
        begun.forget(self.path)
        self.header = replace(header, complete=True)
        create_group(self.path, {ATTRIBUTE: self.header.to_json()})

    def write_metrics(self, metrics: Mapping[str, Iterable[Floats]]) -> None:
        """Write the metric arrays, some steps at a time."""
        create_group(self.path / "metrics")
        shape = self._totals_array.shape[:2]
        for name, blocks in metrics.items():
            array = ChunkedArray(self.path / "metrics" / name, shape, shape, "float64").create()
            array.write_rows(blocks, replace=True)


def holding(parts: Iterable[Part], steps: range) -> Iterator[tuple[Part, slice]]:
    """Yield the parts that hold some steps, each with the positions of these within it.

    Args:
        parts: Parts that follow each other.
        steps: Consecutive positions, counted from the first step of the first part.
    """
    first = 0
    for part in parts:
        end = first + len(part.header.checkpoints)
        begin, stop = max(steps.start, first), min(steps.stop, end)
        if begin < stop:
            yield part, slice(begin - first, stop - first)
        first = end

"""The analysis on disk: a Zarr v3 group that any Zarr reader can open.

    NAME.accw/            attributes: the header
      totals              (steps, parameters, sums); the sums of a parameter are written last and
                          atomically: once they are there, the parameter is finished
      metrics/METRIC      (steps, parameters) float64, written when all parameters are finished
      pictures/000012     (steps, texels) float32: the levels of the picture of parameter 12, one
                          after the other, each row by row; pooled levels hold mean and
                          maximum. The attributes list them
      pictures/000013/0       (steps, rows, cols) float32: the finest level of a large picture, in
                          chunks; 1_mean and 1_max if that is level 1
      pictures/000013/coarser (steps, texels): its other levels
      pictures/packed/000003  (steps, texels): several small pictures, likewise. A pack is written
                          when all of its parameters are complete, and these are finished together
      begun.json          stamps of the checkpoint files while the analysis is unfinished
      state/000012/reference  also previous and total: the flat state after the last step, stored
                          only on request, so that checkpoints can be appended; of small
                          parameters, one after the other, in state/packed/reference
      segments/000003-000007  the steps that were added since: totals, metrics and pictures of
                          positions 3 to 7 of the run (`segments`)
      states/000008/000012/previous   also total: the state after eight steps

Pictures are not compressed: on a real run zstd saved only a quarter, at 0.4 to 0.8 GB/s.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from msgspec import Struct

from accweight_core.errors import StoreError, reason_of
from accweight_core.gc_paused import gc_paused
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.table import Floats
from accweight_core.store.array_part import StoredArray
from accweight_core.store.arrays import ATTRIBUTE, check_shape
from accweight_core.store.documents import METADATA, checked, read
from accweight_core.store.files import Write
from accweight_core.store.grown_picture import GrownPicture
from accweight_core.store.header import Header
from accweight_core.store.lock import locked
from accweight_core.store.part import Part, holding
from accweight_core.store.records import NonFinite, SegmentDocument
from accweight_core.store.replacing import is_aside, recover
from accweight_core.store.segments import (
    SEGMENTS,
    Span,
    current_spans,
    document_of,
    grown,
    header_of,
    spans_in,
)
from accweight_core.store.state import FIRST_STATE, LATEST, STATE, State

STATES = "states"
"""Folder of the states after steps that were added."""


def state_after(last: int) -> str:
    """Return the name of the state after the step at a position."""
    return f"{last + 1:06d}"


MOST_TRIES = 100
"""How often a read is repeated because segments were merged meanwhile."""

Found = TypeVar("Found")


class _Group(Struct, frozen=True):
    zarr_format: Literal[3]
    node_type: Literal["group"]
    attributes: dict[str, Any]


class _Segment(NamedTuple):
    """A segment that is read: its steps, its document, its arrays."""

    span: Span
    document: SegmentDocument
    part: Part


class Store(Part):
    """An analysis: the part in its own folder, and the segments that were added."""

    def __init__(
        self,
        path: Path,
        header: Header,
        write: Write | None = None,
        segments: tuple[_Segment, ...] = (),
        whole: Header | None = None,
    ) -> None:
        """Create the object for an existing store.

        Args:
            path: Folder of the store.
            header: Header of the part in it.
            write: Function that writes the files of unfinished parameters.
            segments: The segments.
            whole: The header of all steps, if it is known; by default, it is put together.
        """
        super().__init__(path, header, write)
        self._first = header
        self._segments = segments
        if segments:
            documents = [segment.document for segment in segments]
            self.header = whole or grown(header, documents, str(path))
            self._state = self.state_of(len(self.header.checkpoints))
        self._own = Part(path, header)

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
    @gc_paused()
    def begun_at(cls, path: Path) -> Store:
        """Return the finished or unfinished analysis at `path`.

        Raises:
            StoreError: If it is not an analysis, is damaged, or has a newer format.
        """
        header = Header.from_json(cls.check_is_analysis(path), str(path))
        store = cls(path, header, segments=_segments_of(path, header))
        check_shape(path, "totals", store._own._totals_array.shape)  # reads metadata only
        return store

    @staticmethod
    def document_at(path: Path) -> Any:
        """Return the header of the analysis at `path` as unchecked JSON values; None without one.

        Raises:
            StoreError: If it cannot be read, as where it is a link.
        """
        with suppress(FileNotFoundError, KeyError, ValueError):
            if path.is_dir():
                return checked(read(path / METADATA), _Group).attributes[ATTRIBUTE]
        return None

    @classmethod
    def check_is_analysis(cls, path: Path) -> Any:
        """Return the header of the analysis at `path` as unchecked JSON values.

        Raises:
            StoreError: If `path` is not an analysis.
        """
        found = cls.document_at(path)
        if found is None:
            raise StoreError(
                f"{path}: this is not an accweight analysis (a folder made by accweight analyze "
                "SOURCE -o NAME.accw)"
            )
        return found

    @property
    def spans(self) -> tuple[Span, ...]:
        """The steps of each segment."""
        return tuple(segment.span for segment in self._segments)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The part in its own folder, and the segments, in step order."""
        return (self._own, *(segment.part for segment in self._segments))

    def with_segment(self, span: Span, document: SegmentDocument) -> Store:
        """Return the analysis with one more segment, which is in place."""
        added = _opened(self.path, self._first, span, document)
        whole = grown(self.header, [document], str(self.path))
        return Store(self.path, self._first, segments=(*self._segments, added), whole=whole)

    def with_merged(self, first: int, span: Span, document: SegmentDocument) -> Store:
        """Return the analysis with one segment in place of those from a position on."""
        merged = _opened(self.path, self._first, span, document)
        segments = (*self._segments[:first], merged)
        return Store(self.path, self._first, segments=segments, whole=self.header)

    def header_before(self, segment: int) -> Header:
        """Return the header of the analysis before one of its segments was added."""
        documents = [held.document for held in self._segments[:segment]]
        return grown(self._first, documents, str(self.path))

    def has_grown(self) -> bool:
        """Tell whether steps were added since it was opened."""
        return any(span.last >= len(self.header.checkpoints) for span in spans_in(self.path))

    def totals_at(self, steps: slice) -> Floats:
        """(steps, parameters, sums) of some steps; reads no other steps."""
        if not self._segments:
            return super().totals_at(steps)
        chosen = range(len(self.header.checkpoints))[steps]
        found = self.gathered(chosen, lambda part, inside: part.totals_at(inside))
        return _joined(found, (0, len(self.header.parameters), len(SUMS)))

    @cached_property
    def last_totals(self) -> Floats:
        """(parameters, sums) of the last step, which what is added follows."""
        last: Floats = self.totals_at(slice(-1, None))[0]
        return last

    def metric_at(self, name: str, steps: slice) -> Floats:
        """(steps, parameters) of one metric at some steps."""
        if not self._segments:
            return super().metric_at(name, steps)
        chosen = range(len(self.header.checkpoints))[steps]
        found = self.gathered(chosen, lambda part, inside: part.metric_at(name, inside))
        return _joined(found, (0, len(self.header.parameters)))

    def picture_array(self, index: int, level: int, plane: str = "mean") -> StoredArray:
        """Return the array of a stored level, to be read in parts."""
        if not self._segments:
            return super().picture_array(index, level, plane)
        return GrownPicture(self.path, self.header, self.gathered, index, level, plane)

    def finished(self) -> list[bool]:
        """Tell, per parameter, whether its numbers and pictures are complete."""
        return [True] * len(self.header.parameters) if self._segments else super().finished()

    def nonfinite(self) -> tuple[NonFinite, ...] | None:
        """Return the parameters that have held NaN or infinity; None if that is not recorded."""
        return self._segments[-1].document.nonfinite if self._segments else None

    def state_names(self, index: int) -> tuple[str, ...]:
        """Return what of the state of a parameter later steps may change.

        A reference changes until all its elements have been finite.
        """
        return LATEST if self._is_settled[index] else STATE

    @cached_property
    def _is_settled(self) -> list[bool]:
        """Whether the elements of each parameter were all finite at the first step."""
        lost = self.totals_at(slice(0, 1))[0, :, SUMS.index("nonfinite")]
        return [bool(count == 0) for count in lost]

    @property
    def first_steps(self) -> int:
        """The number of steps in its own folder."""
        return len(self._first.checkpoints)

    @property
    def newest_state(self) -> int | None:
        """The number of steps after which a state is stored; None if there is none.

        The state after some steps is left out where training is faster than writing: then it is
        that of an earlier step, from which training can be measured again.
        """
        with suppress(OSError):
            names = set(os.listdir(self.path / STATES))
            for last in reversed(range(self.first_steps, len(self.header.checkpoints))):
                if state_after(last) in names:
                    return last + 1
        is_first = self.header.keeps_state and self.state_of(self.first_steps).is_there()
        return self.first_steps if is_first else None

    def state_of(self, steps: int) -> State:
        """Return the state after the first so many steps."""
        is_first = steps == self.first_steps
        place = FIRST_STATE if is_first else f"{STATES}/{state_after(steps - 1)}"
        return State(self.path, self.header, self.write, place)

    def gathered(self, steps: range, take: Callable[[Part, slice], Found]) -> list[Found]:
        """Return what is taken of each part that holds some of the steps, in step order.

        Segments may be merged by a writer meanwhile; then the merged ones are read.

        Args:
            steps: Positions of consecutive steps.
            take: Called with a part, and the positions of steps within it.
        """
        for _ in range(MOST_TRIES):
            try:
                return [take(part, inside) for part, inside in holding(self.parts, steps)]
            except StoreError:
                spans = self.spans
                now = current_spans(self.path, len(self._first.checkpoints))
                if tuple(now[: len(spans)]) == spans:
                    raise
                self._segments = _segments_of(self.path, self._first)
                if sum(len(p.header.checkpoints) for p in self.parts) < len(
                    self.header.checkpoints
                ):
                    raise
        raise StoreError(f"{self.path}: is changed faster than it can be read")


def _joined(found: list[Floats], empty: tuple[int, ...]) -> Floats:
    return np.concatenate([np.empty(empty), *found])


def _segments_of(path: Path, header: Header) -> tuple[_Segment, ...]:
    """Return the segments of an analysis as they are now, opened."""
    if not header.complete:
        return ()
    for _ in range(MOST_TRIES):
        try:
            return tuple(
                _opened(path, header, span, document_of(path, span))
                for span in current_spans(path, len(header.checkpoints))
            )
        except FileNotFoundError:
            continue  # merged into another one since it was listed
    raise StoreError(f"{path}: {SEGMENTS} is damaged: their files are missing")


def _opened(path: Path, header: Header, span: Span, document: SegmentDocument) -> _Segment:
    where = f"{path}: {SEGMENTS}/{span.name}"
    part = Part(path / SEGMENTS / span.name, header_of(header, document, where))
    return _Segment(span, document, part)

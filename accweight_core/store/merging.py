"""Merge segments: sixteen of one size become one of the next, as in a log-structured store.

So a thousand steps are a few dozen folders, and every step is copied once per power of sixteen: its
cost grows with the logarithm of their number. The larger segment is written beside, put in place by
one rename, and only then are the smaller ones removed. Steps are copied a few at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from accweight_core.errors import StoreError
from accweight_core.pictures.plan import segment_steps
from accweight_core.pictures.pyramid import Pyramid
from accweight_core.store import files
from accweight_core.store.analysis_store import Store
from accweight_core.store.arrays import ATTRIBUTE, array_in
from accweight_core.store.beside import beside, real_place
from accweight_core.store.groups import create_group
from accweight_core.store.growing import say_that_it_grows, segment_document, write_document
from accweight_core.store.grown_picture import GrownPicture, Taken
from accweight_core.store.header import Header
from accweight_core.store.part import Part, holding
from accweight_core.store.replacing import discard
from accweight_core.store.segments import SEGMENTS, Span
from accweight_core.store.stored_pictures import PACKED, pack_name, pyramid_name
from accweight_core.store.zarr_chunks import ChunkedArray

FANOUT = 16
"""Segments of one size that are merged."""

COPIED_BYTES = 8 << 20
"""Bytes of an array that are copied at a time."""


def due(spans: Sequence[Span]) -> Sequence[Span]:
    """Return the segments to merge, the last ones; none if there are too few of each size."""
    sizes = [_power(span.steps) for span in spans]
    for power in range(max(sizes, default=-1) + 1):
        first = len(spans)
        while first and sizes[first - 1] <= power:
            first -= 1
        if sizes[first:].count(power) >= FANOUT:
            return spans[first:]
    return ()


def _power(steps: int) -> int:
    """Return the largest power of `FANOUT` that is not above a number of steps."""
    power = 0
    while steps >= FANOUT:
        steps, power = steps // FANOUT, power + 1
    return power


def merge_due(store: Store) -> Store:
    """Merge segments as long as there are enough of one size; return the analysis.

    Every step stays readable all the while. A merge that fails, because the disk is full, is tried
    again after the next step.

    Args:
        store: The analysis, whose lock is held.
    """
    path = store.path
    try:
        while merged := due(store.spans):
            store = _merge(store, len(store.spans) - len(merged))
        return store
    except StoreError:  # damaged, which no later step mends
        raise
    except OSError:
        pass
    with suppress(OSError):
        discard(path, beside(path, "draft"))
    return Store.begun_at(path)


def _merge(store: Store, first: int) -> Store:
    """Merge the segments of an analysis from one on; return it with the merged one."""
    spans, parts = store.spans[first:], store.parts[1 + first :]
    alone = _header_of(parts, store.header)
    document = segment_document(
        store.header_before(first), store.header, alone, store.nonfinite() or ()
    )
    draft = beside(store.path, "draft")
    discard(store.path, draft)
    _Merging(parts, Part(draft, alone)).run()
    write_document(draft, document)
    say_that_it_grows(real_place(store.path))  # a segment of an older version may be among these
    place = real_place(store.path) / SEGMENTS
    merged = Span(spans[0].first, spans[-1].last)
    draft.rename(place / merged.name)
    for span in spans:
        discard(store.path, place / span.name)
    return store.with_merged(first, merged, document)


def _header_of(parts: Sequence[Part], whole: Header) -> Header:
    """Return the header of the steps of some segments alone, with the pictures that all share."""
    bases = [part.header.picture_bases for part in parts]
    alone = replace(
        parts[0].header,
        checkpoints=tuple(record for part in parts for record in part.header.checkpoints),
        maximum=whole.maximum,
        picture_bases=tuple(map(max, *bases)) if all(bases) else (),
    )
    packs = {part.header.packs for part in parts}
    is_alike = len(packs) == 1 and len(set(bases)) == 1
    return replace(alone, packs=packs.pop()) if is_alike else alone.with_packs()


class _Merging:
    """Writes one segment from several."""

    def __init__(self, parts: Sequence[Part], merged: Part) -> None:
        self._parts = parts
        self._merged = merged
        self._header = merged.header
        self._steps = len(self._header.checkpoints)
        self._is_alike = all(part.header.packs == self._header.packs for part in parts)

    def run(self) -> None:
        """Write all arrays."""
        folder, parameters = self._merged.path, len(self._header.parameters)
        create_group(folder)
        create_group(folder / "metrics")
        self._copy("totals", (parameters, len(self._header.sums)), "float64")
        for name in self._header.metrics:
            self._copy(f"metrics/{name}", (parameters,), "float64")
        if not self._header.picture_bases:
            return
        create_group(folder / "pictures")
        if self._header.packed:
            create_group(folder / "pictures" / PACKED)
        for number in range(len(self._header.packs)):
            self._copy_pack(number)
        for index, parameter in enumerate(self._header.parameters):
            if parameter.elements and index not in self._header.packed:
                self._copy_pyramid(index)

    def _copy(self, name: str, tail: tuple[int, ...], dtype: str, attributes: Any = None) -> None:
        """Copy an array of (steps, ...) in one chunk."""

        def take(part: Part, inside: slice) -> Taken:
            found: Taken = array_in(part.path, name, is_complete=True)[inside]
            return found

        self._write_rows(name, tail, dtype, attributes, lambda steps: self._gather(steps, take))

    def _copy_pack(self, number: int) -> None:
        """Copy the pictures of a pack; the packs of segments may hold other parameters."""
        pack = self._header.pack(number)
        names = [self._header.parameters[index].name for index in pack.members]
        attributes = {ATTRIBUTE: pack.attributes(names)}
        if self._is_alike:
            self._copy(pack_name(number), (pack.texels,), "float32", attributes)
            return
        pictures = [self._picture(index, 0, "mean") for index in pack.members]

        def rows(steps: range) -> list[Taken]:
            parts = [p[steps.start : steps.stop].reshape(len(steps), -1) for p in pictures]
            return [np.concatenate(parts, axis=1)]

        self._write_rows(pack_name(number), (pack.texels,), "float32", attributes, rows)

    def _write_rows(
        self,
        name: str,
        tail: tuple[int, ...],
        dtype: str,
        attributes: Any,
        rows: Callable[[range], list[Taken]],
    ) -> None:
        shape = (self._steps, *tail)
        array = ChunkedArray(self._merged.path / name, shape, shape, dtype)
        array.create(files.write_new, attributes)
        at_a_time = max(1, COPIED_BYTES // (8 * max(1, math.prod(tail))))
        array.write_rows(
            block
            for first in range(0, self._steps, at_a_time)
            for block in rows(range(first, min(first + at_a_time, self._steps)))
        )

    def _copy_pyramid(self, index: int) -> None:
        """Copy all levels of a picture into one array, some steps at a time."""
        plan = self._header.plan(index)
        pyramid = Pyramid(plan, plan.levels)
        sources = [self._picture(index, plane.level, plane.name) for plane in pyramid.planes]
        many = segment_steps(self._steps, pyramid.texels)
        said = {ATTRIBUTE: pyramid.attributes(index, self._header.parameters[index].name)}
        array = ChunkedArray(
            self._merged.path / pyramid_name(index),
            (self._steps, pyramid.texels),
            (many, pyramid.texels),
        ).create(files.write_new, said)
        for start in range(0, self._steps, many):
            stop = min(start + many, self._steps)
            sheet = np.empty((stop - start, pyramid.texels), np.float32)
            for plane, source in zip(pyramid.planes, sources, strict=True):
                plane.of(sheet)[...] = source[start:stop]
            array.write((start, 0), sheet, files.write_new)

    def _picture(self, index: int, level: int, plane: str) -> GrownPicture:
        path = self._merged.path
        return GrownPicture(path, self._header, self._gather, index, level, plane)

    def _gather(self, steps: range, take: Callable[[Part, slice], Taken]) -> list[Taken]:
        return [take(part, inside) for part, inside in holding(self._parts, steps)]

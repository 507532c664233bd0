"""Segments: the steps that were added to an analysis, a few at a time.

    segments/000003-000007/     five steps: positions 3 to 7 of the run
      zarr.json                 attributes: what these steps add to the header
      totals, metrics, pictures as in the analysis itself, of these steps alone

A segment is published by one rename and never changes; segments that are merged into a larger one
are removed after that is published. So of segments that begin at one step, the longest counts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from accweight_core.errors import StoreError
from accweight_core.store.documents import METADATA, checked, read, read_as
from accweight_core.store.files import refuse_links
from accweight_core.store.header import Header
from accweight_core.store.records import SegmentDocument, check_pictures, check_steps

SEGMENTS = "segments"

SEGMENT = "accweight_segment"
"""Key in the attributes of the group of a segment."""

_NAME = re.compile(r"(\d{6,12})-(\d{6,12})")

MOST_LISTINGS = 100
"""Listings until two in a row are equal and without a gap; writers seldom change them."""


class _Attributes(Struct, frozen=True):
    """The attributes of the group of a segment, by the name in `SEGMENT`."""

    accweight_segment: SegmentDocument


class _Group(Struct, frozen=True):
    attributes: _Attributes


class Span(NamedTuple):
    """The steps of a segment, by the positions of the first and the last one."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """Name of the folder."""
        return f"{self.first:06d}-{self.last:06d}"

    @property
    def steps(self) -> int:
        """Number of steps."""
        return self.last - self.first + 1


def spans_in(store: Path) -> list[Span]:
    """Return every segment of an analysis, those that were merged into others included."""
    try:
        refuse_links(store, SEGMENTS)
        names = os.listdir(store / SEGMENTS)
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise StoreError(f"{store}: {SEGMENTS} is damaged: it is no folder") from None
    found = [Span(int(m[1]), int(m[2])) for name in names if (m := _NAME.fullmatch(name))]
    return sorted(span for span in found if span.first <= span.last)


def chained(spans: Iterable[Span], first: int) -> list[Span]:
    """Return the segments that follow each other from a step on, the longest ones."""
    longest = {span.first: span for span in sorted(spans)}
    chain: list[Span] = []
    while first in longest:
        chain.append(longest[first])
        first = chain[-1].last + 1
    return chain


def current_spans(store: Path, first: int) -> list[Span]:
    """Return the segments of an analysis as they are now, also while steps are added and merged.

    A listing that is made while folders are renamed may lack some of them, so two equal ones count.

    Args:
        store: Folder of the analysis.
        first: Steps of the analysis before its first segment.

    Raises:
        StoreError: If one is missing between others.
    """
    before: list[Span] | None = None
    for _ in range(MOST_LISTINGS):
        spans = spans_in(store)
        chain = chained(spans, first)
        end = chain[-1].last if chain else first - 1
        has_gap = any(span.first > end for span in spans)
        if spans == before and not has_gap:
            return chain
        before = spans
    raise StoreError(
        f"{store}: {SEGMENTS} is damaged: there are no steps from position {end + 1} on"
    )


def document_of(store: Path, span: Span) -> SegmentDocument:
    """Return what a segment adds to the header, not checked against it.

    Raises:
        FileNotFoundError: If it has been merged into another one.
        StoreError: If it is damaged.
    """
    where = f"{SEGMENTS}/{span.name}"
    refuse_links(store, where)
    try:
        group = read_as(store / where / METADATA, _Group)
        document = (
            group.attributes.accweight_segment
            if group is not None
            else checked(read_group(store / where), SegmentDocument)
        )
        if len(document.checkpoints) != span.steps:
            raise ValueError(f"it has {len(document.checkpoints)} checkpoints")
    except ValueError as error:
        raise StoreError(f"{store}: {where} is damaged ({error})") from error
    return document


def read_group(folder: Path) -> object:
    """Return the unchecked attributes of a Zarr group as far as they describe a segment.

    Raises:
        ValueError: If they are not JSON.
    """
    found = read(folder / METADATA)
    attributes = found.get("attributes") if isinstance(found, dict) else None
    return attributes.get(SEGMENT) if isinstance(attributes, dict) else None


def grown(header: Header, documents: Sequence[SegmentDocument], path: str) -> Header:
    """Return the header of an analysis with further segments.

    Only what they add is checked, so that one more step is not as much work as all before it.

    Args:
        header: The header of the steps before them.
        documents: What the segments add, in order.
        path: Folder of the analysis, for messages.

    Raises:
        StoreError: If they do not fit together.
    """
    if not documents:
        return header
    last, warnings = documents[-1], header.warnings
    for document in documents:
        warnings = warnings[: document.kept_warnings] + document.warnings
    bases = [header.picture_bases, *(document.picture_bases for document in documents)]
    joined = replace(
        header,
        checkpoints=(*header.checkpoints, *chain.from_iterable(d.checkpoints for d in documents)),
        reader=last.reader,
        notes=header.notes + tuple(note for d in documents for note in d.notes),
        warnings=warnings,
        maximum=last.maximum,
        versions=last.versions,
        name_map=next((d.name_map for d in documents if d.name_map), header.name_map),
        type_changes=header.type_changes + tuple(c for d in documents for c in d.type_changes),
        picture_bases=tuple(map(max, *bases)) if all(bases) else (),
    )
    try:
        check_steps(joined, after=header)
        if any(hit.first >= len(joined.checkpoints) for hit in last.nonfinite):
            raise ValueError("a parameter is not finite at no step")
        if any(len(one) not in (0, len(header.parameters)) for one in bases):
            raise ValueError("pictures and parameters differ in number")
    except ValueError as error:
        raise StoreError(f"{path}: {SEGMENTS} are damaged ({error})") from error
    return joined.with_packs()  # as of an analysis in one go; no array depends on it


def header_of(header: Header, document: SegmentDocument, where: str) -> Header:
    """Return the header of the steps of one segment alone.

    Args:
        header: The header of the first steps of the analysis.
        document: What the segment adds.
        where: The segment, for messages.

    Raises:
        StoreError: If it does not fit the header.
    """
    alone = replace(
        header,
        checkpoints=document.checkpoints,
        maximum=document.maximum,
        picture_bases=document.picture_bases,
        packs=document.packs,
        type_changes=(),
        follows=document.follows,
    )
    try:
        check_pictures(alone)
        if any(hit.parameter >= len(header.parameters) for hit in document.nonfinite):
            raise ValueError("a parameter that is not finite is not among the parameters")
    except ValueError as error:
        raise StoreError(f"{where} is damaged ({error})") from error
    return alone

"""Add steps to an analysis: publish a segment by one rename, and the state after its last step.

The order of the renames is such that a process may be killed between any two of them: what is in
place is whole, the rest is put in place, or removed, by the next writer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from operator import eq
from pathlib import Path

import msgspec

from accweight_core.metrics.table import Floats
from accweight_core.store.analysis_store import STATES, Store, state_after
from accweight_core.store.arrays import ATTRIBUTE
from accweight_core.store.beside import beside, real_place
from accweight_core.store.documents import METADATA, checked, read
from accweight_core.store.files import refuse_links
from accweight_core.store.groups import create_group
from accweight_core.store.header import Header
from accweight_core.store.records import FORMAT_VERSION, NonFinite, SegmentDocument
from accweight_core.store.replacing import discard, is_folder
from accweight_core.store.segments import SEGMENT, SEGMENTS, Span, read_group, spans_in
from accweight_core.store.state import FIRST_STATE, LATEST


def digest_of(totals: Floats) -> str:
    """Return what identifies the state after a step: a digest of its sums, (parameters, sums)."""
    return hashlib.sha256(totals.tobytes()).hexdigest()


def segment_document(
    before: Header, after: Header, alone: Header, nonfinite: Sequence[NonFinite]
) -> SegmentDocument:
    """Return what a segment adds to the header.

    Args:
        before: The header of all steps before it.
        after: The header of all steps up to its last one.
        alone: The header of its own steps.
        nonfinite: Parameters that have held NaN or infinity up to its last step.
    """
    same = map(eq, before.warnings, after.warnings)
    kept = sum(takewhile(bool, same))
    return SegmentDocument(
        checkpoints=alone.checkpoints,
        reader=after.reader,
        notes=after.notes[len(before.notes) :],
        kept_warnings=kept,
        warnings=after.warnings[kept:],
        maximum=after.maximum,
        versions=dict(after.versions),
        name_map={} if before.name_map else dict(after.name_map),
        type_changes=after.type_changes[len(before.type_changes) :],
        picture_bases=alone.picture_bases,
        packs=alone.packs,
        nonfinite=tuple(nonfinite),
        follows=alone.follows,
    )


def write_document(folder: Path, document: SegmentDocument) -> None:
    """Write the group of a segment, in place of what described it while it was written."""
    create_group(folder, {SEGMENT: msgspec.to_builtins(document)})


def publish(store: Store, draft: Path, document: SegmentDocument) -> Store:
    """Put a complete segment in its place, and its state; return the analysis with it.

    Args:
        store: The analysis, whose lock is held.
        draft: Folder of the segment.
        document: What the segment adds.
    """
    path, place = store.path, real_place(store.path)
    first = len(store.header.checkpoints)
    span = Span(first, first + len(document.checkpoints) - 1)
    if is_folder(draft / FIRST_STATE):
        refuse_links(place, STATES)
        state = place / STATES / state_after(span.last)
        discard(path, state)
        state.parent.mkdir(exist_ok=True)
        (draft / FIRST_STATE).rename(state)
    say_that_it_grows(place)
    if not (place / SEGMENTS / METADATA).exists():
        create_group(place / SEGMENTS)
    draft.rename(place / SEGMENTS / span.name)
    longer = store.with_segment(span, document)
    with suppress(OSError):  # the steps are in place; the next writer sweeps
        sweep_grown(longer)
    return longer


def say_that_it_grows(place: Path) -> None:
    """Set the format of an analysis to the one with segments, so that older versions refuse it."""
    document = read(place / METADATA)
    header = document["attributes"][ATTRIBUTE]
    if header["format"] < FORMAT_VERSION:
        header = header | {"format": FORMAT_VERSION}
        create_group(place, document["attributes"] | {ATTRIBUTE: header})


def tidy_grown(path: Path) -> tuple[Store | None, bool]:
    """Finish what a writer that was killed has left: put a complete segment in place, and sweep.

    Args:
        path: Folder of the analysis, whose lock is held.

    Returns:
        The analysis, None if none can be read; and whether a segment was put in place.
    """
    try:
        store = Store.begun_at(path)
    except OSError:
        return None, False
    longer = _published(store, beside(path, "next")) if store.header.complete else None
    if longer is not None:
        return longer, True
    if is_folder(real_place(path) / STATES) or store.spans:
        sweep_grown(store)
    return store, False


def _published(store: Store, draft: Path) -> Store | None:
    """Put a draft in place if it is a complete segment that follows the last step."""
    try:
        document = checked(read_group(draft), SegmentDocument)
    except (OSError, ValueError):
        return None  # another draft, or none
    fits = document.follows == digest_of(store.last_totals)
    return publish(store, draft, document) if fits and is_folder(draft) else None


def sweep_grown(store: Store) -> None:
    """Remove what newer segments and a newer state have replaced.

    Args:
        store: The analysis, whose lock is held.
    """
    path, place = store.path, real_place(store.path)
    current = set(store.spans)
    for span in spans_in(place):
        if span not in current:
            discard(path, place / SEGMENTS / span.name)
    newest = store.newest_state
    if is_folder(place / STATES):
        for state in sorted((place / STATES).iterdir()):
            if not store.spans or newest is None or state.name != state_after(newest - 1):
                discard(path, state)
    if store.spans and newest != store.first_steps:
        _discard_first_state(store, place)
    if not store.header.picture_bases:
        for part in store.parts:
            discard(path, part.path / "pictures")


def _discard_first_state(store: Store, place: Path) -> None:
    """Remove the state after the first part, except for the references.

    The last folder goes first, so that the first one tells whether all are gone.
    """
    refuse_links(place, FIRST_STATE)
    if not is_folder(place / FIRST_STATE):
        return
    folders = sorted(path.name for path in (place / FIRST_STATE).iterdir())
    if any(is_folder(place / FIRST_STATE / folders[0] / name) for name in LATEST):
        for folder in reversed(folders):
            refuse_links(place, f"{FIRST_STATE}/{folder}")
            for name in LATEST:
                discard(store.path, place / FIRST_STATE / folder / name)

"""Series of checkpoints that are revisions: the same file at every revision of a repository.

The steps are those in the files or in the names of the revisions (``step1000``); where there are
none, the order is that of the commits. Revisions that hold the very same objects are no steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from accweight_core.errors import FormatError
from accweight_core.remote import by_age, revision_of
from accweight_core.runs.found import Found, Order, Placed
from accweight_core.runs.name_parts import parts_of
from accweight_core.runs.order_doubts import BY_ALPHABET
from accweight_core.runs.revisions import NARROWER, inner, name_of
from accweight_core.runs.search import Broken, LeftOut
from accweight_core.runs.series import Series, copies_among, one_series


def revision_series(
    found: Sequence[Found], broken: Sequence[Broken], *, in_given_order: bool = False
) -> tuple[list[Series], list[LeftOut]]:
    """Return the series among checkpoints at revisions, and what belongs to none.

    Args:
        found: The checkpoints, in the order of the revisions.
        broken: Files that cannot be read.
        in_given_order: Whether to number the checkpoints in the order they are given.
    """
    found = [replace(one, revision=revision_of(one.path), is_named=False) for one in found]
    is_one = len({one.revision for one in found}) == len(found)
    home = {file: "" if is_one else file for file in (inner(one.path) for one in found)}
    groups: dict[str, tuple[list[Found], list[Broken]]] = {key: ([], []) for key in home.values()}
    for one in found:
        groups[home[inner(one.path)]][0].append(one)
    left_out = []
    for bad in broken:
        if _is_branch_or_tag(bad) and inner(bad.path) in home:
            groups[home[inner(bad.path)]][1].append(_told(bad))
        else:
            left_out.append(_left_out(bad))
    made = [_series(members, lost, in_given_order) for members, lost in groups.values()]
    copies = copies_among(made)
    named = {file: series.name for file, series in copies.items()}
    return [replace(one, copy_of=named.get(one.first, "")) for one in made], left_out


def is_numbered(found: Sequence[Found]) -> bool:
    """Tell whether a single checkpoint is at a revision whose name may say its step."""
    if len(found) != 1:
        return False
    return any(parts_of(part).counts for part in name_of(found[0].path).split("/"))


def _series(found: list[Found], broken: list[Broken], in_given_order: bool) -> Series:
    """Return checkpoints at different revisions as one series."""
    kept, left_out = (found, []) if in_given_order else _without_copies(found)
    file = inner(kept[0].path)
    series = one_series(kept, broken, in_given_order=in_given_order)
    placed = _in_order(list(series.placed))
    repeated = {} if in_given_order else _repeated(placed)
    return replace(
        series,
        name=file,
        pattern=file,
        first=file,
        order=Order(
            [place for place in placed if place.found.path not in repeated],
            series.order.without_step,
        ),
        left_out=(*left_out, *series.left_out, *repeated.values()),
    )


def _without_copies(found: list[Found]) -> tuple[list[Found], list[LeftOut]]:
    """Leave out branches and tags without a number whose files another revision has."""
    first: dict[object, Found] = {}
    for one in sorted(found, key=lambda one: not _has_number(one)):
        first.setdefault(_files(one), one)
    copies = {
        one.path: LeftOut(one.path, f"the same files as {first[_files(one)].label}", one.label)
        for one in found
        if first[_files(one)] is not one and not _has_number(one) and _is_named(one)
    }
    return [one for one in found if one.path not in copies], list(copies.values())


def _repeated(placed: Sequence[Placed]) -> dict[object, LeftOut]:
    """Return the checkpoints that have the very files of the one before."""
    return {
        later.found.path: LeftOut(
            later.found.path, f"the same files as {earlier.found.label}", later.found.label
        )
        for earlier, later in pairwise(placed)
        if _files(earlier.found) == _files(later.found)
    }


def _files(one: Found) -> object:
    """Return what tells the contents of the files of a checkpoint apart; nothing is read."""
    return tuple(sorted((stamp.size_bytes, stamp.changed_ns) for stamp in one.stamps.values()))


def _has_number(one: Found) -> bool:
    return any(parts_of(part).counts for part in one.parts)


def _is_named(one: Found) -> bool:
    return one.revision is not None and one.revision.is_named


def _in_order(placed: list[Placed]) -> list[Placed]:
    """Return checkpoints with the names of their revisions as the source of their steps.

    Where neither files nor names say a step, they are numbered in the order of the commits.
    """
    if all(_is_named(place.found) for place in placed) and placed[0].source == BY_ALPHABET:
        found = {place.found.path: place.found for place in placed}
        return [
            Placed(found[path], step, f"revision {name_of(path)}, in order of the commits")
            for step, path in enumerate(by_age(found))
        ]
    return [replace(place, source=_source(place)) for place in placed]


def _source(place: Placed) -> str:
    """Return where the step of a checkpoint was found, with the name of its revision."""
    kind = "revision" if _is_named(place.found) else "commit"
    told = f"{kind} {place.found.label}"
    return f"{told}, {place.source}" if place.source.startswith("in file") else told


def _is_branch_or_tag(bad: Broken) -> bool:
    revision = revision_of(bad.path)
    return revision is not None and revision.is_named


def _told(bad: Broken) -> Broken:
    """Return a broken file with an error that names its revision and what to do."""
    problem = f"revision {name_of(bad.path)} cannot be read: {bad.reason}; {NARROWER}"
    return Broken(bad.path, FormatError(bad.path, problem))


def _left_out(bad: Broken) -> LeftOut:
    return LeftOut(bad.path, bad.reason, f"{name_of(bad.path)}:{inner(bad.path)}")

"""Survey a source: which series it holds, which of them is the run, and what is left out.

The run is the only series, or the only complete one beside single files; otherwise the user
chooses. Files that the user named one by one are one run, unless they are two complete series.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from accweight_core.errors import MismatchError, SeveralSeriesError
from accweight_core.remote import is_url, shown
from accweight_core.runs.averages import with_averages
from accweight_core.runs.found import Found
from accweight_core.runs.name_parts import parts_of
from accweight_core.runs.order_doubts import GIVEN
from accweight_core.runs.order_words import is_copy_name
from accweight_core.runs.resolving import TAKEN_IN
from accweight_core.runs.revision_series import is_numbered, revision_series
from accweight_core.runs.search import NOT_WEIGHTS, LeftOut
from accweight_core.runs.selection import ALL, Selection
from accweight_core.runs.series import Series, one_series, series_in
from accweight_core.runs.sources import Gathered, gather
from accweight_core.text import counted, shortened, some

ONE_OF_FORMATS = (
    "make one run of them with --map FILE (accweight inspect SOURCE --write-map FILE proposes one)"
)

ABOVE = "it lies above the folders of the checkpoints"


class Place(NamedTuple):
    """Where a checkpoint that was analysed lies: its path, and the key of an averaged copy."""

    path: str
    copy: str = ""


Like = Callable[[], Sequence[Place]]
"""Returns checkpoints that were analysed before; asked only where a source has several series, as
they may be thousands."""


def like_none() -> Sequence[Place]:
    """Return no checkpoints: nothing was analysed before."""
    return ()


@dataclass(frozen=True)
class Survey:
    """What a source holds.

    Attributes:
        source: The source as the user gave it.
        series: The series, in natural order, each before those of its averaged copies.
        left_out: Files and folders that belong to no series, and why.
        notes: Where the search stopped at a limit.
    """

    source: str
    series: tuple[Series, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


def surveyed(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], selection: Selection = ALL
) -> Survey:
    """Find the series of a source of files.

    Raises:
        SourceError: If the source does not exist or has no checkpoints.
        FormatError: If a file that the user named is damaged, or nothing can be read.
        MismatchError: If files that the user named have several formats, without a map.
    """
    named = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    text = ", ".join(shown(name) for name in named[:3]) + (", ..." if len(named) > 3 else "")
    gathered = gather(source, selection)
    series, left_out = _series(gathered, selection, text)
    return Survey(
        text, tuple(with_averages(series)), (*gathered.left_out, *left_out), tuple(gathered.notes)
    )


def _series(
    gathered: Gathered, selection: Selection, source: str
) -> tuple[list[Series], list[LeftOut]]:
    found, broken = gathered.found, gathered.broken
    if gathered.are_revisions or is_numbered(found):
        return revision_series(found, broken, in_given_order=selection.in_given_order)
    is_told = selection.in_given_order or (selection.mixed and selection.series is None)
    if not is_told:
        series, left_out = series_in(found, broken, gathered.root, gathered.runs)
        is_named = all(item.is_named for item in found) and selection.series is None
        if not is_named or len(series) == 1 or len(_complete(series)) > 1 or _differ(series):
            return series, left_out
    if len({item.reader for item in found}) > 1 and not selection.mixed:
        raise of_several_formats(source, found)
    one = one_series(found, broken, in_given_order=selection.in_given_order)
    return [one], []


def _complete(series: Sequence[Series]) -> list[Series]:
    """Return what may be the run: neither single files nor copies nor averages of others."""
    return [one for one in _own(series) if one.is_complete and not one.copy_of]


def _own(series: Sequence[Series]) -> list[Series]:
    return [one for one in series if not one.averaged_of]


def _differ(series: Sequence[Series]) -> bool:
    """Tell whether single files have one name in several folders, so they are of several runs."""
    names = [place.found.path.name for one in series for place in one.placed]
    if len(series) < 2:
        return False
    return any(parts_of(name).counts and names.count(name) > 1 for name in names)


def chosen_series(survey: Survey, selection: Selection = ALL, like: Like = like_none) -> Series:
    """Return the series that the user chose, or the one that is plainly the run.

    Args:
        survey: What the source holds.
        selection: The choice of the user.
        like: Checkpoints analysed before; of several series, the one that goes on from them.

    Raises:
        SeveralSeriesError: If there are several, or there is none of that name.
        MismatchError: If a single file of another format claims to be a checkpoint of the run.
    """
    if selection.series is not None:
        return _called(survey, selection.series)
    held_before = _like(survey, like()) if len(survey.series) > 1 else None
    plain = held_before or plain_series(survey)
    found = [place.found for one in survey.series for place in one.placed]
    if plain is None:
        is_mixed = len({item.reader for item in found}) > 1
        if is_mixed and not any(one.is_complete for one in survey.series):
            raise of_several_formats(survey.source, found)
        raise SeveralSeriesError(_several(survey), tuple(one.name for one in survey.series))
    strange = [one for one in _own(survey.series) if one is not plain and _claims(one, plain)]
    if strange:
        found = [place.found for one in (plain, *strange) for place in one.placed]
        raise of_several_formats(survey.source, found)
    return plain


def _like(survey: Survey, places: Sequence[Place]) -> Series | None:
    """Return the series that holds these checkpoints, or lies and is named as they are."""
    known = {place.path for place in places}
    copies = {place.copy for place in places}
    series = [one for one in survey.series if {p.found.copy for p in one.placed} == copies]
    held = {one.name: {_absolute(place.found.path) for place in one.placed} for one in series}
    most = max((len(known & own) for own in held.values()), default=0)
    best = [one for one in series if most and len(known & held[one.name]) == most]
    if not best and places:
        patterns = {_pattern(path) for path in known}
        best = [one for one in series if {_pattern(p) for p in held[one.name]} & patterns]
    return best[0] if len(best) == 1 else None


def _absolute(path: Path) -> str:
    return str(path) if is_url(path) else os.path.abspath(path)


def _pattern(path: str) -> tuple[str, ...]:
    """Return the names of a path with marks for their numbers, and the version in the last one."""
    *folders, name = path.split("/")
    parts = parts_of(name)
    return *(parts_of(folder).pattern for folder in folders), parts.pattern, str(parts.version)


def plain_series(survey: Survey) -> Series | None:
    """Return the series that is plainly the run; None if the user has to choose.

    It is the only one, or the only complete one beside single files and a series of best ones.
    """
    own = _own(survey.series)
    if len(own) == 1:
        return own[0]
    complete = _complete(own)
    plain = [one for one in complete if not _are_copies(one)]
    if len(plain) == 1 and all(one.signature == plain[0].signature for one in complete):
        return plain[0]
    return complete[0] if len(complete) == 1 else None


def _are_copies(series: Series) -> bool:
    """Tell whether all of its checkpoints are called best or last, as those of a longer series."""
    return all(is_copy_name(place.found.path.name) for place in series.placed)


def _called(survey: Survey, name: str) -> Series:
    """Return the series of a name, or of a pattern that only one name matches."""
    names = [one.name for one in survey.series]
    for matches in (
        [one for one in survey.series if one.name == name],
        [one for one in survey.series if one.name.lower() == name.lower()],
        [one for one in survey.series if fnmatchcase(one.name, name)],
    ):
        if len(matches) == 1:
            return matches[0]
    raise SeveralSeriesError(
        f"{survey.source}: there is no series {name!r}; series: {', '.join(names)}", tuple(names)
    )


def _claims(single: Series, run: Series) -> bool:
    """Tell whether a single file of another format is named like the checkpoints of a run."""
    own, first = single.placed[0].found, run.placed[0].found
    name, like = parts_of(own.path.name), parts_of(first.path.name)
    return (
        not single.is_complete
        and own.reader != first.reader
        and own.path.parent == first.path.parent
        and bool(name.counts)
        and name.pattern == like.pattern
    )


def _several(survey: Survey) -> str:
    """Return the error for a source that holds several series."""
    complete = _complete(survey.series) or _own(survey.series)
    formats = {one.readers for one in complete}
    listed = [
        one.in_short.removesuffix(")") + f", {one.format})" if len(formats) > 1 else one.in_short
        for one in complete[:8]
    ]
    more = f" and {len(complete) - 8} more" if len(complete) > 8 else ""
    what = "files of several formats, " if len(formats) > 1 else ""
    is_run = complete[0].is_complete
    kind = "series of checkpoints" if is_run else "single checkpoints"
    ways = "take one with --series NAME, each by itself with --all, or "
    ways = ways if is_run else "inspect one with --series NAME, or "
    return (
        f"{survey.source}: {what}{len(complete)} {kind}, which are not one run: "
        f"{'; '.join(listed)}{more}; {ways}name the files of one run in order with --given-order"
        + " (accweight inspect lists them)" * is_run
        + f"; or {ONE_OF_FORMATS}" * (len(formats) > 1)
    )


def of_several_formats(source: str, found: Sequence[Found]) -> MismatchError:
    """Return the error for files of several formats in one run."""
    by_reader: dict[str, list[str]] = {}
    for item in found:
        by_reader.setdefault(item.reader, []).append(item.path.name)
    listed = "; ".join(f"{name}: {some(files)}" for name, files in sorted(by_reader.items()))
    return MismatchError(
        f"{source}: files of several formats ({listed}); "
        f"choose one with --reader, or {ONE_OF_FORMATS}"
    )


def left_out_of(survey: Survey, run: Series | None) -> list[LeftOut]:
    """Return all that is left out where one series is taken, or where all are listed."""
    listed = [run] if run is not None else _own(survey.series)
    out = list(survey.left_out)
    for series in listed:
        out += series.left_out
        out += [LeftOut(bad.path, bad.reason) for bad in series.broken]
        out += _without_step(series)
    return out


def _without_step(series: Series) -> list[LeftOut]:
    found = series.order.without_step
    paths = [place.found.path for place in series.placed] + [item.path for item in found]
    names = dict(zip(paths, shortened([str(path) for path in paths]), strict=True))
    source = series.origin
    told = f" where the others have one ({source})" if source != GIVEN else ""
    reason = f"no step{told}; {TAKEN_IN}"
    return [
        LeftOut(
            item.path,
            ABOVE if item.path in series.above else reason,
            names[item.path],
        )
        for item in found
    ]


def notes_on(left_out: Sequence[LeftOut]) -> list[str]:
    """Return notes on what was left out, one for every reason."""
    by_reason: dict[tuple[str, object], list[str]] = {}
    for one in left_out:
        apart: object = len(one.path.parts) if one.reason == NOT_WEIGHTS else None
        apart = one.path if one.reason.startswith("it is ") else apart
        by_reason.setdefault((one.reason, apart), []).append(one.name)
    return [
        f"left out, not weights: {some(counted(names))}"
        if reason == NOT_WEIGHTS
        else f"{some(counted(names))} left out: {reason}"
        for (reason, _), names in by_reason.items()
    ]


def notes_beside_all(survey: Survey, taken: Sequence[Series]) -> dict[str, list[str]]:
    """Return notes on what is left out where all series are taken, each by itself, by series."""
    notes = {
        run.name: _notes_on_copies([one for one in survey.series if one.copy_of == run.name])
        for run in taken
    }
    single = [one.in_short for one in _own(survey.series) if not one.is_complete]
    if single:
        notes[taken[0].name].append(f"single checkpoints left out: {some(single)}")
    return notes


def _notes_on_copies(copies: Sequence[Series]) -> list[str]:
    return [f"series {one.in_short} left out: same weights as {one.copy_of}" for one in copies]


def _notes_on_averages(survey: Survey, run: Series) -> list[str]:
    """Return notes on averages in files of their own; those within are told with the files."""
    return [
        f"series {one.in_short} left out: averaged copies of {run.name}, by its name; "
        "take it with --series NAME"
        for one in survey.series
        if one.averaged_of == run.name and not one.is_within
    ]


def note_on_others(survey: Survey, run: Series) -> list[str]:
    """Return a note on the series that are not taken."""
    copies = [one for one in survey.series if one.copy_of == run.name]
    told = [*_notes_on_copies(copies), *_notes_on_averages(survey, run)]
    others = [one for one in _own(survey.series) if one is not run and one not in copies]
    if not others:
        return told
    noun = "series" if any(one.is_complete for one in others) else "single checkpoints"
    listed = some([one.in_short for one in others])
    return [*told, f"{noun} left out beside {run.name}: {listed}; take one with --series NAME"]

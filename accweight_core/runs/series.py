"""Series: the checkpoints of a folder that belong together as one run; a folder may hold several.

Checkpoints that lie and are named alike make a series (`clusters`). Single files beside one, such
as best, last or init, join it if they say their step, or are left out as copies or for want of a
step. Two complete series are never joined. One may be a copy of another, as where each checkpoint
was saved in two formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath

from accweight_core.errors import StepOrderError
from accweight_core.naming import layers_of, natural_key
from accweight_core.runs.clusters import (
    Cluster,
    Item,
    below,
    clustered,
    is_in_step_folder,
    read_below,
)
from accweight_core.runs.data_names import are_data
from accweight_core.runs.drafts import (
    Draft,
    drafted,
    joined,
    with_their_series,
)
from accweight_core.runs.found import Found, Order, Placed
from accweight_core.runs.grouping import Signature, signature_of
from accweight_core.runs.name_parts import parts_of
from accweight_core.runs.order_words import is_duplicate_name
from accweight_core.runs.readings import read_paths
from accweight_core.runs.resolving import resolve
from accweight_core.runs.search import Broken, LeftOut
from accweight_core.runs.series_names import UNNAMED, Parts, named_alike, unique_names
from accweight_core.runs.step_order import order_of
from accweight_core.runs.twins import same, tensors_of
from accweight_core.schema import Layer, StoredTensor

_BACKUP = re.compile(r"(^|[^a-z])(backups?|bak|copy|copies|old|archive)([^a-z]|$)", re.IGNORECASE)
"""Names of what is a copy of another series, rather than the other way round."""

COMPARED_TENSORS = 16
"""Tensors compared to tell whether two series of equal steps are copies."""


@dataclass(frozen=True, eq=False, repr=False)
class Series:
    """Checkpoints that belong together as one run.

    Attributes:
        name: Its name, short and unique in the source.
        pattern: How its files are named: `checkpoint-N/model.safetensors`.
        first: Path of one of its files below the source.
        order: Its checkpoints in step order, and those that have no step.
        readers: Names of the readers of its files.
        broken: Files named like its checkpoints that cannot be read.
        left_out: Files beside it that are copies, or have no place in it.
        clash: Two different checkpoints of one step, in words; empty if there are none.
        above: Files without a step that lie above the folders of its checkpoints.
        copy_of: Name of the series that has the same weights at all of its steps.
        averaged_of: Name of the series of which these are averaged copies (ema), in its
            checkpoints or in files of their own.
        told: What its name is made of; see `series_names`.
    """

    name: str
    pattern: str
    first: str
    order: Order
    readers: tuple[str, ...]
    broken: tuple[Broken, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    clash: str = ""
    above: frozenset[Path] = frozenset()
    copy_of: str = ""
    averaged_of: str = ""
    told: Parts = ()

    def __repr__(self) -> str:
        """Return a one-line summary."""
        return f"<Series {self.name}: {self._size}, {self.pattern}>"

    @property
    def placed(self) -> Sequence[Placed]:
        """Its checkpoints in step order."""
        return self.order.placed

    @property
    def is_complete(self) -> bool:
        """Whether it has two checkpoints at least, so that it may be a run."""
        return len(self.order.placed) > 1

    @property
    def is_within(self) -> bool:
        """Whether these are averaged copies that the checkpoints of another series hold."""
        return bool(self.averaged_of and self.placed[0].found.copy)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Layers of its first checkpoint."""
        return layers_of(self.placed[0].found.description.tensors)

    @cached_property
    def signature(self) -> Signature:
        """Names and shapes of its parameters."""
        return signature_of(self.layers)

    @property
    def origin(self) -> str:
        """Where most of its steps were found."""
        sources = [place.source for place in self.placed]
        return max(dict.fromkeys(sources), key=sources.count)

    @property
    def format(self) -> str:
        """Names of its file formats, separated by commas."""
        return ", ".join(sorted({p.found.description.format for p in self.placed}))

    @property
    def steps(self) -> tuple[int, ...]:
        """Its steps, ascending."""
        return tuple(place.step for place in self.placed)

    @property
    def span(self) -> str:
        """Its first and last step, in words."""
        return f"{self.steps[0]} to {self.steps[-1]}" if self.is_complete else str(self.steps[0])

    @property
    def in_short(self) -> str:
        """Its name, number of checkpoints, steps, and one of its files."""
        return f"{self.name} ({self._size}, {self.first})"

    @property
    def _size(self) -> str:
        plural = "s" * (len(self.placed) != 1)
        return f"{len(self.placed)} checkpoint{plural}, step{plural} {self.span}"


def series_in(
    found: Sequence[Found],
    broken: Sequence[Broken],
    root: Sequence[str],
    runs: Iterable[Path] = (),
) -> tuple[list[Series], list[LeftOut]]:
    """Return the series among checkpoints, and what belongs to none.

    Args:
        found: The checkpoints, in natural order of their names.
        broken: Files that cannot be read.
        root: Parts of the path of the source; what it is called changes nothing.
        runs: Folders that are those of runs, by what else is in them.
    """
    items, unread = read_below(found, broken, root)
    beneath = len(root) if len(found) > 1 else 0
    inner = [below(folder.parts, root) for folder in runs if len(folder.parts) > len(root)]
    clusters = clustered(items, broken, unread, inner)
    complete = [drafted(c, beneath) for c in clusters if len(c.items) > 1]
    if not complete:  # one checkpoint so far, `checkpoint-500/`, and the model above it
        complete = [drafted(c, beneath) for c in clusters if is_in_step_folder(c)]
        complete = complete if len(complete) == 1 else []
    begun = [draft.cluster for draft in complete]
    singles = with_their_series([c for c in clusters if c not in begun], complete)
    drafts = [*complete, *(drafted(cluster, beneath) for cluster in joined(singles, complete))]
    for draft in drafts:
        resolve(draft)
    kept, data = _without_data([_made(draft) for draft in drafts])
    kept = _named(kept, copies_among(kept))
    left_out = [
        LeftOut(place.found.path, "data or statistics, not weights, by the names of the arrays")
        for series in data
        for place in series.placed
    ]
    taken = {bad.path for draft in drafts for bad in draft.cluster.broken}
    left_out += [LeftOut(bad.path, bad.reason) for bad in broken if bad.path not in taken]
    return kept, left_out


def one_series(
    found: Sequence[Found], broken: Sequence[Broken], *, in_given_order: bool = False
) -> Series:
    """Return all checkpoints as one series, as the user named them or gave their order."""
    read = read_paths([one.parts for one in found]).paths
    found = [replace(one, read=parts) for one, parts in zip(found, read, strict=True)]
    items = [Item(one, one.parts) for one in found]
    order = order_of(found, in_given_order=in_given_order)
    draft = Draft(Cluster(items, broken=list(broken)), order)
    resolve(draft)
    readers = tuple(sorted({one.reader for one in found}))
    first = found[0].path.name
    return Series(
        UNNAMED,
        first,
        first,
        draft.order,
        readers,
        tuple(broken),
        tuple(draft.left_out),
        draft.clash,
    )


# ---------------------------------------------------------------- names, copies of whole series


def _made(draft: Draft) -> Series:
    """Return the series of a draft, without a name."""
    placed = draft.order.placed
    at = {place.found.path: index for index, place in enumerate(placed)}
    items = sorted(draft.cluster.items, key=lambda i: at.get(i.found.path, len(at)))
    same = len({len(item.parts) for item in items}) == 1
    alike = _as_written(items) if same else [item.parts[-1:] for item in items]
    pattern, told = named_alike(alike, draft.cluster.fold)
    first = items[0]
    return Series(
        name="",
        pattern=pattern,
        first="/".join(first.written),
        order=draft.order,
        readers=tuple(sorted({place.found.reader for place in placed})),
        broken=tuple(draft.cluster.broken),
        left_out=tuple(draft.left_out),
        clash=draft.clash,
        above=frozenset(draft.above),
        told=(*told, parts_of(first.parts[-1]).ending or f".{first.found.reader}"),
    )


def _as_written(items: Sequence[Item]) -> list[Parts]:
    """Return the parts of paths as they are read, but folders that all share as they are named."""
    parts = [list(item.parts) for item in items]
    for depth in range(len(parts[0]) - 1):
        named = {item.named[depth] for item in items if len(item.named) == len(item.parts)}
        if len(named) == 1:
            for own in parts:
                own[depth] = next(iter(named))
    return [tuple(own) for own in parts]


def _named(made: list[Series], copies: dict[str, Series]) -> list[Series]:
    """Return the series with names, and with those of which they are copies."""
    names = unique_names([series.told for series in made])
    name_of = {series.first: name for series, name in zip(made, names, strict=True)}
    named = [
        replace(
            series,
            name=name_of[series.first],
            copy_of=name_of[copies[series.first].first] if series.first in copies else "",
        )
        for series in made
    ]
    return sorted(named, key=lambda series: natural_key(series.name))


def _without_data(made: list[Series]) -> tuple[list[Series], list[Series]]:
    """Return the series of weights, and those of data; all as weights if there are no others."""
    data = [series for series in made if _is_data(series)]
    weights = [series for series in made if series not in data]
    return (weights, data) if any(series.is_complete for series in weights) else (made, [])


def _is_data(series: Series) -> bool:
    found = series.placed[0].found
    return are_data([tensor.name for tensor in tensors_of(found)], found.path.name)


def copies_among(made: list[Series]) -> dict[str, Series]:
    """Return the series whose checkpoints are all in another, which is kept, by their files."""
    ranked = sorted(
        (series for series in made if series.is_complete),
        key=lambda series: (
            -len(series.placed),
            len(PurePath(series.first).parts),
            _BACKUP.search(series.first) is not None,
            is_duplicate_name(PurePath(series.first).stem),
            "safetensors" not in series.readers,
        ),
    )
    kept: list[Series] = []
    copies: dict[str, Series] = {}
    for series in ranked:
        whole = next((other for other in kept if _is_copy(series, other)), None)
        if whole is None:
            kept.append(series)
        else:
            copies[series.first] = whole
    return copies


def _is_copy(series: Series, whole: Series) -> bool:
    """Tell whether the first and the last checkpoint have the weights of another series' steps."""
    at = {place.step: place.found for place in whole.placed}
    if series.signature != whole.signature or any(p.step not in at for p in series.placed):
        return False
    return all(
        same(_sample(at[p.step]), _sample(p.found)) for p in (series.placed[0], series.placed[-1])
    )


def _sample(found: Found) -> list[StoredTensor]:
    tensors = sorted(tensors_of(found), key=lambda tensor: tensor.name)
    stride = max(1, len(tensors) // COMPARED_TENSORS)
    return tensors[::stride]


def check_order(series: Series) -> None:
    """Raise if a series cannot be analysed as it is: a broken file, or a step claimed twice.

    Raises:
        AccweightError: The error of the first broken file.
        StepOrderError: If two different checkpoints have one step, or a file that the user named
            has none.
    """
    if series.broken:
        raise series.broken[0].error
    if series.clash:
        raise StepOrderError(series.clash)
    named = [found for found in series.order.without_step if found.is_named]
    if named:
        name = named[0].path.name
        raise StepOrderError(
            f"{name} has no step where the others have one ({series.origin}); "
            f"leave it out with --exclude '{name}', or give the files in order with --given-order"
        )

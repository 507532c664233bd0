"""Series: the checkpoints of a folder that belong together as one run; a folder may hold several.

Checkpoints that lie and are named alike make a series (`clusters`). Single files beside one, such
as best, last or init, join it if they say their step, or are left out as copies or for want of a
step. Two complete series are never joined. One may be a copy of another, as where each checkpoint
was saved in two formats.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from accweight_core.errors import FormatError, StepOrderError
from accweight_core.io.reading import same_values
from accweight_core.naming import layers_of, natural_key
from accweight_core.runs.clusters import Cluster, Item, clustered, is_in_step_folder, parts_below
from accweight_core.runs.data_names import are_data
from accweight_core.runs.grouping import Signature, signature_of
from accweight_core.runs.name_parts import parts_of
from accweight_core.runs.search import Broken, LeftOut
from accweight_core.runs.series_names import UNNAMED, Parts, named_alike, unique_names
from accweight_core.runs.step_order import (
    BY_ALPHABET,
    Found,
    Order,
    Placed,
    ends_of,
    is_copy_name,
    order_of,
)
from accweight_core.schema import Layer, StoredTensor
from accweight_core.text import shortened

COMPARED_TENSORS = 16
"""Tensors compared to tell whether two series of equal steps are copies."""


@dataclass(frozen=True, eq=False)
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
    told: Parts = ()

    @property
    def placed(self) -> Sequence[Placed]:
        """Its checkpoints in step order."""
        return self.order.placed

    @property
    def is_complete(self) -> bool:
        """Whether it has two checkpoints at least, so that it may be a run."""
        return len(self.order.placed) > 1

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
    def steps(self) -> str:
        """Its steps in words."""
        first, last = self.placed[0].step, self.placed[-1].step
        return f"{first} to {last}" if self.is_complete else str(first)

    @property
    def in_short(self) -> str:
        """Its name, number of checkpoints, steps, and one of its files."""
        count = len(self.placed)
        plural = "s" * (count > 1)
        return f"{self.name} ({count} checkpoint{plural}, step{plural} {self.steps}, {self.first})"


@dataclass
class _Draft:
    """A series in the making."""

    cluster: Cluster
    order: Order
    singles: list[Item] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    clash: str = ""
    above: set[Path] = field(default_factory=set)

    @cached_property
    def signature(self) -> Signature:
        return signature_of(layers_of(self.cluster.items[0].found.description.tensors))

    @property
    def home(self) -> Parts:
        """Parts of the folder of the series, without the folder whose number changes."""
        parts, fold = self.cluster.items[0].parts, self.cluster.fold
        return parts[:-1] if fold is None else parts[:fold]


def series_in(
    found: Sequence[Found], broken: Sequence[Broken], root: Sequence[str]
) -> tuple[list[Series], list[LeftOut]]:
    """Return the series among checkpoints, and what belongs to none.

    Args:
        found: The checkpoints, in natural order of their names.
        broken: Files that cannot be read.
        root: Parts of the path of the source; what it is called changes nothing.
    """
    items = [Item(one, parts_below(one.path, root)) for one in found]
    beneath = len(root) if len(found) > 1 else 0
    clusters = clustered(items, broken, root)
    complete = [_draft(c, beneath) for c in clusters if len(c.items) > 1]
    if not complete:  # one checkpoint so far, `checkpoint-500/`, and the model above it
        complete = [_draft(c, beneath) for c in clusters if is_in_step_folder(c)]
        complete = complete if len(complete) == 1 else []
    begun = [draft.cluster for draft in complete]
    singles = _with_their_series([c for c in clusters if c not in begun], complete)
    drafts = [*complete, *(_draft(cluster, beneath) for cluster in _joined(singles, complete))]
    for draft in drafts:
        _resolve(draft)
    kept, data = _without_data([_made(draft) for draft in drafts])
    kept = _named(kept, _copies(kept))
    left_out = [
        LeftOut(place.found.path, "data or statistics, not weights, by the names of the arrays")
        for series in data
        for place in series.placed
    ]
    taken = {bad.path for draft in drafts for bad in draft.cluster.broken}
    left_out += [
        LeftOut(bad.path, str(bad.error).removeprefix(f"{bad.path}: "))
        for bad in broken
        if bad.path not in taken
    ]
    return kept, left_out


def one_series(
    found: Sequence[Found], broken: Sequence[Broken], *, in_given_order: bool = False
) -> Series:
    """Return all checkpoints as one series, as the user named them or gave their order."""
    items = [Item(one, one.path.parts) for one in found]
    order = order_of(found, in_given_order=in_given_order)
    draft = _Draft(Cluster(items, broken=list(broken)), order)
    _resolve(draft)
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


def _draft(cluster: Cluster, beneath: int) -> _Draft:
    found = [item.found for item in cluster.items]
    return _Draft(cluster, order_of(found, beneath=beneath))


# ---------------------------------------------------------------- single files beside a series


def _with_their_series(singles: list[Cluster], complete: list[_Draft]) -> list[Cluster]:
    """Put single files to the series they belong to; return the others."""
    left = []
    for single in singles:
        item = single.items[0]
        draft = None if single.is_alone else _series_of(item, complete)
        if draft is None:
            left.append(single)
        else:
            draft.singles.append(item)
    return left


def _series_of(item: Item, complete: list[_Draft]) -> _Draft | None:
    """Return the series a single file belongs to, by its place, content and name."""
    near = [draft for draft in complete if _is_near(item, draft)]
    if not near:
        return None
    signature = signature_of(layers_of(item.found.description.tensors))
    near = [draft for draft in near if draft.signature == signature]
    if any(draft.cluster.items[0].found.reader != item.found.reader for draft in near):
        own = parts_of(item.parts[-1])
        near = [] if own.counts else [d for d in near if _twin(item.found, d.order.placed)]
    here = [draft for draft in near if draft.home == item.parts[:-1]]
    near = here or near
    if len(near) > 1:
        copied = [draft for draft in near if _twin(item.found, draft.order.placed) is not None]
        near = copied or [draft for draft in near if _is_named_after(item, draft)]
    return near[0] if len(near) == 1 else None


def _is_near(item: Item, draft: _Draft) -> bool:
    """Tell whether a file lies in the folder of a series, above it, or in a folder of its own."""
    home, folder = draft.home, item.parts[:-1]
    is_above = home[: len(folder)] == folder
    is_below = folder[: len(home)] == home and len(folder) <= len(home) + 1
    depth = len(draft.cluster.items[0].parts)
    is_beside = folder[: len(home)] == home and len(item.parts) == depth
    is_of_run = not any(n.tells_runs_apart for p in folder[len(home) :] for n in parts_of(p).counts)
    return is_above or ((is_below or is_beside) and is_of_run)


def _is_named_after(item: Item, draft: _Draft) -> bool:
    """Tell whether a file is named as a series, but for the number and words such as 'last'."""
    first = draft.cluster.items[0]
    own, others = parts_of(item.parts[-1]), parts_of(first.parts[-1])
    if own.version != others.version:
        return False
    words = _words(first.parts[-1])
    return not words or words <= _words(item.parts[-1]) or own.version > 0


def _words(name: str) -> set[str]:
    text = "".join(parts_of(name).texts).lower()
    words = set(re.split(r"[\W_]+", text)) - {""}
    return {word for word in words if word not in ("epoch", "step", "checkpoint", "ckpt", "iter")}


def _joined(singles: list[Cluster], complete: list[_Draft]) -> list[Cluster]:
    """Join single files of one folder and content, as of `before.pt` and `after.pt`.

    Beside a complete series only files are joined that say their order themselves.
    """
    by_place: dict[tuple[object, ...], list[Cluster]] = {}
    for single in singles:
        found = single.items[0].found
        signature = signature_of(layers_of(found.description.tensors))
        parts = single.items[0].parts
        by_place.setdefault((parts[:-1], found.reader, signature), []).append(single)
    joined = []
    for group in by_place.values():
        items = [item for single in group for item in single.items]
        is_run = len(items) > 1 and not any(single.is_alone for single in group)
        if is_run and complete:
            is_run = order_of([i.found for i in items]).placed[0].source != BY_ALPHABET
        if is_run:
            joined.append(Cluster(items, broken=[bad for one in group for bad in one.broken]))
        else:
            joined += group
    return _joined_folders(joined)


def _joined_folders(clusters: list[Cluster]) -> list[Cluster]:
    """Join single files of one name in folders that words order: `init/model.pt`, `final/`."""
    kept: list[Cluster] = []
    by_name: dict[tuple[object, ...], list[Cluster]] = {}
    for cluster in clusters:
        parts = cluster.items[0].parts
        if len(cluster.items) > 1 or len(parts) < 2:
            kept.append(cluster)
        else:
            key = (parts[:-2], parts[-1], cluster.items[0].found.reader)
            by_name.setdefault(key, []).append(cluster)
    for group in by_name.values():
        items = [item for cluster in group for item in cluster.items]
        order = order_of([item.found for item in items])
        if len(items) > 1 and order.placed[0].source == "words in names":
            kept.append(Cluster(items, len(items[0].parts) - 2))
        else:
            kept += group
    return kept


# ---------------------------------------------------------------- steps, copies and clashes


def _resolve(draft: _Draft) -> None:
    """Give the single files of a series their place, and take out copies."""
    order = draft.order
    names = _short_names(draft)
    placed, without = list(order.placed), list(order.without_step)
    depth = len(draft.cluster.items[0].parts)
    for item in draft.singles:
        if len(item.parts) < depth and not item.found.is_named:
            draft.above.add(item.found.path)
            without.append(item.found)
            continue
        own = _placed_beside(item.found, order, draft)
        if own is None:
            without.append(item.found)
        else:
            placed.append(own)
    placed.sort(key=lambda p: _rank(p))
    kept: list[Placed] = []
    for place in placed:
        twin = kept[-1] if kept and kept[-1].step == place.step else None
        if twin is None:
            kept.append(place)
            continue
        path, other = place.found.path, names[twin.found.path]
        if _same(_tensors(twin.found), _tensors(place.found)):
            draft.left_out.append(LeftOut(path, f"same weights as {other}", names[path]))
            continue
        draft.left_out.append(
            LeftOut(
                path, f"claims step {place.step} as {other} does, with other weights", names[path]
            )
        )
        draft.clash = draft.clash or (
            f"two different checkpoints claim step {place.step} ({place.source}): "
            f"{other} and {names[path]}; leave one out with "
            f"--exclude '{names[path]}', or give the files in order with --given-order"
        )
    stepless: list[Found] = []
    for found in without:
        twin = None if found.path in draft.above else _twin(found, kept)
        if twin is None:
            stepless.append(found)
        else:
            other = names[twin.found.path]
            reason = f"same weights as {other}"
            draft.left_out.append(LeftOut(found.path, reason, names[found.path]))
    at_ends = ends_of(stepless, kept)
    placed_last = {place.found.path for place in at_ends}
    kept += at_ends
    kept.sort(key=lambda p: p.step)
    draft.order = Order(kept, [one for one in stepless if one.path not in placed_last])


def _rank(place: Placed) -> tuple[int, bool, int, str]:
    """Return a sort key: of several checkpoints of one step, the one to keep comes first."""
    name = place.found.path.name
    return place.step, is_copy_name(name), parts_of(name).version, name


def _placed_beside(found: Found, order: Order, draft: _Draft) -> Placed | None:
    """Return a single file with the step that it says itself, as the others of the series do."""
    source = order.placed[-1].source
    description = found.description
    if source.startswith("in file: "):
        is_told = description.step is not None and source == f"in file: {description.step_key}"
        return Placed(found, description.step or 0, source) if is_told else None
    if not source.startswith("in name: "):
        return None
    word = source.removeprefix("in name: ")
    counts = [n for p in found.path.parts[-1:] for n in parts_of(p).counts if n.step_word == word]
    return Placed(found, int(counts[-1].value), source) if counts and counts[-1].is_step else None


def _twin(found: Found, placed: Sequence[Placed]) -> Placed | None:
    """Return the checkpoint that has the same weights; the last ones are tried first."""
    tensors = _tensors(found)
    return next((p for p in reversed(placed) if _same(_tensors(p.found), tensors)), None)


def _same(left: Sequence[StoredTensor], right: Sequence[StoredTensor]) -> bool:
    """Tell whether two checkpoints have the same weights; a damaged one has others."""
    try:
        return same_values(left, right)
    except FormatError:
        return False


def _tensors(found: Found) -> Sequence[StoredTensor]:
    return found.description.tensors


def _short_names(draft: _Draft) -> dict[Path, str]:
    paths = [item.found.path for item in (*draft.cluster.items, *draft.singles)]
    return dict(zip(paths, shortened([str(path) for path in paths]), strict=True))


# ---------------------------------------------------------------- names, copies of whole series


def _made(draft: _Draft) -> Series:
    """Return the series of a draft, without a name."""
    placed = draft.order.placed
    at = {place.found.path: index for index, place in enumerate(placed)}
    items = sorted(draft.cluster.items, key=lambda i: at.get(i.found.path, len(at)))
    same = len({len(item.parts) for item in items}) == 1
    alike = [item.parts if same else item.parts[-1:] for item in items]
    pattern, told = named_alike(alike, draft.cluster.fold)
    first = items[0]
    return Series(
        name="",
        pattern=pattern,
        first="/".join(first.parts),
        order=draft.order,
        readers=tuple(sorted({place.found.reader for place in placed})),
        broken=tuple(draft.cluster.broken),
        left_out=tuple(draft.left_out),
        clash=draft.clash,
        above=frozenset(draft.above),
        told=(*told, parts_of(first.parts[-1]).ending or f".{first.found.reader}"),
    )


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
    return are_data([tensor.name for tensor in _tensors(found)], found.path.name)


def _copies(made: list[Series]) -> dict[str, Series]:
    """Return the series whose checkpoints are all in another, which is kept, by their files."""
    ranked = sorted(
        (series for series in made if series.is_complete),
        key=lambda series: (-len(series.placed), "safetensors" not in series.readers),
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
        _same(_sample(at[p.step]), _sample(p.found)) for p in (series.placed[0], series.placed[-1])
    )


def _sample(found: Found) -> list[StoredTensor]:
    tensors = sorted(_tensors(found), key=lambda tensor: tensor.name)
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

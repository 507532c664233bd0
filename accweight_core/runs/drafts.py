"""Series in the making: checkpoints named alike, and the single files beside them.

Single files such as best, last or init join the series they belong to by place, content and name,
if they say their step; else they are left out, as copies or for want of a step. Single files that
say their order by words, as before and after, make a series themselves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from accweight_core.errors import FormatError
from accweight_core.io.reading import same_values
from accweight_core.naming import layers_of
from accweight_core.runs.clusters import Cluster, Item
from accweight_core.runs.grouping import Signature, signature_of
from accweight_core.runs.name_parts import parts_of
from accweight_core.runs.search import LeftOut
from accweight_core.runs.series_names import Parts
from accweight_core.runs.step_order import (
    BY_ALPHABET,
    Found,
    Order,
    Placed,
    ends_of,
    is_copy_name,
    order_of,
)
from accweight_core.schema import StoredTensor
from accweight_core.text import shortened


@dataclass
class Draft:
    """A series in the making.

    Attributes:
        cluster: Its files, which lie and are named alike.
        order: Their order.
        singles: Single files beside them.
        left_out: Files that have no place in it, and why.
        clash: Two different checkpoints of one step, in words; empty if there are none.
        above: Files without a step that lie above the folders of its checkpoints.
    """

    cluster: Cluster
    order: Order
    singles: list[Item] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    clash: str = ""
    above: set[Path] = field(default_factory=set)

    @cached_property
    def signature(self) -> Signature:
        """Names and shapes of its parameters."""
        return signature_of(layers_of(self.cluster.items[0].found.description.tensors))

    @property
    def home(self) -> Parts:
        """Parts of the folder of the series, without the folder whose number changes."""
        parts, fold = self.cluster.items[0].parts, self.cluster.fold
        return parts[:-1] if fold is None else parts[:fold]


def drafted(cluster: Cluster, beneath: int) -> Draft:
    """Return files that lie and are named alike, in order.

    Args:
        cluster: The files.
        beneath: Parts of their paths that say nothing about the order, as all have them.
    """
    found = [item.found for item in cluster.items]
    return Draft(cluster, order_of(found, beneath=beneath))


# ---------------------------------------------------------------- single files beside a series


def with_their_series(singles: list[Cluster], complete: list[Draft]) -> list[Cluster]:
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


def _series_of(item: Item, complete: list[Draft]) -> Draft | None:
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


def _is_near(item: Item, draft: Draft) -> bool:
    """Tell whether a file lies in the folder of a series, above it, or in a folder of its own."""
    home, folder = draft.home, item.parts[:-1]
    is_above = home[: len(folder)] == folder
    is_below = folder[: len(home)] == home and len(folder) <= len(home) + 1
    depth = len(draft.cluster.items[0].parts)
    is_beside = folder[: len(home)] == home and len(item.parts) == depth
    is_of_run = not any(n.tells_runs_apart for p in folder[len(home) :] for n in parts_of(p).counts)
    return is_above or ((is_below or is_beside) and is_of_run)


def _is_named_after(item: Item, draft: Draft) -> bool:
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


def joined(singles: list[Cluster], complete: list[Draft]) -> list[Cluster]:
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


def resolve(draft: Draft) -> None:
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
        if same(tensors_of(twin.found), tensors_of(place.found)):
            draft.left_out.append(LeftOut(path, f"same weights as {other}", names[path]))
            continue
        draft.left_out.append(
            LeftOut(
                path, f"claims step {place.step} as {other} does, with other weights", names[path]
            )
        )
        remedy = f"leave one out with --exclude '{names[path]}', or give the files in order with "
        if place.found.revision is not None:
            remedy = "take one of them with a narrower --revisions, or keep the given order with "
        draft.clash = draft.clash or (
            f"two different checkpoints claim step {place.step} ({place.source}): "
            f"{other} and {names[path]}; {remedy}--given-order"
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
    name = place.found.parts[-1]
    return place.step, is_copy_name(name), parts_of(name).version, name


def _placed_beside(found: Found, order: Order, draft: Draft) -> Placed | None:
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
    tensors = tensors_of(found)
    return next((p for p in reversed(placed) if same(tensors_of(p.found), tensors)), None)


def same(left: Sequence[StoredTensor], right: Sequence[StoredTensor]) -> bool:
    """Tell whether two checkpoints have the same weights; a damaged one has others."""
    try:
        return same_values(left, right)
    except FormatError:
        return False


def tensors_of(found: Found) -> Sequence[StoredTensor]:
    """Return the tensors of a checkpoint."""
    return found.description.tensors


def _short_names(draft: Draft) -> dict[Path, str]:
    found = [item.found for item in (*draft.cluster.items, *draft.singles)]
    names = shortened([one.label for one in found])
    return {one.path: name for one, name in zip(found, names, strict=True)}

"""Series in the making: checkpoints named alike, and the single files beside them.

Single files such as best, last or init join the series they belong to by place, content and name,
if they say their step; else they are left out, as copies or for want of a step. Single files that
say their order by words, as before and after, make a series themselves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from accweight_core.runs.clusters import Cluster, Item
from accweight_core.runs.found import Order
from accweight_core.runs.name_parts import parts_of
from accweight_core.runs.order_doubts import BY_ALPHABET, BY_WORDS
from accweight_core.runs.search import LeftOut
from accweight_core.runs.series_names import Parts
from accweight_core.runs.step_order import order_of
from accweight_core.runs.twins import twin_of


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
        draft = None if single.is_alone else _series_of(single, complete)
        if draft is None:
            left.append(single)
        else:
            draft.singles.append(single.items[0])
    return left


def _series_of(single: Cluster, complete: list[Draft]) -> Draft | None:
    """Return the series a single file belongs to, by its place, content and name."""
    item = single.items[0]
    near = [draft for draft in complete if _is_near(item, draft)]
    near = [draft for draft in near if draft.cluster.signature == single.signature]
    if any(draft.cluster.items[0].found.reader != item.found.reader for draft in near):
        own = parts_of(item.parts[-1])
        near = [] if own.counts else [d for d in near if twin_of(item.found, d.order.placed)]
    here = [draft for draft in near if draft.home == item.parts[:-1]]
    near = here or near
    if len(near) > 1:
        copied = [draft for draft in near if twin_of(item.found, draft.order.placed) is not None]
        near = copied[:1] or [draft for draft in near if _is_named_after(item, draft)]
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
        item = single.items[0]
        place = item.parts[:-1], item.found.reader, single.signature
        by_place.setdefault(place, []).append(single)
    joined = []
    for group in by_place.values():
        items = [item for single in group for item in single.items]
        is_run = len(items) > 1 and not any(single.is_alone for single in group)
        if is_run and (complete or _have_one_step([item.parts[-1] for item in items])):
            is_run = order_of([i.found for i in items]).placed[0].source != BY_ALPHABET
        if is_run:
            joined.append(Cluster(items, broken=[bad for one in group for bad in one.broken]))
        else:
            joined += group
    return _joined_folders(joined)


def _have_one_step(names: Sequence[str]) -> bool:
    """Tell whether names have the same number where a step is: `lr0.1_100`, `lr0.2_100`."""
    steps = {
        tuple(n.value for n in parts_of(name).counts if n.step_word or not n.is_glued)
        for name in names
    }
    return len(steps) == 1 and steps != {()}


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
        is_run = len(items) > 1
        if is_run and order_of([i.found for i in items]).placed[0].source == BY_WORDS:
            kept.append(Cluster(items, len(items[0].parts) - 2))
        else:
            kept += group
    return kept

"""Put files together that lie and are named alike, but for the numbers of their steps.

The numbers may be in the names of the files (`epoch_1.pt`) or of their folders
(`checkpoint-500/model.pt`). A number that tells runs apart (`seed0`, `version_1`, `-v1`) is no
step. Folders whose files have steps of their own stay apart, unless the steps go on from one to the
next: `lr_1/epoch_1.pt` and `lr_2/epoch_1.pt` are two series.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from itertools import pairwise, takewhile
from pathlib import Path
from typing import TypeVar

from accweight_core.naming import layers_of
from accweight_core.runs.candidates import is_mark
from accweight_core.runs.found import Found
from accweight_core.runs.grouping import Signature, signature_of
from accweight_core.runs.mlflow_models import parts_as_logged
from accweight_core.runs.name_parts import BATCH_WORDS, EPOCH_WORDS, parts_of
from accweight_core.runs.readings import read_paths
from accweight_core.runs.run_numbers import runs_apart
from accweight_core.runs.search import Broken

MOST_ABOVE = 3
"""Folders above a file whose number may be its step: `checkpoint-500/unet/model.safetensors`."""

MLFLOW_DATA = ("data",)
"""Folders from that of a model logged by MLflow to its file: `model_3/data/model.pth`."""

Member = TypeVar("Member")


@dataclass(frozen=True)
class Item:
    """A checkpoint with the parts of its path below the source.

    Attributes:
        found: The checkpoint.
        parts: The parts as they are read.
        named: The same parts before they were read; empty if they are as they were.
    """

    found: Found
    parts: tuple[str, ...]
    named: tuple[str, ...] = ()

    @property
    def written(self) -> tuple[str, ...]:
        """The same parts as they are written."""
        after = len(self.found.parts) - len(self.parts) - is_mark(self.found.path)
        return self.found.path.parts[after : after + len(self.parts)]

    def __hash__(self) -> int:
        """Return a hash of the path alone, as descriptions are large."""
        return hash(self.found.path)


@dataclass(eq=False)
class Cluster:
    """Checkpoints that lie and are named alike.

    Attributes:
        items: The checkpoints.
        fold: Index of the folder whose number changes; None if only the names of files do.
        is_alone: Whether its number is that of a run, so that it is not joined with others.
        broken: Files named like its checkpoints that cannot be read.
    """

    items: list[Item]
    fold: int | None = None
    is_alone: bool = False
    broken: list[Broken] = field(default_factory=list)

    @cached_property
    def signature(self) -> Signature:
        """Names and shapes of the parameters of the first one."""
        return signature_of(layers_of(self.items[0].found.description.tensors))


def read_below(
    found: Sequence[Found], broken: Sequence[Broken], root: Sequence[str]
) -> tuple[list[Item], dict[Path, tuple[str, ...]]]:
    """Read the paths of checkpoints, and of files that cannot be read, below the source.

    A mark file stands for its folder, and a model that MLflow keeps elsewhere for one in its run.
    """
    paths = [*(one.path for one in found), *(bad.path for bad in broken)]
    named = [below(parts_as_logged(path), root) for path in paths]
    read = read_paths(named).paths
    items = [
        Item(
            replace(one, read=(*root, *parts)),
            _without_mark(one.path, parts),
            _without_mark(one.path, own),
        )
        for one, parts, own in zip(found, read, named, strict=False)
    ]
    beside = zip(broken, read[len(found) :], strict=True)
    return items, {bad.path: _without_mark(bad.path, parts) for bad, parts in beside}


def below(parts: tuple[str, ...], root: Sequence[str]) -> tuple[str, ...]:
    """Return the parts of a path that follow those it has in common with the source."""
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(parts[:-1], root, strict=False))
    return parts[sum(1 for _ in shared) :]


def _without_mark(path: Path, parts: tuple[str, ...]) -> tuple[str, ...]:
    return parts[:-1] if len(parts) > 1 and is_mark(path) else parts


def clustered(
    items: Sequence[Item],
    broken: Sequence[Broken],
    parts_of_broken: Mapping[Path, tuple[str, ...]],
    runs: Iterable[tuple[str, ...]] = (),
) -> list[Cluster]:
    """Return the clusters of checkpoints, each with the broken files of its pattern.

    Args:
        items: The checkpoints.
        broken: Files that cannot be read.
        parts_of_broken: Parts of their paths, as they are read.
        runs: Parts of the folders that are runs, whose numbers are no steps.
    """
    clusters: list[Cluster] = []
    left: list[Item] = []
    known = frozenset(runs)
    for (index, *_), members in _by(items, lambda item: _fold_key(item, known)).items():
        joined = _folded(members, index) if isinstance(index, int) else []
        if not joined:
            left += members
            continue
        clusters += joined
    clusters, of_runs = _apart(clusters, _in_folders(left))
    clusters += _in_folders([*left, *of_runs])
    order = {item: number for number, item in enumerate(items)}
    clusters.sort(key=lambda cluster: order[cluster.items[0]])
    for bad in broken:
        parts = parts_of_broken[bad.path]
        home = next((c for c in clusters if _fits(parts, c)), None)
        if home is not None:
            home.broken.append(bad)
    return clusters


def _in_folders(items: Iterable[Item]) -> list[Cluster]:
    """Return the clusters of files that lie in one folder each."""
    found = []
    for members in _by(items, lambda item: (item.parts[:-1], _name_key(item))).values():
        found += _split(members)
    return found


def _apart(joined: list[Cluster], inside: list[Cluster]) -> tuple[list[Cluster], list[Item]]:
    """Return clusters over folders of steps, and the items of those whose folders are runs.

    `0/last.pt` and `1/last.pt` are of two runs if `0/epoch_1.pt` and `0/epoch_2.pt` are there.
    """
    complete = [cluster for cluster in inside if len(cluster.items) > 1 and _counts(cluster)]
    kept, of_runs = list[Cluster](), list[Item]()
    for cluster in joined:
        fold = cluster.fold or 0
        folders = {item.parts[: fold + 1] for item in cluster.items}
        is_run = not _is_keyed(cluster.items[0].parts[fold]) and any(
            other.items[0].parts[: fold + 1] in folders for other in complete
        )
        of_runs += cluster.items if is_run else []
        kept += [] if is_run else [cluster]
    return kept, of_runs


def _counts(cluster: Cluster) -> bool:
    """Tell whether the names of files have numbers that may be steps, not those of parts."""
    counts = parts_of(cluster.items[0].parts[-1]).counts
    return any(not number.may_tell_runs_apart for number in counts)


def _is_keyed(name: str) -> bool:
    """Tell whether a word says that a number in a name is a step."""
    return any(number.step_word for number in parts_of(name).counts)


def is_in_step_folder(cluster: Cluster) -> bool:
    """Tell whether a cluster is a single file in a folder of a step: `checkpoint-500/model.pt`."""
    parts = cluster.items[0].parts
    index = _fold_of(parts)
    return len(cluster.items) == 1 and index is not None and not cluster.is_alone


def _by(
    items: Iterable[Member], key: Callable[[Member], Hashable]
) -> dict[tuple[object, ...], list[Member]]:
    found: dict[tuple[object, ...], list[Member]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)  # type: ignore[arg-type]
    return found


def _name_key(item: Item) -> tuple[str, ...]:
    parts = parts_of(item.parts[-1])
    return parts.pattern, parts.ending, item.found.reader


def _fold_key(item: Item, runs: frozenset[tuple[str, ...]]) -> tuple[object, ...]:
    """Return what folders have in common whose number may be the step, after the folder's index."""
    index, parts = _fold_of(item.parts), item.parts
    if index is None or (item.named[: index + 1] in runs and not _is_keyed(parts[index])):
        return (None,)
    pattern = parts_of(parts[index]).pattern
    return index, parts[:index], pattern, _inner(parts, index), _name_key(item)


def _fold_of(parts: Sequence[str]) -> int | None:
    """Return the index of the folder whose number may be a step.

    Above the folder of a rank or a run only a word tells steps: `iter_1000/mp_rank_00/model.pt`.
    """
    is_of_run = False
    for index in range(len(parts) - 2, max(-1, len(parts) - 2 - MOST_ABOVE), -1):
        name = parts_of(parts[index])
        if any(n.tells_runs_apart for n in name.counts):
            is_of_run = True
            continue
        is_last = tuple(parts[index + 1 : -1]) in ((), MLFLOW_DATA)
        may_be = name.pattern == "#" or (name.counts and is_last)
        if _is_keyed(parts[index]) or (may_be and not is_of_run):
            return _outermost(parts, index)
    return None


def _outermost(parts: Sequence[str], index: int) -> int:
    """Return the first of folders that say one step: `checkpoint-500/global_step500/`."""
    while (
        index and _is_keyed(parts[index - 1]) and _values(parts[index - 1]) == _values(parts[index])
    ):
        index -= 1
    return index


def _inner(parts: Sequence[str], index: int) -> tuple[str, ...]:
    """Return the folders below that of the step; those that say it again, as patterns."""
    step = _values(parts[index])
    return tuple(
        parts_of(part).pattern if _is_keyed(part) and _values(part) == step else part
        for part in parts[index + 1 : -1]
    )


def _folded(members: list[Item], index: int) -> list[Cluster]:
    """Return clusters of files in folders whose number is the step; nothing if it is not."""
    folders = _by(members, lambda item: (item.parts[index],))
    if len(folders) < 2:
        return []
    name = parts_of(members[0].parts[index])
    is_keyed = _is_keyed(members[0].parts[index])
    steps = any(n.step_word for n in parts_of(members[0].parts[-1]).counts)
    if all(len(files) == 1 for files in folders.values()):
        inside = {item.found.description.step for item in members}
        same_inside = len(inside) == 1 and inside != {None} and name.pattern != "#"
        same_names = steps and len({_values(item.parts[-1]) for item in members}) < len(members)
        is_apart = not is_keyed and (same_inside or same_names)
        return [] if is_apart else [Cluster(members, index)]
    if not is_keyed:
        return []
    same = _by(members, lambda item: (item.parts[-1],))
    if not steps and all(len(files) > 1 for files in same.values()):
        return [Cluster(files, index) for files in same.values()]
    words = {number.step_word for number in parts_of(members[0].parts[-1]).counts}
    if words & BATCH_WORDS and {number.step_word for number in name.counts} & EPOCH_WORDS:
        return [Cluster(members, index)]
    spans = sorted(
        (_values(files[0].parts[index]), [_values(file.parts[-1]) for file in files])
        for files in folders.values()
    )
    goes_on = all(max(before[1]) < min(after[1]) for before, after in pairwise(spans))
    return [Cluster(members, index)] if goes_on else []


def _values(name: str) -> tuple[Decimal, ...]:
    return tuple(number.value for number in parts_of(name).counts)


def _split(members: list[Item]) -> list[Cluster]:
    """Split files of one pattern by the numbers that tell runs apart."""
    versions = _by(members, lambda item: (parts_of(item.parts[-1]).version,))
    if len(versions) > 1:
        first, *others = [files for _, files in sorted(versions.items())]
        is_numbered = bool(parts_of(members[0].parts[-1]).counts)
        single = [item for files in others if len(files) == 1 and is_numbered for item in files]
        complete = [files for files in others if len(files) > 1 or not is_numbered]
        return [c for files in (first + single, *complete) for c in _by_numbers(files)]
    return _by_numbers(members)


def _by_numbers(members: list[Item]) -> list[Cluster]:
    runs, are_alone = runs_apart([item.parts[-1] for item in members])
    found = []
    for run in runs:
        is_alone = are_alone or (len(run) == 1 < len(runs))
        found.append(Cluster([members[index] for index in run], is_alone=is_alone))
    return found


def _fits(parts: tuple[str, ...], cluster: Cluster) -> bool:
    """Tell whether a broken file is named like the checkpoints of a cluster, of any ending."""
    like = cluster.items[0].parts
    if len(like) != len(parts) or not parts:
        return False
    if parts_of(parts[-1]).pattern != parts_of(like[-1]).pattern:
        return False
    if not parts_of(parts[-1]).counts and parts[:-1] == like[:-1]:
        return parts_of(parts[-1]).ending != parts_of(like[-1]).ending
    index = _fold_of(like) if cluster.fold is None else cluster.fold
    if index is None or parts[:-1] == like[:-1]:
        return parts[:-1] == like[:-1]
    return (
        parts[:index] == like[:index]
        and parts_of(parts[index]).pattern == parts_of(like[index]).pattern
        and _inner(parts, index) == _inner(like, index)
    )

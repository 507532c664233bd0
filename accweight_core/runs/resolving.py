"""Give every checkpoint of a series one step, and take out copies and what has no place.

A checkpoint called best or last is a copy if it has the weights of another one, whatever step it
claims. If it has others, its step counts only where it can be true: a counter that was reset, or
that another checkpoint has, is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accweight_core.runs.drafts import Draft
from accweight_core.runs.found import Found, Order, Placed
from accweight_core.runs.name_parts import parts_of
from accweight_core.runs.order_doubts import GIVEN
from accweight_core.runs.order_words import (
    is_average_name,
    is_copy_name,
    is_duplicate_name,
    is_reset,
)
from accweight_core.runs.search import LeftOut
from accweight_core.runs.step_order import ends_of
from accweight_core.runs.twins import same, tensors_of, twin_of
from accweight_core.text import shortened

TAKEN_IN = "to take it too, name the files in order with --given-order"
"""How a file without a place in a series is taken nevertheless."""


@dataclass(frozen=True)
class _Files:
    """The files of a draft: what they are called in notes, and which are no plain members.

    Attributes:
        names: What they are called in notes.
        special: Those that are called best or last.
        beside: Single files beside those that are named alike.
    """

    names: dict[Path, str]
    special: frozenset[Path]
    beside: frozenset[Path]

    @classmethod
    def of(cls, draft: Draft) -> _Files:
        items = (*draft.cluster.items, *draft.singles)
        labels = shortened([item.found.label for item in items])
        names = {item.found.path: label for item, label in zip(items, labels, strict=True)}
        home = len(draft.home)
        special = {i.found.path for i in items if any(map(is_copy_name, i.parts[home:]))}
        own = {item.found.path for item in draft.cluster.items}
        special -= own if own <= special else set()  # `last_ep_50`, `last_ep_100`
        beside = [item.found.path for item in draft.singles]
        return cls(names, frozenset(special), frozenset(beside))

    def name(self, place: Placed) -> str:
        return self.names[place.found.path]

    def is_special(self, place: Placed) -> bool:
        return place.found.path in self.special

    def is_duplicate(self, place: Placed) -> bool:
        """Tell whether a single file is named as copies of files are."""
        return place.found.path in self.beside and is_duplicate_name(place.found.stem)

    def rank(self, place: Placed) -> tuple[int, bool, bool, bool, int, str]:
        """Return a sort key: of several checkpoints of one step, the one to keep comes first."""
        name, is_beside = place.found.parts[-1], place.found.path in self.beside
        parts = parts_of(name)
        is_unnumbered = is_beside and not parts.counts
        kind = (self.is_special(place), is_beside, is_unnumbered)
        return place.step, *kind, parts.version, name


def resolve(draft: Draft) -> None:
    """Give the single files of a series their place, and take out copies."""
    files = _Files.of(draft)
    _without_averages(draft, files)
    placed, without = _with_singles(draft)
    if draft.order.placed[0].source != GIVEN:
        placed = _without_copies(placed, draft, files)
    kept = _one_of_each_step(sorted(placed, key=files.rank), draft, files)
    stepless: list[Found] = []
    for found in without:
        twin = None if found.path in draft.above else twin_of(found, kept)
        if twin is None:
            stepless.append(found)
        else:
            _leave_out(found, f"same weights as {files.name(twin)}", draft, files)
    at_ends = ends_of(stepless, kept)
    placed_last = {place.found.path for place in at_ends}
    kept += at_ends
    kept.sort(key=lambda p: p.step)
    draft.order = Order(kept, [one for one in stepless if one.path not in placed_last])


def _without_averages(draft: Draft, files: _Files) -> None:
    """Leave out single files called averages, whose step is not that of one checkpoint."""
    if is_average_name(draft.cluster.items[0].parts[-1]):
        return
    for item in list(draft.singles):
        if is_average_name(item.parts[-1]) and not item.found.is_named:
            draft.singles.remove(item)
            _leave_out(item.found, f"an average by its name; {TAKEN_IN}", draft, files)


def _with_singles(draft: Draft) -> tuple[list[Placed], list[Found]]:
    """Return the checkpoints that have a step, and those that have none."""
    placed, without = list(draft.order.placed), list(draft.order.without_step)
    depth = len(draft.cluster.items[0].parts)
    steps = [place.step for place in placed]
    for item in draft.singles:
        if len(item.parts) < depth and not item.found.is_named:
            draft.above.add(item.found.path)
            without.append(item.found)
            continue
        own = _placed_beside(item.found, draft)
        if own is None or is_reset(item.parts[len(draft.home) :], own.step, steps):
            without.append(item.found)
        else:
            placed.append(own)
    return placed, without


def _without_copies(placed: Sequence[Placed], draft: Draft, files: _Files) -> list[Placed]:
    """Leave out what is called best or last and has the weights of another checkpoint."""
    plain = [place for place in placed if not files.is_special(place)]
    kept = list(plain)
    for place in filter(files.is_special, placed):
        twin = twin_of(place.found, plain)
        if twin is None:
            kept.append(place)
        else:
            _leave_out(place.found, f"same weights as {files.name(twin)}", draft, files)
    return kept


def _one_of_each_step(placed: Sequence[Placed], draft: Draft, files: _Files) -> list[Placed]:
    """Leave out copies of the same step; two different checkpoints of one step are a clash.

    What is called best or last is left out for it, unless the user named the file.
    """
    kept: list[Placed] = []
    for place in placed:
        twin = kept[-1] if kept and kept[-1].step == place.step else None
        if twin is None:
            kept.append(place)
            continue
        name, other = files.name(place), files.name(twin)
        if same(tensors_of(twin.found), tensors_of(place.found)):
            _leave_out(place.found, f"same weights as {other}", draft, files)
            continue
        claimed = f"claims step {place.step} as {other} does, with other weights"
        is_less = files.is_special(place) or files.is_duplicate(place)
        if is_less and not place.found.is_named:
            _leave_out(place.found, f"{claimed}; {TAKEN_IN}", draft, files)
            continue
        _leave_out(place.found, claimed, draft, files)
        remedy = f"leave one out with --exclude '{name}', or give the files in order with "
        if place.found.revision is not None:
            remedy = "take one of them with a narrower --revisions, or keep the given order with "
        draft.clash = draft.clash or (
            f"two different checkpoints claim step {place.step} ({place.source}): "
            f"{other} and {name}; {remedy}--given-order"
        )
    return kept


def _leave_out(found: Found, reason: str, draft: Draft, files: _Files) -> None:
    draft.left_out.append(LeftOut(found.path, reason, files.names[found.path]))


def _placed_beside(found: Found, draft: Draft) -> Placed | None:
    """Return a single file with the step that it says itself, as the others of the series do."""
    source = draft.order.placed[-1].source
    description = found.description
    if source.startswith("in file: "):
        is_told = description.step is not None and source == f"in file: {description.step_key}"
        return Placed(found, description.step or 0, source) if is_told else None
    if not source.startswith("in name: "):
        return None
    word = source.removeprefix("in name: ")
    own, like = (
        [n for n in parts_of(one.parts[-1]).counts if n.step_word == word]
        for one in (found, draft.order.placed[-1].found)
    )
    if like and len(own) != len(like):  # `checkpoint_EPOCH_UPDATE` beside `checkpointEPOCH`
        return None
    return Placed(found, int(own[-1].value), source) if own and own[-1].is_step else None

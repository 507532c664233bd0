"""Find the steps of checkpoints and sort by them.

A step stored in the files is used first, then a named number in their paths (``epoch=3``,
``checkpoint-500``), then the numbers in their names, then counters in the files that may count
something else, then words (``before``, ``after``), and last the alphabet, with a warning. All steps
of a run have the same origin, because epochs of one file and iterations of another are not
comparable. Of a path, only the parts from where the checkpoints differ count: what the folder of a
run is called changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from accweight_core.naming import natural_key
from accweight_core.runs.found import Found, Order, Placed
from accweight_core.runs.name_parts import (
    BATCH_WORDS,
    COUNTED_ANEW,
    EPOCH_WORDS,
    LARGEST,
    STEP_WORDS,
    Number,
    Sort,
    parts_of,
    shared_folder,
)
from accweight_core.runs.order_doubts import (
    BY_ALPHABET,
    BY_NUMBER,
    BY_NUMBERS,
    BY_WORDS,
    GIVEN,
)
from accweight_core.runs.order_words import (
    end_of,
    is_copy_name,
    is_final_name,
    is_initial_name,
    is_last_name,
    is_reset,
    rank_of,
)

Step = tuple[int, str]
"""A step and where it was found."""


@dataclass(frozen=True)
class _Named:
    """A checkpoint with the parts of its path from where the checkpoints differ."""

    found: Found
    parts: tuple[str, ...]

    @property
    def is_special(self) -> bool:
        """Whether the name includes 'last' or 'best', so it is probably a copy of another one."""
        return any(map(is_copy_name, self.parts))

    @property
    def is_at_end(self) -> bool:
        """Whether the name says that it is the last or the best one."""
        return self.is_special or any(map(is_last_name, self.parts))

    @property
    def pattern(self) -> str:
        return "/".join(parts_of(part).pattern for part in self.parts)

    @property
    def counts(self) -> list[Number]:
        return [number for part in self.parts for number in parts_of(part).counts]

    @property
    def ordering(self) -> list[Number]:
        """The counts; without any, fractions that no word calls a measure: `0.5`, `1.0`."""
        numbers = [number for part in self.parts for number in parts_of(part).numbers]
        fractions = [n for n in numbers if n.sort is Sort.MEASURE and not n.is_named_measure]
        return self.counts or fractions


Attempt = list[Step | None]


def order_of(found: Sequence[Found], *, in_given_order: bool = False, beneath: int = 0) -> Order:
    """Find the step of every checkpoint, and sort by it.

    Args:
        found: The checkpoints, in the order given by the user.
        in_given_order: Whether to keep that order and number the checkpoints from 0.
        beneath: Number of parts of their paths that never count, as for a single one of several.

    Returns:
        Checkpoints in step order. Several may have the same step; the caller must handle that.
    """
    if in_given_order:
        return Order([Placed(item, i, GIVEN) for i, item in enumerate(found)], [])
    parts = [p[-max(1, len(item.parts) - beneath) :] for item, p in
             zip(found, differing_parts(found), strict=True)]  # fmt: skip
    named = [_Named(f, p) for f, p in zip(found, parts, strict=True)]
    inside, in_path, numbered = _inside(named), _in_path(named), _numbered(named)
    is_split = _has_other_numbers(named) or _counts_anew(named)
    if _repeats(named, in_path) and _is_distinct(named, numbered) and is_split:
        in_path = [None] * len(named)  # `checkpoint_EPOCH_UPDATE`
    elif _counts_batches(named) and _is_distinct(named, numbered):
        in_path = [None] * len(named)  # `ep1_batch900`, `ep2_batch100`
    if _repeats(named, inside) and any(_is_distinct(named, a) for a in (in_path, numbered)):
        inside = [None] * len(named)
    is_sure = all(item.description.is_step_sure for item in found if item.description.step_key)
    firm = (inside, in_path, numbered) if is_sure else (in_path, numbered)
    for attempts in (firm, (inside,)):
        for complete in (True, False):
            for steps in attempts:
                if _orders(named, steps, complete):
                    return _placed(named, steps)
    return Order(_worded(named) or _unnumbered(found), [])


def differing_parts(found: Sequence[Found]) -> list[tuple[str, ...]]:
    """Return the parts of each path below the folder that all have in common.

    A mark file, which makes its folder a checkpoint, may be one folder deeper, in an item of a
    checkpoint: `1000/default/_METADATA`. A single checkpoint has its own name and its folder's.
    """
    paths = [item.parts for item in found]
    if len(set(paths)) == 1:
        name = paths[0][-1]
        is_mark = re.search(r"\d|[^.]\.", name) is None
        is_item = is_mark and not re.search(r"\d", "".join(paths[0][-2:-1]))
        is_item = is_item and not is_copy_name("".join(paths[0][-2:-1]))
        return [paths[0][-3 if is_item else -2 :]] * len(paths)
    shared = len(shared_folder(paths))
    return [parts[shared:] for parts in paths]


def _placed(named: Sequence[_Named], steps: Attempt) -> Order:
    known = [(item, step) for item, step in zip(named, steps, strict=True) if step is not None]
    placed = [(item, Placed(item.found, step, source)) for item, (step, source) in known]
    left = [item.found for item, step in zip(named, steps, strict=True) if step is None]
    at_ends = ends_of(left, [place for _, place in placed])
    chosen = {place.found.path for place in at_ends}
    ordered = sorted(placed, key=lambda p: (p[1].step, p[0].is_special, p[1].found.parts[-1]))
    everything = [place for _, place in ordered] + at_ends
    everything.sort(key=lambda place: place.step)
    return Order(everything, [item for item in left if item.path not in chosen])


def _orders(named: Sequence[_Named], steps: Attempt, complete: bool) -> bool:
    """Tell whether the steps are distinct, and known for all, or for most and at least two."""
    known = [(n, s) for n, s in zip(named, steps, strict=True) if s is not None]
    if complete:
        return len(known) == len(named) and _tell_apart(known)
    return len(known) > max(1, len(named) // 2) and _tell_apart(known)


def _tell_apart(known: Sequence[tuple[_Named, Step]]) -> bool:
    """Tell whether most steps are distinct, ignoring files that are probably copies."""
    plain = [step for n, (step, _) in known if not n.is_special] or [step for _, (step, _) in known]
    return len(set(plain)) == len(plain) or len(set(plain)) > len(plain) // 2


def _repeats(named: Sequence[_Named], steps: Attempt) -> bool:
    plain = [s[0] for n, s in zip(named, steps, strict=True) if s is not None and not n.is_special]
    return len(set(plain)) < len(plain)


def _has_other_numbers(named: Sequence[_Named]) -> bool:
    """Tell whether the names have numbers that no word calls a step, or two of one word."""
    words = [[number.step_word for number in item.counts] for item in named]
    return any("" in told or len(set(told)) < len(told) for told in words)


def _counts_anew(named: Sequence[_Named]) -> bool:
    """Tell whether all names have an epoch and a count that trainers begin again in each."""
    return _have_words(named, EPOCH_WORDS) and _have_words(named, COUNTED_ANEW)


def _counts_batches(named: Sequence[_Named]) -> bool:
    """Tell whether all names have an epoch and a batch, which is counted within it."""
    return _have_words(named, EPOCH_WORDS) and _have_words(named, BATCH_WORDS)


def _have_words(named: Sequence[_Named], words: frozenset[str]) -> bool:
    plain = [item for item in named if not item.is_special]
    return all(any(n.step_word in words for n in item.counts) for item in plain)


def _is_distinct(named: Sequence[_Named], steps: Attempt) -> bool:
    plain = [s for n, s in zip(named, steps, strict=True) if not n.is_special]
    known = {s[0] for s in plain if s is not None}
    return None not in plain and len(known) == len(plain) > 1


def ends_of(left: Sequence[Found], placed: Sequence[Placed]) -> list[Placed]:
    """Return what words place before or after all others, of checkpoints that have no step.

    Initial weights have step 0, or -1 if 0 is taken; final weights that the user named come one
    step after the last. Nothing is placed if there are two of a kind.
    """
    if not placed:
        return []
    steps = [place.step for place in placed]
    initial = [item for item in left if is_initial_name(item.stem)]
    final = [item for item in left if item.is_named and is_final_name(item.stem)]
    ends = [Placed(item, min(0, min(steps) - 1), "in name: initial weights") for item in initial]
    after = [Placed(item, max(steps) + 1, "in name: final weights") for item in final]
    return [*ends * (len(ends) == 1), *after * (len(after) == 1)]


def _inside(named: Sequence[_Named]) -> Attempt:
    """Return the steps stored in the files under the key that most of them have.

    A counter that is the same in every file counts something else.
    """
    descriptions = [item.found.description for item in named]
    keys = [d.step_key for d in descriptions if d.step is not None]
    key = max(set(keys), key=lambda k: (keys.count(k), k), default="")
    steps: Attempt = [
        (d.step, f"in file: {key}") if d.step is not None and d.step_key == key else None
        for d in descriptions
    ]
    known = [step[0] for step in steps if step is not None]
    return (
        [None] * len(named) if len(known) > 1 == len(set(known)) else _without_resets(named, steps)
    )


def _without_resets(named: Sequence[_Named], steps: Attempt) -> Attempt:
    """Return steps without the counters of last and best files that were reset."""
    told = [(n, s[0]) for n, s in zip(named, steps, strict=True) if s is not None]
    plain = [step for n, step in told if not n.is_at_end]
    return [
        None if step is not None and n.is_at_end and is_reset(n.parts, step[0], plain) else step
        for n, step in zip(named, steps, strict=True)
    ]


def _in_path(named: Sequence[_Named]) -> Attempt:
    """Return the steps in the paths, by the first word that orders all files, or else most."""
    tries = [_without_resets(named, _by_word(named, word)) for word in STEP_WORDS]
    for complete in (True, False):
        for steps in tries:
            if _orders(named, steps, complete):
                return steps
    return max(tries, key=lambda steps: sum(step is not None for step in steps))


def _by_word(named: Sequence[_Named], word: str) -> Attempt:
    """Return the numbers of a word; of several, the last one that grows with the first.

    So `checkpoint_EPOCH_UPDATE` has the update as its step, and `checkpoint_EPOCH_LOSS` the epoch.
    """
    found = [_counts_of(item.parts, word) for item in named]
    known = sorted(counts for counts in found if counts)
    at = -1
    if len(known) > 1 and len({len(counts) for counts in known}) == 1:
        columns = list(zip(*known, strict=True))
        grows = [all(a < b for a, b in pairwise(column)) for column in columns]
        falls = [any(a > b for a, b in pairwise(column)) for column in columns]
        if falls[-1] and any(grows):
            at = len(grows) - 1 - grows[::-1].index(True)
    return _as_steps([counts[at] if counts else None for counts in found], f"in name: {word}")


def _counts_of(parts: Sequence[str], word: str) -> tuple[Decimal, ...]:
    """Return the numbers of that word in the file's name, or else in a folder's name."""
    for part in reversed(parts):
        numbers = [n for n in parts_of(part).counts if n.step_word == word and n.is_step]
        if numbers:
            return tuple(number.value for number in numbers)
    return ()


def _as_steps(values: Sequence[Decimal | None], source: str) -> Attempt:
    """Return values as steps; as their positions in order if some are fractions."""
    known = sorted({value for value in values if value is not None})
    if any(value != value.to_integral_value() for value in known):
        rank = {value: index for index, value in enumerate(known)}
        return [None if v is None else (rank[v], f"{source}, in order") for v in values]
    return [None if value is None else (int(value), source) for value in values]


def _numbered(named: Sequence[_Named]) -> Attempt:
    """Return the numbers in the names if they differ in nothing else; None for probable copies.

    If several numbers change, as in `checkpoint_EPOCH_UPDATE`, the last that grows through all
    names is the step; if none does, the names are counted in the order of their numbers.
    """
    nothing: Attempt = [None] * len(named)
    plain = [n for n in named if n.ordering and not n.is_special]
    plain = plain or list(named)
    if len(plain) < 2 or len({item.pattern for item in plain}) > 1:
        return nothing
    rows = [tuple(number.value for number in item.ordering) for item in plain]
    columns = [column for column in zip(*rows, strict=True) if len(set(column)) > 1]
    columns = list(dict.fromkeys(columns))
    if not columns or not all(abs(n.value) < LARGEST for item in plain for n in item.ordering):
        return nothing
    keys = list(zip(*columns, strict=True))
    if len(columns) == 1:
        steps = _as_steps(columns[0], BY_NUMBER)
    else:
        rank = {key: index for index, key in enumerate(sorted(set(keys)))}
        in_order = sorted(keys)
        grows = [all(a[i] <= b[i] for a, b in pairwise(in_order)) for i in range(len(columns))]
        distinct = [i for i, column in enumerate(columns) if len(set(column)) == len(column)]
        if all(grows) and distinct:
            steps = _as_steps(columns[distinct[-1]], BY_NUMBER)
        else:
            steps = [(rank[key], BY_NUMBERS) for key in keys]
    at = {item.found.path: step for item, step in zip(plain, steps, strict=True)}
    return [at.get(item.found.path) for item in named]


def _worded(named: Sequence[_Named]) -> list[Placed]:
    """Order names that differ in words of order alone: before, after; start, mid, end.

    Files that the user gave in an order that is not alphabetical keep that order instead.
    """
    if len(named) < 2 or _given_in_order([item.found for item in named]):
        return []
    told = [rank_of("/".join(item.parts)) for item in named]
    ranks, rests = [rank for rank, _ in told], {rest for _, rest in told}
    if -1 in ranks or len(set(ranks)) < len(ranks) or len(rests) > 1:
        return []
    in_order = sorted(zip(ranks, named, strict=True), key=lambda pair: pair[0])
    return [Placed(n.found, i, BY_WORDS) for i, (_, n) in enumerate(in_order)]


def _unnumbered(found: Sequence[Found]) -> list[Placed]:
    """Order by name, or keep the given order if the files were given one by one in another one."""
    if _given_in_order(found):
        return [Placed(item, index, GIVEN) for index, item in enumerate(found)]
    by_name = sorted(
        found, key=lambda f: (end_of(f.stem), parts_of(f.parts[-1]).version, natural_key(f.label))
    )
    return [Placed(item, i, BY_ALPHABET) for i, item in enumerate(by_name)]


def _given_in_order(found: Sequence[Found]) -> bool:
    names = [item.label for item in found]
    return names not in (sorted(names), sorted(names, key=natural_key))

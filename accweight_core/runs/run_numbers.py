"""Tell the numbers of runs from those of steps, among files whose names differ in numbers alone.

`1_100, 1_200, 2_100, 2_200` are two runs: the second number starts again where the first goes up,
and nothing says that the first counts epochs. `1_50, 1_100, 2_150` is one run, as the second number
goes on. Fractions and hashes that many steps have in common are settings: `mom0.9_100`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise

from accweight_core.runs.name_parts import SEPARATORS, NameParts, Number, Sort, parts_of

ALONE = frozenset(
    ("run", "seed", "fold", "trial", "exp", "experiment", "split", "replica", "member", "rank",
     "worker", "agent", "try", "cv", "kfold", "ensemble", "client", "subject", "sub", "patient",
     "island", "individual", "ind", "genome", "layer", "block", "shard")
)  # fmt: skip
"""Words whose numbers never are the steps of a run."""

Groups = dict[tuple[Hashable, ...], list[int]]


@dataclass(frozen=True)
class Column:
    """The numbers at one place of all names; they are not all the same.

    Attributes:
        place: Index of the number in a name.
        numbers: The numbers, one for each name.
        is_below: Whether it is part of the step before it: ``epoch_1_400``.
    """

    place: int
    numbers: tuple[Number, ...]
    is_below: bool

    @cached_property
    def values(self) -> tuple[Hashable, ...]:
        """Its values; of hashes, the text."""
        return tuple(n.text if n.sort is Sort.HASH else n.value for n in self.numbers)

    @property
    def first(self) -> Number:
        """Its first number, which has the word and the kind of all."""
        return self.numbers[0]

    @property
    def is_count(self) -> bool:
        """Whether it may count steps."""
        return self.first.sort is Sort.COUNT

    @property
    def is_unique(self) -> bool:
        """Whether no two names have the same number."""
        return len(set(self.values)) == len(self.values)


def columns_of(parts: Sequence[NameParts]) -> list[Column]:
    """Return the numbers that are not the same in all names of one pattern."""
    found: dict[tuple[Hashable, ...], Column] = {}
    for place, numbers in enumerate(zip(*(p.numbers for p in parts), strict=True)):
        before = parts[0].numbers[place - 1] if place else None
        is_below = (
            before is not None
            and bool(before.step_word)
            and not parts[0].texts[place].strip(SEPARATORS)
        )
        column = Column(place, numbers, is_below)
        if len(set(column.values)) > 1:
            found.setdefault(column.values, column)
    return list(found.values())


def runs_apart(names: Sequence[str]) -> tuple[list[list[int]], bool]:
    """Return the indexes of the names of each run, and whether each has a single checkpoint.

    Args:
        names: Names of one pattern.

    Returns:
        The runs in the order of their first names. True if every name is of another run, so that
        none of them is a step.
    """
    parts = [parts_of(name) for name in names]
    columns = columns_of(parts)
    everything = [list(range(len(names)))]
    if not columns:
        return everything, False
    counts = [column for column in columns if column.is_count]
    if _are_single_runs(columns, parts):
        return [[index] for index in range(len(names))], True
    apart = (
        [c for c in columns if not c.is_count and _is_setting(c, counts)]
        or [c for c in counts if c.first.tells_runs_apart and len(counts) > 1]
        or _restarting(counts)
    )
    if not apart or len(apart) == len(columns):
        return everything, False
    groups: Groups = {}
    for index, key in enumerate(zip(*(column.values for column in apart), strict=True)):
        groups.setdefault(key, []).append(index)
    if len(groups) == len(names):
        return everything, False
    runs: list[list[int]] = []
    for group in groups.values():
        inner, _ = runs_apart([names[index] for index in group])
        runs += [[group[index] for index in run] for run in inner]
    return runs, False


def _are_single_runs(columns: Sequence[Column], parts: Sequence[NameParts]) -> bool:
    """Tell whether every name is that of another run, so that none is a step."""
    counts = [column for column in columns if column.is_count]
    if counts and all(_is_of_a_run(column, parts[0]) for column in counts):
        return all(column.is_unique for column in counts)
    has_constant_step = any(
        n.step_word and all(p.numbers[place].value == n.value for p in parts)
        for place, n in enumerate(parts[0].numbers)
    )
    is_keyed = any(column.first.step_word or column.is_below for column in columns)
    if len(counts) == 1 == len(columns):  # `1-epoch-100`, `2-epoch-100`
        return has_constant_step and not is_keyed and counts[0].is_unique
    has_count = any(number.sort is Sort.COUNT for number in parts[0].numbers)
    return not counts and has_count and len(columns) == 1  # `ema_0.99_100`, `ema_0.9_100`


def _is_of_a_run(column: Column, parts: NameParts) -> bool:
    """Tell whether numbers alone are those of runs; `my run_1` may be what people call a file."""
    word = column.first.run_word
    return word in ALONE and (word != "run" or " " not in parts.texts[column.place])


def _is_setting(column: Column, counts: Sequence[Column]) -> bool:
    """Tell whether a fraction or hash is a setting, as several steps have it; losses differ."""
    steps = [c for c in counts if not c.first.tells_runs_apart]
    if column.first.is_named_measure or not steps:
        return False
    groups = _grouped(column, steps)
    is_before = column.place < steps[0].place
    repeats = all(len(group) > 1 for group in groups)
    return (repeats and is_before) or _shared(groups) > 1


def _grouped(column: Column, steps: Sequence[Column]) -> list[list[tuple[Hashable, ...]]]:
    """Return the steps of every value of a column, both ascending."""
    rows = zip(column.values, *(step.values for step in steps), strict=True)
    groups: dict[Hashable, list[tuple[Hashable, ...]]] = {}
    for value, *step in sorted(rows, key=lambda row: row):
        groups.setdefault(value, []).append(tuple(step))
    return list(groups.values())


def _shared(groups: Sequence[Sequence[tuple[Hashable, ...]]]) -> int:
    """Return the most steps that two groups have in common."""
    return max((len({*a} & {*b}) for a, b in combinations(groups, 2)), default=0)


def _restarting(counts: Sequence[Column]) -> list[Column]:
    """Return the number of the run, if another starts again wherever it goes up; else nothing."""
    found = []
    if any(c.first.is_date for c in counts) and not any(c.first.step_word for c in counts):
        return []  # a date and an hour
    for column in counts:
        others = [other for other in counts if other is not column]
        if column.first.step_word or column.is_below or not others:
            continue
        groups = _grouped(column, others)
        shared = _shared(groups)
        complete = [group for group in groups if len(group) > 1]
        restarts = all(min(after) < max(before) for before, after in pairwise(groups))
        counts_anew = len(complete) == len(groups) and restarts
        is_named = column.first.is_glued and shared > 0
        if shared > 1 or counts_anew or is_named or (complete and shared and _inside(groups)):
            found.append(column)
    found.sort(key=_is_like_steps)
    return found[:1]


def _is_like_steps(column: Column) -> bool:
    """Tell whether numbers are the multiples of one above 1, as 100, 200, 300."""
    values = sorted({number.value for number in column.numbers})
    return values[0] > 1 and all(value == values[0] * at for at, value in enumerate(values, 1))


def _inside(groups: Sequence[Sequence[tuple[Hashable, ...]]]) -> bool:
    """Tell whether the longest group has all steps of the others."""
    longest = max(map(set, groups), key=len)
    return all(longest.issuperset(group) for group in groups)

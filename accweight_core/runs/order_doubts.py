"""What the user has to check in the order of checkpoints: it is analysed, but may be wrong.

Names are all that is looked at, so that a stored analysis tells the same as the run did.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from operator import lt
from pathlib import PurePath
from typing import NamedTuple

from accweight_core.runs.dates import NAMED_MONTH
from accweight_core.runs.name_parts import (
    BATCH_WORDS,
    EPOCH_WORDS,
    SEPARATORS,
    NameParts,
    Number,
    parts_of,
    shared_folder,
)
from accweight_core.runs.order_words import is_copy_name
from accweight_core.runs.readings import read_paths
from accweight_core.runs.run_numbers import Column, columns_of
from accweight_core.text import shortened

GIVEN = "order given"
BY_ALPHABET = "natural order of names"
BY_WORDS = "words in names"
BY_NUMBER = "number in name"
BY_NUMBERS = "order of the numbers in names"

ALPHABET_WARNING = (
    "the order of the checkpoints is the alphabetical order of their names, as neither the files "
    "nor their names say a step; if it is wrong, give the files in order with --given-order"
)


BATCH_SIZES = frozenset(2**power for power in range(2, 13))
"""Numbers that are sizes of batches more often than counts of them."""


_COUNTED_UP = re.compile(
    r"(?P<before>(?:.*[/\\])?(?:[^0-9/\\]*(?<![=_][-+])(?<![a-fvA-FV]))?)"
    r"(?P<number>[0-9]{1,7})(?P<after>(?:[^0-9A-Za-z][^0-9]*?)?(?:\.(?:h5|hdf5|pt2))?)",
    re.DOTALL,
)
"""A path with one number, too short for a date, that is no version (`-v1`) and no hash (`bad5`)."""


class Told(NamedTuple):
    """A checkpoint of a run: its path, its step, and where that was found."""

    path: str
    step: int
    source: str


def order_warnings(told: Sequence[Told]) -> tuple[str, ...]:
    """Return what the user has to check in an order of checkpoints.

    Args:
        told: The checkpoints, in step order.
    """
    if len(told) < 2 or told[0].source == GIVEN:
        return ()
    if told[0].source == BY_ALPHABET:
        return (ALPHABET_WARNING,)
    return _doubts((told[0], told[-1]) if _only_count_up([one.path for one in told]) else told)


def do_ends_tell_all(source: str, paths: Iterable[str]) -> bool:
    """Tell whether `order_warnings` are those of the first and the last checkpoint alone.

    So that one more step of a run of thousands is not as much work as all of them.

    Args:
        source: Where the step of the first one was found.
        paths: The paths of all, gone through only if that source leaves it open.
    """
    return source in (GIVEN, BY_ALPHABET) or _only_count_up(list(paths))


def _only_count_up(paths: Sequence[str]) -> bool:
    """Tell whether paths are the same but for one number that rises, as nearly all are."""
    first = _COUNTED_UP.fullmatch(paths[0])
    if first is None or NAMED_MONTH.search(first["before"]):
        return False
    before, after = first["before"], first["after"]
    if not all([path.startswith(before) and path.endswith(after) for path in paths]):
        return False
    begin, end = len(before), len(after)
    numbers = [path[begin : len(path) - end] for path in paths]
    lengths, digits = list(map(len, numbers)), "".join(numbers)
    if not (digits.isdecimal() and digits.isascii() and min(lengths) > 0 and max(lengths) < 8):
        return False
    values = list(map(int, numbers))
    return all(map(lt, values, values[1:]))


def _doubts(told: Sequence[Told]) -> tuple[str, ...]:
    paths = [PurePath(one.path).parts for one in told]
    shared = len(shared_folder(paths))
    reading = read_paths([path[shared:] for path in paths])
    alike = _named_alike(reading.paths, told)
    is_in_names = not told[0].source.startswith("in file: ")
    doubts = [reading.doubt if is_in_names else ""]
    if len(alike) < 2:
        return tuple(filter(None, doubts))
    columns = columns_of([parts for parts, _ in alike])
    counts = [column for column in columns if column.is_count]
    doubts.append(_contradiction(alike, counts))
    if alike[0][1].source.startswith((BY_NUMBER, BY_NUMBERS)):
        doubts += [_runs_not_steps(alike, columns), _same_in_each(alike, counts)]
        doubts.append(_days_first(counts))
    return tuple(filter(None, doubts))


def _named_alike(
    paths: Sequence[tuple[str, ...]], told: Sequence[Told]
) -> list[tuple[NameParts, Told]]:
    """Return the checkpoints of the pattern that most have, with the parts of their paths."""
    by_pattern: dict[tuple[str, ...], list[tuple[NameParts, Told]]] = {}
    for path, one in zip(paths, told, strict=True):
        parts = [parts_of(part) for part in path]
        key = tuple(part.pattern for part in parts)
        by_pattern.setdefault(key, []).append((_one_name(parts), one))
    return max(by_pattern.values(), key=len)


def _one_name(parts: Sequence[NameParts]) -> NameParts:
    """Return the parts of folders and name as of one long name."""
    texts = [parts[0].texts[0]]
    for index, part in enumerate(parts):
        texts += part.texts[1:]
        if index < len(parts) - 1:
            texts[-1] += "/" + parts[index + 1].texts[0]
    numbers = tuple(number for part in parts for number in part.numbers)
    return NameParts(tuple(texts), numbers, 0, "")


def _contradiction(alike: Sequence[tuple[NameParts, Told]], counts: Sequence[Column]) -> str:
    """Return a doubt if a count falls from one checkpoint to the next while another rises."""
    stepped = [[number.value for number in column.numbers] for column in counts]
    is_said = any(told.source.startswith("in file: ") for _, told in alike)
    for place, falling in _falls(stepped):
        before, after = alike[place][1], alike[place + 1][1]
        coarser = stepped[:falling]
        starts_again = any(
            values[place] < values[place + 1] and len(set(values)) < len(values)
            for values in coarser
        )
        number = counts[falling].first
        starts_again |= number.step_word in BATCH_WORDS
        if starts_again or number.tells_runs_apart or (is_said and not number.step_word):
            continue
        return (
            f"the counts in the names contradict the order ({before.source}): from "
            f"{PurePath(before.path).name} to {PurePath(after.path).name} one of them falls; "
            "if the order is wrong, give the files in order with --given-order"
        )
    return ""


def _falls(columns: Sequence[Sequence[object]]) -> Iterator[tuple[int, int]]:
    """Yield where a column falls: the index of the row before, and of the column."""
    for index, values in enumerate(columns):
        for place, (before, after) in enumerate(pairwise(values)):
            if after < before:  # type: ignore[operator]
                yield place, index


def _runs_not_steps(alike: Sequence[tuple[NameParts, Told]], columns: Sequence[Column]) -> str:
    """Return a doubt if the only number that changes may be that of a run."""
    if len(columns) != 1 or columns[0].first.step_word:
        return ""
    parts, number = alike[0][0], columns[0].first
    after = columns[0].place + 1
    is_followed = after < len(parts.numbers) and _is_step_after(
        parts.texts[after], parts.numbers[after]
    )
    is_setting = (
        not number.is_step and bool(number.key) and all(n.value < 1 for n in columns[0].numbers)
    )
    rest = parts.texts[after:]
    is_of_ends = not number.key.startswith("best") and any(map(is_copy_name, rest))
    if not (number.may_tell_runs_apart or is_followed or is_setting or is_of_ends):
        return ""
    first, last = shortened([alike[at][1].path for at in (0, -1)])
    return (
        f"the numbers that tell {first} and {last} apart are taken for steps; if they are those of "
        "runs or settings, these checkpoints are not one run"
    )


def _days_first(counts: Sequence[Column]) -> str:
    """Return a doubt if numbers such as `02.01.24` may be dates that begin with the day."""
    texts = [number.text for column in counts for number in column.numbers]
    if not any(re.fullmatch(r"([0-9]{2}\.){2}[0-9]{2}", text) for text in texts):
        return ""
    return (
        f"numbers such as {texts[0]} are compared from left to right; if they are dates that begin "
        "with the day, give the files in order with --given-order"
    )


def _is_step_after(between: str, number: Number) -> bool:
    """Tell whether a number may be the step of a run whose number comes before it."""
    is_next = not number.key and not between.strip(SEPARATORS + "/")
    is_in_folder = "/" in between and not number.is_glued
    return number.is_step and (is_next or is_in_folder)


def _same_in_each(alike: Sequence[tuple[NameParts, Told]], counts: Sequence[Column]) -> str:
    """Return a doubt if each first number has the same second ones, as of several runs."""
    if len(counts) != 2:
        return ""
    coarse, fine = counts
    groups: dict[object, set[object]] = {}
    for value, inner in zip(coarse.values, fine.values, strict=True):
        groups.setdefault(value, set()).add(inner)
    shared = set.intersection(*groups.values())
    is_grid = all(inner == shared for inner in groups.values()) and len(shared) > 1
    is_few = max(number.value for number in fine.numbers) <= len(shared)
    is_size = fine.first.step_word in BATCH_WORDS and shared <= BATCH_SIZES
    if not is_grid or (coarse.first.step_word in EPOCH_WORDS and not is_few and not is_size):
        return ""
    first, last = (PurePath(alike[at][1].path).name for at in (0, -1))
    return (
        f"{first} to {last} have the same second numbers for every first one, as several runs "
        "would; they are counted in the order of both numbers; if they are several runs, name "
        "the files of one"
    )

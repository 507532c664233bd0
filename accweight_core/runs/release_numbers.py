"""Tell counts after a dot (`epoch_1.9`, `epoch_1.10`) from decimals (`epoch_0.5`, `epoch_0.25`).

Programs write decimals with as many digits each, or without zeros at the end. So `1.10` beside
`1.9` is the tenth, and the digits behind the dots of `1.8, 1.9, 1.11` go on as counts do. Such
numbers are read in parts, like the version of a release.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from accweight_core.runs.name_parts import parts_of
from accweight_core.runs.quantities import contexts, replaced

_FRACTION = re.compile(
    r"(?<![0-9.])(?P<whole>[0-9]{1,6})\.(?P<after>[0-9]{1,9})(?![0-9A-Za-z]|\.[0-9])"
)
FEWEST_GOING_ON = 3
"""Numbers after dots that show, by their distances alone, that they count."""

WIDEST_GAP = 2
"""Largest distance of such numbers, in smallest ones."""


def counts_read_apart(stems: list[str]) -> tuple[list[str], str]:
    """Return names in which the digits after dots are numbers of their own, where they count.

    Returns:
        The names, with `1.9.0` in place of `1.9`; and how that was decided, in words.

    >>> counts_read_apart(["epoch_1.9", "epoch_1.10"])[0]
    ['epoch_1.9.0', 'epoch_1.10.0']
    """
    read, told = list(stems), ""
    for matches in contexts(stems, _FRACTION).values():
        steps = {index: match for index, match in matches.items() if _may_be_step(match)}
        if len(steps) < len(matches) or not _count(matches.values()):
            continue
        for index, match in matches.items():
            if read[index] == stems[index]:
                read[index] = replaced(match, f"{match[0]}.0")
        told = told or _in_words(matches.values())
    return read, told


def _may_be_step(match: re.Match[str]) -> bool:
    """Tell whether a fraction may be a step, not a measure or a setting of a run."""
    name = match.string
    numbers = parts_of(name).numbers
    own = [number for number in numbers if number.text == match[0]]
    if not own or own[0].is_named_measure or own[0].may_tell_runs_apart:
        return False
    return bool(own[0].step_word) or len(numbers) == 1


def _count(matches: Iterable[re.Match[str]]) -> bool:
    """Tell whether the digits after dots count."""
    digits: dict[int, set[str]] = {}
    for match in matches:
        digits.setdefault(int(match["whole"]), set()).add(match["after"])
    every = set().union(*digits.values())
    if len(set(map(len, every))) < 2 or any(len(d) > 1 and d[0] == "0" for d in every):
        return False
    if any(len(d) > 1 and d[-1] == "0" for d in every):
        return True
    return any(map(_goes_on, digits.values()))


def _goes_on(digits: set[str]) -> bool:
    """Tell whether numbers of several lengths follow one another at about the same distance."""
    values = sorted(map(int, digits))
    gaps = [after - before for before, after in pairwise(values)]
    has_lengths = len({len(text) for text in digits}) > 1
    return has_lengths and len(values) >= FEWEST_GOING_ON and max(gaps) <= WIDEST_GAP * min(gaps)


def _in_words(matches: Iterable[re.Match[str]]) -> str:
    """Return how the numbers were read, with two that would come in the other order as decimals."""
    keys = sorted({(int(m["whole"]), int(m["after"])) for m in matches})
    for before, after in pairwise(keys):
        if before[0] == after[0] and len(str(before[1])) < len(str(after[1])):
            return (
                "the digits after the dots are read as counts, so "
                f"{before[0]}.{before[1]} comes before {after[0]}.{after[1]}; if they are "
                "decimals, give the files in order with --given-order"
            )
    return ""

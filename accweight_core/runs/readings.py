"""Read dates, units and grouped digits in names as plain numbers, where the names together say so.

`m_30min, m_2h, m_1d` differ in words, so that nothing in one name alone says which comes first. Of
all names in a folder that are the same but for such a quantity, each is rewritten with a number of
one kind: `m_1800, m_7200, m_86400`. Only the reading changes, never what a file is called in notes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from accweight_core.runs.dates import Dates
from accweight_core.runs.name_parts import COUNTED, ending_of
from accweight_core.runs.quantities import contexts, replaced
from accweight_core.runs.release_numbers import counts_read_apart

_COMMAS = re.compile(r"(?<![0-9,.])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])")
_GROUPED = re.compile(r"(?<![0-9])(?<![0-9]_)[1-9][0-9]{0,2}(?:_[0-9]{3})+(?!_?[0-9])")
_SHORT = re.compile(r"(?<![0-9])(?<![0-9]_)[0-9]+(?!_?[0-9])")
_OF_STEPS = re.compile(r"(step|iter|iteration|update)s?[=_\-. :]*$", re.IGNORECASE)
_QUANTITY = re.compile(
    r"(?<![A-Za-z0-9.])(?P<number>[0-9]+(?:\.[0-9]+)?)[-_ ]?(?P<unit>[A-Za-z]+?)"
    rf"(?P<of>{COUNTED})?(?![A-Za-z0-9])"
)

_PLAIN = re.compile(r"(?<![0-9.])[0-9]+(?:\.[0-9]+)?(?![0-9.A-Za-z])")

_ORDINAL = re.compile(r"(?<![A-Za-z0-9.])(?P<number>[0-9]+)(?P<suffix>st|nd|rd|th)(?![A-Za-z0-9])")
_DURATION = re.compile(
    r"(?<![A-Za-z0-9.])(?=(?:[0-9]+[a-z]+){2})(?:(?P<d>[0-9]+)d)?(?:(?P<h>[0-9]+)h(?:rs?)?)?"
    r"(?:(?P<m>[0-9]+)m(?:ins?)?)?(?:(?P<s>[0-9]+)s(?:ecs?)?)?(?![A-Za-z0-9])"
)

_SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), 604_800),
}
_SIZES = {"k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}


@dataclass(frozen=True)
class Reading:
    """Paths as they are read.

    Attributes:
        paths: Their parts, rewritten.
        doubt: What is not certain about dates or counts after dots, in words; empty if nothing is.
    """

    paths: list[tuple[str, ...]]
    doubt: str = ""


def read_paths(paths: Sequence[tuple[str, ...]]) -> Reading:
    """Read the names of files and folders; those in one folder are read together.

    >>> read_paths([("m_30min.pt",), ("m_2h.pt",)]).paths
    [('m_1800.pt',), ('m_7200.pt',)]
    """
    read = [list(path) for path in paths]
    doubts: list[str] = []
    for depth in range(max(map(len, paths), default=0)):
        names_in: dict[tuple[str, ...], dict[str, str]] = {}
        for path in paths:
            if len(path) > depth:
                names_in.setdefault(path[:depth], {})[path[depth]] = path[depth]
        for names in names_in.values():
            doubts.append(_read(names))
        for path, own in zip(paths, read, strict=True):
            if len(path) > depth:
                own[depth] = names_in[path[:depth]][path[depth]]
    return Reading([tuple(own) for own in read], next(filter(None, doubts), ""))


def _read(names: dict[str, str]) -> str:
    """Rewrite the names of one folder; return what is not certain about them."""
    given = [name for name in names if _may_be_rewritten(name)]
    endings = [ending_of(name) for name in given]
    stems = [n[: len(n) - len(ending)] for n, ending in zip(given, endings, strict=True)]
    stems = [_COMMAS.sub(lambda match: match[0].replace(",", ""), stem) for stem in stems]
    dates = Dates.of(stems)
    stems = dates.stems
    for rewrite in (
        _without_suffixes,
        _in_seconds,
        _without_separators,
        _in_one_unit,
        _with_decimals,
    ):
        stems = rewrite(stems)
    stems, told = counts_read_apart(stems)
    for name, stem, ending in zip(given, stems, endings, strict=True):
        names[name] = stem + ending
    return dates.doubt or told


def _may_be_rewritten(name: str) -> bool:
    return len(name) < 256 and any(c.isalnum() for c in name)


def _without_suffixes(stems: list[str]) -> list[str]:
    """Read `1st` and `2nd` as 1 and 2, where several of them stand at one place."""
    read = list(stems)
    for matches in contexts(stems, _ORDINAL).values():
        if len({match["suffix"] for match in matches.values()}) > 1:
            for index, match in matches.items():
                read[index] = replaced(match, match["number"])
    return read


def _in_seconds(stems: list[str]) -> list[str]:
    """Read `1h30m` as 5400s, where several of them stand at one place."""
    read = list(stems)
    found = [list(_DURATION.finditer(stem)) for stem in stems]
    told = [matches[0] if len(matches) == 1 else None for matches in found]
    around = {replaced(match, "") for match in told if match is not None}
    others = [m for stem in stems for m in _QUANTITY.finditer(stem) if replaced(m, "") in around]
    unit = "s" if None in told else ""
    if len(around) == 1 < len(others) + sum(match is not None for match in told):
        for index, match in enumerate(told):
            if match is not None:
                seconds = sum(int(match[u] or 0) * _SECONDS[u] for u in "dhs")
                read[index] = replaced(match, f"{seconds + 60 * int(match['m'] or 0)}{unit}")
    return read


def _without_separators(stems: list[str]) -> list[str]:
    """Read `1_000` as 1000 where a group of digits begins with 0, or a word says it is a step."""
    read, plain = list(stems), contexts(stems, _SHORT)
    for context, matches in contexts(stems, _GROUPED).items():
        groups = [group for match in matches.values() for group in match[0].split("_")[1:]]
        is_sure = any(group[0] == "0" for group in groups) or _OF_STEPS.search(context[0])
        beside = [match[0] for match in plain.get(context, {}).values()]
        if is_sure and all(len(number) < 4 for number in beside):
            for index, match in matches.items():
                read[index] = replaced(match, match[0].replace("_", ""))
    return read


def _in_one_unit(stems: list[str]) -> list[str]:
    """Read times in seconds, and `500m` and `1b` in units, where that is needed to compare them."""
    read = list(stems)
    for matches in contexts(stems, _QUANTITY).values():
        units = {match["unit"].lower() for match in matches.values()}
        has_fractions = any("." in match["number"] for match in matches.values())
        is_needed = len(units) > 1 or (has_fractions and units <= _SIZES.keys())
        table = _table(units) if is_needed else {}
        if not table:
            continue
        for index, match in matches.items():
            value = Decimal(match["number"]) * table[match["unit"].lower()]
            read[index] = replaced(match, f"{value.normalize():f}{match['of'] or ''}")
    return read


def _table(units: set[str]) -> dict[str, int]:
    """Return what units are worth; nothing if they are no units."""
    if units <= _SECONDS.keys() | {"m"} and units & _SECONDS.keys():
        return _SECONDS | {"m": 60}
    return _SIZES if units <= _SIZES.keys() else {}


def _with_decimals(stems: list[str]) -> list[str]:
    """Read `1` as 1.0 where other names have fractions in its place."""
    read = list(stems)
    for matches in contexts(stems, _PLAIN).values():
        if any("." in match[0] for match in matches.values()):
            for index, match in matches.items():
                if "." not in match[0] and read[index] == stems[index]:
                    read[index] = replaced(match, f"{match[0]}.0")
    return read

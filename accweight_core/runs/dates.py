"""Read dates in names: year, month and day in any order, names of months, times of day.

`05-01-2024` is a day and a month, or a month and a day: the other names of the folder decide. Where
they do not, days come first, and a doubt is told if that changes the order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from accweight_core.runs.quantities import contexts, replaced

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMED = (
    r"(?P<name>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
NAMED_MONTH = re.compile(_NAMED, re.IGNORECASE)
_YEAR = r"(?P<year>(?:19|20)[0-9]{2})"
_DAY = r"(?P<day>0?[1-9]|[12][0-9]|3[01])"
_TWO = r"(?P<first>0[1-9]|[12][0-9]|3[01])"
_MONTH = r"(?P<month>0[1-9]|1[0-2])"
_TIME = r"(?:[-_T .]+(?P<time>(?:[01][0-9]|2[0-3])[-_:h.]?[0-5][0-9](?:[-_:m.]?[0-5][0-9])?))?"
_BEFORE, _AFTER = r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])"

_FORMS = tuple(
    re.compile(_BEFORE + form + _AFTER, re.IGNORECASE)
    for form in (
        rf"{_DAY}[-_. ]?{_NAMED}[-_. ]?{_YEAR}{_TIME}",
        rf"{_NAMED}[-_. ]?{_DAY}[-_. ,]+{_YEAR}{_TIME}",
        rf"{_YEAR}[-_. ]?{_NAMED}[-_. ]?{_DAY}{_TIME}",
        rf"{_NAMED}[-_. ]?{_YEAR}",
        rf"{_YEAR}[-_. ]?{_NAMED}",
        rf"{_NAMED}[-_. ]?{_DAY}{_TIME}",
        rf"{_DAY}[-_. ]?{_NAMED}{_TIME}",
        rf"{_TWO}(?P<s>[-_.])(?P<second>0[1-9]|[12][0-9]|3[01])(?P=s){_YEAR}{_TIME}",
        r"(?P<first>0[1-9]|[12][0-9]|3[01])(?P<second>0[1-9]|1[0-2])(?P<year>20[0-4][0-9])",
        rf"(?<![0-9][-.]){_MONTH}[-.]{_YEAR}(?![-.][0-9])",
        rf"(?<![0-9][-.]){_YEAR}[-.]{_MONTH}(?![-.][0-9])",
        _NAMED,
    )
)
_FIRST_ALONE = 3
"""Forms up to here are dates even in a single name; of others, two names at least must have one."""

_ORDER_DOUBT = (
    "dates in names such as {} may have the day or the month first; they are read with the day "
    "first; if that is wrong, give the files in order with --given-order"
)
_YEAR_DOUBT = (
    "dates in names such as {} say no year, so December may come before January; if the order is "
    "wrong, give the files in order with --given-order"
)


@dataclass(frozen=True)
class _Date:
    year: int
    month: int
    day: int
    time: str

    @property
    def text(self) -> str:
        """The date as digits, biggest unit first; as other parts of accweight know dates."""
        if self.year and self.day:
            time = "-".join(re.findall("..", self.time))
            return f"{self.year}-{self.month:02}-{self.day:02}" + f"_{time}" * bool(time)
        year = f"{self.year}" if self.year else ""
        day = f"{self.day:02}" if self.day else ""
        return f"{year}{self.month:02}{day}{self.time}"


@dataclass(frozen=True)
class Dates:
    """Names with their dates rewritten.

    Attributes:
        stems: The names, with dates as `2024-01-31`, `202401` or `0131`.
        doubt: What is not certain about them, in words; empty if nothing is.
    """

    stems: list[str]
    doubt: str = ""

    @classmethod
    def of(cls, stems: Sequence[str]) -> Dates:
        """Read the dates in the names of a folder."""
        read, doubt = list(stems), ""
        for number, form in enumerate(_FORMS):
            left = [stem if read[at] == stem else "" for at, stem in enumerate(stems)]
            for matches in contexts(left, form).values():
                if len(matches) < 2 and number >= _FIRST_ALONE:
                    continue
                told = list(matches.values())
                if not _is_told(told):
                    continue
                months_first = _has_months_first(told)
                for index, match in matches.items():
                    read[index] = replaced(match, _date(match, months_first=months_first).text)
                doubt = doubt or _doubt(told, months_first=months_first)
        return cls(read, doubt)


def _is_told(told: Sequence[re.Match[str]]) -> bool:
    """Tell whether names of months are some: `dec_1, dec_2` may be decoders, `dec_1, jan_2` not."""
    parts = [match.groupdict() for match in told]
    is_sure = "name" not in parts[0] or "year" in parts[0]
    return is_sure or len({p["name"][:3].lower() for p in parts}) > 1


def _date(match: re.Match[str], *, months_first: bool) -> _Date:
    parts = match.groupdict()
    first, second = (int(parts.get(name) or 0) for name in ("first", "second"))
    day, month = (second, first) if months_first else (first, second)
    if month > 12:
        day, month = month, day
    if parts.get("name"):
        month = _MONTHS.index(parts["name"][:3].lower()) + 1
    month = int(parts.get("month") or month)
    day = int(parts.get("day") or day)
    return _Date(
        int(parts.get("year") or 0), month, day, re.sub("[^0-9]", "", parts.get("time") or "")
    )


def _has_months_first(told: Sequence[re.Match[str]]) -> bool:
    """Tell whether a date can only be read with the month first."""
    parts = [match.groupdict() for match in told]
    return any(p.get("second") and int(p["second"]) > 12 for p in parts) and not any(
        int(p["first"]) > 12 for p in parts
    )


def _doubt(told: Sequence[re.Match[str]], *, months_first: bool) -> str:
    dates = [_date(match, months_first=months_first) for match in told]
    if "second" in told[0].re.groupindex:
        others = [_date(match, months_first=not months_first) for match in told]
        is_sure = any(max(int(m["first"]), int(m["second"])) > 12 for m in told)
        if not is_sure and _ranks(dates) != _ranks(others):
            return _ORDER_DOUBT.format(told[0].string)
    months = {date.month for date in dates if not date.year}
    return _YEAR_DOUBT.format(told[0].string) if {1, 12} <= months else ""


def _ranks(dates: Sequence[_Date]) -> list[int]:
    return sorted(range(len(dates)), key=lambda at: dates[at].text)

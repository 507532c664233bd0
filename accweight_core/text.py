"""Format text, paths, sizes and counts for a terminal, safely and in few characters."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence


def plain(text: object) -> str:
    """Return text with control characters escaped, so that a terminal does not execute them."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


BLANKS = {ord(" "): "\u2423", ord("\n"): "\u21b5", ord("\t"): "\u2192", ord("\r"): "\u240d"}
"""Signs for what cannot be seen."""


def seen(name: str) -> str:
    """Return a name, with a sign for each blank, tab and end of a line if there is nothing else."""
    return name.translate(BLANKS) if not name.strip() else name


_COMMIT = re.compile(r"(?<=@)([0-9a-f]{7})[0-9a-f]{33,57}(?=/|$)")


def shortened(paths: Sequence[str]) -> list[str]:
    """Return paths relative to their common folder, with short ids of commits."""
    return [_COMMIT.sub(r"\1", path) for path in _relative(paths)]


def _relative(paths: Sequence[str]) -> list[str]:
    folders = {os.path.dirname(path) for path in paths}
    if len(folders) == 1:
        return [os.path.basename(path) for path in paths]
    try:
        shared = os.path.commonpath(paths)
    except ValueError:  # nothing in common
        return list(paths)
    return [os.path.relpath(path, shared) for path in paths]


def some(names: Sequence[str], most: int = 3) -> str:
    """Return the first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def numbered(short: Mapping[str, str], joint: str) -> dict[str, str]:
    """Return short forms of names, with a number at those that an earlier name has taken.

    Small and capital letters are the same, as they are in the names of files on some systems.

    >>> numbered({"x/a": "x-a", "x:a": "x-a", "x A": "x-A"}, "-")
    {'x/a': 'x-a', 'x:a': 'x-a-2', 'x A': 'x-A-3'}
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name, plain_form in short.items():
        form, number = plain_form, 1
        while form.lower() in taken:
            number += 1
            form = f"{plain_form}{joint}{number}"
        taken.add(form.lower())
        found[name] = form
    return found


MOST_NEAR = 3
"""Names that are suggested for one that is not known."""

ALIKE = 0.6
"""Likeness, from 0 to 1, from which on a name may have been meant."""

MOST_COMPARED = 5000
"""Names that are compared letter by letter."""


def near(name: str, known: Iterable[str], also: Mapping[str, str] | None = None) -> list[str]:
    """Return up to `MOST_NEAR` known names that a name may have meant.

    They contain it, or are spelt nearly so.

    Args:
        name: What was said, in any case.
        known: The names that there are.
        also: Other spellings, in small letters, and the names that they stand for.
    """
    said, names = name.lower(), list(known)
    if not said:
        return []
    holding = [one for one in names if said in one.lower()]
    spelt = dict(also or {}) | {one.lower(): one for one in names[:MOST_COMPARED]}
    alike = {one: _likeness(said, one) for one in spelt} if not holding else {}
    close = sorted((one for one in alike if alike[one] >= ALIKE), key=lambda one: -alike[one])
    return list(dict.fromkeys([*holding, *(spelt[one] for one in close)]))[:MOST_NEAR]


def _likeness(said: str, name: str) -> float:
    """Return how alike two names are, from 0 to 1; that both end in `.weight` says nothing."""
    from difflib import SequenceMatcher  # needed for a mistake alone

    (said_head, _, said_end), (head, _, end) = said.rpartition("."), name.rpartition(".")
    if said_head and head and said_end == end:
        said, name = said_head, head
    compared = SequenceMatcher(None, name, said)
    return compared.ratio() if compared.quick_ratio() >= ALIKE else 0.0


def meant(name: object, known: Iterable[str]) -> str:
    """Return "did you mean ...? ", to stand before a list of names; empty if none is near.

    >>> meant("evalute", ["evaluate", "rewind"]) + "there are evaluate, rewind"
    "did you mean 'evaluate'? there are evaluate, rewind"
    """
    found = near(name, known) if isinstance(name, str) else []
    return f"did you mean {' or '.join(map(repr, found))}? " if found else ""


def told(names: Iterable[str], values: Iterable[float], form: str) -> list[str]:
    """Return each name with its value, "-" for NaN.

    Args:
        names: The names.
        values: As many numbers.
        form: How they are formatted.

    >>> told(["conv", "fc"], [0.5, float("nan")], ".0%")
    ['conv 50%', 'fc -']
    """
    pairs = zip(names, values, strict=True)
    return [f"{name} {'-' if math.isnan(value) else format(value, form)}" for name, value in pairs]


def counted(names: Sequence[str]) -> list[str]:
    """Return each name once, with its number if it comes several times.

    >>> counted(["optim.pt", "a.pt", "optim.pt"])
    ['2 x optim.pt', 'a.pt']
    """
    return [f"{n} x {name}" if n > 1 else name for name, n in Counter(names).items()]


def steps_said(steps: Sequence[int], *, span: bool = False) -> str:
    """Return how many steps there are, in words, and the first and the last of several.

    >>> steps_said([5]), steps_said([0, 9], span=True)
    ('1 step', '2 steps, 0 to 9')
    """
    if len(steps) == 1:
        return f"step {steps[0]}" if span else "1 step"
    ends = f", {steps[0]} to {steps[-1]}" if span and len(steps) else ""
    return f"{len(steps) or 'no'} steps{ends}"


def size(size_bytes: float) -> str:
    """Return a size in bytes with a unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} TB"


def count(number: float) -> str:
    """Return a count in at most six characters."""
    if number < 10_000:
        return f"{number:,.0f}"
    for unit in ("k", "M", "G"):
        number /= 1000
        if number < 999.5 or unit == "G":
            return f"{number:.3g}{unit}"
    return str(number)

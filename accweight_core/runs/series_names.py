"""Give series names that are short, unique and easy to type: `epoch`, `G`, `version_0/checkpoints`.

A name is made of the folder of a series, if that tells it apart, and of what stays in the names of
its files when the numbers are taken out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from accweight_core.runs.name_parts import SEPARATORS, STEP_WORDS, NameParts, Number, Sort, parts_of

Parts = tuple[str, ...]
"""Parts of a path below the source."""

_STEP_WORD = re.compile(rf"(?<=[^\W_])[=_\-. :]+({'|'.join(STEP_WORDS)})s?$", re.IGNORECASE)

UNNAMED = "checkpoints"
"""Name of a series whose files have numbers for names."""


def named_alike(members: Sequence[Parts], fold: int | None) -> tuple[str, Parts]:
    """Return how the files of a series are named, and the parts of its names.

    Args:
        members: Parts of the paths of its checkpoints, all of one length.
        fold: Index of the folder whose number changes; None if only the file's name does.

    Returns:
        The pattern, `checkpoint-N/model.pt`, and (folder, stem of the folder that changes,
        folders below it, stem of the file, its name without numbers).
    """
    columns = list(zip(*members, strict=True))
    shown = [_shown(list(dict.fromkeys(column))) for column in columns]
    stems = [_stem(list(dict.fromkeys(column))) for column in columns]
    first = len(shown) - 1 if fold is None else fold
    home = "/".join(members[0][:first])
    inner = zip(columns, stems, strict=True)
    names = [column[0] if len(set(column)) == 1 else stem for column, stem in inner]
    below = "/".join(names[first + 1 : -1])
    folded = "" if fold is None else stems[first]
    full = re.sub(r"(?<![^\W_])[N*](?![^\W_])", "", _without_ending(shown[-1]))
    full = re.sub(r"[=_\-. :]+(?=[=_\-. :])", "", full).strip(SEPARATORS)
    return "/".join(shown[first:]), (home, folded, below, stems[-1], full)


def unique_names(told: Sequence[Parts]) -> list[str]:
    """Return a name for every series, each as short as it can be.

    Args:
        told: For each, the parts that `named_alike` returns, and the ending of its files.
    """
    names = [""] * len(told)
    for make in (_short, _longer, _with_stem, _with_full, _whole):
        tried = {index: make(*told[index]) for index, name in enumerate(names) if not name}
        uses = Counter(name.lower() for name in (*tried.values(), *filter(None, names)))
        for index, name in tried.items():
            if name and uses[name.lower()] == 1:
                names[index] = name
    for index, parts in enumerate(told):
        base, number = _whole(*parts), 2
        while not names[index]:
            name, number = f"{base}-{number}", number + 1
            names[index] = "" if name.lower() in {known.lower() for known in names} else name
    return names


def _short(home: str, folded: str, below: str, stem: str, full: str, ending: str) -> str:
    """Return the folder alone, or for a series in the source itself the stem of its files."""
    return home or folded or stem or below or UNNAMED


def _longer(home: str, folded: str, below: str, stem: str, full: str, ending: str) -> str:
    return "/".join(filter(None, (home, folded, below))) if below else ""


def _with_stem(home: str, folded: str, below: str, stem: str, full: str, ending: str) -> str:
    return "/".join(filter(None, (home, folded, below, stem or UNNAMED)))


def _with_full(home: str, folded: str, below: str, stem: str, full: str, ending: str) -> str:
    return "/".join(filter(None, (home, folded, below, full or stem or UNNAMED)))


def _whole(home: str, folded: str, below: str, stem: str, full: str, ending: str) -> str:
    return _with_stem(home, folded, below, stem, full, ending) + ending


def _shown(names: list[str]) -> str:
    """Return a name as people write it for many: N for the numbers that change."""
    return _joined(names, "N", "*")


def _stem(names: list[str]) -> str:
    """Return what stays in names without their numbers and what belongs to them, and the ending."""
    parts = [parts_of(name) for name in names]
    if len({p.pattern for p in parts}) > 1:
        return _common(names)
    changing, text = _changing(parts), ""
    for index, number in enumerate(parts[0].numbers):
        text += parts[0].texts[index]
        if index not in changing:
            text += number.text
            continue
        text = text.rstrip(SEPARATORS)
        word = number.key.rpartition("-")[2]
        if number.sort is Sort.MEASURE and word and text.lower().endswith(word):
            text = text[: len(text) - len(word)].rstrip(SEPARATORS)
    text = (text + parts[0].texts[-1]).removesuffix(":v").strip(SEPARATORS)
    while text.lower() not in STEP_WORDS and (match := _STEP_WORD.search(text)):
        text = text[: match.start()]  # `model-epoch=3`: the run is called `model`
    return text + (f"-v{parts[0].version}" if parts[0].version else "")


def _changing(parts: Sequence[NameParts]) -> set[int]:
    """Return the indexes of the numbers that are not the same in all names, or that measure."""
    rows = [tuple(number.text for number in p.numbers) for p in parts]
    return {
        index
        for index, column in enumerate(zip(*rows, strict=True))
        if len(set(column)) > 1 or _is_measure(parts[0].numbers[index], is_only=len(parts) == 1)
    }


def _is_measure(number: Number, *, is_only: bool) -> bool:
    """Tell whether a number is no part of a name; fractions that all names have are settings."""
    return number.is_named_measure or (is_only and number.sort is not Sort.COUNT)


def _joined(names: list[str], count: str, other: str) -> str:
    parts = [parts_of(name) for name in names]
    if len(names) == 1:
        return names[0]
    if len({p.pattern for p in parts}) > 1:
        return f"{names[0]} ... {names[-1]}"
    changing, pieces = _changing(parts), list[str]()
    for index, number in enumerate(parts[0].numbers):
        mark = count if number.sort is Sort.COUNT else other
        pieces += [parts[0].texts[index], mark if index in changing else number.text]
    version = f"-v{parts[0].version}" if parts[0].version else ""
    ending = names[0][len(names[0]) - len(parts[0].ending) :] if parts[0].ending else ""
    return "".join([*pieces, parts[0].texts[-1], version, ending])


def _common(names: Sequence[str]) -> str:
    """Return what names without a common pattern begin with, as text to tell series apart."""
    stems = [_without_ending(name) for name in names]
    return _prefix(stems).rstrip(SEPARATORS)


def _without_ending(name: str) -> str:
    return name[: len(name) - len(parts_of(name).ending)]


def _prefix(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    length = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first)
    )
    return first[:length]

"""Names of layers in few letters: without what many share, with all that tells them apart.

Names in a network start alike and end alike, and differ by a number in the middle. So what stands
before the number of a repeated block is left out, the number stays, and of the rest as much as
tells the layers of a block apart: `roberta.encoder.layer.11.attention.self.query` is
`layer 11 · query`. Names are never mixed up: two that would become equal stay as they are.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

DOT = " \N{MIDDLE DOT} "
"""Between the block and the rest of a short name."""

_SEPARATED = re.compile(r"[./]")
_NUMBERED = re.compile(r"\d+")

SHARED_BY = 2 / 3
"""Share of the names that must start with a wrapper for it to be left out."""


class _Parts(NamedTuple):
    """A name cut at the number of a repeated block, if it has one."""

    before: tuple[str, ...]
    number: str
    rest: tuple[str, ...]


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return a short name for every name.

    >>> layers = [f"roberta.encoder.layer.{n}.self.{part}" for n in (0, 11) for part in "qk"]
    >>> short_names([*layers, "roberta.embeddings.word", "classifier"])[layers[-1]]
    'layer 11 · k'
    >>> list(short_names(["conv1", "block.conv2"]).values())
    ['conv1', 'block.conv2']
    """
    unique = list(dict.fromkeys(names))
    wrapped = _without_wrappers({name: tuple(_SEPARATED.split(name)) for name in unique})
    parts = _in_blocks(wrapped)
    rests = _shortest_rests(parts)
    words = _words(parts)
    found = {
        name: block_name(words[each.before], each.number) + DOT + rests[name]
        if each.number
        else _joined(name, each.rest)
        for name, each in parts.items()
    }
    often = Counter(found.values())
    return {name: short if often[short] == 1 else name for name, short in found.items()}


def block_name(word: str, number: str) -> str:
    """Return the name of a block.

    >>> block_name("layer", "11"), block_name("layer1", "0")
    ('layer 11', 'layer1.0')
    """
    apart = "." if word[-1:].isdigit() or not word else " "
    return f"{word}{apart}{number}".lstrip(".")


def elided(short: str, room: float, measure: Callable[[str], float] = len) -> str:
    """Return a short name that fits: its block stays, and the end of the rest.

    >>> elided("layer 11 · attention.output", 18)
    'layer 11 · …output'
    >>> elided("layer1.0 · downsample.0", 20)
    'layer1.0 · …sample.0'

    Args:
        short: A short name.
        room: Width that it may take.
        measure: Returns the width of a text.
    """
    width = measure
    if width(short) <= room:
        return short
    block, dot, rest = short.partition(DOT)
    number = block.rpartition(" ")[2]
    if dot and width(text := number + dot + rest) <= room:
        return text
    head = block + dot if dot and width(block + dot + "\N{HORIZONTAL ELLIPSIS}") < room else ""
    tail = rest if head else short
    between = [match.end() for match in _SEPARATED.finditer(tail)]
    between = [at for at in between if not tail[at:].isdigit()]  # a number alone says little
    for start in (*between, *range(1, len(tail))):  # whole parts if any fits
        if width(text := f"{head}\N{HORIZONTAL ELLIPSIS}{tail[start:]}") <= room:
            return text
    return "\N{HORIZONTAL ELLIPSIS}"


def fitting(
    shorts: Collection[str], room: float, measure: Callable[[str], float] = len
) -> dict[str, str]:
    """Return for each short name of a column what fits: all in one form, no two alike.

    Where a name is too wide and all blocks have one word, all names go without it; what is still
    too wide is cut where it stays apart from the others.

    >>> list(fitting(["head", "layers 0 · up_proj", "layers 1 · gate_proj"], 13).values())
    ['head', '0 · up_proj', '1 · gate_proj']
    >>> list(fitting(["layer1.0 · conv1", "layer1.0 · downsample.0"], 20).values())
    ['layer1.0 · conv1', 'layer1.0 · downsamp…']

    Args:
        shorts: Short names.
        room: Width that each may take.
        measure: Returns the width of a text.
    """
    if all(measure(short) <= room for short in shorts):
        return {short: short for short in shorts}
    forms = _without_word(shorts)
    found = {short: form for short, form in forms.items() if measure(form) <= room}
    for ends in (None, 0, 1, 2, 3, 4, 6, 8):
        left = [short for short in shorts if short not in found]
        cuts = {short: _cut(forms[short], room, measure, ends) for short in left}
        often = Counter([*found.values(), *cuts.values()])
        found |= {short: cut for short, cut in cuts.items() if cut and often[cut] == 1}
    return {short: found.get(short) or elided(forms[short], room, measure) for short in shorts}


def _without_word(shorts: Collection[str]) -> dict[str, str]:
    """Return names without the word of their blocks, if all have the same."""
    blocks = [short.partition(DOT)[0].rpartition(" ") for short in shorts if DOT in short]
    if len({word for word, _, _ in blocks}) != 1:
        return {short: short for short in shorts}
    words = len(blocks[0][0]) + len(blocks[0][1])
    return {short: short[words:] if DOT in short else short for short in shorts}


def _cut(form: str, room: float, measure: Callable[[str], float], ends: int | None) -> str:
    """Return a name cut to a width, nothing if it cannot be: its last parts, or its begin.

    Args:
        form: The name.
        room: Width that it may take.
        measure: Returns the width of a text.
        ends: Letters to keep at the end, beside the begin; None for whole parts.
    """
    dots = "\N{HORIZONTAL ELLIPSIS}"
    block, dot, rest = form.partition(DOT)
    head = block + dot if dot and measure(block + dot + dots) < room else ""
    tail = rest if head else form
    if ends is None:  # a number alone says little
        parts = [tail[match.end() :] for match in _SEPARATED.finditer(tail)]
        texts = [head + dots + part for part in parts if not part.isdigit()]
    else:
        end = tail[len(tail) - ends :]
        starts = range(len(tail) - ends - 1, 0, -1)
        texts = [head + tail[:start] + dots + end for start in starts]
    return next((text for text in texts if measure(text) <= room), "")


def _joined(name: str, segments: Sequence[str]) -> str:
    """Return the end of a name that has these segments, with its own separators."""
    return name[len(name) - sum(map(len, segments)) - len(segments) + 1 :]


def _without_wrappers(segments: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return segments without the first ones that most names share, where that is unambiguous."""
    found = dict(segments)
    while True:
        firsts = Counter(each[0] for each in found.values() if len(each) > 1)
        (first, count), *_ = firsts.most_common(1) or [("", 0)]
        inner = {name: each[1:] for name, each in found.items() if len(each) > 1}
        taken = {name: each for name, each in inner.items() if found[name][0] == first}
        others = {each for name, each in found.items() if name not in taken}
        bare = any(_NUMBERED.fullmatch(each[0]) for each in taken.values())
        if count < max(2, SHARED_BY * len(found)) or bare or others & set(taken.values()):
            return found
        found |= taken


def _in_blocks(segments: Mapping[str, tuple[str, ...]]) -> dict[str, _Parts]:
    """Return every name cut at the first number that several blocks have in its place."""
    numbers: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for each in segments.values():
        for at in range(1, len(each) - 1):
            if _NUMBERED.fullmatch(each[at]):
                numbers[each[:at]].add(each[at])
    found = {}
    for name, each in segments.items():
        cuts = (
            at
            for at in range(1, len(each) - 1)
            if _NUMBERED.fullmatch(each[at]) and len(numbers[each[:at]]) > 1
        )
        cut = next(cuts, None)
        found[name] = (
            _Parts((), "", each) if cut is None else _Parts(each[:cut], each[cut], each[cut + 1 :])
        )
    return found


def _words(parts: Mapping[str, _Parts]) -> dict[tuple[str, ...], str]:
    """Return what stands before the number: as few segments as tell families apart."""
    families = {each.before for each in parts.values() if each.number}
    return {
        family: ".".join(_shortest(family, [other for other in families if other != family]))
        for family in families
    }


def _shortest_rests(parts: Mapping[str, _Parts]) -> dict[str, str]:
    """Return of every name the shortest end that no other layer of the same blocks has."""
    families: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    for each in parts.values():
        families[each.before].add(each.rest)
    shorts = {before: _shortest_of(rests) for before, rests in families.items()}
    return {
        name: ".".join(shorts[each.before][each.rest])
        for name, each in parts.items()
        if each.number
    }


def _shortest_of(rests: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Return of each the shortest end that no other has; a last part that tells nothing is cut."""
    found = {rest: _shortest(rest, [r for r in rests if r != rest]) for rest in rests}
    lasts = Counter(rest[-1] for rest in rests)
    cut = {
        rest: short[:-1]
        for rest, short in found.items()
        if len(short) > 1 and lasts[short[-1]] > 1 and not _NUMBERED.fullmatch(short[-1])
    }
    shorter = {**found, **cut}
    often = Counter(shorter.values())
    return {rest: short if often[short] == 1 else found[rest] for rest, short in shorter.items()}


def _shortest(segments: tuple[str, ...], others: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the shortest end of some segments, not just a number, that no other ends with."""
    for size in range(1, len(segments)):
        end = segments[-size:]
        if not _NUMBERED.fullmatch(end[0]) and all(other[-size:] != end for other in others):
            return end
    return segments

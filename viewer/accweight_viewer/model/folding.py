"""Which layers share a row: those of a repeated block, told by the numbers in their names.

So a hundred blocks are a hundred rows of the same pattern, and long narrow streets of rows are
placed side by side.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence

import numpy as np

DEPTH_STEP = 1.3
"""Distance between folded rows, for plates of median size."""

COLUMN_PITCH = 1.55
"""Width of a column of folded rows, for plates of median size."""

STREET = 1.8
"""Ratio of depth to width of folded rows above which blocks are placed side by side."""


def folded_rows(names: Sequence[str]) -> list[list[str]]:
    """Return layers in rows: one per repeated block; without blocks, lines of equal length.

    >>> folded_rows(["embed", "h.0.q", "h.0.k", "h.1.q", "h.1.k", "head"])
    [['embed'], ['h.0.q', 'h.0.k'], ['h.1.q', 'h.1.k'], ['head']]
    """
    blocks = blocks_of(names)
    if len({block for block in blocks if block}) < 2:
        return _lines(names)
    rows: list[list[str]] = []
    longest = max(1, math.ceil(1.5 * math.sqrt(len(names))))
    before: str | None = None
    for name, block in zip(names, blocks, strict=True):
        if rows and block and block == before and len(rows[-1]) < longest:
            rows[-1].append(name)
        else:
            rows.append([name])
        before = block
    if max(map(len, rows)) == 1:  # a layer per block, as adapters have
        return _lines(names)
    return _side_by_side(rows, {block for block in blocks if block})


def _lines(names: Sequence[str]) -> list[list[str]]:
    """Return names in lines of equal length."""
    width = max(1, math.ceil(math.sqrt(len(names) / 2)))
    return [list(names[start : start + width]) for start in range(0, len(names), width)]


def _side_by_side(rows: list[list[str]], blocks: Collection[str]) -> list[list[str]]:
    """Return rows of several blocks, where one block per row would be long and narrow.

    An empty slot, named "", separates the blocks of a row.
    """
    long = [row for row in rows if len(row) > 1]
    width = COLUMN_PITCH * float(np.median([len(row) for row in long] or [1]))
    beside = max(1, round(math.sqrt(len(blocks) * DEPTH_STEP / (width * STREET))))
    joined: list[list[str]] = []
    held = 0
    for row in rows:
        alike = held and joined[-1][-len(row) :] and len(row) > 1
        if alike and held < beside and _pattern(joined[-1][-len(row) :]) == _pattern(row):
            joined[-1] += ["", *row]
            held += 1
        else:
            joined.append(list(row))
            held = 1 if len(row) > 1 else 0
    return joined


def _pattern(names: Sequence[str]) -> list[str]:
    """Return names without numbers, which are equal for repeated blocks."""
    return [re.sub(r"\d+", "#", name) for name in names]


def blocks_of(names: Sequence[str]) -> list[str]:
    """Return the numbered block of each layer: "h.3" for "h.3.attn.q", or ""."""
    numbered = [re.match(r"(.*?(?:^|[./_]))(\d+)[./_]", name) for name in names]
    families: dict[str, set[str]] = {}
    for match in numbered:
        if match:
            families.setdefault(match[1], set()).add(match[2])
    return [
        match[1] + match[2] if match and len(families[match[1]]) > 1 else "" for match in numbered
    ]


def merged_names(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Return the names of both runs in one order that agrees with the order of each.

    >>> merged_names(["a", "b", "d"], ["a", "c", "d"])
    ['a', 'c', 'b', 'd']
    """
    merged, known, after = list(first), set(first), -1
    for name in second:
        if name in known:
            after = merged.index(name)
        else:
            after += 1
            merged.insert(after, name)
    return merged

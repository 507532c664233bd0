"""What cards of a graph are called: in few letters, and never as a sibling is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from accweight_core.short_names import fitting

LONGEST = 22
"""Letters of a label; of a longer one, its two ends."""


class Labelled(Protocol):
    """A module or a node: its whole name, its kind, and its label, which is changed."""

    name: str
    kind: str
    label: str


def tell_apart(siblings: Sequence[Labelled]) -> None:
    """Cut long labels so that siblings stay apart; what cannot be cut so keeps its whole label."""
    _part_alike([item for item in siblings if item.kind != "join"])
    labels = {item.label for item in siblings}
    cuts = {label: _cut(label) for label in labels}
    often = Counter(cuts.values())
    cuts |= fitting([label for label in labels if often[cuts[label]] > 1], LONGEST)
    often = Counter(cuts.values())
    for item in siblings:
        cut = cuts[item.label]
        item.label = cut if often[cut] == 1 else item.label


def _part_alike(siblings: Sequence[Labelled]) -> None:
    """Give labels that several have to one at most.

    A module may be called as a layer beside it, whose parameters are its own; a/b and a.b are
    called alike. Exporters call outputs as the layers that they come from: these say what they are.
    """
    often = Counter(item.label for item in siblings)
    for item in siblings:
        if often[item.label] > 1 and item.kind in ("input", "output"):
            item.label = f"{item.kind} {item.label}"
    for only in ({"module"}, {"layer", "module", "input", "output"}):
        often = Counter(item.label for item in siblings)
        for item in siblings:
            if often[item.label] > 1 and item.kind in only:
                item.label = f"{item.label}.*" if item.kind == "module" else item.name


def _cut(label: str) -> str:
    if len(label) <= LONGEST:
        return label
    half = (LONGEST - 1) // 2
    return f"{label[:half]}\N{HORIZONTAL ELLIPSIS}{label[-half:]}"

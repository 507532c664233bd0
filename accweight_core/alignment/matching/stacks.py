"""Match one layer of one network with several of the other: q, k and v, or stacked LSTMs.

The outputs of the parts add up to those of the whole, over the same inputs. That alone would match
three hidden layers of a plain network with one projection, so names or kinds must agree as well:
the whole or its parts have the names of merged projections, or both are recurrent.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.alignment.matching.names import is_made_up, path_of, similarities
from accweight_core.alignment.matching.order import in_order
from accweight_core.runs.axis_shapes import Form, Profile
from accweight_core.schema import Kind

MOST_PARTS = 4
"""q, k, v and o; two directions of two recurrent layers. More parts need the user's map."""

_WHOLE = re.compile(
    r"(^|[._/])(in_proj(_weight)?|w?qkv(_proj)?|c_attn|query_key_value|kv_proj|key_value"
    r"|gate_up(_proj)?|w12|mha|attn|attention|self_attn|self_attention)([._/]|$)",
    re.IGNORECASE,
)
_PARTS = re.compile(
    r"^(w?[qkvo]|[qkvo]_(proj|lin)|to_[qkv]|query|key|value|attention_output|out_proj|gate(_proj)?"
    r"|up(_proj)?|w[123])(_proj)?$",
    re.IGNORECASE,
)
_RECURRENT = {Kind.RNN, Kind.LSTM, Kind.GRU}

Stack = tuple[tuple[Form, int], ...]


@dataclass(frozen=True)
class Merged:
    """One layer and the layers that hold its parts.

    Attributes:
        whole: Position of the merged layer.
        parts: Positions of the parts, in order.
        likeness: Similarity of the names, 0 to 1.
        is_alone: Whether no other layer on either side fits as well.
    """

    whole: int
    parts: tuple[int, ...]
    likeness: float
    is_alone: bool


def merged(
    wholes: Sequence[Profile], parts: Sequence[Profile], free: Sequence[int], others: Sequence[int]
) -> list[Merged]:
    """Return layers of one side that the other side has as several neighbouring layers.

    Args:
        wholes: The side with the merged layers.
        parts: The side with the parts.
        free: Positions on the first side to search, in order.
        others: Positions on the other side to search, in order.
    """
    groups = _groups(parts, others)
    asked: dict[Stack, list[int]] = {}
    for place in free:
        if wholes[place].stack in groups:
            asked.setdefault(wholes[place].stack, []).append(place)
    found: list[Merged] = []
    for stack, places in asked.items():
        found += _settled(wholes, parts, places, groups[stack])
    return sorted(found, key=lambda merge: merge.whole)


def _groups(parts: Sequence[Profile], free: Sequence[int]) -> dict[Stack, list[tuple[int, ...]]]:
    """Return neighbouring layers with one parent and kind, by their combined shape."""
    groups: dict[Stack, list[tuple[int, ...]]] = {}
    for start in range(len(free)):
        first = parts[free[start]]
        total = Counter(dict(first.stack))
        for end in range(start + 1, min(start + MOST_PARTS, len(free))):
            another = parts[free[end]]
            if not _are_siblings(first, another):
                break
            total.update(dict(another.stack))
            group = tuple(free[start : end + 1])
            groups.setdefault(tuple(sorted(total.items())), []).append(group)
    return groups


def _are_siblings(left: Profile, right: Profile) -> bool:
    parents = [path_of(p.layer.name)[:-1] for p in (left, right)]
    is_matrix = all(len(form) > 1 for p in (left, right) for form in p.forms)
    return parents[0] == parents[1] and left.layer.kind is right.layer.kind and is_matrix


def _is_merge(whole: Profile, parts: Sequence[Profile]) -> bool:
    """Tell whether names or kinds indicate parts of one layer."""
    if whole.layer.kind in _RECURRENT:
        return all(part.layer.kind is whole.layer.kind for part in parts)
    if any(part.layer.kind not in (Kind.LINEAR, Kind.ATTENTION) for part in parts):
        return False
    names = [whole.layer.name, *(p.name for p in whole.layer.parameters)]
    is_named = any(_WHOLE.search(name) for name in names)
    is_cut = any(p.sections for p in whole.layer.parameters)
    if is_named or is_cut:
        return True
    are_parts = all(_PARTS.match(path_of(part.layer.name)[-1]) for part in parts)
    return are_parts and is_made_up(whole.layer.name)


def _settled(
    wholes: Sequence[Profile],
    parts: Sequence[Profile],
    places: Sequence[int],
    groups: Sequence[tuple[int, ...]],
) -> list[Merged]:
    """Return the pairs of equal wholes and equal groups of parts."""
    allowed = np.array(
        [[_is_merge(wholes[i], [parts[j] for j in group]) for group in groups] for i in places]
    )
    if not allowed.any():
        return []
    names = [wholes[place].layer.name for place in places]
    alike = similarities(names, ["/".join(parts[j].layer.name for j in group) for group in groups])
    taken: set[int] = set()
    found = []
    for pair in in_order(np.where(allowed, 1 + 3 * alike, 0)):
        group = groups[pair.b]
        if not taken & set(group):
            taken |= set(group)
            likeness = float(alike[pair.a, pair.b])
            found.append(Merged(places[pair.a], group, likeness, pair.margin > 1e-3))
    return found

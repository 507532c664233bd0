"""Match two networks layer by layer, strongest evidence first.

The order: the user's map, equal names, equal values, similar names, merged layers; then position
in network order between existing matches; then shapes that are unique on each side. Every step
gives the same result if the sides are exchanged.
"""

from __future__ import annotations

from collections import Counter

from accweight_core.alignment.matching.by_position import match_by_place
from accweight_core.alignment.matching.match_state import LEAST, Found, Known, State
from accweight_core.alignment.matching.names import is_made_up, unique_pairs
from accweight_core.alignment.matching.result import How
from accweight_core.alignment.matching.stacks import merged
from accweight_core.runs.axis_shapes import SAME_ELEMENTS

BY_KEY = (0.97, 0.95, 0.9, 0.85)
"""Confidence by kind of key, from names without wrappers to names in canonical words."""


def match_layers(state: State, known: Known) -> None:
    """Find all matches from scratch."""
    state.reset()
    for place_a, place_b in known.forced:
        state.take(Found(place_a, place_b, How.MAP, 1.0, "given by the map"))
    for side, alone in enumerate((known.alone_a, known.alone_b)):
        for place in alone:
            state.free[side].pop(place, None)
    if known.values_first:
        _equal_values(state, known)
    _equal_names(state)
    _equal_values(state, known)
    _alike_names(state, same_form=True)
    _merged(state)
    _named_alike_in_another_shape(state)
    match_by_place(state)


def _equal_values(state: State, known: Known) -> None:
    for i, j, confidence, words in known.equal:
        if state.names[0][i] == state.names[1][j] and state.forms[i, j] == 1:
            words = f"same name, kind and shape, {words}"
            how, confidence = How.NAME, 1.0
        else:
            how = How.VALUES
        if i in state.free[0] and j in state.free[1]:
            state.take(Found((i,), (j,), how, confidence, words))


def _equal_names(state: State) -> None:
    """Match equal names with equal shapes."""
    for i, j in _of_one_name(state):
        kind, form = state.kinds[i, j], state.forms[i, j]
        if kind == 1 and form == 1:
            state.take(Found((i,), (j,), How.NAME, 1.0, "same name, kind and shape"))
        elif kind and form >= SAME_ELEMENTS:
            words = "same name, the shape in another order" if kind == 1 else "same name"
            state.take(Found((i,), (j,), How.NAME, 0.95, words))


def _of_one_name(state: State) -> list[tuple[int, int]]:
    there = {state.names[1][j]: j for j in state.free[1]}
    pairs = [(i, there[name]) for i in state.free[0] if (name := state.names[0][i]) in there]
    return [(i, j) for i, j in pairs if _is_one_name(state, i, j)]


def _is_one_name(state: State, i: int, j: int) -> bool:
    """Tell whether equal names mean the same layer: not if programs number them automatically."""
    if state.keys[0][0][i] != state.keys[1][0][j]:
        return False
    return not is_made_up(state.names[0][i]) or state.forms[i, j] == 1


def _alike_names(state: State, *, same_form: bool) -> None:
    """Match names that are equal under a coarser key, if the key is unique on either side."""
    for level, sure in enumerate(BY_KEY):
        keys = [
            [key if place in state.free[side] else None for place, key in enumerate(by[level])]
            for side, by in enumerate(state.keys)
        ]
        for i, j in unique_pairs(*keys):
            is_same = state.forms[i, j] >= SAME_ELEMENTS
            says = not (is_made_up(state.names[0][i]) or is_made_up(state.names[1][j]))
            if state.kinds[i, j] and is_same == same_form and says:
                words = "same name but for prefixes, separators or words"
                confidence = sure if is_same else 0.8 * sure
                state.take(Found((i,), (j,), How.SIMILAR_NAME, confidence, words))


def _named_alike_in_another_shape(state: State) -> None:
    for i, j in _of_one_name(state):
        if state.kinds[i, j]:
            state.take(Found((i,), (j,), How.NAME, 0.8, "same name"))
        else:
            state.take(Found((i,), (j,), How.NAME, 0.4, "same name, but another kind"))
    _alike_names(state, same_form=False)
    named = sum(m.how in (How.NAME, How.SIMILAR_NAME) for m in state.found)
    state.trust = min(1.0, named / state.smaller)


def _merged(state: State) -> None:
    """Match layers that are merged into one on the other side."""
    free = [list(places) for places in state.free]
    merges = [
        (side, merge)
        for side in (0, 1)
        for merge in merged(state.sides[side], state.sides[1 - side], free[side], free[1 - side])
    ]
    uses = Counter(
        use for side, m in merges for use in ((side, m.whole), *((1 - side, p) for p in m.parts))
    )
    for side, merge in merges:
        if any(uses[1 - side, p] > 1 for p in merge.parts) or uses[side, merge.whole] > 1:
            continue  # no framework merges merged layers
        sure = 0.6 + 0.3 * merge.likeness if merge.is_alone else LEAST
        a, b = ((merge.whole,), merge.parts)[:: 1 - 2 * side]
        how = How.SIMILAR_NAME if merge.likeness >= 0.4 else How.SHAPE
        parts = ", ".join(state.names[1 - side][p] for p in merge.parts)
        state.take(Found(a, b, how, sure, f"merged: {parts}"))

"""Matching by position and shape, for layers with uninformative names.

Between two matched layers, the best order-preserving alignment is taken, scored by kind, shape and
common parts of names. Formats that sort their content by name have lost the order; there, shapes
that occur only once are matched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from accweight_core.alignment.matching.match_state import LIKELY, State
from accweight_core.alignment.matching.names import unique_pairs
from accweight_core.alignment.matching.order import Placed, fences, in_order, slots
from accweight_core.alignment.matching.result import How
from accweight_core.runs.axis_shapes import SAME_ELEMENTS, TURNED

FIRM = 0.05
"""Score margin from which the order is unambiguous."""

LEAST_COMPANY = 2
"""Lead in matches that a submodule needs over any other to be preferred."""


def match_by_place(state: State) -> None:
    """Match by position in network order, and by unique shapes."""
    if state.is_one_network:
        if not all(state.has_order):
            _by_shape(state)
        _in_order(state, strict=True)
        _by_shape(state)
        _by_company(state)
    _in_order(state, strict=False)
    _by_shape(state)


def _by_shape(state: State) -> None:
    """Match layers whose kind and shape occur once on each side, wherever they are."""
    keys: list[list[tuple[str, ...] | None]] = [
        [(repr(sort),) if place in state.free[side] else None for place, sort in enumerate(sorts)]
        for side, sorts in enumerate(state.sorts)
    ]
    for i, j in unique_pairs(*keys):
        is_only = _is_rare(state, i, j)
        sure = 0.85 if is_only else 0.6
        words = "no other layer has" if is_only else "no other layer left has"
        confidence = state.weighed(i, j, sure)
        state.offer(i, j, How.SHAPE, confidence, f"{words} this kind and shape")


def _by_company(state: State) -> None:
    """Match a shape that several layers of one side have with the one whose neighbours match.

    With two copies of a network in one file every shape occurs twice; the copy that holds the other
    matches is recognised by its name prefix.
    """
    by_sort: dict[Hashable, tuple[list[int], list[int]]] = {}
    for side, sorts in enumerate(state.sorts):
        for place in state.free[side]:
            by_sort.setdefault(sorts[place], ([], []))[side].append(place)
    chosen = []
    for places in by_sort.values():
        if min(map(len, places)) == 1:
            best = [_in_company(state, side, places[side]) for side in (0, 1)]
            if best[0] is not None and best[1] is not None:
                chosen.append((best[0], best[1]))
    for i, j in sorted(chosen):
        confidence = state.weighed(i, j, 0.6)
        state.offer(
            i,
            j,
            How.SHAPE,
            confidence,
            "this kind and shape, in the part that other layers are matched with",
        )


def _in_company(state: State, side: int, places: Sequence[int]) -> int | None:
    """Return the position whose submodule has clearly the most matches, if there is one."""
    if len(places) == 1:
        return places[0]
    paths = state.keys[side][0]
    shared = 0
    while len({paths[p][: shared + 1] for p in places}) == 1 and shared < len(paths[places[0]]):
        shared += 1
    matched = Counter(
        path[: shared + 1] for p, path in enumerate(paths) if p not in state.free[side]
    )
    ranked = sorted(((matched[paths[p][: shared + 1]], p) for p in places), reverse=True)
    return ranked[0][1] if ranked[0][0] >= ranked[1][0] + LEAST_COMPANY else None


def _in_order(state: State, *, strict: bool) -> None:
    """Match the layers between those that are matched already.

    With `strict`, only equal shapes are matched, and only where the order is unambiguous.
    """
    anchors = [(m.a[0], m.b[0]) for m in state.found if m.confidence >= LIKELY]
    kept = fences(anchors)
    steady = (len(kept) + 1) / (len(anchors) + 1)
    free = [list(places) for places in state.free]
    between = [slots([pair[side] for pair in kept], free[side]) for side in (0, 1)]
    pairs = []
    for slot in sorted({*between[0].tolist()} & {*between[1].tolist()}):
        rows, columns = (
            np.array(free[side], dtype=np.intp)[between[side] == slot] for side in (0, 1)
        )
        pairs += [
            Placed(int(rows[p.a]), int(columns[p.b]), p.margin)
            for p in in_order(_rewards(state, rows, columns, strict))
        ]
    _settle(state, pairs, steady, strict)


def _rewards(
    state: State, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], strict: bool
) -> npt.NDArray[np.float64]:
    grid = np.ix_(rows, columns)
    kinds, forms = state.kinds[grid], state.forms[grid]
    least = TURNED if strict else 1e-9
    allowed = (kinds > 0) & (forms >= least)
    if state.is_one_network:  # a layer with a free equal takes no other shape
        twins = [
            {state.sorts[1 - side][place] for place in state.free[1 - side]} for side in (0, 1)
        ]
        has_twin = [
            np.array([state.sorts[side][p] in twins[side] for p in places], dtype=bool)
            for side, places in enumerate((rows, columns))
        ]
        allowed &= (forms == 1) | ~(has_twin[0][:, None] | has_twin[1][None, :])
    return np.where(allowed, 1.5 * kinds + 2 * forms + 2 * state.alike[grid], -1)


def _settle(state: State, pairs: Sequence[Placed], steady: float, strict: bool) -> None:
    """Take the pairs with enough confidence."""
    firm = [pair for pair in pairs if pair.margin >= FIRM]
    is_held = bool(firm or [m for m in state.found if m.confidence >= LIKELY])
    covered = (len(firm) + len(state.found)) / max(min(map(len, state.sides)), 1)
    for pair in firm if strict else pairs:
        i, j = pair.a, pair.b
        form = float(state.forms[i, j])
        sure = 0.7 if form == 1 else 0.6 if form >= SAME_ELEMENTS else 0.45 + 0.2 * form
        words = ["same place in order"]
        if form == 1 and _is_rare(state, i, j):
            sure, words = 0.9, ["same place in order, a shape that nothing else has"]
        elif form == 1 and state.sorts[0] == state.sorts[1]:
            sure, words = 0.85, ["same place in the same sequence of kinds and shapes"]
        if form < SAME_ELEMENTS:
            sure *= min(1.0, covered)
        if pair.margin < FIRM:
            sure *= 0.45 if is_held else 0.2
            words.append("one of several that fit as well")
        if not all(state.has_order):
            sure *= 0.85
        confidence = state.weighed(i, j, sure * steady)
        how = How.SIMILAR_NAME if state.alike[i, j] >= 0.5 else How.POSITION
        state.offer(i, j, how, confidence, ", ".join(words))


def _is_rare(state: State, i: int, j: int) -> bool:
    """Tell whether the kind and shape of a layer are unique on both sides."""
    sorts = state.sorts[0][i], state.sorts[1][j]
    return all(counts[sort] == 1 for counts, sort in zip(state.counts, sorts, strict=True))

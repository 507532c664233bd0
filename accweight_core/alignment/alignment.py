"""Alignment: which layer of one network corresponds to which layer of another.

Exporters rename, transpose, merge and fold; runs differ in width and depth. `aligned` matches
two lists of layers by the user's map, names, network order and shapes; `align` takes runs or
analyses, and where several matches remain it compares the weights of one step. Every match has
its evidence and a confidence; layers below the threshold are listed as unmatched, not guessed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

from accweight_core.alignment.matching.common_steps import Side, ValuesAtStep
from accweight_core.alignment.matching.match_state import Found, Known, State
from accweight_core.alignment.matching.matching import match_layers
from accweight_core.alignment.matching.parameters import matched_parameters
from accweight_core.alignment.matching.result import (
    Alignment,
    How,
    Match,
    ParameterMatch,
    Unmatched,
)
from accweight_core.arguments import brief, is_one_of
from accweight_core.errors import ArgumentTypeError, MismatchError
from accweight_core.naming import natural_key
from accweight_core.runs.axis_shapes import SAME_ELEMENTS, kinds_agree
from accweight_core.runs.name_map import NameMap, as_map
from accweight_core.schema import Kind, Layer, Run

if TYPE_CHECKING:
    from accweight_core.alignment.matching.values import EqualLayers
    from accweight_core.analysis.analysis import Analysis

__all__ = ["Alignment", "How", "Match", "ParameterMatch", "Unmatched", "align", "aligned"]

Values = Literal["auto", "always", "never"]
Evidence = Callable[[Sequence[Layer], Sequence[Layer]], "Sequence[EqualLayers]"]
"""Returns which of the given layers hold equal values."""

SURE = 0.9
"""Confidence from which the values are not compared."""

SHOWN_SHAPES = 2


def aligned(
    left: Sequence[Layer],
    right: Sequence[Layer],
    *,
    name_map: NameMap | None = None,
    evidence: Evidence | None = None,
    check_all: bool = False,
) -> Alignment:
    """Match two lists of layers in network order.

    Args:
        left: Layers of one network.
        right: Layers of the other.
        name_map: The user's map of names; it overrides all other evidence.
        evidence: Compares the values of layers with low confidence.
        check_all: Compare the values of every layer that the map does not mention.
    """
    sides = [_in_natural_order(layers) for layers in (left, right)]
    known, notes = _known(name_map, *sides)
    state = State(*sides)
    match_layers(state, known)
    if evidence:
        asked = [[sides[s][i] for i in places] for s, places in enumerate(_open(state, check_all))]
        equal = evidence(*asked) if all(asked) else ()
        if equal:
            places = [{layer.name: i for i, layer in enumerate(side)} for side in sides]
            pairs = tuple((places[0][e.a], places[1][e.b], e.confidence, e.words) for e in equal)
            match_layers(state, replace(known, equal=pairs, values_first=check_all))
    for name, side, has_order in zip("ab", sides, state.has_order, strict=True):
        if not has_order and any(m.how is How.POSITION for m in state.found) and len(side) > 1:
            notes.append(f"the layers of {name} are sorted by name, so their order tells less")
    return _result(state, left, right, notes)


def align(
    a: Side | str | os.PathLike[str],
    b: Side | str | os.PathLike[str],
    *,
    map: NameMap | str | os.PathLike[str] | None = None,
    values: Values = "auto",
) -> Alignment:
    """Match the layers of two runs or analyses.

    Args:
        a: A run, an analysis, or the path of either (see `side_at`).
        b: Another, of any format, width or depth.
        map: A map file; it overrides all other evidence.
        values: Whether to compare weights of one step: "auto" for layers that names leave
            ambiguous, if both sides have such a step and the files still exist; "always" for
            all layers; "never" reads no weights.

    Returns:
        Matches with evidence and confidence, and the unmatched layers.

    Raises:
        FormatError: If the map file is damaged.
        SourceError: If `values` is "always" and checkpoints are missing.
    """
    if not is_one_of(values, get_args(Values)):
        raise MismatchError(f"values must be 'auto', 'always' or 'never', got {brief(values)}")
    left, right = _side(a), _side(b)
    compared = None if values == "never" else ValuesAtStep(left, right, must=values == "always")
    result = aligned(
        left.layers,
        right.layers,
        name_map=as_map(map),
        evidence=compared,
        check_all=values == "always",
    )
    return replace(result, notes=(*result.notes, *(compared.notes if compared else ())))


def side_at(path: str | os.PathLike[str]) -> Run | Analysis:
    """Open a path as an analysis if it ends in .accw, else as checkpoints.

    Of several runs among the checkpoints, the largest is taken.
    """
    name = os.fspath(path)
    if name.rstrip("/").endswith(".accw"):
        from accweight_core.analysis.analysis import open_analysis

        return open_analysis(name)
    from accweight_core.runs.opening import open_run

    return open_run(name, group="largest")


def _side(given: Side | str | os.PathLike[str]) -> Side:
    if isinstance(given, (str, os.PathLike)):
        return side_at(given)
    if not hasattr(given, "layers"):
        raise ArgumentTypeError(
            f"expected a run, an analysis, or the path of one, got {type(given).__name__}"
        )
    return given


def _in_natural_order(layers: Sequence[Layer]) -> list[Layer]:
    """Return layers with block 2 before block 10, where a format sorted them as strings."""
    names = [layer.name for layer in layers]
    if names == sorted(names):
        return sorted(layers, key=lambda layer: natural_key(layer.name))
    return list(layers)


def _known(
    name_map: NameMap | None, left: Sequence[Layer], right: Sequence[Layer]
) -> tuple[Known, list[str]]:
    """Return the matches that a map states for these layers, by position.

    The map may be from names of b to names of a, or the other way round.
    """
    if name_map is None:
        return Known(), []
    places = [{layer.name: i for i, layer in enumerate(side)} for side in (left, right)]
    groups: dict[tuple[str, ...], list[str]] = {}
    alone: tuple[set[int], set[int]] = (set(), set())
    notes = []
    for key, entry in name_map.layers.items():
        if entry.skip:
            for side in (0, 1):
                if key in places[side]:
                    alone[side].add(places[side][key])
        elif entry.names:
            groups.setdefault(entry.names, []).append(key)
    forced = []
    for names, keys in groups.items():
        found = _placed(places[0], names, places[1], keys)
        if found is None:
            found = _placed(places[0], keys, places[1], names)
        if found is None:
            missing = [n for n in (*keys, *names) if n not in places[0] and n not in places[1]]
            what = ", ".join(map(repr, missing or keys))
            notes.append(f"{name_map.source}: not used: {what} is in neither network")
        else:
            forced.append(found)
    return Known(tuple(forced), frozenset(alone[0]), frozenset(alone[1])), notes


def _placed(
    here: dict[str, int], ours: Sequence[str], there: dict[str, int], theirs: Sequence[str]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    if not (all(n in here for n in ours) and all(n in there for n in theirs)):
        return None
    return tuple(here[n] for n in ours), tuple(there[n] for n in theirs)


def _open(state: State, check_all: bool) -> list[list[int]]:
    """Return the layers of each side to compare by values: unsure ones with a likely match."""
    unsure = [set(places) for places in state.free]
    for match in state.found:
        is_open = match.confidence < SURE or match.how is How.POSITION or check_all
        if is_open and match.how is not How.MAP and len(match.a) == len(match.b) == 1:
            unsure[0].add(match.a[0])
            unsure[1].add(match.b[0])
    rows, columns = (sorted(places) for places in unsure)
    likely = (state.forms >= SAME_ELEMENTS) & (state.kinds > 0)
    return [
        [i for i in rows if likely[i, columns].any()],
        [j for j in columns if likely[rows, j].any()],
    ]


def _result(
    state: State, left: Sequence[Layer], right: Sequence[Layer], notes: Sequence[str]
) -> Alignment:
    """Return the result with names and reasons, in the order of a."""
    order = {layer.name: place for place, layer in enumerate(left)}
    matches = [_match(state, found) for found in state.found]
    matches.sort(key=lambda match: min(order[name] for name in match.layers_a))
    used: tuple[set[str], set[str]] = (set(), set())
    for match in matches:
        used[0].update(match.layers_a)
        used[1].update(match.layers_b)
    alone = [
        tuple(
            Unmatched(layer.name, _hint(state, side, layer))
            for layer in layers
            if layer.name not in used[side]
        )
        for side, layers in enumerate((left, right))
    ]
    return Alignment(tuple(matches), alone[0], alone[1], tuple(notes))


def _match(state: State, found: Found) -> Match:
    members = [
        [state.sides[side][place] for place in places]
        for side, places in enumerate((found.a, found.b))
    ]
    parameters = [[p for member in side for p in member.layer.parameters] for side in members]
    several = len(found.a) + len(found.b) > 2
    differs = not several and bool(state.forms[found.a[0], found.b[0]] < SAME_ELEMENTS)
    reason = found.reason
    if differs:
        shapes = [
            " + ".join("x".join(map(str, form)) for form in side[0].forms[:SHOWN_SHAPES])
            for side in members
        ]
        reason += f"; shape differs: {shapes[0]} against {shapes[1]}"
    kinds = [side[0].layer.kind for side in members]
    if kinds[0] is not kinds[1]:
        reason += f"; {kinds[0]} against {kinds[1]}"
    return Match(
        tuple(member.layer.name for member in members[0]),
        tuple(member.layer.name for member in members[1]),
        found.how,
        float(found.confidence),
        reason,
        differs,
        matched_parameters(*parameters, in_parts=several),
    )


def _hint(state: State, side: int, layer: Layer) -> str:
    """Return a likely reason why a layer has no match."""
    place = next(i for i, p in enumerate(state.sides[side]) if p.layer is layer)
    if layer.kind is Kind.NORM:
        into = _folded_into(state, side, place)
        if into:
            return f"folded into {into}? Exporters do that with a norm after a convolution"
    unsure = [
        (confidence, pair[1 - side])
        for pair, confidence in state.rejected.items()
        if pair[side] == place and pair[1 - side] in state.free[1 - side]
    ]
    if unsure:
        confidence, other = max(unsure)
        return f"perhaps {state.names[1 - side][other]} ({confidence:.0%}); confirm it in a map"
    return ""


def _folded_into(state: State, side: int, place: int) -> str:
    """Return the layer that a norm was folded into, if the other side has fewer norms."""
    others = state.sides[1 - side]
    if any(kinds_agree(others[j].layer.kind, Kind.NORM) == 1 for j in state.free[1 - side]):
        return ""
    before = state.sides[side][place - 1].layer if place else None
    return (
        before.name
        if before and before.kind in (Kind.CONV, Kind.CONV_TRANSPOSE, Kind.LINEAR)
        else ""
    )

"""States of a tracker whose model is sharded: each process saves, and continues from, its own part.

Beside the part is written which process of how many it belongs to, and at which element each
parameter begins, so that no process continues from the part of another without a word. Parts of all
processes together make the whole state, from which any number of processes takes what it trains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from accweight_core.errors import ArgumentTypeError, ArgumentValueError, MismatchError
from accweight_core.live.shards import is_shared, rank
from accweight_core.live.states import SHARDED_FORMAT, STATE_FORMAT, WeightState

TOGETHER = "give load_state_dict() a list of the states of all processes"

Saved = Mapping[str, Any]


def place_of(firsts: Mapping[str, int]) -> dict[str, Any]:
    """Return what is saved with a part: whose it is.

    Args:
        firsts: First element of the part of every parameter.
    """
    return {"process": rank(), "processes": _processes(), "firsts": dict(firsts)}


def firsts_of(saved: Saved) -> dict[str, int] | None:
    """Return the first element of each parameter in the part of this process; None of a whole.

    Raises:
        ArgumentValueError: If it is damaged, or the part of another process.
    """
    place = _place(saved)
    if place is None:
        return None
    own, theirs = (rank(), _processes()), (place["process"], place["processes"])
    if own != theirs:
        raise ArgumentValueError(
            f"the state of the tracker is the part of process {theirs[0]} of {theirs[1]}, and this "
            f"is process {own[0]} of {own[1]}; {TOGETHER}"
        )
    return dict(place["firsts"])


def put_together(states: Sequence[Any]) -> Saved:
    """Return the whole state from the parts that all processes have saved at the same step.

    Raises:
        ArgumentTypeError: If one is no state of a tracker.
        ArgumentValueError: If parts are missing, or do not belong together.
    """
    if not states or not all(isinstance(state, Mapping) and "format" in state for state in states):
        raise ArgumentTypeError("expected the state_dict() of the trackers of all processes")
    parts = [(place, state) for state in states if (place := _place(state)) is not None]
    if len(parts) < len(states):
        if len(states) == 1:
            return dict(states[0])
        raise ArgumentValueError("one of the states is of a whole model; give that one alone")
    parts.sort(key=lambda part: int(part[0]["process"]))
    (first, whole), many = parts[0], len(parts)
    if [place["process"] for place, _ in parts] != list(range(first["processes"])):
        got = ", ".join(str(place["process"]) for place, _ in parts)
        raise ArgumentValueError(
            f"expected the states of processes 0 to {first['processes'] - 1}, got those of {got}"
        )
    for place, state in parts:
        same = state.get("header") == whole.get("header") and _equal(state, whole)
        if place["processes"] != many or not same:
            raise ArgumentValueError(
                f"the state of process {place['process']} differs from that of process 0 in its "
                "steps or numbers; give those that all processes saved at the same step"
            )
    names = list(whole.get("weights") or ())
    found = {name: _joined(name, parts) for name in names}
    rest = {key: value for key, value in whole.items() if key != "shard"}
    return {**rest, "format": STATE_FORMAT, "weights": found}


def part_of(name: str, state: WeightState, state_first: int, wanted: range) -> WeightState:
    """Return the state of the elements of a parameter that this process trains.

    Args:
        name: Name of the parameter.
        state: State of some of its elements, flat.
        state_first: The first of these.
        wanted: The elements that are trained here.

    Raises:
        MismatchError: If the state lacks some of them.
    """
    start, held = wanted.start - state_first, len(state.reference)
    if wanted and (start < 0 or start + len(wanted) > held):
        raise MismatchError(
            f"parameter {name!r}: this process trains its elements {wanted.start} to "
            f"{wanted.stop - 1}, but the state of the tracker has {state_first} to "
            f"{state_first + held - 1}; {TOGETHER}"
        )
    return state[start : start + len(wanted)] if wanted else state[:0]


def _processes() -> int:
    return torch.distributed.get_world_size() if is_shared() else 1


def _place(saved: Saved) -> Mapping[str, Any] | None:
    """Return what `place_of` wrote, checked; None of a whole state."""
    if saved.get("format") != SHARDED_FORMAT:
        return None
    place = saved.get("shard")
    known = isinstance(place, Mapping) and isinstance(place.get("firsts"), Mapping)
    numbers = [place.get("process"), place.get("processes")] if known and place else [None]
    if not known or not all(
        isinstance(number, int) and number >= 0
        for number in (*numbers, *(place["firsts"].values() if place else ()))
    ):
        raise ArgumentValueError("the state of the tracker is damaged: whose part it is, is lost")
    found: Mapping[str, Any] = place or {}
    return found


def _equal(state: Saved, other: Saved) -> bool:
    sums = [found.get("sums") for found in (state, other)]
    if not all(isinstance(found, Tensor) for found in sums):
        return False
    ours, theirs = (found.numpy().tobytes() for found in sums if found is not None)
    return bool(ours == theirs)


def _joined(name: str, parts: Sequence[tuple[Mapping[str, Any], Saved]]) -> dict[str, Tensor]:
    """Return the state of a whole parameter; several processes may have the same part."""
    by_first: dict[int, Mapping[str, Tensor]] = {}
    for place, state in parts:
        found = state["weights"].get(name) if isinstance(state.get("weights"), Mapping) else None
        if not isinstance(found, Mapping) or not all(isinstance(t, Tensor) for t in found.values()):
            raise ArgumentValueError(f"the state of parameter {name!r} is damaged")
        if any(part.numel() for part in found.values()):
            by_first[int(place["firsts"].get(name, 0))] = found
    ordered = [by_first[first] for first in sorted(by_first)]
    keys = ordered[0].keys() if ordered else parts[0][1]["weights"][name].keys()
    empty = parts[0][1]["weights"][name]
    return {key: torch.cat([part[key] for part in ordered] or [empty[key]]) for key in keys}

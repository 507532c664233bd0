"""Recipes: from which tensors of a checkpoint one tensor of a network is made, and how."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.probes.binding.arrays import Array
from accweight_core.probes.binding.forms import Form, Move, moves
from accweight_core.schema import Parameter

Made = Callable[[Mapping[str, Array]], Array]


@dataclass(frozen=True)
class Recipe:
    """How a tensor of a network is made from those of a checkpoint.

    Attributes:
        sources: Names of the checkpoint's tensors.
        words: What happens to them.
        make: Takes the checkpoint's tensors, returns the network's, in its shape.
        told: Whether files and names tell it; otherwise only equal values can.
        compared: Takes the tensor, returns what of it matters: an LSTM's two biases are only ever
            added up. None for all of it.
        computed: Whether values are computed and not only moved (a folded norm).
        gates: Gates of a recurrent layer that are exchanged against what their formats say, in
            pairs; they must be the same in all tensors of a layer.
    """

    sources: tuple[str, ...]
    words: str
    make: Made
    told: bool = True
    compared: Callable[[Array], Array] | None = None
    computed: bool = False
    gates: tuple[tuple[str, str], ...] = ()


_PROJECTIONS = {
    "q": re.compile(r"(w?q|query|q_(proj|lin)|to_q|wq)", re.IGNORECASE),
    "k": re.compile(r"(w?k|key|k_(proj|lin)|to_k|wk)", re.IGNORECASE),
    "v": re.compile(r"(w?v|value|v_(proj|lin)|to_v|wv)", re.IGNORECASE),
}


def recipes_from_one(
    source: Parameter, target: Parameter, channels: Sequence[int] = ()
) -> Iterator[Recipe]:
    """Yield the ways to make a tensor from one other, what the files tell first."""
    for move in moves(source, target, channels):
        yield Recipe((source.name,), move.words, _of_one(source.name, move), told=move.told)


def _of_one(name: str, move: Move) -> Made:
    return lambda weights: move.make(weights[name])


def recipes_from_parts(sources: Sequence[Parameter], target: Parameter) -> Iterator[Recipe]:
    """Yield the ways to stack several tensors along the outputs: q, k and v, by their names."""
    there = Form.of(target)
    forms = [Form.of(source) for source in sources]
    if len(sources) < 2 or sum(f.sizes[0] for f in forms) != there.sizes[0]:
        return
    if any(form.sizes[1:] != there.sizes[1:] for form in forms):
        return
    order, told = _by_projection(sources), True
    if order is None:
        order, told = tuple(range(len(sources))), False
    names = tuple(sources[place].name for place in order)

    def make(weights: Mapping[str, Array]) -> Array:
        parts = [forms[place].taken(weights[sources[place].name]) for place in order]
        return there.put(np.concatenate(parts))

    yield Recipe(names, f"{len(names)} joined along the outputs", make, told=told)


def recipes_from_whole(
    source: Parameter, targets: Sequence[Parameter], target: Parameter
) -> Iterator[Recipe]:
    """Yield the ways to cut one of several tensors from a stacked one."""
    here, forms = Form.of(source), [Form.of(other) for other in targets]
    if sum(f.sizes[0] for f in forms) != here.sizes[0]:
        return
    if any(form.sizes[1:] != here.sizes[1:] for form in forms):
        return
    order, told = _by_projection(targets), True
    if order is None:
        order, told = tuple(range(len(targets))), False
    place = list(order).index([t.name for t in targets].index(target.name))
    first = sum(forms[other].sizes[0] for other in order[:place])
    there = Form.of(target)

    def make(weights: Mapping[str, Array]) -> Array:
        taken = here.taken(weights[source.name])
        return there.put(taken[first : first + there.sizes[0]])

    last = first + there.sizes[0] - 1
    yield Recipe((source.name,), f"outputs {first} to {last}", make, told=told)


def _by_projection(parameters: Sequence[Parameter]) -> tuple[int, ...] | None:
    """Return the order q, k, v of parameters by their names; None if these do not say it."""
    found: dict[str, int] = {}
    for place, parameter in enumerate(parameters):
        parts = re.split(r"[./]", parameter.name)
        for letter, pattern in _PROJECTIONS.items():
            if any(pattern.fullmatch(part) for part in parts[-3:]):
                found[letter] = place
    if len(found) != len(parameters) or len(set(found.values())) != len(parameters):
        return None
    return tuple(found[letter] for letter in "qkv" if letter in found)

"""Network order of layers in weights files, which have no configuration.

HDF5 lists groups by name, but three things in the file tell more, the surest first: the optimizer
keeps its variables in the order of the model's; where the output of every layer is the input of one
other, they form a chain; and Keras writes a list of layers in its order, so that the addresses of
their objects grow. Only attributes of a subclassed model are written by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from accweight_adapters.keras_hints import STATISTICS

Shape = tuple[int, ...]

MOST_SLOTS: Final = 3
"""Most variables that an optimizer keeps per weight, one after the other."""

LISTED: Final = re.compile(r"layers|_layer_checkpoint_dependencies|_?\w*layers?_?list")
"""Keys of lists of layers, which keep their order."""

UNSURE: Final = (
    "layers in the order of their names: nothing in the file tells the network's; a .keras archive "
    "does"
)


@dataclass(frozen=True, slots=True)
class Placed:
    """What order depends on, of one layer.

    Attributes:
        keys: Its path of group keys.
        name: Its own name.
        address: Address of its objects, which grows while a file is written.
        shapes: Shapes of its variables by name.
    """

    keys: tuple[str, ...]
    name: str
    address: int
    shapes: Mapping[str, Shape]

    @property
    def trained(self) -> tuple[Shape, ...]:
        """Shapes of the variables that an optimizer has slots for."""
        return tuple(shape for name, shape in self.shapes.items() if name not in STATISTICS)

    @property
    def ends(self) -> tuple[int, int] | None:
        """Number of inputs and outputs, or None if the shapes do not tell."""
        for name, shape in self.shapes.items():
            if name in ("kernel", "embeddings") and len(shape) > 1:
                return shape[-2], shape[-1]
        return None


def network_order(
    layers: Sequence[Placed], slots: Sequence[Shape]
) -> tuple[dict[tuple[str, ...], int], str]:
    """Return the place of every layer by its keys, and a note if that is a guess.

    Args:
        layers: The layers.
        slots: Shapes of the optimizer's variables with axes, in their order.
    """
    is_listed = all(LISTED.fullmatch(layer.keys[0]) for layer in layers)
    written = sorted(layers, key=lambda layer: layer.address)
    if not is_listed and _are_numbered(written):
        written, is_listed = sorted(layers, key=_number), True
    by_slots, is_sure = _by_slots(written, slots)
    chain = None if is_listed or by_slots else _chain(written)
    order = by_slots or chain or written
    unsure = len(layers) > 1 and not (is_listed or chain or (by_slots and is_sure))
    return {layer.keys: place for place, layer in enumerate(order)}, UNSURE if unsure else ""


def _are_numbered(layers: Sequence[Placed]) -> bool:
    """Tell whether all layers have names that Keras counts up as they are made: dense, dense_1."""
    bases = {re.sub(r"_\d+$", "", layer.name) for layer in layers}
    return len(bases) == 1 and len({_number(layer) for layer in layers}) == len(layers)


def _number(layer: Placed) -> int:
    found = re.search(r"_(\d{1,9})$", layer.name)
    return int(found[1]) if found else 0


def _by_slots(layers: Sequence[Placed], slots: Sequence[Shape]) -> tuple[list[Placed] | None, bool]:
    """Return layers in the order in which an optimizer has slots, and whether that is certain."""
    wanted = sum(len(layer.trained) for layer in layers)
    for repeats in range(1, MOST_SLOTS + 1):
        sequence = list(slots[::repeats])
        same = all(list(slots[n::repeats]) == sequence for n in range(repeats))
        if same and len(sequence) == wanted > 0:
            return _matched(layers, sequence)
    return None, False


def _matched(
    layers: Sequence[Placed], sequence: Sequence[Shape]
) -> tuple[list[Placed] | None, bool]:
    """Return layers such that the shapes of their variables are this sequence, or None.

    The longest of several that fit is taken; of equal ones, that which is first in their numbers or
    else was written first, which is not certain.
    """
    left = [layer for layer in layers if layer.trained]
    found: list[Placed] = []
    place, is_sure = 0, True
    while left:
        fitting = [
            layer
            for layer in left
            if tuple(sequence[place : place + len(layer.trained)]) == layer.trained
        ]
        if not fitting:
            return None, False
        longest = max(len(layer.trained) for layer in fitting)
        fitting = [layer for layer in fitting if len(layer.trained) == longest]
        numbered = _are_numbered(fitting)
        is_sure = is_sure and numbered
        taken = min(fitting, key=_number) if numbered else fitting[0]
        found.append(taken)
        left.remove(taken)
        place += longest
    return found + [layer for layer in layers if not layer.trained], is_sure


def _chain(layers: Sequence[Placed]) -> list[Placed] | None:
    """Return layers such that each takes what the one before gives, if only one order does."""
    ends = {layer.keys: layer.ends for layer in layers}
    if None in ends.values() or len(layers) < 2:
        return None
    starts = [_walked(first, layers) for first in layers]
    whole = [walk for walk in starts if walk is not None]
    return whole[0] if len(whole) == 1 else None


def _walked(first: Placed, layers: Sequence[Placed]) -> list[Placed] | None:
    """Return the chain from a layer on, None unless every step is certain and all are in it."""
    left = [layer for layer in layers if layer is not first]
    walk = [first]
    while left:
        outputs = (walk[-1].ends or (0, 0))[1]
        following = [layer for layer in left if layer.ends and layer.ends[0] == outputs]
        following = following or [
            layer
            for layer in left
            if layer.ends and outputs and layer.ends[0] % outputs == 0 and _flattens(walk[-1])
        ]
        if len(following) != 1:
            return None
        walk.append(following[0])
        left.remove(following[0])
    return walk


def _flattens(layer: Placed) -> bool:
    """Tell whether the output of a layer may be flattened: that of a convolution."""
    return len(layer.shapes.get("kernel", ())) > 2

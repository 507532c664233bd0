"""Gates of recurrent layers, in one order for all frameworks.

ONNX stacks the gates of an LSTM as i, o, f, c, PyTorch as i, f, g, o, Keras as i, f, c, o; those
of a GRU come as r, z, n or z, r, h. Pictures use PyTorch's order and names, so that the same layer
has the same picture from any file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

ORDERS: Final = (("i", "f", "g", "o"), ("r", "z", "n"))
"""Gates of an LSTM and of a GRU, in display order."""

NAMES: Final = {"c": "g", "h": "n"}
"""Other names of the cell candidate (LSTM) and of the new state (GRU)."""


def shown_sections(stored: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the names of stacked parts in display order, and the display position of each part.

    Parts that are not a complete set of gates (q, k and v, for example) keep their order.

    >>> shown_sections(("i", "o", "f", "c"))
    (('i', 'f', 'g', 'o'), (0, 3, 1, 2))
    """
    names = tuple(NAMES.get(name, name) for name in stored)
    for order in ORDERS:
        if sorted(names) == sorted(order):
            return order, tuple(order.index(name) for name in names)
    return tuple(stored), tuple(range(len(stored)))

"""Gates: the parts that a recurrent layer stacks, in one order whatever the framework.

ONNX stacks the gates of an LSTM as i, o, f, c, PyTorch as i, f, g, o, Keras as i, f, c, o; those
of a GRU come as r, z, n or z, r, h. Pictures show them in PyTorch's order and by its names, so
that the same layer looks the same out of any file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

ORDERS: Final = (("i", "f", "g", "o"), ("r", "z", "n"))
"""Gates of an LSTM and of a GRU, as they are shown."""

NAMES: Final = {"c": "g", "h": "n"}
"""Other names of the cell's candidate (LSTM) and of the new state (GRU)."""


def shown_sections(stored: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the names of stacked parts as they are shown, and where each stored part is shown.

    Parts that are not gates (q, k and v; gates without their candidate) stay as they are.

    >>> shown_sections(("i", "o", "f", "c"))
    (('i', 'f', 'g', 'o'), (0, 3, 1, 2))
    """
    names = tuple(NAMES.get(name, name) for name in stored)
    for order in ORDERS:
        if sorted(names) == sorted(order):
            return order, tuple(order.index(name) for name in names)
    return tuple(stored), tuple(range(len(stored)))

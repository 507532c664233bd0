"""A_t of all parameters after one step: to be drawn at once, or by another thread later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

Pieces = Sequence[tuple[int, Tensor]]
"""Flat ranges of one parameter in order, each with its first element."""


class Paths:
    """A_t by name of the parameter, read in parts."""

    def __init__(self, pieces: Mapping[str, Pieces]) -> None:
        """Use views of the state, which change with the next step, or copies of it."""
        self._pieces = pieces

    def copied(self) -> Paths:
        """Return copies in the precision of pictures, on the device of the weights."""
        return Paths(
            {
                name: [(first, part.float().clone()) for first, part in parts]
                for name, parts in self._pieces.items()
            }
        )

    def read(self, name: str, start: int, stop: int) -> npt.NDArray[Any]:
        """Return A_t of some elements; waits for the device."""
        found = []
        for first, part in self._pieces[name]:
            inside = part[max(start - first, 0) : max(stop - first, 0)]
            if inside.numel():
                found.append(inside.cpu().numpy())
        return found[0] if len(found) == 1 else np.concatenate([np.empty(0), *found])

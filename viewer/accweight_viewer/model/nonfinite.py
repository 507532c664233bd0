"""Weights that are NaN or infinite: since when, and which texels they are.

An analysis leaves them out of the change, so a layer that is NaN would look as if it had stopped.
Counts per step are stored. Which weights they are, is read from the checkpoints by another
process, and only for parameters that are not as a whole beyond numbers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.finiteness import Mask, unpacked
from accweight_core.analysis.thumbnails import drawn
from accweight_core.pictures.texel_map import Layout

Counts = npt.NDArray[np.int64]

MOST_BITS = 1 << 28
"""Elements times checkpoints of one parameter up to which masks are read: 32 MiB of bits."""


class FirstNonFinite(NamedTuple):
    """Where numbers end: the first layer, its step, and how many layers follow."""

    layer: str
    step: int
    others: int

    def __str__(self) -> str:
        """Return it as a line."""
        layers = "layer" if self.others == 1 else "layers"
        more = f" \N{MIDDLE DOT} {self.others} more {layers}" if self.others else ""
        return f"first non-finite: {self.layer}, step {self.step}{more}"


class MaskRequest(NamedTuple):
    """Masks to read: of a parameter, at the positions of some checkpoints."""

    parameter: str
    elements: int
    positions: tuple[int, ...]


class Masks:
    """The masks of a run that have been read, and the request for others.

    Methods are called on loading threads; `ask` is called once per parameter.

    Attributes:
        ask: Called with a request for masks; until it is set, none are read.
        revision: Number of parameters whose masks have arrived: pictures differ with each.
    """

    def __init__(self) -> None:
        self.ask: Callable[[MaskRequest], object] | None = None
        self.revision = 0
        self._asked: set[str] = set()
        self._answered: set[str] = set()
        self._known: dict[str, dict[int, Mask]] = {}
        self._lock = threading.Lock()
        self._picture = lru_cache(maxsize=64)(self._drawn)

    def want(self, request: MaskRequest) -> None:
        """Ask for the masks of a parameter, unless that was done or they are too large."""
        if request.elements * len(request.positions) > MOST_BITS:
            return
        with self._lock:
            if self.ask is None or request.parameter in self._asked:
                return
            self._asked.add(request.parameter)
        self.ask(request)

    @property
    def pending(self) -> bool:
        """Whether an answer is still to come."""
        return self._asked != self._answered

    def take(self, request: MaskRequest, answer: Mapping[str, object]) -> bool:
        """Keep the masks in an answer; return whether there are any."""
        self._answered.add(request.parameter)
        masks = answer.get("masks")
        if not isinstance(masks, list) or len(masks) != len(request.positions):
            return False
        found = [unpacked(str(text), request.elements) for text in masks]
        self._known[request.parameter] = dict(zip(request.positions, found, strict=True))
        self.revision += 1
        return True

    def picture(self, parameter: str, layout: Layout, level: int, position: int) -> Mask | None:
        """Return (rows, columns): where a texel has a weight that is not finite; None if unknown.

        Args:
            parameter: Name of the parameter.
            layout: Layout of its picture.
            level: Level of the picture.
            position: Index of the checkpoint.
        """
        if position not in self._known.get(parameter, {}):
            return None
        return self._picture(parameter, layout, level, position)

    def _drawn(self, parameter: str, layout: Layout, level: int, position: int) -> Mask:
        mask = self._known[parameter][position]
        return np.nan_to_num(drawn(layout, level, mask.astype(np.float64))) > 0


def first_nonfinite(
    names: list[str], counts: Counts, steps: npt.NDArray[np.int64]
) -> FirstNonFinite | None:
    """Return the first layer that holds NaN or infinity, or None.

    Args:
        names: Layers in network order.
        counts: (layers, steps) weights that are not finite.
        steps: (steps,).
    """
    hit = np.flatnonzero(counts.any(axis=1))
    if not len(hit):
        return None
    begins = (counts[hit] > 0).argmax(axis=1)
    first = int(begins.argmin())
    return FirstNonFinite(names[int(hit[first])], int(steps[begins[first]]), len(hit) - 1)

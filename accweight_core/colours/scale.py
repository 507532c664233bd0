"""The mapping from normalised change to colour, the same on the CPU and in the shader.

A value is mapped to a position from 0 to 1, linearly or logarithmically, and the position to one of
255 colours. Maps are interpolated from a few colours; viridis and magma are within 5 of 255 of the
published tables (van der Walt and Smith, CC0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Colours = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Entries = npt.NDArray[np.uint8]
"""Indices of colours in a map; 255 for none."""

ENTRIES = 255
"""Number of colours in a map; index 255 is for texels without a weight."""

DECADES = 4
"""Decades of a logarithmic map below its bright end, unless `low` limits it."""

_STOPS = {
    "grey": "000000 ffffff",
    "viridis": (
        "440154 481567 482677 453781 404788 39568c 33638d 2d708e 287d8e 238a8d "
        "1f968b 20a387 29af7f 3cbb75 55c667 73d055 95d840 b8de29 dce319 fde725"
    ),
    "magma": (
        "000004 08061d 160f3a 29115b 400f73 56147d 6b1c81 802582 952c80 ab337c "
        "c13a76 d6446d e85362 f4685c fa815f fd9a6a feb37b fecc8f fde4a6 fcfdbf"
    ),
    "difference": "1f6fb4 5aa5d6 a9cbe0 3a3d42 3a3d42 e7b48f e2803f c8501b",
    "difference_light": "1f5f9f 4f97c9 b3d0e3 f4f4f2 f4f4f2 f0c7a6 df8444 b3461a",
}


@dataclass(frozen=True)
class ColourScale:
    """The mapping from normalised change to colour.

    Attributes:
        colours: (255, 3), from the smallest to the largest change.
        logarithmic: Whether positions are logarithmic.
        low: Change at position 0; logarithmic maps start at most `DECADES` below `high`.
        high: Change at position 1.
        signed: Whether changes may be negative; 0 is then in the middle.
    """

    colours: Colours
    logarithmic: bool = False
    low: float = 0.0
    high: float = 1.0
    signed: bool = False

    @property
    def floor(self) -> float:
        """Change at position 0."""
        least = min(self.low, self.high * (1 - 1e-6))
        return max(least, self.high * 10.0**-DECADES) if self.logarithmic else least

    def positions(self, values: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return positions from 0 to 1; NaN stays NaN."""
        given = np.asarray(values, dtype=np.float32)
        share = self._share(np.abs(given) if self.signed else given)
        if self.signed:
            share = np.float32(0.5) + np.float32(0.5) * np.sign(given) * share
        return share

    def _share(self, size: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        low, high = self.floor, self.high
        if self.logarithmic:
            low, high = math.log(low), math.log(high)
            size = np.log(np.maximum(size, np.float32(1e-30)))
        scaled = (size - np.float32(low)) * np.float32(1 / (high - low))
        clipped: npt.NDArray[np.float32] = np.clip(scaled, np.float32(0), np.float32(1))
        return clipped

    def value_at(self, position: float) -> float:
        """Return the change at a position, the inverse of `positions`."""
        sign, share = 1.0, position
        if self.signed:
            sign, share = math.copysign(1.0, position - 0.5), abs(2 * position - 1)
        if self.logarithmic:
            if self.signed and share == 0:
                return 0.0
            return sign * self.floor * math.exp(share * math.log(self.high / self.floor))
        return sign * (self.floor + share * (self.high - self.floor))

    def entries(self, values: npt.ArrayLike) -> Entries:
        """Return colour indices from 0 to 254; 255 where the value is NaN."""
        positions = self.positions(values)
        missing = np.isnan(positions)
        scaled = np.where(missing, np.float32(255), positions * np.float32(254) + np.float32(0.5))
        entries: Entries = scaled.astype(np.uint8)
        return entries

    def ticks(self) -> list[tuple[float, str]]:
        """Return (position, text) of the legend's ticks."""
        at = [0.0, 0.25, 0.5, 0.75, 1.0]
        if self.logarithmic and not self.signed:
            span = math.log10(self.high / self.floor)
            decades = range(math.ceil(math.log10(self.floor) - 1e-9), 1)
            values = [10.0**d for d in decades if 10.0**d <= self.high * (1 + 1e-9)]
            if len(values) > 1:  # a map of less than a decade may contain no power of ten
                at = [math.log10(v / self.floor) / span for v in values]
        return [(position, f"{self.value_at(position):.3g}") for position in at]


def colour_table(name: str) -> Colours:
    """Return the 255 colours of a map.

    >>> colour_table("grey")[[0, 254]].tolist()
    [[0, 0, 0], [255, 255, 255]]
    """
    stops = np.array([list(bytes.fromhex(stop)) for stop in _STOPS[name].split()], float)
    at = np.linspace(0, len(stops) - 1, ENTRIES)
    blended = [np.interp(at, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    table: Colours = np.rint(np.stack(blended, axis=1)).astype(np.uint8)
    return table


def bright_end(
    mean: Floats, deviation: Floats, largest: Floats, over: Callable[[Floats], np.floating]
) -> float:
    """Return a normalised change that few weights exceed; 0 if nothing moved.

    A few weights move many times as far as the others, which would all be dark. So colours end
    three standard deviations above the mean of a layer, not at its largest value.

    Args:
        mean: (layers,) mean of A_t; NaN where unknown.
        deviation: (layers,) its standard deviation over the weights of a layer.
        largest: (layers,) what each layer is divided by.
        over: Maximum or median, taken over the layers.
    """
    reach = mean + 3 * deviation
    known = np.isfinite(reach) & (largest > 0)
    return float(over(reach[known] / largest[known])) if known.any() else 0.0


def dark_end(
    mean: Floats, deviation: Floats, largest: Floats, over: Callable[[Floats], np.floating]
) -> float:
    """Return a normalised change that few of the weights that moved fall below; 0 if none did.

    A logarithmic map that begins far below would show all weights bright. The changes of a layer
    are taken to be log-normal, with this mean and deviation, and colours begin two deviations of
    their logarithm below the median.

    Args:
        mean: (layers,) mean of A_t; NaN where unknown.
        deviation: (layers,) its standard deviation over the weights of a layer.
        largest: (layers,) what each layer is divided by.
        over: Minimum or median, taken over the layers.
    """
    known = np.isfinite(mean) & (mean > 0) & (largest > 0)
    if not known.any():
        return 0.0
    spread = np.log1p((deviation[known] / mean[known]) ** 2)
    return float(over(mean[known] / largest[known] * np.exp(-spread / 2 - 2 * np.sqrt(spread))))


def fitted(ends: Iterable[float]) -> float:
    """Return the bright end for several runs together: the largest one, rounded, at most 1.

    >>> fitted([0.1234, 0.0]), fitted([7.0]), fitted([0.0])
    (0.12, 1.0, 1.0)
    """
    known = [end for end in ends if end > 0]
    return float(f"{min(1.0, max(known)):.2g}") if known else 1.0

"""How the viewer shows things: everything that outlives a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self

from accweight_core.metrics.table import METRICS

Scope = Literal["global", "layer"]
Plane = Literal["mean", "max"]

ALLOWED: Mapping[str, tuple[Any, ...]] = {
    "theme": ("dark", "light"),
    "colour_map": ("grey", "viridis", "magma"),
    "scope": ("global", "layer"),
    "plane": ("mean", "max"),
    "arrangement": ("auto", "line", "rows"),
    "order": ("network", "ranking"),
    "first_metric": METRICS,
    "second_metric": METRICS,
    "curve_metric": METRICS,
}
"""What a setting of a few possible values may be."""

RANGES: Mapping[str, tuple[float, float]] = {
    "low": (0.0, 1.0),
    "high": (1e-6, 1.0),
    "speed": (0.1, 240.0),
}
"""Least and largest value of the numbers."""


@dataclass(frozen=True)
class Settings:
    """All that a user chooses about the picture.

    Attributes:
        theme: Dark or light.
        colour_map: Of cumulative change; differences have a map of their own.
        logarithmic: Whether colours follow the logarithm of the change.
        scope: Whether 1 is the most moved weight of all, or of each layer.
        fitted: Whether the bright end is chosen so that what has moved can be told apart.
        low: Normalised change at the dark end of the map.
        high: Normalised change at its bright end, unless that is fitted.
        plane: What a texel shows that stands for many weights: their mean or maximum.
        arrangement: Plates in one line, repeated blocks in rows, or what suits the network.
        true_scale: Whether a texel is equally large on every plate.
        labels: Whether names stand beside the plates.
        first_metric: Of the table's first column of numbers.
        second_metric: Of its second.
        curve_metric: Of the curves above the timeline.
        order: Of the table.
        speed: Checkpoints per second.
        loop: Whether playing begins anew at the end.
        smooth: Whether playing blends from one checkpoint into the next.
        linked: Whether the two windows follow each other's zoom.
    """

    theme: Literal["dark", "light"] = "dark"
    colour_map: str = "grey"
    logarithmic: bool = False
    scope: Scope = "layer"
    fitted: bool = True
    low: float = 0.0
    high: float = 1.0
    plane: Plane = "mean"
    arrangement: Literal["auto", "line", "rows"] = "auto"
    true_scale: bool = False
    labels: bool = True
    first_metric: str = "max"
    second_metric: str = "mean"
    curve_metric: str = "mean"
    order: Literal["network", "ranking"] = "network"
    speed: float = 3.0
    loop: bool = True
    smooth: bool = True
    linked: bool = False

    def changed(self, **values: Any) -> Self:
        """Return settings with other values.

        Raises:
            ValueError: If a value is none that the setting can take.
        """
        for name, value in values.items():
            if not _fits(name, value):
                raise ValueError(f"setting {name!r} cannot be {value!r}")
        return replace(self, **values)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Any) -> Self:
        """Return the settings in a document; what does not fit is left at its default.

        Old files and files of newer programs hold settings that this one does not know.
        """
        known = {field.name for field in fields(cls)}
        given = document.items() if isinstance(document, Mapping) else ()
        return cls(**{k: v for k, v in given if k in known and _fits(k, v)})


def _fits(name: str, value: Any) -> bool:
    if name in ALLOWED:
        return value in ALLOWED[name]
    if name in RANGES:
        least, most = RANGES[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and least <= value <= most
    return isinstance(value, bool)

"""Display settings, which are kept between sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self

from accweight_core.analysis.probe_metrics import is_probe_metric
from accweight_core.metrics.table import METRICS

Scope = Literal["global", "layer"]
DifferenceScale = Literal["common", "own"]
Plane = Literal["auto", "mean", "max"]

ALLOWED: Mapping[str, tuple[Any, ...]] = {
    "theme": ("dark", "light"),
    "colour_map": ("grey", "viridis", "magma"),
    "scope": ("global", "layer"),
    "difference_scale": ("common", "own"),
    "plane": ("auto", "mean", "max"),
    "arrangement": ("auto", "line", "rows"),
    "order": ("network", "ranking"),
    "curve_metric": METRICS,
    "curve_scale": ("linear", "logarithmic"),
    "plate_values": ("movement",),
}
"""Allowed values of settings with a few choices."""

RANGES: Mapping[str, tuple[float, float]] = {
    "low": (0.0, 1.0),
    "high": (1e-6, 1.0),
    "speed": (0.1, 240.0),
    "smoothing": (0.0, 0.99),
}
"""Minimum and maximum of numeric settings."""


OF_PROBES = frozenset(("curve_metric", "plate_values"))
"""Settings whose value may be a number that a probe has found, as PROBE.ARRAY."""

OLD_COLUMNS = ("first_metric", "second_metric")
"""What held the metrics of the table when there were two."""

MOVEMENT = "movement"
"""What plates show unless it is the values of units."""

OF_A_RUN = frozenset(("low", "high", "fitted", "plate_values"))
"""Settings that belong to the runs that are shown: another run has another range."""


@dataclass(frozen=True)
class Settings:
    """All display settings of the user.

    Attributes:
        theme: Dark or light.
        colour_map: Map for cumulative change; differences have their own.
        logarithmic: Whether colours follow the logarithm of the change.
        scope: Whether 1 is the largest change of all layers, or of each layer.
        difference_scale: Whether a difference is of changes on one scale, or of each run's own.
        fitted: Whether the bright end is chosen automatically.
        low: Normalised change at the dark end of the map.
        high: Normalised change at the bright end, unless `fitted`.
        plane: Value of a texel that covers several weights: their mean or maximum, or the one that
            shows how a parameter moved.
        arrangement: Plates in one line, repeated blocks in rows, or automatic.
        true_scale: Whether texels have the same size on all plates.
        labels: Whether names are shown next to the plates.
        columns: Metrics of the table, also numbers of probes as PROBE.ARRAY; the first one ranks.
        curve_metric: Metric of the curves in the timeline.
        curve_scale: Their vertical scale.
        smoothing: Share of a value in the one after it, for curves and measures.
        order: Order of the table.
        speed: Checkpoints per second.
        loop: Whether playback restarts at the end.
        smooth: Whether playback blends from one checkpoint into the next.
        plate_values: What the colours of plates are: "movement", or PROBE.ARRAY of units.
        linked: Whether the two picture windows zoom and pan together.
    """

    theme: Literal["dark", "light"] = "dark"
    colour_map: str = "magma"
    logarithmic: bool = False
    scope: Scope = "layer"
    difference_scale: DifferenceScale = "common"
    fitted: bool = True
    low: float = 0.0
    high: float = 1.0
    plane: Plane = "auto"
    arrangement: Literal["auto", "line", "rows"] = "auto"
    true_scale: bool = False
    labels: bool = True
    columns: tuple[str, ...] = ("relative", "rotation")
    curve_metric: str = "mean"
    curve_scale: Literal["linear", "logarithmic"] = "linear"
    smoothing: float = 0.0
    order: Literal["network", "ranking"] = "network"
    speed: float = 3.0
    loop: bool = True
    smooth: bool = True
    plate_values: str = MOVEMENT
    linked: bool = False

    def changed(self, **values: Any) -> Self:
        """Return a copy with other values.

        Raises:
            ValueError: If a value is not allowed.
        """
        for name, value in values.items():
            if not _fits(name, value):
                raise ValueError(f"setting {name!r} cannot be {value!r}")
        return replace(self, **{name: _stored(name, value) for name, value in values.items()})

    @property
    def range_by_hand(self) -> bool:
        """Whether an end of the colours was set by the user, so that it may clip."""
        return not self.fitted or self.low > 0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, without what belongs to a run."""
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in OF_A_RUN and not (name in OF_PROBES and is_probe_metric(value))
        }

    @classmethod
    def from_json(cls, document: Any) -> Self:
        """Return the settings in a document, with defaults for invalid entries.

        Files of older and newer versions contain unknown settings.
        """
        known = {field.name for field in fields(cls)} - OF_A_RUN
        given = dict(document) if isinstance(document, Mapping) else {}
        before = [given[name] for name in OLD_COLUMNS if given.get(name) in METRICS]
        given = {"columns": list(dict.fromkeys(before)), **given}
        return cls(**{k: _stored(k, v) for k, v in given.items() if k in known and _fits(k, v)})


def _stored(name: str, value: Any) -> Any:
    """Return a value as the settings hold it: JSON has lists."""
    return tuple(value) if name == "columns" else value


def _are_columns(value: Any) -> bool:
    """Tell whether a value names metrics of the table, each once, and at least one."""
    if not isinstance(value, list | tuple) or not value:
        return False
    known = all(isinstance(n, str) and (n in METRICS or is_probe_metric(n)) for n in value)
    return known and len(set(value)) == len(value)


def _fits(name: str, value: Any) -> bool:
    if name == "columns":
        return _are_columns(value)
    if name in OF_PROBES and isinstance(value, str) and is_probe_metric(value):
        return True
    if name in ALLOWED:
        return value in ALLOWED[name]
    if name in RANGES:
        least, most = RANGES[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and least <= value <= most
    return isinstance(value, bool)

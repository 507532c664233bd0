"""The table of metrics: each metric is one entry; all other code reads this table.

An entry has a formula over partial sums (`sums`), the sums it needs, and its description. Tables,
rankings, exports, the command, the viewer and the docs list `TABLE` in its order; an analysis
offers the metrics whose sums it holds. To add a metric, add an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accweight_core.arguments import brief, is_one_of
from accweight_core.errors import UnknownNameError
from accweight_core.metrics.sums import SUMS
from accweight_core.text import meant

Floats = npt.NDArray[np.float64]


class Columns:
    """Partial sums of one range, or of many ranges, by name.

    Attributes:
        elements: Number of elements of each range, not 0.
    """

    def __init__(self, elements: int | npt.NDArray[np.int64], values: Floats) -> None:
        """Wrap an array of sums.

        Args:
            elements: Number of elements of each range.
            values: (steps, ..., len(SUMS)).
        """
        self.elements = elements
        self._by_name: dict[str, Floats] = dict(zip(SUMS, np.moveaxis(values, -1, 0), strict=True))

    def __getitem__(self, name: str) -> Floats:
        """Return one sum: (steps, ...)."""
        return self._by_name[name]

    def mean(self, name: str) -> Floats:
        """Return a sum divided by the number of elements."""
        mean: Floats = self[name] / self.elements
        return mean

    def norm(self, name: str) -> Floats:
        """Return the square root of a sum of squares."""
        norm: Floats = np.sqrt(self[name])
        return norm


@dataclass(frozen=True)
class Metric:
    """One entry of the table.

    Attributes:
        name: Name in tables, options and files.
        sums: The partial sums it needs.
        formula: Computes it from these sums, (steps, ...).
        line: Description in one line.
        unit: Its unit.
        reading: How to interpret it, in one sentence.
        evidence: What it is evidence for, and what not; follows "NAME is evidence".
        criticality: Rank correlation, over layers, with what is lost when a layer is put back to
            the first checkpoint; None where it was not measured. See `docs/evidence.md`.
        is_running: Whether the metric is the sum of the formula over all steps so far.
    """

    name: str
    sums: tuple[str, ...]
    formula: Callable[[Columns], Floats]
    line: str
    unit: str
    reading: str
    evidence: str
    criticality: float | None = None
    is_running: bool = False

    @property
    def sentence(self) -> str:
        """What it is evidence for and what not, as a sentence without a full stop."""
        return f"{self.name} is evidence {self.evidence}"


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Return the quotient, NaN where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def _efficiency(sums: Columns) -> Floats:
    """Return distance over path, 1 where nothing moved; the sums are rounded, so at most 1."""
    path = sums["path_sum"]
    return np.where(path > 0, np.minimum(_ratio(sums["net_sum"], path), 1.0), 1.0)


def _update_ratio(sums: Columns) -> Floats:
    """Return the norm of the last step over the norm before it; NaN at the reference step."""
    norm = sums.norm("square")
    previous = np.concatenate([np.full_like(norm[:1], np.nan), norm[:-1]])
    return _ratio(sums.norm("step_square"), previous)


def _rotation(sums: Columns) -> Floats:
    """Return ``1 - cosine(W_t, W_0)``, from the law of cosines.

    ``(|W_t - W_0|^2 - (|W_t| - |W_0|)^2) / (2 |W_t| |W_0|)`` keeps all digits of small angles,
    which one minus a cosine loses (layer rotation: arXiv 1806.01603).
    """
    norm, norm_0, net = (sums.norm(s) for s in ("square", "reference_square", "net_square"))
    gap = norm - norm_0
    return np.maximum(_ratio(net * net - gap * gap, 2 * norm * norm_0), 0.0)


_WEIGHTS = "that of the weights"

_ENTRIES = (
    Metric(
        "mean",
        ("path_sum",),
        lambda sums: sums.mean("path_sum"),
        "mean path length of the weights",
        _WEIGHTS,
        "the published layer activity; grows with the learning rate and the number of checkpoints",
        "for how far the weights travelled in all, not for how much that mattered: it grows "
        "with the learning rate, the initial scale and the number of checkpoints",
        criticality=0.23,
    ),
    Metric(
        "max",
        ("path_max",),
        lambda sums: sums["path_max"],
        "longest path of any weight",
        _WEIGHTS,
        "depends on a single weight",
        "for the longest path of a single weight, not for the layer as a whole",
        criticality=0.4,
    ),
    Metric(
        "std",
        ("path_m2",),
        lambda sums: np.sqrt(sums.mean("path_m2")),
        "spread of the path lengths",
        _WEIGHTS,
        "large relative to mean: few weights do most of the moving",
        "for how unevenly the weights of a layer travelled, not for which of them matter",
        criticality=0.33,
    ),
    Metric(
        "step_mean",
        ("step_sum",),
        lambda sums: sums.mean("step_sum"),
        "mean movement since the checkpoint before",
        _WEIGHTS,
        "when a layer moved; falls as it settles",
        "for when a layer moved, not for which of two layers matters more",
    ),
    Metric(
        "step_max",
        ("step_max",),
        lambda sums: sums["step_max"],
        "largest movement since the checkpoint before",
        _WEIGHTS,
        "shows the jump of a single weight",
        "for the jump of a single weight, not for the layer as a whole",
    ),
    Metric(
        "net_mean",
        ("net_sum",),
        lambda sums: sums.mean("net_sum"),
        "mean distance from the first checkpoint",
        _WEIGHTS,
        "where the weights are, not how far they travelled",
        "for how far from the start the weights ended, not for how much that mattered: it "
        "has the scale of the weights",
        criticality=0.32,
    ),
    Metric(
        "efficiency",
        ("net_sum", "path_sum"),
        _efficiency,
        "distance / path; 1 is a straight line",
        "none, 0 to 1",
        "near 0: back and forth, from noise or too high a learning rate; 1 where nothing moved",
        "for how straight the path was between these checkpoints, not for how much the "
        "movement mattered",
        criticality=0.02,
    ),
    Metric(
        "relative",
        ("net_square", "reference_square"),
        lambda sums: _ratio(sums.norm("net_square"), sums.norm("reference_square")),
        "norm of the displacement / norm at the first checkpoint",
        "none",
        "comparable between layers and runs; undefined where all weights were 0 at first",
        "for how much training this layer mattered (what is lost when it is put back to the "
        "start), not for whether the layer is needed",
        criticality=0.71,
    ),
    Metric(
        "update_ratio",
        ("square", "step_square"),
        _update_ratio,
        "norm of the last movement / norm before it",
        "none",
        "about 1e-3 per update is a rule of thumb; a checkpoint holds many updates",
        "for the size of a movement against the weights, not for its direction or its use",
        criticality=0.49,
    ),
    Metric(
        "rotation",
        ("square", "reference_square", "net_square"),
        _rotation,
        "1 - cosine to the first checkpoint",
        "none, 0 to 2",
        "how far the direction has turned, whatever the norm (layer rotation)",
        "for how much training this layer mattered, whatever became of its norm, not for "
        "whether the layer is needed",
        criticality=0.68,
    ),
    Metric(
        "sign_flips",
        ("flips",),
        lambda sums: sums.mean("flips"),
        "share of weights whose sign has changed",
        "none, 0 to 1",
        "0.5 is the value for two unrelated sets of weights",
        "for how much of the initial pattern is gone, and so for how much training mattered, "
        "not for whether the layer is needed",
        criticality=0.69,
    ),
    Metric(
        "l2_path",
        ("step_square",),
        lambda sums: sums.norm("step_square"),
        "sum over steps of the norm of the movement",
        _WEIGHTS,
        "path of the layer as one vector; displacement / l2_path is its straightness",
        "for how far the layer travelled as one vector, not for where it ended",
        is_running=True,
    ),
    Metric(
        "nonfinite",
        ("nonfinite",),
        lambda sums: sums["nonfinite"],
        "weights that are NaN or infinite",
        "a count",
        "should be 0; these weights are left out of all other metrics",
        "for numbers that overflowed, not for where that began: a layer before may be at fault",
    ),
)

TABLE = {metric.name: metric for metric in _ENTRIES}
"""Every metric by name, in the order of tables."""

METRICS = tuple(TABLE)
"""Names of all metrics, in the order of tables."""

DEFAULT = "relative"
"""The metric of rankings unless another is asked for: it follows criticality best of all."""

INSTEAD = (DEFAULT, "rotation", "net_mean", "mean")
"""What a ranking is by where the default cannot be given: the first that can."""

BRIEF = (DEFAULT, "rotation", "efficiency", "mean", "max")
"""Metrics that printed rankings show next to the one they are sorted by, in this order."""


def metrics_from(sums: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the metrics that these sums are sufficient for, in table order.

    >>> metrics_from(["path_sum", "net_sum"])
    ('mean', 'net_mean', 'efficiency')
    """
    held = set(sums)
    return tuple(name for name, metric in TABLE.items() if held.issuperset(metric.sums))


def as_markdown() -> str:
    """Return the table in Markdown."""
    lines = ["| metric | what it is | unit | how to read it | evidence |", "|---|---|---|---|---|"]
    lines += [
        f"| `{m.name}` | {m.line} | {m.unit} | {m.reading} | {m.evidence} |" for m in TABLE.values()
    ]
    return "\n".join(lines) + "\n"


def checked_metric(by: str, offered: Sequence[str] = METRICS) -> str:
    """Return `by` if it is a metric that is offered.

    Args:
        by: Name of a metric.
        offered: The metrics that an analysis has the sums for.

    Raises:
        UnknownNameError: If it is not; the message lists the metrics.
    """
    if not is_one_of(by, TABLE):
        raise UnknownNameError(
            f"no metric is called {brief(by)}; {meant(by, METRICS)}metrics are {', '.join(METRICS)}"
        )
    if by not in offered:
        raise UnknownNameError(
            f"metric {by!r} needs the sums {', '.join(TABLE[by].sums)}, and this analysis lacks "
            f"some of them; choose one of {', '.join(offered)}, or analyse the run again"
        )
    return by

"""Text for numbers, steps and metrics, the same in every pane."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from textwrap import wrap

from accweight_core.metrics.table import TABLE
from accweight_viewer.model.plates import ShownLayer

MISSING = "\N{EN DASH}"
"""Text for an undefined number, such as a ratio to a norm of 0."""

LINE = 80
"""Letters of a line in a tool tip."""

UNFINISHED = "\N{HORIZONTAL ELLIPSIS}"
"""Text for a number that is not measured yet."""


def number_text(value: float) -> str:
    """Return a number with three or four significant digits.

    >>> [number_text(v) for v in (0.31042, 12.3456, 0.0012345, 0.00012345, 123456, 7.0)]
    ['0.3104', '12.35', '0.00123', '1.23e-4', '1.23e5', '7']
    """
    if not math.isfinite(value):
        return MISSING if math.isnan(value) else f"{value:+f}"[:4]
    size = abs(value)
    if size < 1e5 and value == int(value):
        return str(int(value))
    if 1e-3 <= size < 1e5:
        digits = 4 if size >= 0.01 else 3
        return f"{value:.{max(digits - 1 - math.floor(math.log10(size)), 0)}f}"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def step_text(step: int) -> str:
    """Return a step, with digits grouped in threes from five digits on.

    >>> step_text(1500), step_text(250000)
    ('1500', '250\u202f000')
    """
    return (
        f"{step:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") if abs(step) >= 10000 else str(step)
    )


def metric_text(name: str) -> str:
    """Return the description of a metric; its name if it is unknown.

    >>> metric_text("max"), metric_text("of a newer version")
    ('longest path of any weight', 'of a newer version')
    """
    metric = TABLE.get(name)
    return metric.line if metric else name


def evidence_text(name: str) -> str:
    """Return what a metric is, how to read it and what it is evidence for, for a tool tip.

    >>> evidence_text("max").splitlines()[2]
    'evidence for the longest path of a single weight, not for the layer as a whole'
    """
    metric = TABLE.get(name)
    told = (metric.reading, f"evidence {metric.evidence}") if metric else ()
    return "\n".join([metric_text(name), *(line for text in told for line in wrap(text, LINE))])


def tip_text(text: str) -> str:
    """Return `text` for a tool tip: names may look like markup, which Qt would interpret.

    >>> tip_text("a < b")
    '<p style="white-space: pre">a &lt; b</p>'
    """
    return f'<p style="white-space: pre">{escape(text)}</p>' if "<" in text else text


def layer_text(name: str, layers: Iterable[ShownLayer | None], only_in: str = "") -> str:
    """Return the description of a layer, in lines."""
    layer = next(layer for layer in layers if layer is not None)
    count = f"{layer.elements:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    noun = "element" if layer.elements == 1 else "elements"
    lines = [name, f"{layer.kind} \N{MIDDLE DOT} {layer.shape} \N{MIDDLE DOT} {count} {noun}"]
    return "\n".join([*lines, f"only in {only_in}"] if only_in else lines)

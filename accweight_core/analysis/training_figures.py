"""Training figures of a run: loss, accuracy and the like, one number per step, not per layer.

They stand beside the metrics of layers, wherever steps are shown. One that is not finite is a gap
there, and a finding.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from accweight_core.errors import UnknownNameError
from accweight_core.metrics.table import METRICS
from accweight_core.store.header import Header
from accweight_core.store.records import CheckpointRecord

PREFIX = "training/"
"""What names of figures begin with where they stand beside metrics of layers."""

BEST = re.compile(r"(^|[^a-z])(best|lowest|highest|min|max)([^a-z]|$)", re.IGNORECASE)
"""Names of figures that begin infinite, as there is no best one yet."""

LOSS = re.compile(r"loss(?!_?scale)", re.IGNORECASE)
"""Names of figures that are never infinite in training that goes well; a norm of gradients is,
where losses are scaled for float16."""


@dataclass(frozen=True)
class NotFinite:
    """A training figure that is NaN or infinite at some steps.

    Attributes:
        name: Its name.
        text: What is said of it, without a full stop.
        step: The first such step.
        is_wrong: Whether something is wrong with the run.
    """

    name: str
    text: str
    step: int
    is_wrong: bool


def figures_not_finite(header: Header) -> Iterator[NotFinite]:
    """Find the figures that are NaN or infinite, each once, with the first step where it is."""
    having = Counter(name for c in header.checkpoints for name in c.figures)
    hit: dict[str, list[CheckpointRecord]] = {}
    for record in header.checkpoints:
        for name in record.nonfinite_measures:
            hit.setdefault(name, []).append(record)
    for name, records in hit.items():
        if BEST.search(name):
            continue
        step, word = records[0].step, records[0].nonfinite_measures[name]
        text = f"{name} is {word} at step {step}"
        if len(records) > 1:
            text += f", and not finite at {len(records)} of the {having[name]} steps that have it"
        yield NotFinite(name, text, step, LOSS.search(name) is not None)


def check_is_no_figure(header: Header, by: object) -> None:
    """Raise if what is asked for as a metric of layers is a training figure.

    Raises:
        UnknownNameError: If so; the message says where it is shown.
    """
    if isinstance(by, str) and by not in METRICS and by in header.measures:
        raise UnknownNameError(
            f"{by} is a training figure, one number per step and none per layer: `accweight view` "
            "shows it over the steps, and `accweight export` writes it beside the metrics of "
            "layers, which `accweight metrics` lists"
        )


def figure_columns(header: Header) -> dict[str, list[float | None]]:
    """Return all training figures over the steps, by their names beside metrics.

    Returns:
        None where a step has none; NaN and infinity as they were.
    """
    records = [c.figures for c in header.checkpoints]
    return {PREFIX + name: [record.get(name) for record in records] for name in header.measures}

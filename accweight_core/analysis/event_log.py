"""Write numbers and pictures of layers to a TensorBoard writer, one step at a time.

Any writer with the methods of `SummaryWriter` will do, that of torch.utils.tensorboard or of
tensorboardX. Nothing here imports either. A scalar has the tag METRIC/LAYER, so that TensorBoard
groups layers by metric; a flat summary has the key accweight/LAYER/METRIC.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from accweight_core.analysis import training_figures
from accweight_core.analysis.shown import Shown
from accweight_core.analysis.step_changes import Histogram
from accweight_core.analysis.summary import Measured
from accweight_core.analysis.thumbnails import PAINTS, Thumbnails
from accweight_core.colours.scale import ENTRIES
from accweight_core.errors import ArgumentTypeError
from accweight_core.naming import leaf_of
from accweight_core.schema import Parameter
from accweight_core.store.header import Header

TEXELS = 192
"""Texels along a logged picture."""

LEAST_SIDE = 96
"""Smaller pictures are enlarged to about so many pixels, as browsers would blur them."""

PREFIX = "accweight"


class Writer(Protocol):
    """What is used of a `SummaryWriter`."""

    def add_scalar(self, tag: str, scalar_value: float, **when: Any) -> Any:
        """Log a number."""

    def add_histogram(self, tag: str, values: Any, **when: Any) -> Any:
        """Log a histogram of values."""

    def add_image(self, tag: str, img_tensor: Any, **when: Any) -> Any:
        """Log a picture, with `dataformats`."""


def checked_writer(writer: Any) -> Any:
    """Return a writer if it has the methods of one.

    Raises:
        ArgumentTypeError: If it lacks one.
    """
    for method in ("add_scalar", "add_histogram", "add_image"):
        if not callable(getattr(writer, method, None)):
            raise ArgumentTypeError(
                f"expected a SummaryWriter, as of torch.utils.tensorboard or tensorboardX, got "
                f"{type(writer).__name__}, which has no {method}"
            )
    return writer


def tag_of(name: str) -> str:
    """Return a name as TensorBoard and MLflow allow it in tags and keys.

    >>> tag_of("h.0/attn q"), tag_of("../x")
    ('h.0/attn_q', '_/x')
    """
    parts = re.sub(r"[^\w./-]", "_", name, flags=re.ASCII).split("/")
    return "/".join(part if part.strip(".") else "_" for part in parts)


def tags_of(names: Iterable[str]) -> dict[str, str]:
    """Return a different tag for every name."""
    tags: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = tag = tag_of(name)
        number = 1
        while tag in taken:
            number += 1
            tag = f"{plain}_{number}"
        taken.add(tag)
        tags[name] = tag
    return tags


def flat_summary(rows: Sequence[Measured], step_index: int) -> dict[str, float]:
    """Return the metrics of all layers at a step as ``{"accweight/LAYER/METRIC": value}``.

    Args:
        rows: Layers with their metrics.
        step_index: Index of the step.

    Returns:
        Plain numbers; undefined ones (NaN) are left out, as not every logger takes them.
    """
    tags = tags_of(row.name for row in rows)
    return {
        f"{PREFIX}/{tags[row.name]}/{metric}": value
        for row in rows
        for metric, series in row.metrics.items()
        if math.isfinite(value := float(series[step_index]))
    }


def log_scalars(
    writer: Writer,
    rows: Sequence[Measured],
    metrics: Sequence[str],
    step_index: int,
    **when: Any,
) -> int:
    """Log metrics of all rows at a step; return how many were defined.

    Args:
        writer: The writer.
        rows: Layers with their metrics.
        metrics: Names of the metrics to log.
        step_index: Index of the step.
        when: `global_step`, and `walltime` if it is not now.
    """
    tags, logged = tags_of(row.name for row in rows), 0
    for metric in metrics:
        for row in rows:
            value = float(row.metrics[metric][step_index])
            if math.isfinite(value):
                writer.add_scalar(f"{metric}/{tags[row.name]}", value, **when)
                logged += 1
    return logged


def log_measures(writer: Writer, header: Header, step_index: int, **when: Any) -> int:
    """Log loss, accuracy and the like at a step, as training/NAME; return how many there were.

    NaN and infinity are logged as well: TensorBoard marks them.

    Args:
        writer: The writer.
        header: Header of the run.
        step_index: Index of the step.
        when: As for `log_scalars`.
    """
    tags, figures = tags_of(header.measures), header.checkpoints[step_index].figures
    for name, value in figures.items():
        writer.add_scalar(f"{training_figures.PREFIX}{tags[name]}", value, **when)
    return len(figures)


def log_histogram(writer: Any, tag: str, histogram: Histogram, **when: Any) -> None:
    """Log a histogram by its counts; from the middles of its bins if the writer takes values."""
    if not hasattr(writer, "add_histogram_raw"):
        middles = histogram.edges[1:] - histogram.width / 2
        writer.add_histogram(tag, np.repeat(middles, histogram.counts), **when)
        return
    writer.add_histogram_raw(
        tag,
        min=histogram.least,
        max=histogram.largest,
        num=int(histogram.counts.sum()),
        sum=histogram.sum,
        sum_squares=histogram.square_sum,
        bucket_limits=histogram.edges[1:].tolist(),
        bucket_counts=histogram.counts.tolist(),
        **when,
    )


def log_picture(
    writer: Writer,
    thumbnails: Thumbnails,
    row: Measured,
    parameter: Parameter,
    tag: str,
    step_index: int,
    **when: Any,
) -> bool:
    """Log the picture of a parameter at a step, in the colours of the viewer.

    Returns:
        Whether there is one: a tracker leaves some out if writing is slower than training.
    """
    entries = thumbnails.entries(row, parameter, step_index, TEXELS)
    if (entries == ENTRIES).all():
        return False
    factor = max(1, -(-LEAST_SIDE // max(entries.shape)))
    large = entries.repeat(factor, axis=0).repeat(factor, axis=1)
    writer.add_image(f"layers/{tag}", PAINTS[large], dataformats="HWC", **when)
    return True


def picture_tags(shown: Shown) -> dict[str, str]:
    """Return the tag of every parameter: of its layer, and of itself if the layer has several."""
    named = {}
    for row in shown.rows:
        for parameter in row.parameters:
            own = leaf_of(parameter.name, row.name)
            named[parameter.name] = f"{row.name}/{own}" if len(row.parameters) > 1 else row.name
    tags = tags_of(dict.fromkeys(named.values()))
    return {parameter: tags[name] for parameter, name in named.items()}

"""Log every update of a tracker to a TensorBoard writer: the same tags as the export has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accweight_core.analysis.event_log import (
    checked_writer,
    log_histogram,
    log_measures,
    log_picture,
    log_scalars,
    picture_tags,
    tags_of,
)
from accweight_core.analysis.shown import Shown
from accweight_core.analysis.step_changes import Histogram
from accweight_core.analysis.thumbnails import MOST_ELEMENTS
from accweight_core.metrics.table import Floats, checked_metric


class UpdateLog:
    """What is logged of every update.

    Histograms and pictures take A_t from the device, so they are of layers of at most 4 million
    weights. Pictures are logged after 1, 2, 4, 8, ... updates, as TensorBoard shows ten of them.
    """

    def __init__(
        self, writer: Any, *, metrics: Sequence[str], histograms: bool, pictures: bool
    ) -> None:
        """Use a writer.

        Args:
            writer: A `SummaryWriter` of torch.utils.tensorboard or tensorboardX.
            metrics: Metrics to log; all if empty.
            histograms: Whether to log histograms of the step change of each layer.
            pictures: Whether to log pictures of the layers.

        Raises:
            ArgumentTypeError: If the writer lacks a method.
            UnknownNameError: If there is no such metric.
        """
        self._writer = checked_writer(writer)
        self._metrics = [checked_metric(name) for name in metrics]
        self._histograms = histograms
        self._pictures = pictures
        self._updates = 0
        self.forget()

    def forget(self) -> None:
        """Take what comes next for a run of its own, as of a tracker that was reset."""
        self._kept: int | None = None
        self._tags: dict[str, str] = {}
        self._before: dict[str, Floats] = {}

    def log(self, shown: Shown) -> None:
        """Log the last step of a model in training."""
        last = len(shown.steps) - 1
        when = {"global_step": int(shown.steps[last])}
        log_scalars(self._writer, shown.rows, self._metrics or shown.metrics, last, **when)
        log_measures(self._writer, shown.source.header, last, **when)
        if self._histograms:
            self._log_histograms(shown, last, when)
        if self._pictures and last and self._updates & (self._updates - 1) == 0:
            self._log_pictures(shown, last, when)
        self._updates += 1

    def _log_histograms(self, shown: Shown, last: int, when: dict[str, Any]) -> None:
        """Log how far each layer moved, if A_t of the step before was kept to be subtracted."""
        is_known = last > 0 and self._kept == int(shown.steps[last - 1])
        self._kept = None  # until A_t of every layer is that of this step
        if not self._tags:
            self._tags = tags_of(row.name for row in shown.rows)
        for row in shown.rows:
            if row.elements <= MOST_ELEMENTS:
                paths = {
                    p.name: shown.source.cumulative(p, last).reshape(-1) for p in row.parameters
                }
                if is_known:
                    histogram = Histogram.up_to(float(row.metrics["step_max"][last]))
                    for name, path in paths.items():
                        histogram.add(path - self._before[name])  # D_t = A_t - A_(t-1)
                    tag = f"step_change/{self._tags[row.name]}"
                    log_histogram(self._writer, tag, histogram, **when)
                self._before |= paths
        self._kept = int(shown.steps[last])

    def _log_pictures(self, shown: Shown, last: int, when: dict[str, Any]) -> None:
        tags, thumbnails = picture_tags(shown), shown.thumbnails
        for row, parameter in thumbnails.parameters():
            tag = tags[parameter.name]
            log_picture(self._writer, thumbnails, row, parameter, tag, last, **when)

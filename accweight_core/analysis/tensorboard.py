"""Write an analysis as a run of TensorBoard, with tensorboardX.

Each analysis is a folder of its own, so that TensorBoard shows several on one axis.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.event_log import (
    log_histogram,
    log_measures,
    log_picture,
    log_scalars,
    picture_tags,
    tags_of,
)
from accweight_core.analysis.probe_log import log_probes
from accweight_core.analysis.shown import Shown
from accweight_core.analysis.step_changes import step_change_histograms
from accweight_core.analysis.summary import Per
from accweight_core.analysis.training_figures import check_is_no_figure, figures_not_finite
from accweight_core.errors import MissingLibraryError, SourceError
from accweight_core.io.target import replaced_folder, target_at
from accweight_core.metrics.table import checked_metric
from accweight_core.remote import is_url
from accweight_core.schema import Checkpoint, Role

EVENTS = "events.out.tfevents."
"""What the names of TensorBoard's files begin with."""

MOST_PICTURES = 10
"""Steps with pictures: TensorBoard shows ten."""

QUEUE = 1000
"""Events that may wait to be written; tensorboardX takes 10, and the exporter would wait for it."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Written:
    """What was written for one analysis.

    Attributes:
        folder: The run of TensorBoard.
        scalars: Number of scalars.
        histograms: Number of histograms.
        pictures: Number of pictures.
        notes: What was left out, and why.
    """

    folder: Path
    scalars: int
    histograms: int
    pictures: int
    notes: tuple[str, ...]


def write_events(
    analysis: Analysis,
    folder: str | os.PathLike[str],
    *,
    metrics: Sequence[str] = (),
    per: Per = "layer",
    roles: Iterable[Role | str] | None = None,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Written:
    """Write the metrics, histograms of the step change, pictures and training measures of a run.

    Args:
        analysis: The analysis.
        folder: Folder of the run, which is created.
        metrics: Metrics to write; by default all.
        per: Whether rows are layers, parameters or attention heads.
        roles: Roles to include; those of the analysis by default.
        overwrite: Replace a folder that holds nothing but such files.
        progress: Called with the rows done and all rows.

    Raises:
        MissingLibraryError: If tensorboardX is not installed.
        StoreError: If the folder exists or cannot be written.
        UnknownNameError: If there is no such metric.
        MismatchError: If no parameter has one of the roles.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise MissingLibraryError("tensorboardX", "tensorboard", "TensorBoard export") from None
    for name in metrics:
        check_is_no_figure(analysis.header, name)
    chosen = [checked_metric(name, analysis.metrics) for name in metrics] or analysis.metrics
    shown = replace(analysis.shown, rows=analysis.measured(per, roles))
    target = target_at(folder, "a run of TensorBoard")
    with (
        replaced_folder(target, overwrite=overwrite, foreign=_foreign) as draft,
        SummaryWriter(str(draft), max_queue=QUEUE) as writer,
    ):
        return _Export(writer, analysis, shown, per).written(target, chosen, progress)


def _foreign(folder: Path) -> list[str]:
    """Return the files that are no files of TensorBoard."""
    return [e.name for e in folder.iterdir() if not e.name.startswith(EVENTS)]


@contextmanager
def _without_warning_of_nan() -> Iterator[None]:
    """Keep tensorboardX from warning of figures that are not finite: notes say which they are."""
    log = logging.getLogger("tensorboardX.x2num")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


class _Export:
    """Writes the parts of one run."""

    def __init__(self, writer: Any, analysis: Analysis, shown: Shown, per: Per) -> None:
        self._writer = writer
        self._analysis = analysis
        self._shown = shown
        self._per = per
        self._when = [
            {"global_step": int(step), "walltime": time}
            for step, time in zip(analysis.steps, _wall_times(analysis), strict=True)
        ]
        self._notes: list[str] = []

    def written(self, target: Path, metrics: Sequence[str], progress: Progress) -> Written:
        """Write everything; return what it was."""
        scalars = 0
        self._notes += [
            f"{found.text}: TensorBoard marks it"
            for found in figures_not_finite(self._analysis.header)
        ]
        for index, when in enumerate(self._when):
            scalars += log_scalars(self._writer, self._shown.rows, metrics, index, **when)
            with _without_warning_of_nan():
                scalars += log_measures(self._writer, self._analysis.header, index, **when)
        pictures = self._pictures()
        if self._per == "layer":
            more = log_probes(self._writer, self._analysis.probes, self._times())
            scalars, pictures = scalars + more.scalars, pictures + more.pictures
            self._notes += more.notes
        histograms = self._histograms(progress)
        return Written(target, scalars, histograms, pictures, tuple(self._notes))

    def _times(self) -> dict[int, float]:
        """Return the wall time of every step."""
        return {int(when["global_step"]): when["walltime"] for when in self._when}

    def _pictures(self) -> int:
        """Write the pictures of some steps, the last one among them."""
        if self._per == "head":
            self._notes.append("heads have no pictures of their own")
            return 0
        thumbnails, tags = self._shown.thumbnails, picture_tags(self._shown)
        last = len(self._when) - 1
        steps = np.unique(np.linspace(0, last, min(last + 1, MOST_PICTURES)).round().astype(int))
        drawn = [(r, p) for r, p in thumbnails.parameters() if thumbnails.is_at_hand(r, p)]
        missing, written = sum(len(row.parameters) for row in self._shown.rows) - len(drawn), 0
        try:
            for index in steps.tolist():
                for row, parameter in drawn:
                    tag, when = tags[parameter.name], self._when[index]
                    written += log_picture(
                        self._writer, thumbnails, row, parameter, tag, index, **when
                    )
        except SourceError as error:
            self._notes.append(f"some pictures are left out: {error}")
        if missing:
            self._notes.append(f"{missing} parameters have no stored picture, and so none here")
        return written

    def _histograms(self, progress: Progress) -> int:
        """Write the histograms of the step change, if the checkpoints can be read again."""
        checkpoints = self._checkpoints()
        if not checkpoints:
            return 0
        rows = [row for row in self._shown.rows if np.isfinite(row.metrics["step_max"]).all()]
        tags, count = tags_of(row.name for row in self._shown.rows), 0
        for done, (row, found) in enumerate(step_change_histograms(checkpoints, rows), start=1):
            for histogram, when in zip(found, self._when[1:], strict=True):
                log_histogram(self._writer, f"step_change/{tags[row.name]}", histogram, **when)
            count += len(found)
            progress(done, len(rows))
        return count

    def _checkpoints(self) -> Sequence[Checkpoint]:
        """Return the checkpoints to read for histograms; none, with a note, if that cannot be."""
        reason = ""
        records = self._analysis.header.checkpoints
        if self._per == "head" or "step_max" not in self._analysis.metrics:
            reason = "they are known of layers and parameters alone"
        elif any(is_url(record.path) for record in records):
            reason = "the checkpoints are at URLs, and would be fetched again"
        else:
            try:
                return self._analysis.run().checkpoints
            except SourceError as error:
                reason = str(error)
        self._notes.append(f"histograms of the step change are left out: {reason}")
        return ()


def _wall_times(analysis: Analysis) -> list[float]:
    """Return when each checkpoint was written, in seconds; its step where that is not known."""
    records = analysis.header.checkpoints
    if all(record.changed_ns > 0 and not is_url(record.path) for record in records):
        return [record.changed_ns / 1e9 for record in records]
    return [float(record.step) for record in records]

"""Write what probes found to a TensorBoard writer: numbers, numbers of layers, and pictures.

A number of the whole network has the tag PROBE/NAME, one of a layer PROBE.NAME/LAYER, as metrics of
layers have METRIC/LAYER; pictures are one sheet per step, PROBE/NAME.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from accweight_core.analysis.event_log import Writer, tag_of, tags_of
from accweight_core.analysis.probe_kinds import ResultKind, arrays_of
from accweight_core.analysis.probe_pictures import as_seen, on_colour, pictures_at
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import AccweightError
from accweight_core.pictures.sprites import sprite

MOST_PICTURES = 10
"""Steps with pictures: TensorBoard shows ten."""

MOST_UNITS = 64

LEAST_SIDE = 32
"""Smaller pictures are enlarged to about so many pixels, as browsers would blur them."""


@dataclass
class Logged:
    """What was written.

    Attributes:
        scalars: Number of scalars.
        pictures: Number of pictures.
        notes: What was left out, and why.
    """

    scalars: int = 0
    pictures: int = 0
    notes: list[str] = field(default_factory=list)


def log_probes(
    writer: Writer, results: Mapping[str, ProbeResult], times: Mapping[int, float]
) -> Logged:
    """Log all results; a damaged one is left out, with a note.

    Args:
        writer: The writer.
        results: The results by name.
        times: The wall time of every step.
    """
    logged = Logged()
    for name, called in tags_of(results).items():
        try:
            result = results[name]
            for tag, step, value in _numbers(called, result):
                writer.add_scalar(tag, value, global_step=step, walltime=times.get(step, step))
                logged.scalars += 1
            for tag, step, sheet in _sheets(called, result):
                when: dict[str, Any] = {"global_step": step, "walltime": times.get(step, step)}
                writer.add_image(tag, sheet, dataformats="HWC", **when)
                logged.pictures += 1
        except (AccweightError, OSError) as error:
            logged.notes.append(f"probe {name} is left out: {error}")
    return logged


def _numbers(called: str, result: ProbeResult) -> Iterator[tuple[str, int, float]]:
    for array in arrays_of(result, ResultKind.NUMBERS):
        for step, value in zip(result.steps.tolist(), result.array(array).tolist(), strict=True):
            if math.isfinite(value):
                yield f"{called}/{tag_of(array)}", step, value
    tags = tags_of(result.labels("layer"))
    for array in arrays_of(result, ResultKind.LAYERS):
        for step, row in zip(result.steps.tolist(), result.array(array), strict=True):
            for layer, value in zip(tags.values(), row.tolist(), strict=True):
                if math.isfinite(value):
                    yield f"{called}.{tag_of(array)}/{layer}", step, value


def _sheets(called: str, result: ProbeResult) -> Iterator[tuple[str, int, Any]]:
    count = len(result.steps)
    places = np.unique(np.linspace(0, count - 1, min(count, MOST_PICTURES)).round().astype(int))
    for array in arrays_of(result, ResultKind.PICTURES):
        for step in result.steps[places].tolist():
            pictures = on_colour(as_seen(result, array, pictures_at(result, array, step)))
            pictures = pictures[:MOST_UNITS]
            factor = max(1, -(-LEAST_SIDE // max(pictures.shape[1:3])))
            large = pictures.repeat(factor, axis=1).repeat(factor, axis=2)
            framed = np.pad(large, ((0, 0), (0, 2), (0, 2), (0, 0)))
            sheet, _ = sprite(framed.repeat(3 // framed.shape[-1], axis=-1))
            yield f"{called}/{tag_of(array)}", step, sheet

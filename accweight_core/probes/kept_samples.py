"""Keep what a probe was shown beside what it found: a point is a picture then, not a number."""

from __future__ import annotations

import numpy as np

from accweight_core.probes.probe import Schema
from accweight_core.samples.pictures import sample_pictures
from accweight_core.samples.samples import Data
from accweight_core.store.probe_store import ProbeStore

AXES = ("point", "picture")
"""Axes along which each place may be a sample."""


def keep_samples(store: ProbeStore, schema: Schema, data: Data) -> None:
    """Keep the samples as pictures, if the results have a point or a picture for each.

    Args:
        store: The results.
        schema: What the probe stores.
        data: The samples.
    """
    rows = np.arange(len(data)) if schema.rows is None else schema.rows
    counts = {
        length
        for field in schema.fields
        for axis, length in zip(field.axes, field.shape, strict=True)
        if axis in AXES
    }
    if len(rows) in counts and (pictures := sample_pictures(data, rows)) is not None:
        store.write_samples(pictures)

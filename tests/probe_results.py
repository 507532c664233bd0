"""Results of a probe with an array of every kind, and hostile names, stored in an analysis."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import accweight_core as aw
from accweight_core.store.probe_store import FieldDocument, ProbeDocument, ProbeStore

HOSTILE = "</script><img src=x onerror=document.title='owned'>\x1b[31m"

STEPS = (0, 10, 40)
LAYERS = ("conv", HOSTILE, "out")
POINTS = 12


def field(name: str, axes: str, shape: tuple[int, ...], dtype: Any = "float64") -> FieldDocument:
    """Return an array, its axes named in a text."""
    return FieldDocument(name, tuple(axes.split()), shape, dtype, f"what {name} is", False)


OF_EVERY_KIND = (
    field("loss", "step", (0,)),
    field("sparsity", "step layer", (0, 3)),
    field("class_accuracy", "step class", (0, 3)),
    field("confusion", "step class predicted", (0, 3, 3)),
    field("images", "step picture height width channel", (0, POINTS, 8, 8, 1), "uint8"),
    field("scale", "step bound", (0, 2)),
    field("coordinates", "step point coordinate", (0, POINTS, 2)),
    field("views", "step stage point coordinate", (0, 2, POINTS, 2)),
    field("saturation", "step place coordinate", (0, 4, 2)),
    field("links", "step link", (0, 2)),
    field("path", "step component", (0, 2)),
    field("cosine", "step step", (0, 0)),
    field("values", "step layer unit", (0, 3, 5), "float32"),
    field("answers", "step group class", (0, 2, 3)),
)


def stored_results(out: Path, name: str = "everything") -> Path:
    """Analyse three steps of three layers into `out`, with results of every kind; return it.

    The loss falls from 2 to 0.5; point p of class p % 3 goes from (p, 0) at step 0 to (p, 1) at the
    last step; picture p has pixels of 50, 100 and 150, plus p; unit u of layer n has the value
    n + u / 10, times 1, 2 and 3 at the steps.
    """
    weights = np.random.default_rng(0).standard_normal((3, 5, 4)).astype("f4")
    run = aw.open_run(
        {
            step: {
                f"{layer}.weight": weights[at] * (1 + 0.01 * step * (at + 1))
                for at, layer in enumerate(LAYERS)
            }
            for step in STEPS
        }
    )
    aw.analyze(run, out)
    document = ProbeDocument(
        probe=name,
        version=1,
        options={"node": HOSTILE},
        steps=STEPS,
        fields=OF_EVERY_KIND,
        labels={
            "layer": LAYERS,
            "class": ("a", HOSTILE, "c"),
            "stage": ("input", HOSTILE),
            "group": ("r", HOSTILE),
            "place": ("unit 0", "unit 1", "unit 2", HOSTILE),
            "coordinate": ("open", HOSTILE),
        },
        attributes={
            "targets": [point % 3 for point in range(POINTS)],
            "classes": ["a", HOSTILE, "c"],
            "rows": list(range(100, 100 + POINTS)),
            "node": HOSTILE,
            "bounds": [0, 1],
        },
    )
    store = ProbeStore.begun(out, "0123456789ab", document)
    for at, step in enumerate(STEPS):
        store.write_step(step, _values(at))
    store.write_samples(np.arange(POINTS * 64, dtype=np.uint8).reshape(POINTS, 8, 8, 1))
    store.write_final({})
    return out


def store_numbers(analysis: Path, name: str, losses: Mapping[int, float]) -> None:
    """Store a number of the whole network, as a probe of another package may, at some steps."""
    fields = (field("loss", "step", (0,)),)
    document = ProbeDocument(probe=name, version=1, options={}, steps=STEPS, fields=fields)
    store = ProbeStore.begun(analysis, "fedcba987654", document)
    for step, loss in losses.items():
        store.write_step(step, {"loss": np.array(loss)})


def _values(at: int) -> dict[str, Any]:
    points = np.stack([np.arange(POINTS, dtype=float), np.full(POINTS, at / 2)], axis=1)
    units = (at + 1) * (np.arange(3)[:, None] + np.arange(5) / 10)
    units[0, 3:] = np.nan  # a layer of fewer units
    pictures = np.zeros((POINTS, 8, 8, 1), np.uint8)
    pictures[:, :, :, 0] = 50 * (at + 1) + np.arange(POINTS)[:, None, None]
    return {
        "loss": np.array(2.0 / 2**at),
        "sparsity": np.array([0.1, 0.5, np.nan]) + 0.1 * at,
        "class_accuracy": np.array([0.5, 0.6, 0.7]),
        "confusion": np.eye(3) * (at + 1),
        "images": pictures,
        "scale": np.array([-1.0, 1.0]),
        "coordinates": points,
        "views": np.stack([points * 0, points]),
        "saturation": np.array([[0, 0], [1, 0], [0, 1], [0.5, 0.25]]) * at / 2,
        "links": np.array([1.0, -at]),
        "path": np.array([at, at * at], float),
        "cosine": np.array([1.0, 0.5, 0.0]) - 0.1 * at,
        "values": units,
        "answers": (at + 1) * np.arange(6.0).reshape(2, 3),
    }

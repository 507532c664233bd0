"""A small analysis on disk, edits of every field of its documents, and what everybody reads of it.

Shared by the tests that hold a store for input: whoever opens an edited one gets the figures of the
one that was edited, or a `StoreError` in one line.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import accweight_core as aw
from accweight_core.accumulate.cutting import Block
from accweight_core.analysis.export import export
from accweight_core.errors import SourceError, StoreError
from accweight_core.schema import Run
from accweight_core.store.groups import create_group
from accweight_core.store.zarr_chunks import ChunkedArray, open_array
from accweight_viewer.model.runs import ShownRun

ROLES = ["weight", "bias"]

DOCUMENTS = (
    "zarr.json",
    "begun.json",
    "totals/zarr.json",
    "pictures/zarr.json",
    "pictures/000000/zarr.json",
    "pictures/packed/000000/zarr.json",
    "state/packed/previous/zarr.json",
    "metrics/mean/zarr.json",
)
"""One of each kind."""


def checkpoints(folder: Path, steps: int = 4) -> list[str]:
    """Write checkpoints of a matrix and two small vectors, with a loss in each."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = torch.Generator().manual_seed(1)
    shapes = {"fc.weight": (70, 66), "fc.bias": (5,), "out.weight": (2, 3)}
    weights = {name: torch.randn(shape, generator=chance) for name, shape in shapes.items()}
    paths = []
    for step in range(steps):
        for tensor in weights.values():
            tensor += torch.randn(tensor.shape, generator=chance)
        paths.append(str(folder / f"epoch_{step}.pt"))
        state = {name: tensor.clone() for name, tensor in weights.items()}
        torch.save({"epoch": step, "state_dict": state, "loss": 1.5 - step / 4}, paths[-1])
    return paths


def analysed(run: Run | list[str], out: Path) -> aw.Analysis:
    """Analyse a run, or its files, with all that a store may hold: pictures, packs and state."""
    return aw.analyze(run, out, roles=ROLES, keep_state=True)


def unfinish(store: Path, *, parameters: int = 1) -> None:
    """Make an analysis look as one that was stopped before it had finished some parameters."""
    document = json.loads((store / "zarr.json").read_text())
    document["attributes"]["accweight"] |= {"complete": False, "maximum": None}
    (store / "zarr.json").write_text(json.dumps(document))
    shape = json.loads((store / "totals" / "zarr.json").read_text())["shape"]
    chunk = store / "totals" / "c.0.0.0"
    values = np.frombuffer(chunk.read_bytes(), "<f8").reshape(shape).copy()
    values[:, :parameters] = np.nan
    chunk.write_bytes(values.tobytes())
    shutil.rmtree(store / "metrics")


Place = tuple[str | int, ...]


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """Yield where every value of a document lies; of the entries of a list the first alone."""
    yield here
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*here, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*here, 0))


def nested(levels: int) -> Any:
    """Return lists in lists."""
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


MISSING = object()

VALUES: dict[str, Any] = {
    "missing": MISSING,
    "null": None,
    "true": True,
    "text": "x",
    "no text": "",
    "two lines": "x\ny",
    "fraction": 1.5,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "negative": -1,
    "zero": 0,
    "2**62": 2**62,
    "2**63": 2**63,
    "10**400": 10**400,
    "list": [],
    "list of numbers": [7],
    "list of texts": ["x"],
    "list of lists": [[1, 2], [3]],
    "object": {},
    "object of objects": {"x": {"y": 1}},
    "deep": nested(60),
    "deeper": nested(900),
}
"""By name: what is put in the place of a value."""


def edited(document: Any, place: Place, value: Any) -> Any:
    """Return a copy of a document with another value at a place, or an extra one beside it."""
    copy = json.loads(json.dumps(document))
    if not place:
        return {} if value is MISSING else value
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    if value is MISSING:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return copy


def with_extra(document: Any, place: Place) -> Any:
    """Return a copy of a document with something more in the object, or list, at a place."""
    copy = json.loads(json.dumps(document))
    inner = copy
    for key in place:
        inner = inner[key]
    if isinstance(inner, dict):
        inner["unheard of"] = [1]
    elif isinstance(inner, list):
        inner.append(inner[-1] if inner else 1)
    return copy


def pictures_of(analysis: aw.Analysis) -> Iterator[bytes]:
    """Yield every level of every picture that is stored."""
    store = analysis.store
    assert store is not None
    for index, parameter in enumerate(analysis.parameters if analysis.header.picture_bases else ()):
        for level in analysis.header.plan(index).levels if parameter.elements else ():
            for plane in ("mean", "max") if level else ("mean",):
                yield store.picture(index, level, plane, slice(None)).tobytes()


def figures(path: Path) -> dict[str, object]:
    """Return all that is read of an analysis, each figure by name."""
    analysis = aw.open_analysis(path)
    table = analysis.table("parameter")[list(analysis.metrics)].to_numpy()
    ranking = analysis.ranking()[list(analysis.metrics)].to_numpy()
    written = io.BytesIO()
    export(analysis, written, "npz")
    assert repr(analysis)
    return {**_arrays(analysis), "table": table.tobytes(), "ranking": ranking.tobytes()}


def arrays(path: Path) -> dict[str, object]:
    """Return all that is read of the arrays, of which tables are made by the header alone."""
    return _arrays(aw.open_analysis(path))


def _arrays(analysis: aw.Analysis) -> dict[str, object]:
    store = analysis.store
    assert store is not None
    return {
        "values": analysis.values.tobytes(),
        "largest": analysis.maximum and analysis.maximum.value,
        "pictures": list(pictures_of(analysis)),
        "metric": store.metric("mean").tobytes(),
    }


def pictures(path: Path) -> dict[str, object]:
    """Return every picture."""
    return {"pictures": list(pictures_of(aw.open_analysis(path)))}


def metric(path: Path) -> dict[str, object]:
    """Return one of the arrays that are there for other programs."""
    store = aw.open_analysis(path).store
    assert store is not None
    return {"metric": store.metric("mean").tobytes()}


def state(path: Path) -> dict[str, object]:
    """Return where the walk has ended, as `append` reads it."""
    store = aw.open_analysis(path).store
    assert store is not None
    parts = [
        store.read_state(index, Block(0, parameter.elements))
        for index, parameter in enumerate(store.header.parameters)
    ]
    return {"state": [part.tobytes() for carry in parts for part in carry]}


def exact(path: Path) -> dict[str, object]:
    """Return exact values; who finds other checkpoints than the header says may say so."""
    try:
        return {"exact": aw.open_analysis(path).cumulative("fc.weight").tobytes()}
    except SourceError as error:
        raise StoreError(" ".join(str(error).split())) from error


def shown(path: Path) -> dict[str, object]:
    """Return what the viewer's model draws."""
    run = ShownRun(path)
    everything = slice(None)
    texels = [
        run.texels(plate, level, "mean", everything, everything, everything).tobytes()
        for plate in run.plates
        for level in plate.plan.levels
    ]
    peaks = [plate.peak for plate in run.plates]
    return {"texels": texels, "peaks": peaks, "metric": run.metric("mean").tobytes()}


def set_apart(store: Path) -> None:
    """Give every plane of larger pictures an array of its own, as versions before format 4 did."""
    for part in (store, *store.glob("segments/*")):
        for folder in part.glob("pictures/[0-9]*"):
            array = open_array(folder)
            assert isinstance(array, ChunkedArray)
            said, values = array.attributes["accweight"], array[:]
            shutil.rmtree(folder)
            create_group(folder)
            keys = ("levels", "planes", "first_texels", "rows", "columns")
            for level, plane, first, rows, cols in zip(*map(said.__getitem__, keys), strict=True):
                picture = values[:, first : first + rows * cols].reshape(-1, rows, cols)
                path = folder / (f"{level}_{plane}" if level else "0")
                alone = ChunkedArray(path, picture.shape, picture.shape).create()
                alone.write((0, 0, 0), picture)
    document = json.loads((store / "zarr.json").read_text())
    header = document["attributes"]["accweight"]
    header["format"] = 3 if any(store.glob("segments/*")) else 2 if header["packs"] else 1
    (store / "zarr.json").write_text(json.dumps(document))

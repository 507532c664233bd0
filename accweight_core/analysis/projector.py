"""Write samples as vectors for the Embedding Projector of TensorBoard, with labels and pictures.

A folder holds ``projector_config.pbtxt``, a table of numbers per step and layer
(``800/embedding-fc1/tensors.tsv``), and per probe the labels and pictures of its samples.
TensorBoard opens the folder; the stand-alone projector takes the tables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.event_log import tag_of
from accweight_core.analysis.probe_kinds import ResultKind, kind_of
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.colours.png import pixel_png
from accweight_core.errors import UnknownNameError
from accweight_core.io.target import replaced_folder, target_at
from accweight_core.pictures.sprites import sprite
from accweight_core.store.probe_store import STEP
from accweight_core.text import numbered, plain

CONFIG = "projector_config.pbtxt"

VECTORS = (STEP, "point", "feature")
STAGES = (STEP, "stage", "point", "feature")

LARGEST_SPRITE = 8192
"""Pixels of a side up to which the projector shows pictures."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class WrittenVectors:
    """What was written.

    Attributes:
        folder: The folder, for ``tensorboard --logdir``.
        tensors: The tables, as STEP/TAG.
        points: Samples of each.
        notes: What was left out, and why.
    """

    folder: Path
    tensors: tuple[str, ...]
    points: tuple[int, ...]
    notes: tuple[str, ...]


@dataclass
class _Config:
    """The text of the configuration."""

    entries: list[str] = field(default_factory=list)

    def add(self, tensor: str, points: int, width: int, meta: Mapping[str, Any]) -> None:
        lines = [f'tensor_name: "{tensor}"', f'tensor_path: "{tensor}/tensors.tsv"']
        lines += [f"tensor_shape: {points}", f"tensor_shape: {width}"]
        lines.append(f'metadata_path: "{meta["path"]}/metadata.tsv"')
        if meta["size"] is not None:
            high, wide = meta["size"]
            lines.append(
                f'sprite {{ image_path: "{meta["path"]}/sprite.png" '
                f"single_image_dim: {wide} single_image_dim: {high} }}"
            )
        self.entries.append("embeddings {\n  " + "\n  ".join(lines) + "\n}\n")


def write_projector(
    analysis: Analysis, folder: str | os.PathLike[str], *, overwrite: bool = False
) -> WrittenVectors:
    """Write all samples that probes keep as vectors, or as points, at every step.

    Args:
        analysis: The analysis.
        folder: The folder, which is created.
        overwrite: Replace a folder that such an export has written.

    Raises:
        StoreError: If the folder exists or cannot be written, or a result is damaged.
        UnknownNameError: If no probe has points.
    """
    target = target_at(folder, "a folder for the projector")
    results = {name: one for name, one in analysis.probes.items() if list(_tables(one))}
    if not results:
        raise UnknownNameError(
            f"{analysis.path or 'an analysis in memory'}: no probe has points; accweight probe "
            "with --probe embedding computes some"
        )
    with replaced_folder(target, overwrite=overwrite, foreign=_foreign) as draft:
        return _write(results, target, draft)


def _foreign(folder: Path) -> list[str]:
    """Return what no export for the projector has written; all of a folder without its file."""
    config = folder / CONFIG
    text = config.read_text("utf-8", "replace") if config.is_file() else ""
    own = {CONFIG, *(path.split("/")[0] for path in re.findall(r'_path: "([^"]*)"', text))}
    others = [entry.name for entry in folder.iterdir() if entry.name not in own]
    return others or ([] if text else ["nothing of the projector"])


def _write(results: Mapping[str, ProbeResult], target: Path, draft: Path) -> WrittenVectors:
    config, notes, tensors, points = _Config(), [], [], []
    for name, own in _own_tags(results).items():
        result = results[name]
        meta, note = _write_metadata(result, draft, own)
        notes += [f"{name}: {note}"] if note else []
        for tag, step, vectors in _tables(result):
            tensor = f"{step}/{own}{tag}"
            (draft / tensor).mkdir(parents=True, exist_ok=True)
            known = np.asarray(np.isfinite(vectors).all(axis=1))
            if not known.all():
                notes.append(f"{tensor}: {int((~known).sum())} samples are not finite, and 0 there")
            np.savetxt(
                draft / tensor / "tensors.tsv",
                np.where(known[:, None], vectors, 0),
                fmt="%.6g",
                delimiter="\t",
            )
            config.add(tensor, len(vectors), vectors.shape[1], meta)
            tensors.append(tensor)
            points.append(len(vectors))
    # the projector shows the first one at once: the last step of the first probe
    (draft / CONFIG).write_text("".join(reversed(config.entries)), "utf-8")
    return WrittenVectors(target, tuple(tensors), tuple(points), tuple(notes))


def _own_tags(results: Mapping[str, ProbeResult]) -> dict[str, str]:
    """Return a name for each result: its own and its node, in letters that every system takes."""
    short = {}
    for name, result in results.items():
        node, called = str(result.attributes.get("node") or ""), re.sub(r"[:=,]", "-", name)
        is_told = not node or f"={node}" in name
        tag = tag_of(called if is_told else f"{called}-{node}")
        short[name] = tag.replace("/", "_")[:80]
    return numbered(short, "-")


def _tables(result: ProbeResult) -> Iterator[tuple[str, int, Array]]:
    """Yield what is added to the name, the step and (points, features) of each table.

    Points in the plane stand in where no vectors are stored. Of several arrays, all but the first
    are called by their names. Of vectors at every stage of a network there are those of the last
    step alone.
    """
    axes = {name: result.fields[name].axes for name in result.arrays}
    vectors = [name for name, along in axes.items() if along == VECTORS]
    staged = [name for name, along in axes.items() if along == STAGES]
    flat = [n for n in axes if kind_of(result.fields[n]) is ResultKind.POINTS]
    for place, name in enumerate(vectors or (flat if not staged else [])):
        for step in result.steps.tolist():
            yield f"-{name}" if place else "", step, result.array(name, step)
    for place, name in enumerate(staged if len(result.steps) else ()):
        last = int(result.steps[-1])
        whole = result.array(name, last)
        for at, stage in enumerate(result.labels("stage")):
            used = whole[at][:, np.any(whole[at] != 0, axis=0)]
            own = f"-{name}" if place else ""
            yield f"{own}-{at}-{tag_of(stage).replace('/', '_')[:60]}", last, used


def _write_metadata(result: ProbeResult, draft: Path, own: str) -> tuple[dict[str, Any], str]:
    """Write labels and pictures; return where they are, and what was left out."""
    count = next(
        n
        for held in result.fields.values()
        for axis, n in zip(held.axes, held.shape, strict=True)
        if axis == "point"
    )
    home = draft / own
    home.mkdir(parents=True)
    attributes = result.attributes
    rows = _of_length(attributes.get("rows"), count) or list(range(count))
    targets = _of_length(attributes.get("targets"), count)
    names = [str(one) for one in attributes.get("classes") or []]
    lines = ["sample\tclass"] if targets else []
    for at in range(count):
        label = f"\t{_label(targets[at], names)}" if targets else ""
        lines.append(f"{rows[at]}{label}")
    (home / "metadata.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    samples = result.samples
    if samples is None or len(samples) != count:
        return {"path": own, "size": None}, ""
    whole, _ = sprite(samples, columns=int(np.ceil(np.sqrt(count))))
    if max(whole.shape[:2]) > LARGEST_SPRITE:
        return {"path": own, "size": None}, "too many pictures of samples for the projector"
    (home / "sprite.png").write_bytes(pixel_png(whole))
    return {"path": own, "size": samples.shape[1:3]}, ""


def _of_length(values: Any, count: int) -> list[Any]:
    return list(values) if isinstance(values, (list, tuple)) and len(values) == count else []


def _label(target: Any, names: list[str]) -> str:
    known = isinstance(target, int) and 0 <= target < len(names)
    return plain(names[target] if known else target)

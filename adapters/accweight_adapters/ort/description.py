"""Describe ONNX Runtime training checkpoints, without the runtime.

A checkpoint has names of parameters, but not their meaning. The graph of the network has it, and
training leaves it next to the checkpoints; without the graph, names and shapes are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from accweight_adapters.measures import measures_in
from accweight_adapters.ort.checkpoint import IDENTIFIER, Checkpoint, read_checkpoint
from accweight_adapters.ort.flatbuffer import Buffer
from accweight_adapters.ort.network import Beside, network_beside
from accweight_adapters.untrusted import MAX_SIZE, claims_of, step_among
from accweight_core.naming import natural_key
from accweight_core.schema import Description, StoredTensor

FORMAT: Final = "ONNX Runtime checkpoint"


def recognised(path: Path) -> bool:
    """Tell whether `path` starts like such a checkpoint, whatever its name."""
    try:
        with path.open("rb") as file:
            return Buffer(file).identifier == IDENTIFIER
    except (OSError, ValueError):
        return False


def described(path: Path) -> Description:
    """Describe the parameters, trained and frozen.

    Raises:
        FormatError: If the file is damaged, or has no values.
    """
    with claims_of(path, FORMAT):
        checkpoint = read_checkpoint(path)
        step, key = _step(checkpoint)
        beside = network_beside(path, checkpoint.tensors)
        external = len(checkpoint.files) > 1
        return Description(
            format=FORMAT + " with external data" * external,
            tensors=_in_order(checkpoint.tensors, beside),
            step=step,
            step_key=key,
            files=tuple(map(str, checkpoint.files)),
            notes=(*_notes(checkpoint), *beside.notes),
            measures=measures_in(checkpoint.properties),
            beside=beside.files,
        )


def _step(checkpoint: Checkpoint) -> tuple[int | None, str]:
    """Return the user's step, else the optimizer's update count, and the key."""
    found = step_among(checkpoint.properties)
    if found is not None:
        return found[0], f"properties.{found[1]}"
    if checkpoint.updates is not None and 0 < checkpoint.updates < MAX_SIZE:
        return checkpoint.updates, "optimizer.step"
    return None, ""


def _in_order(tensors: Mapping[str, StoredTensor], beside: Beside) -> tuple[StoredTensor, ...]:
    """Return the tensors in network order, with hints from the graph.

    The file sorts them as strings; without a graph, natural order of names is better.
    """
    named = [name for name in beside.hints if name in tensors]
    others = sorted(tensors.keys() - beside.hints.keys(), key=natural_key)
    known = [replace(tensors[name], hints=beside.hints[name]) for name in named]
    return (*known, *(tensors[name] for name in others))


def _notes(checkpoint: Checkpoint) -> tuple[str, ...]:
    if checkpoint.updates is None:
        return ()
    return ("left out the state of the optimizer: training state, not weights",)

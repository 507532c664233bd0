"""Reads checkpoints of ONNX Runtime training; the runtime itself is not needed for that.

A checkpoint names parameters but does not say what they are for. The graph of the network says
that, and training leaves it beside the checkpoints; without it, names and shapes have to do.
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
    """Tell whether `path` begins as such a checkpoint, whatever it is called."""
    try:
        with path.open("rb") as file:
            return Buffer(file).identifier == IDENTIFIER
    except (OSError, ValueError):
        return False


def described(path: Path) -> Description:
    """Describe the parameters, trained and frozen.

    Raises:
        FormatError: If the file is damaged, or holds no values.
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
    """Return the step that the user noted, else the count of updates that the optimizer keeps."""
    found = step_among(checkpoint.properties)
    if found is not None:
        return found[0], f"properties.{found[1]}"
    if checkpoint.updates is not None and 0 < checkpoint.updates < MAX_SIZE:
        return checkpoint.updates, "optimizer.step"
    return None, ""


def _in_order(tensors: Mapping[str, StoredTensor], beside: Beside) -> tuple[StoredTensor, ...]:
    """Return the tensors in network order, with what the graph says of them.

    The file has them sorted as text; without a graph, numbers in names give a better order.
    """
    named = [name for name in beside.hints if name in tensors]
    others = sorted(tensors.keys() - beside.hints.keys(), key=natural_key)
    known = [replace(tensors[name], hints=beside.hints[name]) for name in named]
    return (*known, *(tensors[name] for name in others))


def _notes(checkpoint: Checkpoint) -> tuple[str, ...]:
    if checkpoint.updates is None:
        return ()
    return ("left out the state of the optimizer: training state, not weights",)

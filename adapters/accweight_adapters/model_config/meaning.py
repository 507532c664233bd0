"""Give the tensors of a checkpoint the meaning that ``config.json`` beside it states.

A configuration is believed as far as the tensors bear it out: where its widths and heads fit none
of the projections, it is of another model, and a note says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from accweight_adapters.model_config.config import ModelConfig, config_beside
from accweight_adapters.model_config.projections import (
    GATED,
    INPUTS_FIRST,
    split_of,
    what_is,
)
from accweight_adapters.model_config.ties import without_ties
from accweight_adapters.untrusted import quoted, quoted_few
from accweight_core.orientation import INPUTS_FIRST as TURNED
from accweight_core.orientation import by_bias
from accweight_core.schema import Description, Hints, Split, StoredTensor


def with_model_config(description: Description, path: Path) -> Description:
    """Return the description of the weights in `path` with what its configuration says."""
    config, remark = config_beside(path)
    tensors, notes = description.tensors, list(description.notes)
    if remark:
        notes.append(remark)
    if config is not None:
        found = meant(tensors, config)
        tensors = found.tensors
        notes += found.notes
        config = config if found.is_believed else None
    tensors = without_ties(tensors, config, notes)
    if tensors is description.tensors and len(notes) == len(description.notes):
        return description
    return replace(description, tensors=tensors, notes=tuple(notes))


@dataclass
class Meant:
    """Tensors with the meaning that a configuration gives them, and remarks on it."""

    tensors: tuple[StoredTensor, ...]
    notes: list[str] = field(default_factory=list)
    is_believed: bool = True


def meant(tensors: tuple[StoredTensor, ...], config: ModelConfig) -> Meant:
    """Return tensors with projections, heads and axes by a configuration."""
    known: dict[str, Hints] = {}
    fitting, strange = 0, list[tuple[StoredTensor, Split]]()
    for tensor in tensors:
        what = what_is(tensor.name) if len(tensor.shape) in (1, 2) else None
        if what is None or tensor.hints.layer:  # adapters are matrices of their own
            continue
        split = split_of(*what, tensor.name, config, tensor.shape[0])
        if split is None:
            continue
        if split.size not in tensor.shape:
            strange.append((tensor, split))
            continue
        fitting += what[0] is not GATED
        known[tensor.name] = replace(tensor.hints, split=split)
    if strange and not fitting:
        return Meant(tensors, [_contradiction(config, *strange[0])], is_believed=False)
    if config.model_type in INPUTS_FIRST:
        biases = {t.name: t.shape for t in tensors if t.name.endswith("bias")}
        for tensor in tensors:
            if hints := _turned(tensor, biases, known.get(tensor.name, tensor.hints), config):
                known[tensor.name] = hints
    informed = (replace(t, hints=known[t.name]) if t.name in known else t for t in tensors)
    notes = [_exception(config, [tensor.name for tensor, _ in strange])] if strange else []
    return Meant(tuple(informed) if known else tensors, notes)


def _turned(
    tensor: StoredTensor,
    biases: Mapping[str, tuple[int, ...]],
    hints: Hints,
    config: ModelConfig,
) -> Hints | None:
    """Return hints of axes for a matrix that the library stores (inputs, outputs).

    A bias as long as one axis alone says it better, and is left to say it.
    """
    path, _, leaf = tensor.name.rpartition(".")
    last = path.rpartition(".")[2]
    if leaf != "weight" or len(tensor.shape) != 2 or not last.startswith(("c_", "q_attn")):
        return None
    if by_bias(tensor.shape, biases.get(f"{path}.bias", ())):
        return None
    return replace(hints, axes=TURNED, axes_from=config.origin)


def _contradiction(config: ModelConfig, tensor: StoredTensor, split: Split) -> str:
    counts = ", ".join(f"{split.heads_of(part.name)} of {part.name}" for part in split.parts)
    return (
        f"{config.origin} is not used, as it does not fit these weights: its heads ({counts}) "
        f"would have {split.size} {split.along}s, "
        f"{quoted(tensor.name)} is {'x'.join(map(str, tensor.shape))}"
    )


def _exception(config: ModelConfig, names: list[str]) -> str:
    return f"{config.origin} does not fit {quoted_few(names)}; the heads there are not known"

"""LoRA: two low-rank matrices that adapt a frozen layer.

PEFT and similar libraries name them after the layer they adapt, ``q_proj.lora_A.weight``; both
matrices are assigned to the layer ``q_proj``, so the ranking shows the layers of the model. Those
of diffusers are ``to_q.lora.up.weight`` or ``to_q_lora.up.weight``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from accweight_core.schema import Hints, Kind, StoredTensor

PREFIX = "base_model.model."
"""Prefix that PEFT adds to the names of the wrapped model."""

ADAPTER = re.compile(
    r"(?P<layer>.+)\.lora_(?P<embedding>embedding_)?"
    r"(A|B|up|down|magnitude_vector)(\.[^.]+)?(\.weight)?"
    r"|(?P<own>.+)[._]lora\.(up|down)(\.weight)?|(?P<numbered>.+[._]lora[0-9]+)\.(up|down)(\.weight)?"
)
MARK = "lora"
"""Part of every such name; searching for it is much faster than matching the pattern."""

BASE = re.compile(r"(?P<layer>.+)\.base_layer\.[^.]+")
"""The adapted layer itself, in a state dict of the whole wrapped model."""


def with_lora_layers(tensors: Iterable[StoredTensor]) -> tuple[StoredTensor, ...]:
    """Return tensors with layer and kind set for those of LoRA."""
    given = tuple(tensors)
    if not any(MARK in tensor.name and ADAPTER.fullmatch(tensor.name) for tensor in given):
        return given
    if all(tensor.name.startswith(PREFIX) for tensor in given):
        given = tuple(replace(t, name=t.name.removeprefix(PREFIX)) for t in given)
    return tuple(map(_hinted, given))


def _hinted(tensor: StoredTensor) -> StoredTensor:
    adapter = ADAPTER.fullmatch(tensor.name)
    base = BASE.fullmatch(tensor.name)
    if adapter:
        kind = Kind.CONV if len(tensor.shape) > 2 else Kind.LINEAR
        kind = Kind.EMBEDDING if adapter["embedding"] else kind
        layer = adapter["layer"] or adapter["own"] or adapter["numbered"]
        return replace(tensor, hints=Hints(layer=layer, kind=kind))
    if base:
        return replace(tensor, hints=Hints(layer=base["layer"]))
    return tensor

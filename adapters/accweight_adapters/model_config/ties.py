"""Weights that a network uses twice: an output layer that is the embedding.

Files hold them once (safetensors), twice at one place (torch.save), or as two equal copies. They
are one parameter in training, so they count once here too, under the name that comes first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from accweight_adapters.model_config.config import ModelConfig
from accweight_adapters.untrusted import quoted, quoted_few
from accweight_core.dtypes import DTYPES
from accweight_core.naming import SECOND_NAME, TABLE_AGAIN
from accweight_core.remote import is_url
from accweight_core.schema import Extent, StoredTensor

EMBEDDING = re.compile(
    r"(^|\.)(wte|word_embeddings|embed_tokens|shared|tok_embeddings|embed_in|token_embedding)"
    r"\.weight$"
)
WITH_HEAD = re.compile(r"LMHead|CausalLM|ConditionalGeneration|MaskedLM|BertForPreTraining")
SAMPLES: Final = 16
SAMPLE_BYTES: Final = 4096


def without_ties(
    tensors: tuple[StoredTensor, ...], config: ModelConfig | None, notes: list[str]
) -> tuple[StoredTensor, ...]:
    """Return tensors without those that are another one by a second name.

    Args:
        tensors: The tensors of a checkpoint, in order.
        config: Configuration of the model, if there is one.
        notes: Receives what was left out, and why.
    """
    kept = _without_shared(tensors, notes)
    if config is None:
        return kept
    table = next((t for t in kept if EMBEDDING.search(t.name)), None)
    if table is None or not config.is_on("tie_word_embeddings", default=True):
        return kept
    others = [t for t in kept if t is not table and t.shape == table.shape]
    heads = [t for t in others if TABLE_AGAIN.search(t.name)]
    copies = [t for t in heads if _are_equal(t, table)]
    if copies:
        notes.append(_said([t.name for t in copies], table.name, f"tied by {config.origin}"))
        left_out = {t.name for t in copies}
        return tuple(t for t in kept if t.name not in left_out)
    if len(kept) == len(tensors) and not heads and _has_head(config):
        notes.append(
            f"the output layer is {quoted(table.name)} again (tied by {config.origin}); "
            "it counts once"
        )
    return kept


def _without_shared(
    tensors: tuple[StoredTensor, ...], notes: list[str]
) -> tuple[StoredTensor, ...]:
    """Leave out tensors at the very place of an earlier one, as torch.save writes them."""
    places: dict[Any, StoredTensor] = {}
    again: dict[str, list[str]] = {}
    for tensor in tensors:
        values = tensor.values
        if isinstance(values, Extent) and values.elements:
            first = places.setdefault(values, tensor)
            if first is not tensor and SECOND_NAME.search(tensor.name):
                again.setdefault(first.name, []).append(tensor.name)
    if not again:
        return tensors
    for name, others in again.items():
        notes.append(_said(others, name, "stored at one place"))
    left_out = {name for others in again.values() for name in others}
    return tuple(tensor for tensor in tensors if tensor.name not in left_out)


def _said(names: Sequence[str], first: str, why: str) -> str:
    verb = "is" if len(names) == 1 else "are"
    return f"left out {quoted_few(list(names))}: {verb} {quoted(first)} again ({why})"


def _has_head(config: ModelConfig) -> bool:
    named = config.entries.get("architectures")
    names: Iterable[object] = named if isinstance(named, list) else ()
    return any(isinstance(name, str) and WITH_HEAD.search(name) for name in names)


def _are_equal(first: StoredTensor, second: StoredTensor) -> bool:
    """Tell whether two tensors agree wherever they are looked at: a few kilobytes of each."""
    values = (first.values, second.values)
    if not all(isinstance(v, Extent) and not v.strides and not is_url(v.path) for v in values):
        return False
    if first.dtype != second.dtype or first.dtype not in DTYPES:
        return False
    return _samples(first.values) == _samples(second.values)


def _samples(values: Any) -> list[bytes]:
    size_bytes = values.elements * DTYPES[values.dtype].size_bytes
    step = max(size_bytes // SAMPLES, SAMPLE_BYTES)
    with Path(values.path).open("rb") as file:
        found = []
        for start in range(0, size_bytes, step):
            file.seek(values.offset + start)
            found.append(file.read(min(SAMPLE_BYTES, size_bytes - start)))
    return found

"""Heads of GGUF tensors, from the notes of the file.

llama.cpp notes ``llama.attention.head_count``, and ``head_count_kv`` where queries share keys and
values. Its converters bring fused projections of all architectures into one order: q, k, v.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from accweight_adapters.gguf.names import BLOCK
from accweight_adapters.model_config.config import Heads, count_in
from accweight_adapters.model_config.projections import stacked
from accweight_core.schema import Axis, Part, Split

ARCHITECTURE: Final = "general.architecture"
PARTS: Final = {"attn_q": "q", "attn_k": "k", "attn_v": "v"}


def heads_in(notes: Mapping[str, Any]) -> tuple[Heads, str] | None:
    """Return the attention that the notes of a file describe, and their origin in words."""
    name = notes.get(ARCHITECTURE)
    if not isinstance(name, str):
        return None
    heads = count_in(notes, f"{name}.attention.head_count")
    width = count_in(notes, f"{name}.embedding_length")
    if heads is None or width is None:
        return None
    key_heads = count_in(notes, f"{name}.attention.head_count_kv") or heads
    head_width = count_in(notes, f"{name}.attention.key_length") or max(width // heads, 1)
    return Heads(width, heads, key_heads, head_width), f"GGUF: {name}"


def split_of(tensor: str, heads: Heads, origin: str) -> Split | None:
    """Return the heads of a tensor, None if it has none."""
    block = BLOCK.match(tensor)
    if block is None or (block["side"] or "blk") in ("v", "a", "enc"):
        return None  # pictures and sound have heads of their own
    layer, _, leaf = block["rest"].partition(".")
    if layer == "attn_qkv":
        return stacked(heads, heads.key_heads, origin)
    if layer == "attn_output" and leaf == "weight":
        part = Part("o", heads.heads * heads.head_width, heads.heads)
        return Split(Axis.INPUT, (part,), origin=origin)
    if layer in PARTS:
        number = heads.heads if layer == "attn_q" else heads.key_heads
        part = Part(PARTS[layer], number * heads.head_width, number)
        return Split(Axis.OUTPUT, (part,), origin=origin)
    return None

"""Layers, kinds and roles from GGUF tensor names: `blk.3.attn_q.weight`, `token_embd.weight`.

The names are those of llama.cpp, the same for all architectures. The order in the file is
arbitrary; the network order is: embeddings, blocks by number, the last norm, the output.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from accweight_core.naming import module_of
from accweight_core.schema import Axis, Hints, Kind, Role

BLOCK = re.compile(r"(?:(?P<side>[a-z]+)\.)?(?:blk|layers?)\.(?P<number>\d+)\.(?P<rest>.+)")
NORM = re.compile(r"(^|[._])(\w*norm\w*|(pre|post|in|patch)?_?ln\d?(_pre|_post)?)([._]|$)")
EMBEDDING = re.compile(
    r"^(token|position|token_type|per_layer_token|[a-z]\.position)_embd|token_types"
)
WINDOW = re.compile(r"conv|patch_embd")
ATTENTION = re.compile(r"(^|[._])(\w*attn\w*)([._]|$)")
FUSED: Final = "attn_qkv.weight"
BUFFERS = re.compile(r"(^|\.)(rope_freqs|rope_factors_\w+)(\.|$)")
OPTIMIZER: Final = "optimizer."
"""Name prefix of the training state in models that llama.cpp itself trained."""

SIDES: Final = {"v": 1, "a": 1, "enc": 1, "": 2, "dec": 3}
"""Order of the parts of multi-part models: vision, audio, encoder, text, decoder."""

INNER: Final = (
    "attn_norm", "attn_qkv", "attn_q", "attn_k", "attn_v", "attn_out", "attn", "cross",
    "post_attention", "ssm", "time_mix", "ln", "ffn_norm", "ffn_gate_inp", "ffn_gate", "ffn_up",
    "ffn", "channel_mix",
)  # fmt: skip
"""Name prefixes within a block, in network order."""


def are_of_llama(names: Iterable[str]) -> bool:
    """Tell whether tensors have llama.cpp's names; other programs may use any names."""
    return any(BLOCK.match(name) or EMBEDDING.search(name) for name in names)


def hints_of(name: str, shape: Sequence[int]) -> Hints:
    """Return the hints for a tensor from its name and shape."""
    rank = len(shape)
    layer = module_of(name)
    if BUFFERS.search(name):
        return Hints(layer, Kind.OTHER, Role.BUFFER)
    if NORM.search(name) and rank < 2:
        return Hints(layer, Kind.NORM, Role.NORM)
    if name.endswith(".bias") or rank < 2:
        return Hints(layer, _kind(name, rank), Role.BIAS if name.endswith(".bias") else None)
    kind = _kind(name, rank)
    if kind is Kind.EMBEDDING:
        return Hints(layer, kind, Role.EMBEDDING, (Axis.OUTPUT, Axis.INPUT) if rank == 2 else None)
    if kind is Kind.CONV:
        return Hints(layer, kind, Role.WEIGHT, _window(rank))
    sections = ("q", "k", "v") if name.endswith(FUSED) and shape[0] == 3 * shape[1] else None
    axes = (*(Axis.OTHER,) * (rank - 2), Axis.OUTPUT, Axis.INPUT)
    return Hints(layer, kind, Role.WEIGHT, axes, sections)


def _kind(name: str, rank: int) -> Kind:
    if EMBEDDING.search(name):
        return Kind.EMBEDDING
    if WINDOW.search(name) and rank > 2:
        return Kind.CONV
    if NORM.search(name) and rank < 2:
        return Kind.NORM
    if ATTENTION.search(name):
        return Kind.ATTENTION
    return Kind.LINEAR if rank > 1 or name.endswith(".bias") else Kind.OTHER


def _window(rank: int) -> tuple[Axis, ...]:
    return (Axis.OUTPUT, Axis.INPUT, *(Axis.KERNEL,) * (rank - 2))


def place_of(name: str, index: int) -> tuple[int, int, int, int, int, int]:
    """Return a sort key that gives network order.

    Args:
        name: Its name.
        index: Its position in the file.
    """
    is_bias = int(not name.endswith(".weight"))
    block = BLOCK.match(name)
    if block:
        side = SIDES.get(block["side"] or "", 2)
        rest = block["rest"]
        found = [rank for rank, start in enumerate(INNER) if rest.startswith(start)]
        rank = min(found, default=len(INNER))
        return (
            side,
            1,
            min(int(block["number"][:9]), 10**9),
            rank,
            is_bias if rank < 6 else 0,
            index,
        )
    side_name, dot, rest = name.partition(".")
    side = SIDES.get(side_name, 2) if dot and side_name in SIDES else 2
    rest = rest if dot and side_name in SIDES else name
    if EMBEDDING.search(name) and side == 2:
        return 0, 0, 0, 0, 0, index
    if rest.startswith(("output", "cls", "post_ln", "final")):
        last = 4 if side == 2 else side
        return last, 2, int("norm" not in rest), 0, is_bias, index
    return side, 0, 0, 0, 0, index

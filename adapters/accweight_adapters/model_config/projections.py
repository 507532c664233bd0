"""Which projections share a matrix, and which heads they have, by the names of layers.

Every architecture has its own way to store queries, keys and values in one matrix: one after the
other (GPT-2, MPT, ModernBERT, Phi-3), or interleaved head by head (GPT-NeoX, BLOOM), or group by
group where several heads of the queries share keys and values (Falcon, InternLM2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from accweight_adapters.model_config.config import Heads, ModelConfig
from accweight_core.schema import Axis, Part, Split

QUERY, KEY, VALUE, OUT, FUSED, GATED = "q", "k", "v", "o", "qkv", "glu"

LAYERS: Final[dict[str, str]] = {
    **dict.fromkeys(
        [
            "q_proj",
            "q_lin",
            "query",
            "query_proj",
            "q",
            "wq",
            "to_q",
            "attn_q",
            "q_attn",
            "q_proj_weight",
        ],
        QUERY,
    ),
    **dict.fromkeys(
        ["k_proj", "k_lin", "key", "key_proj", "k", "wk", "to_k", "attn_k", "k_proj_weight"], KEY
    ),
    **dict.fromkeys(
        ["v_proj", "v_lin", "value", "value_proj", "v", "wv", "to_v", "attn_v", "v_proj_weight"],
        VALUE,
    ),
    **dict.fromkeys(
        [
            "o_proj",
            "out_proj",
            "out_lin",
            "o",
            "wo",
            "Wo",
            "to_out",
            "c_proj",
            "dense",
            "proj",
            "attn_output",
        ],
        OUT,
    ),
    **dict.fromkeys(
        [
            "c_attn",
            "query_key_value",
            "Wqkv",
            "wqkv",
            "qkv_proj",
            "qkv",
            "qkv_linear",
            "in_proj",
            "attn_qkv",
            "in_proj_weight",
            "in_proj_bias",
        ],
        FUSED,
    ),
    **dict.fromkeys(["gate_up_proj", "Wi"], GATED),
}
"""What layers are called, and what they are."""

GATES: Final = {"gate_up_proj": ("gate", "up"), "Wi": ("input", "gate")}

ATTENTION: Final = ("attn", "attention", "selfattention", "encdecattention", "mha")

INPUTS_FIRST: Final = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp"})
"""Models whose layers named `c_...` are stored (inputs, outputs): the library's `Conv1D`."""

CODEGEN_GROUPS: Final = 4
"""Groups of CodeGen's projections, from the four processors of its first training."""

Fused = Callable[[ModelConfig, Heads], Split | None]


def what_is(name: str) -> tuple[str, str] | None:
    """Return what a tensor is, and the last part of its layer's name; None for most.

    >>> what_is("h.0.attn.c_proj.weight"), what_is("h.0.mlp.c_proj.weight")
    (('o', 'c_proj'), None)
    """
    path, _, leaf = name.rpartition(".")
    if leaf in ("weight", "bias"):
        above, _, last = path.rpartition(".")
    else:
        above, last = path, leaf
    kind = LAYERS.get(last)
    if kind is None or (kind is OUT and (leaf == "bias" or not _is_attention(above))):
        return None
    return kind, last


def _is_attention(path: str) -> bool:
    """Tell whether a module is attention, or its output: ``attention.output`` of BERT."""
    above, _, last = path.rpartition(".")
    if last == "output":
        last = above.rpartition(".")[2]
    return last.lower().endswith(ATTENTION)


def split_of(kind: str, last: str, name: str, config: ModelConfig, length: int) -> Split | None:
    """Return the projections and heads of a matrix or a bias; None if they are not known.

    Args:
        kind: What it is, by `what_is`.
        last: Last part of its layer's name.
        name: Name of the tensor.
        config: Configuration of the model.
        length: Outputs of a gated layer, which no entry of a configuration gives reliably.
    """
    if kind is GATED:
        if last == "Wi" and not config.model_type.startswith("modernbert"):
            return None
        first, second = GATES[last]
        parts = (Part(first, length // 2), Part(second, length // 2))
        return None if length % 2 else Split(Axis.OUTPUT, parts, origin=config.origin)
    heads = config.heads_at(name)
    if heads is None:
        return None
    if kind is FUSED:
        return fused_split(last, config, heads)
    number = heads.key_heads if kind in (KEY, VALUE) else heads.heads
    along = Axis.INPUT if kind is OUT else Axis.OUTPUT
    part = Part(kind, number * heads.head_width, number)
    return Split(along, (part,), origin=config.origin)


def fused_split(last: str, config: ModelConfig, heads: Heads) -> Split | None:
    """Return how queries, keys and values share a matrix in a kind of model."""
    model, own = config.model_type, heads.heads
    if last == "in_proj":
        return in_groups(heads, own, config.origin) if model == "deberta" else None
    if last == "wqkv":
        return in_groups(heads, heads.key_heads, config.origin)
    if last == "qkv_proj" and model == "codegen":
        return _of_codegen(heads, config.origin)
    if last == "c_attn" and model == "gpt_bigcode":
        if config.is_on("multi_query", default=True):
            return stacked(heads, 1, config.origin)
        return in_groups(heads, own, config.origin)
    if last == "query_key_value":
        if model in ("gpt_neox", "gpt_neox_japanese", "bloom", "persimmon"):
            return in_groups(heads, own, config.origin)
        if model == "falcon":
            return _of_falcon(config, heads)
        if not model.startswith(("chatglm", "glm")):
            return None  # stacked in some models, interleaved in others
    return stacked(heads, heads.key_heads, config.origin)


def _of_falcon(config: ModelConfig, heads: Heads) -> Split | None:
    if config.is_on("new_decoder_architecture"):
        return in_groups(heads, heads.key_heads, config.origin)
    if config.is_on("multi_query", default=True):
        return stacked(heads, 1, config.origin)
    return in_groups(heads, heads.heads, config.origin)


def _of_codegen(heads: Heads, origin: str) -> Split | None:
    number, rest = divmod(heads.heads, CODEGEN_GROUPS)
    parts = tuple(Part(name, number * heads.head_width, number) for name in ("q", "v", "k"))
    return None if rest else Split(Axis.OUTPUT, parts, CODEGEN_GROUPS, origin)


def stacked(heads: Heads, key_heads: int, origin: str) -> Split:
    """Return the split of all queries, then all keys, then all values."""
    numbers = (heads.heads, key_heads, key_heads)
    parts = zip(("q", "k", "v"), numbers, strict=True)
    return Split(
        Axis.OUTPUT,
        tuple(Part(name, number * heads.head_width, number) for name, number in parts),
        origin=origin,
    )


def in_groups(heads: Heads, groups: int, origin: str) -> Split | None:
    """Return the split of groups that have some queries, one key and one value each."""
    number, rest = divmod(heads.heads, groups)
    if rest:
        return None
    parts = [Part("q", number * heads.head_width, number)]
    parts += [Part(name, heads.head_width, 1) for name in ("k", "v")]
    return Split(Axis.OUTPUT, tuple(parts), groups, origin)

"""The order of a network from names alone, for files that keep none.

safetensors files are sorted by name or by size, so neither is the order in which a network
computes. The names tell most of it: embeddings, what prepares the input, blocks by number, the
last norm, the head; an encoder before its decoder; in a block the first norm, attention, the second
norm, the two layers of the MLP. Names that say nothing stay in natural order, `layer2` before
`layer10`, and the tensors of one module always stay together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

Tensor = TypeVar("Tensor")

FIRST: Final = 0
AFTER_ATTENTION: Final = 28
PAIRS_OUTSIDE: Final = 8
PAIRS: Final = 48
UNKNOWN: Final = 50
DECODER: Final = 60
LAST: Final = 80
OUTPUT: Final = 95

DEEPEST, LONGEST = 32, 64
"""Limits of modules within modules, and of the length of a name, for names that are understood."""

RECURRENT = re.compile(r"(?P<what>weight|bias)_(?P<matrix>ih|hh)(?P<of>.*)")
"""PyTorch's names of the parameters of recurrent layers."""

NUMBERED_PAIR = re.compile(r"(conv|bn)(\d+)")
"""`conv1`, `bn1`, `conv2`, ...: a convolution before the batch norm of its number."""


def _table(rows: Iterable[tuple[int, str]]) -> re.Pattern[str]:
    """Return one pattern for all rows; its `lastgroup` tells the place."""
    return re.compile("|".join(f"(?P<_{place}>{names})" for place, names in rows))


OUTSIDE = _table(
    [
        (95, (r"(embed_out|lm_heads?|cls|\w*predictions?|output_projection|proj_out|conv_out"
             r"|score)$")),
        (93, r"vocab_projector$"),
        (92, r"vocab_layer_norm$"),
        (91, r"vocab_transform$"),
        (90, r"(\w*classifier|\w*_?head|heads|fc|qa_outputs|logits?|final_logits_bias|to_logits)$"),
        (76, r"(logit_scale|logit_bias)$"),
        (75, r"(pooler|pooled\w*|pre_logits|\w*_projection)$(?<!feature_projection)"),
        (25, (r"(ln_pre|pre_la?yr?norm|embed(ding)?s?_(layer)?_?norm|layernorm_embedding"
             r"|emb_ln|word_embeddings_layernorm)$")),
        (10, (r"(wte|shared|\w*(tok|token|word)s?_?(embed\w*|embd)|embed_tokens|embed_in|tok_emb"
             r"|emb|embeddings?|(cls|class|dist|mask|register|query)_tokens?|class_embedding"
             r"|\w*patch_embed\w*|patch\w*|backbone_embed)$")),
        (11, r"(wpe|pos_emb\w*|embed_positions|position\w*|pos_embed\w*|absolute_pos_embed)$"),
        (12, (r"(token_type_\w*|type_embed\w*|segment_embed\w*|projection"
             r"|relative_attention_bias)$")),
        (13, r"(\w*embed\w*)$"),
        (15, r"(embeddings_project|embedding_hidden_mapping_in|masked_spec_embed)$"),
        (20, r"(feature_extractor|stem|conv_stem|conv_in|conv_first)$"),
        (21, r"feature_projection$"),
        (40, r"(encoder|text_model|text_encoder)$"),
        (45, r"(vision_model|vision_tower|visual|image_encoder|audio_tower)$"),
        (48, r"(quantizer|bottleneck|multi_modal_projector|connector)$"),
        (60, r"(decoder|language_model)$"),
        (70, (r"(ln_f|ln_post|ln_out|final_\w*norm|norm_f|norm_out|post_layernorm|layernorm"
             r"|fc_norm|conv_norm_out|LayerNorm|layer_norm|norm|output_norm|last_norm)$")),
    ]
)  # fmt: skip
"""Places of modules outside of numbered blocks."""

INSIDE = _table(
    [
        (10, (r"(ln_?1|norm_?1|layer_?norm1|input_layernorm|layernorm_before|pre_norm"
             r"|attention_norm|attn_norm|ln_attn|pre_attention_layernorm|pre_attn_norm"
             r"|temporal_pre_norm)$")),
        (11, r"(ln_mlp)$"),
        (20, (r"(self_attn|attn|self_attention|SelfAttention|attention|mixer|self|mamba|linear_attn"
             r"|c_attn|(q|query)(_proj|_lin)?|w?qkv(_proj)?|W?qkv|query_key_value|in_proj\w*|wq"
             r"|q_proj_weight|to_q|attn_q)$")),
        (21, r"((k|key)(_proj|_lin)?|wk|to_k|k_proj_weight)$"),
        (22, r"((v|value)(_proj|_lin)?|wv|to_v|v_proj_weight)$"),
        (23, r"(q_norm|query_norm|q_layernorm)$"),
        (24, r"(k_norm|key_norm|k_layernorm)$"),
        (25, r"(relative_attention_bias|rel_\w+|position_bias)$"),
        (26, r"(o|o_proj|out_proj|out_lin|to_out)$"),
        (28, (r"(self_attn_layer_norm|sa_layer_norm|attn_ln|post_attention_layernorm"
             r"|post_attn_norm)$")),
        (29, r"(ln_cross_attn|norm_cross)$"),
        (30, (r"(crossattention|cross_attn|encoder_attn|EncDecAttention|multihead_attn"
             r"|cross_attention)$")),
        (31, r"(encoder_attn_layer_norm|cross_attn_layer_norm)$"),
        (35, (r"(ln_?2|norm_?2|layer_?norm2|ffn_norm|mlp_norm|layernorm_after|post_norm"
             r"|pre_feedforward_layernorm|pre_ff_layernorm)$")),
        (38, r"(gate|router)$"),
        (39, r"(gate_proj|w1|wi_0)$"),
        (40, (r"(mlp|ffn|ff|feed_forward|intermediate|fc1|fc_in|linear1|lin1|c_fc|up_proj|w3|wi|Wi"
             r"|wi_1|gate_up_proj|dense_h_to_4h|block_sparse_moe|moe|experts|DenseReluDense"
             r"|intermediate_dense)$")),
        (45, (r"(output|dense|proj|c_proj|fc2|fc_out|linear2|lin2|down_proj|w2|[wW]o|ffn_output"
             r"|dense_4h_to_h|output_dense|shared_expert\w*)$")),
        (80, (r"(final_layer_norm|output_layer_norm|full_layer_layer_norm"
             r"|post_feedforward_layernorm|norm_?3|ln_?3|post_ff_layernorm|post_mlp_norm)$")),
    ]
)  # fmt: skip
"""Places of modules within a numbered block."""

NORM = re.compile(r"(layer_?norm|norm|ln)$", re.IGNORECASE)
"""Norms that are first or last by what they lie in."""

LEAVES: Final = {"weight": 0, "bias": 1}


def in_network_order(tensors: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Return tensors in the order in which the network uses them, as far as names tell.

    The tensors of one module stay together, and its weight comes before its bias.
    """
    return tuple(tensors[name] for name in _ordered(tuple(tensors)))


@lru_cache(maxsize=8)
def _ordered(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names in order; cached, as the checkpoints of a run share their names."""
    keys = {name: _key(name) for name in names}
    return tuple(sorted(names, key=keys.__getitem__))


Place = tuple[int, Sequence[str | int]]
"""Place of a module among those beside it, then its name."""


def _key(name: str) -> tuple[tuple[Place, ...], int, Sequence[str | int], str]:
    path, _, leaf = name.rpartition(".")
    rank = LEAVES.get(leaf)
    if rank is not None:
        return _module(path), rank, (), name
    if gates := RECURRENT.fullmatch(leaf):  # matrices before biases, inputs first
        order = f"{gates['of']} {gates['what'] == 'bias':d} {gates['matrix'] == 'hh':d}"
        return _module(path), 2, natural(order), name
    place = _place(leaf, _surroundings(path))
    if place[0] == UNKNOWN:
        return _module(path), 3, natural(leaf), name
    return (*_around(path), place), 3, (), name  # `cls_token` is no module


@lru_cache(maxsize=1 << 14)
def _module(path: str) -> tuple[Place, ...]:
    """Return the places of a module with tensors of its own, and of all around it."""
    if path.rpartition(".")[2] == "decoder":  # a layer called so is the last of its head
        return (*_around(path)[:-1], (OUTPUT, ("decoder",)))
    return _around(path)


@lru_cache(maxsize=1 << 14)
def _around(path: str) -> tuple[Place, ...]:
    """Return the places of a module and of all around it."""
    if not path:
        return ()
    if path.count(".") > DEEPEST:  # no network is so deep
        return tuple((UNKNOWN, natural(part)) for part in path.split("."))
    above, _, segment = path.rpartition(".")
    return (*_around(above), _place(segment, _surroundings(above)))


class _Surroundings(NamedTuple):
    """What is known of the modules around one.

    Attributes:
        numbers: How many of them are numbers.
        directly: Whether the nearest one is a number.
        conv: Whether one is named after convolutions.
        projects: Whether the nearest one projects features.
    """

    numbers: int
    directly: bool
    conv: bool
    projects: bool


@lru_cache(maxsize=1 << 14)
def _surroundings(path: str) -> _Surroundings:
    parts = path.split(".")
    numbers = [part.isdecimal() for part in parts]
    conv, projects = "conv" in path, parts[-1] == "feature_projection"
    return _Surroundings(sum(numbers), numbers[-1], conv, projects)


@lru_cache(maxsize=1 << 12)
def _place(segment: str, around: _Surroundings) -> Place:
    """Return the place of a module among those beside it, by its name and what it lies in."""
    pair = NUMBERED_PAIR.fullmatch(segment) if len(segment) <= LONGEST else None
    if pair:
        place = PAIRS if around.numbers else PAIRS_OUTSIDE
        return place, ("", int(pair[2]), str(pair[1] == "bn"))
    return _rank(segment, around), natural(segment)


def _rank(segment: str, around: _Surroundings) -> int:
    if len(segment) > LONGEST:
        return UNKNOWN
    is_norm = NORM.match(segment)
    if is_norm and around.projects:
        return FIRST
    if found := (INSIDE if around.numbers else OUTSIDE).match(segment):
        return int(str(found.lastgroup)[1:])
    if not is_norm or not around.numbers:
        return UNKNOWN
    if around.directly and (around.numbers > 1 or segment == "norm"):  # before all else
        return FIRST
    return AFTER_ATTENTION if around.directly and not around.conv else LAST


def natural(text: str) -> list[str | int]:
    """Split into alternating strings and numbers, so that equal positions are comparable."""
    parts = re.split(r"([0-9]+)", text)
    return [int(part[:LONGEST]) if index % 2 else part for index, part in enumerate(parts)]

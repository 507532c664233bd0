"""Attention, rotary position embeddings, and linear attention."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from accweight_adapters.execution.element_types import torch_type
from accweight_adapters.execution.operators.table import Call, Node, operator

RAW, CAPPED, BIASED, PROBABILITIES = range(4)
"""What the optional fourth output of Attention is."""


@operator("Attention", newest=25)
def _attention(node: Node) -> Call:
    query_heads, key_heads = node.get("q_num_heads"), node.get("kv_num_heads")
    fixed_scale, cap = node.get("scale"), node.get("softcap", 0.0)
    precision = node.get("softmax_precision")
    shown = node.only("qk_matmul_output_mode", RAW, CAPPED, BIASED, PROBABILITIES, default=RAW)
    causal = bool(node.get("is_causal", 0))
    window = node.get("left_window_size", -1), node.get("right_window_size", -1)

    def attended(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        past_key: Tensor | None = None,
        past_value: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Any:
        flat = query.dim() == 3
        if flat:
            query = _heads(query, query_heads)
            key, value = _heads(key, key_heads), _heads(value, key_heads)
        if past_key is not None and past_value is not None:
            key, value = torch.cat((past_key, key), 2), torch.cat((past_value, value), 2)
        offset = _offset(query, past_key, lengths)
        bias = _bias(query, key, mask, lengths, offset if causal else None, window, offset)
        groups = query.shape[1] // key.shape[1]
        keys, values = (v.repeat_interleave(groups, 1) if groups > 1 else v for v in (key, value))
        scale = math.sqrt(1 / math.sqrt(query.shape[-1]) if fixed_scale is None else fixed_scale)
        raw = (query * scale) @ (keys * scale).transpose(-1, -2)
        capped = cap * torch.tanh(raw / cap) if cap else raw
        scores = capped if bias is None else capped + bias
        wide = scores if precision is None else scores.to(torch_type(precision))
        shares = torch.softmax(wide, -1)
        if bias is not None:  # rows that may see nothing see nothing, and not NaN
            shares = torch.where(bias.amax(-1, keepdim=True) == -math.inf, 0, shares)
        shares = shares.to(query.dtype)
        made = shares @ values
        if flat:
            made = made.transpose(1, 2).flatten(2)
        states = {RAW: raw, CAPPED: capped, BIASED: scores, PROBABILITIES: shares}
        return made, key, value, states[shown]

    return attended


def _heads(x: Tensor, count: int) -> Tensor:
    """Return (samples, heads, length, size) of (samples, length, heads * size)."""
    return x.reshape(*x.shape[:2], count, -1).transpose(1, 2)


def _offset(query: Tensor, past: Tensor | None, lengths: Tensor | None) -> Tensor | int:
    """Return how many keys lie before the first query: one number, or one per sample."""
    if past is not None:
        return past.shape[2]
    if lengths is not None:
        return (lengths.reshape(-1, 1, 1, 1) - query.shape[2]).to(torch.int64)
    return 0


def _bias(
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    lengths: Tensor | None,
    causal: Tensor | int | None,
    window: tuple[int, int],
    offset: Tensor | int,
) -> Tensor | None:
    """Return what is added to the scores: the mask, and minus infinity for what is not seen."""
    queries = torch.arange(query.shape[2], device=query.device)[:, None]
    keys = torch.arange(key.shape[2], device=query.device)
    seen: Tensor | None = None

    def also(allowed: Tensor) -> Tensor:
        return allowed if seen is None else seen & allowed

    if causal is not None:
        seen = also(keys <= queries + causal)
    if window[0] >= 0:
        seen = also(queries + offset - keys <= window[0])
    if window[1] >= 0:
        seen = also(keys - queries - offset <= window[1])
    if lengths is not None:
        seen = also(keys < lengths.reshape(-1, 1, 1, 1))
    added: Tensor | None = None
    if mask is not None:
        missing = key.shape[2] - mask.shape[-1]
        if mask.dtype == torch.bool:
            seen = also(F.pad(mask.to(torch.uint8), (0, missing)).bool())
        else:
            added = F.pad(mask, (0, missing), value=-math.inf)
    if seen is None:
        return added
    hidden = torch.where(seen, 0.0, -math.inf).to(query.dtype)
    return hidden if added is None else added + hidden


@operator("RotaryEmbedding", newest=23)
def _rotary(node: Node) -> Call:
    heads, interleaved = node.get("num_heads", 0), bool(node.get("interleaved", 0))
    partial = node.get("rotary_embedding_dim", 0)

    def rotated(x: Tensor, cosine: Tensor, sine: Tensor, places: Tensor | None = None) -> Tensor:
        parts = _heads(x, heads) if x.dim() == 3 else x
        size = partial or parts.shape[-1]
        if places is not None:
            cosine, sine = cosine[places.long()], sine[places.long()]
        cosine, sine = cosine.unsqueeze(1), sine.unsqueeze(1)
        turned, rest = parts[..., :size], parts[..., size:]
        if interleaved:
            first, second = turned[..., 0::2], turned[..., 1::2]
        else:
            first, second = turned.chunk(2, -1)
        real, imaginary = cosine * first - sine * second, sine * first + cosine * second
        if interleaved:
            made = torch.stack((real, imaginary), -1).flatten(-2)
        else:
            made = torch.cat((real, imaginary), -1)
        whole = torch.cat((made, rest), -1)
        return whole.transpose(1, 2).flatten(2) if x.dim() == 3 else whole

    return rotated


@operator("LinearAttention", newest=27)
def _linear_attention(node: Node) -> Call:
    heads, key_heads = node.needed("q_num_heads"), node.needed("kv_num_heads")
    rule = node.only(
        "update_rule", "linear", "gated", "delta", "gated_delta", default="gated_delta"
    )
    fixed_scale = node.get("scale", 0.0)
    gated, corrected = "gated" in rule, "delta" in rule

    def attended(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        past: Tensor | None = None,
        decay: Tensor | None = None,
        rate: Tensor | None = None,
    ) -> Any:
        q, k, v = _heads(query, heads), _heads(key, key_heads), _heads(value, key_heads)
        scale = fixed_scale or 1 / math.sqrt(q.shape[-1])
        state = q.new_zeros(*k.shape[:2], k.shape[-1], v.shape[-1]) if past is None else past
        keep = _heads(decay, key_heads).exp() if gated and decay is not None else None
        rates = _heads(rate, rate.shape[-1]) if corrected and rate is not None else None
        made = []
        for time in range(q.shape[2]):
            if keep is not None:
                state = state * keep[:, :, time, :, None]
            now, fresh = k[:, :, time, :, None], v[:, :, time, None, :]
            if corrected:
                fresh = fresh - now.transpose(-1, -2) @ state
            if rates is not None:
                fresh = fresh * rates[:, :, time, :, None]
            state = state + now * fresh
            each = state.repeat_interleave(heads // key_heads, 1)
            made.append(scale * (q[:, :, time, None, :] @ each).squeeze(2))
        stacked = torch.stack(made, 1) if made else q.new_zeros(q.shape[0], 0, heads, v.shape[-1])
        return stacked.flatten(2).to(query.dtype), state

    return attended

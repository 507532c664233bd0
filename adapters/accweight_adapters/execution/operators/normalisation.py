"""Normalisations, in inference mode."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from accweight_adapters.execution.element_types import torch_type
from accweight_adapters.execution.operators.table import Call, Node, axis_in, operator


@operator("BatchNormalization", newest=15)
def _batch_norm(node: Node) -> Call:
    epsilon = node.get("epsilon", 1e-5)
    if node.get("training_mode", 0) or any(node.outputs[1:]):
        raise node.refused("uses or gives statistics of the batch; export it for inference")
    if node.get("spatial", 1) == 0:
        raise node.refused(
            "normalises each position by itself (spatial=0), which is not known here"
        )

    def normalised(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        if x.dtype == scale.dtype == mean.dtype and x.dim() > 1:
            return F.batch_norm(x, mean, var, scale, bias, False, 0.0, epsilon)
        shape = (-1, *(1,) * (x.dim() - 2)) if x.dim() > 1 else (-1,)
        mean, var, scale, bias = (v.reshape(shape) for v in (mean, var, scale, bias))
        made: Tensor = (x - mean) * torch.rsqrt(var + epsilon) * scale + bias
        return made.to(x.dtype)

    return normalised


@operator("InstanceNormalization", newest=22)
def _instance_norm(node: Node) -> Call:
    epsilon = node.get("epsilon", 1e-5)

    def normalised(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        axes = tuple(range(2, x.dim()))
        var, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        shape = (-1, *(1,) * len(axes))
        return (x - mean) * torch.rsqrt(var + epsilon) * scale.reshape(shape) + bias.reshape(shape)

    return normalised


@operator("GroupNormalization", newest=21)
def _group_norm(node: Node) -> Call:
    epsilon, groups = node.get("epsilon", 1e-5), node.needed("num_groups")

    def normalised(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if scale.numel() == x.shape[1]:
            return F.group_norm(x, groups, scale, bias, epsilon)
        # before opset 21, scale and bias are per group
        each = x.shape[1] // groups
        made = F.group_norm(x, groups, None, None, epsilon)
        shape = (-1, *(1,) * (x.dim() - 2))
        scale, bias = (v.repeat_interleave(each).reshape(shape) for v in (scale, bias))
        return made * scale + bias

    return normalised


@operator("LayerNormalization", newest=17)
def _layer_norm(node: Node) -> Call:
    first, epsilon = node.get("axis", -1), node.get("epsilon", 1e-5)
    dtype = torch_type(node.get("stash_type", 1))

    def normalised(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Any:
        shape = x.shape[axis_in(first, x.dim()) :]
        if len(node.outputs) == 1 and scale.shape == shape and x.dtype == scale.dtype:
            return F.layer_norm(x, shape, scale, bias, epsilon)
        wide = x.to(dtype) if x.dtype != torch.float64 else x
        axes = tuple(range(x.dim() - len(shape), x.dim()))
        var, mean = torch.var_mean(wide, axes, correction=0, keepdim=True)
        inverse = torch.rsqrt(var + epsilon)
        made = ((wide - mean) * inverse).to(x.dtype) * scale
        made = made if bias is None else made + bias
        return (made, mean, inverse) if len(node.outputs) > 1 else made

    return normalised


@operator("RMSNormalization", newest=23)
def _rms_norm(node: Node) -> Call:
    first, epsilon = node.get("axis", -1), node.get("epsilon", 1e-5)
    dtype = torch_type(node.get("stash_type", 1))

    def normalised(x: Tensor, scale: Tensor) -> Tensor:
        wide = x.to(dtype) if x.dtype != torch.float64 else x
        axes = tuple(range(axis_in(first, x.dim()), x.dim()))
        power = wide.square().mean(axes, keepdim=True)
        made: Tensor = (wide * torch.rsqrt(power + epsilon)).to(scale.dtype) * scale
        return made

    return normalised


@operator("LRN", newest=13)
def _local_response(node: Node) -> Call:
    size, alpha = node.needed("size"), node.get("alpha", 1e-4)
    beta, bias = node.get("beta", 0.75), node.get("bias", 1.0)

    def normalised(x: Tensor) -> Any:
        before, after = (size - 1) // 2, math.ceil((size - 1) / 2)
        flat = x.square().reshape(x.shape[0], x.shape[1], -1)
        sums = F.pad(flat, (0, 0, before, after)).unfold(1, size, 1).sum(-1)
        return x / (bias + alpha / size * sums.reshape(x.shape)) ** beta

    return normalised


@operator("LpNormalization", newest=22)
def _lp_norm(node: Node) -> Call:
    axis, power = node.get("axis", -1), node.get("p", 2)

    def normalised(x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, power, axis, keepdim=True)
        return torch.where(length == 0, 0, x / length)

    return normalised


@operator("MeanVarianceNormalization", newest=13)
def _mean_variance(node: Node) -> Call:
    axes = tuple(node.get("axes") or (0, 2, 3))

    def normalised(x: Tensor) -> Tensor:
        mean = x.mean(axes, keepdim=True)
        deviation = (x.square().mean(axes, keepdim=True) - mean.square()).sqrt()
        return (x - mean) / (deviation + 1e-9)

    return normalised

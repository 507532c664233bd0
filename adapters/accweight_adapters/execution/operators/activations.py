"""Activation functions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from accweight_adapters.execution.operators.table import Call, Node, operator, plain

plain(13, {"Sigmoid": torch.sigmoid})
plain(22, {"Mish": F.mish, "HardSwish": F.hardswish, "Softsign": F.softsign})


@operator("Relu", newest=14)
def _relu(node: Node) -> Call:
    return torch.relu


@operator("Softplus", newest=22)
def _softplus(node: Node) -> Call:
    return lambda x: torch.logaddexp(x, torch.zeros_like(x))


@operator("LeakyRelu", newest=16)
def _leaky_relu(node: Node) -> Call:
    alpha = node.get("alpha", 0.01)
    return lambda x: F.leaky_relu(x, alpha)


@operator("PRelu", newest=16)
def _prelu(node: Node) -> Call:
    return lambda x, slope: torch.where(x < 0, x * slope, x)


@operator("Elu", newest=22)
def _elu(node: Node) -> Call:
    alpha = node.get("alpha", 1.0)
    return lambda x: F.elu(x, alpha)


@operator("Selu", newest=22)
def _selu(node: Node) -> Call:
    alpha = node.get("alpha", 1.67326319217681884765625)
    gamma = node.get("gamma", 1.05070102214813232421875)
    return lambda x: gamma * F.elu(x, alpha)


@operator("Celu", newest=28)
def _celu(node: Node) -> Call:
    alpha = node.get("alpha", 1.0)
    return lambda x: F.celu(x, alpha)


@operator("Gelu", newest=20)
def _gelu(node: Node) -> Call:
    approximate = node.only("approximate", "none", "tanh", default="none")
    return lambda x: F.gelu(x, approximate=approximate)


@operator("Swish", newest=24)
def _swish(node: Node) -> Call:
    alpha = node.get("alpha", 1.0)
    return lambda x: x * torch.sigmoid(alpha * x)


@operator("SwiGLU", newest=28)
def _swiglu(node: Node) -> Call:
    alpha = node.get("alpha", 1.0)
    return lambda gate, value: gate * torch.sigmoid(alpha * gate) * value


@operator("HardSigmoid", newest=22)
def _hard_sigmoid(node: Node) -> Call:
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    return lambda x: torch.clamp(alpha * x + beta, 0, 1)


@operator("ThresholdedRelu", newest=22)
def _thresholded_relu(node: Node) -> Call:
    alpha = node.get("alpha", 1.0)
    return lambda x: torch.where(x > alpha, x, 0)


@operator("Shrink", newest=9)
def _shrink(node: Node) -> Call:
    bound, bias = node.get("lambd", 0.5), node.get("bias", 0.0)
    return lambda x: torch.where(x < -bound, x + bias, torch.where(x > bound, x - bias, 0))


# ---------------------------------------------------------------- over an axis


def _over_axis(node: Node, function: Call) -> Call:
    """Return a function over an axis; before opset 13, over all axes from there."""
    if node.opset >= 13:
        axis = node.get("axis", -1)
        return lambda x: function(x, axis)
    first = node.get("axis", 1)

    def flattened(x: Tensor) -> Tensor:
        start = first % x.dim() if x.dim() else 0
        made: Tensor = function(x.reshape(math.prod(x.shape[:start]), -1), -1)
        return made.reshape(x.shape)

    return flattened


def _hardmax_of(x: Tensor, axis: int) -> Tensor:
    chosen = x.argmax(axis, keepdim=True)
    return torch.zeros_like(x).scatter(axis, chosen, 1)


@operator("Softmax", newest=13)
def _softmax(node: Node) -> Call:
    return _over_axis(node, torch.softmax)


@operator("LogSoftmax", newest=13)
def _log_softmax(node: Node) -> Call:
    return _over_axis(node, torch.log_softmax)


@operator("Hardmax", newest=13)
def _hardmax(node: Node) -> Call:
    return _over_axis(node, _hardmax_of)

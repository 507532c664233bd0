"""Operators of ONNX by operations of torch, in families; `table.OPERATORS` has them by name."""

from accweight_adapters.execution.operators import (
    activations,
    control,
    convolution,
    elementwise,
    indexing,
    linear,
    normalisation,
    pooling,
    recurrent,
    reductions,
    resizing,
    shapes,
)
from accweight_adapters.execution.operators.table import OPERATORS

__all__ = [
    "OPERATORS",
    "activations",
    "control",
    "convolution",
    "elementwise",
    "indexing",
    "linear",
    "normalisation",
    "pooling",
    "recurrent",
    "reductions",
    "resizing",
    "shapes",
]

"""Products of matrices."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from accweight_adapters.execution.element_types import UNSIGNED
from accweight_adapters.execution.operators.elementwise import signed
from accweight_adapters.execution.operators.table import Call, Node, operator


def product(x: Tensor, y: Tensor) -> Tensor:
    """Return a matrix product, as numpy.matmul has it."""
    if x.dtype in UNSIGNED:
        return _multiplied(torch.matmul, signed(x), signed(y)).to(x.dtype)
    return _multiplied(torch.matmul, x, y)


def _multiplied(function: Call, *values: Tensor) -> Tensor:
    """Return a product of tensors; that of integers on the CPU, as CUDA has none."""
    first = values[0]
    if first.device.type == "cpu" or first.is_floating_point() or first.is_complex():
        return function(*values)  # type: ignore[no-any-return]
    made: Tensor = function(*(value.cpu() for value in values))
    return made.to(first.device)


@operator("MatMul", newest=13)
def _matmul(node: Node) -> Call:
    return product


@operator("Gemm", newest=13)
def _gemm(node: Node) -> Call:
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    left, right = node.get("transA", 0), node.get("transB", 0)

    def linear(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        if c is None or c.dim() == 1:
            return _multiplied(F.linear, a, b, *([] if c is None else [c]))
        return _multiplied(F.linear, a, b) + c

    def general(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        made = product(a.T if left else a, b.T if right else b)
        made = made if alpha == 1 else (made * alpha).to(made.dtype)
        if c is None:
            return made
        return made + (c if beta == 1 else (c * beta).to(c.dtype))

    return linear if right and not left and alpha == beta == 1 else general


@operator("Einsum", newest=28)
def _einsum(node: Node) -> Call:
    equation = node.needed("equation").replace(" ", "")
    return lambda *values: _multiplied(functools.partial(torch.einsum, equation), *values)

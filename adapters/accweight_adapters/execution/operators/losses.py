"""Losses that a graph computes itself."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from accweight_adapters.execution.operators.table import Call, Node, operator


def _likelihood(node: Node) -> Call:
    """Return the negative log likelihood: of log probabilities, classes, and class weights."""
    reduction = node.only("reduction", "none", "mean", "sum", default="mean")
    ignored = node.get("ignore_index")

    def loss(scores: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        classes = target.to(torch.int64)
        counted = torch.ones_like(classes, dtype=torch.bool)
        if ignored is not None:
            counted = classes != ignored
            classes = torch.where(counted, classes, 0)
        own = scores.gather(1, classes.unsqueeze(1)).squeeze(1)
        share = torch.ones_like(own) if weight is None else weight[classes]
        share = share * counted
        each = -own * share
        if reduction == "none":
            return each
        return each.sum() / share.sum() if reduction == "mean" else each.sum()

    return loss


@operator("NegativeLogLikelihoodLoss", newest=22)
def _negative_log_likelihood(node: Node) -> Call:
    return _likelihood(node)


@operator("SoftmaxCrossEntropyLoss", newest=13)
def _cross_entropy(node: Node) -> Call:
    likelihood = _likelihood(node)

    def loss(scores: Tensor, target: Tensor, weight: Tensor | None = None) -> Any:
        logarithms = F.log_softmax(scores, 1)
        return likelihood(logarithms, target, weight), logarithms

    return loss

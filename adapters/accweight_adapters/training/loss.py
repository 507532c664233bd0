"""Losses as operators after a model's output, and accuracy.

They are written here because the runtime's own binary cross-entropy takes the logarithm of a
sigmoid that may already be 0 or 1.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, TensorProto, helper

LOSS: Final = "accweight.loss"
TARGET: Final = "accweight.target"
SCORES: Final = "accweight.scores"
"""Names in the training graph that cannot clash with a model's names."""

Array = npt.NDArray[Any]


class Loss(StrEnum):
    """Loss function."""

    cross_entropy = "cross_entropy"
    mse = "mse"
    bce_with_logits = "bce_with_logits"
    l1 = "l1"

    @property
    def takes_labels(self) -> bool:
        """Whether targets are class numbers."""
        return self is Loss.cross_entropy

    @property
    def knows_right(self) -> bool:
        """Whether an output is right or wrong, so that accuracy is defined."""
        return self in (Loss.cross_entropy, Loss.bce_with_logits)


_STEPS: Final[dict[Loss, tuple[tuple[str, str, str], ...]]] = {
    Loss.mse: (("Sub", "s t", "d"), ("Mul", "d d", "each")),
    Loss.l1: (("Sub", "s t", "d"), ("Abs", "d", "each")),
    Loss.bce_with_logits: (
        ("Relu", "s", "above"),
        ("Mul", "s t", "wanted"),
        ("Sub", "above wanted", "straight"),
        ("Abs", "s", "size"),
        ("Neg", "size", "minus"),
        ("Exp", "minus", "small"),
        ("Add", "small one", "more"),
        ("Log", "more", "bent"),
        ("Add", "straight bent", "each"),
    ),
}
"""Losses per element, from scores `s` and targets `t`; their mean follows.

The one for logits is max(s, 0) - s t + log(1 + exp(-|s|)), which does not overflow.
"""


def with_loss(
    model: ModelProto, loss: Loss, target_shape: tuple[str | int, ...], *, classes_last: bool
) -> None:
    """Add the loss: the target becomes the last input, the outputs are loss and scores.

    Args:
        model: The model; its only output becomes the scores.
        loss: The loss function.
        target_shape: Shape of the targets, with names for dynamic lengths.
        classes_last: Whether classes are along the last axis of scores, not the second.
    """
    graph = model.graph
    output = graph.output[0].name
    kind = TensorProto.INT64 if loss.takes_labels else TensorProto.FLOAT
    graph.input.append(helper.make_tensor_value_info(TARGET, kind, target_shape))
    if loss.takes_labels:
        scores = output
        if classes_last:
            rank = len(target_shape) + 1
            order = [0, rank - 1, *range(1, rank - 1)]
            scores = f"{SCORES}.turned"
            graph.node.append(_node("Transpose", output, scores, perm=order))
        made = f"{LOSS} {LOSS}.log_prob"
        graph.node.append(
            _node("SoftmaxCrossEntropyLoss", f"{scores} {TARGET}", made, reduction="mean")
        )
    else:
        graph.initializer.append(helper.make_tensor(f"{LOSS}.one", TensorProto.FLOAT, [], [1.0]))
        names = {"s": output, "t": TARGET}
        for kind_of_step, inputs, made in _STEPS[loss]:
            taken = " ".join(names.get(name, f"{LOSS}.{name}") for name in inputs.split())
            graph.node.append(_node(kind_of_step, taken, f"{LOSS}.{made}"))
        graph.node.append(_node("ReduceMean", f"{LOSS}.each", LOSS, keepdims=0))
    graph.output.insert(0, helper.make_tensor_value_info(LOSS, TensorProto.FLOAT, []))


def _node(kind: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    made = outputs.split(" ")
    return helper.make_node(kind, inputs.split(" "), made, name=made[0], **attributes)


def right(loss: Loss, scores: Array, targets: Array, *, classes_last: bool) -> float:
    """Return the accuracy: the share of outputs that are right."""
    if loss.takes_labels:
        return float(np.mean(scores.argmax(axis=-1 if classes_last else 1) == targets))
    return float(np.mean((scores > 0) == (targets > 0.5)))

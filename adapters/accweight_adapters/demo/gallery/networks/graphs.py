"""Write a module of layers in a row as an ONNX graph, without an exporter.

The exporters of torch need further libraries or are about to go; these networks need five
operators. The weights in the graph are those that the module has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

OPSET, IR_VERSION = 17, 8
"""Versions that every runtime of the last years knows."""

GATES: Mapping[str, tuple[int, ...]] = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
"""Order of ONNX: which gate of torch each of its gates is."""


class GraphWriter:
    """Builds a graph layer by layer, from the input to the scores."""

    def __init__(self, module: nn.Module, shape: Sequence[int]) -> None:
        """Begin with an input ``x`` of (any number of samples, *shape)."""
        self._state = {name: value.numpy() for name, value in module.state_dict().items()}
        self._input = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])
        self._nodes: list[Any] = []
        self._tensors: list[Any] = []
        self._last = "x"

    def _add(self, operator: str, *more: str, name: str = "", outputs: int = 1, **how: Any) -> str:
        made = name or f"{operator.lower()}_{len(self._nodes)}"
        several = [made, *(f"{made}_{n}" for n in range(1, outputs))]
        self._nodes.append(helper.make_node(operator, [self._last, *more], several, made, **how))
        self._last = made
        return made

    def _tensor(self, name: str, value: Any) -> str:
        self._tensors.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def _weight(self, name: str) -> str:
        return self._tensor(name, self._state[name])

    def linear(self, layer: str) -> Self:
        """Add a linear layer over the last axis of (samples, features)."""
        self._add("Gemm", self._weight(f"{layer}.weight"), self._weight(f"{layer}.bias"),
                  name=layer, transB=1)  # fmt: skip
        return self

    def linear_at_times(self, layer: str) -> Self:
        """Add a linear layer over the last axis of (samples, times, features)."""
        self._add("MatMul", self._tensor(f"{layer}.weight.T", self._state[f"{layer}.weight"].T))
        self._add("Add", self._weight(f"{layer}.bias"), name=layer)
        return self

    def convolution(self, layer: str, padding: int = 0) -> Self:
        """Add a convolution."""
        self._add("Conv", self._weight(f"{layer}.weight"), self._weight(f"{layer}.bias"),
                  name=layer, pads=[padding] * 4)  # fmt: skip
        return self

    def relu(self) -> Self:
        """Add a ReLU."""
        self._add("Relu")
        return self

    def pooling(self, side: int = 2) -> Self:
        """Add a maximum pooling."""
        self._add("MaxPool", kernel_shape=[side, side], strides=[side, side])
        return self

    def flat(self) -> Self:
        """Make (samples, features) of any number of axes."""
        self._add("Flatten")
        return self

    def recurrent(self, layer: str, operator: str) -> Self:
        """Add an LSTM or GRU of one layer: from (samples, times, features) to states likewise."""
        gates = GATES[operator]
        w, r, *biases = (
            _in_order(self._state[f"{layer}.{part}_l0"], gates)
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        self._add("Transpose", perm=[1, 0, 2])
        parts = {"W": w[None], "R": r[None], "B": np.concatenate(biases)[None]}
        names = [self._tensor(f"{layer}.{part}", value) for part, value in parts.items()]
        how: dict[str, Any] = {"linear_before_reset": 1} if operator == "GRU" else {}
        self._add(operator, *names, hidden_size=r.shape[1], **how)
        self._add("Squeeze", self._tensor(f"{layer}.direction", np.array([1])))
        self._add("Transpose", name=layer, perm=[1, 0, 2])
        return self

    def last_time(self) -> Self:
        """Keep the last of (samples, times, features)."""
        self._add("Gather", self._tensor(f"last_{len(self._nodes)}", np.array(-1)), axis=1)
        return self

    def write(self, path: Path, shape: Sequence[int | str]) -> None:
        """Write the graph; its output has (samples, *shape)."""
        output = helper.make_tensor_value_info(self._last, TensorProto.FLOAT, ["n", *shape])
        graph = helper.make_graph(self._nodes, "net", [self._input], [output], self._tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)  # shapes as well
        onnx.save(model, str(path))


def _in_order(values: Any, gates: Sequence[int]) -> Any:
    """Return the gates of a recurrent layer, along the first axis, in another order."""
    parts = np.split(values, len(gates))
    return np.concatenate([parts[gate] for gate in gates])

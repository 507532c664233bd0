"""A function as a network: ``f(x, weights)`` on torch tensors, neither a module nor a graph.

What goes on inside it is not seen: it can be run and differentiated by its inputs and weights, and
its nodes are what it returns beside its first result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from accweight_adapters.execution.element_types import as_array, as_tensor
from accweight_adapters.execution.program import failure
from accweight_adapters.execution.torch_bound import Function, TorchBound, fitting_weights
from accweight_core.errors import AccweightError, ArgumentTypeError, ArgumentValueError
from accweight_core.probes.network import OUTPUT, Array, Network, Port


class FunctionNetwork(Network):
    """The network that is a function."""

    engine = "function"

    def __init__(
        self,
        function: Callable[..., Any],
        inputs: Sequence[str],
        weights: Mapping[str, Any] | None,
        nodes: Sequence[str],
    ) -> None:
        self.function = function
        self.takes_weights = weights is not None
        self.inputs = tuple(Port(name, None, "") for name in inputs)
        self.outputs: tuple[Port, ...] = (Port(OUTPUT, None, ""),)
        self.layers = tuple(nodes)
        self.own = {name: _tensor(value) for name, value in (weights or {}).items()}
        floats = {n: v for n, v in self.own.items() if v.is_floating_point() or v.is_complex()}
        self.parameters = {name: tuple(value.shape) for name, value in floats.items()}
        tensor = next(iter(self.own.values()), None)
        self.device = tensor.device if tensor is not None else torch.device("cpu")

    @property
    def source(self) -> Mapping[str, Array]:
        """The weights that it was given."""
        return {name: as_array(value) for name, value in self.own.items()}

    @property
    def identity(self) -> str:
        """What tells functions apart whose weights have the same names and shapes: their code."""
        code = getattr(self.function, "__code__", None)
        told = (code.co_code, code.co_names, str(code.co_consts)) if code else repr(self.function)
        return hashlib.sha256(repr(told).encode()).hexdigest()

    def with_weights(self, weights: Mapping[str, Array]) -> FunctionBound:
        """Return the function with these weights, by its own names; see `Network.with_weights`."""
        return FunctionBound(self, {**self.own, **fitting_weights(weights, self.own)})


def _tensor(value: Any) -> Tensor:
    tensor: Tensor = value.detach() if isinstance(value, Tensor) else as_tensor(value)
    return tensor


class FunctionBound(TorchBound):
    """A function with the weights of one checkpoint."""

    network: FunctionNetwork

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of what it returns beside its first result."""
        return self.network.layers

    def evaluated(
        self,
        inputs: Mapping[str, Tensor],
        keep: Sequence[str],
        weights: Mapping[str, Tensor],
        functions: Mapping[str, Sequence[Function]],
        *,
        outputs: bool,
    ) -> dict[str, Tensor]:
        """Return outputs, if asked for, and kept nodes."""
        if functions:
            raise ArgumentValueError(
                f"values inside of a function, such as {next(iter(functions))!r}, can be neither "
                "replaced nor differentiated by; give the network as an nn.Module or an ONNX file"
            )
        given = [inputs[port.name] for port in self.network.inputs]
        more = [dict(weights)] if self.network.takes_weights else []
        try:
            made = self.network.function(*given, *more)
        except AccweightError:
            raise
        except Exception as error:  # whatever it raises
            raise failure(_name(self.network.function), error) from error
        found = self._named(made)
        first = {OUTPUT: found[OUTPUT]} if outputs else {}
        return {**first, **{name: found[name] for name in keep}}

    def _named(self, made: Any) -> dict[str, Tensor]:
        """Return results by name: the first as "output", the nodes after it.

        Raises:
            ArgumentTypeError: If they are no tensors, or not as many as there are nodes.
        """
        several = made if isinstance(made, tuple | list) else (made,)
        right = len(several) == 1 + len(self.nodes)
        if not right or not all(isinstance(value, Tensor) for value in several):
            kinds = ", ".join(type(value).__name__ for value in several)
            listed = ", ".join((OUTPUT, *self.nodes))
            raise ArgumentTypeError(
                f"{_name(self.network.function)} returns {kinds}; expected torch tensors for "
                f"{listed}, in this order"
            )
        return dict(zip((OUTPUT, *self.nodes), several, strict=True))


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)

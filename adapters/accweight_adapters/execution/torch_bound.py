"""What networks on torch have in common: arrays in and out, gradients, patches, checks.

An engine gives `forward`; everything that probes ask of a network follows from it.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from accweight_adapters.execution.arrays import check_weight, checked_inputs
from accweight_adapters.execution.devices import full_precision
from accweight_adapters.execution.element_types import as_array, as_tensor
from accweight_core.errors import ArgumentValueError, UnknownNameError
from accweight_core.probes.network import OUTPUT, Inputs, Port, Proof, Unit
from accweight_core.text import some

Array = npt.NDArray[Any]
Function = Callable[[Any], Any]


class TorchBound(ABC):
    """A bound network on torch; see `accweight_core.probes.network.TorchNetwork`."""

    proof: Proof = "not verified"
    network: Any
    """The network, with its `inputs` and its `device`."""

    def __init__(self, network: Any, tensors: Mapping[str, Tensor]) -> None:
        self.network = network
        self.tensors: Mapping[str, Tensor] = dict(tensors)
        self.functions: dict[str, tuple[Function, ...]] = {}

    @property
    def ports(self) -> tuple[Port, ...]:
        """The inputs."""
        ports: tuple[Port, ...] = self.network.inputs
        return ports

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        device: torch.device = self.network.device
        return device

    # ------------------------------------------------------------ what engines give

    @property
    @abstractmethod
    def nodes(self) -> tuple[str, ...]:
        """Names of nodes; layers first."""

    @abstractmethod
    def evaluated(
        self,
        inputs: Mapping[str, Tensor],
        keep: Sequence[str],
        weights: Mapping[str, Tensor],
        functions: Mapping[str, Sequence[Function]],
        *,
        outputs: bool,
    ) -> dict[str, Tensor]:
        """Return outputs, if asked for, and kept nodes, which are known to exist."""

    # ------------------------------------------------------------ what probes ask

    @cached_property
    def parameters(self) -> Mapping[str, Array]:
        """The weights as bound, by the network's own names."""
        return {name: as_array(value) for name, value in self.tensors.items()}

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        keep: Sequence[str] = (),
        weights: Mapping[str, Tensor] | None = None,
        *,
        outputs: bool = True,
    ) -> dict[str, Tensor]:
        """Return outputs and kept nodes as tensors; see `TorchNetwork.forward`."""
        bound = self.tensors if not weights else {**self.tensors, **weights}
        self._check_nodes(keep)
        return self.evaluated(inputs, keep, bound, self.functions, outputs=outputs)

    def run(self, x: Inputs, keep: Sequence[str] = ()) -> dict[str, Array]:
        """Return what the network makes of samples; see `BoundNetwork.run`."""
        with torch.no_grad(), full_precision(self.device):
            made = self.forward(self._given(x), keep)
        return {name: as_array(value) for name, value in made.items()}

    def gradient(
        self, x: Inputs, of: tuple[str, Unit], wrt: Sequence[str] | None = None
    ) -> Array | dict[str, Array]:
        """Return the gradient of the sum of one unit; see `BoundNetwork.gradient`."""
        node, unit = of
        inputs = self._given(x)
        names = self._wanted(inputs, wrt)
        with torch.enable_grad(), full_precision(self.device):
            inputs = {
                name: value.detach().requires_grad_() if name in names else value
                for name, value in inputs.items()
            }
            weights = {
                name: value.detach().requires_grad_() if name in names else value
                for name, value in self.tensors.items()
            }
            leaves = {n: v for n, v in (*inputs.items(), *weights.items()) if n in names}
            inner = [name for name in names if name not in leaves]
            functions = dict(self.functions)
            for name in inner:
                functions[name] = (*functions.get(name, ()), _tap(name, leaves))
            value = self._node_value(node, inner, inputs, weights, functions)
            total = _unit_of(value, unit, node).sum()
            asked = [leaves[name] for name in names]
            found: Sequence[Tensor | None] = [None] * len(asked)
            if total.requires_grad:
                found = torch.autograd.grad(total, asked, allow_unused=True)
        made = {
            name: as_array(torch.zeros_like(leaf) if gradient is None else gradient)
            for name, leaf, gradient in zip(names, asked, found, strict=True)
        }
        single = wrt is None and not isinstance(x, Mapping)
        return made[names[0]] if single else made

    def patch(self, functions: Mapping[str, Function]) -> Self:
        """Return the network with values replaced; see `BoundNetwork.patch`."""
        self._check_nodes(functions)
        other = copy.copy(self)
        other.functions = dict(self.functions)
        for name, function in functions.items():
            other.functions[name] = (*other.functions.get(name, ()), function)
        return other

    def proven(self, proof: Proof) -> Self:
        """Return the same network with this proof."""
        other = copy.copy(self)
        other.proof = proof
        return other

    # ------------------------------------------------------------ checks

    def _node_value(
        self,
        node: str,
        beside: Sequence[str],
        inputs: Mapping[str, Tensor],
        weights: Mapping[str, Tensor],
        functions: Mapping[str, Sequence[Function]],
    ) -> Tensor:
        """Return the value of a node; those beside it are computed too, wherever they lie."""
        last = node == OUTPUT
        keep = tuple(beside) if last else (node, *beside)
        self._check_nodes(keep)
        return self.evaluated(inputs, keep, weights, functions, outputs=last)[node]

    def _check_nodes(self, names: Sequence[str] | Mapping[str, Any]) -> None:
        known = self._known_nodes
        for name in names:
            if name not in known:
                raise UnknownNameError(
                    f"the network has no node {name!r}; its nodes are {some(self.nodes, 8)}"
                )

    @cached_property
    def _known_nodes(self) -> frozenset[str]:
        return frozenset(self.nodes)

    def _wanted(self, inputs: Mapping[str, Tensor], wrt: Sequence[str] | None) -> list[str]:
        """Return what the gradient is taken with respect to."""
        if wrt is not None:
            others = [n for n in wrt if n not in inputs and n not in self.tensors]
            self._check_nodes(others)
            names = list(wrt)
        else:
            names = [name for name, value in inputs.items() if value.is_floating_point()]
        whole = [n for n in names if n in inputs and not inputs[n].is_floating_point()]
        if whole or not names:
            name = (whole or list(inputs))[0]
            raise ArgumentValueError(
                f"input {name!r} holds integers, which have no gradient; ask for that of the node "
                "of their embedding, with wrt=[...]"
            )
        return names

    def _given(self, x: Inputs) -> dict[str, Tensor]:
        """Return the inputs as tensors, by name.

        Raises:
            UnknownNameError: If a name is wrong, or one is missing.
            ArgumentValueError: If shapes do not fit.
        """
        return {
            name: as_tensor(array).to(self.device)
            for name, array in checked_inputs(self.ports, x).items()
        }


def check_gated(layers: Sequence[str], gated: Sequence[str]) -> None:
    """Raise unless all layers have gates.

    Raises:
        UnknownNameError: If one has none.
    """
    for name in layers:
        if name not in gated:
            raise UnknownNameError(
                f"{name!r} is no LSTM or GRU; layers with gates: {some(gated, 8) or 'none'}"
            )


def fitting_weights(weights: Mapping[str, Any], known: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights as tensors, of the types and on the devices that the network has them in.

    Raises:
        UnknownNameError: If the network has no such parameter.
        ShapeMismatchError: If one has another shape.
    """
    made = {}
    for name, value in weights.items():
        tensor = value.detach() if isinstance(value, Tensor) else as_tensor(value)
        check_weight(name, tuple(tensor.shape), known)
        made[name] = tensor.to(device=known[name].device, dtype=known[name].dtype)
    return made


def _tap(name: str, leaves: dict[str, Tensor]) -> Function:
    """Return a function that makes the value of a node one that gradients can be asked for."""

    def tapped(value: Tensor) -> Tensor:
        leaves[name] = value if value.requires_grad else value.detach().requires_grad_()
        return leaves[name]

    return tapped


def _unit_of(value: Tensor, unit: Unit, node: str) -> Tensor:
    """Return one unit of the value of a node.

    Raises:
        ArgumentValueError: If there is no such unit.
    """
    if unit is None:
        return value
    if isinstance(unit, np.ndarray):
        if unit.shape != tuple(value.shape):
            raise ArgumentValueError(
                f"node {node!r} has values of shape {tuple(value.shape)}; their factors have "
                f"{unit.shape}"
            )
        return value * torch.as_tensor(unit, dtype=value.dtype, device=value.device)
    indices = (unit,) if isinstance(unit, int) else tuple(unit)
    lengths = value.shape[1:]
    inside = len(indices) <= len(lengths) and all(
        -n <= i < n for i, n in zip(indices, lengths, strict=False)
    )
    if not inside or (isinstance(unit, tuple) and len(indices) != len(lengths)):
        raise ArgumentValueError(
            f"node {node!r} has units of shape {tuple(lengths)}, after the samples; there is no "
            f"unit {unit}"
        )
    chosen: Tensor = value[(slice(None), *indices)]  # type: ignore[index]
    return chosen

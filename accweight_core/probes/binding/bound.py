"""A bound network together with what is proven of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from accweight_core.probes.binding.arrays import Array
from accweight_core.probes.network import BoundNetwork, Inputs, Proof, TorchNetwork, Unit

if TYPE_CHECKING:
    from torch import Tensor


class Proved:
    """The network of an engine with the weights of a checkpoint, and the proof of the binding."""

    def __init__(self, network: BoundNetwork, proof: Proof) -> None:
        self._network = network
        self._proof: Proof = proof

    @property
    def proof(self) -> Proof:
        """Whether the weights are known to be in their places."""
        return self._proof

    @property
    def parameters(self) -> Mapping[str, Array]:
        """The weights as bound, by the network's own names."""
        return self._network.parameters

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of its nodes; see `BoundNetwork.nodes`."""
        return self._network.nodes

    def run(self, x: Inputs, keep: Sequence[str] = ()) -> dict[str, Array]:
        """Return outputs and kept nodes; see `BoundNetwork.run`."""
        return self._network.run(x, keep)

    def gradient(
        self, x: Inputs, of: tuple[str, Unit], wrt: Sequence[str] | None = None
    ) -> Array | dict[str, Array]:
        """Return the gradient of a unit; see `BoundNetwork.gradient`."""
        return self._network.gradient(x, of, wrt)

    def patch(self, functions: Mapping[str, Callable[[Any], Any]]) -> Self:
        """Return the network with nodes replaced; see `BoundNetwork.patch`."""
        return type(self)(self._network.patch(functions), self._proof)


class ProvedOnTorch(Proved):
    """The same for a network that runs on torch."""

    _network: TorchNetwork

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The weights as bound, on the network's device."""
        return self._network.tensors

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        keep: Sequence[str] = (),
        weights: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return outputs and kept nodes as tensors; see `TorchNetwork.forward`."""
        return self._network.forward(inputs, keep, weights)


def proved(network: BoundNetwork, proof: Proof) -> BoundNetwork:
    """Return a bound network with a proof."""
    of_torch = isinstance(network, TorchNetwork)
    return ProvedOnTorch(network, proof) if of_torch else Proved(network, proof)

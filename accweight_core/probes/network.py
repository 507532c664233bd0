"""A network that can be run: what probes ask of it, whatever runs it.

A checkpoint has weights, but says nothing of what is computed with them. A `Network` does: an ONNX
graph, or a module. It has no weights of its own while it runs: they are an argument, so that one
network serves all checkpoints of a run. With those of one checkpoint it is a `BoundNetwork`, which
probes run, differentiate and patch.

The engines are in other packages, and are found by the entry-point group ``accweight.networks``
(`accweight_core.probes.engines`). Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from accweight_core.schema import Checkpoint, Run

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[Any]

Proof = Literal["verified", "consistent", "not verified"]
"""Whether the weights of a checkpoint are in their places: shown by equal results of both,
consistent with a loss that the checkpoint recorded, or neither."""

Inputs = Array | Mapping[str, Array]
"""The value of the only input, or the values of several by their names; samples along axis 0."""

Unit = int | tuple[int, ...] | Array | None
"""A unit of a node: its index along axis 1 (a channel: the sum over its positions), its indices
along all axes after the samples (one position of a channel), or None for the sum of all. An array
of the shape of the node stands for the sum of all, each times its element."""

OUTPUT = "output"
"""The name under which results have the first output of a network, whatever the file calls it."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a network.

    Attributes:
        name: Its name.
        shape: Its lengths, None for those that are free, as that of the samples usually is; None
            if nothing is known of it, as for the arguments of a module.
        dtype: Name of its element type, as in `accweight_core.dtypes`; empty if it is not known.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str


def samples_at_once(inputs: Sequence[Port]) -> int:
    """Return the number of samples that a network takes at a time; 0 for any."""
    return max((port.shape[0] or 0 for port in inputs if port.shape), default=0)


def filled_up(inputs: Mapping[str, Array], size: int) -> Mapping[str, Array]:
    """Return inputs with the last sample repeated, up to what a network takes at a time.

    Args:
        inputs: By input; samples along axis 0.
        size: What `samples_at_once` returns.
    """

    def filled(value: Array) -> Array:
        missing = size - len(value)
        return np.concatenate([value, value[-1:].repeat(missing, axis=0)]) if missing > 0 else value

    return {name: filled(value) for name, value in inputs.items()}


def portions_of(count: int, at_once: int, most: int = 0) -> Iterator[tuple[Array, Array]]:
    """Yield the rows of samples in portions, and the same as a network takes them.

    Args:
        count: Number of samples.
        at_once: What `samples_at_once` returns.
        most: Samples of a portion at most, if the network takes any number; 0 for all.

    >>> [(rows.tolist(), taken.tolist()) for rows, taken in portions_of(5, 3)]
    [([0, 1, 2], [0, 1, 2]), ([3, 4], [3, 4, 4])]
    """
    size = at_once or most or max(count, 1)
    for start in range(0, count, size):
        rows = np.arange(start, min(start + size, count))
        yield rows, np.append(rows, rows[-1:].repeat(max(at_once - len(rows), 0)))


@runtime_checkable
class BoundNetwork(Protocol):
    """A network with the weights of one checkpoint, in inference mode.

    Dropout does nothing, and batch norm uses its running statistics.
    """

    @property
    def proof(self) -> Proof:
        """Whether the weights are known to be in their places."""
        ...

    @property
    def parameters(self) -> Mapping[str, Array]:
        """The weights as bound, by the network's own names."""
        ...

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names that `keep`, `of`, `wrt` and `patch` take, in the order of the network.

        Layers come first, by the names that `Network.layers` has, then all other values by theirs.
        The node of a layer is its result *before* the activation function (for a convolution or a
        linear layer: with its bias).
        """
        ...

    def run(self, x: Inputs, keep: Sequence[str] = ()) -> dict[str, Array]:
        """Return what the network makes of samples.

        Args:
            x: The samples, along axis 0. They are run in one go: the caller cuts batches.
            keep: Nodes whose values are returned too.

        Returns:
            The first output as "output", further outputs and the nodes kept under their names.

        Raises:
            UnknownNameError: If there is no such node or input.
            ArgumentValueError: If the values of an input do not fit it.
            UnsupportedOperatorError: If something in the graph cannot be run for these samples.
        """
        ...

    def gradient(
        self, x: Inputs, of: tuple[str, Unit], wrt: Sequence[str] | None = None
    ) -> Array | dict[str, Array]:
        """Return the gradient of the sum of one unit, over samples and positions.

        Samples do not affect each other in inference, so each has its own gradient in the result.

        Args:
            x: The samples.
            of: A node (or "output") and its unit: `("conv2", 5)` is channel 5 of layer conv2.
            wrt: Names of parameters, inputs or nodes instead of the samples; for tokens, which are
                integers, this is the node of the embedding.

        Returns:
            An array of the shape of x; if x is a mapping, or with `wrt`, arrays by names. Zeros
            where nothing depends on it.

        Raises:
            UnknownNameError: If there is no such node, parameter or input.
            ArgumentValueError: If the unit is outside of the node or of another shape, or x has
                integers.
            UnsupportedOperatorError: If this engine has no gradients.
        """
        ...

    def patch(self, functions: Mapping[str, Callable[[Any], Any]]) -> Self:
        """Return the network with the values of nodes replaced by functions of them.

        Everything after a node sees the new value, also in gradients. Functions of a node that
        has been patched before are applied after the earlier ones.

        Args:
            functions: By nodes: takes the value, returns one of the same shape and type. Engines
                on torch give and take tensors.

        Raises:
            UnknownNameError: If there is no such node.
            UnsupportedOperatorError: If this engine cannot patch.
        """
        ...

    def proven(self, proof: Proof) -> Self:
        """Return the same network with this proof: for those who have bound and compared it."""
        ...


@runtime_checkable
class TorchNetwork(BoundNetwork, Protocol):
    """A bound network that runs on torch: for probes that differentiate in their own way."""

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The weights as bound, on the network's device."""
        ...

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        keep: Sequence[str] = (),
        weights: Mapping[str, Tensor] | None = None,
        *,
        outputs: bool = True,
    ) -> dict[str, Tensor]:
        """Return outputs and kept nodes as `run` does, as tensors that can be differentiated.

        A pure function of its arguments, for `torch.func.grad`, `torch.func.vmap` over samples or
        over the weights of several checkpoints, and `Tensor.backward`.

        Args:
            inputs: By name, on the network's device.
            keep: Nodes whose values are returned too.
            weights: By the network's names, instead of those bound; those missing stay.
            outputs: Whether outputs are returned; without them, only what the kept nodes depend
                on is computed.
        """
        ...


@runtime_checkable
class ResumableNetwork(BoundNetwork, Protocol):
    """A bound network that can go on from values that another one of its kind has made."""

    def beginning(self, x: Inputs, changed: Collection[str], keep: Sequence[str] = ()) -> Any:
        """Return what it makes of samples up to where that depends on some parameters.

        Args:
            x: The samples.
            changed: Names of the parameters.
            keep: Nodes whose values `resumed` is to return.
        """
        ...

    def resumed(self, beginning: Any) -> dict[str, Array]:
        """Return what `run` does for the samples of a beginning.

        Args:
            beginning: Of a network that differs from this one in the changed parameters alone.
        """
        ...


@runtime_checkable
class GatedNetwork(BoundNetwork, Protocol):
    """A bound network that tells the values of gates, which are no nodes of it."""

    @property
    def gated(self) -> tuple[str, ...]:
        """Names of the layers with gates: LSTM and GRU."""
        ...

    def gates(self, x: Inputs, layers: Sequence[str]) -> dict[str, dict[str, Array]]:
        """Return the gates of layers by name, (samples, times, units) each, 0 to 1.

        An LSTM has "input", "forget" and "output", a GRU "update" and "reset"; units of all
        directions are units. NaN behind the end of a sequence that is shorter than others.

        Args:
            x: The samples.
            layers: Some of `gated`.

        Raises:
            UnknownNameError: If a layer has no gates.
            UnsupportedOperatorError: If they are not known for its form.
        """
        ...


class Network(Protocol):
    """What is computed with the weights of any checkpoint. Engines inherit from this class."""

    engine: str
    """Name of the engine: its entry point."""

    inputs: tuple[Port, ...]
    """The inputs that the user gives, in their order."""

    outputs: tuple[Port, ...]
    """The outputs in their order; the first is "output" in results."""

    layers: tuple[str, ...]
    """Names of the layers with weights, in network order, as readers name them."""

    parameters: Mapping[str, tuple[int, ...]]
    """Shapes of all weights that an output depends on, by name, in network order.

    Every tensor of floating-point numbers with more than one element is one, and smaller ones that
    are parameters of a layer: a checkpoint could change nothing else.
    """

    @property
    def source(self) -> Path | Mapping[str, Array]:
        """What `accweight_core.open_run` reads the network's own parameters from: file or state."""
        ...

    def with_weights(self, weights: Mapping[str, Array]) -> BoundNetwork:
        """Return the network with these weights, by its own names, without a proof.

        Args:
            weights: Arrays by name; those that are missing stay as the network's source has them,
                so that `{}` gives its own.

        Raises:
            UnknownNameError: If there is no such parameter.
            ShapeMismatchError: If one has another shape.
        """
        ...

    def bind(self, checkpoint: Checkpoint, run: Run | None = None, **options: Any) -> BoundNetwork:
        """Return the network with the weights of a checkpoint of any format, and its proof.

        For several checkpoints make a `accweight_core.probes.binding.binding.Binding` of their run
        once, and call its `bind`.

        Args:
            checkpoint: The checkpoint, such as ``run.checkpoint(3)``.
            run: Its run; the proof then looks at the other checkpoints too, as that from which
                the network was exported.
            options: Those of `Binding.of`: data, targets, constants, unused, map.

        Raises:
            BindingError: If the weights do not fit, or would be put in wrongly.
        """
        # by its name, because a binding knows networks
        binding = import_module("accweight_core.probes.binding.binding")
        bound: BoundNetwork = binding.bound_to(self, checkpoint, run, **options)
        return bound

    @staticmethod
    def from_onnx(path: str | Path, *, engine: str = "auto", device: str = "cpu") -> Network:
        """Return the network in an ONNX file.

        Args:
            path: The file; its external data lie beside it.
            engine: "onnx" runs it by torch operations and has gradients; "ort" by ONNX Runtime,
                forward only; "auto" takes the first that is installed and knows its operators.
            device: Where torch runs it: "cpu", "cuda", "cuda:1".

        Raises:
            ArgumentValueError: If there is no such device here.
            FormatError: If the file is damaged.
            UnsupportedOperatorError: If the engine does not know an operator in it.
            MissingLibraryError: If the engine's library is not installed.
        """
        from accweight_core.probes.engines import open_onnx

        network: Network = open_onnx(path, engine, device)
        return network

    @staticmethod
    def from_module(
        module: Any,
        *,
        inputs: Sequence[str] = ("input",),
        weights: Mapping[str, Any] | None = None,
        nodes: Sequence[str] = (),
    ) -> Network:
        """Return the network that is a torch module; it is run on copies of its weights.

        Args:
            module: An `nn.Module`, whose state is neither changed nor kept, and which is run where
                its weights are; or a function of tensors, ``f(x, weights)`` with weights, ``f(x)``
                without.
            inputs: Names of the arguments of its `forward`, in their order.
            weights: For a function: arrays by name, such as a state_dict. It is called with those
                of a checkpoint by the same names.
            nodes: For a function: names of what it returns after its first result.

        Raises:
            ArgumentTypeError: If it is neither.
        """
        from accweight_core.probes.engines import open_module

        network: Network = open_module(module, inputs, weights, nodes)
        return network

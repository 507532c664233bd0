"""A torch module as a network: run by `torch.func.functional_call` on any weights.

Nodes are modules by their names. The node of a module that has parameters of its own is its
result, which is what comes before the activation function where that is a module or a call of its
own, as it nearly always is. Where what follows overwrites it (``F.relu(x, inplace=True)``), what
follows is given a copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from accweight_adapters.execution.devices import full_precision
from accweight_adapters.execution.element_types import as_array
from accweight_adapters.execution.function_network import FunctionNetwork
from accweight_adapters.execution.module_gates import gates_of_call, kind_of
from accweight_adapters.execution.program import failure
from accweight_adapters.execution.torch_bound import (
    Function,
    TorchBound,
    check_gated,
    fitting_weights,
)
from accweight_core.errors import AccweightError, ArgumentTypeError, ArgumentValueError
from accweight_core.probes.network import OUTPUT, Array, Inputs, Network, Port


class ModuleNetwork(Network):
    """The network that is a module."""

    engine = "module"

    def __init__(self, module: nn.Module, inputs: Sequence[str]) -> None:
        # a copy, because its mode changes, and hooks are put on it
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        for part in self.module.modules():
            if getattr(part, "inplace", False) is True:
                part.inplace = False  # type: ignore[assignment]  # as ReLU(inplace=True)
        self.overwritten: set[str] = set()
        self.inputs = tuple(Port(name, None, "") for name in inputs)
        self.outputs: tuple[Port, ...] = (Port(OUTPUT, None, ""),)
        self.own = {name: value.detach() for name, value in _state(self.module)}
        floats = {n: v for n, v in self.own.items() if v.is_floating_point() or v.is_complex()}
        self.parameters = {name: tuple(value.shape) for name, value in floats.items()}
        self.modules = {name: part for name, part in self.module.named_modules() if name}
        own = {n: any(True for _ in part.parameters(False)) for n, part in self.modules.items()}
        self.layers = tuple(name for name, has_own in own.items() if has_own)
        tensor = next(iter(self.own.values()), None)
        self.device = tensor.device if tensor is not None else torch.device("cpu")

    @classmethod
    def opened(
        cls,
        module: Any,
        *,
        inputs: Sequence[str] = ("input",),
        weights: Mapping[str, Any] | None = None,
        nodes: Sequence[str] = (),
    ) -> ModuleNetwork | FunctionNetwork:
        """Return the network that is a module, or another function.

        Raises:
            ArgumentTypeError: If it is neither, or a module with weights of its own is given more.
        """
        if isinstance(module, nn.Module):
            if weights is not None or nodes:
                raise ArgumentTypeError(
                    "a module has weights and nodes of its own; weights and nodes are for functions"
                )
            return cls(module, inputs)
        if not callable(module):
            raise ArgumentTypeError(
                "a network is made of an nn.Module, a function or an ONNX file, not of "
                f"{type(module).__name__}"
            )
        return FunctionNetwork(module, inputs, weights, nodes)

    @property
    def source(self) -> Path | Mapping[str, Array]:
        """The state of the module."""
        return {name: as_array(value) for name, value in self.own.items()}

    def with_weights(self, weights: Mapping[str, Array]) -> ModuleBound:
        """Return the module with these weights, by its own names; see `Network.with_weights`."""
        return ModuleBound(self, {**self.own, **fitting_weights(weights, self.own)})


def _state(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers; what modules share comes once, as functional_call wants it."""
    yield from module.named_parameters()
    yield from module.named_buffers()


class ModuleBound(TorchBound):
    """A module with the weights of one checkpoint."""

    network: ModuleNetwork

    @property
    def nodes(self) -> tuple[str, ...]:
        """Layers by name, then all other modules."""
        layers = self.network.layers
        return (*layers, *(name for name in self.network.modules if name not in set(layers)))

    @property
    def gated(self) -> tuple[str, ...]:
        """Names of the layers with gates."""
        modules = self.network.modules
        return tuple(name for name in self.network.layers if kind_of(modules[name]) is not None)

    def gates(self, x: Inputs, layers: Sequence[str]) -> dict[str, dict[str, Array]]:
        """Return the gates of layers, several calls one after the other; see `GatedNetwork`."""
        check_gated(layers, self.gated)
        calls: dict[str, list[dict[str, Tensor]]] = {name: [] for name in layers}

        def hook(name: str) -> Callable[..., None]:
            def record(module: nn.Module, given: Any, named: Mapping[str, Any]) -> None:
                x = given[0] if given else named["input"]
                state = given[1] if len(given) > 1 else named.get("hx")
                calls[name].append(gates_of_call(module, x, state))

            return record

        with ExitStack() as stack, torch.no_grad(), full_precision(self.device):
            for name in calls:
                module = self.network.modules[name]
                handle = module.register_forward_pre_hook(hook(name), with_kwargs=True)
                stack.callback(handle.remove)
            self.forward(self._given(x))
        for name, found in calls.items():
            if not found:
                raise _not_called(name)
        return {
            name: {
                gate: as_array(torch.cat([call[gate] for call in found], 1)) for gate in found[0]
            }
            for name, found in calls.items()
        }

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
        kept: dict[str, Tensor] = {}
        versions: dict[str, int] = {}
        arguments = tuple(inputs[port.name] for port in self.network.inputs)
        with self._hooked(dict.fromkeys([*keep, *functions]), functions, kept, versions):
            try:
                made = torch.func.functional_call(self.network.module, dict(weights), arguments)
            except AccweightError:
                raise
            except Exception as error:  # whatever the module raises
                raise failure(type(self.network.module).__name__, error) from error
        changed = {name for name, version in versions.items() if kept[name]._version != version}
        if changed - self.network.overwritten:
            self.network.overwritten |= changed
            return self.evaluated(inputs, keep, weights, functions, outputs=outputs)
        found = dict(_named_outputs(made)) if outputs else {}
        for name in keep:
            if name not in kept:
                raise _not_called(name)
            found[name] = kept[name]
        return found

    @contextmanager
    def _hooked(
        self,
        names: Mapping[str, None],
        functions: Mapping[str, Sequence[Function]],
        kept: dict[str, Tensor],
        versions: dict[str, int],
    ) -> Iterator[None]:
        """Record and replace the results of modules; a module called twice is recorded last."""
        overwritten = self.network.overwritten

        def hook(name: str) -> Callable[..., Any]:
            def record(module: nn.Module, arguments: Any, result: Any) -> Any:
                first = result[0] if isinstance(result, tuple | list) else result
                for function in functions.get(name, ()):
                    first = function(first)
                kept[name], versions[name] = first, first._version
                if name in overwritten or (first.is_leaf and first.requires_grad):
                    first = first.clone()
                elif name not in functions:
                    return None
                return (first, *result[1:]) if isinstance(result, tuple | list) else first

            return record

        with ExitStack() as stack:
            for name in names:
                handle = self.network.modules[name].register_forward_hook(hook(name))
                stack.callback(handle.remove)
            yield


def _not_called(name: str) -> ArgumentValueError:
    return ArgumentValueError(f"module {name!r} is not called for these samples")


def _named_outputs(made: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the outputs by name: the first as "output", others by their keys or numbers."""
    if isinstance(made, Tensor):
        yield OUTPUT, made
        return
    pairs = list(made.items()) if isinstance(made, Mapping) else list(enumerate(made))
    tensors = [(str(key), value) for key, value in pairs if isinstance(value, Tensor)]
    if not tensors:
        raise ArgumentTypeError(f"the module returns {type(made).__name__} without a tensor")
    yield OUTPUT, tensors[0][1]
    yield from tensors[1:]
